//! Answers that reach the context of a member, prompts that no member reads, and answers counted in tokens.

use crate::model::{Model, tokenizer};
use crate::{asked, fused};
use routewright_decoder::backend::{Backend, BackendError};
use routewright_decoder::generation::{Ask, Finish, FuseError, OnContext};
use serde_json::json;
use std::sync::Arc;

const TEXT: &str = "once upon a time there was a dog.";

fn member(name: &'static str, context: usize) -> Arc<dyn Backend> {
    Model::text(name, TEXT, 0.9).with_context(context).arc()
}

#[test]
fn an_answer_ends_where_its_member_has_read_all_it_can() {
    // A beginning, a space put before the text, and `once`: 14 more tokens fit.
    for system in ["gac", "unite", "byte-mixture", "sweetspan", "specfuse", "cool-fusion", "le-mcts"] {
        let answer = fused(system, &json!({}), &[member("m", 20)], "once", 100).unwrap();
        assert_eq!(answer.finish, Finish::Length, "{system}");
        assert!(TEXT["once".len()..].starts_with(&answer.text), "{system}: {}", answer.text);
        assert!((5..=16).contains(&answer.text.len()), "{system}: {}", answer.text);
    }
}

#[test]
fn with_several_members_the_answer_ends_or_goes_on_as_the_file_says() {
    let members = [member("short", 20), member("long", 200)];
    let answer = |on_context| {
        let mut ask = Ask::new(b"once");
        ask.limits.steps = 100;
        ask.on_context = on_context;
        asked("gac", &json!({}), &members, ask).unwrap()
    };
    let ended = answer(OnContext::End);
    assert_eq!((ended.finish, ended.trace.drops().len()), (Finish::Length, 0));
    assert!(ended.text.len() < 20);
    let went_on = answer(OnContext::Drop);
    assert_eq!((went_on.finish, went_on.text.as_str()), (Finish::Stop, &TEXT["once".len()..]));
    assert_eq!(went_on.trace.drops()[0].member, 0);
    // What it did before is told.
    assert!(went_on.trace.members()[0].usage.calls > 5, "{:?}", went_on.trace.members());
    let sum: u64 = went_on.trace.members().iter().map(|member| member.usage.calls).sum();
    assert_eq!(went_on.calls, sum);
}

#[test]
fn a_member_of_no_weight_is_left_out_where_its_context_ends() {
    let members = [member("short", 20), member("long", 200)];
    for system in ["gac", "unite", "byte-mixture", "agreement", "speculative-ensemble"] {
        let answer =
            |weights: [f32; 2]| fused(system, &json!({ "weights": weights }), &members, "once", 100).unwrap();
        let whole = answer([0.0, 1.0]);
        assert_eq!((whole.finish, whole.text.as_str()), (Finish::Stop, &TEXT["once".len()..]), "{system}");
        let drops: Vec<usize> = whole.trace.drops().iter().map(|drop| drop.member).collect();
        assert_eq!(drops, [0], "{system}");
        let ended = answer([1.0, 0.0]);
        assert_eq!((ended.finish, ended.trace.drops().len()), (Finish::Length, 0), "{system}");
    }
}

#[test]
fn a_prompt_that_no_member_reads_is_an_error_of_whoever_sent_it() {
    let error = fused("gac", &json!({}), &[member("a", 5), member("b", 8)], TEXT, 9).unwrap_err();
    let FuseError::Backend(BackendError::Context { model, context, .. }) = error else { panic!("{error}") };
    assert_eq!((model.as_str(), context), ("b", 8));
    let answer = fused("gac", &json!({}), &[member("a", 5), member("b", 90)], "once", 9).unwrap();
    assert_eq!((answer.trace.drops().len(), answer.text.as_str()), (1, &TEXT[4..13]));
}

#[test]
fn an_answer_is_as_many_tokens_long_whatever_a_unit_is() {
    let words = tokenizer(&[" upon", " a", " time"]);
    let member: Arc<dyn Backend> = Model::text_cut_by("m", words, TEXT, 0.9).arc();
    for system in ["gac", "byte-mixture", "sweetspan"] {
        let mut ask = Ask::new(b"once");
        ask.limits.tokens = 8;
        let answer = asked(system, &json!({}), std::slice::from_ref(&member), ask).unwrap();
        assert_eq!((answer.finish, answer.tokens), (Finish::Length, 8), "{system}: {}", answer.text);
        let mut ask = Ask::new(b"once");
        ask.limits.steps = 1000;
        let whole = asked(system, &json!({}), std::slice::from_ref(&member), ask).unwrap();
        assert_eq!((whole.finish, whole.text.as_str()), (Finish::Stop, &TEXT[4..]), "{system}");
        assert!(whole.text.starts_with(&answer.text) && whole.tokens > 8, "{system}");
    }
}
