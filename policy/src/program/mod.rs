//! A policy as a process: what it asks for next, given the answers so far.
//!
//! A [`Program`] maps an [`Episode`] (the request, the answers so far, what is left of budget and deadline) to a
//! [`Step`]: calls to make at the same time, or the reply. It never calls a model. A [`Machine`] runs it: it hands out
//! steps, takes answers, and refuses a step that breaks the program's own bounds, the budget, the deadline, or whose
//! alternatives are no distribution. Four hosts drive machines: the server, the replay of a log, the command line and
//! the environments of learners.
//!
//! Routing is the program whose first step is one call and whose second returns its answer
//! ([`programs::OneCall`](crate::programs::OneCall)).

mod action;
mod answer;
mod episode;
mod error;
mod machine;
mod prompt;
mod step;

pub use action::{Action, Call, Callee, Reply};
pub use answer::{Answer, AnswerNeed, Confidence, Usage};
pub use episode::{Budget, Episode};
pub use error::StepError;
pub use machine::Machine;
pub use prompt::{Prompt, PromptError, render};
pub use step::{Estimate, Step, StepReason};

use crate::Router;
use std::fmt::Debug;

/// The most a program ever does for one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Steps, the one that returns included; at least 1.
    pub steps: u32,
    /// Answers asked for, samples counted one by one.
    pub calls: u32,
}

/// A named router of a program: what predicts for one purpose.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    /// Name in the program, and of its files in the artifact.
    pub name: &'a str,
    /// Featurizer, predictor and selector.
    pub router: &'a Router,
}

/// What a policy does next. Immutable, shareable between threads; the same episode gives the same step.
pub trait Program: Send + Sync + Debug {
    /// Name of its row in [`programs::ALL`](crate::programs::ALL).
    fn name(&self) -> &'static str;

    /// What it reads of an answer beside text, price and latency; a host that lacks it refuses the policy.
    fn needs(&self) -> &'static [AnswerNeed] {
        &[]
    }

    /// The most it ever does; the [`Machine`] holds it to that.
    fn bounds(&self) -> Bounds;

    /// The next step. A failed call is an answer like any other: the program retries, goes on without it, or abstains.
    ///
    /// # Errors
    /// If the request is not valid, or a part cannot predict.
    fn next(&self, episode: &Episode<'_>) -> Result<Step, StepError>;

    /// Its routers, in a fixed order.
    fn parts(&self) -> Vec<Part<'_>>;

    /// Everything else it is restored from: sizes, thresholds, orders.
    fn config(&self) -> serde_json::Value;

    /// Texts of its prompts by id; a text has `{query}` and `{slot}` where they are filled in.
    fn prompts(&self) -> Vec<(&str, &str)> {
        Vec::new()
    }

    /// Prices of money, score per US dollar, falling, that show all it does as the objective of a request sweeps; empty
    /// where the objective changes nothing.
    fn lambdas(&self) -> Vec<f64> {
        Vec::new()
    }

    /// The router that decides alone; `None` for a program of several steps.
    fn router(&self) -> Option<&Router> {
        None
    }

    /// [`Program::router`], to be changed.
    fn router_mut(&mut self) -> Option<&mut Router> {
        None
    }
}
