//! What every program keeps, whatever comes back: bounds, budget, deadline, an end, replay bit for bit.

use super::{ALL, OneCall, ProgramError, constant_router};
use crate::artifact::Manifest;
use crate::program::{
    Action, Answer, Bounds, Budget, Call, Confidence, Episode, Machine, Part, Program, Reply, Step,
    StepError, StepReason,
};
use crate::{Arm, Constraints, DecideError, Objective, Policy, Price, Request, Router, selectors};
use rand::RngExt as _;
use routewright_data::rng;
use serde_json::json;

fn arms() -> Vec<Arm> {
    let arm = |(model, usd, ms): (&str, f64, f64)| Arm {
        model: model.to_owned(),
        price: Price { mean_cost_usd: Some(usd), ..Price::default() },
        mean_latency_ms: Some(ms),
        tags: if model == "a" { vec![] } else { vec!["eu".to_owned()] },
        ..Arm::default()
    };
    [("a", 0.001, 100.0), ("b", 0.01, 400.0), ("c", 0.1, 900.0)].map(arm).to_vec()
}

fn policy_of(program: Box<dyn Program>) -> Policy {
    Policy { manifest: Manifest::default(), digest: String::new(), arms: arms(), program }
}

fn examples() -> Vec<Policy> {
    let load = |row: &super::ProgramRow| {
        super::load(row.name, row.version, (row.example)(&arms()), &arms()).unwrap()
    };
    ALL.iter().map(|row| policy_of(load(row))).collect()
}

/// What answers calls: how often they fail, and what they cost beside the mean prices.
#[derive(Debug, Clone, Copy)]
struct World {
    seed: u64,
    failing: f32,
    dearer: f64,
}

impl World {
    fn answer(self, at: usize, sample: u32, call: &Call) -> Answer {
        let mut rng = rng::stream(self.seed, &format!("answer {at}.{sample}"));
        let arm = call.arm_index();
        let known = arm.map(|arm| arms()[arm].clone());
        let price = known.as_ref().and_then(|arm| arm.price.mean_cost_usd).unwrap_or(0.0);
        let short: u32 = rng.random_range(0..3);
        let failed = rng.random::<f32>() < self.failing;
        Answer {
            call: at,
            arm,
            sample,
            text: if failed { String::new() } else { format!("the answer is {short}") },
            short: (!failed).then(|| short.to_string()),
            cost_usd: Some(price * self.dearer),
            latency_ms: known.and_then(|arm| arm.mean_latency_ms).map(|ms| ms * self.dearer),
            confidence: (!failed).then(|| Confidence {
                logprob_mean: Some(-rng.random::<f32>()),
                logprob_min: Some(-3.0),
                logprob_quantiles: vec![-3.0, -0.5, -0.1],
                option_probs: vec![0.7, 0.2, 0.1],
                verifier_rate: Some(rng.random()),
            }),
            failed: failed.then(|| "timed out".to_owned()),
            ..Answer::default()
        }
    }

    fn answers(self, machine: &Machine<'_>) -> Vec<Answer> {
        let open = machine.calls().iter().enumerate().skip(machine.first_pending());
        open.flat_map(|(at, call)| (0..call.samples).map(move |sample| self.answer(at, sample, call)))
            .collect()
    }
}

/// Every step of an episode, and the machine at its end; fails where it is longer than the bounds.
fn run<'a>(
    policy: &'a Policy,
    request: &Request<'a>,
    budget: Budget,
    world: World,
) -> (Vec<Step>, Machine<'a>) {
    let bounds = policy.program.bounds();
    let mut machine = Machine::new(policy, request.clone(), budget);
    let mut steps = vec![machine.start().unwrap()];
    while let Action::Call(_) = steps[steps.len() - 1].action {
        let started_within = |spent: f64, most: Option<f64>| most.is_none_or(|most| spent <= most + 1e-9);
        assert!(started_within(machine.spent_usd(), budget.usd), "{}", policy.program.name());
        assert!(started_within(machine.elapsed_ms(), budget.deadline_ms), "{}", policy.program.name());
        steps.push(machine.supply(world.answers(&machine)).unwrap());
        assert!(steps.len() <= bounds.steps as usize, "{}: too many steps", policy.program.name());
    }
    assert!(machine.answers().len() <= bounds.calls as usize, "{}: too many calls", policy.program.name());
    assert!(machine.is_done());
    (steps, machine)
}

fn requests() -> Vec<Request<'static>> {
    let text = |text: &'static str, seed| Request { input: text.into(), seed, ..Request::default() };
    let eu = Constraints { tags: vec!["eu".to_owned()], ..Constraints::default() };
    let cheap = Constraints { max_cost_usd: Some(0.02), ..Constraints::default() };
    let objective = Some(Objective { quality: 1.0, cost: 5.0, latency: 0.0 });
    vec![
        text("how many?", 1),
        text("", 2),
        Request { constraints: eu, ..text("where?", 3) },
        Request { constraints: cheap, ..text("why?", 4) },
        Request { objective, ..text("what?", 5) },
    ]
}

fn worlds() -> impl Iterator<Item = World> {
    let failing = [0.0, 0.3, 1.0].into_iter();
    failing.flat_map(|failing| {
        [1.0, 3.0].into_iter().flat_map(move |dearer| (0..3).map(move |seed| World { seed, failing, dearer }))
    })
}

fn budgets() -> Vec<Budget> {
    let usd = [None, Some(0.0), Some(0.0005), Some(0.005), Some(0.05), Some(1.0)];
    let ms = [None, Some(150.0), Some(1000.0)];
    usd.into_iter().flat_map(|usd| ms.map(|deadline_ms| Budget { usd, deadline_ms })).collect()
}

#[test]
fn every_program_ends_within_its_bounds_and_never_starts_what_it_cannot_afford() {
    for policy in examples() {
        for (request, world) in requests().iter().flat_map(|r| worlds().map(move |world| (r, world))) {
            for budget in budgets() {
                let (steps, machine) = run(&policy, request, budget, world);
                let what = format!("{}: {world:?}, {budget:?}", policy.program.name());
                let Action::Return(reply) = &steps[steps.len() - 1].action else { panic!("{what}") };
                if let Reply::Answer(at) = reply {
                    assert!(machine.answers()[*at].is_ok(), "{what}");
                }
                if world.failing == 1.0 {
                    assert!(!matches!(reply, Reply::Answer(_)), "{what}: nothing was answered");
                }
                // Where calls cost what is known of them, the whole episode keeps to its limits.
                let keeps =
                    |used: f64, most: Option<f64>| most.is_none_or(|most| used <= most * (1.0 + 1e-6));
                if world.dearer == 1.0 {
                    assert!(keeps(machine.spent_usd(), budget.usd), "{what}: {}", machine.spent_usd());
                    assert!(keeps(machine.elapsed_ms(), budget.deadline_ms), "{what}");
                }
                if world.failing == 0.0 && budget == Budget::default() {
                    assert!(!matches!(reply, Reply::Abstain), "{what}: it had answers");
                }
            }
        }
    }
}

#[test]
fn every_program_replays_bit_for_bit_and_in_any_order_of_answers() {
    for policy in examples() {
        for (request, world) in requests().iter().flat_map(|r| worlds().map(move |world| (r, world))) {
            let (steps, machine) = run(&policy, request, Budget::default(), world);
            let mut again = Machine::new(&policy, request.clone(), Budget::default());
            let mut replayed = vec![again.start().unwrap()];
            while !again.is_done() {
                let open = again.first_pending()..again.calls().len();
                let mut answers = machine.answers().to_vec();
                answers.retain(|answer| open.contains(&answer.call));
                answers.reverse();
                replayed.push(again.supply(answers).unwrap());
            }
            assert_eq!(steps, replayed, "{}", policy.program.name());
        }
    }
}

#[test]
fn every_program_keeps_to_the_arms_that_are_open() {
    for mut policy in examples() {
        policy.arms[0].retired = true;
        let only = ["a".to_owned(), "c".to_owned()];
        let request = Request { candidates: Some(&only), ..requests().remove(0) };
        let world = World { seed: 7, failing: 0.0, dearer: 1.0 };
        let (_, machine) = run(&policy, &request, Budget::default(), world);
        assert!(machine.calls().iter().all(|call| call.arm_index() == Some(2)), "{}", policy.program.name());
        let unknown = ["nope".to_owned()];
        let request = Request { candidates: Some(&unknown), ..requests().remove(0) };
        let error = Machine::new(&policy, request, Budget::default()).start().unwrap_err();
        assert!(matches!(error, StepError::Decide(DecideError::UnknownCandidate { .. })), "{error}");
    }
}

#[test]
fn every_program_refuses_parts_and_versions_that_it_does_not_have() {
    for row in ALL {
        let mut state = (row.example)(&arms());
        state.parts.insert("beside".to_owned(), constant_router(vec![0.5; 3], &arms()));
        let error = super::load(row.name, row.version, state, &arms()).unwrap_err();
        assert!(matches!(error, ProgramError::Parts { .. }), "{}: {error}", row.name);
        let newer = super::load(row.name, row.version + 1, (row.example)(&arms()), &arms()).unwrap_err();
        assert!(matches!(newer, ProgramError::Newer { .. }), "{newer}");
    }
    let error = super::load("one-cal", 1, super::ProgramState::default(), &arms()).unwrap_err();
    assert!(error.to_string().contains("one-call"), "{error}");
}

#[test]
fn one_call_is_the_decision_of_its_router_bit_for_bit() {
    let softmax =
        selectors::SelectorSpec { name: "softmax".to_owned(), settings: json!({ "temperature": 0.2 }) };
    let selector = selectors::build(&softmax, &arms()).unwrap();
    let router = Router { selector, ..constant_router(vec![0.4, 0.5, 0.7], &arms()) };
    let policy = policy_of(Box::new(OneCall::new(router)));
    let mut seen = std::collections::BTreeSet::new();
    for request in &requests() {
        for seed in 0..50 {
            let request = Request { seed, ..request.clone() };
            let decision = policy.decide(&request).unwrap();
            let step = Machine::new(&policy, request.clone(), Budget::default()).start().unwrap();
            assert_eq!(step.action, Action::Call(vec![Call::arm(decision.arm)]));
            assert_eq!(step.propensity().to_bits(), decision.propensity.to_bits());
            for (action, p) in &step.alternatives {
                let Action::Call(calls) = action else { panic!("{action:?}") };
                let arm = calls[0].arm_index().unwrap();
                assert_eq!(p.to_bits(), decision.candidates[arm].propensity.to_bits());
            }
            seen.insert(decision.arm);
        }
    }
    assert_eq!(seen.len(), 3, "the draws differ");
}

#[test]
fn answers_that_no_open_call_asked_for_are_refused_and_change_nothing() {
    let world = World { seed: 1, failing: 0.0, dearer: 1.0 };
    for policy in examples() {
        let mut machine = Machine::new(&policy, requests().remove(0), Budget::default());
        assert!(machine.supply(Vec::new()).unwrap_err().to_string().contains("has not started"));
        machine.start().unwrap();
        assert!(machine.start().unwrap_err().to_string().contains("was started before"));
        let good = world.answers(&machine);
        let with = |edit: fn(&mut Answer)| {
            let mut answers = good.clone();
            edit(&mut answers[0]);
            answers
        };
        let doubled = good.iter().chain(&good).cloned().collect::<Vec<_>>();
        let wrong = [
            (Vec::new(), "expected each of"),
            (doubled, "expected each of"),
            (with(|answer| answer.call = 9), "expected each of"),
            (with(|answer| answer.sample = 77), "expected each of"),
            (with(|answer| answer.arm = Some(17)), "is of arm"),
            (with(|answer| answer.cost_usd = Some(-1.0)), "`cost_usd`"),
            (with(|answer| answer.latency_ms = Some(f64::NAN)), "`latency_ms`"),
        ];
        for (answers, says) in wrong {
            let error = machine.supply(answers).unwrap_err().to_string();
            assert!(error.contains(says), "{}: {error}", policy.program.name());
        }
        assert!(machine.answers().is_empty());
        machine.supply(good).unwrap();
        for usd in [f64::NAN, -1.0, f64::INFINITY] {
            let budget = Budget { usd: Some(usd), deadline_ms: None };
            let error = Machine::new(&policy, requests().remove(0), budget).start().unwrap_err();
            assert!(matches!(error, StepError::Budget { field: "budget.usd", .. }), "{error}");
        }
    }
}

/// Calls one arm, then breaks its own bounds.
#[derive(Debug)]
struct Endless;

impl Program for Endless {
    fn name(&self) -> &'static str {
        "endless"
    }

    fn bounds(&self) -> Bounds {
        Bounds { steps: 2, calls: 9 }
    }

    fn next(&self, _: &Episode<'_>) -> Result<Step, StepError> {
        Ok(Step::call(vec![Call::arm(0)], StepReason::Start))
    }

    fn parts(&self) -> Vec<Part<'_>> {
        Vec::new()
    }

    fn config(&self) -> serde_json::Value {
        json!({})
    }
}

#[test]
fn a_refused_step_takes_no_answer() {
    let policy = policy_of(Box::new(Endless));
    let world = World { seed: 1, failing: 0.0, dearer: 1.0 };
    let mut machine = Machine::new(&policy, requests().remove(0), Budget::default());
    machine.start().unwrap();
    for _ in 0..2 {
        let error = machine.supply(world.answers(&machine)).unwrap_err();
        assert!(matches!(error, StepError::Program { program: "endless", step: 1, .. }), "{error}");
        assert!(machine.answers().is_empty());
        assert_eq!((machine.spent_usd(), machine.elapsed_ms()), (0.0, 0.0));
    }
}
