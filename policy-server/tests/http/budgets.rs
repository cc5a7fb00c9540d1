//! Hard budgets of keys: refused before money is spent, right after every way a call can end, across restarts and
//! servers.

use crate::client::{Client, Reply, get, send, until};
use crate::gate::{CHAT, Gate, body, logged, model, streaming};
use crate::key_limits::{ask, key};
use crate::upstream::{
    Do, ROLE, Upstream, chat, chat_body, delta, piece, stream, stream_end, stream_head, whole,
};
use routewright_policy_server::{ModelConfig, ServerConfig};
use serde_json::{Value, json};
use std::path::Path;

/// Nano-dollars of an answer of `chat`: 1000 tokens at 1 USD and 100 at 4 USD a million.
const ANSWER: i64 = 1_400_000;
/// What is held for `asking`: 10 tokens by our count at 1 USD and 1000 at 4 USD a million.
const HELD: i64 = 4_010_000;

/// A request whose answer may have 1000 tokens.
fn asking(model: &str) -> Value {
    let mut body = body(model);
    body["max_tokens"] = json!(1000);
    body
}

fn start(
    dir: &Path,
    models: &[(&str, String)],
    limits: &str,
    change: impl FnOnce(&mut ServerConfig),
) -> (Gate, String) {
    let (key, file) = key(dir, limits);
    let models: Vec<(&str, &str)> = models.iter().map(|(name, url)| (*name, url.as_str())).collect();
    let gate = Gate::start(&models, |config| {
        config.keys_file = Some(file);
        config.metrics_open = true;
        change(config);
    });
    (gate, key)
}

/// Spent and held by the key in a window, nano-dollars.
fn standing(gate: &Gate, window: &str) -> (i64, i64) {
    let reply = get(gate.server.admin, "/admin/v1/budgets");
    assert_eq!(reply.status, 200, "{}", reply.body);
    let body = reply.json();
    let all = body["data"].as_array().unwrap();
    let budget = all.iter().find(|budget| budget["window"] == window).unwrap();
    let nano = |field: &str| (budget[field].as_f64().unwrap() * 1e9).round() as i64;
    (nano("spent_usd"), nano("held_usd"))
}

/// Waits until nothing is held, and says what was spent.
fn spent(gate: &Gate, window: &str) -> i64 {
    until("nothing is held", || standing(gate, window).1 == 0);
    standing(gate, window).0
}

#[test]
fn a_budget_refuses_before_money_is_spent_and_survives_a_restart() {
    let upstream = Upstream::saying(chat("hi"));
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log.db");
    let free = ModelConfig {
        input_usd_per_mtok: Some(0.0),
        cached_input_usd_per_mtok: None,
        output_usd_per_mtok: Some(0.0),
        ..model(&upstream.base_url())
    };
    let models = [("large", upstream.base_url()), ("bare", upstream.base_url())];
    let change = |config: &mut ServerConfig| {
        config.store.as_mut().unwrap().path = log.clone();
        config.models.insert("free".into(), free.clone());
        let bare = config.models.get_mut("bare").unwrap();
        (bare.input_usd_per_mtok, bare.cached_input_usd_per_mtok, bare.output_usd_per_mtok) =
            (None, None, None);
    };
    let (gate, key) = start(dir.path(), &models, "budget_day_usd = 0.01\nbudget_month_usd = 5", change);
    // Before the sixth 7,000,000 of 10,000,000 nano-dollars are spent.
    for _ in 0..5 {
        let reply = ask(&gate, &key, &asking("large"));
        assert_eq!(reply.status, 200, "{}", reply.body);
    }
    let refused = ask(&gate, &key, &asking("large"));
    assert_eq!((refused.status, refused.code().as_str()), (402, "budget_exceeded"), "{}", refused.body);
    let message = refused.message();
    for part in ["for the day is 0.01 US dollars", "0.007 are spent", "may cost 0.00401", "T00:00:00Z"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    assert_eq!(refused.header("x-should-retry"), Some("false"));
    let seconds: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=86_400).contains(&seconds));
    assert_eq!(refused.json()["error"]["type"], "insufficient_quota");
    let message = json!({ "model": "large", "max_tokens": 1000,
        "messages": [{ "role": "user", "content": "why is the sky blue?" }] });
    let headers = [("x-api-key", key.as_str())];
    let reply = send(gate.server.address, "POST", "/v1/messages", &headers, &message.to_string());
    assert_eq!(
        (reply.status, &reply.json()["error"]["type"]),
        (402, &json!("billing_error")),
        "{}",
        reply.body
    );
    assert_eq!(spent(&gate, "day"), 5 * ANSWER);
    assert_eq!(standing(&gate, "month"), (5 * ANSWER, 0));
    let metrics = get(gate.server.address, "/metrics").body;
    for line in ["routewright_budget_spent_usd{key=", "window=\"day\"} 0.007", "window=\"month\"} 0.007"] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    let refused_total = metrics.lines().find(|line| line.starts_with("routewright_budget_refused_total"));
    assert!(refused_total.unwrap().ends_with("window=\"day\"} 2"), "{refused_total:?}");
    drop(gate);
    let file = dir.path().join("keys.toml");
    let models: Vec<(&str, &str)> = models.iter().map(|(name, url)| (*name, url.as_str())).collect();
    let gate = Gate::start(&models, |config| {
        config.keys_file = Some(file);
        change(config);
    });
    assert_eq!(ask(&gate, &key, &asking("large")).status, 402, "it survives a restart");
    assert_eq!(ask(&gate, &key, &asking("free")).status, 200, "what costs nothing is no matter of money");
    let unpriced = ask(&gate, &key, &asking("bare"));
    assert_eq!((unpriced.status, unpriced.code().as_str()), (422, "no_eligible_candidate"));
    assert!(unpriced.message().contains("`bare` has no prices"), "{}", unpriced.message());
    assert_eq!(upstream.received().len(), 6);
}

#[test]
fn a_policy_turns_to_what_the_budget_can_pay() {
    let (large, small) = (Upstream::saying(chat("large")), Upstream::saying(chat("small")));
    let dir = tempfile::tempdir().unwrap();
    let models = [("large", large.base_url()), ("small", small.base_url())];
    let (gate, key) = start(dir.path(), &models, "budget_month_usd = 0.01", |config| {
        config.models.get_mut("large").unwrap().output_usd_per_mtok = Some(12.0);
        config.models.get_mut("small").unwrap().output_usd_per_mtok = Some(1.0);
    });
    // The policy prefers `large`, whose answers may cost 0.01201 here.
    let reply = ask(&gate, &key, &asking("routewright/main"));
    assert_eq!((reply.status, reply.header("x-router-model")), (200, Some("small")), "{}", reply.body);
    assert_eq!(reply.header("x-router-fallbacks"), None);
    assert_eq!(spent(&gate, "month"), 1_100_000);
    for _ in 0..8 {
        assert_eq!(ask(&gate, &key, &asking("routewright/main")).status, 200);
    }
    let reply = ask(&gate, &key, &asking("routewright/main"));
    assert_eq!((reply.status, reply.code().as_str()), (402, "budget_exceeded"), "{}", reply.body);
    assert!(reply.message().contains("as little as is left"), "{}", reply.message());
    assert_eq!((large.received().len(), small.received().len()), (0, 9));
    let (log, _dir) = gate.stop();
    assert_eq!(logged(&log).len(), 9, "nothing was decided that could not be paid");
}

/// What one request costs its key, whose upstream behaves so.
fn bill(script: Vec<Do>, body: &Value) -> (Reply, i64) {
    let upstream = Upstream::saying(script);
    let dir = tempfile::tempdir().unwrap();
    let models = [("large", upstream.base_url())];
    let (gate, key) = start(dir.path(), &models, "budget_day_usd = 1000", |config| {
        config.models.get_mut("large").unwrap().first_byte_timeout_ms = 300;
    });
    let reply = ask(&gate, &key, body);
    let spent = spent(&gate, "day");
    (reply, spent)
}

#[test]
fn a_call_that_dies_is_charged_by_what_is_known() {
    let mut streams = streaming("large");
    streams["max_tokens"] = json!(1000);
    let whole_of = |status, body| whole(status, &[], body);
    let silent = chat_body("hi").replace("\"usage\"", "\"used\"");
    let broken = |with: &[Do]| [&[stream_head(), piece(ROLE), piece(&delta("Hel"))], with].concat();
    let usage = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1000,\"completion_tokens\":7}}\n\n";
    for (name, script, body, charge) in [
        ("whole", chat("hi"), asking("large"), ANSWER),
        ("stream", stream(true), streams.clone(), ANSWER),
        ("no usage", whole_of(200, &silent), asking("large"), HELD),
        ("stream without usage", stream(false), streams.clone(), HELD),
        ("refused", whole_of(400, r#"{"error":{"message":"bad"}}"#), asking("large"), 0),
        ("rate limited", whole_of(429, "{}"), asking("large"), 0),
        // It is called twice.
        ("fails", whole_of(500, "{}"), asking("large"), 0),
        ("no answer", whole_of(200, r#"{"error":{"message":"no"}}"#), asking("large"), 0),
        ("hangs", vec![Do::Hang], asking("large"), HELD),
        ("breaks off", broken(&[Do::Close]), streams.clone(), HELD),
        ("breaks off after usage", broken(&[piece(usage), Do::Close]), streams.clone(), 1_028_000),
        (
            "an error before content",
            vec![stream_head(), piece("data: {\"error\":{}}\n\n"), stream_end()],
            streams.clone(),
            0,
        ),
    ] {
        let (reply, spent) = bill(script, &body);
        assert_eq!(spent, charge, "{name}: {} {}", reply.status, reply.body);
    }
    let down = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let models = [("large", format!("http://{down}/v1"))];
    let (gate, key) = start(dir.path(), &models, "budget_day_usd = 1000", |_| {});
    assert_eq!(ask(&gate, &key, &asking("large")).status, 502);
    assert_eq!(spent(&gate, "day"), 0, "it never reached anybody");
}

#[test]
fn a_client_that_vanishes_leaves_nothing_held() {
    let upstream = Upstream::start(|_, request| match request.body.contains("\"stream\"") {
        true => vec![stream_head(), piece(ROLE), piece(&delta("Hel")), Do::Hang],
        false => vec![Do::Hang],
    });
    let dir = tempfile::tempdir().unwrap();
    let (gate, key) = start(dir.path(), &[("large", upstream.base_url())], "budget_day_usd = 1000", |_| {});
    let mut streams = streaming("large");
    streams["max_tokens"] = json!(1000);
    for (asked, body) in [(1, asking("large")), (2, streams)] {
        let mut client = Client::connect(gate.server.address);
        let body = body.to_string();
        let head = format!("POST {CHAT} HTTP/1.1\r\nhost: localhost\r\nx-api-key: {key}\r\n");
        client.write(format!("{head}content-length: {}\r\n\r\n{body}", body.len()).as_bytes());
        until("it arrived", || upstream.received().len() == asked);
        assert_eq!(standing(&gate, "day").1, HELD);
        drop(client);
        assert_eq!(spent(&gate, "day"), asked as i64 * HELD, "what it took is not known");
    }
}

#[test]
fn keys_that_ask_for_the_impossible_are_refused_with_their_names() {
    let upstream = Upstream::saying(chat("hi"));
    let dir = tempfile::tempdir().unwrap();
    let (_, file) = key(dir.path(), "budget_day_usd = -1");
    let mut config = ServerConfig { keys_file: Some(file), ..ServerConfig::default() };
    config.models.insert("large".into(), model(&upstream.base_url()));
    let refusal = |config: &ServerConfig| {
        let sink = std::sync::Arc::new(routewright_policy_server::Stderr);
        routewright_policy_server::Server::load_with(config.clone(), Vec::new(), sink)
            .unwrap_err()
            .to_string()
    };
    assert!(refusal(&config).contains("is `-1`, expected US dollars from 0"), "{}", refusal(&config));
    config.keys_file = Some(key(dir.path(), "budget_day_usd = 1.0").1);
    assert!(refusal(&config).contains("a section [store]"), "{}", refusal(&config));
    config.keys_file = Some(key(dir.path(), "models = ['lage']").1);
    assert!(refusal(&config).contains("`lage`, expected the name of a section"), "{}", refusal(&config));
    config.keys_file = Some(key(dir.path(), "requests_per_minute = 0").1);
    assert!(refusal(&config).contains("`requests_per_minute` of key `"), "{}", refusal(&config));
}

#[cfg(feature = "postgres")]
mod replicas {
    use super::*;
    use crate::postgres::{Database, skipped};
    use routewright_policy_server::Secret;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    /// Two servers on one database with one key, and 64 clients of them: answers given, spent, held, budget refusals.
    fn race(database: &Database, limit: f64, most: u64, upstream: &Upstream) -> (usize, i64, usize) {
        let dir = tempfile::tempdir().unwrap();
        let (key, file) = key(dir.path(), &format!("budget_month_usd = {limit}"));
        let gates = [(); 2].map(|()| {
            Gate::start(&[("large", &upstream.base_url())], |config| {
                config.keys_file = Some(file.clone());
                let store = config.store.as_mut().unwrap();
                store.path = std::path::PathBuf::new();
                store.postgres_url = Some(Secret::new(database.url()));
            })
        });
        let mut body = body("large");
        body["max_tokens"] = json!(most);
        let (answered, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for client in 0..64 {
                let (gate, key, body, answered, refused) =
                    (&gates[client % 2], &key, &body, &answered, &refused);
                scope.spawn(move || {
                    for _ in 0..12 {
                        let reply = ask(gate, key, body);
                        match reply.status {
                            200 => answered.fetch_add(1, Relaxed),
                            402 => refused.fetch_add(1, Relaxed),
                            status => panic!("{status}: {}", reply.body),
                        };
                    }
                });
            }
        });
        // What is left is spent to the end by one client.
        while ask(&gates[0], &key, &body).status == 200 {
            answered.fetch_add(1, Relaxed);
        }
        assert_eq!(ask(&gates[1], &key, &body).status, 402, "both servers know");
        let total = spent(&gates[1], "month");
        assert_eq!(standing(&gates[0], "month"), (total, 0), "both servers say the same");
        (answered.into_inner(), total, refused.into_inner())
    }

    #[test]
    fn clients_of_two_servers_spend_one_budget_and_no_more() {
        let database = match Database::start("budgets") {
            Ok(database) => database,
            Err(why) => return skipped(&why),
        };
        // More is held than an answer costs: the budget is never exceeded, and used up to what one call is held for.
        let upstream = Upstream::saying([vec![Do::Pause(5)], chat("hi")].concat());
        let (answered, spent, refused) = race(&database, 0.3, 1000, &upstream);
        assert_eq!(spent, answered as i64 * ANSWER, "each answer once");
        assert_eq!(upstream.received().len(), answered, "nothing was called that was refused");
        assert!((300_000_000 - HELD..=300_000_000).contains(&spent), "{spent}");
        assert!(refused > 0);
        // Less is held than an answer costs: it is exceeded by what was under way at most, one request each.
        let upstream = Upstream::saying([vec![Do::Pause(20)], chat("hi")].concat());
        let (answered, spent, _) = race(&database, 0.03, 1, &upstream);
        assert_eq!(spent, answered as i64 * ANSWER);
        assert!((30_000_000 - ANSWER..=30_000_000 + 64 * ANSWER).contains(&spent), "{spent}");
        assert_eq!(upstream.received().len(), answered);
    }

    #[test]
    fn without_the_database_no_money_is_spent_and_what_was_under_way_is_settled_when_it_is_back() {
        let database = match Database::start("budgets-lost") {
            Ok(database) => database,
            Err(why) => return skipped(&why),
        };
        let upstream = Upstream::start(|n, _| match n {
            0 => [vec![Do::Pause(1500)], chat("hi")].concat(),
            _ => chat("hi"),
        });
        let dir = tempfile::tempdir().unwrap();
        let (gate, key) =
            start(dir.path(), &[("large", upstream.base_url())], "budget_month_usd = 1.0", |config| {
                let store = config.store.as_mut().unwrap();
                store.path = std::path::PathBuf::new();
                store.postgres_url = Some(Secret::new(database.url()));
            });
        let under_way = std::thread::scope(|scope| {
            let first = scope.spawn(|| ask(&gate, &key, &asking("large")).status);
            until("it is called", || upstream.received().len() == 1);
            let again = database.interrupt()?;
            let refused = ask(&gate, &key, &asking("large"));
            assert_eq!(
                (refused.status, refused.code().as_str()),
                (503, "store_unavailable"),
                "{}",
                refused.body
            );
            let status = first.join().unwrap();
            again().unwrap();
            Some(status)
        });
        let Some(status) = under_way else { return skipped("the database is another one's") };
        assert_eq!(status, 200, "what was begun is answered");
        until("the store is back", || ask(&gate, &key, &asking("large")).status == 200);
        let answered = upstream.received().len() as i64;
        assert_eq!(spent(&gate, "month"), answered * ANSWER);
    }
}
