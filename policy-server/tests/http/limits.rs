//! Caps on size, time and number.

use crate::client::{Client, get, post, send};
use crate::server::default_server;
use routewright_policy_server::StoreConfig;
use serde_json::json;

#[test]
fn a_body_over_the_limit_is_413_whether_its_length_was_told_or_not() {
    let (server, _dir) = default_server(|config| config.limits.body_bytes_max = 1000);
    let fits = json!({ "vector": [1, 0], "session_id": "x".repeat(900) }).to_string();
    assert_eq!(send(server.address, "POST", "/v1/route", &[], &fits).status, 200);
    let long = json!({ "vector": [1, 0], "session_id": "x".repeat(1000) }).to_string();
    let reply = send(server.address, "POST", "/v1/route", &[], &long);
    assert_eq!((reply.status, reply.code().as_str()), (413, "body_too_large"));
    assert!(reply.message().contains("1000 bytes"), "{}", reply.message());
    let mut client = Client::connect(server.address);
    let head = "POST /v1/route HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n";
    client.write(format!("{head}{:x}\r\n{long}\r\n0\r\n\r\n", long.len()).as_bytes());
    assert_eq!(client.read().status, 413);
}

#[test]
fn a_prompt_of_a_megabyte_is_legitimate() {
    let (server, _seen) = crate::server::obedient_server(routewright_policy_server::Execution::Auto, |_| {});
    let body = json!({ "input": "word ".repeat(200_000) }).to_string();
    let reply = send(server.address, "POST", "/v1/route", &[], &body);
    assert_eq!(reply.status, 200, "{}", reply.body);
}

#[test]
fn a_body_that_never_ends_times_out_as_a_json_error() {
    let (server, _dir) = default_server(|config| config.limits.request_timeout_ms = 100);
    let mut client = Client::connect(server.address);
    client.write(b"POST /v1/route HTTP/1.1\r\nhost: localhost\r\ncontent-length: 50\r\n\r\n{\"input\"");
    let reply = client.read();
    assert_eq!((reply.status, reply.code().as_str()), (408, "request_timeout"));
}

#[test]
fn a_caller_has_its_rate_and_batches_count_by_entry() {
    let (server, _dir) = default_server(|config| {
        config.limits.rate_per_second = 1;
        config.limits.rate_burst = 3;
    });
    let entry = json!({ "vector": [1, 0] });
    let ask = || post(server.address, "/v1/route", &entry);
    assert_eq!((ask().status, ask().status), (200, 200));
    let batch = json!({ "requests": vec![entry.clone(); 60] });
    assert_eq!(post(server.address, "/v1/route/batch", &batch).status, 200, "the last of the burst");
    let refused = ask();
    assert_eq!((refused.status, refused.code().as_str()), (429, "rate_limited"));
    let seconds: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((30..=61).contains(&seconds), "what the batch took is earned at one a second: {seconds}");
    assert_eq!(get(server.address, "/health").status, 200, "a probe has no rate");
}

#[test]
fn a_long_body_of_lines_or_of_objects_is_refused_before_it_costs_anything() {
    let dir = tempfile::tempdir().unwrap();
    let store = StoreConfig::at(dir.path().join("log.db"));
    let (server, _dir) = default_server(|config| {
        config.store = Some(store);
        config.limits.feedback_batch_max = 100;
    });
    let ndjson = [("content-type", "application/x-ndjson")];
    let report = |body: &str| send(server.address, "POST", "/v1/feedback", &ndjson, body);
    let reply = report(&"0\n".repeat(2_000_000));
    assert_eq!((reply.status, reply.code().as_str()), (422, "batch_too_large"));
    assert!(reply.message().contains("2000000 lines, expected at most 100"), "{}", reply.message());
    let reply = report(&"{}\n\n".repeat(100));
    assert_eq!((reply.status, reply.body.lines().count()), (200, 100), "blank lines are none");
    let objects = format!("{{\"request\":[{}0]}}", "{\"\":0},".repeat(500_000));
    let reply = send(server.address, "POST", "/v1/route", &[], &objects);
    assert_eq!((reply.status, reply.code().as_str()), (400, "invalid_request"));
    assert!(reply.message().contains("objects and arrays"), "{}", reply.message());
    let deep = format!("{{\"request\":{}{}}}", "[".repeat(40_000), "]".repeat(40_000));
    assert_eq!(send(server.address, "POST", "/v1/route", &[], &deep).code(), "invalid_json");
    // A name of a field that is as long as the body is neither compared nor sent back.
    let named = format!("{{\"{}\":0}}", "a".repeat(4_000_000));
    let reply = send(server.address, "POST", "/v1/route", &[], &named);
    assert_eq!(reply.code(), "invalid_request");
    assert!(reply.body.len() < 8_000, "{} bytes", reply.body.len());
}
