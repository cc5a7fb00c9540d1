//! Every system on the two models, which have neither a vocabulary nor a width in common.

use crate::{both, model};
use routewright_decoder::align::MinEdit;
use routewright_decoder::backend::{Backend, Draft, Stop};
use routewright_decoder::fuse::{ALL, answer, find};
use routewright_decoder::generation::{Answer, Ask};
use routewright_decoder::token::expert_rows::ExpertRows;
use routewright_decoder::vocabulary::{Role, Vocabulary};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

const PROMPT: &str = "The three primary colors are";

/// What a system is given: what is learned elsewhere is a file of two rows, or drawn.
fn params(system: &str, folder: &Path, experts: &[Arc<dyn Backend>]) -> Value {
    match system {
        "rlae" => json!({"explore": true, "span": {"units": 3, "marks": []}}),
        "expert-token" => {
            // Above every token of the first member where its last state points away from its mean row.
            let dim = experts[0].embeddings().unwrap().dim;
            let row = (0..dim).map(|at| if at % 2 == 0 { 2.0 } else { -2.0 }).collect();
            let path = folder.join("rows.safetensors");
            ExpertRows { rows: vec![("gemma3".to_owned(), row)] }.save(&path).unwrap();
            json!({"rows": path, "tokens": 2})
        }
        "le-mcts" => {
            json!({"reward": {"kind": "likelihood"}, "iterations": 4, "branch": 2, "depth": 2, "tokens": 8,
                            "delimiter": "."})
        }
        "purify" => json!({"vocabulary": "union"}),
        "specfuse" | "cool-fusion" => json!({"tokens": 6}),
        _ => json!({}),
    }
}

fn run(system: &str, params: &Value, backends: &[Arc<dyn Backend>]) -> Answer {
    let since = Instant::now();
    let fuser = find(system).unwrap().build(params, backends).unwrap();
    let start = since.elapsed().as_secs_f64();
    let mut ask = Ask::new(PROMPT.as_bytes());
    (ask.limits.steps, ask.limits.tokens, ask.limits.bytes) = (24, 12, 48);
    let mut told = String::new();
    let answer = answer(&*fuser, backends, ask, Box::new(|piece| told.push_str(piece))).unwrap();
    assert_eq!(told, answer.text, "{system}: what was told on the way is the answer");
    println!(
        "{system}: start {start:.2} s, {} calls in {:.2} s: {:?}",
        answer.calls,
        answer.micros as f64 / 1e6,
        answer.text
    );
    answer
}

/// Nothing is lost: the answer is what was committed, nobody was left out, and every call and token is counted.
fn nothing_is_lost(system: &str, answer: &Answer, backends: &[Arc<dyn Backend>]) {
    let trace = &answer.trace;
    assert!(trace.drops().is_empty(), "{system}: {:?}", trace.drops());
    let mut committed: Vec<u8> = trace.steps().iter().flat_map(|step| step.text.clone()).collect();
    committed.truncate(committed.len() - answer.unsaid);
    assert_eq!(String::from_utf8_lossy(&committed), answer.text, "{system}");
    assert!(
        !answer.text.trim().is_empty() && !answer.text.contains('\u{fffd}'),
        "{system}: {:?}",
        answer.text
    );
    let starts = trace.steps().iter().scan(0, |at, step| {
        *at += step.text.len();
        Some(*at - step.text.len())
    });
    assert!(starts.zip(trace.steps()).all(|(at, step)| at == step.at), "{system}: steps follow each other");
    for (member, backend) in trace.members().iter().zip(backends) {
        let tokenizer = backend.tokenizer().unwrap();
        let prompt = tokenizer.encode(PROMPT.as_bytes()).len() + usize::from(tokenizer.begin().is_some());
        assert_eq!(member.prompt_tokens, prompt, "{system}: {}", member.name);
        // It read the prompt at least.
        assert!(member.usage.calls >= 1 && member.usage.read >= prompt as u64, "{system}: {member:?}");
    }
    assert_eq!(
        answer.calls,
        trace.members().iter().map(|member| member.usage.calls).sum::<u64>(),
        "{system}"
    );
    assert!(answer.calls > backends.len() as u64, "{system}: {}", answer.calls);
    let tokens = backends[0].tokenizer().unwrap().encode(answer.text.as_bytes()).len();
    assert!(
        answer.tokens >= 1 && answer.tokens.abs_diff(tokens) <= 1,
        "{system}: {} {tokens}",
        answer.tokens
    );
}

#[test]
fn every_system_runs_on_the_pair_and_loses_nothing() {
    let Some(pair) = both() else { return };
    let dir = tempfile::tempdir().unwrap();
    for row in ALL {
        let given = params(row.name, dir.path(), &pair);
        if row.name == "speculative-ensemble" {
            // What it verifies are tokens of one vocabulary.
            let refused = row.build(&given, &pair).unwrap_err().to_string();
            assert!(refused.contains("has 49152 tokens") && refused.contains("262144"), "{refused}");
            continue;
        }
        nothing_is_lost(row.name, &run(row.name, &given, &pair), &pair);
    }
}

/// The edit distance, row by row of its table.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut before = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let next = (before + usize::from(x != y)).min(row[j] + 1).min(row[j + 1] + 1);
            before = std::mem::replace(&mut row[j + 1], next);
        }
    }
    row[b.len()]
}

#[test]
fn tokens_of_least_edit_distance_are_those_of_a_search_through_all() {
    let Some(pair) = both() else { return };
    let [first, second] =
        [0, 1].map(|at: usize| -> &Vocabulary { pair[at].tokenizer().unwrap().vocabulary() });
    let since = Instant::now();
    let map = MinEdit::new(&[first, second], 0);
    println!("mapped {} tokens in {:.2} s", first.len(), since.elapsed().as_secs_f64());
    // Spread over all ids; those that the other vocabulary does not have.
    let ids = (0..first.len() as u32).step_by(29).filter(|id| first.role(*id) == Role::Text);
    let ids: Vec<u32> = ids.filter(|id| second.ids(first.bytes(*id)).is_empty()).take(24).collect();
    assert!(ids.len() >= 20, "{}", ids.len());
    for (id, found) in ids.iter().zip(map.translate(1, &ids, first)) {
        let unit = first.bytes(*id);
        let text = (0..second.len() as u32).filter(|id| second.role(*id) == Role::Text);
        let key = |id: &u32| (distance(unit, second.bytes(*id)), second.bytes(*id), *id);
        let nearest = text.filter(|id| !second.bytes(*id).is_empty()).min_by_key(key);
        assert_eq!(Some(found), nearest, "{:?}", String::from_utf8_lossy(unit));
    }
}

fn alone(backend: &dyn Backend, tokens: usize) -> String {
    let mut session = backend.open(PROMPT.as_bytes(), &Stop::default()).unwrap();
    let draft = Draft { tokens, stop: Vec::new(), temperature: 0.0, top_p: 1.0 };
    let written = session.write(&draft, &mut routewright_data::rng::stream(0, "none")).unwrap();
    String::from_utf8(written.text).unwrap()
}

#[test]
fn all_weight_on_a_member_is_that_member() {
    let Some(pair) = both() else { return };
    for (at, weights) in [[1.0, 0.0], [0.0, 1.0]].into_iter().enumerate() {
        let expected = alone(&*pair[at], 12);
        for system in ["gac", "unite"] {
            let answer = run(system, &json!({"weights": weights}), &pair);
            let (a, b) = (answer.text.as_str(), expected.as_str());
            assert!(a.len() > 20 && (a.starts_with(b) || b.starts_with(a)), "{system} {at}: {a:?} {b:?}");
        }
    }
}

#[test]
fn two_of_one_vocabulary_draft_for_each_other() {
    let Some(model) = model("smollm2") else { return };
    let twice: [Arc<dyn Backend>; 2] = [model.clone(), model.clone()];
    let answer = run("speculative-ensemble", &json!({"gamma": 3}), &twice);
    nothing_is_lost("speculative-ensemble", &answer, &twice);
    let expected = alone(&*model, 12);
    assert!(expected.starts_with(&answer.text), "{:?} {expected:?}", answer.text);
}
