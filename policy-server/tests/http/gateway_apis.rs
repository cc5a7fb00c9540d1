//! The other APIs: responses, messages, embeddings, lists of models; and translation where arm and caller differ.

use crate::client::{Reply, get, post, send};
use crate::gate::{Gate, body, logged, model, streaming};
use crate::policies;
use crate::upstream::{
    DONE, Do, FINISH, ROLE, USAGE, Upstream, chat, delta, piece, stream, stream_end, stream_head, whole,
};
use routewright_policy::SelectorSpec;
use routewright_policy_server::{ModelConfig, ModelDialect, Secret};
use serde_json::{Value, json};

const MESSAGE: &str = r#"{"id":"msg_1","type":"message","role":"assistant","model":"m",
    "content":[{"type":"text","text":"Hi"}],"stop_reason":"end_turn","stop_sequence":null,
    "usage":{"input_tokens":1000,"output_tokens":100}}"#;

/// An arm `claude` of the Anthropic dialect beside `small` and `large`, none of which it is unless told so.
fn anthropic(base_url: &str) -> ModelConfig {
    ModelConfig { dialect: ModelDialect::Anthropic, secret: Some(Secret::new("sk-ant")), ..model(base_url) }
}

fn event(name: &str, data: &Value) -> String {
    format!("event: {name}\ndata: {data}\n\n")
}

/// A stream of messages.
fn messages_stream() -> Vec<String> {
    let start = json!({ "type": "message_start", "message": { "id": "msg_1", "type": "message", "role": "assistant",
        "model": "m", "content": [], "stop_reason": null, "usage": { "input_tokens": 1000, "output_tokens": 1 } } });
    let block =
        json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "text", "text": "" } });
    let text = |text: &str| {
        let delta = json!({ "type": "text_delta", "text": text });
        json!({ "type": "content_block_delta", "index": 0, "delta": delta })
    };
    let end = json!({ "type": "message_delta", "delta": { "stop_reason": "end_turn", "stop_sequence": null },
                      "usage": { "output_tokens": 100 } });
    vec![
        event("message_start", &start),
        event("content_block_start", &block),
        event("content_block_delta", &text("Hel")),
        event("content_block_delta", &text("lo")),
        event("content_block_stop", &json!({ "type": "content_block_stop", "index": 0 })),
        event("message_delta", &end),
        event("message_stop", &json!({ "type": "message_stop" })),
    ]
}

fn scripted(events: &[String]) -> Vec<Do> {
    let pieces = events.iter().map(|event| piece(event));
    std::iter::once(stream_head()).chain(pieces).chain([stream_end()]).collect()
}

fn message_body(model: &str) -> Value {
    json!({ "model": model, "max_tokens": 64, "messages": [{ "role": "user", "content": "hello" }] })
}

fn data(reply: &Reply) -> Vec<Value> {
    let events = reply.body.split("\n\n").filter_map(|event| event.split("data: ").nth(1));
    events.filter(|data| *data != "[DONE]").map(|data| serde_json::from_str(data).unwrap()).collect()
}

#[test]
fn messages_pass_through_to_a_model_of_that_dialect() {
    let whole_arm = Upstream::saying(whole(200, &[("request-id", "req_1")], MESSAGE));
    let gate = Gate::start(&[], |config| {
        config.models.insert("large".into(), anthropic(&whole_arm.base_url()));
    });
    let raw = "{\"model\": \"routewright/main\",\"max_tokens\":64,\
               \"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\
               \"thinking\":{\"type\":\"disabled\"}}";
    let headers =
        [("anthropic-version", "2024-01-01"), ("anthropic-beta", "a,b"), ("x-api-key", "caller-key")];
    let reply = send(gate.server.address, "POST", "/v1/messages", &headers, raw);
    assert_eq!((reply.status, reply.body.as_str()), (200, MESSAGE), "{}", reply.body);
    assert_eq!(reply.header("x-router-upstream-request-id"), Some("req_1"));
    let received = &whole_arm.received()[0];
    assert_eq!(received.body, raw.replace("routewright/main", "large"));
    assert!(received.head.starts_with("POST /v1/messages "), "{}", received.head);
    let header = |name: &str| received.header(name);
    assert_eq!((header("x-api-key"), header("authorization")), (Some("sk-ant"), None));
    assert_eq!((header("anthropic-version"), header("anthropic-beta")), (Some("2024-01-01"), Some("a,b")));
    let (log, _dir) = gate.stop();
    assert_eq!(logged(&log), [("large".to_owned(), true, Some(0.0014), Some("ok".to_owned()))]);
}

#[test]
fn a_stream_of_messages_passes_through_and_its_failures_have_its_shape() {
    let events = messages_stream();
    let arm = Upstream::saying(scripted(&events));
    let gate = Gate::start(&[], |config| {
        config.models.insert("large".into(), anthropic(&arm.base_url()));
    });
    let mut asked = message_body("routewright/main");
    asked["stream"] = json!(true);
    let reply = post(gate.server.address, "/v1/messages", &asked);
    assert_eq!(reply.body, events.concat());
    let (log, _dir) = gate.stop();
    assert_eq!(logged(&log), [("large".to_owned(), true, Some(0.0014), Some("ok".to_owned()))]);
    // Cut off behind its first content.
    let cut = Upstream::saying(scripted(&events[..3]));
    let gate = Gate::start(&[], |config| {
        config.models.insert("large".into(), anthropic(&cut.base_url()));
    });
    let reply = post(gate.server.address, "/v1/messages", &asked);
    let last = reply.body.trim_end().rsplit("\n\n").next().unwrap();
    assert!(last.starts_with("event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":"), "{last}");
    for (path, asked, status, kind) in [
        ("/v1/messages", message_body("none"), 404, "not_found_error"),
        ("/v1/messages", json!({ "messages": [] }), 400, "invalid_request_error"),
    ] {
        let reply = post(gate.server.address, path, &asked);
        assert_eq!(reply.status, status);
        assert_eq!((&reply.json()["type"], &reply.json()["error"]["type"]), (&json!("error"), &json!(kind)));
    }
}

#[test]
fn a_chat_is_answered_by_a_model_of_messages_and_the_other_way_round() {
    let claude = Upstream::saying(whole(200, &[], MESSAGE));
    let gate = Gate::start(&[], |config| {
        config.models.insert("large".into(), anthropic(&claude.base_url()));
    });
    let mut asked = body("routewright/main");
    asked["seed"] = json!(7);
    let reply = post(gate.server.address, "/v1/chat/completions", &asked);
    assert_eq!(reply.status, 200, "{}", reply.body);
    let answer = reply.json();
    assert_eq!(answer["choices"][0]["message"]["content"], "Hi");
    assert_eq!(
        (&answer["object"], &answer["choices"][0]["finish_reason"]),
        (&json!("chat.completion"), &json!("stop"))
    );
    assert_eq!(answer["usage"]["prompt_tokens"], 1000);
    assert_eq!(
        (reply.header("x-router-dropped"), reply.header("x-router-cost-usd")),
        (Some("seed"), Some("0.0014"))
    );
    let sent: Value = serde_json::from_str(&claude.received()[0].body).unwrap();
    assert_eq!((&sent["model"], &sent["messages"][0]["role"]), (&json!("large"), &json!("user")));
    assert!(claude.received()[0].head.starts_with("POST /v1/messages "));
    // What the other dialect cannot say is refused before anything is sent.
    asked["n"] = json!(3);
    let reply = post(gate.server.address, "/v1/chat/completions", &asked);
    assert_eq!((reply.status, reply.code().as_str()), (422, "no_eligible_candidate"), "{}", reply.body);
    assert_eq!(claude.received().len(), 1);

    let gpt = Upstream::saying(chat("Hi"));
    let gate = Gate::start(&[("large", &gpt.base_url())], |_| {});
    let reply = post(gate.server.address, "/v1/messages", &message_body("routewright/main"));
    assert_eq!(reply.status, 200, "{}", reply.body);
    let answer = reply.json();
    assert_eq!((&answer["type"], &answer["content"][0]["text"]), (&json!("message"), &json!("Hi")));
    assert_eq!(
        (&answer["stop_reason"], &answer["usage"]["output_tokens"]),
        (&json!("end_turn"), &json!(100))
    );
}

#[test]
fn streams_are_translated_both_ways() {
    let claude = Upstream::saying(scripted(&messages_stream()));
    let gate = Gate::start(&[], |config| {
        config.models.insert("large".into(), anthropic(&claude.base_url()));
    });
    let mut asked = streaming("routewright/main");
    asked["stream_options"] = json!({ "include_usage": true });
    let reply = post(gate.server.address, "/v1/chat/completions", &asked);
    let chunks = data(&reply);
    let text: String =
        chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
    assert!(reply.body.ends_with(DONE) && text == "Hello", "{}", reply.body);
    assert_eq!(chunks.last().unwrap()["usage"]["completion_tokens"], 100);
    let (log, _dir) = gate.stop();
    assert_eq!(logged(&log), [("large".to_owned(), true, Some(0.0014), Some("ok".to_owned()))]);

    let script =
        [ROLE.to_owned(), delta("Hel"), delta("lo"), FINISH.to_owned(), USAGE.to_owned(), DONE.to_owned()];
    let gpt = Upstream::saying(scripted(&script));
    let gate = Gate::start(&[("large", &gpt.base_url())], |_| {});
    let mut asked = message_body("large");
    asked["stream"] = json!(true);
    let reply = post(gate.server.address, "/v1/messages", &asked);
    let events = data(&reply);
    let text: String = events.iter().filter_map(|event| event["delta"]["text"].as_str()).collect();
    assert_eq!((text.as_str(), &events[0]["type"]), ("Hello", &json!("message_start")), "{}", reply.body);
    assert_eq!(events.last().unwrap()["type"], "message_stop");
    // Cut off: an error in the shape of the caller, and no end.
    let cut = Upstream::saying(vec![stream_head(), piece(ROLE), piece(&delta("Hel")), Do::Close]);
    let gate = Gate::start(&[("large", &cut.base_url())], |_| {});
    let reply = post(gate.server.address, "/v1/messages", &asked);
    assert!(reply.body.contains("event: error") && !reply.body.contains("message_stop"), "{}", reply.body);
}

#[test]
fn responses_and_embeddings_pass_through_and_are_routed() {
    let answer = r#"{"id":"resp_1","object":"response","status":"completed","output":[],
        "usage":{"input_tokens":1000,"output_tokens":100}}"#;
    let arm = Upstream::saying(whole(200, &[], answer));
    let gate = Gate::start(&[("large", &arm.base_url())], |_| {});
    let asked = json!({ "model": "routewright/main", "input": "hello", "store": false });
    let reply = post(gate.server.address, "/v1/responses", &asked);
    assert_eq!((reply.status, reply.body.as_str()), (200, answer));
    assert_eq!(reply.header("x-router-cost-usd"), Some("0.0014"));
    assert!(arm.received()[0].head.starts_with("POST /v1/responses "));
    // What one server keeps is nowhere else.
    let pinned = json!({ "model": "routewright/main", "input": "and?", "previous_response_id": "resp_1" });
    let reply = post(gate.server.address, "/v1/responses", &pinned);
    assert_eq!((reply.status, reply.code().as_str()), (400, "invalid_request"));
    let named = json!({ "model": "large", "input": "and?", "previous_response_id": "resp_1" });
    assert_eq!(post(gate.server.address, "/v1/responses", &named).status, 200);

    let vectors = r#"{"object":"list","data":[{"index":0,"embedding":"AACAPw=="}],
        "usage":{"prompt_tokens":1000,"total_tokens":1000}}"#;
    let arm = Upstream::saying(whole(200, &[], vectors));
    let gate = Gate::start(&[("large", &arm.base_url())], |_| {});
    for (model, input) in [("large", json!([[1, 2, 3]])), ("routewright/main", json!(["a", "b"]))] {
        let asked = json!({ "model": model, "input": input, "encoding_format": "base64" });
        let reply = post(gate.server.address, "/v1/embeddings", &asked);
        assert_eq!((reply.status, reply.body.as_str()), (200, vectors), "{model}");
        assert_eq!(reply.header("x-router-cost-usd"), Some("0.001"));
    }
}

#[test]
fn models_are_listed_in_both_shapes_and_found_by_name() {
    let arm = Upstream::saying(stream(true));
    let gate = Gate::start(&[("large", &arm.base_url())], |config| {
        let beside = ModelConfig { context_tokens: Some(4096), ..model(&arm.base_url()) };
        config.models.insert("vendor/beside".into(), beside);
        policies::write_text(&config.policies[0].path, SelectorSpec::named("argmax"));
    });
    let address = gate.server.address;
    let list = get(address, "/v1/models").json();
    let ids: Vec<&str> = list["data"].as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["routewright/main", "large", "other", "small", "vendor/beside"]);
    let called: Vec<bool> = list["data"].as_array().unwrap().iter().map(|m| m["called"] == true).collect();
    assert_eq!(called, [true, true, false, false, true]);
    let one = get(address, "/v1/models/vendor/beside").json();
    assert_eq!(
        (&one["id"], &one["context_tokens"], &one["object"]),
        (&json!("vendor/beside"), &json!(4096), &json!("model"))
    );
    assert_eq!(get(address, "/v1/models/routewright/main").json()["kind"], "policy");
    let missing = get(address, "/v1/models/larg");
    assert_eq!((missing.status, missing.code().as_str()), (404, "model_not_found"));
    let headers = [("anthropic-version", "2023-06-01")];
    let list = send(address, "GET", "/v1/models", &headers, "").json();
    assert_eq!((&list["data"][0]["type"], &list["first_id"]), (&json!("model"), &json!("routewright/main")));
    assert!(list["data"][0]["created_at"].as_str().unwrap().ends_with('Z'), "{list}");
    assert_eq!(send(address, "DELETE", "/v1/models/large", &[], "").status, 405);
}

#[test]
fn a_response_is_answered_by_a_model_of_messages() {
    let claude = Upstream::start(|_, received| match received.body.contains("\"stream\":true") {
        true => scripted(&messages_stream()),
        false => whole(200, &[], MESSAGE),
    });
    let gate = Gate::start(&[], |config| {
        config.models.insert("large".into(), anthropic(&claude.base_url()));
    });
    let asked = json!({ "model": "routewright/main", "input": "hello", "store": false });
    let reply = post(gate.server.address, "/v1/responses", &asked);
    assert_eq!(reply.status, 200, "{}", reply.body);
    let answer = reply.json();
    assert_eq!((&answer["object"], &answer["status"]), (&json!("response"), &json!("completed")));
    assert_eq!(answer["usage"]["input_tokens"], 1000);
    let mut asked = asked;
    asked["stream"] = json!(true);
    let reply = post(gate.server.address, "/v1/responses", &asked);
    let events = data(&reply);
    let text: String = events
        .iter()
        .filter(|event| event["type"] == "response.output_text.delta")
        .filter_map(|event| event["delta"].as_str())
        .collect();
    assert_eq!((text.as_str(), &events.last().unwrap()["type"]), ("Hello", &json!("response.completed")));
}
