//! Requests that models answer: routed and by name, whole and streamed, past every way a model server can fail.

use crate::client::{Client, Reply, get, post, send, until};
use crate::policies;
use crate::server::Running;
use crate::upstream::{
    DONE, Do, FINISH, ROLE, Received, USAGE, Upstream, chat, chat_body, delta, piece, stream, stream_end,
    stream_head, whole,
};
use routewright_policy::SelectorSpec;
use routewright_policy_server::ledger::{SqliteStore, Store};
use routewright_policy_server::{ModelConfig, Secret, ServerConfig, StoreConfig};
use serde_json::{Value, json};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const CHAT: &str = "/v1/chat/completions";

/// A server whose policy prefers `large` to `other` to `small`, with a log; each model is at its own upstream.
struct Gate {
    server: Running,
    dir: tempfile::TempDir,
}

impl Gate {
    fn start(models: &[(&str, &str)], change: impl FnOnce(&mut ServerConfig)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        policies::write_text(&dir.path().join("main"), SelectorSpec::named("argmax"));
        let mut config = ServerConfig::for_policies([dir.path().join("main")]);
        config.store = Some(StoreConfig { keep_prompt: true, ..StoreConfig::at(dir.path().join("log.db")) });
        for (name, base_url) in models {
            config.models.insert((*name).to_owned(), model(base_url));
        }
        change(&mut config);
        Self { server: Running::start(config, Vec::new()), dir }
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("log.db")
    }

    /// Stops the server; then its log is whole.
    fn stop(self) -> (PathBuf, tempfile::TempDir) {
        let log = self.log();
        let Self { server, dir } = self;
        drop(server);
        (log, dir)
    }
}

fn model(base_url: &str) -> ModelConfig {
    ModelConfig {
        input_usd_per_mtok: Some(1.0),
        cached_input_usd_per_mtok: Some(0.1),
        output_usd_per_mtok: Some(4.0),
        ..ModelConfig::at(base_url)
    }
}

fn body(model: &str) -> Value {
    json!({ "model": model, "messages": [{ "role": "user", "content": "why is the sky blue?" }] })
}

fn streaming(model: &str) -> Value {
    let mut body = body(model);
    body["stream"] = json!(true);
    body
}

fn ask(gate: &Gate, body: &Value) -> Reply {
    post(gate.server.address, CHAT, body)
}

/// Decisions of a log with their feedback, in order: model, whether active, price, outcome of the call.
fn logged(log: &Path) -> Vec<(String, bool, Option<f64>, Option<String>)> {
    let mut store = SqliteStore::open(log).unwrap();
    let Some(day) = store.days().unwrap().first().copied() else { return Vec::new() };
    let rows = store.of_day(day, 0, 100).unwrap();
    rows.into_iter()
        .map(|(_, found)| {
            let found = found.unwrap();
            let call = found.feedback.iter().find_map(|record| record.call.clone());
            (
                found.decision.model.clone(),
                found.feedback.iter().any(|record| record.activates),
                found.feedback.iter().find_map(|record| record.cost_usd),
                call.map(|call| call.outcome),
            )
        })
        .collect()
}

#[test]
fn a_model_named_gets_the_body_byte_for_byte_but_for_its_name() {
    let upstream = Upstream::saying(chat("hi"));
    let gate = Gate::start(&[], |config| {
        let at = ModelConfig { model: Some("vendor-name".into()), ..model(&upstream.base_url()) };
        config.models.insert("mine".into(), ModelConfig { secret: Some(Secret::new("sk-arm")), ..at });
    });
    let raw = "{ \"zeta\":1e400,\t\"model\" : \"mi\\u006ee\", \"n\":1,\"tools\":[{\"b\":1,\"a\":2}],\n\
               \"messages\":[{\"content\":\"\\u00e9é\",\"role\":\"user\"}], \"unknown\":{\"x\":[18446744073709551617]} }";
    let headers = [
        ("authorization", "Bearer sk-caller"),
        ("cookie", "a=b"),
        ("x-router-debug", "true"),
        ("openai-organization", "org"),
        ("openai-beta", "x=y"),
        ("x-forwarded-for", "1.2.3.4"),
    ];
    let reply = send(gate.server.address, "POST", "/v1/chat/completions?beta=true", &headers, raw);
    assert_eq!((reply.status, reply.body.as_str()), (200, chat_body("hi").as_str()));
    assert_eq!((reply.header("x-router-model"), reply.header("x-router-decision-id")), (Some("mine"), None));
    // 1000 tokens at 1 USD and 100 at 4 USD a million.
    assert_eq!(reply.header("x-router-cost-usd"), Some("0.0014"));
    let received = upstream.received();
    assert_eq!(received[0].body, raw.replace("\"mi\\u006ee\"", "\"vendor-name\""));
    let Received { head, .. } = &received[0];
    assert!(head.starts_with("POST /v1/chat/completions HTTP/1.1"), "{head}");
    assert_eq!(received[0].header("authorization"), Some("Bearer sk-arm"));
    assert_eq!(received[0].header("openai-beta"), Some("x=y"));
    for kept_back in ["sk-caller", "cookie", "x-router", "organization", "x-forwarded", "beta=true"] {
        assert!(!head.contains(kept_back), "{kept_back}: {head}");
    }
}

#[test]
fn a_routed_request_is_decided_answered_and_reported() {
    let (large, small) = (Upstream::saying(chat("large")), Upstream::saying(chat("small")));
    let gate = Gate::start(&[("large", &large.base_url()), ("small", &small.base_url())], |_| {});
    let reply = ask(&gate, &body("routewright/main"));
    assert_eq!(reply.status, 200, "{}", reply.body);
    assert_eq!(reply.json()["choices"][0]["message"]["content"], "large");
    let header = |name: &str| reply.header(name).map(str::to_owned);
    assert_eq!(header("x-router-model").as_deref(), Some("large"));
    assert_eq!(
        (header("x-router-policy").as_deref(), header("x-router-reason").as_deref()),
        (Some("main"), Some("selected"))
    );
    assert_eq!(
        (header("x-router-cost-usd").as_deref(), header("x-router-fallbacks")),
        (Some("0.0014"), None)
    );
    assert_eq!(ask(&gate, &body("auto")).status, 200);
    // The caller's own report goes to the same decision.
    let id = header("x-router-decision-id").unwrap();
    let told = post(
        gate.server.address,
        "/v1/feedback",
        &json!({ "decision_id": id, "metric": "score", "value": 1.0 }),
    );
    assert_eq!(told.status, 202, "{}", told.body);
    let metrics = get(gate.server.address, "/metrics").body;
    for line in [
        "routewright_upstream_requests_total{model=\"large\",outcome=\"ok\"} 2",
        "routewright_tokens_total{model=\"large\",type=\"input\"} 2000",
        "routewright_tokens_total{model=\"large\",type=\"output\"} 200",
        "routewright_cost_usd_total{model=\"large\"} 0.0028",
        "routewright_upstream_requests_total{model=\"small\",outcome=\"ok\"} 0",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    let (log, _dir) = gate.stop();
    let expected = ("large".to_owned(), true, Some(0.0014), Some("ok".to_owned()));
    assert_eq!(logged(&log), [expected.clone(), expected]);
}

#[test]
fn a_stream_is_passed_on_as_it_comes_without_the_usage_nobody_asked_for() {
    let upstream = Upstream::saying(stream(true));
    let gate = Gate::start(&[("large", &upstream.base_url())], |_| {});
    let reply = ask(&gate, &streaming("routewright/main"));
    assert_eq!(reply.body, [ROLE, &delta("Hello"), &delta(" world"), FINISH, DONE].concat());
    assert_eq!(reply.header("content-type"), Some("text/event-stream; charset=utf-8"));
    assert_eq!(reply.header("x-accel-buffering"), Some("no"));
    assert!(upstream.received()[0].body.ends_with(",\"stream_options\":{\"include_usage\":true}}"));
    let mut asking = streaming("routewright/main");
    asking["stream_options"] = json!({ "include_usage": true });
    assert_eq!(
        ask(&gate, &asking).body,
        [ROLE, &delta("Hello"), &delta(" world"), FINISH, USAGE, DONE].concat()
    );
    let expected = ("large".to_owned(), true, Some(0.0014), Some("ok".to_owned()));
    let (log, _dir) = gate.stop();
    assert_eq!(logged(&log), [expected.clone(), expected]);
}

#[test]
fn a_stream_outlives_the_idle_clock_while_its_client_says_nothing() {
    let mut script = vec![stream_head()];
    for word in 0..12 {
        script.extend([piece(&delta(&word.to_string())), Do::Pause(100)]);
    }
    script.extend([piece(FINISH), piece(DONE), stream_end()]);
    let upstream = Upstream::saying(script);
    let gate = Gate::start(&[("large", &upstream.base_url())], |config| {
        config.limits.idle_timeout_ms = 150;
        config.limits.request_timeout_ms = 300;
    });
    let reply = ask(&gate, &streaming("large"));
    assert!(reply.body.contains("\"11\"") && reply.body.ends_with(DONE), "{}", reply.body);
    // Nor does the time limit of other requests cut a slow first byte.
    let slow = Upstream::saying([vec![Do::Pause(700)], chat("late")].concat());
    let gate = Gate::start(&[("large", &slow.base_url())], |config| {
        config.limits.idle_timeout_ms = 150;
        config.limits.request_timeout_ms = 300;
    });
    assert_eq!(ask(&gate, &body("large")).status, 200);
}

/// Ways to fail before anything was said, and the outcome each is counted as.
fn failures() -> Vec<(&'static str, Vec<Do>, &'static str)> {
    let garbage = Do::Send(b"\x00\xff no http at all\r\n\r\n".to_vec());
    vec![
        ("closes", vec![Do::Close], "broken"),
        ("speaks no HTTP", vec![garbage, Do::Close], "broken"),
        ("500", whole(500, &[], "{}"), "failed"),
        ("503", whole(503, &[("retry-after", "1")], "busy"), "failed"),
        ("429", whole(429, &[("retry-after", "7")], "{}"), "rate_limited"),
        ("401", whole(401, &[], r#"{"error":{"message":"key sk-arm is bad"}}"#), "refused"),
        ("404", whole(404, &[], "{}"), "refused"),
        ("a redirect", whole(302, &[("location", "http://127.0.0.1:1/")], ""), "failed"),
        ("no JSON", whole(200, &[], "<html>"), "failed"),
        ("an error under 200", whole(200, &[], r#"{"error":{"message":"no"}}"#), "failed"),
        ("no choices", whole(200, &[], r#"{"choices":[]}"#), "failed"),
        (
            "half a body",
            vec![Do::Send(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{".to_vec()), Do::Close],
            "broken",
        ),
        ("compressed", whole(200, &[("content-encoding", "gzip")], "xx"), "failed"),
        ("hangs", vec![Do::Hang], "timed_out"),
        ("an endless head", vec![Do::Endless(b"HTTP/1.1 200 OK\r\nx: y\r\nx: y\r\n".to_vec())], "broken"),
    ]
}

#[test]
fn whatever_fails_before_the_answer_the_next_model_gives_it() {
    for (name, script, outcome) in failures() {
        let (bad, good) = (Upstream::saying(script), Upstream::saying(chat("good")));
        let gate = Gate::start(&[("large", &bad.base_url()), ("small", &good.base_url())], |config| {
            let large = config.models.get_mut("large").unwrap();
            (large.first_byte_timeout_ms, large.secret) = (300, Some(Secret::new("sk-arm")));
        });
        let began = Instant::now();
        let reply = ask(&gate, &body("routewright/main"));
        assert_eq!(reply.status, 200, "{name}: {}", reply.body);
        assert!(began.elapsed() < Duration::from_secs(5), "{name}");
        assert_eq!(
            (reply.header("x-router-model"), reply.header("x-router-fallbacks")),
            (Some("small"), Some("large")),
            "{name}"
        );
        let (log, _dir) = gate.stop();
        let logged = logged(&log);
        // The one that failed was never acted upon and has no price.
        assert_eq!(logged[0], ("large".to_owned(), false, None, Some(outcome.to_owned())), "{name}");
        assert_eq!(logged[1], ("small".to_owned(), true, Some(0.0014), Some("ok".to_owned())), "{name}");
        assert_eq!(logged.len(), 2, "{name}");
    }
}

#[test]
fn whatever_fails_before_the_content_of_a_stream_the_next_model_gives_it() {
    let error = "data: {\"error\":{\"message\":\"overloaded\",\"type\":\"server_error\"}}\n\n";
    for (name, script) in [
        ("closes at once", vec![stream_head(), Do::Close]),
        ("closes behind the role", vec![stream_head(), piece(ROLE), Do::Close]),
        ("ends behind the role", vec![stream_head(), piece(ROLE), piece(DONE), stream_end()]),
        ("begins with an error", vec![stream_head(), piece(error), stream_end()]),
        ("an error behind the role", vec![stream_head(), piece(ROLE), piece(error), stream_end()]),
        ("stalls behind the role", vec![stream_head(), piece(ROLE), Do::Hang]),
        ("whole and no answer", whole(200, &[], "{}")),
    ] {
        let (bad, good) = (Upstream::saying(script), Upstream::saying(stream(true)));
        let gate = Gate::start(&[("large", &bad.base_url()), ("small", &good.base_url())], |config| {
            config.models.get_mut("large").unwrap().idle_timeout_ms = 300;
        });
        let reply = ask(&gate, &streaming("routewright/main"));
        assert_eq!(reply.header("x-router-model"), Some("small"), "{name}: {}", reply.body);
        assert_eq!(reply.body, [ROLE, &delta("Hello"), &delta(" world"), FINISH, DONE].concat(), "{name}");
    }
}

#[test]
fn what_fails_behind_the_first_content_is_told_in_the_stream() {
    for (name, script, outcome) in [
        ("closes", vec![stream_head(), piece(&delta("Hello")), Do::Close], "broken"),
        ("ends unfinished", vec![stream_head(), piece(&delta("Hello")), stream_end()], "broken"),
        ("stalls", vec![stream_head(), piece(&delta("Hello")), Do::Hang], "timed_out"),
        (
            "is endless",
            vec![stream_head(), piece(&delta("Hello")), Do::Endless(b"5\r\n: ...\r\n".to_vec())],
            "timed_out",
        ),
    ] {
        let (bad, good) = (Upstream::saying(script), Upstream::saying(stream(true)));
        let gate = Gate::start(&[("large", &bad.base_url()), ("small", &good.base_url())], |config| {
            let large = config.models.get_mut("large").unwrap();
            (large.idle_timeout_ms, large.timeout_ms) = (300, 900);
        });
        let reply = ask(&gate, &streaming("routewright/main"));
        assert_eq!((reply.status, reply.header("x-router-model")), (200, Some("large")), "{name}");
        assert!(reply.body.starts_with(&delta("Hello")), "{name}");
        assert!(reply.body.contains("\"code\":\"upstream_failed\"") && !reply.body.contains(DONE), "{name}");
        let (log, _dir) = gate.stop();
        assert_eq!(logged(&log), [("large".to_owned(), true, None, Some(outcome.to_owned()))], "{name}");
    }
}

#[test]
fn a_request_that_is_to_blame_is_refused_by_the_first_model_in_its_own_words() {
    let said = r#"{"error":{"message":"temperature must be at most 2","type":"invalid_request_error"}}"#;
    let (bad, good) =
        (Upstream::saying(whole(400, &[("x-request-id", "up-1")], said)), Upstream::saying(chat("good")));
    let gate = Gate::start(&[("large", &bad.base_url()), ("small", &good.base_url())], |_| {});
    for model in ["routewright/main", "large"] {
        let reply = ask(&gate, &body(model));
        assert_eq!((reply.status, reply.body.as_str()), (400, said));
        assert_eq!(reply.header("x-router-upstream-request-id"), Some("up-1"));
    }
    assert_eq!(good.received().len(), 0);
}

#[test]
fn where_nothing_helps_the_caller_is_told_why_and_no_key_or_address_is() {
    let refusing = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (name, upstream, status, code) in [
        ("refused", None, 502, "upstream_failed"),
        ("401", Some(whole(401, &[], r#"{"error":{"message":"sk-arm"}}"#)), 502, "upstream_failed"),
        ("429", Some(whole(429, &[("retry-after", "7")], "{}")), 429, "upstream_rate_limited"),
        ("hangs", Some(vec![Do::Hang]), 504, "upstream_timed_out"),
    ] {
        let upstream = upstream.map(Upstream::saying);
        let url = upstream.as_ref().map_or(format!("http://{refusing}/v1"), Upstream::base_url);
        let gate = Gate::start(&[("large", &url)], |config| {
            let large = config.models.get_mut("large").unwrap();
            (large.first_byte_timeout_ms, large.secret) = (200, Some(Secret::new("sk-arm")));
        });
        for model in ["routewright/main", "large"] {
            let reply = ask(&gate, &body(model));
            assert_eq!((reply.status, reply.code().as_str()), (status, code), "{name}");
            assert!(!reply.body.contains("sk-arm") && !reply.body.contains("127.0.0.1"), "{}", reply.body);
            let waits = if code == "upstream_rate_limited" { Some("7") } else { None };
            assert_eq!(reply.header("retry-after"), waits, "{name}");
            if status == 429 {
                break; // It rests now.
            }
        }
        let log = gate.server.log();
        assert!(log.contains("upstream_failed") && !log.contains("sk-arm") && !log.contains(&url), "{log}");
    }
}

#[test]
fn a_passing_failure_is_tried_once_more_on_the_same_model() {
    let upstream = Upstream::start(|n, _| if n == 0 { whole(503, &[], "{}") } else { chat("second") });
    let gate = Gate::start(&[("large", &upstream.base_url())], |_| {});
    let reply = ask(&gate, &body("large"));
    assert_eq!((reply.status, upstream.received().len()), (200, 2), "{}", reply.body);
}

#[test]
fn connections_are_used_again_and_one_that_was_closed_meanwhile_does_no_harm() {
    let upstream = Upstream::saying(chat("hi"));
    let gate = Gate::start(&[("large", &upstream.base_url())], |_| {});
    for _ in 0..5 {
        assert_eq!(ask(&gate, &body("large")).status, 200);
    }
    assert_eq!((upstream.connections(), upstream.received().len()), (1, 5));
    // This one closes its connection behind each answer without saying so.
    let closing = Upstream::saying([chat("hi"), vec![Do::Close]].concat());
    let gate = Gate::start(&[("large", &closing.base_url())], |_| {});
    for _ in 0..5 {
        assert_eq!(ask(&gate, &body("large")).status, 200);
    }
    assert_eq!(closing.received().len(), 5);
}

#[test]
fn a_caller_who_goes_ends_the_call_before_and_within_the_answer() {
    for (script, is_streamed) in [
        (vec![Do::Hang], false),
        (vec![Do::Hang], true),
        (vec![stream_head(), piece(&delta("a")), Do::Hang], true),
    ] {
        let upstream = Upstream::saying(script);
        let gate = Gate::start(&[("large", &upstream.base_url())], |_| {});
        let asked =
            if is_streamed { streaming("routewright/main") } else { body("routewright/main") }.to_string();
        let mut client = Client::connect(gate.server.address);
        let head =
            format!("POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n", asked.len());
        client.write(format!("{head}{asked}").as_bytes());
        until("the call is under way", || upstream.received().len() == 1);
        std::thread::sleep(Duration::from_millis(50));
        drop(client);
        until("the call has ended", || upstream.abandoned() == 1);
        until("it is counted", || {
            get(gate.server.address, "/metrics").body.contains("{model=\"large\",outcome=\"cancelled\"} 1")
        });
    }
}

#[test]
fn a_caller_who_reads_slowly_holds_up_the_model_and_costs_no_memory() {
    let big = "x".repeat(60_000);
    let upstream = Upstream::saying(vec![
        stream_head(),
        piece(&delta("a")),
        Do::Endless({
            let text = delta(&big);
            format!("{:x}\r\n{text}\r\n", text.len()).into_bytes()
        }),
    ]);
    let gate = Gate::start(&[("large", &upstream.base_url())], |config| {
        config.limits.write_timeout_ms = 1500;
        config.models.get_mut("large").unwrap().answer_bytes_max = 1 << 40;
    });
    let asked = streaming("large").to_string();
    let mut client = Client::connect(gate.server.address);
    let head = format!("POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n", asked.len());
    client.write(format!("{head}{asked}").as_bytes());
    // Nothing is taken: the clock of writing ends both sides.
    until("the call has ended", || upstream.abandoned() == 1);
}

#[test]
fn an_answer_that_is_too_long_is_no_answer() {
    let upstream = Upstream::saying(chat(&"x".repeat(5000)));
    let gate = Gate::start(&[("large", &upstream.base_url())], |config| {
        config.models.get_mut("large").unwrap().answer_bytes_max = 4000;
    });
    assert_eq!(ask(&gate, &body("large")).code(), "upstream_failed");
}

#[test]
fn what_cannot_be_asked_is_refused_with_the_field() {
    let upstream = Upstream::saying(chat("hi"));
    let gate = Gate::start(&[("large", &upstream.base_url())], |config| {
        config.limits.answer_body_bytes_max = 100_000;
        config.limits.body_bytes_max = 1000;
    });
    for (body, status, code, says) in [
        (r#"{"messages":[]}"#, 400, "invalid_request", "`model` is missing"),
        (r#"{"model":"large","model":"small","messages":[]}"#, 400, "invalid_request", "`model` twice"),
        (r#"{"model":"larg","messages":[]}"#, 404, "model_not_found", "did you mean `large`"),
        (r#"{"model":"small","messages":[]}"#, 404, "model_not_found", "[models.\"small\"]"),
        (
            r#"{"model":"routewright/no","messages":[{"role":"user","content":"x"}]}"#,
            404,
            "model_not_found",
            "no",
        ),
        (r#"{"model":"routewright/main","messages":[]}"#, 400, "invalid_request", "`messages`"),
        (r#"{"model":"routewright/main"}"#, 400, "invalid_request", "`messages`"),
        (r#"{"model":"#, 400, "invalid_json", "JSON"),
        (r#"["large"]"#, 400, "invalid_request", "object"),
    ] {
        let reply = send(gate.server.address, "POST", CHAT, &[], body);
        assert_eq!((reply.status, reply.code().as_str()), (status, code), "{body}: {}", reply.body);
        assert!(reply.message().contains(says), "{says}: {}", reply.message());
    }
    // Bodies of answers may be longer than others.
    let mut long = body_of("x".repeat(50_000));
    assert_eq!(ask(&gate, &long).status, 200);
    long = body_of("x".repeat(150_000));
    assert_eq!(ask(&gate, &long).code(), "body_too_large");
    assert_eq!(upstream.received().len(), 1);
}

fn body_of(text: String) -> Value {
    json!({ "model": "large", "messages": [{ "role": "user", "content": text }] })
}

#[test]
fn a_model_that_keeps_failing_is_left_alone() {
    let bad = Upstream::saying(whole(500, &[], "{}"));
    let good = Upstream::saying(chat("good"));
    let gate = Gate::start(&[("large", &bad.base_url()), ("small", &good.base_url())], |_| {});
    for _ in 0..6 {
        assert_eq!(ask(&gate, &body("routewright/main")).status, 200);
    }
    let calls = bad.received().len();
    for _ in 0..5 {
        let reply = ask(&gate, &body("routewright/main"));
        assert_eq!((reply.status, reply.header("x-router-fallbacks")), (200, None));
    }
    assert_eq!(bad.received().len(), calls, "it rests");
    assert!(
        get(gate.server.address, "/metrics")
            .body
            .contains("routewright_upstream_breaker_open{model=\"large\"} 1")
    );
}

#[test]
fn two_hundred_streams_at_the_same_time_are_all_whole() {
    let upstream = Upstream::saying(stream(true));
    let gate = Gate::start(&[("large", &upstream.base_url())], |_| {});
    let address = gate.server.address;
    let expected = [ROLE, &delta("Hello"), &delta(" world"), FINISH, DONE].concat();
    let threads: Vec<_> = (0..20)
        .map(|_| {
            std::thread::spawn(move || {
                let mut client = Client::connect(address);
                (0..10)
                    .map(|_| client.send("POST", CHAT, &[], &streaming("large").to_string()).body)
                    .collect::<Vec<_>>()
            })
        })
        .collect();
    for thread in threads {
        assert!(thread.join().unwrap().iter().all(|body| *body == expected));
    }
    assert!(upstream.connections() <= 20, "{}", upstream.connections());
}

#[test]
fn an_explorer_is_logged_with_its_distribution_also_where_a_model_failed() {
    let (bad, good) = (Upstream::saying(whole(500, &[], "{}")), Upstream::saying(chat("good")));
    let gate = Gate::start(&[("large", &bad.base_url()), ("small", &good.base_url())], |config| {
        let path = &config.policies[0].path;
        std::fs::remove_dir_all(path).unwrap();
        policies::write_text(path, SelectorSpec::named("uniform"));
    });
    for _ in 0..4 {
        assert_eq!(ask(&gate, &body("routewright/main")).status, 200);
    }
    let (log, _dir) = gate.stop();
    let mut store = SqliteStore::open(&log).unwrap();
    let day = store.days().unwrap()[0];
    for (_, found) in store.of_day(day, 0, 100).unwrap() {
        let decision = found.unwrap().decision;
        assert!(
            decision.deferred && !decision.candidates.contains(&"other".to_owned()),
            "no section names it"
        );
        let sum: f32 = decision.propensities.iter().sum();
        assert!((sum - 1.0).abs() < 1e-5 && decision.propensity > 0.0);
    }
}
