//! Who may call what.

use crate::client::{get, post, send, until};
use crate::server::{Running, default_server};
use routewright_policy_server::{Secret, keys};
use serde_json::json;

/// A server with a keys file, the key, and its folder.
fn with_keys() -> (Running, String, tempfile::TempDir) {
    let new = keys::generate("tester").unwrap();
    let keys_dir = tempfile::tempdir().unwrap();
    let file = keys_dir.path().join("keys.toml");
    std::fs::write(&file, new.record.to_toml()).unwrap();
    let (server, dir) = default_server(|config| {
        config.keys_file = Some(file.clone());
        config.reload_poll_ms = 10;
    });
    std::fs::rename(&file, dir.path().join("keys.toml")).unwrap();
    std::fs::copy(dir.path().join("keys.toml"), &file).unwrap();
    // The folder of the keys must outlive the server.
    std::fs::write(dir.path().join("keys_dir"), keys_dir.keep().display().to_string()).unwrap();
    (server, new.key.reveal().to_owned(), dir)
}

#[test]
fn where_keys_are_set_only_the_probes_are_open() {
    let (server, key, _dir) = with_keys();
    for path in ["/health", "/ready", "/health/liveliness", "/health/readiness"] {
        assert_eq!(get(server.address, path).status, 200, "{path}");
    }
    for path in ["/metrics", "/v1/models", "/openapi.json", "/nowhere"] {
        let reply = get(server.address, path);
        assert_eq!((reply.status, reply.code().as_str()), (401, "invalid_api_key"), "{path}");
        assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
        assert!(reply.header("x-request-id").is_some());
    }
    for path in ["/v1/route", "/v1/route/batch", "/route/v1/chat/completions"] {
        assert_eq!(post(server.address, path, &json!({})).status, 401, "{path}");
    }
    let bearer = format!("Bearer {key}");
    for header in [("authorization", bearer.as_str()), ("x-api-key", key.as_str())] {
        let body = json!({ "vector": [1, 0] }).to_string();
        assert_eq!(send(server.address, "POST", "/v1/route", &[header], &body).status, 200);
        assert_eq!(send(server.address, "GET", "/metrics", &[header], "").status, 200);
    }
}

#[test]
fn a_wrong_key_is_refused_whatever_is_wrong_with_it() {
    let (server, key, _dir) = with_keys();
    let other = keys::generate("stranger").unwrap().key.reveal().to_owned();
    let cut = &key[..key.len() - 1];
    for wrong in ["", "x", "sk-rw-", "sk-rw-a-b", cut, &other, &key.to_uppercase()] {
        let reply = send(server.address, "GET", "/v1/models", &[("x-api-key", wrong)], "");
        assert_eq!(reply.status, 401, "{wrong}");
        assert!(!reply.body.contains("sk-rw-a"), "a key is not repeated: {}", reply.body);
    }
    let basic = format!("Basic {key}");
    assert_eq!(send(server.address, "GET", "/v1/models", &[("authorization", &basic)], "").status, 401);
}

#[test]
fn metrics_may_be_opened_and_environment_keys_open_too() {
    let key = keys::generate("env").unwrap().key;
    let shown = key.reveal().to_owned();
    let (server, _dir) = default_server(|config| {
        config.api_keys = vec![key];
        config.metrics_open = true;
    });
    assert_eq!(get(server.address, "/metrics").status, 200);
    assert_eq!(get(server.address, "/v1/models").status, 401);
    assert_eq!(send(server.address, "GET", "/v1/models", &[("x-api-key", &shown)], "").status, 200);
}

#[test]
fn a_key_taken_out_of_the_file_stops_working() {
    let (server, key, dir) = with_keys();
    let ask = || send(server.address, "GET", "/v1/models", &[("x-api-key", key.as_str())], "").status;
    assert_eq!(ask(), 200);
    let keys_dir = std::fs::read_to_string(dir.path().join("keys_dir")).unwrap();
    let file = std::path::Path::new(&keys_dir).join("keys.toml");
    // A broken file leaves the old keys in force; an empty one lets nobody in.
    std::fs::write(&file, "[[keys]]\nid = 1").unwrap();
    until("it is logged", || server.log().contains("keys_reload_failed"));
    assert_eq!(ask(), 200);
    std::fs::write(&file, "").unwrap();
    until("the key is gone", || ask() != 200);
    assert_eq!(ask(), 401);
}

#[test]
fn the_admin_listener_has_a_key_of_its_own() {
    let (server, _dir) = default_server(|config| config.admin_key = Some(Secret::new("open sesame")));
    let ask = |key: &str| send(server.admin, "GET", "/admin/v1/policies", &[("x-api-key", key)], "").status;
    assert_eq!((ask("open sesame"), ask("open sesam"), ask("")), (200, 401, 401));
    assert_eq!(get(server.admin, "/health").status, 200);
    assert_eq!(get(server.address, "/v1/models").status, 200, "it does not lock the data listener");
}
