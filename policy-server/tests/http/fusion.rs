//! Fused models over HTTP: whole and streamed answers, usage by member, refusals, a caller that goes away.

use crate::client::{Client, get, post, until};
use crate::server::{Running, default_server};
use routewright_data::rng;
use routewright_decoder::backends::llama2c::{Shape, Weights};
use routewright_decoder::vocabulary::llama2c;
use serde_json::{Value, json};
use std::path::Path;

/// A model of random weights and its tokenizer: special tokens, bytes and a few words.
fn write_model(dir: &Path, seed: u64) {
    let words: [&[u8]; 4] = [b"ab", b"abc", b" the", b"e "];
    let vocabulary = 259 + words.len();
    let shape = Shape { dim: 16, hidden: 24, layers: 1, heads: 2, kv_heads: 1, vocabulary, context: 600 };
    let weights = Weights::random(shape, &mut rng::stream(seed, "weights"));
    std::fs::write(dir.join("model.bin"), weights.write()).unwrap();
    std::fs::write(dir.join("tokenizer.bin"), llama2c::write(&words)).unwrap();
}

pub(crate) fn write_ensemble(dir: &Path) -> std::path::PathBuf {
    let mut text = "system = 'gac'\n[limits]\nsteps = 40\n".to_owned();
    for (name, seed) in [("one", 1), ("two", 2)] {
        let folder = dir.join(name);
        std::fs::create_dir_all(&folder).unwrap();
        write_model(&folder, seed);
        text.push_str(&format!(
            "[[members]]\nname = '{name}'\nbackend = 'llama2c'\ncheckpoint = '{name}/model.bin'\n\
             tokenizer = '{name}/tokenizer.bin'\n"
        ));
    }
    let path = dir.join("two.toml");
    std::fs::write(&path, text).unwrap();
    path
}

fn server() -> (Running, tempfile::TempDir, tempfile::TempDir) {
    let models = tempfile::tempdir().unwrap();
    let ensemble = write_ensemble(models.path());
    let (server, dir) = default_server(|config| {
        config.fusions.insert("pair".to_owned(), ensemble);
        config.limits.fusions_max = 1;
    });
    (server, dir, models)
}

const CHAT: &str = "/v1/chat/completions";

/// The JSON of every event, and whether the stream ended as it should.
pub(crate) fn events(body: &str) -> (Vec<Value>, bool) {
    let data = body.split("\n\n").filter_map(|event| event.strip_prefix("data: "));
    let lines: Vec<&str> = data.collect();
    let done = lines.last() == Some(&"[DONE]");
    let json = lines.iter().filter(|line| **line != "[DONE]");
    (json.map(|line| serde_json::from_str(line).unwrap()).collect(), done)
}

#[test]
fn whole_and_streamed_answers_are_the_same_text_with_usage_by_member() {
    let (server, _dir, _models) = server();
    let asked = json!({"model": "fusion/pair", "messages": [{"role": "user", "content": "abc the"}],
                       "max_tokens": 20, "seed": 3});
    let whole = post(server.address, CHAT, &asked);
    assert_eq!(whole.status, 200, "{}", whole.body);
    let whole = whole.json();
    let text = whole["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
    assert!(!text.is_empty());
    assert_eq!(whole["choices"][0]["finish_reason"], "length");
    assert_eq!(whole["usage"]["completion_tokens"], 20);
    assert_eq!(whole["usage"]["members"][1]["model"], "two");
    assert!(whole["usage"]["members"][1]["calls"].as_u64().unwrap() > 5);

    let mut streaming = asked.clone();
    streaming["stream"] = json!(true);
    streaming["stream_options"] = json!({"include_usage": true});
    let (events, done) = events(&post(server.address, CHAT, &streaming).body);
    assert!(done);
    let pieces: String =
        events.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(pieces, text);
    assert_eq!(events[events.len() - 2]["choices"][0]["finish_reason"], "length");
    assert_eq!(events[events.len() - 1]["usage"]["completion_tokens"], 20);

    let prompt = json!({"model": "fusion/pair", "prompt": "abc the", "max_tokens": 20, "seed": 3});
    let completion = post(server.address, "/v1/completions", &prompt).json();
    assert_eq!(completion["choices"][0]["text"], text.as_str());
    assert_eq!(completion["object"], "text_completion");
}

#[test]
fn fused_models_are_listed_and_others_are_not_found() {
    let (server, _dir, _models) = server();
    let models = get(server.address, "/v1/models").json();
    let listed =
        models["data"].as_array().unwrap().iter().find(|model| model["id"] == "fusion/pair").unwrap();
    assert_eq!(listed["members"], json!(["one", "two"]));
    for (body, code, says) in [
        (json!({"model": "fusion/par", "prompt": "x"}), "model_not_found", "did you mean `fusion/pair`"),
        (json!({"model": "fusion/pair", "prompt": "x", "n": 2}), "invalid_request", "`n` must be 1"),
        (
            json!({"model": "fusion/pair", "prompt": "x", "temperature": 3.0}),
            "invalid_request",
            "temperature",
        ),
        (json!({"model": "fusion/pair", "prompt": "x", "max_tokens": 0}), "invalid_request", "at least 1"),
        (json!({"model": "fusion/pair", "prompt": "x".repeat(700)}), "invalid_request", "reads at most 600"),
        (json!({"model": "fusion/pair", "prompt": ["a", "b"]}), "invalid_request", "a list of 1 text"),
        (json!({"model": "fusion/pair", "prompt": [1, 2]}), "invalid_request", "token ids"),
        (json!({"model": "fusion/pair", "prompt": "x", "echo": true}), "invalid_request", "echo"),
        (json!({"model": "fusion/pair", "prompt": "x", "suffix": "y"}), "invalid_request", "suffix"),
        (json!({"model": "fusion/pair", "prompt": "x", "best_of": 3}), "invalid_request", "best_of"),
        (
            json!({"model": "fusion/pair", "prompt": "x", "logit_bias": {"5": 1}}),
            "invalid_request",
            "logit_bias",
        ),
        (
            json!({"model": "fusion/pair", "prompt": "x", "presence_penalty": 0.5}),
            "invalid_request",
            "penalties",
        ),
        (
            json!({"model": "fusion/pair", "prompt": "x", "response_format": {"type": "json_object"}}),
            "invalid_request",
            "response_format",
        ),
    ] {
        let reply = post(server.address, "/v1/completions", &body);
        assert_eq!(reply.code(), code, "{}", reply.body);
        assert!(reply.message().contains(says), "{}", reply.message());
    }
}

#[test]
fn what_asks_for_nothing_is_accepted_and_usage_counts_tokens_once() {
    let (server, _dir, _models) = server();
    let messages = json!([{"role": "user", "content": "abc the"}, {"role": "assistant", "content": null}]);
    let asked = json!({"model": "fusion/pair", "messages": messages, "max_tokens": 7, "n": 1, "logprobs": false,
                       "presence_penalty": 0, "response_format": {"type": "text"}, "tools": [], "tool_choice": "none",
                       "user": "u", "seed": 1});
    let said = post(server.address, CHAT, &asked);
    assert_eq!(said.status, 200, "{}", said.body);
    let usage = said.json()["usage"].clone();
    // A beginning-of-text token, and the text with a space before it and a line break after.
    assert_eq!(
        (&usage["completion_tokens"], &usage["total_tokens"]),
        (&json!(7), &json!(7 + usage["prompt_tokens"].as_u64().unwrap()))
    );
    assert_eq!(usage["prompt_tokens"], usage["members"][0]["prompt_tokens"]);
    let one = json!({"model": "fusion/pair", "prompt": ["abc the"], "max_tokens": 7, "temperature": 1.0});
    let texts: Vec<String> = (0..4)
        .map(|_| post(server.address, "/v1/completions", &one).json()["choices"][0]["text"].to_string())
        .collect();
    assert!(texts.iter().any(|text| *text != texts[0]), "without a seed answers differ: {texts:?}");
}

#[test]
fn an_answer_that_fills_the_context_is_told_with_its_text() {
    let (server, _dir, _models) = server();
    let asked = json!({"model": "fusion/pair", "prompt": "x".repeat(590), "seed": 1});
    let said = post(server.address, "/v1/completions", &asked).json();
    assert_eq!(said["choices"][0]["finish_reason"], "length", "{said}");
    assert!(!said["choices"][0]["text"].as_str().unwrap().is_empty());
}

#[test]
fn a_caller_that_goes_away_frees_its_place() {
    let (server, _dir, _models) = server();
    let asked = json!({"model": "fusion/pair", "prompt": "the ", "stream": true, "max_tokens": 40});
    let body = asked.to_string();
    for _ in 0..5 {
        let mut client = Client::connect(server.address);
        let head = format!(
            "POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        client.write(head.as_bytes());
        client.write(body.as_bytes());
        drop(client);
    }
    // The one place there is becomes free again.
    until("a place", || post(server.address, "/v1/completions", &asked).status == 200);
}
