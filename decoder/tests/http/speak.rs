//! The protocols of the servers, written down once more from their side: a model here that speaks as they do.

use crate::server::{Reply, Request};
use routewright_decoder::backend::{Backend, Session, Stop};
use routewright_decoder::backends::writing;
use routewright_decoder::vocabulary::{Role, Vocabulary};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::Duration;

/// A token that was written or read: its id, log-probability, and what else was likely there.
struct Told {
    id: u32,
    log_prob: Option<f32>,
    top: Vec<(u32, f32)>,
}

/// What was asked, in the words of none of them.
struct Wish {
    ids: Option<Vec<u32>>,
    text: String,
    tokens: usize,
    top: usize,
    stops: Vec<String>,
    streams: bool,
    scores: bool,
    /// Tokens are shown as marked ids.
    by_id: bool,
}

/// Answers a request as a server of this kind with this model would.
pub(crate) fn speak(dialect: &str, model: &Arc<dyn Backend>, request: &Request) -> Reply {
    let wish = wish(dialect, request);
    let mut session = model.open(wish.text.as_bytes(), &Stop::default()).unwrap();
    if let Some(ids) = &wish.ids {
        assert_eq!(ids.first().copied(), model.tokenizer().unwrap().begin(), "ids begin a text");
        session.rollback(1).unwrap();
        session.feed(&ids[1..]).unwrap();
    }
    let read = if wish.scores { prompt(&mut *session) } else { Vec::new() };
    let (written, text, reason) = write(&mut *session, &wish);
    let vocabulary = session.tokenizer().vocabulary();
    let shape = match dialect {
        "openai" | "llama-cpp-python" | "vllm" => completions,
        "llama-cpp" => llama_cpp,
        "sglang" => sglang,
        "tgi" => tgi,
        "openai-chat" | "vllm-chat" => chat,
        "ollama" => ollama,
        other => panic!("{other}"),
    };
    let (by_id, echoes) = (wish.by_id, dialect == "llama-cpp-python");
    let said = Said { vocabulary, read: &read, written: &written, text: &text, reason, by_id, echoes };
    let whole = shape(&said);
    if !wish.streams {
        return Reply::Json(whole);
    }
    let mut events: Vec<Value> = Vec::new();
    let mut shown = 0;
    for told in &written {
        let piece = String::from_utf8(vocabulary.bytes(told.id).to_vec()).unwrap();
        let piece = &piece[..piece.len().min(text.len() - shown)];
        shown += piece.len();
        let one = std::slice::from_ref(told);
        let said = Said { vocabulary, read: &[], written: one, text: piece, reason: "", by_id, echoes };
        events.push(shape(&said));
    }
    let last = Said { vocabulary, read: &[], written: &[], text: "", reason, by_id, echoes };
    events.push(shape(&last));
    if dialect.ends_with("chat") {
        for event in &mut events {
            let choice = event["choices"][0].as_object_mut().unwrap();
            let message = choice.remove("message").unwrap();
            choice.insert("delta".into(), message);
        }
    }
    Reply::Stream(events, Duration::ZERO)
}

fn wish(dialect: &str, request: &Request) -> Wish {
    let body = &request.body;
    let (path, prompt) = match dialect {
        "llama-cpp" => ("/completion", &body["prompt"]),
        "sglang" if body["input_ids"].is_array() => ("/generate", &body["input_ids"]),
        "sglang" => ("/generate", &body["text"]),
        "tgi" => ("/generate", &body["inputs"]),
        "ollama" => ("/api/generate", &body["prompt"]),
        "openai-chat" | "vllm-chat" => ("/v1/chat/completions", &body["messages"][0]["content"]),
        _ => ("/v1/completions", &body["prompt"]),
    };
    assert_eq!(request.path, path);
    let answer = &body["messages"][1];
    assert!(answer.is_null() || answer["role"] == "assistant");
    if dialect == "vllm-chat" {
        assert_eq!(body["continue_final_message"] == true, !answer.is_null());
    }
    let settings = match dialect {
        "sglang" => &body["sampling_params"],
        "tgi" => &body["parameters"],
        "ollama" => &body["options"],
        _ => body,
    };
    let tokens = match dialect {
        "llama-cpp" => &settings["n_predict"],
        "sglang" | "tgi" => &settings["max_new_tokens"],
        "ollama" => &settings["num_predict"],
        _ => &settings["max_tokens"],
    };
    let top = match dialect {
        "llama-cpp" => &body["n_probs"],
        "sglang" => &body["top_logprobs_num"],
        "tgi" => &settings["top_n_tokens"],
        "openai-chat" | "vllm-chat" | "ollama" => {
            assert_eq!(body["logprobs"], true);
            &body["top_logprobs"]
        }
        _ => &body["logprobs"],
    };
    if dialect == "tgi" {
        assert!(settings["temperature"].is_null(), "a temperature of 0 is refused");
    } else {
        assert_eq!(settings["temperature"], 0.0);
    }
    let stops = settings["stop"].as_array().into_iter().flatten();
    Wish {
        ids: serde_json::from_value(prompt.clone()).ok(),
        text: prompt.as_str().unwrap_or_default().to_owned() + answer["content"].as_str().unwrap_or_default(),
        tokens: tokens.as_u64().unwrap() as usize,
        top: top.as_u64().unwrap_or(0) as usize,
        stops: stops.map(|stop| stop.as_str().unwrap().to_owned()).collect(),
        streams: body["stream"] == true,
        scores: body["echo"] == true
            || body["prompt_logprobs"] == 0
            || settings["decoder_input_details"] == true
            || body["logprob_start_len"] == 0,
        by_id: body["return_tokens_as_token_ids"] == true,
    }
}

/// What the session has read, token by token.
fn prompt(session: &mut dyn Session) -> Vec<Told> {
    let ids = session.ids().to_vec();
    session.rollback(1).unwrap();
    let mut told = vec![Told { id: ids[0], log_prob: None, top: Vec::new() }];
    for id in &ids[1..] {
        let next = session.next().unwrap();
        told.push(Told { id: *id, log_prob: next.log_prob(*id), top: next.top(1) });
        session.feed(&[*id]).unwrap();
    }
    told
}

/// The most probable token each time, and why it ended.
fn write(session: &mut dyn Session, wish: &Wish) -> (Vec<Told>, String, &'static str) {
    let (mut written, mut text) = (Vec::new(), String::new());
    while written.len() < wish.tokens {
        let next = writing::said(session.next().unwrap(), session);
        let (id, log_prob) = next.best();
        written.push(Told { id, log_prob: Some(log_prob), top: next.top(wish.top) });
        if session.tokenizer().vocabulary().role(id) == Role::End {
            return (written, text, "ended");
        }
        session.feed(&[id]).unwrap();
        text.push_str(std::str::from_utf8(session.tokenizer().vocabulary().bytes(id)).unwrap());
        if let Some(at) = wish.stops.iter().filter_map(|stop| text.find(stop.as_str())).min() {
            text.truncate(at);
            return (written, text, "stopped");
        }
    }
    (written, text, "long")
}

struct Said<'a> {
    vocabulary: &'a Vocabulary,
    read: &'a [Told],
    written: &'a [Told],
    text: &'a str,
    reason: &'a str,
    by_id: bool,
    /// It tells how many tokens it read, and no log-probability of the first.
    echoes: bool,
}

impl Said<'_> {
    fn show(&self, id: u32) -> String {
        match self.vocabulary.role(id) {
            Role::End if id == 1 => "<s>".to_owned(),
            Role::End => "</s>".to_owned(),
            _ => String::from_utf8(self.vocabulary.bytes(id).to_vec()).unwrap(),
        }
    }

    fn key(&self, id: u32) -> String {
        if self.by_id { format!("token_id:{id}") } else { self.show(id) }
    }

    fn reason(&self, ended: &str, stopped: &str, long: &str) -> Value {
        match self.reason {
            "ended" => json!(ended),
            "stopped" => json!(stopped),
            "long" => json!(long),
            _ => Value::Null,
        }
    }
}

fn completions(said: &Said<'_>) -> Value {
    let echoed: Vec<&Told> = if said.by_id { Vec::new() } else { said.read.iter().skip(1).collect() };
    let all: Vec<&Told> = echoed.into_iter().chain(said.written).collect();
    let tops = all.iter().map(|told| {
        let entries = told.top.iter().map(|(id, p)| (said.key(*id), json!(p)));
        Value::Object(entries.collect::<Map<_, _>>())
    });
    let by_prompt = said.read.iter().map(|told| match told.log_prob {
        None => Value::Null,
        Some(p) => {
            json!({told.id.to_string(): {"logprob": p, "rank": 1, "decoded_token": said.show(told.id)}})
        }
    });
    json!({"choices": [{
        "text": said.text,
        "finish_reason": said.reason("stop", "stop", "length"),
        "prompt_logprobs": by_prompt.collect::<Vec<_>>(),
        "logprobs": {
            "tokens": all.iter().map(|told| said.key(told.id)).collect::<Vec<_>>(),
            "token_logprobs": all.iter().enumerate().map(|(at, told)| {
                told.log_prob.filter(|_| at > 0 || said.read.is_empty() || !said.echoes)
            }).collect::<Vec<_>>(),
            "top_logprobs": tops.collect::<Vec<_>>(),
        },
    }], "usage": {"prompt_tokens": said.read.len(), "completion_tokens": said.written.len()}})
}

fn chat(said: &Said<'_>) -> Value {
    // vLLM tells the bytes of the token that was written, and those of the mark beside other candidates.
    let entry = |id: u32, p: Option<f32>| {
        let shown = said.key(id);
        json!({"token": shown, "logprob": p, "bytes": shown.as_bytes()})
    };
    let content = said.written.iter().map(|told| {
        let mut row = entry(told.id, told.log_prob);
        row["bytes"] = json!(said.show(told.id).into_bytes());
        row["top_logprobs"] = told.top.iter().map(|(id, p)| entry(*id, Some(*p))).collect();
        row
    });
    json!({"choices": [{
        "message": {"role": "assistant", "content": said.text},
        "finish_reason": said.reason("stop", "stop", "length"),
        "logprobs": {"content": content.collect::<Vec<_>>()},
    }]})
}

fn llama_cpp(said: &Said<'_>) -> Value {
    let entry = |id: u32, p: Option<f32>| {
        // An end is shown as nothing; its id tells.
        let bytes = said.vocabulary.bytes(id);
        json!({"id": id, "token": String::from_utf8_lossy(bytes), "bytes": bytes, "logprob": p})
    };
    let rows = said.written.iter().map(|told| {
        let mut row = entry(told.id, told.log_prob);
        row["top_logprobs"] = told.top.iter().map(|(id, p)| entry(*id, Some(*p))).collect();
        row
    });
    json!({
        "content": said.text,
        "stop_type": said.reason("eos", "word", "limit"),
        "completion_probabilities": rows.collect::<Vec<_>>(),
    })
}

fn sglang(said: &Said<'_>) -> Value {
    let entry = |id: u32, p: Option<f32>| json!([p, id, said.show(id)]);
    let list = |all: &[Told]| all.iter().map(|told| entry(told.id, told.log_prob)).collect::<Vec<_>>();
    let top = |told: &Told| told.top.iter().map(|(id, p)| entry(*id, Some(*p))).collect::<Vec<_>>();
    json!({"text": said.text, "meta_info": {
        "finish_reason": {"type": said.reason("stop", "stop", "length")},
        "input_token_logprobs": list(said.read),
        "output_token_logprobs": list(said.written),
        "output_top_logprobs": said.written.iter().map(top).collect::<Vec<_>>(),
    }})
}

fn ollama(said: &Said<'_>) -> Value {
    // Ends are no token there, and no bytes are told.
    let shown = |id: &u32| said.vocabulary.role(*id) == Role::Text;
    let entry = |id: u32, p: Option<f32>| json!({"token": said.show(id), "logprob": p});
    let rows = said.written.iter().filter(|told| shown(&told.id)).map(|told| {
        let mut row = entry(told.id, told.log_prob);
        row["top_logprobs"] =
            told.top.iter().filter(|(id, _)| shown(id)).map(|(id, p)| entry(*id, Some(*p))).collect();
        row
    });
    json!({
        "model": "m", "response": said.text, "done": true,
        "done_reason": said.reason("stop", "stop", "length"),
        "logprobs": rows.collect::<Vec<_>>(),
    })
}

fn tgi(said: &Said<'_>) -> Value {
    // Single tokens are shown without their first space.
    let entry = |id: u32, p: Option<f32>| {
        let text = said.show(id);
        json!({"id": id, "text": text.trim_start(), "logprob": p, "special": false})
    };
    let list = |all: &[Told]| all.iter().map(|told| entry(told.id, told.log_prob)).collect::<Vec<_>>();
    let top = |told: &Told| told.top.iter().map(|(id, p)| entry(*id, Some(*p))).collect::<Vec<_>>();
    let prefill = said.read.iter().map(|told| {
        json!({"id": told.id, "text": if told.log_prob.is_none() { "<s>".into() } else { said.show(told.id) },
            "logprob": told.log_prob})
    });
    json!({"generated_text": said.text, "details": {
        "finish_reason": said.reason("eos_token", "stop_sequence", "length"),
        "prefill": prefill.collect::<Vec<_>>(),
        "tokens": list(said.written),
        "top_tokens": said.written.iter().map(top).collect::<Vec<_>>(),
    }})
}
