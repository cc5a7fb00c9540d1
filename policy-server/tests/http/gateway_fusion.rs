//! Fused models as arms: a policy decides on one as on any other model, and falls back from it.

use crate::client::{Client, post, until};
use crate::fusion::{events, write_ensemble};
use crate::gate::{Gate, ask, body, logged, streaming};
use crate::upstream::{Upstream, chat};
use routewright_policy_server::{ModelConfig, ServerConfig};
use serde_json::{Value, json};

/// A gate whose `large` is a fused model at 2 and 10 USD for a million tokens, and whose `small` is at an upstream.
fn gate(small: &Upstream, change: impl FnOnce(&mut ServerConfig)) -> (Gate, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let ensemble = write_ensemble(dir.path());
    let gate = Gate::start(&[("small", &small.base_url())], |config| {
        config.fusions.insert("pair".to_owned(), ensemble);
        let fused = ModelConfig {
            input_usd_per_mtok: Some(2.0),
            output_usd_per_mtok: Some(10.0),
            ..ModelConfig::fused("pair")
        };
        config.models.insert("large".to_owned(), fused);
        change(config);
    });
    (gate, dir)
}

/// A body whose answer is another draw of no seed but this.
fn seeded(mut body: Value) -> Value {
    body["seed"] = json!(3);
    body["max_tokens"] = json!(20);
    body
}

fn content(reply: &Value) -> &str {
    reply["choices"][0]["message"]["content"].as_str().unwrap()
}

#[test]
fn a_fused_model_is_decided_on_priced_and_logged_like_any_other() {
    let small = Upstream::saying(chat("small"));
    let (gate, _dir) = gate(&small, |_| {});
    let direct = ask(&gate, &seeded(body("fusion/pair"))).json();
    let reply = ask(&gate, &seeded(body("routewright/main")));
    assert_eq!(reply.status, 200, "{}", reply.body);
    assert_eq!(reply.header("x-router-model"), Some("large"));
    assert_eq!(content(&reply.json()), content(&direct));
    let usage = &direct["usage"];
    let tokens = |key: &str| usage[key].as_f64().unwrap();
    let usd = (2.0 * tokens("prompt_tokens") + 10.0 * tokens("completion_tokens")) / 1e6;
    let priced: f64 = reply.header("x-router-cost-usd").unwrap().parse().unwrap();
    assert!((priced - usd).abs() < 1e-9, "{priced} {usd}");

    let streamed = ask(&gate, &seeded(streaming("routewright/main")));
    let (chunks, is_done) = events(&streamed.body);
    let pieces: String =
        chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!((pieces.as_str(), is_done), (content(&direct), true));
    assert!(chunks.iter().all(|chunk| chunk["usage"].is_null()), "usage nobody asked for: {chunks:?}");

    // Through the API of another dialect it is translated.
    let messages = json!({ "model": "large", "max_tokens": 20, "messages": body("")["messages"] });
    let said = post(gate.server.address, "/v1/messages", &messages);
    assert_eq!((said.status, said.json()["type"].as_str()), (200, Some("message")), "{}", said.body);
    let embeddings = json!({ "model": "large", "input": "x" });
    assert_eq!(post(gate.server.address, "/v1/embeddings", &embeddings).code(), "no_eligible_candidate");
    assert!(small.received().is_empty());
    let (log, _dir) = gate.stop();
    for (model, is_active, cost_usd, outcome) in logged(&log) {
        assert_eq!((model.as_str(), is_active, outcome.as_deref()), ("large", true, Some("ok")));
        assert!((cost_usd.unwrap() - usd).abs() < 1e-9, "{cost_usd:?} {usd}");
    }
}

#[test]
fn a_fused_model_that_is_busy_or_cannot_do_what_is_asked_is_passed_over() {
    let slow = "system = 'gac'\n[[members]]\nname = 'slow'\nbackend = 'scripted'\nwaits_ms = 200\n\
                script = [{ after = '', next = { 'a' = 1.0 } }]\n";
    let small = Upstream::saying(chat("small"));
    let (gate, dir) = gate(&small, |config| {
        std::fs::write(&config.fusions["pair"], slow).unwrap();
        config.limits.fusions_max = 1;
    });
    let mut client = Client::connect(gate.server.address);
    let asked = streaming("large").to_string();
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length:";
    client.write(format!("{head} {}\r\n\r\n{asked}", asked.len()).as_bytes());
    until("the place to be taken", || {
        let reply = ask(&gate, &body("routewright/main"));
        assert_eq!(reply.status, 200, "{}", reply.body);
        let by = (reply.header("x-router-model"), reply.header("x-router-fallbacks"));
        by == (Some("small"), Some("large"))
    });
    drop((client, dir));
    let mut asking = body("routewright/main");
    asking["tools"] = json!([{ "type": "function", "function": { "name": "f", "parameters": {} } }]);
    assert_eq!(ask(&gate, &asking).code(), "no_eligible_candidate");
}

#[test]
fn a_caller_who_goes_frees_the_place_of_a_fused_arm() {
    let small = Upstream::saying(chat("small"));
    let (gate, _dir) = gate(&small, |config| config.limits.fusions_max = 1);
    let asked = seeded(streaming("large")).to_string();
    for _ in 0..5 {
        let mut client = Client::connect(gate.server.address);
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n",
            asked.len()
        );
        client.write(head.as_bytes());
        client.write(asked.as_bytes());
        drop(client);
    }
    until("a place", || ask(&gate, &seeded(body("large"))).status == 200);
}

#[test]
fn a_section_of_a_fused_model_has_no_address_and_names_one_that_is_there() {
    let read = |text: &str| {
        let text = format!("[fusions.pair]\nensemble = 'pair.toml'\n{text}");
        ServerConfig::parse(&text, "server.toml", std::path::Path::new(""), &|_| Some("x".to_owned()))
    };
    assert_eq!(
        read("[models.large]\nfusion = 'pair'").unwrap().models["large"].fusion.as_deref(),
        Some("pair")
    );
    assert!(read("[models.'fusion/pair']\nfusion = 'pair'").is_ok());
    for (text, says) in [
        ("[models.large]\nfusion = 'pear'", "`models.large.fusion` is `pear`"),
        ("[models.large]\nfusion = 'pair'\nbase_url = 'https://a.b'", "no such key beside `fusion`"),
        ("[models.large]\nfusion = 'pair'\ncapabilities = ['tools']", "`models.large.capabilities`"),
        ("[models.'fusion/two']\nfusion = 'pair'", "a name that does not begin"),
        ("[models.large]\n", "`models.large.base_url` is ``"),
    ] {
        let error = read(text).unwrap_err().to_string();
        assert!(error.contains(says), "{text}: {error}");
    }
}
