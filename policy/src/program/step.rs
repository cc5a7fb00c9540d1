//! A step: the action, and how it came about.

use super::{Action, Call};
use crate::decide::Reason;

/// An action, drawn from a stated distribution.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// What to do.
    pub action: Action,
    /// Actions it was drawn from and the probability of each, [`Step::action`] among them, sum 1.
    pub alternatives: Vec<(Action, f32)>,
    /// What is expected of each call of the action, in order; empty where it returns.
    pub estimates: Vec<Estimate>,
    /// Why.
    pub reason: StepReason,
    /// Whether the reply will be the answer of this one call, so that a host may stream it.
    pub certain: bool,
}

impl Step {
    /// A step without alternatives.
    pub fn sure(action: Action, reason: StepReason) -> Self {
        let estimates = match &action {
            Action::Call(calls) => vec![Estimate::default(); calls.len()],
            Action::Return(_) => Vec::new(),
        };
        Self { alternatives: vec![(action.clone(), 1.0)], action, estimates, reason, certain: false }
    }

    /// A step that makes these calls for sure.
    pub fn call(calls: Vec<Call>, reason: StepReason) -> Self {
        Self::sure(Action::Call(calls), reason)
    }

    /// Probability that the action was drawn with; 0 where it is none of the alternatives.
    pub fn propensity(&self) -> f32 {
        self.alternatives.iter().filter(|(action, _)| *action == self.action).map(|(_, p)| *p).sum()
    }
}

/// What a call is expected to bring; `None` where the program does not know.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Estimate {
    /// Score, in [0, 1] for calibrated parts.
    pub score: Option<f32>,
    /// Price of one sample, US dollars; else the arm's mean price counts.
    pub cost_usd: Option<f64>,
}

/// Why a step was taken; a closed list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepReason {
    /// As a decision of one step gives it.
    Routed(Reason),
    /// First call of a fixed order, or all calls of a vote.
    Start,
    /// The answer in hand is good enough.
    Accepted,
    /// The answer in hand is not good enough.
    Escalated,
    /// The answer in hand is checked.
    Check,
    /// The samples disagree.
    Disagreement,
    /// The samples agree.
    Agreement,
    /// Most weight among the answers.
    Vote,
    /// Greatest score among the answers.
    Best,
    /// An arm writes the reply from the answers of others, or wrote it.
    Fuse,
    /// No answer is good enough.
    Unsure,
    /// There is nothing left to call.
    Exhausted,
    /// The call failed.
    Failed,
    /// Nothing more fits budget, deadline or constraints.
    Limit,
}

impl StepReason {
    /// Name in logs and replies, as those of [`Reason`].
    pub fn name(self) -> &'static str {
        match self {
            Self::Routed(Reason::Selected) => "selected",
            Self::Routed(Reason::Objective) => "objective",
            Self::Routed(Reason::OnlyEligible) => "only_eligible",
            Self::Routed(Reason::DeadlineDefault) => "deadline_default",
            Self::Routed(Reason::NoTextDefault) => "no_text_default",
            Self::Start => "start",
            Self::Accepted => "accepted",
            Self::Escalated => "escalated",
            Self::Check => "check",
            Self::Disagreement => "disagreement",
            Self::Agreement => "agreement",
            Self::Vote => "vote",
            Self::Best => "best",
            Self::Fuse => "fuse",
            Self::Unsure => "unsure",
            Self::Exhausted => "exhausted",
            Self::Failed => "failed",
            Self::Limit => "limit",
        }
    }
}
