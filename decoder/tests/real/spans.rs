//! Spans and steps of two real models.

use crate::{baby, stories};
use routewright_decoder::backend::{Backend, Draft, Stop};
use routewright_decoder::fuse::{answer, find};
use routewright_decoder::generation::{Answer, Ask};
use serde_json::{Value, json};
use std::sync::Arc;

fn run(system: &str, params: &Value, backends: &[Arc<dyn Backend>], prompt: &str, bytes: usize) -> Answer {
    let fuser = find(system).unwrap().build(params, backends).unwrap();
    let mut ask = Ask::new(prompt.as_bytes());
    ask.limits.bytes = bytes;
    answer(&*fuser, backends, ask, Box::new(|_| {})).unwrap()
}

fn systems() -> [(&'static str, Value); 4] {
    let steps = json!({"reward": {"kind": "likelihood"}, "delimiter": ".", "iterations": 12, "depth": 4});
    [("cool-fusion", json!({})), ("sweetspan", json!({})), ("specfuse", json!({})), ("le-mcts", steps)]
}

#[test]
fn a_model_alone_or_twice_writes_its_greedy_text() {
    let Some(stories) = stories() else { return };
    let backend: Arc<dyn Backend> = Arc::new(stories);
    for prompt in ["", "Once upon a time, there was a dog"] {
        let mut session = backend.open(prompt.as_bytes(), &Stop::default()).unwrap();
        let draft = Draft { tokens: 200, stop: Vec::new(), temperature: 0.0, top_p: 1.0 };
        let text = session.write(&draft, &mut routewright_data::rng::stream(0, "none")).unwrap().text;
        let text = if prompt.is_empty() { text.strip_prefix(b" ").unwrap() } else { &text };
        let expected = std::str::from_utf8(text).unwrap();
        for (system, params) in systems() {
            for n in [1, 2] {
                let answer = run(system, &params, &vec![backend.clone(); n], prompt, 150);
                let text = &answer.text;
                assert!(text.len() > 100 && expected.starts_with(text.as_str()), "{system}: {text}");
            }
        }
    }
}

#[test]
fn two_models_write_one_text() {
    let (Some(stories), Some(baby)) = (stories(), baby()) else { return };
    let both: [Arc<dyn Backend>; 2] = [Arc::new(stories), Arc::new(baby)];
    for prompt in ["", "Once upon a time, there was a dog"] {
        for (system, params) in systems() {
            let answer = run(system, &params, &both, prompt, 150);
            let wrote = |at| answer.trace.steps().iter().filter(|step| step.winner == Some(at)).count();
            println!(
                "{system}: {} and {} spans, {} calls: {}",
                wrote(0),
                wrote(1),
                answer.calls,
                answer.text
            );
            assert!(answer.trace.drops().is_empty() && answer.text.len() > 100);
            assert!(answer.text.chars().all(|c| c.is_ascii_graphic() || c == ' ' || c == '\n'));
            assert!(!answer.text.contains("  "), "{}", answer.text);
            // Words stay whole: what one model ended, the other goes on after.
            let text = format!("{prompt}{}", answer.text);
            assert!(text.split_whitespace().all(|word| word.len() < 15), "{text}");
        }
    }
}
