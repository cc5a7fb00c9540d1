//! New artifacts under load, and broken ones.

use crate::client::{Client, get, post, until};
use crate::policies;
use crate::server::default_server;
use routewright_policy::SelectorSpec;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

fn argmax() -> SelectorSpec {
    SelectorSpec::named("argmax")
}

#[test]
fn under_load_every_reply_is_wholly_of_one_version() {
    let (server, dir) = default_server(|config| config.reload_poll_ms = 5);
    let (address, done) = (server.address, Arc::new(AtomicBool::new(false)));
    let ask = |done: Arc<AtomicBool>| {
        move || {
            let mut client = Client::connect(address);
            let mut seen = std::collections::BTreeSet::new();
            while !done.load(Ordering::Relaxed) {
                let reply = client.send("POST", "/v1/route", &[], "{\"vector\":[1,0]}");
                assert_eq!(reply.status, 200, "{}", reply.body);
                let body = reply.json();
                seen.insert((
                    body["policy"]["digest"].to_string(),
                    body["action"]["model"].to_string(),
                    body["candidates"][0]["score"].to_string(),
                ));
            }
            seen
        }
    };
    let threads: Vec<_> = (0..3).map(|_| std::thread::spawn(ask(Arc::clone(&done)))).collect();
    for turn in 0..6 {
        let scores = if turn % 2 == 0 { [0.9, 0.1, 0.1] } else { [0.5, 0.8, 0.6] };
        policies::write(&dir.path().join("main"), "main", scores, argmax());
        let expected = if turn % 2 == 0 { "small" } else { "large" };
        let now =
            || post(address, "/v1/route", &json!({ "vector": [1, 0] })).json()["action"]["model"].clone();
        until("the new version serves", || now() == expected);
    }
    done.store(true, Ordering::Relaxed);
    let seen: std::collections::BTreeSet<_> =
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    assert_eq!(seen.len(), 2, "two versions, each with its own model and score: {seen:?}");
    let text = get(address, "/metrics").body;
    assert!(text.contains("routewright_policy_reload_total{policy=\"main\",result=\"ok\"} 6\n"), "{text}");
    assert_eq!(text.matches("routewright_policy_info{").count(), 1, "one version is in service");
}

#[test]
fn a_broken_artifact_keeps_the_old_one_and_says_why() {
    let (server, dir) = default_server(|config| config.reload_poll_ms = 10);
    let path = dir.path().join("main");
    let before = post(server.address, "/v1/route", &json!({ "vector": [1, 0] })).json();
    policies::write(&path, "main", [0.9, 0.1, 0.1], argmax());
    let weights = path.join("predictor.safetensors");
    // Damage that is there from the first look on: the artifact is swapped in with its flipped byte.
    let mut bytes = std::fs::read(&weights).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&weights, &bytes).unwrap();
    // The watch may have seen the sound artifact before the byte flipped; a new manifest makes it look again.
    let manifest = path.join("manifest.json");
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, format!("{text}\n")).unwrap();
    until("it is logged", || server.log().contains("policy_reload_failed"));
    let log = server.log();
    assert!(log.contains("predictor.safetensors") && log.contains("digest"), "{log}");
    let after = post(server.address, "/v1/route", &json!({ "vector": [1, 0] })).json();
    let listed = get(server.admin, "/admin/v1/policies").json()["data"][0].clone();
    if !log.contains("policy_reloaded") {
        assert_eq!(after["policy"], before["policy"], "the old version serves on");
    }
    assert_eq!(listed["digest"], after["policy"]["digest"]);
    assert!(listed["refused"].as_str().unwrap().contains("damaged"), "{listed}");
    // Looked at again and again, reported once.
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(server.log().matches("policy_reload_failed").count(), 1, "{}", server.log());
    // Repaired, it is taken.
    bytes[last] ^= 1;
    std::fs::write(&weights, &bytes).unwrap();
    let small = || {
        post(server.address, "/v1/route", &json!({ "vector": [1, 0] })).json()["action"]["model"] == "small"
    };
    until("the repaired version serves", small);
}

#[test]
fn the_admin_listener_reloads_at_once_and_reports_refusals() {
    let (server, dir) = default_server(|_| {}); // no watch
    let path = dir.path().join("main");
    let reload = |body: serde_json::Value| post(server.admin, "/admin/v1/policies/reload", &body);
    assert_eq!(reload(json!({})).json()["data"][0]["result"], "unchanged");
    policies::write(&path, "renamed", [0.9, 0.1, 0.1], argmax());
    let data = reload(json!({ "policy": "main" })).json()["data"][0].clone();
    assert_eq!((&data["result"], &data["name"]), (&json!("reloaded"), &json!("main")), "it keeps its name");
    let decision = post(server.address, "/v1/route", &json!({ "vector": [1, 0] })).json();
    assert_eq!(
        (&decision["action"]["model"], &decision["policy"]["digest"]),
        (&json!("small"), &data["digest"])
    );
    std::fs::remove_file(path.join("manifest.json")).unwrap();
    let refused = reload(json!({}));
    assert_eq!((refused.status, refused.code().as_str()), (422, "reload_failed"));
    assert!(refused.message().contains("manifest.json"), "{}", refused.message());
    assert_eq!(post(server.address, "/v1/route", &json!({ "vector": [1, 0] })).status, 200);
    assert_eq!(reload(json!({ "policy": "nobody" })).code(), "model_not_found");
    assert_eq!(reload(json!({ "polcy": "main" })).code(), "invalid_request");
    let listed = get(server.admin, "/admin/v1/policies").json()["data"][0].clone();
    assert_eq!((&listed["reloads"], &listed["refusals"]), (&json!(1), &json!(1)));
    assert_eq!((&listed["form"], &listed["default_arm"]), (&json!("constant"), &json!("small")));
}
