//! Caps on size, time and number.

use crate::client::{Client, get, send};
use crate::server::default_server;
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
    let head = "POST /v1/route HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n";
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
    client.write(b"POST /v1/route HTTP/1.1\r\nhost: test\r\ncontent-length: 50\r\n\r\n{\"input\"");
    let reply = client.read();
    assert_eq!((reply.status, reply.code().as_str()), (408, "request_timeout"));
}

#[test]
fn a_silent_connection_is_closed() {
    let (server, _dir) = default_server(|config| config.limits.idle_timeout_ms = 100);
    let mut client = Client::connect(server.address);
    client.write(b"GET /health HTT"); // and no more
    assert!(client.try_read().is_err(), "the server hangs up");
}

#[test]
fn a_connection_beyond_the_cap_waits_for_its_turn() {
    let (server, _dir) = default_server(|config| config.limits.connections_max = 1);
    let mut first = Client::connect(server.address);
    assert_eq!(first.send("GET", "/health", &[], "").status, 200);
    let address = server.address;
    let second = std::thread::spawn(move || get(address, "/health").status);
    assert_eq!(first.send("GET", "/health", &[], "").status, 200);
    assert!(!second.is_finished(), "the first connection still holds the only place");
    drop(first);
    assert_eq!(second.join().unwrap(), 200);
}
