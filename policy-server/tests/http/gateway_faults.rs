//! Every way a model server can fail, before and within an answer, and callers who go or read slowly.

use crate::client::{Client, get, send, until};
use crate::gate::{CHAT, Gate, ask, body, logged, streaming};
use crate::upstream::{
    DONE, Do, FINISH, ROLE, Upstream, chat, delta, piece, stream, stream_end, stream_head, whole,
};
use routewright_policy_server::Secret;
use serde_json::json;
use std::net::TcpListener;
use std::time::{Duration, Instant};

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
        ("402", whole(402, &[], "{}"), "rate_limited"),
        (
            "an unsupported field",
            whole(400, &[], r#"{"error":{"message":"Unsupported parameter: 'seed'"}}"#),
            "refused",
        ),
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
            if name == "429" || name == "401" {
                break; // It rests now.
            }
        }
        let log = gate.server.log();
        assert!(log.contains("upstream_failed") && !log.contains("sk-arm") && !log.contains(&url), "{log}");
    }
}

#[test]
fn what_may_have_been_carried_out_is_not_sent_again() {
    let (bad, good) = (Upstream::saying(vec![Do::Close]), Upstream::saying(chat("good")));
    let gate = Gate::start(&[("large", &bad.base_url()), ("small", &good.base_url())], |_| {});
    let mut kept = body("routewright/main");
    kept["store"] = json!(true);
    let reply = ask(&gate, &kept);
    assert_eq!((reply.status, reply.code().as_str()), (502, "upstream_failed"));
    assert_eq!((bad.received().len(), good.received().len()), (1, 0));
    let encoded = send(gate.server.address, "POST", CHAT, &[("content-encoding", "zstd")], "xx");
    assert_eq!((encoded.status, encoded.code().as_str()), (415, "unsupported_media_type"));
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
