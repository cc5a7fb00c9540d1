//! Web pages: what those of other origins may not do, and what the configuration lets them do.

use crate::client::{Client, get, post, send};
use crate::learner::Learner;
use crate::server::{Running, default_server};
use routewright_policy_server::{Secret, keys};
use serde_json::json;

const FORM: (&str, &str) = ("content-type", "text/plain");
const EVIL: (&str, &str) = ("origin", "http://evil.example");

#[test]
fn a_page_cannot_change_arms_or_reload_through_its_visitors_browser() {
    let learner = Learner::start(|_, _, _| ());
    let admin = learner.running.admin;
    let body =
        json!({ "policy": "main", "arms": { "evil/model": { "cost_usd": 0, "quality": 1, "weight": 1e6 } } });
    let change = |headers: &[(&str, &str)]| {
        let reply = send(admin, "POST", "/admin/v1/arms/change", headers, &body.to_string());
        (reply.status, reply.code())
    };
    let refused = (403, "foreign_origin".to_owned());
    assert_eq!(change(&[EVIL, FORM]), refused);
    assert_eq!(change(&[EVIL]), refused);
    assert_eq!(change(&[("origin", "null")]), refused);
    assert_eq!(change(&[("sec-fetch-site", "cross-site")]), refused);
    assert_eq!(change(&[("sec-fetch-site", "same-site")]), refused);
    assert_eq!(change(&[("host", "rebind.evil.example")]), refused);
    assert_eq!(change(&[FORM]), (415, "unsupported_media_type".to_owned()));
    let reload = send(admin, "POST", "/admin/v1/policies/reload", &[EVIL], "");
    assert_eq!((reload.status, reload.code().as_str()), (403, "foreign_origin"));
    let read = send(admin, "GET", "/admin/v1/policies", &[("host", "rebind.evil.example")], "");
    assert_eq!((read.status, read.code().as_str()), (403, "foreign_origin"));
    assert!((0..20).all(|_| learner.model() != "evil/model"));
    assert_eq!(learner.arms()["changes"], 0);
    // The operator's own tools send none of these headers.
    assert_eq!(learner.change(json!({ "mine": { "cost_usd": 0.001 } })).status, 200);
}

#[test]
fn a_keyless_listener_of_this_machine_refuses_pages_and_foreign_names() {
    let (server, _dir) = default_server(|config| config.hosts = vec!["router.internal".to_owned()]);
    let body = json!({ "vector": [1, 0] }).to_string();
    let status = |headers: &[(&str, &str)]| send(server.address, "POST", "/v1/route", headers, &body).status;
    assert_eq!(status(&[]), 200);
    assert_eq!(status(&[("content-type", "application/x-www-form-urlencoded")]), 200, "as curl sends it");
    assert_eq!(status(&[("host", "router.internal:80")]), 200);
    for header in [EVIL, ("origin", "null"), ("sec-fetch-site", "cross-site"), ("host", "evil.example")] {
        assert_eq!(status(&[header]), 403, "{header:?}");
    }
    assert_eq!(send(server.address, "POST", "/v1/feedback", &[EVIL, FORM], "{}").status, 403);
    assert_eq!(send(server.address, "GET", "/health", &[("host", "10.0.0.7")], "").status, 200, "a probe");
}

#[test]
fn with_keys_the_key_decides() {
    let key = keys::generate("page").unwrap().key;
    let shown = key.reveal().to_owned();
    let (server, _dir) = default_server(|config| config.api_keys = vec![key]);
    let body = json!({ "vector": [1, 0] }).to_string();
    let headers = [("x-api-key", shown.as_str()), EVIL, ("host", "router.example.com")];
    assert_eq!(send(server.address, "POST", "/v1/route", &headers, &body).status, 200);
    assert_eq!(send(server.address, "POST", "/v1/route", &headers[1..], &body).status, 401);
}

fn asking(server: &Running, origin: &str, headers: &[(&str, &str)]) -> crate::client::Reply {
    let own = [("origin", origin), ("access-control-request-method", "POST")];
    let all: Vec<_> = own.iter().chain(headers).copied().collect();
    send(server.address, "OPTIONS", "/v1/route", &all, "")
}

#[test]
fn configured_origins_may_ask_and_read_and_others_may_not() {
    let app = "https://app.example.com";
    let key = keys::generate("page").unwrap().key;
    let shown = key.reveal().to_owned();
    let (server, _dir) = default_server(|config| {
        config.cors_origins = vec![app.to_owned()];
        config.api_keys = vec![key];
    });
    let asked = asking(&server, app, &[("access-control-request-headers", "x-api-key, content-type")]);
    assert_eq!((asked.status, asked.body.as_str()), (204, ""));
    for (name, value) in [
        ("access-control-allow-origin", app),
        ("access-control-allow-methods", "POST"),
        ("access-control-allow-headers", "x-api-key, content-type"),
        ("vary", "origin"),
    ] {
        assert_eq!(asked.header(name), Some(value), "{name}");
    }
    let body = json!({ "vector": [1, 0] }).to_string();
    let headers = [("x-api-key", shown.as_str()), ("origin", app)];
    let reply = send(server.address, "POST", "/v1/route", &headers, &body);
    assert_eq!((reply.status, reply.header("access-control-allow-origin")), (200, Some(app)));
    assert!(reply.header("access-control-expose-headers").unwrap().contains("x-router-model"));
    // An error must be readable for the page as well.
    let reply = send(server.address, "POST", "/v1/route", &headers[1..], &body);
    assert_eq!((reply.status, reply.header("access-control-allow-origin")), (401, Some(app)));
    let other = asking(&server, "http://evil.example", &[]);
    assert_eq!((other.status, other.header("access-control-allow-origin")), (401, None));
    // Without keys the configured origins are the ones that are let in.
    let (open, _dir) = default_server(|config| config.cors_origins = vec![app.to_owned()]);
    assert_eq!(send(open.address, "POST", "/v1/route", &[("origin", app)], &body).status, 200);
    assert_eq!(send(open.address, "POST", "/v1/route", &[EVIL], &body).status, 403);
    let (public, _dir) = default_server(|config| config.cors_origins = vec!["*".to_owned()]);
    assert_eq!(asking(&public, "http://any.example", &[]).header("access-control-allow-origin"), Some("*"));
}

#[test]
fn the_admin_listener_grants_nothing_to_pages() {
    let (server, _dir) = default_server(|config| config.cors_origins = vec!["*".to_owned()]);
    let reply = send(server.admin, "GET", "/admin/v1/policies", &[EVIL], "");
    assert_eq!(
        (reply.status, reply.header("access-control-allow-origin")),
        (200, None),
        "unreadable for a page"
    );
    assert_eq!(send(server.admin, "POST", "/admin/v1/policies/reload", &[EVIL], "{}").status, 403);
}

#[test]
fn an_admin_listener_without_a_key_must_be_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    crate::policies::write_default(&dir.path().join("a"));
    let mut config = routewright_policy_server::ServerConfig::for_policies([dir.path().join("a")]);
    config.admin_listen = Some("127.0.0.1:0".parse().unwrap());
    let error = config.check().unwrap_err().to_string();
    assert!(error.contains("`server.admin_key` is `missing`") && error.contains("--admin-open"), "{error}");
    config.admin_key = Some(Secret::new("open sesame"));
    assert!(config.check().is_ok());
    (config.admin_key, config.admin_open) = (None, true);
    assert!(config.check().is_ok());
}

#[test]
fn routes_of_the_other_listener_are_named_as_such() {
    let (server, _dir) = default_server(|_| {});
    let metrics = get(server.admin, "/metrics");
    assert_eq!((metrics.status, metrics.code().as_str()), (404, "not_found"));
    assert_eq!(metrics.message(), "`/metrics` is a route of the data listener, this is the admin listener");
    let arms = post(server.address, "/admin/v1/arms/change", &json!({}));
    assert!(arms.message().contains("route of the admin listener"), "{}", arms.message());
    let typo = get(server.admin, "/admin/v1/policy");
    assert!(typo.message().contains("did you mean `/admin/v1/policies`"), "{}", typo.message());
    let mut client = Client::connect(server.address);
    assert_eq!(client.send("GET", "/health", &[], "").status, 200);
}
