//! `data collect` against scripted servers: hostile ones, a kill in the middle, a budget, rules, and the log that
//! methods read.

use crate::run::{BINARY, Ran, json, ok, run};
use routewright_data::answers::AnswerTable;
use routewright_data::{LoadOptions, OutcomeTable};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// What a server does with a request: its body, and how often this very body came before.
type Script = dyn Fn(&Value, u32) -> Reaction + Send + Sync;

enum Reaction {
    /// Status, further headers, body; after so long.
    Say(u16, &'static str, String, u64),
    /// Half a reply, then the end of the connection.
    Break,
    /// Nothing for a long time.
    Hang,
}

/// A model server that follows a script.
struct Server {
    address: String,
    /// Bodies received, and how often.
    asked: Arc<Mutex<BTreeMap<String, u32>>>,
}

impl Server {
    fn start(script: impl Fn(&Value, u32) -> Reaction + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(Mutex::new(BTreeMap::new()));
        let (script, seen): (Arc<Script>, _) = (Arc::new(script), Arc::clone(&asked));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (script, seen) = (Arc::clone(&script), Arc::clone(&seen));
                std::thread::spawn(move || serve(stream, &*script, &seen));
            }
        });
        Self { address, asked }
    }

    fn n_asked(&self) -> u32 {
        self.asked.lock().unwrap().values().sum()
    }

    /// Section of a table of models.
    fn section(&self, name: &str, more: &str) -> String {
        let prices = "input_usd_per_mtok = 1.0\noutput_usd_per_mtok = 4.0\n";
        format!("[models.{name}]\nbase_url = 'http://{}/v1'\n{prices}{more}\n", self.address)
    }
}

/// Answers the requests of one connection.
fn serve(stream: TcpStream, script: &Script, seen: &Mutex<BTreeMap<String, u32>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    loop {
        let (mut length, mut line) = (0, String::new());
        loop {
            line.clear();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        let body: Value = serde_json::from_slice(&body).unwrap();
        let before = {
            let mut seen = seen.lock().unwrap();
            let n = seen.entry(body.to_string()).or_default();
            *n += 1;
            *n - 1
        };
        let text = match script(&body, before) {
            Reaction::Hang => {
                std::thread::sleep(Duration::from_secs(30));
                return;
            }
            Reaction::Break => {
                let _gone = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n{\"cho");
                return;
            }
            Reaction::Say(status, headers, text, wait) => {
                std::thread::sleep(Duration::from_millis(wait));
                let length = text.len();
                format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n{headers}\r\n{text}")
            }
        };
        if stream.write_all(text.as_bytes()).is_err() {
            return;
        }
    }
}

fn chat(text: &str) -> String {
    let choice =
        json!({ "index": 0, "finish_reason": "stop", "message": { "role": "assistant", "content": text } });
    let usage = json!({ "prompt_tokens": 100, "completion_tokens": 50 });
    json!({ "id": "x", "object": "chat.completion", "choices": [choice], "usage": usage }).to_string()
}

fn say(text: &str) -> Reaction {
    Reaction::Say(200, "", chat(text), 0)
}

/// The text of the last turn of a request.
fn asked(body: &Value) -> &str {
    body["messages"].as_array().unwrap().last().unwrap()["content"].as_str().unwrap()
}

/// `N` sums, with sources and splits.
fn sums(dir: &Path, n: usize) {
    let line = |i: usize| {
        let split = ["train", "test"][i % 2];
        let prompt = format!("What is {i} + {i}?");
        json!({ "id": format!("q{i}"), "prompt": prompt, "gold": 2 * i, "source": "sums", "split": split })
    };
    let lines: Vec<String> = (0..n).map(|i| line(i).to_string()).collect();
    std::fs::write(dir.join("prompts.jsonl"), lines.join("\n")).unwrap();
}

/// The sum a prompt asks for.
fn sum(prompt: &str) -> usize {
    2 * prompt.split(' ').nth(2).unwrap().parse::<usize>().unwrap()
}

fn collect(dir: &Path, more: &[&str]) -> Ran {
    let fixed = ["data", "collect", "prompts.jsonl", "--models", "models.toml", "--out", "log.parquet"];
    run(dir, &[&fixed[..], more].concat())
}

fn model<'a>(summary: &'a Value, name: &str) -> &'a Value {
    summary["collect"]["models"].as_array().unwrap().iter().find(|model| model["model"] == name).unwrap()
}

fn summary(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {} {}", ran.stdout, ran.stderr))
}

#[test]
fn a_log_from_nothing_is_read_by_methods_that_need_answers() {
    let dir = TempDir::new().unwrap();
    sums(dir.path(), 60);
    // One is right unless the sum ends in 4, the other on every third; samples of the second differ.
    let good = Server::start(|body, _| {
        let sum = sum(asked(body));
        say(&format!("The sum is {}.", if sum % 10 == 4 { 1 } else { sum }))
    });
    let weak = Server::start(|body, _| {
        let (sum, seed) = (sum(asked(body)), body["seed"].as_u64().unwrap());
        say(&format!("I say {}", if sum % 3 == 0 { sum } else { 1000 + seed as usize % 3 }))
    });
    let tables =
        good.section("good", "") + &weak.section("weak", "[models.weak.collect]\ntemperature = 0.7\n");
    std::fs::write(dir.path().join("models.toml"), tables).unwrap();
    let ran = collect(dir.path(), &["--samples", "3", "--score", "number", "--seed", "7", "--json"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let told = summary(&ran);
    assert_eq!(told["collect"]["rows"], 360);
    // 60 sums of 2 i: those that end in 4 are 2 i = 4, 14, ..: i % 5 == 2.
    assert_eq!(model(&told, "good")["score"], json!(0.8));
    // 180 calls of 100 tokens at 1 and 50 at 4 USD a million.
    assert!((model(&told, "good")["cost_usd"].as_f64().unwrap() - 0.054).abs() < 1e-9);
    assert!((told["collect"]["spent_usd"].as_f64().unwrap() - 0.108).abs() < 1e-9);
    ok(dir.path(), &["data", "validate", "log.parquet"]);
    let table = OutcomeTable::load(&dir.path().join("log.parquet"), &LoadOptions::default()).unwrap();
    assert_eq!((table.n_queries(), table.models.clone()), (60, vec!["good".to_owned(), "weak".to_owned()]));
    let answers = AnswerTable::load(&dir.path().join("log.parquet"), &table).unwrap();
    assert_eq!(answers.n_answers(), 360);
    for method in ["vote", "modelswitch", "answer-stacker"] {
        let out = format!("{method}-policy");
        let train = ["train", method, "--log", "log.parquet", "--out", &out];
        let samples: &[&str] = if method == "modelswitch" { &["--set", "samples=3"] } else { &[] };
        ok(dir.path(), &[&train[..], samples].concat());
        let told = json(dir.path(), &["evaluate", "--policy", &out, "--log", "log.parquet"]);
        assert!(told["policies"][0]["score"].as_f64().unwrap() >= 0.7, "{method}: {told}");
    }
}

#[test]
fn hostile_servers_leave_reasons_and_no_wrong_row() {
    let dir = TempDir::new().unwrap();
    sums(dir.path(), 9);
    let failures = |body: &Value, before: u32| {
        let say = |status, headers, text: &str| Reaction::Say(status, headers, text.to_owned(), 0);
        match (asked(body), before) {
            ("What is 0 + 0?", 0) => {
                say(429, "retry-after: 1\r\n", "{\"error\":{\"message\":\"slow down\"}}")
            }
            ("What is 1 + 1?", 0) => say(500, "", "oops"),
            ("What is 2 + 2?", 0) => say(200, "", "<html>gateway</html>"),
            ("What is 3 + 3?", 0) => say(200, "", "{\"error\":{\"message\":\"overloaded\",\"code\":503}}"),
            ("What is 4 + 4?", 0) => Reaction::Hang,
            ("What is 5 + 5?", 0) => Reaction::Break,
            ("What is 6 + 6?", _) => say(400, "", "{\"error\":{\"message\":\"no such thing\"}}"),
            ("What is 7 + 7?", _) => say(200, "", &chat("")),
            ("What is 8 + 8?", _) => say(500, "", "always"),
            (prompt, _) => say(200, "", &chat(&sum(prompt).to_string())),
        }
    };
    let server = Server::start(failures);
    let limits = "first_byte_timeout_ms = 500\n";
    std::fs::write(dir.path().join("models.toml"), server.section("m", limits)).unwrap();
    let began = Instant::now();
    let ran = collect(dir.path(), &["--score", "number", "--attempts", "3", "--json"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(began.elapsed() >= Duration::from_millis(1000), "retry-after is heeded");
    let told = summary(&ran);
    let of_model = model(&told, "m");
    assert_eq!(
        (&of_model["answered"], &of_model["failed"], &of_model["scored"]),
        (&json!(7), &json!(2), &json!(7))
    );
    // The empty answer is wrong.
    assert!((of_model["score"].as_f64().unwrap() - 6.0 / 7.0).abs() < 1e-9);
    let reasons = failures_of(dir.path());
    assert_eq!(reasons.keys().collect::<Vec<_>>(), ["q6", "q8"]);
    assert!(reasons["q6"].contains("400") && reasons["q6"].contains("no such thing"), "{reasons:?}");
    assert!(reasons["q8"].contains("500") && reasons["q8"].contains("(3 tries)"), "{reasons:?}");
    // Two calls may have been answered and paid: they count as their most.
    let spent = told["collect"]["spent_usd"].as_f64().unwrap();
    assert!(spent > of_model["cost_usd"].as_f64().unwrap() + 2.0 * 1024.0 * 4e-6, "{spent}");
    // Nothing is asked again, and what failed only where that is wanted.
    let n = server.n_asked();
    assert_eq!(collect(dir.path(), &["--score", "number"]).code, 0);
    assert_eq!(server.n_asked(), n);
    collect(dir.path(), &["--score", "number", "--attempts", "1", "--retry-failed"]);
    assert_eq!(server.n_asked(), n + 2);
}

/// Why cells are missing, by query.
fn failures_of(dir: &Path) -> BTreeMap<String, String> {
    let journal = std::fs::read_to_string(dir.join("log.parquet.journal")).unwrap();
    let lines = journal.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let failed = lines.filter_map(|line| {
        Some((line["call"]["id"].as_str()?.to_owned(), line["failed"].as_str()?.to_owned()))
    });
    failed.collect()
}

#[test]
fn a_kill_in_the_middle_loses_no_answer_and_asks_none_twice() {
    let dir = TempDir::new().unwrap();
    sums(dir.path(), 80);
    let server = Server::start(|body, _| Reaction::Say(200, "", chat(&sum(asked(body)).to_string()), 15));
    let concurrent = "[models.m.collect]\nconcurrent = 4\n";
    std::fs::write(dir.path().join("models.toml"), server.section("m", concurrent)).unwrap();
    let journal = dir.path().join("log.parquet.journal");
    let answered = || {
        let text = std::fs::read_to_string(&journal).unwrap_or_default();
        text.lines().filter(|line| line.contains("\"reply\"")).count()
    };
    let arguments = [
        "data",
        "collect",
        "prompts.jsonl",
        "--models",
        "models.toml",
        "--out",
        "log.parquet",
        "--samples",
        "2",
        "--seed",
        "1",
    ];
    let mut kept = 0;
    for goal in [20, 60, 100] {
        let mut child = Command::new(BINARY)
            .args(arguments)
            .current_dir(dir.path())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        while answered() < goal {
            assert!(child.try_wait().unwrap().is_none(), "ended before {goal} answers");
            std::thread::sleep(Duration::from_millis(1));
        }
        // SIGKILL.
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!dir.path().join("log.parquet").exists(), "no log before all is asked");
        assert!(answered() >= kept, "an answer was lost");
        kept = answered();
    }
    let ran = collect(dir.path(), &["--samples", "2", "--seed", "1", "--score", "number", "--json"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let told = summary(&ran);
    assert_eq!((&told["collect"]["rows"], &model(&told, "m")["score"]), (&json!(160), &json!(1.0)));
    let asked = server.asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 160, "every query and sample");
    let again: u32 = asked.values().map(|n| n - 1).sum();
    assert!(again <= 3 * 4, "{again} calls were made again; at most those under way at three kills may be");
    // Those under way at the kills count as paid.
    assert!(told["collect"]["spent_usd"].as_f64().unwrap() >= 160.0 * 3e-4 - 1e-9);
    let whole = std::fs::read(dir.path().join("log.parquet")).unwrap();
    assert_eq!(collect(dir.path(), &["--samples", "2", "--seed", "1", "--score", "number"]).code, 0);
    assert_eq!(server.asked.lock().unwrap().values().sum::<u32>(), asked.values().sum::<u32>());
    assert_eq!(std::fs::read(dir.path().join("log.parquet")).unwrap(), whole, "the same log, byte for byte");
}

#[test]
fn the_budget_is_never_exceeded() {
    let dir = TempDir::new().unwrap();
    sums(dir.path(), 50);
    let server = Server::start(|body, _| Reaction::Say(200, "", chat(&sum(asked(body)).to_string()), 5));
    let asking = "[models.m.collect]\nmax_tokens = 100\n";
    std::fs::write(dir.path().join("models.toml"), server.section("m", asking)).unwrap();
    // A call costs 0.0003 and is held at under 0.001.
    let ran = collect(dir.path(), &["--budget", "0.006", "--score", "number", "--json"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    let told = summary(&ran);
    assert_eq!(told["collect"]["stopped"], "budget");
    let spent = told["collect"]["spent_usd"].as_f64().unwrap();
    assert!((0.0045..=0.006).contains(&spent), "{spent}");
    assert!((spent - f64::from(server.n_asked()) * 3e-4).abs() < 1e-9, "the server saw what was paid");
    assert!(model(&told, "m")["not_asked"].as_u64().unwrap() >= 30);
    // What earlier runs spent counts.
    let n = server.n_asked();
    assert_eq!(collect(dir.path(), &["--budget", "0.0055"]).code, 1);
    assert!(server.n_asked() <= n + 1);
    assert_eq!(collect(dir.path(), &["--budget", "1"]).code, 0);
    assert_eq!(server.n_asked(), 50);
    // Without a price there is no budget.
    let unpriced = format!("[models.m]\nbase_url = 'http://{}/v1'\n", server.address);
    std::fs::write(dir.path().join("models.toml"), unpriced).unwrap();
    let refused = collect(dir.path(), &["--budget", "1"]);
    assert!(refused.code == 2 && refused.stderr.contains("`m` has no prices"), "{}", refused.stderr);
}

#[test]
fn judges_verifications_and_the_dialect_of_anthropic() {
    let dir = TempDir::new().unwrap();
    sums(dir.path(), 6);
    let claude = Server::start(|body, _| {
        // Its dialect has no turns of a judge's prompt in it: the text is in parts.
        let content = &body["messages"][0]["content"];
        let text = content.as_str().or_else(|| content[0]["text"].as_str()).unwrap().to_owned();
        let said = if text.contains("Proposed answer") {
            "I think: correct".to_owned()
        } else {
            sum(&text).to_string()
        };
        let reply = json!({
            "type": "message", "role": "assistant", "model": "c", "stop_reason": "max_tokens", "id": "m",
            "content": [{ "type": "text", "text": said }],
            "usage": { "input_tokens": 9, "cache_read_input_tokens": 1, "output_tokens": 3 },
        });
        Reaction::Say(200, "", reply.to_string(), 0)
    });
    let judge = Server::start(|body, _| {
        let text = asked(body);
        assert!(text.contains("Reference answer:"), "{text}");
        match text.contains("What is 2 + 2?") {
            true => say("What a nice day."),
            false => say("Score: 0.75"),
        }
    });
    let tables = claude.section("claude", "dialect = 'anthropic'\n") + &judge.section("judge", "");
    std::fs::write(dir.path().join("models.toml"), tables).unwrap();
    let ran = collect(
        dir.path(),
        &["--only", "claude", "--score", "judge:judge", "--verify", "2", "--budget", "1", "--json"],
    );
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let told = summary(&ran);
    assert_eq!(told["collect"]["models"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&model(&told, "claude")["scored"], &model(&told, "claude")["score"]),
        (&json!(5), &json!(0.75))
    );
    assert_eq!((claude.n_asked(), judge.n_asked()), (18, 6));
    let table = OutcomeTable::load(&dir.path().join("log.parquet"), &LoadOptions::default()).unwrap();
    assert_eq!(table.score.get(2, 0), None, "prose is no verdict");
    let answers = AnswerTable::load(&dir.path().join("log.parquet"), &table).unwrap();
    let first = answers.samples(0, 0).next().unwrap();
    assert_eq!(
        (first.finish, first.verifier_rate, first.input_tokens),
        (Some("length"), Some(1.0), Some(10))
    );
}

#[test]
fn code_is_run_and_hostile_code_is_wrong() {
    let dir = TempDir::new().unwrap();
    let programs = [
        ("right", "```python\ndef add(a, b):\n    return a + b\n```"),
        ("wrong", "```python\ndef add(a, b):\n    return a - b\n```"),
        ("endless", "```python\nwhile True:\n    pass\n```"),
        ("prose", "I cannot do that."),
    ];
    let lines: Vec<String> = programs
        .iter()
        .map(|(id, _)| {
            json!({ "id": id, "prompt": format!("write {id}"), "gold": "assert add(2, 3) == 5" }).to_string()
        })
        .collect();
    std::fs::write(dir.path().join("prompts.jsonl"), lines.join("\n")).unwrap();
    let server = Server::start(move |body, _| {
        let id = asked(body).split(' ').nth(1).unwrap().to_owned();
        say(programs.iter().find(|(name, _)| *name == id).unwrap().1)
    });
    std::fs::write(dir.path().join("models.toml"), server.section("m", "")).unwrap();
    let ran = collect(dir.path(), &["--score", "code", "--code-seconds", "1", "--json"]);
    if ran.stderr.contains("expected a Python 3") {
        return routewright_data::testing::skip("python3", "the code of answers cannot be run");
    }
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let table = OutcomeTable::load(&dir.path().join("log.parquet"), &LoadOptions::default()).unwrap();
    let scores: Vec<Option<f32>> = (0..4).map(|row| table.score.get(row, 0)).collect();
    let ids: Vec<&str> = table.queries.iter().map(|query| query.id.as_str()).collect();
    assert_eq!(ids, ["right", "wrong", "endless", "prose"]);
    assert_eq!(scores, [Some(1.0), Some(0.0), Some(0.0), Some(0.0)]);
}

#[test]
fn a_dead_model_is_given_up_and_a_member_of_this_process_answers() {
    let dir = TempDir::new().unwrap();
    sums(dir.path(), 40);
    let dead =
        Server::start(|_, _| Reaction::Say(401, "", "{\"error\":{\"message\":\"bad key\"}}".into(), 0));
    let script = "[{ after = '', next = { '42' = 1.0 } }, { after = '42', next = { '' = 1.0 } }]";
    let local = format!("[models.local]\nbackend = 'scripted'\nscript = {script}\n");
    std::fs::write(
        dir.path().join("models.toml"),
        dead.section("dead", "[models.dead.collect]\nconcurrent = 1\n") + &local,
    )
    .unwrap();
    let ran = collect(dir.path(), &["--give-up", "4", "--json"]);
    let told = summary(&ran);
    assert_eq!(dead.n_asked(), 4, "{}", ran.stderr);
    assert_eq!(
        (&model(&told, "dead")["given_up"], &model(&told, "dead")["not_asked"]),
        (&json!(true), &json!(36))
    );
    assert!(ran.stderr.contains("`dead` failed too often"), "{}", ran.stderr);
    assert_eq!(model(&told, "local")["answered"], json!(40), "{}", ran.stderr);
    let table = OutcomeTable::load(&dir.path().join("log.parquet"), &LoadOptions::default()).unwrap();
    let answers = AnswerTable::load(&dir.path().join("log.parquet"), &table).unwrap();
    let local = table.models.iter().position(|name| name == "local").unwrap();
    let said = answers.samples(0, local).next().unwrap();
    assert_eq!((said.text, said.finish, said.output_tokens), (Some("42"), Some("stop"), Some(2)));
    assert!(said.logprob_mean.unwrap() > -1e-3);
}

#[test]
fn refusals_come_before_anything_is_asked() {
    let dir = TempDir::new().unwrap();
    sums(dir.path(), 2);
    let server = Server::start(|_, _| say("1"));
    std::fs::write(dir.path().join("models.toml"), server.section("m", "")).unwrap();
    std::fs::write(dir.path().join("template.txt"), "no place").unwrap();
    for (arguments, says) in [
        (&["--score", "numbr"][..], "no rule of scoring `numbr`"),
        (&["--score", "judge:nobody"], "`nobody`"),
        (&["--score", "letter"], "gold answer `0`"),
        (&["--samples", "0"], "samples are `0`"),
        (&["--budget=-1"], "budget is `-1`"),
        (&["--only", "n"], "no model `n`"),
        (&["--judge-prompt", "template.txt"], "`{answer}`"),
        (&["--score", "code"], "expected a script of tests"),
        (&["--score", "judge:m", "--verify", "100000"], "verifications are `100000`"),
    ] {
        let ran = collect(dir.path(), arguments);
        assert!(ran.code == 2 && ran.stderr.contains(says), "{arguments:?}: {}", ran.stderr);
    }
    let prompt = json!({ "id": 1, "prompt": "Add.", "gold": "assert True" });
    std::fs::write(dir.path().join("prompts.jsonl"), prompt.to_string()).unwrap();
    let ran = collect(dir.path(), &["--score", "code", "--python", "no-such-python"]);
    assert!(ran.code == 2 && ran.stderr.contains("no-such-python"), "{}", ran.stderr);
    assert_eq!(server.n_asked(), 0);
}
