//! What a server says is what the model in it says.

use crate::server::serve;
use crate::speak::speak;
use crate::{member, model, scripted, tokenizer_file};
use routewright_data::rng;
use routewright_decoder::backend::{Backend, Draft, NextTokens, Stop, Written};
use routewright_decoder::backends;
use routewright_decoder::backends::http::Dialect;
use routewright_decoder::fuse::{ALL, answer, find};
use routewright_decoder::generation::Ask;
use routewright_decoder::vocabulary::Role;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;

/// Dialects a server was written down for; the others only write, or are these with another switch.
const SPOKEN: [&str; 9] = [
    "openai",
    "llama-cpp-python",
    "llama-cpp",
    "vllm",
    "sglang",
    "tgi",
    "ollama",
    "openai-chat",
    "vllm-chat",
];

const PIECES: [&str; 4] = ["on", " up", " ti", "er"];

fn greedy(tokens: usize, stop: &[&str]) -> Draft {
    let stop = stop.iter().map(|stop| stop.as_bytes().to_vec()).collect();
    Draft { tokens, stop, temperature: 0.0, top_p: 1.0 }
}

/// The same model twice: behind a server, and here.
fn pair(dialect: &'static str, more: &Value) -> (Arc<dyn Backend>, Arc<dyn Backend>, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let file = tokenizer_file(dir.path(), "tokenizer.vocab", &PIECES);
    let inside = model(&file);
    let served = inside.clone();
    let (url, _) = serve(move |request, _| speak(dialect, &served, request));
    (member(&url, dialect, Some(&file), more).unwrap(), inside, dir)
}

#[test]
fn every_dialect_that_lists_candidates_has_a_server_here() {
    let lists: Vec<&str> = Dialect::all().filter(|(_, d)| d.next.is_some()).map(|(name, _)| name).collect();
    let mut spoken = SPOKEN.to_vec();
    spoken.sort_unstable();
    assert_eq!(lists, spoken);
}

#[test]
fn candidates_and_the_rest_are_those_of_the_model() {
    for dialect in SPOKEN {
        let (far, near, _dir) = pair(dialect, &json!({"top": 5}));
        for prompt in ["once", "once upon a time, there was 1 caf\u{e9}.", ""] {
            let mut far = far.open(prompt.as_bytes(), &Stop::default()).unwrap();
            let mut near = near.open(prompt.as_bytes(), &Stop::default()).unwrap();
            assert_eq!(far.ids(), near.ids());
            let told = far.next().unwrap();
            let all = routewright_decoder::backends::writing::said(near.next().unwrap(), &*near);
            let top: Vec<(u32, f32)> = told.top(9);
            // Where the model ends at once, Ollama lists nothing: the end is certain.
            if dialect == "ollama" && near.tokenizer().vocabulary().role(top[0].0) == Role::End {
                assert_eq!(top, [(top[0].0, 0.0)]);
                continue;
            }
            assert!((3..=5).contains(&top.len()), "{dialect} `{prompt}`: {top:?}");
            for ((id, p), (best, expected)) in top.iter().zip(all.top(5)) {
                assert!((p - expected).abs() < 1e-4, "{dialect} `{prompt}`: {id} {p}, {best} {expected}");
            }
            // Told by text, one end is as good as another.
            let vocabulary = near.tokenizer().vocabulary();
            let shown = |id: u32| (vocabulary.role(id), vocabulary.bytes(id));
            assert_eq!(shown(told.best().0), shown(all.best().0), "{dialect} `{prompt}`");
            let listed: f32 = top.iter().map(|(_, p)| p.exp()).sum();
            assert!((told.rest() - (1.0 - listed)).abs() < 1e-4, "{dialect}");
            let calls = far.usage().calls;
            far.next().unwrap();
            assert_eq!(far.usage().calls, calls, "asking twice costs nothing more");
        }
    }
}

#[test]
fn what_it_writes_is_what_the_model_writes() {
    for dialect in SPOKEN {
        let (far, near, _dir) = pair(dialect, &json!({}));
        for (tokens, stop) in
            [(4, &[][..]), (100, &[]), (100, &[" time", "zz"]), (100, &["a", "b", "c", "d", "e", "f"])]
        {
            let write = |backend: &Arc<dyn Backend>| {
                let mut session = backend.open(b"once", &Stop::default()).unwrap();
                let written = session.write(&greedy(tokens, stop), &mut rng::stream(0, "none")).unwrap();
                (written, session.tokenizer().decode(session.ids()))
            };
            let ((far, far_text), (near, near_text)) = (write(&far), write(&near));
            let show = |written: &Written| String::from_utf8(written.text.clone()).unwrap();
            assert_eq!(show(&far), show(&near), "{dialect} {tokens} {stop:?}");
            assert_eq!(far_text, near_text, "{dialect} {tokens} {stop:?}");
            assert_eq!(far.ended, near.ended, "{dialect} {tokens} {stop:?}");
            if stop.is_empty() {
                let (far, near) = (far.log_prob.unwrap(), near.log_prob.unwrap());
                // The end itself is a token the server need not have told the price of.
                assert!((far - near).abs() < 0.6, "{dialect} {tokens}: {far} {near}");
            }
        }
    }
}

#[test]
fn scores_are_those_of_the_model() {
    let mut scoring = 0;
    for dialect in SPOKEN {
        let (far, near, _dir) = pair(dialect, &json!({}));
        if !far.capabilities().scoring {
            continue;
        }
        scoring += 1;
        // The second is cut across the end of the prompt: `up` and `on` are tokens.
        for (prompt, text) in [("once ", "upon a"), ("once up", "on a"), ("", "once")] {
            let score = |backend: &Arc<dyn Backend>| {
                let mut session = backend.open(prompt.as_bytes(), &Stop::default()).unwrap();
                let mut member = routewright_decoder::member::Member::new("m", session.fork().unwrap());
                let len = session.ids().len();
                let ids = session.tokenizer().vocabulary().greedy(text.as_bytes());
                let own: f32 = session.score(&ids).unwrap().iter().sum();
                assert_eq!(session.ids().len(), len);
                (own, member.score(text.as_bytes()).unwrap())
            };
            if dialect == "llama-cpp-python" && prompt.is_empty() {
                let mut session = far.open(b"", &Stop::default()).unwrap();
                let error = session.score(&[5]).unwrap_err().to_string();
                assert!(error.contains("no log-probability of the first token"), "{error}");
                continue;
            }
            let ((_, far), (_, near)) = (score(&far), score(&near));
            assert!((far - near).abs() < 1e-3, "{dialect} `{prompt}` `{text}`: {far} {near}");
        }
    }
    assert_eq!(scoring, 4);
}

#[test]
fn fusing_with_a_server_writes_what_fusing_in_process_writes() {
    for dialect in SPOKEN {
        let (far, near, dir) = pair(dialect, &json!({"top": 5}));
        let other = model(&tokenizer_file(dir.path(), "other.vocab", &["po", "e t"]));
        for (system, params) in [("unite", json!({"k": 5})), ("gac", json!({"weights": [0.7, 0.3]}))] {
            let run = |first: &Arc<dyn Backend>| {
                let members = [first.clone(), other.clone()];
                let fuser = find(system).unwrap().build(&params, &members).unwrap();
                let mut ask = Ask::new(b"once");
                ask.limits.steps = 60;
                let answer = answer(&*fuser, &members, ask, Box::new(|_| {})).unwrap();
                assert!(answer.trace.drops().is_empty(), "{dialect} {system}: {:?}", answer.trace.drops());
                answer.text
            };
            let text = run(&far);
            assert_eq!(text, run(&near), "{dialect} {system}");
            assert_eq!(text, " upon a time, there was 1 caf\u{e9}.", "{dialect} {system}");
        }
    }
}

#[test]
fn a_server_whose_tokenizer_is_not_known_takes_part_by_its_texts() {
    let by_text =
        ["openai", "llama-cpp-python", "sglang", "tgi", "ollama", "openai-chat", "vllm", "vllm-chat"];
    for dialect in by_text {
        let dir = tempfile::tempdir().unwrap();
        let inside = model(&tokenizer_file(dir.path(), "tokenizer.vocab", &PIECES));
        let served = inside.clone();
        let (url, _) = serve(move |request, _| speak(dialect, &served, request));
        let far = member(&url, dialect, None, &json!({})).unwrap();
        assert!(far.tokenizer().is_none());
        let mut session = far.open(b"once upon", &Stop::default()).unwrap();
        let told = session.next().unwrap();
        // A single space is shown as nothing there.
        let best = session.tokenizer().vocabulary().bytes(told.best().0);
        assert!(best == b" " || dialect == "tgi", "{dialect}: {best:?}");
        let mut session = far.open(b"once", &Stop::default()).unwrap();
        let written = session.write(&greedy(100, &[]), &mut rng::stream(0, "none")).unwrap();
        assert_eq!(
            String::from_utf8(written.text).unwrap(),
            " upon a time, there was 1 caf\u{e9}.",
            "{dialect}"
        );
        let end = session.next().unwrap().best().0;
        assert_eq!(session.tokenizer().vocabulary().role(end), Role::End, "{dialect}");
        let error = find("gac").unwrap().build(&json!({}), &[far]).unwrap_err().to_string();
        assert!(error.contains("tokenizer"), "{error}");
    }
}

#[test]
fn a_recorded_conversation_is_had_again_without_the_server() {
    for dialect in ["llama-cpp", "tgi"] {
        let dir = tempfile::tempdir().unwrap();
        let file = tokenizer_file(dir.path(), "tokenizer.vocab", &PIECES);
        let inside = model(&file);
        let (url, seen) = serve(move |request, _| speak(dialect, &inside, request));
        let tape = dir.path().join("talk.jsonl").display().to_string();
        let talk = |more: Value| {
            let far = member(&url, dialect, Some(&file), &more).unwrap();
            let mut session = far.open(b"once", &Stop::default()).unwrap();
            let told = session.next().unwrap();
            let written = session.write(&greedy(9, &["t"]), &mut rng::stream(0, "none")).unwrap();
            (told, written)
        };
        let said = talk(json!({"record": tape}));
        let asked = seen.requests.lock().unwrap().len();
        assert_eq!(talk(json!({"replay": tape})), said);
        assert_eq!(seen.requests.lock().unwrap().len(), asked);
        let far = member(&url, dialect, Some(&file), &json!({"replay": tape})).unwrap();
        let error = far.open(b"one", &Stop::default()).unwrap().next().unwrap_err().to_string();
        assert!(error.contains("has no reply to"), "{error}");
    }
}

/// Every system that a server with a cut-off list and scores can be part of, and its parameters.
const SYSTEMS: [(&str, &str); 11] = [
    ("agreement", "{}"),
    ("citer", "{}"),
    ("cool-fusion", "{}"),
    ("gac", "{}"),
    ("le-mcts", r#"{"iterations": 3}"#),
    ("packllm", "{}"),
    ("purify", "{}"),
    ("rlae", r#"{"explore": true}"#),
    ("specfuse", "{}"),
    ("sweetspan", "{}"),
    ("unite", "{}"),
];

#[test]
fn every_system_takes_a_server_in_or_says_why_not() {
    let (far, inside, dir) = pair("vllm", &json!({}));
    let mut cut = scripted(&dir.path().join("tokenizer.vocab").display().to_string());
    cut.next = NextTokens::Top(20);
    let near: Arc<dyn Backend> = Arc::new(cut);
    for row in ALL {
        let params = SYSTEMS.iter().find(|(name, _)| *name == row.name).map_or("{}", |(_, params)| params);
        let params: Value = serde_json::from_str(params).unwrap();
        let run = |first: &Arc<dyn Backend>| {
            let members = [first.clone(), inside.clone()];
            let fuser = row.build(&params, &members).map_err(|error| error.to_string())?;
            let mut ask = Ask::new(b"once");
            ask.limits.steps = 12;
            let answer = answer(&*fuser, &members, ask, Box::new(|_| {})).unwrap();
            assert!(answer.trace.drops().is_empty(), "{}: {:?}", row.name, answer.trace.drops());
            Ok::<String, String>(answer.text)
        };
        match run(&far) {
            Ok(text) => {
                assert!(SYSTEMS.iter().any(|(name, _)| *name == row.name), "{} runs", row.name);
                assert!(text.starts_with(" upon"), "{}: {text}", row.name);
                assert_eq!(text, run(&near).unwrap(), "{}", row.name);
            }
            Err(reason) => {
                assert!(!SYSTEMS.iter().any(|(name, _)| *name == row.name), "{}: {reason}", row.name);
                let needs = ["does not give", "give the folder", "give the `rows`", "`rows`", "`policy`"];
                assert!(needs.iter().any(|need| reason.contains(need)), "{}: {reason}", row.name);
            }
        }
    }
}

#[test]
fn the_page_of_backends_knows_them_all() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/backends.md");
    let page = std::fs::read_to_string(page).unwrap();
    for row in backends::ALL {
        assert!(page.contains(&format!(
            "| `{}` | {}",
            row.name,
            row.title.split(&[':', ','][..]).next().unwrap()
        )));
    }
    for (name, dialect) in Dialect::all() {
        assert!(page.contains(&format!("| `{name}` | `{}` |", dialect.path)), "{name}");
    }
}
