//! Programs that answer: cascades and votes whose calls the server makes.

use crate::client::{Client, Reply, get, send, until};
use crate::gate::{CHAT, Gate, body, streaming};
use crate::policies;
use crate::upstream::{
    DONE, Do, FINISH, ROLE, Upstream, chat, chat_body, delta, piece, stream, stream_head, whole,
};
use routewright_policy_server::ledger::{DecisionRecord, SqliteStore, Store};
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

const LONG: &str = "a long and well founded answer";
const POLICY: &str = "routewright/main";

/// A server whose policy is the program that `write` writes.
fn gate(models: &[(&str, &Upstream)], write: fn(&Path)) -> Gate {
    let urls: Vec<(&str, String)> = models.iter().map(|(name, at)| (*name, at.base_url())).collect();
    let models: Vec<(&str, &str)> = urls.iter().map(|(name, url)| (*name, url.as_str())).collect();
    Gate::start(&models, |config| {
        let path = &config.policies[0].path;
        std::fs::remove_dir_all(path).unwrap();
        write(path);
    })
}

fn ask(gate: &Gate, headers: &[(&str, &str)], body: &Value) -> Reply {
    send(gate.server.address, "POST", CHAT, headers, &body.to_string())
}

/// The records of a log, in order, each with the price that was reported of it.
fn steps(log: &Path) -> Vec<(DecisionRecord, Option<f64>)> {
    let mut store = SqliteStore::open(log).unwrap();
    let day = store.days().unwrap()[0];
    let rows = store.of_day(day, 0, 100).unwrap().into_iter().map(|(_, found)| found.unwrap());
    rows.map(|found| (found.decision, found.feedback.iter().find_map(|record| record.cost_usd))).collect()
}

#[test]
fn a_cascade_escalates_and_says_what_it_did() {
    let (small, large) = (Upstream::saying(chat("not sure")), Upstream::saying(chat(LONG)));
    let gate = gate(&[("small", &small), ("large", &large)], policies::write_cascade);
    let reply = ask(&gate, &[], &body(POLICY));
    assert_eq!((reply.status, reply.body.as_str()), (200, chat_body(LONG).as_str()));
    let header = |name: &str| reply.header(name).unwrap_or_default().to_owned();
    assert_eq!((header("x-router-model"), header("x-router-calls")), ("large".into(), "small,large".into()));
    assert_eq!(
        (header("x-router-reason"), header("x-router-cost-usd")),
        ("exhausted".into(), "0.0028".into())
    );
    // What is sent to each is the caller's body but for the model, and for what asks for a stream.
    assert_eq!(small.received()[0].body, body("small").to_string());
    let explained = ask(&gate, &[("x-router-explain", "true")], &body(POLICY)).json();
    let detail = &explained["routewright"];
    assert_eq!(explained["choices"][0]["message"]["content"], LONG);
    assert_eq!((&detail["program"], &detail["cost_usd"]), (&json!("cascade"), &json!(0.0028)));
    let calls: Vec<&Value> =
        detail["steps"].as_array().unwrap().iter().map(|step| &step["calls"][0]).collect();
    assert_eq!((&calls[0]["model"], &calls[1]["model"]), (&json!("small"), &json!("large")));
    assert_eq!((&calls[0]["input_tokens"], &calls[0]["cost_usd"]), (&json!(1000), &json!(0.0014)));
    let (log, _dir) = gate.stop();
    let steps = steps(&log);
    assert_eq!(steps.len(), 6, "two runs of three steps");
    let episode = |at: usize| steps[at].0.episode.clone().unwrap();
    assert_eq!(header("x-router-decision-id"), episode(0).episode_id);
    assert_eq!(
        (episode(1).answers[0].text.as_deref(), episode(2).answers[0].cost_usd),
        (Some("not sure"), Some(0.0014))
    );
    assert!(episode(2).returns && episode(2).spent_usd > 0.0027);
    // Each step that called is billed.
    let bills: Vec<Option<f64>> = steps[..3].iter().map(|(_, bill)| *bill).collect();
    assert_eq!(bills, [Some(0.0014), Some(0.0014), None]);
}

#[test]
fn an_answer_that_is_kept_is_the_reply_also_as_a_stream() {
    let (small, large) = (Upstream::saying(chat(LONG)), Upstream::saying(chat("never")));
    let gate = gate(&[("small", &small), ("large", &large)], policies::write_cascade);
    assert_eq!(ask(&gate, &[], &body(POLICY)).body, chat_body(LONG));
    let mut asked = streaming(POLICY);
    asked["stream_options"] = json!({ "include_usage": true });
    let reply = ask(&gate, &[], &asked);
    assert_eq!(reply.header("content-type"), Some("text/event-stream"));
    let events: Vec<&str> =
        reply.body.split("\n\n").filter_map(|event| event.strip_prefix("data: ")).collect();
    let parsed: Vec<Value> = events[..3].iter().map(|event| serde_json::from_str(event).unwrap()).collect();
    assert_eq!(parsed[0]["choices"][0]["delta"]["content"], LONG);
    assert_eq!(parsed[1]["choices"][0]["finish_reason"], "stop");
    assert_eq!(parsed[2]["usage"]["prompt_tokens"], 1000);
    assert_eq!((events[3], events.len(), large.received().len()), ("[DONE]", 4, 0));
    assert!(!small.received()[1].body.contains("stream"), "{}", small.received()[1].body);
}

#[test]
fn the_last_call_is_streamed_as_it_comes() {
    let (small, large) = (Upstream::saying(chat("not sure")), Upstream::saying(stream(true)));
    let gate = gate(&[("small", &small), ("large", &large)], policies::write_cascade);
    let reply = ask(&gate, &[], &streaming(POLICY));
    assert_eq!(reply.body, [ROLE, &delta("Hello"), &delta(" world"), FINISH, DONE].concat());
    assert_eq!(
        (reply.header("x-router-model"), reply.header("x-router-calls")),
        (Some("large"), Some("small"))
    );
    // Its end is logged behind it.
    let log = gate.log();
    until("the last step is logged", || steps(&log).len() == 3);
    let (log, _dir) = gate.stop();
    let answer = steps(&log)[2].0.episode.clone().unwrap().answers[0].clone();
    assert_eq!((answer.text.as_deref(), answer.cost_usd), (Some("Hello world"), Some(0.0014)));
    assert_eq!((answer.finish.as_deref(), answer.output_tokens), (Some("stop"), Some(100)));
}

#[test]
fn failures_limits_and_the_end_of_all_are_heeded() {
    let broken = || Upstream::saying(whole(500, &[], "{}"));
    let (small, large) = (broken(), Upstream::saying(chat(LONG)));
    let failing = gate(&[("small", &small), ("large", &large)], policies::write_cascade);
    assert_eq!(ask(&failing, &[], &body(POLICY)).header("x-router-model"), Some("large"));
    let (small, large) = (Upstream::saying(chat("not sure")), broken());
    let failing = gate(&[("small", &small), ("large", &large)], policies::write_cascade);
    for asked in [body(POLICY), streaming(POLICY)] {
        let reply = ask(&failing, &[], &asked);
        assert_eq!((reply.status, reply.header("x-router-model")), (200, Some("small")), "{}", reply.body);
    }
    // 0.0014 of 0.005 is spent, and `large` is expected to cost 0.01.
    let (small, large) = (Upstream::saying(chat("not sure")), Upstream::saying(chat(LONG)));
    let limited = gate(&[("small", &small), ("large", &large)], policies::write_cascade);
    let reply = ask(&limited, &[("x-router-max-cost-usd", "0.005")], &body(POLICY));
    assert_eq!(
        (reply.header("x-router-model"), reply.header("x-router-reason")),
        (Some("small"), Some("limit"))
    );
    assert_eq!(large.received().len(), 0);
    let reply = ask(&limited, &[("x-router-max-cost-usd", "much")], &body(POLICY));
    assert_eq!((reply.status, reply.code().as_str()), (400, "invalid_request"));
    let none = gate(&[("small", &broken()), ("large", &broken())], policies::write_cascade);
    let reply = ask(&none, &[], &body(POLICY));
    assert_eq!((reply.status, reply.code().as_str()), (502, "upstream_failed"));
}

#[test]
fn a_vote_asks_all_at_the_same_time_and_returns_what_most_say() {
    let slow = |text: &str| Upstream::saying([vec![Do::Pause(400)], chat(text)].concat());
    let (small, large, other) = (slow("It is 42."), slow("41"), slow("forty-two, that is 42"));
    let gate = gate(&[("small", &small), ("large", &large), ("other", &other)], policies::write_vote);
    let began = Instant::now();
    let reply = ask(&gate, &[], &body(POLICY));
    assert!(began.elapsed() < Duration::from_millis(1000), "{:?}", began.elapsed());
    assert_eq!((reply.status, reply.header("x-router-model")), (200, Some("other")), "{}", reply.body);
    assert_eq!(reply.header("x-router-cost-usd"), Some("0.0042"));
    let mut with_tools = body(POLICY);
    with_tools["tools"] = json!([{ "type": "function", "function": { "name": "f", "parameters": {} } }]);
    let mut with_n = body(POLICY);
    with_n["n"] = json!(2);
    for asked in [with_tools, with_n] {
        assert_eq!(ask(&gate, &[], &asked).code(), "no_eligible_candidate");
    }
}

#[test]
fn a_caller_who_goes_ends_all_calls() {
    let [small, large, other] = [0; 3].map(|_| Upstream::saying(vec![Do::Hang]));
    let gate = gate(&[("small", &small), ("large", &large), ("other", &other)], policies::write_vote);
    let asked = body(POLICY).to_string();
    let mut client = Client::connect(gate.server.address);
    let head = format!("POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n", asked.len());
    client.write(format!("{head}{asked}").as_bytes());
    let all = [&small, &large, &other];
    until("all are called", || all.iter().all(|at| at.received().len() == 1));
    drop(client);
    until("all calls have ended", || all.iter().all(|at| at.abandoned() == 1));
    // Also within the last call, which is streamed.
    let (small, large) = (
        Upstream::saying(chat("not sure")),
        Upstream::saying(vec![stream_head(), piece(&delta("a")), Do::Hang]),
    );
    let gate = self::gate(&[("small", &small), ("large", &large)], policies::write_cascade);
    let asked = streaming(POLICY).to_string();
    let mut client = Client::connect(gate.server.address);
    let head = format!("POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n", asked.len());
    client.write(format!("{head}{asked}").as_bytes());
    until("it is called", || large.received().len() == 1);
    std::thread::sleep(Duration::from_millis(100));
    drop(client);
    until("the call has ended", || large.abandoned() == 1);
    let counted = "{model=\"large\",outcome=\"cancelled\"} 1";
    until("it is counted", || get(gate.server.address, "/metrics").body.contains(counted));
}
