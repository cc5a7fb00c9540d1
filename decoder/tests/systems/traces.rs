//! What is written down of every unit, and what a log keeps.

use crate::model::{Model, tokenizer};
use crate::{asked, fused};
use routewright_decoder::backend::{Backend, NextTokens};
use routewright_decoder::backends::scripted::Scripted;
use routewright_decoder::fuse::find;
use routewright_decoder::generation::Ask;
use routewright_decoder::log::{Note, rows};
use serde_json::json;
use std::sync::Arc;

#[test]
fn a_drafted_unit_has_the_probability_each_member_gave_it() {
    let (sure, unsure): (Arc<dyn Backend>, Arc<dyn Backend>) =
        (Model::text("sure", "abc", 0.9).arc(), Model::text("unsure", "abd", 0.6).arc());
    let answer = fused("speculative-ensemble", &json!({"gamma": 2}), &[sure, unsure], "", 3).unwrap();
    let step = &answer.trace.steps()[0];
    let n = tokenizer(&[]).vocabulary().len() as f32;
    for (p, expected) in step.probabilities.iter().zip([0.9 + 0.1 / n, 0.6 + 0.4 / n]) {
        // Control tokens are left out of what is told.
        assert!((p - expected).abs() < 0.02, "{:?}", step.probabilities);
    }
    assert_eq!(step.agree, [true, true]);
    assert_eq!(answer.trace.steps()[2].agree, [true, false]);
}

#[test]
fn a_lone_proposal_has_no_merit_and_that_is_not_minus_infinity() {
    let answer =
        fused("sweetspan", &json!({}), &[Model::text("m", " a b c d e f", 0.9).arc()], "x", 2).unwrap();
    let merits = rows(&answer, &Note::default())[0].merits.clone();
    assert!(merits.len() == 1 && merits[0].is_nan(), "{merits:?}");
}

#[test]
fn a_log_keeps_the_answer_as_it_was_told() {
    let member: Arc<dyn Backend> = Model::text("m", "it rains. it stops.", 0.9).arc();
    for system in ["gac", "sweetspan", "byte-mixture"] {
        let mut ask = Ask::new(b"it");
        ask.limits.stop = vec![". i".to_owned()];
        let answer = asked(system, &json!({}), std::slice::from_ref(&member), ask).unwrap();
        assert_eq!(answer.text, " rains", "{system}");
        let rows = rows(&answer, &Note::default());
        assert_eq!(rows[0].answer.as_deref(), Some(" rains"), "{system}");
    }
}

#[test]
fn meeting_as_bytes_is_refused_where_a_list_is_cut_off() {
    let mut listed = Scripted::new("listed", tokenizer(&[]), |_| vec![("a".to_owned(), 1.0)]);
    listed.next = NextTokens::Top(5);
    let members: Vec<Arc<dyn Backend>> = vec![Model::text("all", "a", 0.9).arc(), Arc::new(listed)];
    let params = json!({"explore": true, "meet": "bytes"});
    let error = find("rlae").unwrap().build(&params, &members).unwrap_err().to_string();
    assert!(error.contains("`listed`") && error.contains("all next-token probabilities"), "{error}");
    assert!(find("rlae").unwrap().build(&json!({"explore": true}), &members).is_ok());
}
