//! Connections: slow ones, silent ones, too many of them, and heads that are none.

use crate::client::{Client, get, until};
use crate::server::default_server;
use serde_json::json;
use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

#[test]
fn a_slow_head_is_cut_off_and_told_so() {
    let (server, _dir) = default_server(|config| {
        config.limits.head_timeout_ms = 200;
        config.limits.idle_timeout_ms = 60_000;
    });
    let mut client = Client::connect(server.address);
    client.write(b"GET /health HTT"); // and no more
    let reply = client.read();
    assert_eq!((reply.status, reply.code().as_str()), (408, "request_timeout"));
    assert!(reply.header("x-request-id").is_some() && reply.message().contains("200 ms"), "{}", reply.body);
    assert!(client.try_read().is_err(), "and hung up on");
    // Bytes that trickle in do not wind the clock up again.
    let mut client = Client::connect(server.address);
    let mut writer = client.writer();
    let trickling = std::thread::spawn(move || {
        (0..600)
            .take_while(|_| {
                std::thread::sleep(Duration::from_millis(50));
                std::io::Write::write_all(&mut writer, b"x").is_ok()
            })
            .count()
    });
    assert_eq!(client.read().status, 408);
    drop(client);
    assert!(trickling.join().unwrap() < 600);
}

#[test]
fn a_silent_connection_is_closed() {
    let (server, _dir) = default_server(|config| config.limits.idle_timeout_ms = 100);
    let mut client = Client::connect(server.address);
    assert!(client.try_read().is_err(), "the server hangs up");
    let mut client = Client::connect(server.address);
    assert_eq!(client.send("GET", "/health", &[], "").status, 200);
    assert!(client.try_read().is_err(), "between requests too");
}

/// A model that takes `waits_ms` for every byte.
fn slow_ensemble(dir: &Path, waits_ms: u64) -> std::path::PathBuf {
    let member = |name: &str| {
        format!(
            "[[members]]\nname = '{name}'\nbackend = 'scripted'\nwaits_ms = {waits_ms}\n\
             script = [{{ after = '', next = {{ 'a' = 1.0 }} }}]\n"
        )
    };
    let text = format!("system = 'gac'\n[limits]\nsteps = 8\n{}{}", member("one"), member("two"));
    let path = dir.join("slow.toml");
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn an_answer_takes_as_long_as_its_ensemble_may() {
    let models = tempfile::tempdir().unwrap();
    let ensemble = slow_ensemble(models.path(), 150);
    let (server, _dir) = default_server(|config| {
        config.fusions.insert("slow".to_owned(), ensemble);
        // Shorter than one answer, longer than one step.
        config.limits.idle_timeout_ms = 300;
        config.limits.request_timeout_ms = 400;
        config.limits.head_timeout_ms = 300;
        config.limits.write_timeout_ms = 300;
    });
    let mut body = json!({ "model": "fusion/slow", "prompt": "a", "max_tokens": 8 });
    let mut client = Client::connect(server.address);
    let began = std::time::Instant::now();
    let whole = client.send("POST", "/v1/completions", &[], &body.to_string());
    assert!(began.elapsed() > Duration::from_millis(1000), "eight steps of 150 ms: {:?}", began.elapsed());
    assert_eq!(
        (whole.status, &whole.json()["choices"][0]["text"]),
        (200, &json!("aaaaaaaa")),
        "{}",
        whole.body
    );
    body["stream"] = json!(true);
    let streamed = client.send("POST", "/v1/completions", &[], &body.to_string());
    assert!(streamed.body.ends_with("data: [DONE]\n\n"), "{}", streamed.body);
}

#[test]
fn a_client_that_takes_nothing_of_its_reply_is_cut_off() {
    let (server, _dir) = default_server(|config| config.limits.write_timeout_ms = 300);
    let mut client = Client::connect(server.address);
    // More replies than the buffers of the system hold, and none of them is read.
    let request = b"GET /openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let mut writer = client.writer();
    writer.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
    let sent = (0..100_000).take_while(|_| std::io::Write::write_all(&mut writer, request).is_ok()).count();
    assert!(sent < 100_000, "the server hung up");
    drop(client.try_read());
}

fn held(address: SocketAddr, n: usize, bytes: &[u8]) -> Vec<Client> {
    let hold = |_| {
        let client = Client::connect(address);
        // It may have lost its place already.
        let _lost = std::io::Write::write_all(&mut client.writer(), bytes);
        client
    };
    (0..n).map(hold).collect()
}

#[test]
fn connections_that_are_only_waited_for_do_not_keep_others_out() {
    let (server, _dir) = default_server(|config| config.limits.connections_max = 8);
    // Silent, slow with a head, slow with a body: ten of each want eight places.
    for bytes in
        [&b""[..], b"GET /hea", b"POST /v1/route HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n{"]
    {
        let _slow = held(server.address, 10, bytes);
        for _ in 0..3 {
            assert_eq!(get(server.address, "/health").status, 200);
        }
    }
}

#[test]
fn a_request_that_is_answered_keeps_its_place() {
    let (server, seen) =
        crate::server::obedient_server(routewright_policy_server::Execution::Worker, |config| {
            config.limits.connections_max = 1;
            config.limits.decision_deadline_ms = 0;
        });
    let address = server.address;
    let body = json!({ "input": "sleep 1000" });
    let first = std::thread::spawn(move || crate::client::post(address, "/v1/route", &body).status);
    until("the worker is busy", || seen.predictions.load(std::sync::atomic::Ordering::SeqCst) > 0);
    let second = std::thread::spawn(move || get(address, "/health").status);
    assert_eq!(first.join().unwrap(), 200, "it was not cut off for the one that waits");
    assert_eq!(second.join().unwrap(), 200);
}

#[test]
fn an_address_may_have_a_limit_of_its_own() {
    let (server, seen) =
        crate::server::obedient_server(routewright_policy_server::Execution::Worker, |config| {
            config.limits.connections_per_address_max = 1;
            config.limits.decision_deadline_ms = 0;
        });
    let address = server.address;
    let body = json!({ "input": "sleep 1000" });
    let first = std::thread::spawn(move || crate::client::post(address, "/v1/route", &body).status);
    until("the worker is busy", || seen.predictions.load(std::sync::atomic::Ordering::SeqCst) > 0);
    let mut refused = String::new();
    // What it sends is not read, so it only listens.
    TcpStream::connect(address).unwrap().read_to_string(&mut refused).unwrap();
    assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("\"overloaded\""), "{refused}");
    assert_eq!(first.join().unwrap(), 200);
}

#[test]
fn a_head_that_is_none_gets_an_error_object_and_a_request_id_too() {
    let (server, _dir) = default_server(|_| {});
    let long = |text: &str| text.replace('~', &"a".repeat(70_000));
    for (head, status, code) in [
        ("\u{1}\u{2}\u{3} / HTTP/1.1\r\n\r\n".to_owned(), 400, "invalid_http"),
        ("GET /health HTTP/1.1\r\nno colon\r\n\r\n".to_owned(), 400, "invalid_http"),
        (long("GET /~ HTTP/1.1\r\nhost: localhost\r\n\r\n"), 414, "uri_too_long"),
        ("GET / HTTP/1.1\r\n".to_owned() + &"a: b\r\n".repeat(200) + "\r\n", 431, "head_too_large"),
    ] {
        let mut client = Client::connect(server.address);
        client.write(head.as_bytes());
        let reply = client.read();
        assert_eq!((reply.status, reply.code().as_str()), (status, code), "{}", reply.body);
        assert!(reply.header("x-request-id").is_some());
    }
    // Also after a request that was answered on the same connection.
    let mut client = Client::connect(server.address);
    assert_eq!(client.send("GET", "/health", &[], "").status, 200);
    client.write(b"no http at all\r\n\r\n");
    assert_eq!(client.read().code(), "invalid_http");
    let text = get(server.address, "/metrics").body;
    assert!(text.contains("endpoint=\"unknown\",policy=\"none\",outcome=\"invalid_http\"} 3\n"), "{text}");
}
