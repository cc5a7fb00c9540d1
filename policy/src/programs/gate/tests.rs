use super::*;
use crate::program::{Budget, Machine};
use crate::{Policy, Price};

fn arms() -> Vec<Arm> {
    let arm = |(model, usd): (&str, f64)| Arm {
        model: model.to_owned(),
        price: Price { mean_cost_usd: Some(usd), ..Price::default() },
        ..Arm::default()
    };
    [("a", 1.0), ("b", 2.0), ("c", 10.0)].map(arm).to_vec()
}

fn voters() -> Voters {
    Voters { weights: vec![1.0, 1.5, 2.0], strengths: vec![0.5, 0.6, 0.9] }
}

/// Keeps the bundle of `a` and `b` where they are of one mind; blind, `a` where it is predicted to lose at most 0.2.
fn config() -> GateConfig {
    let mut agree = vec![0.0; Hand::width(2, 1) + 1];
    agree[3] = 1.0;
    let mut gap = vec![0.0; Hand::width(1, 1) + 1];
    gap[6] = 1.0;
    let gate = |bundle: &[&str], is_blind, weights, threshold, score, cost_usd| Gate {
        bundle: bundle.iter().map(|model| (*model).to_owned()).collect(),
        fallback: "c".to_owned(),
        is_blind,
        weights,
        threshold,
        score,
        cost_usd,
    };
    GateConfig {
        gates: vec![gate(&["a", "b"], false, agree, 0.5, 0.8, 6.0), gate(&["a"], true, gap, -0.2, 0.6, 2.0)],
        default: 0,
        answers: "exact".to_owned(),
        reads: Reading::Text,
        overall: voters(),
        tasks: BTreeMap::new(),
        marked: vec!["math".to_owned()],
    }
}

fn policy(config: GateConfig, scores: [f32; 3]) -> Policy {
    let program = Box::new(Gates::new(config, constant_router(scores.to_vec(), &arms()), &arms()).unwrap());
    Policy { manifest: Default::default(), digest: String::new(), arms: arms(), program }
}

/// Models called and the last step, where each model gives the text named; none fails.
fn run(policy: &Policy, budget: Budget, texts: [Option<&str>; 3]) -> (Vec<usize>, Step) {
    let mut machine = Machine::new(policy, Request::default(), budget);
    let mut step = machine.start().unwrap();
    while let Action::Call(calls) = &step.action {
        let first = machine.first_pending();
        let answer = |(at, call): (usize, &Call)| {
            let arm = call.arm_index().unwrap();
            Answer {
                call: first + at,
                arm: Some(arm),
                text: texts[arm].unwrap_or_default().to_owned(),
                failed: texts[arm].is_none().then(|| "no".to_owned()),
                ..Answer::default()
            }
        };
        let answers = calls.iter().enumerate().map(answer).collect();
        step = machine.supply(answers).unwrap();
    }
    (machine.calls().iter().filter_map(Call::arm_index).collect(), step)
}

fn returned(at: usize) -> Action {
    Action::Return(Reply::Answer(at))
}

#[test]
fn a_bundle_of_one_mind_is_kept_and_the_fallback_asked_else() {
    let policy = policy(config(), [0.5, 0.6, 0.9]);
    let none = Budget::default();
    let (called, step) = run(&policy, none, [Some("4"), Some("4"), Some("5")]);
    // `b` is the stronger giver.
    assert_eq!((called, step.action, step.reason), (vec![0, 1], returned(1), StepReason::Accepted));
    let (called, step) = run(&policy, none, [Some("4"), Some("3"), Some("5")]);
    assert_eq!((called, step.action), (vec![0, 1, 2], returned(2)));
    // A failed member breaks the unanimity; a failed fallback leaves the best of the bundle; nothing at all is told.
    assert_eq!(run(&policy, none, [Some("4"), None, Some("5")]).1.action, returned(2));
    let (_, step) = run(&policy, none, [Some("4"), Some("3"), None]);
    assert_eq!((step.action, step.reason), (returned(1), StepReason::Failed));
    let (_, step) = run(&policy, none, [None, None, None]);
    assert_eq!((step.action, step.reason), (Action::Return(Reply::Abstain), StepReason::Failed));
    // 12 dollars pay the bundle, but not the fallback too; 1.5 pay `a` alone; 0.5 nothing.
    let within =
        |usd| run(&policy, Budget { usd: Some(usd), deadline_ms: None }, [Some("4"), Some("3"), Some("5")]);
    let (called, step) = within(12.0);
    assert_eq!((called, step.action, step.reason), (vec![0, 1], returned(1), StepReason::Limit));
    assert_eq!((within(1.5).0, within(0.5).0), (vec![0], vec![]));
}

#[test]
fn a_blind_gate_calls_one_of_its_two() {
    let blind = GateConfig { default: 1, ..config() };
    let none = Budget::default();
    let texts = [Some("4"), Some("3"), Some("5")];
    let called = |scores| run(&policy(blind.clone(), scores), none, texts);
    let (kept, lost) = (called([0.7, 0.0, 0.8]), called([0.5, 0.0, 0.8]));
    assert_eq!((kept.0, kept.1.action), (vec![0], returned(0)));
    assert_eq!((lost.0, lost.1.action), (vec![2], returned(0)));
    // The one that fails is made up for by the other.
    let (called, step) = run(&policy(blind, [0.7, 0.0, 0.8]), none, [None, None, Some("5")]);
    assert_eq!((called, step.action), (vec![0, 2], returned(1)));
}

#[test]
fn hands_are_those_of_the_hand() {
    let hand = Hand {
        forms: vec![Some("4"), Some("5"), Some("4"), None],
        answered: vec![true; 4],
        lengths: vec![1.0, 2.0, 3.0, 4.0],
        weights: vec![1.0, 1.5, 1.0, 0.5],
        strengths: vec![0.5, 0.6, 0.55, 0.9],
        predicted: vec![0.1, 0.2, 0.3, 0.4],
        fallback: (0.9, 0.8),
        task: (Some(1), 2),
    };
    let (top, numbers) = read_hand(&hand);
    // 4 has 2 of 4 in weight against 1.5; the third is its strongest giver.
    assert_eq!(top, Some(2));
    let expected = [0.125, 0.5, 0.5, 0.0, 0.3, 0.8, -0.5, 0.55, 0.9, 3.0, 1.0, 0.0, 1.0, 0.0];
    let tasks = [0.0, 0.0, 0.0, 1.0, 0.125, 0.5];
    assert_eq!(numbers.len(), Hand::width(4, 2));
    assert!(
        numbers.iter().zip(expected.iter().chain(&tasks)).all(|(a, b)| (a - b).abs() < 1e-9),
        "{numbers:?}"
    );
    // Without a form the strongest that answered is the best.
    let mute = Hand { forms: vec![None; 4], answered: vec![true, true, false, false], ..hand };
    assert_eq!(read_hand(&mute).0, Some(1));
    let gone = Hand { answered: vec![false; 4], ..mute };
    assert_eq!(read_hand(&gone).0, None);
}

#[test]
fn what_is_no_gate_is_refused() {
    let says = |edit: fn(&mut GateConfig)| {
        let mut config = config();
        edit(&mut config);
        Gates::new(config, constant_router(vec![0.5; 3], &arms()), &arms()).unwrap_err().to_string()
    };
    assert!(says(|c| c.gates.clear()).contains("0 gates"));
    assert!(says(|c| c.default = 2).contains("`default` is `2`"));
    assert!(says(|c| c.gates[0].bundle[0] = "d".to_owned()).contains("`d`, which is no arm"));
    assert!(says(|c| c.gates[0].bundle[0] = "c".to_owned()).contains("`c` twice"));
    assert!(says(|c| c.gates[0].is_blind = true).contains("1 where it is blind"));
    assert!(says(|c| c.gates[1].threshold = f64::NAN).contains("`NaN`"));
    assert!(says(|c| c.gates[1].weights.truncate(3)).contains("3 weights"));
    assert!(says(|c| c.overall.strengths.truncate(2)).contains("3 weights and 2 strengths"));
    assert!(says(|c| c.answers = "exat".to_owned()).contains("did you mean `exact`"));
}
