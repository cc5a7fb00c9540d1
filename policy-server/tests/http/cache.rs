//! Answers kept for requests that come again: byte for byte, by key, only where that is asked for.

use crate::client::{Reply, get, send, until};
use crate::gate::{CHAT, Gate, body, logged, model, streaming};
use crate::upstream::{
    DONE, Do, FINISH, ROLE, Upstream, chat, chat_body, delta, piece, stream, stream_head, whole,
};
use routewright_policy_server::keys;
use serde_json::{Value, json};

/// A server of one model `large` and keys of these records.
fn start(upstream: &Upstream, records: &[&str]) -> (Gate, Vec<String>, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let new: Vec<_> = records.iter().map(|_| keys::generate("tester").unwrap()).collect();
    let lines = new.iter().zip(records).map(|(new, record)| format!("{}{record}\n", new.record.to_toml()));
    let file = dir.path().join("keys.toml");
    std::fs::write(&file, lines.collect::<String>()).unwrap();
    let gate = Gate::start(&[("large", &upstream.base_url())], |config| {
        config.keys_file = Some(file);
        config.metrics_open = true;
        config.models.insert("second".into(), model(&upstream.base_url()));
    });
    (gate, new.iter().map(|new| new.key.reveal().to_owned()).collect(), dir)
}

fn ask(gate: &Gate, key: &str, body: &Value) -> Reply {
    send(gate.server.address, "POST", CHAT, &[("x-api-key", key)], &body.to_string())
}

fn greedy(mut body: Value) -> Value {
    body["temperature"] = json!(0);
    body
}

/// Numbers its answers.
fn counting() -> Upstream {
    Upstream::start(|n, request| match request.body.contains("\"stream\":true") {
        true => stream(true),
        false => chat(&format!("answer {n}")),
    })
}

#[test]
fn a_request_that_comes_again_gets_the_same_bytes_and_costs_nothing() {
    let upstream = counting();
    let (gate, keys, _dir) = start(&upstream, &["cache_seconds = 600\nbudget_day_usd = 10"]);
    let first = ask(&gate, &keys[0], &greedy(body("routewright/main")));
    assert_eq!((first.status, first.header("x-router-cache")), (200, Some("miss")), "{}", first.body);
    assert_eq!(first.header("x-router-cost-usd"), Some("0.0014"));
    let mut again = greedy(body("router-main"));
    again["user"] = json!("somebody else");
    again["metadata"] = json!({ "x": 1 });
    let second = ask(&gate, &keys[0], &again);
    assert_eq!((second.status, second.body.as_str()), (200, first.body.as_str()));
    assert_eq!(
        (second.header("x-router-cache"), second.header("x-router-cost-usd")),
        (Some("hit"), Some("0"))
    );
    assert_eq!(
        (second.header("x-router-model"), second.header("x-router-decision-id")),
        (Some("large"), None)
    );
    assert_eq!(second.header("content-type"), first.header("content-type"));
    assert!(second.header("age").is_some());
    assert_eq!(upstream.received().len(), 1);
    until("it is settled", || {
        let metrics = get(gate.server.address, "/metrics").body;
        metrics.contains("window=\"day\"} 0.0014\n")
    });
    let metrics = get(gate.server.address, "/metrics").body;
    assert!(
        metrics.contains("routewright_cache_requests_total{kind=\"exact\",result=\"hit\"} 1"),
        "{metrics}"
    );
    let (log, _dir) = gate.stop();
    assert_eq!(logged(&log).len(), 1, "learners hear of the one that was called");
}

#[test]
fn a_stream_is_replayed_piece_by_piece_and_only_a_whole_one() {
    let upstream = counting();
    let (gate, keys, _dir) = start(&upstream, &["cache_seconds = 600"]);
    let expected = [ROLE, &delta("Hello"), &delta(" world"), FINISH, DONE].concat();
    for source in ["miss", "hit", "hit"] {
        let reply = ask(&gate, &keys[0], &greedy(streaming("large")));
        assert_eq!((reply.header("x-router-cache"), reply.body.as_str()), (Some(source), expected.as_str()));
        assert_eq!(reply.header("content-type"), Some("text/event-stream; charset=utf-8"));
        assert_eq!(reply.header("x-accel-buffering"), Some("no"));
    }
    // One that shows its usage is another one, and a whole answer a third.
    let mut asking = greedy(streaming("large"));
    asking["stream_options"] = json!({ "include_usage": true });
    assert!(ask(&gate, &keys[0], &asking).body.contains("prompt_tokens"));
    assert!(ask(&gate, &keys[0], &asking).body.contains("prompt_tokens"));
    assert_eq!(ask(&gate, &keys[0], &greedy(body("large"))).header("x-router-cache"), Some("miss"));
    assert_eq!(upstream.received().len(), 3);
    let broken = Upstream::saying(vec![stream_head(), piece(ROLE), piece(&delta("Hel")), Do::Close]);
    let (gate, keys, _dir) = start(&broken, &["cache_seconds = 600"]);
    for _ in 0..2 {
        let reply = ask(&gate, &keys[0], &greedy(streaming("large")));
        assert_eq!(reply.header("x-router-cache"), Some("miss"), "{}", reply.body);
    }
    assert_eq!(broken.received().len(), 2);
}

#[test]
fn no_key_is_answered_what_another_one_asked() {
    let upstream = counting();
    let (gate, keys, _dir) =
        start(&upstream, &["cache_seconds = 600", "cache_seconds = 600", "requests_per_minute = 100"]);
    let question = greedy(body("large"));
    let bodies: Vec<Reply> = keys.iter().map(|key| ask(&gate, key, &question)).collect();
    let sources: Vec<_> = bodies.iter().map(|reply| reply.header("x-router-cache")).collect();
    assert_eq!(sources, [Some("miss"), Some("miss"), None]);
    assert_ne!(bodies[0].body, bodies[1].body);
    assert_eq!(ask(&gate, &keys[0], &question).body, bodies[0].body);
    assert_eq!(ask(&gate, &keys[1], &question).body, bodies[1].body);
    assert_eq!(upstream.received().len(), 3);
}

#[test]
fn what_may_differ_is_asked_again() {
    let upstream = counting();
    let (gate, keys, _dir) =
        start(&upstream, &["cache_seconds = 600", "cache_seconds = 600\ncache_samples = true"]);
    let with = |field: &str, value: Value| {
        let mut body = greedy(body("large"));
        body[field] = value;
        body
    };
    let base = greedy(body("large"));
    assert_eq!(ask(&gate, &keys[0], &base).header("x-router-cache"), Some("miss"));
    for other in [
        with("model", json!("second")),
        with("model", json!("routewright/main")),
        with("max_tokens", json!(7)),
        with("seed", json!(1)),
        with("unknown", json!(true)),
        with("messages", json!([{ "role": "user", "content": "why is the sky blue??" }])),
        with(
            "messages",
            json!([{ "role": "system", "content": "why is the sky blue?" }, { "role": "user", "content": "x" }]),
        ),
    ] {
        assert_eq!(ask(&gate, &keys[0], &other).header("x-router-cache"), Some("miss"), "{other}");
    }
    for other in [
        body("large"),
        with("temperature", json!(0.7)),
        with("n", json!(2)),
        with("store", json!(true)),
        with("tools", json!([{ "type": "function", "function": { "name": "f", "parameters": {} } }])),
    ] {
        for _ in 0..2 {
            assert_eq!(ask(&gate, &keys[0], &other).header("x-router-cache"), Some("bypass"), "{other}");
        }
    }
    let headers = |more: (&'static str, &'static str)| {
        let key = keys[0].clone();
        let body = base.to_string();
        let headers = [("x-api-key", key.as_str()), more];
        send(gate.server.address, "POST", CHAT, &headers, &body).header("x-router-cache").map(str::to_owned)
    };
    assert_eq!(headers(("x-router-cache", "no-store")).as_deref(), Some("bypass"));
    assert_eq!(headers(("openai-beta", "x=y")).as_deref(), Some("miss"));
    assert_eq!(headers(("x-other", "x=y")).as_deref(), Some("hit"));
    let sampled = body("large");
    for source in ["miss", "hit"] {
        assert_eq!(ask(&gate, &keys[1], &sampled).header("x-router-cache"), Some(source));
    }
}

#[test]
fn errors_and_answers_that_are_not_whole_are_not_kept() {
    let refusal = chat_body("no").replace("\"role\"", "\"refusal\":\"I will not\",\"role\"");
    for (name, script, status) in [
        ("an error", whole(400, &[], r#"{"error":{"message":"bad"}}"#), 400),
        ("a failure", whole(503, &[], "{}"), 502),
        ("cut off", whole(200, &[], &chat_body("h").replace("\"stop\"", "\"length\"")), 200),
        ("filtered", whole(200, &[], &chat_body("h").replace("\"stop\"", "\"content_filter\"")), 200),
        ("refused", whole(200, &[], &refusal), 200),
        ("no reason", whole(200, &[], &chat_body("h").replace("\"finish_reason\":\"stop\",", "")), 200),
    ] {
        let upstream = Upstream::saying(script);
        let (gate, keys, _dir) = start(&upstream, &["cache_seconds = 600"]);
        for _ in 0..2 {
            let reply = ask(&gate, &keys[0], &greedy(body("large")));
            assert_eq!(reply.status, status, "{name}: {}", reply.body);
            assert_ne!(reply.header("x-router-cache"), Some("hit"), "{name}");
        }
    }
    // A caller who leaves in the middle leaves nothing behind.
    let endless = Upstream::saying(vec![stream_head(), piece(ROLE), piece(&delta("a")), Do::Hang]);
    let (gate, keys, _dir) = start(&endless, &["cache_seconds = 600"]);
    for n in 1..3 {
        let mut client = crate::client::Client::connect(gate.server.address);
        let body = greedy(streaming("large")).to_string();
        let head = format!("POST {CHAT} HTTP/1.1\r\nhost: localhost\r\nx-api-key: {}\r\n", keys[0]);
        client.write(format!("{head}content-length: {}\r\n\r\n{body}", body.len()).as_bytes());
        until("it arrived", || endless.received().len() == n);
        drop(client);
        until("the call is given up", || endless.abandoned() == n);
    }
}

#[test]
fn answers_of_other_apis_are_kept_in_their_own_shape() {
    let upstream = Upstream::start(|_, request| {
        if request.head.contains("/embeddings") {
            let usage = r#"{"prompt_tokens":5,"total_tokens":5}"#;
            return whole(200, &[], &format!(r#"{{"data":[{{"embedding":"AAAA"}}],"usage":{usage}}}"#));
        }
        if request.body.contains("\"stream\":true") { stream(true) } else { chat("hi") }
    });
    let (gate, keys, _dir) = start(&upstream, &["cache_seconds = 600"]);
    let headers = [("x-api-key", keys[0].as_str())];
    let message = |streams: bool| {
        json!({ "model": "large", "max_tokens": 5, "temperature": 0, "stream": streams,
                "messages": [{ "role": "user", "content": "x" }] })
    };
    let embedding = json!({ "model": "large", "input": "x" });
    for (path, body) in
        [("/v1/messages", message(false)), ("/v1/messages", message(true)), ("/v1/embeddings", embedding)]
    {
        let before = upstream.received().len();
        let ask = || send(gate.server.address, "POST", path, &headers, &body.to_string());
        let (first, second) = (ask(), ask());
        assert_eq!((first.status, first.header("x-router-cache")), (200, Some("miss")), "{}", first.body);
        assert_eq!((second.status, second.header("x-router-cache")), (200, Some("hit")), "{path}");
        assert_eq!(first.body, second.body);
        assert_eq!(upstream.received().len(), before + 1);
    }
}
