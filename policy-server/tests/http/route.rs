//! What a decision says.

use crate::client::{get, post, send};
use crate::server::{default_server, obedient_server};
use routewright_policy_server::Execution;
use serde_json::{Value, json};

const V: [f32; 2] = [1.0, 0.0];

#[test]
fn a_decision_names_model_policy_propensity_candidates_and_fallbacks() {
    let (server, _dir) = default_server(|_| {});
    let reply = post(server.address, "/v1/route", &json!({ "vector": V, "seed": 5, "session_id": "s1" }));
    assert_eq!(reply.status, 200, "{}", reply.body);
    let body = reply.json();
    assert_eq!(body["object"], "routing.decision");
    assert!(body["id"].as_str().unwrap().starts_with("dec_"));
    assert!(body["created"].as_u64().unwrap() > 1_700_000_000);
    assert_eq!(body["action"], json!({ "kind": "model", "model": "large" }));
    assert_eq!(body["fallbacks"], json!(["other", "small"]), "0.6 before 0.5");
    assert_eq!((&body["propensity"], &body["reason"]), (&json!(1.0), &json!("selected")));
    assert_eq!((&body["seed"], &body["session"]["id"]), (&json!(5), &json!("s1")));
    assert_eq!(body["exploration"], json!({ "strategy": "argmax", "exact": true }));
    let digest = body["policy"]["digest"].as_str().unwrap();
    assert_eq!((body["policy"]["name"].as_str(), digest.len()), (Some("main"), 64));
    assert!(digest.starts_with(body["policy"]["version"].as_str().unwrap()));
    let candidate = &body["candidates"][0];
    assert_eq!(candidate["model"], "small");
    assert!((candidate["score"].as_f64().unwrap() - 0.5).abs() < 1e-6);
    assert!((candidate["cost_usd"].as_f64().unwrap() - 0.001).abs() < 1e-8);
    assert_eq!((&candidate["latency_ms"], &candidate["eligible"]), (&json!(100.0), &json!(true)));
    assert_eq!(body["candidates"][2]["cost_usd"], Value::Null, "unknown stays unknown");
    // (0.8 - 0.5) / (0.01 - 0.001): the price of money at which `small` overtakes.
    assert_eq!(body["flip"]["model"], "small");
    assert!((body["flip"]["lambda"].as_f64().unwrap() - 0.3 / 0.009).abs() < 1e-3);
    assert!(body["timings"]["score_us"].as_f64().unwrap() >= 0.0);
    assert_eq!(reply.header("x-router-policy"), Some("main"));
    assert_eq!(reply.header("x-router-model"), Some("large"));
    assert_eq!(reply.header("x-router-reason"), Some("selected"));
    assert_eq!(reply.header("x-router-decision-id"), body["id"].as_str());
    let cost_usd: f64 = reply.header("x-router-cost-usd").unwrap().parse().unwrap();
    assert!((cost_usd - 0.01).abs() < 1e-8, "the predicted price of `large`");
    assert!(reply.header("x-router-overhead-ms").unwrap().parse::<f64>().unwrap() > 0.0);
}

#[test]
fn a_session_is_read_from_field_header_or_model_request_in_that_order() {
    let (server, _dir) = default_server(|_| {});
    let session = |headers: &[(&str, &str)], body: Value| {
        let reply = send(server.address, "POST", "/v1/route", headers, &body.to_string());
        assert_eq!(reply.status, 200, "{}", reply.body);
        reply.json()["session"]["id"].as_str().map(str::to_owned)
    };
    let headers = [("x-conversation-id", "conversation"), ("x-session-id", "session")];
    let given = json!({ "vector": V, "session_id": "field" });
    assert_eq!(session(&headers, given).as_deref(), Some("field"));
    assert_eq!(session(&headers, json!({ "vector": V })).as_deref(), Some("session"));
    assert_eq!(session(&headers[..1], json!({ "vector": V })).as_deref(), Some("conversation"));
    assert_eq!(session(&[], json!({ "vector": V })), None);
    let request = json!({ "messages": [{ "role": "user", "content": "hi" }], "prompt_cache_key": "cache" });
    let body = json!({ "request": request, "vector": V });
    assert_eq!(session(&[], body).as_deref(), Some("cache"));
}

#[test]
fn objective_constraints_candidates_and_source_shape_the_decision() {
    let (server, _dir) = default_server(|_| {});
    let choose = |body: Value| {
        let mut body = body;
        body["vector"] = json!(V);
        let reply = post(server.address, "/v1/route", &body).json();
        let excluded: Vec<Value> =
            reply["candidates"].as_array().unwrap().iter().map(|c| c["excluded_by"].clone()).collect();
        (reply["action"]["model"].clone(), reply["reason"].clone(), Value::from(excluded))
    };
    let none = || json!([null, null, null]);
    let s = |text: &str| Value::from(text);
    assert_eq!(choose(json!({ "objective": { "cost": 100.0 } })), (s("small"), s("objective"), none()));
    assert_eq!(choose(json!({ "source": "code" })), (s("small"), s("selected"), none()));
    // 0.8 - 0.9 * 1 < 0.6 - 0, latency unknown counts as 0 in an objective
    assert_eq!(choose(json!({ "objective": { "latency": 1.0 } })), (s("other"), s("objective"), none()));
    assert_eq!(
        choose(json!({ "constraints": { "max_cost_usd": 0.005 } })),
        (s("small"), s("only_eligible"), json!([null, "max_cost_usd", "max_cost_usd"]))
    );
    assert_eq!(
        choose(json!({ "constraints": { "residency": "eu" } })),
        (s("small"), s("only_eligible"), json!([null, "tags", "tags"]))
    );
    assert_eq!(
        choose(json!({ "constraints": { "max_latency_ms": 950, "tags": ["tools"] } })),
        (s("large"), s("selected"), json!([null, null, "tags"]))
    );
    assert_eq!(
        choose(json!({ "candidates": ["small", "other"] })),
        (s("other"), s("selected"), json!([null, "not_candidate", null]))
    );
}

#[test]
fn the_same_seed_repeats_a_random_decision() {
    let (server, dir) = default_server(|_| {});
    drop(server);
    let uniform = routewright_policy::SelectorSpec::named("uniform");
    crate::policies::write(&dir.path().join("main"), "main", [0.5; 3], uniform);
    let mut config = routewright_policy_server::ServerConfig::for_policies([dir.path().join("main")]);
    config.reload_poll_ms = 0;
    let server = crate::server::Running::start(config, Vec::new());
    let mut models = std::collections::BTreeSet::new();
    for seed in 0..20 {
        let ask = || post(server.address, "/v1/route", &json!({ "vector": V, "seed": seed })).json();
        let (a, b) = (ask(), ask());
        assert_eq!(a["action"], b["action"]);
        assert_ne!(a["id"], b["id"]);
        assert!((a["propensity"].as_f64().unwrap() - 1.0 / 3.0).abs() < 1e-6);
        models.insert(a["action"]["model"].as_str().unwrap().to_owned());
    }
    assert_eq!(models.len(), 3, "twenty seeds reach every arm");
    let fresh = || post(server.address, "/v1/route", &json!({ "vector": V })).json();
    let (a, b) = (fresh(), fresh());
    assert_ne!(a["seed"], b["seed"], "without a seed the server draws one and says which");
    let again = post(server.address, "/v1/route", &json!({ "vector": V, "seed": a["seed"] })).json();
    assert_eq!(again["action"], a["action"]);
}

#[test]
fn explain_says_less_or_more() {
    let (server, _seen) = obedient_server(Execution::Inline, |_| {});
    let ask = |explain: &str| {
        post(server.address, "/v1/route", &json!({ "input": "hello", "explain": explain })).json()
    };
    let none = ask("none");
    assert!(
        none.get("candidates").is_none() && none.get("flip").is_none() && none.get("neighbors").is_none()
    );
    assert_eq!(none["propensity"], 1.0, "the propensity is always there");
    let summary = ask("summary");
    assert!(summary.get("neighbors").is_none());
    // 0.5 -+ 1.96 * 0.125
    let interval = &summary["candidates"][0]["score_interval"];
    assert!((interval[0].as_f64().unwrap() - 0.255).abs() < 1e-3, "{interval}");
    assert!((interval[1].as_f64().unwrap() - 0.745).abs() < 1e-3, "{interval}");
    let full = ask("full");
    let near = json!([{ "id": "q7", "similarity": 0.5 }, { "id": "q3", "similarity": 0.25 }]);
    assert_eq!(full["neighbors"], near);
}

#[test]
fn text_is_taken_from_every_format_and_plain_bodies_are_routed() {
    let (server, _seen) = obedient_server(Execution::Worker, |config| {
        config.limits.decision_deadline_ms = 0;
    });
    // A text of `panic now` must reach the predictor to fail: that proves it was extracted.
    let turns = json!({ "model": "auto", "temperature": 1, "unknown": { "field": [] },
        "messages": [{ "role": "user", "content": "panic now" }] });
    for body in [
        json!({ "input": "panic now" }),
        json!({ "request": turns }),
        json!({ "input_format": "openai_chat", "request": turns }),
        json!({ "input_format": "anthropic_messages", "request": turns }),
        json!({ "input_format": "openai_responses", "request": { "input": "panic now", "store": false } }),
    ] {
        assert_eq!(post(server.address, "/v1/route", &body).status, 500, "{body}");
    }
    for (path, body) in [
        ("/route/v1/chat/completions", turns.clone()),
        ("/route/v1/messages", turns.clone()),
        ("/route/v1/responses", json!({ "model": "gpt", "input": "panic now" })),
    ] {
        assert_eq!(post(server.address, path, &body).status, 500, "{path}");
    }
    let mut calm = turns;
    calm["messages"][0]["content"] = json!("calm");
    let reply = post(server.address, "/route/v1/chat/completions", &calm);
    assert_eq!(reply.json()["action"]["model"], "large", "{}", reply.body);
    calm["model"] = json!("routewright/nobody");
    assert_eq!(post(server.address, "/route/v1/chat/completions", &calm).code(), "model_not_found");
    let reply = post(server.address, "/route/v1/chat/completions", &json!({ "model": "auto" }));
    assert_eq!(
        (reply.code().as_str(), &reply.json()["error"]["param"]),
        ("invalid_request", &json!("messages"))
    );
}

#[test]
fn request_ids_are_echoed_or_made() {
    let (server, _dir) = default_server(|_| {});
    let echoed = send(server.address, "GET", "/health", &[("x-request-id", "abc-1")], "");
    assert_eq!(echoed.header("x-request-id"), Some("abc-1"));
    let long = "x".repeat(500);
    for bad in [long.as_str(), "two words"] {
        let made = send(server.address, "GET", "/nowhere", &[("x-request-id", bad)], "");
        assert_eq!(made.header("x-request-id").unwrap().len(), 36, "a fresh UUID");
    }
}

#[test]
fn models_lists_policies_and_arms() {
    let (server, _dir) = default_server(|_| {});
    let body = get(server.address, "/v1/models").json();
    let data = body["data"].as_array().unwrap();
    let ids: Vec<&str> = data.iter().map(|model| model["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["routewright/main", "large", "other", "small"]);
    assert_eq!((&data[0]["default"], &data[3]["mean_cost_usd"]), (&json!(true), &json!(0.001)));
    assert_eq!(data[3]["policies"], json!(["main"]));
}

#[test]
fn metrics_count_requests_and_decisions_but_no_dry_runs() {
    let (server, _dir) = default_server(|_| {});
    let metrics = || get(server.address, "/metrics").body;
    let selected = "routewright_decisions_total{policy=\"main\",model=\"large\",reason=\"selected\"}";
    assert!(metrics().contains(&format!("{selected} 0\n")), "known series begin at zero");
    post(server.address, "/v1/route", &json!({ "vector": V }));
    post(server.address, "/v1/route", &json!({ "vector": V, "dry_run": true }));
    post(server.address, "/v1/route", &json!({ "vector": [1.0] }));
    get(server.address, "/nowhere");
    let text = metrics();
    let digest =
        post(server.address, "/v1/route", &json!({ "vector": V })).json()["policy"]["digest"].clone();
    for expected in [
        format!("{selected} 1\n"),
        "routewright_requests_total{endpoint=\"/v1/route\",policy=\"main\",outcome=\"ok\"} 2\n".to_owned(),
        "routewright_requests_total{endpoint=\"/v1/route\",policy=\"main\",outcome=\"invalid_request\"} 1\n"
            .to_owned(),
        "routewright_requests_total{endpoint=\"unknown\",policy=\"none\",outcome=\"not_found\"} 1\n"
            .to_owned(),
        "routewright_decision_duration_seconds_count{policy=\"main\",stage=\"features\"} 2\n".to_owned(),
        "routewright_decision_duration_seconds_bucket{policy=\"main\",stage=\"score\",le=\"+Inf\"} 2\n"
            .to_owned(),
        "routewright_decision_timeouts_total{policy=\"main\"} 0\n".to_owned(),
        "routewright_policy_reload_total{policy=\"main\",result=\"ok\"} 0\n".to_owned(),
        format!("digest=\"{}\"}} 1\n", digest.as_str().unwrap()),
        format!("routewright_build_info{{version=\"{}\"}} 1\n", env!("CARGO_PKG_VERSION")),
    ] {
        assert!(text.contains(&expected), "{expected} not in\n{text}");
    }
}

#[test]
fn a_logged_request_names_its_decision_and_its_model() {
    let (server, _dir) = default_server(|config| config.log_requests = true);
    let reply = post(server.address, "/v1/route", &json!({ "vector": [1, 0] }));
    let decision = reply.json();
    let lines = server.log();
    let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let request = lines.into_iter().find(|line| line["event"] == "request").unwrap();
    assert_eq!((&request["decision_id"], &request["model"]), (&decision["id"], &decision["action"]["model"]));
    assert_eq!(request["request_id"].as_str(), reply.header("x-request-id"));
}
