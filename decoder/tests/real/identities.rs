//! What must hold whatever the models: fusing a model with itself changes nothing, a weight of one is that member.

use crate::{baby, stories};
use routewright_decoder::backend::{Backend, Draft, Stop};
use routewright_decoder::fuse::{answer, find};
use routewright_decoder::generation::{Answer, Ask, OnContext};
use serde_json::{Value, json};
use std::sync::Arc;

const STEPS: usize = 100;

fn fused(system: &str, params: Value, backends: &[Arc<dyn Backend>], prompt: &str) -> Answer {
    let fuser = find(system).unwrap().build(&params, backends).unwrap();
    let mut ask = Ask::new(prompt.as_bytes());
    ask.limits.steps = STEPS;
    // A member of no weight may have read all it can.
    ask.on_context = OnContext::Drop;
    let mut told = String::new();
    let answer = answer(&*fuser, backends, ask, Box::new(|piece| told.push_str(piece))).unwrap();
    assert_eq!(told, answer.text);
    answer
}

fn alone(backend: &Arc<dyn Backend>, prompt: &str) -> String {
    let mut session = backend.open(prompt.as_bytes(), &Stop::default()).unwrap();
    let draft = Draft { tokens: STEPS, stop: Vec::new(), temperature: 0.0, top_p: 1.0 };
    let text = session.write(&draft, &mut routewright_data::rng::stream(0, "none")).unwrap().text;
    let text = if prompt.is_empty() { text.strip_prefix(b" ").unwrap_or(&text) } else { &text };
    String::from_utf8(text.to_vec()).unwrap()
}

#[test]
fn a_union_of_a_model_with_itself_is_the_model() {
    let Some(stories) = stories() else { return };
    let backend: Arc<dyn Backend> = Arc::new(stories);
    let twice = [backend.clone(), backend.clone()];
    for prompt in ["", "Once upon a time, there was a dog"] {
        let expected = alone(&backend, prompt);
        for system in ["gac", "unite", "purify"] {
            assert_eq!(fused(system, json!({}), &twice, prompt).text, expected, "{system}");
        }
    }
}

#[test]
fn a_weight_of_one_is_that_member() {
    let (Some(stories), Some(baby)) = (stories(), baby()) else { return };
    let both: [Arc<dyn Backend>; 2] = [Arc::new(stories), Arc::new(baby)];
    for prompt in ["", "One day, a girl named Lily"] {
        for (at, weights) in [[1.0, 0.0], [0.0, 1.0]].into_iter().enumerate() {
            let answer = fused("gac", json!({"weights": weights}), &both, prompt);
            assert_eq!(answer.text, alone(&both[at], prompt), "{prompt:?} {at}");
        }
    }
}

#[test]
fn unite_over_the_whole_vocabulary_is_gac() {
    let Some(stories) = stories() else { return };
    let backend: Arc<dyn Backend> = Arc::new(stories);
    let twice = [backend.clone(), backend];
    let weights = json!([0.3, 0.7]);
    let prompt = "The cat sat";
    let gac = fused("gac", json!({"weights": weights}), &twice, prompt);
    let unite = fused("unite", json!({"weights": weights, "k": 512}), &twice, prompt);
    assert_eq!(gac.text, unite.text);
    for (a, b) in gac.trace.steps().iter().zip(unite.trace.steps()) {
        assert!((a.fused.unwrap() - b.fused.unwrap()).abs() < 1e-4);
    }
}

#[test]
fn unlike_vocabularies_write_one_text() {
    let (Some(stories), Some(baby)) = (stories(), baby()) else { return };
    let both: [Arc<dyn Backend>; 2] = [Arc::new(stories), Arc::new(baby)];
    let answer = fused("gac", json!({}), &both, "Once upon a time");
    assert!(answer.text.len() > 50);
    println!("{}", answer.text);
    for member in answer.trace.members() {
        println!("{member:?}");
    }
}
