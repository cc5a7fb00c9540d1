//! A real llama.cpp server behind the gateway: what a caller gets is what that server says, byte for byte. Runs where
//! `ROUTEWRIGHT_LLAMA_SERVER` is the URL of one; `.ci/llama-server` starts one.

use crate::client::{Reply, send};
use crate::gate::{CHAT, Gate, ask, logged};
use serde_json::{Value, json};
use std::net::SocketAddr;

/// The address of the server, or a report that the test is skipped.
fn server() -> Option<SocketAddr> {
    let Ok(url) = std::env::var("ROUTEWRIGHT_LLAMA_SERVER") else {
        let why = "`ROUTEWRIGHT_LLAMA_SERVER` names no llama.cpp server; `.ci/llama-server` starts one";
        routewright_data::testing::skip("llama.cpp server", why);
        return None;
    };
    Some(url.strip_prefix("http://").unwrap().trim_end_matches('/').parse().unwrap())
}

/// Greedy, so that the same request has the same answer.
fn body(model: &str) -> Value {
    json!({
        "model": model, "temperature": 0, "max_tokens": 24, "seed": 1,
        "messages": [
            { "role": "system", "content": "You answer in one sentence." },
            { "role": "user", "content": "Why is the sky blue? Grüße!" },
        ],
    })
}

/// The text without what differs from call to call: `"timings"`, which stand at the usage where that is asked for (as
/// the gateway does), and the values of `"id"` and `"created"`.
fn comparable(text: &str) -> String {
    let mut out = text.to_owned();
    for (from, ends) in [("\"id\":\"", "\""), ("\"created\":", ","), (",\"timings\":{", "}")] {
        let mut parts = out.split(from);
        let mut cut = parts.next().unwrap_or_default().to_owned();
        parts.for_each(|part| cut.push_str(part.split_once(ends).unwrap().1));
        out = cut;
    }
    out
}

fn direct(address: SocketAddr, body: &Value) -> Reply {
    let reply = send(address, "POST", CHAT, &[], &body.to_string());
    assert_eq!(reply.status, 200, "{}", reply.body);
    reply
}

#[test]
fn an_answer_is_that_of_the_server_itself() {
    let Some(address) = server() else { return };
    let gate = Gate::start(&[("large", &format!("http://{address}/v1"))], |_| {});
    let expected = direct(address, &body("large"));
    assert_eq!(
        comparable(&direct(address, &body("large")).body),
        comparable(&expected.body),
        "it is repeatable"
    );
    for model in ["routewright/main", "large"] {
        let reply = ask(&gate, &body(model));
        assert_eq!(reply.status, 200, "{}", reply.body);
        assert_eq!(comparable(&reply.body), comparable(&expected.body), "{model}");
        assert_eq!(reply.header("content-type"), expected.header("content-type"));
        assert_eq!(reply.header("x-router-model"), Some("large"));
    }
    let said = expected.json();
    assert!(said["choices"][0]["message"]["content"].as_str().unwrap().len() > 20, "{said}");
    let usage = |name: &str| said["usage"][name].as_f64().unwrap();
    let price = (usage("prompt_tokens") * 1.0 + usage("completion_tokens") * 4.0) / 1e6;
    let (log, _dir) = gate.stop();
    let calls = logged(&log);
    assert_eq!(calls.len(), 1, "{calls:?}");
    let (model, active, cost, outcome) = &calls[0];
    assert_eq!((model.as_str(), *active, outcome.as_deref()), ("large", true, Some("ok")));
    assert!((cost.unwrap() - price).abs() < 1e-12, "{cost:?} {price}");
}

#[test]
fn a_stream_is_that_of_the_server_itself() {
    let Some(address) = server() else { return };
    let gate = Gate::start(&[("large", &format!("http://{address}/v1"))], |_| {});
    for usage in [false, true] {
        let streaming = |model: &str| {
            let mut body = body(model);
            body["stream"] = json!(true);
            if usage {
                body["stream_options"] = json!({ "include_usage": true });
            }
            body
        };
        let expected = direct(address, &streaming("large")).body;
        let reply = ask(&gate, &streaming("routewright/main"));
        assert_eq!(reply.status, 200, "{}", reply.body);
        assert_eq!(comparable(&reply.body), comparable(&expected), "usage asked for: {usage}");
        assert!(
            expected.matches("data: ").count() > 10 && expected.ends_with("data: [DONE]\n\n"),
            "{expected}"
        );
        assert_eq!(expected.contains("\"usage\""), usage, "{expected}");
        // What was streamed is what is said as a whole.
        let said = |event: &str| {
            let event: Value = serde_json::from_str(event).ok()?;
            Some(event["choices"][0]["delta"]["content"].as_str()?.to_owned())
        };
        let text: String = reply.body.split("data: ").filter_map(said).collect();
        assert_eq!(json!(text), direct(address, &body("large")).json()["choices"][0]["message"]["content"]);
    }
}
