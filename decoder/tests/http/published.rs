//! Replies written by hand in the shapes of the servers' source, read in part in November 2026; of these servers only
//! llama-cpp-python's was run. Numbers and texts are made up; fields that no dialect reads may be missing.
//!
//! - vLLM: `vllm/entrypoints/openai/{chat_completion,completion}/{protocol,serving}.py` (the chat protocol at commit
//!   002032e, the others in excerpts): nulls, tool calls left out where there are none, -9999 for what is impossible,
//!   the bytes of the text shown.
//! - SGLang: `managers/tokenizer_manager.py`: arrays of log-probability, id and text, null for the first of a prompt.
//! - TGI: `router/src/lib.rs` in excerpts; `do_sample` and `--enable-prefill-logprobs` are from reports of its users.
//! - Ollama: `api/types.go` and the test of `server/logprob.go` in excerpts: bytes are those of the text, also where
//!   that is U+FFFD.
//! - llama.cpp: `tools/server/server-task.cpp`. Its shape before b4300 was not read; it is written from memory.
//! - llama-cpp-python 0.3.36: `llama_cpp/llama.py`, and what its server replied (`llama_server.rs`).

use crate::server::{Reply, Request, serve};
use crate::{member, tokenizer_file};
use routewright_data::rng;
use routewright_decoder::backend::{Backend, BackendError, Draft, Stop};
use serde_json::{Value, json};
use std::sync::Arc;

/// Ids of `a`, `b` and the end in [`tokenizer_file`]: three special tokens stand before the letters.
const A: u32 = 3;
const B: u32 = 4;
const END: u32 = 2;

fn served(
    dialect: &str,
    tokenizer: bool,
    reply: impl Fn(&Request) -> Value + Send + Sync + 'static,
) -> (Arc<dyn Backend>, crate::server::Seen, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let file = tokenizer_file(dir.path(), "tokenizer.vocab", &[]);
    let (url, seen) = serve(move |request, _| Reply::Json(reply(request)));
    (member(&url, dialect, tokenizer.then_some(file.as_str()), &json!({})).unwrap(), seen, dir)
}

/// The two most probable tokens by their bytes.
fn best(backend: &Arc<dyn Backend>) -> Result<Vec<(Vec<u8>, f32)>, BackendError> {
    let mut session = backend.open(b"ab", &Stop::default())?;
    let told = session.next()?;
    let bytes = |id: u32| session.tokenizer().vocabulary().bytes(id).to_vec();
    Ok(told.top(2).into_iter().map(|(id, p)| (bytes(id), p)).collect())
}

fn near(found: &[(Vec<u8>, f32)], expected: &[(&[u8], f32)]) {
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for ((bytes, p), (expected, q)) in found.iter().zip(expected) {
        assert!(bytes == expected && (p - q).abs() < 1e-4, "{found:?}");
    }
}

const TWO: [(&[u8], f32); 2] = [(b"a", -0.25), (b"b", -1.75)];

/// `token_id:3` for a token where they are asked for; beside such candidates vLLM's chat tells the bytes of the mark.
fn vllm_chat(marked: bool) -> Value {
    let shown = |id: u32, text: &str| if marked { format!("token_id:{id}") } else { text.to_owned() };
    let row = |id: u32, text: &str, p: f64| {
        let shown = shown(id, text);
        json!({"token": shown, "logprob": p, "bytes": shown.as_bytes()})
    };
    let top = json!([row(A, "a", -0.25), row(B, "b", -1.75), row(7, "\u{fffd}", -9999.0)]);
    let first = json!({"token": shown(A, "a"), "logprob": -0.25, "bytes": [97], "top_logprobs": top});
    json!({"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m", "service_tier": null,
           "choices": [{"index": 0,
               "message": {"role": "assistant", "content": "a", "refusal": null, "annotations": null, "audio": null,
                   "function_call": null, "reasoning": null},
               "logprobs": {"content": [first]}, "finish_reason": "length", "stop_reason": null, "token_ids": null}],
           "system_fingerprint": null, "usage": {"prompt_tokens": 3, "total_tokens": 4, "completion_tokens": 1},
           "prompt_logprobs": null, "prompt_token_ids": null, "kv_transfer_params": null})
}

#[test]
fn vllm_shows_marks_with_the_bytes_of_the_mark() {
    let asked = |request: &Request| vllm_chat(request.body["return_tokens_as_token_ids"] == true);
    // With a tokenizer marks are asked for, and bytes are those of the vocabulary.
    let (far, seen, _dir) = served("vllm-chat", true, asked);
    near(&best(&far).unwrap(), &TWO);
    assert_eq!(seen.requests.lock().unwrap()[0].body["return_tokens_as_token_ids"], true);
    // Without one they are not, and candidates come by their text.
    let (far, seen, _dir) = served("vllm-chat", false, asked);
    near(&best(&far).unwrap(), &TWO);
    assert_eq!(seen.requests.lock().unwrap()[0].body["return_tokens_as_token_ids"], Value::Null);
    // A server that shows them whatever is asked: no mark becomes text.
    let (far, _, _dir) = served("vllm-chat", false, |_| vllm_chat(true));
    let error = best(&far).unwrap_err().to_string();
    assert!(error.contains("shows tokens as ids (`token_id:3`)") && error.contains("`tokenizer`"), "{error}");
}

#[test]
fn vllm_completes_with_marks_and_clamps_what_is_impossible() {
    let (far, seen, _dir) = served("vllm", true, |request| {
        let scores = request.body["prompt_logprobs"] == 0;
        let at = |id: u32, p: f64| json!({id.to_string(): {"logprob": p, "rank": 3, "decoded_token": "?"}});
        let prompt = if scores { json!([null, at(22, -3.0), at(A, -1.5), at(B, -0.5)]) } else { Value::Null };
        let top = json!({"token_id:3": -0.25, "token_id:4": -1.75, "token_id:9": -9999.0});
        json!({"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "m",
               "choices": [{"index": 0, "text": "a", "logprobs": {"text_offset": [0], "token_logprobs": [-0.25],
                   "tokens": ["token_id:3"], "top_logprobs": [top]}, "finish_reason": "length", "stop_reason": null,
                   "token_ids": null, "prompt_logprobs": prompt, "prompt_token_ids": null}],
               "usage": {"prompt_tokens": 4, "total_tokens": 5, "completion_tokens": 1}})
    });
    near(&best(&far).unwrap(), &TWO);
    // `<s>`, the space put before a text, and `a`: then `b` is scored.
    let mut session = far.open(b"a", &Stop::default()).unwrap();
    assert_eq!(session.score(&[B]).unwrap(), [-0.5]);
    let body = seen.requests.lock().unwrap()[0].body.clone();
    assert_eq!((&body["top_k"], &body["repetition_penalty"]), (&json!(-1), &json!(1.0)));
}

#[test]
fn sglang_tells_arrays_of_log_probability_id_and_text() {
    let (far, seen, _dir) = served("sglang", true, |_| {
        json!({"text": "a", "output_ids": [A], "meta_info": {"id": "1",
            "finish_reason": {"type": "length", "length": 1}, "prompt_tokens": 4, "weight_version": "default",
            "input_token_logprobs": [[null, 1, "<s>"], [-3.0, 22, " "], [-1.5, A, "a"], [-0.5, B, "b"]],
            "output_token_logprobs": [[-0.25, A, "a"]], "input_top_logprobs": [null, null, null, null],
            "output_top_logprobs": [[[-0.25, A, "a"], [-1.75, B, "b"]]], "completion_tokens": 1, "cached_tokens": 0}})
    });
    near(&best(&far).unwrap(), &TWO);
    let mut session = far.open(b"a", &Stop::default()).unwrap();
    assert_eq!(session.score(&[B]).unwrap(), [-0.5]);
    let body = seen.requests.lock().unwrap()[0].body.clone();
    assert_eq!(body["sampling_params"]["top_k"], -1);
}

#[test]
fn tgi_needs_a_flag_to_score_and_one_to_sample() {
    let (far, seen, _dir) = served("tgi", true, |_| {
        let token =
            |id: u32, text: &str, p: f64| json!({"id": id, "text": text, "logprob": p, "special": false});
        let details = json!({"finish_reason": "length", "generated_tokens": 1, "seed": null,
            // Without `--enable-prefill-logprobs` there is none, whatever is asked.
            "prefill": [], "tokens": [token(A, "a", -0.25)],
            "top_tokens": [[token(A, "a", -0.25), token(B, "b", -1.75)]]});
        json!({"generated_text": "a", "details": details})
    });
    near(&best(&far).unwrap(), &TWO);
    let mut session = far.open(b"a", &Stop::default()).unwrap();
    let error = session.score(&[B]).unwrap_err().to_string();
    assert!(error.contains("`--enable-prefill-logprobs`"), "{error}");
    let draft = |temperature: f32| Draft { tokens: 1, stop: Vec::new(), temperature, top_p: 1.0 };
    for temperature in [0.0, 1.0] {
        session.write(&draft(temperature), &mut rng::stream(0, "x")).unwrap();
    }
    let requests = seen.requests.lock().unwrap();
    let samples = |at: usize| requests[requests.len() - 2 + at].body["parameters"]["do_sample"].clone();
    assert_eq!((samples(0), samples(1)), (Value::Null, json!(true)));
}

#[test]
fn ollama_tells_text_and_the_bytes_of_that_text() {
    let (far, seen, _dir) = served("ollama", true, |_| {
        let row = |text: &str, p: f64| json!({"token": text, "logprob": p, "bytes": text.as_bytes()});
        // A part of a character, and an end: its text is empty, so that its bytes are left out.
        let end = json!({"token": "", "logprob": -4.0});
        let top = json!([row("a", -0.25), row("\u{fffd}", -1.0), row("b", -1.75), end]);
        json!({"model": "m", "created_at": "2026-11-30T00:00:00Z", "response": "a", "done": true,
            "done_reason": "length", "total_duration": 1, "prompt_eval_count": 3, "eval_count": 1,
            "logprobs": [{"token": "a", "logprob": -0.25, "bytes": [97], "top_logprobs": top}]})
    });
    near(&best(&far).unwrap(), &TWO);
    let body = seen.requests.lock().unwrap()[0].body.clone();
    assert_eq!(
        (&body["raw"], &body["stream"], &body["logprobs"]),
        (&json!(true), &json!(false), &json!(true))
    );
    assert_eq!((&body["options"]["num_predict"], &body["options"]["top_k"]), (&json!(1), &json!(0)));
    // Where the model ends at once there are no tokens.
    let (far, _, _dir) = served(
        "ollama",
        true,
        |_| json!({"model": "m", "response": "", "done": true, "done_reason": "stop", "eval_count": 1}),
    );
    let mut session = far.open(b"ab", &Stop::default()).unwrap();
    let best = session.next().unwrap().best().0;
    assert!(session.tokenizer().vocabulary().ends().contains(&best));
}

#[test]
fn llama_cpp_tells_log_probabilities_or_says_why_not() {
    let row = |id: u32, text: &str, p: f64| json!({"id": id, "token": text, "bytes": text.as_bytes(), "logprob": p});
    let told = json!([row(A, "a", -0.25), {"id": END, "token": "", "bytes": [], "logprob": -3.0}, row(B, "b", -1.75)]);
    let rows = json!([{"id": A, "token": "a", "bytes": [97], "logprob": -0.25, "top_logprobs": told}]);
    let (far, seen, _dir) = served("llama-cpp", true, move |_| {
        json!({"index": 0, "content": "a", "tokens": [A], "id_slot": 0, "stop": true, "model": "m",
               "tokens_predicted": 1, "tokens_evaluated": 3, "has_new_line": false, "truncated": false,
               "stop_type": "limit", "stopping_word": "", "tokens_cached": 3, "completion_probabilities": rows})
    });
    near(&best(&far).unwrap(), &TWO);
    let body = seen.requests.lock().unwrap()[0].body.clone();
    assert_eq!((&body["min_p"], &body["repeat_penalty"]), (&json!(0.0), &json!(1.0)));
    let old = json!([{"content": "a", "probs": [{"tok_str": "a", "prob": 0.9}]}]);
    let after = json!([{"id": A, "token": "a", "bytes": [97], "prob": 0.9, "top_probs": []}]);
    for (rows, says) in [(old, "before b4300"), (after, "`post_sampling_probs`")] {
        let (far, _, _dir) = served(
            "llama-cpp",
            true,
            move |_| json!({"content": "a", "stop": true, "stop_type": "limit", "completion_probabilities": rows}),
        );
        let error = best(&far).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}

/// llama-cpp-python 0.3.36 with echo: the beginning-of-text token is counted but not listed, the first number is null.
fn echo(prompt_tokens: usize) -> impl Fn(&Request) -> Value + Send + Sync {
    move |request| {
        let text = request.body["prompt"].as_str().unwrap().to_owned();
        let tokens: Vec<String> = text.chars().map(|c| c.to_string()).chain(["x".to_owned()]).collect();
        let scores: Vec<Value> =
            (0..tokens.len()).map(|at| if at == 0 { Value::Null } else { json!(-(at as f64)) }).collect();
        json!({"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "m",
               "choices": [{"text": text.clone() + "x", "index": 0, "finish_reason": "length",
                   "logprobs": {"tokens": tokens, "text_offset": [], "token_logprobs": scores, "top_logprobs": []}}],
               "usage": {"prompt_tokens": text.chars().count() + prompt_tokens, "completion_tokens": 1}})
    }
}

#[test]
fn llama_cpp_python_scores_what_follows_the_first_token_of_a_model_with_a_beginning() {
    let (far, _, _dir) = served("llama-cpp-python", true, echo(1));
    let mut session = far.open(b"ab", &Stop::default()).unwrap();
    // The third and fourth of `abba`.
    assert_eq!(session.score(&[B, A]).unwrap().iter().sum::<f32>(), -5.0);
    assert!(!session.scores_first());
    // For a model without one the server has every number one token late.
    let (far, _, _dir) = served("llama-cpp-python", true, echo(0));
    let error = far.open(b"ab", &Stop::default()).unwrap().score(&[B]).unwrap_err().to_string();
    assert!(error.contains("without a beginning-of-text token"), "{error}");
}
