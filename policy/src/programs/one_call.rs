//! Routing: call the arm that the router selects, return its answer.
//!
//! The first step is the decision of the [`Router`], bit for bit; where its call fails the reply is an abstention, so
//! that a host may fall back as it likes. Part: `router`.

use super::{ProgramError, ProgramRow, ProgramState, constant_router, only_part};
use crate::program::{
    Action, Bounds, Call, Episode, Estimate, Part, Program, Reply, Step, StepError, StepReason,
};
use crate::{Arm, DecideError, Decision, Request, Router};
use serde_json::{Value, json};

pub(super) const ROW: ProgramRow = ProgramRow {
    name: "one-call",
    version: 1,
    title: "calls the arm that its router selects and returns the answer",
    load: OneCall::load,
    example: |arms| {
        let scores = (0..arms.len()).map(|arm| 0.5 + arm as f32 / 100.0).collect();
        let parts = [(ROUTER.to_owned(), constant_router(scores, arms))].into();
        ProgramState { config: json!({}), parts, ..ProgramState::default() }
    },
};

/// Name of its part.
pub(crate) const ROUTER: &str = "router";

/// The program of one step.
#[derive(Debug)]
pub struct OneCall {
    router: Router,
}

impl OneCall {
    /// Calls what the router selects.
    pub fn new(router: Router) -> Self {
        Self { router }
    }

    fn load(state: ProgramState, _: &[Arm]) -> Result<Box<dyn Program>, ProgramError> {
        Ok(Box::new(Self::new(only_part(ROW.name, ROUTER, state.parts)?)))
    }

    fn first(&self, episode: &Episode<'_>) -> Result<Step, StepError> {
        // Without a budget the request is the caller's own, to the bit.
        let mut request: Request<'_> = episode.request.clone();
        let limits = &mut request.constraints;
        limits.max_cost_usd = least(limits.max_cost_usd, episode.left_usd());
        limits.max_latency_ms = least(limits.max_latency_ms, episode.left_ms());
        let limited = request.constraints != episode.request.constraints;
        match self.router.decide(episode.arms, &request) {
            Ok(decision) => Ok(step(&decision)),
            Err(DecideError::NoEligible { .. }) if limited => {
                Ok(Step::sure(Action::Return(Reply::Abstain), StepReason::Limit))
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl Program for OneCall {
    fn name(&self) -> &'static str {
        ROW.name
    }

    fn bounds(&self) -> Bounds {
        Bounds { steps: 2, calls: 1 }
    }

    fn next(&self, episode: &Episode<'_>) -> Result<Step, StepError> {
        match episode.answers.first() {
            None => self.first(episode),
            Some(answer) if answer.is_ok() => {
                Ok(Step::sure(Action::Return(Reply::Answer(0)), StepReason::Accepted))
            }
            Some(_) => Ok(Step::sure(Action::Return(Reply::Abstain), StepReason::Failed)),
        }
    }

    fn parts(&self) -> Vec<Part<'_>> {
        vec![Part { name: ROUTER, router: &self.router }]
    }

    fn config(&self) -> Value {
        json!({})
    }

    fn router(&self) -> Option<&Router> {
        Some(&self.router)
    }

    fn router_mut(&mut self) -> Option<&mut Router> {
        Some(&mut self.router)
    }
}

/// The stricter of two limits.
fn least(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (limit, None) | (None, limit) => limit,
    }
}

/// The call that a decision stands for; its alternatives are the arms with mass.
fn step(decision: &Decision) -> Step {
    let call = |arm: usize| Action::Call(vec![Call::arm(arm)]);
    let with_mass = decision.candidates.iter().enumerate().filter(|(_, one)| one.propensity > 0.0);
    let chosen = &decision.candidates[decision.arm];
    Step {
        action: call(decision.arm),
        alternatives: with_mass.map(|(arm, one)| (call(arm), one.propensity)).collect(),
        estimates: vec![Estimate { score: Some(chosen.score), cost_usd: chosen.cost_usd.map(f64::from) }],
        reason: StepReason::Routed(decision.reason),
        certain: true,
    }
}
