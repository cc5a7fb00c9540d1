//! What a key may use: models, requests and tokens a minute, prompts within the window.

use crate::client::{Reply, get, send};
use crate::gate::{CHAT, Gate, body};
use crate::upstream::{Upstream, chat, stream, whole};
use routewright_policy_server::{ModelDialect, ServerConfig, keys};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// A key of these limits, and its file.
pub(crate) fn key(dir: &Path, limits: &str) -> (String, PathBuf) {
    let (new, file) = (keys::generate("tester").unwrap(), dir.join("keys.toml"));
    std::fs::write(&file, format!("{}{limits}\n", new.record.to_toml())).unwrap();
    (new.key.reveal().to_owned(), file)
}

pub(crate) fn ask(gate: &Gate, key: &str, body: &Value) -> Reply {
    send(gate.server.address, "POST", CHAT, &[("x-api-key", key)], &body.to_string())
}

fn start(
    models: &[(&str, &str)],
    limits: &str,
    change: impl FnOnce(&mut ServerConfig),
) -> (Gate, String, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let (key, file) = key(dir.path(), limits);
    let gate = Gate::start(models, |config| {
        config.keys_file = Some(file);
        change(config);
    });
    (gate, key, dir)
}

#[test]
fn models_that_may_not_answer_a_key_are_unknown_to_it_and_never_chosen() {
    let (large, small) = (Upstream::saying(chat("large")), Upstream::saying(chat("small")));
    let models = [("large", large.base_url()), ("small", small.base_url())];
    let models = models.each_ref().map(|(name, url)| (*name, url.as_str()));
    let (gate, key, _dir) = start(&models, "models = ['small']", |_| {});
    // The policy prefers `large`.
    let reply = ask(&gate, &key, &body("routewright/main"));
    assert_eq!((reply.status, reply.header("x-router-model")), (200, Some("small")), "{}", reply.body);
    assert_eq!(ask(&gate, &key, &body("small")).status, 200);
    let (forbidden, absent) = (ask(&gate, &key, &body("large")), ask(&gate, &key, &body("lurge")));
    assert_eq!((forbidden.status, forbidden.code().as_str()), (404, "model_not_found"));
    let unnamed = |reply: &Reply, name: &str| reply.message().replace(name, "NAME");
    assert_eq!(unnamed(&forbidden, "large"), unnamed(&absent, "lurge"), "alike");
    assert_eq!(large.received().len(), 0);
    let list = send(gate.server.address, "GET", "/v1/models", &[("x-api-key", &key)], "");
    assert!(list.body.contains("\"small\"") && !list.body.contains("large"), "{}", list.body);
    let one = send(gate.server.address, "GET", "/v1/models/large", &[("x-api-key", &key)], "");
    assert_eq!(one.status, 404);
}

#[test]
fn where_no_arm_may_answer_nothing_is_decided() {
    let large = Upstream::saying(chat("large"));
    let other = Upstream::saying(chat("elsewhere"));
    let models = [("large", large.base_url()), ("elsewhere", other.base_url())];
    let models = models.each_ref().map(|(name, url)| (*name, url.as_str()));
    let (gate, key, _dir) = start(&models, "models = ['elsewhere']", |_| {});
    let reply = ask(&gate, &key, &body("routewright/main"));
    assert_eq!((reply.status, reply.code().as_str()), (422, "no_eligible_candidate"), "{}", reply.body);
    assert_eq!(large.received().len() + other.received().len(), 0);
    assert!(crate::gate::logged(&gate.log()).is_empty());
}

#[test]
fn requests_a_minute_are_refused_with_what_clients_read() {
    let upstream = Upstream::saying(chat("hi"));
    let models = [("large", upstream.base_url())];
    let models = models.each_ref().map(|(name, url)| (*name, url.as_str()));
    let (gate, key, _dir) = start(&models, "requests_per_minute = 3", |config| {
        let claude = config.models["large"].clone();
        let claude = routewright_policy_server::ModelConfig { dialect: ModelDialect::Anthropic, ..claude };
        config.models.insert("claude".into(), claude);
    });
    for left in ["2", "1", "0"] {
        let reply = ask(&gate, &key, &body("large"));
        assert_eq!(reply.status, 200, "{}", reply.body);
        assert_eq!(reply.header("x-ratelimit-limit-requests"), Some("3"));
        assert_eq!(reply.header("x-ratelimit-remaining-requests"), Some(left));
        assert_eq!(reply.header("x-ratelimit-limit-tokens"), None, "there is no such limit");
    }
    let refused = ask(&gate, &key, &body("large"));
    assert_eq!((refused.status, refused.code().as_str()), (429, "rate_limited"));
    let seconds: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((15..=20).contains(&seconds), "one is earned in 20 s: {seconds}");
    assert_eq!(refused.header("x-ratelimit-remaining-requests"), Some("0"));
    assert!(refused.header("x-ratelimit-reset-requests").is_some());
    // The shape is that of the API, and the limit that of the key.
    let message =
        json!({ "model": "claude", "max_tokens": 5, "messages": [{ "role": "user", "content": "x" }] });
    let headers = [("x-api-key", key.as_str())];
    let reply = send(gate.server.address, "POST", "/v1/messages", &headers, &message.to_string());
    assert_eq!((reply.status, &reply.json()["error"]["type"]), (429, &json!("rate_limit_error")));
    assert_eq!(reply.json()["type"], "error");
    assert_eq!(reply.header("anthropic-ratelimit-requests-limit"), Some("3"));
    assert!(reply.header("anthropic-ratelimit-requests-reset").unwrap().ends_with('Z'));
    // What no model answers has no such limit.
    assert_eq!(send(gate.server.address, "GET", "/v1/models", &headers, "").status, 200);
    assert_eq!(upstream.received().len(), 3);
}

#[test]
fn tokens_a_minute_are_charged_by_estimate_and_corrected_by_usage() {
    let upstream =
        Upstream::start(
            |_, request| {
                if request.body.contains("\"stream\"") { stream(true) } else { chat("hi") }
            },
        );
    let models = [("large", upstream.base_url())];
    let models = models.each_ref().map(|(name, url)| (*name, url.as_str()));
    let (gate, key, _dir) = start(&models, "tokens_per_minute = 6000", |_| {});
    let with = |most: u64, streams: bool| {
        let mut body = body("large");
        body["max_tokens"] = json!(most);
        if streams {
            body["stream"] = json!(true);
        }
        body
    };
    let remaining =
        |reply: &Reply| -> u64 { reply.header("x-ratelimit-remaining-tokens").unwrap().parse().unwrap() };
    // 10 tokens of the prompt by our count and 2000 of the answer are charged, 1100 were used.
    let reply = ask(&gate, &key, &with(2000, false));
    assert_eq!((reply.status, reply.header("x-ratelimit-limit-tokens")), (200, Some("6000")));
    let left = remaining(&reply);
    assert!((4900..=4900 + 300).contains(&left), "{left}");
    let reply = ask(&gate, &key, &with(4000, true));
    assert_eq!(reply.status, 200, "{}", reply.body);
    crate::client::until("what the stream took is corrected", || {
        remaining(&ask(&gate, &key, &with(6000, false))) > 3500
    });
    let never = ask(&gate, &key, &with(6000, false));
    assert_eq!((never.status, never.code().as_str()), (400, "invalid_request"));
    assert!(never.message().contains("6010 tokens") && never.message().contains("at most 6000"));
    let refused = ask(&gate, &key, &with(5900, false));
    assert_eq!((refused.status, refused.code().as_str()), (429, "rate_limited"), "{}", refused.body);
    // A request that fails before anything was used takes nothing.
    let before = remaining(&refused);
    for _ in 0..20 {
        assert_eq!(
            ask(&gate, &key, &{
                let mut body = with(1000, false);
                body["model"] = json!("routewright/none");
                body
            })
            .status,
            404
        );
    }
    assert!(remaining(&ask(&gate, &key, &with(6000, false))) >= before);
}

#[test]
fn a_prompt_that_no_window_holds_is_refused_before_any_call() {
    let upstream = Upstream::saying(chat("hi"));
    let gate = Gate::start(&[("large", &upstream.base_url())], |config| {
        config.models.get_mut("large").unwrap().context_tokens = Some(100);
    });
    let long = |model: &str| {
        let content = "word ".repeat(400);
        json!({ "model": model, "messages": [{ "role": "user", "content": content }] })
    };
    for model in ["large", "routewright/main"] {
        let reply = crate::gate::ask(&gate, &long(model));
        assert_eq!((reply.status, reply.code().as_str()), (400, "context_length_exceeded"), "{}", reply.body);
        assert!(reply.message().contains("about 504 tokens"), "{}", reply.message());
    }
    assert_eq!(upstream.received().len(), 0);
    assert_eq!(crate::gate::ask(&gate, &body("large")).status, 200);
}

#[test]
fn two_thousand_requests_at_once_get_what_their_key_has() {
    let upstream = Upstream::saying(whole(200, &[], &crate::upstream::chat_body("hi")));
    let models = [("large", upstream.base_url())];
    let models = models.each_ref().map(|(name, url)| (*name, url.as_str()));
    let (gate, key, _dir) = start(&models, "requests_per_minute = 50", |_| {});
    let passed: usize = std::thread::scope(|scope| {
        let asks: Vec<_> = (0..40)
            .map(|_| {
                scope.spawn(|| (0..50).filter(|_| ask(&gate, &key, &body("large")).status == 200).count())
            })
            .collect();
        asks.into_iter().map(|ask| ask.join().unwrap()).sum()
    });
    // Beside the burst one more is earned in 1.2 s.
    assert!((50..=50 + 60).contains(&passed), "{passed}");
    assert_eq!(upstream.received().len(), passed);
    assert_eq!(get(gate.server.address, "/health").status, 200);
}
