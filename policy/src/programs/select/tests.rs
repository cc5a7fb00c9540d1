//! Answers chosen by hand-made scorers.

use super::*;
use crate::forms::{CostModel, Linear, Link};
use crate::program::{Budget, Call, Machine};
use crate::selectors::Argmax;
use crate::{Policy, Price};
use routewright_data::features::Column;
use std::sync::Arc;

fn arms() -> Vec<Arm> {
    let arm = |(model, usd): (&str, f64)| Arm {
        model: model.to_owned(),
        price: Price { mean_cost_usd: Some(usd), ..Price::default() },
        ..Arm::default()
    };
    [("a", 1.0), ("b", 2.0), ("c", 4.0)].map(arm).to_vec()
}

/// The same linear function for every arm.
fn linear(weights: &[f32], link: Link) -> Router {
    let dim = weights.len() - 1;
    let cost = CostModel::constant(vec![f32::NAN; 3]);
    Router {
        featurizer: Arc::new(Column::new("candidate", dim)),
        predictor: Box::new(Linear::new(dim, link, weights.repeat(3), cost)),
        selector: Box::new(Argmax),
    }
}

fn selection() -> Selection {
    Selection {
        members: ["a", "b", "c"].map(str::to_owned).to_vec(),
        asked: None,
        asked_by_task: [("law".to_owned(), vec![0, 2])].into(),
        answers: "number".to_owned(),
        reads: Reading::Text,
        grouping: Grouping::Equal,
        skills: Skills {
            overall: vec![0.5, 0.6, 0.6],
            tasks: [("math".to_owned(), vec![0.9, 0.6, 0.6])].into(),
            collision: 0.5,
            collisions: BTreeMap::new(),
        },
        blocks: vec![Block::Who],
        least: None,
    }
}

/// `a` counts 3, `b` and `c` 2 each.
fn judges() -> Judges {
    linear(&[3.0, 2.0, 2.0, 0.0], Link::Identity).into()
}

fn run(
    selection: Selection,
    judges: Judges,
    request: Request<'_>,
    usd: Option<f64>,
    texts: [Option<&str>; 3],
) -> (Vec<usize>, Step) {
    let program = Box::new(Select::new(selection, judges, &arms()).unwrap());
    let policy = Policy { manifest: Default::default(), digest: String::new(), arms: arms(), program };
    let mut machine = Machine::new(&policy, request, Budget { usd, deadline_ms: None });
    let mut step = machine.start().unwrap();
    if let Action::Call(calls) = &step.action {
        let answer = |(call, arm): (usize, usize)| Answer {
            call,
            arm: Some(arm),
            text: texts[arm].unwrap_or_default().to_owned(),
            failed: texts[arm].is_none().then(|| "no".to_owned()),
            ..Answer::default()
        };
        let answers = calls.iter().filter_map(Call::arm_index).enumerate().map(answer).collect();
        step = machine.supply(answers).unwrap();
    }
    (machine.calls().iter().filter_map(Call::arm_index).collect(), step)
}

fn ask(source: Option<&str>, texts: [Option<&str>; 3]) -> Step {
    run(selection(), judges(), Request { source, ..Request::default() }, None, texts).1
}

fn answer(at: usize) -> Action {
    Action::Return(Reply::Answer(at))
}

#[test]
fn the_best_candidate_is_returned_by_its_strongest_giver() {
    // 3 + 2 against 2: of `a` and `b`, `b` is stronger, and on math `a`.
    let texts = [Some("4"), Some("it is 4.0"), Some("5")];
    assert_eq!((ask(None, texts).action, ask(Some("math"), texts).action), (answer(1), answer(0)));
    // 3 against 2 + 2, and 3 alone where `b` failed.
    assert_eq!(ask(None, [Some("4"), Some("5"), Some("5")]).action, answer(1));
    assert_eq!(ask(None, [Some("4"), None, Some("5")]).action, answer(0));
    // `b` and `c` are tied in score and strength.
    let tied = ask(None, [None, Some("1"), Some("2")]);
    assert_eq!(tied.alternatives, [(answer(1), 0.5), (answer(2), 0.5)]);
    assert_eq!(tied.reason, StepReason::Best);
}

#[test]
fn without_a_candidate_the_strongest_answers_and_without_an_answer_nobody() {
    let step = ask(None, [Some("no"), Some("none"), None]);
    assert_eq!((step.action, step.reason), (answer(1), StepReason::Exhausted));
    let step = ask(None, [None; 3]);
    assert_eq!((step.action, step.reason), (Action::Return(Reply::Abstain), StepReason::Failed));
    let least = Selection { least: Some(0.0), ..selection() };
    let step = run(least, judges(), Request::default(), None, [Some("no"), None, None]).1;
    assert_eq!(step.reason, StepReason::Unsure);
}

#[test]
fn a_subset_is_asked_by_task_and_what_does_not_fit_is_left_out() {
    let texts = [Some("1"); 3];
    let called = |source, usd| {
        let request = Request { source, ..Request::default() };
        run(selection(), judges(), request, usd, texts).0
    };
    assert_eq!((called(None, None), called(Some("law"), None)), (vec![0, 1, 2], vec![0, 2]));
    // The strongest first: `b`, then `c` is too dear, then `a`; on math `a` before `b`.
    assert_eq!((called(None, Some(3.5)), called(Some("math"), Some(2.5))), (vec![0, 1], vec![0]));
    let (called, step) = run(selection(), judges(), Request::default(), Some(0.5), texts);
    assert_eq!((called.len(), step.reason), (0, StepReason::Limit));
}

#[test]
fn it_abstains_below_the_least_score_or_probability() {
    let with = |least, gate: Option<Router>, texts| {
        let judges = Judges { gate, ..judges() };
        let selection = Selection { least: Some(least), ..selection() };
        run(selection, judges, Request::default(), None, texts).1.reason
    };
    let torn = [Some("1"), Some("2"), Some("3")];
    assert_eq!((with(3.0, None, torn), with(3.1, None, torn)), (StepReason::Best, StepReason::Unsure));
    // The gate reads the share of those asked alone: 1 / (1 + e^-(6 / 3 - 3)) = 0.269, and 0.953 where all agree.
    let gate = || Some(linear(&[0.0, 6.0, 0.0, 0.0, -3.0], Link::Logistic));
    assert_eq!(with(0.3, gate(), torn), StepReason::Unsure);
    assert_eq!(with(0.26, gate(), torn), StepReason::Best);
    assert_eq!(with(0.9, gate(), [Some("1"); 3]), StepReason::Best);
}

#[test]
fn answers_apart_are_scored_by_vectors_and_predictions() {
    let selection = Selection {
        grouping: Grouping::Apart,
        blocks: vec![Block::Medoid { similarity: "token-f1".to_owned() }, Block::Predicted],
        ..selection()
    };
    let prior = super::super::constant_router(vec![0.1, 0.0, 0.5], &arms());
    let judges = |weights: &[f32]| Judges {
        prior: Some(super::super::constant_router(vec![0.1, 0.0, 0.5], &arms())),
        ..linear(weights, Link::Identity).into()
    };
    let texts = [Some("a b"), Some("a b c"), Some("x")];
    let chosen =
        |weights: &[f32]| run(selection.clone(), judges(weights), Request::default(), None, texts).1.action;
    // F1: a-b 4 / 5; both have a mean of 0.4. The prior decides.
    assert_eq!((chosen(&[1.0, 0.1, 0.0]), chosen(&[1.0, -1.0, 0.0])), (answer(0), answer(1)));
    assert_eq!(chosen(&[0.0, 1.0, 0.0]), answer(2));
    let beside = Judges { texts: Some(prior), ..judges(&[0.0, 1.0, 0.0]) };
    let error = Select::new(selection.clone(), beside, &arms()).unwrap_err().to_string();
    assert!(error.contains("`texts`, which no block reads"), "{error}");
    let lacking = linear(&[0.0, 1.0, 0.0], Link::Identity).into();
    let error = Select::new(selection, lacking, &arms()).unwrap_err().to_string();
    assert!(error.contains("no part `prior`"), "{error}");
}

#[test]
fn what_is_no_selection_is_refused() {
    let says = |edit: fn(&mut Selection)| {
        let mut selection = selection();
        edit(&mut selection);
        Select::new(selection, judges(), &arms()).unwrap_err().to_string()
    };
    assert!(says(|s| s.members.clear()).contains("0 members"));
    assert!(says(|s| s.members[0] = "d".to_owned()).contains("`d` is asked, which is no arm"));
    assert!(says(|s| s.members[0] = "b".to_owned()).contains("`b` is asked twice"));
    assert!(says(|s| s.asked = Some(vec![3])).contains("[3]"));
    assert!(says(|s| s.asked = Some(vec![])).contains("[]"));
    assert!(says(|s| s.asked = Some(vec![1, 1])).contains("each once"));
    assert!(says(|s| s.skills.overall.truncate(2)).contains("2 strengths"));
    assert!(says(|s| s.least = Some(f32::NAN)).contains("`NaN`"));
    assert!(says(|s| s.answers = "nubmer".to_owned()).contains("did you mean `number`"));
    assert!(says(|s| s.blocks.push(Block::Agreement)).contains("reads 3 numbers, expected 8"));
}
