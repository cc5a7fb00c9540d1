//! Starting wrong and stopping right.

use crate::client::{Client, get, post, until};
use crate::policies;
use crate::server::{Running, default_server, obedient_server};
use routewright_policy_server::{Execution, PolicyEntry, ServeError, Server, ServerConfig};
use serde_json::json;
use std::sync::atomic::Ordering;

#[test]
fn requests_in_flight_finish_and_idle_connections_do_not_hold_the_server() {
    let (mut server, seen) =
        obedient_server(Execution::Worker, |config| config.limits.decision_deadline_ms = 0);
    let mut idle = Client::connect(server.address);
    assert_eq!(idle.send("GET", "/ready", &[], "").status, 200);
    let address = server.address;
    let running = std::thread::spawn(move || post(address, "/v1/route", &json!({ "input": "sleep 1500" })));
    until("the worker is busy", || seen.predictions.load(Ordering::SeqCst) > 0);
    server.join().unwrap();
    assert_eq!(running.join().unwrap().status, 200, "the one in flight was answered");
    assert!(idle.try_read().is_err(), "the idle one was closed");
    let log = server.log();
    assert!(log.contains("\"stopping\"") && log.contains("\"stopped\""), "{log}");
    assert!(!log.contains("stopped_with_requests_in_flight"), "{log}");
}

#[test]
fn the_time_given_to_requests_in_flight_is_bounded() {
    let (mut server, seen) = obedient_server(Execution::Worker, |config| {
        config.limits.decision_deadline_ms = 0;
        config.limits.shutdown_grace_ms = 50;
    });
    let address = server.address;
    let running = std::thread::spawn(move || {
        let mut client = Client::connect(address);
        client.write(
            b"POST /v1/route HTTP/1.1\r\nhost: localhost\r\ncontent-length: 23\r\n\r\n{\"input\":\"sleep 60000\"}",
        );
        client.try_read().is_err()
    });
    until("the worker is busy", || seen.predictions.load(Ordering::SeqCst) > 0);
    server.join().unwrap();
    assert!(server.log().contains("stopped_with_requests_in_flight"), "{}", server.log());
    assert!(running.join().unwrap(), "its connection was closed");
}

#[test]
fn a_load_balancer_sees_the_end_coming_while_requests_are_served() {
    let (mut server, _dir) = default_server(|config| config.limits.shutdown_delay_ms = 8_000);
    assert_eq!(get(server.address, "/ready").status, 200);
    server.stop();
    until("it is not ready any more", || get(server.address, "/ready").status == 503);
    assert_eq!(get(server.address, "/ready").code(), "shutting_down");
    assert_eq!(get(server.address, "/health").status, 200);
    assert_eq!(post(server.address, "/v1/route", &json!({ "vector": [1, 0] })).status, 200);
    server.join().unwrap();
    assert!(std::net::TcpStream::connect(server.address).is_err(), "then nothing listens");
}

#[test]
fn what_cannot_be_served_is_refused_before_listening() {
    let dir = tempfile::tempdir().unwrap();
    policies::write_default(&dir.path().join("a"));
    policies::write_default(&dir.path().join("b"));
    let load = |config: ServerConfig| match Server::load(config) {
        Ok(_) => panic!("it was served"),
        Err(error) => error,
    };
    let error = load(ServerConfig::for_policies([dir.path().join("a"), dir.path().join("b")]));
    assert!(error.to_string().contains("two policies are named `main`"), "{error}");
    let error = load(ServerConfig::for_policies([dir.path().join("none")]));
    assert!(matches!(error, ServeError::Policy { .. }), "{error}");
    let mut config = ServerConfig::for_policies([dir.path().join("a")]);
    config.policies[0] = PolicyEntry { default_arm: Some("lrage".into()), ..config.policies[0].clone() };
    let error = load(config).to_string();
    assert!(error.contains("did you mean `large`"), "{error}");
    let mut config = ServerConfig::for_policies([dir.path().join("a")]);
    config.default_policy = Some("mian".into());
    let error = load(config).to_string();
    assert!(error.contains("did you mean `main`"), "{error}");
    assert!(load(ServerConfig::default()).to_string().contains("at least one section"));
}

#[test]
fn an_admin_listener_that_can_be_reached_from_outside_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    policies::write_default(&dir.path().join("a"));
    let server = Server::load(ServerConfig::for_policies([dir.path().join("a")])).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let refused = runtime.block_on(async {
        let data = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let admin = tokio::net::TcpListener::bind("0.0.0.0:0").await.unwrap();
        server.run(data, Some(admin), std::future::pending()).await
    });
    assert!(matches!(refused, Err(ServeError::AdminNotLoopback { .. })), "{refused:?}");
}

#[test]
fn several_policies_need_a_name_or_a_default() {
    let dir = tempfile::tempdir().unwrap();
    policies::write_default(&dir.path().join("a"));
    policies::write(
        &dir.path().join("b"),
        "cheap",
        [0.9, 0.1, 0.1],
        routewright_policy::SelectorSpec::named("argmax"),
    );
    let mut config = ServerConfig::for_policies([dir.path().join("a"), dir.path().join("b")]);
    config.reload_poll_ms = 0;
    let server = Running::start(config.clone(), Vec::new());
    let unnamed = post(server.address, "/v1/route", &json!({ "vector": [1, 0] }));
    assert_eq!(unnamed.status, 400);
    assert!(unnamed.message().contains("`cheap`, `main`"), "{}", unnamed.message());
    let named = post(server.address, "/v1/route", &json!({ "vector": [1, 0], "policy": "cheap" }));
    assert_eq!(named.json()["action"]["model"], "small");
    config.default_policy = Some("main".to_owned());
    let server = Running::start(config, Vec::new());
    let unnamed = post(server.address, "/v1/route", &json!({ "vector": [1, 0] }));
    assert_eq!(unnamed.json()["policy"]["name"], "main");
    let (one, _dir) = default_server(|_| {});
    assert_eq!(get(one.address, "/v1/models").json()["data"][0]["default"], true);
}
