//! How an answer came about, step by step: what is drawn, and what the trainer learns from.

use crate::backend::Usage;
use crate::member::Changes;

/// One unit and how it was chosen. What a fuser does not know stays empty.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize)]
pub struct Step {
    /// Bytes of the answer before it.
    pub at: usize,
    /// Its bytes; none where the answer ended.
    pub text: Vec<u8>,
    /// Weights of the members, zero where one took no part.
    pub weights: Vec<f32>,
    /// Probability of the unit under each member, `NaN` where it is not known.
    pub probabilities: Vec<f32>,
    /// Its probability after fusion.
    pub fused: Option<f32>,
    /// The members that alone would have chosen it.
    pub agree: Vec<bool>,
    /// The member that wrote it, where one did.
    pub winner: Option<usize>,
    /// Span it belongs to, where weights are set by span.
    pub span: Option<usize>,
    /// Natural logarithm of the density the weights were drawn with, where they were drawn.
    pub log_density: Option<f64>,
    /// What it was chosen from, where members wrote more than a token.
    pub proposals: Vec<Proposal>,
    /// Calls of all models until it was chosen.
    pub calls: u64,
    /// Microseconds since the prompt was handed over.
    pub micros: u64,
}

/// A text that a member wrote to be chosen.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize)]
pub struct Proposal {
    /// Who wrote it.
    pub member: usize,
    /// Its bytes.
    pub text: Vec<u8>,
    /// The answer would end with it.
    pub ends: bool,
    /// What each member thinks of it, nats a byte; `NaN` where it was not asked. None where nobody was.
    pub scores: Vec<f32>,
    /// What the system makes of that: the greatest is taken; `NaN` where nobody was asked.
    pub merit: f32,
}

/// A member that was left out.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Dropped {
    /// Which.
    pub member: usize,
    /// Steps committed before.
    pub step: usize,
    /// Why.
    pub reason: String,
}

/// A member over the whole answer.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize)]
pub struct MemberTrace {
    /// Its name.
    pub name: String,
    /// Tokens of the prompt as it read it, a beginning-of-text token and its template included; 0 where it could not.
    pub prompt_tokens: usize,
    /// What its session cost, until it was left out where it was.
    pub usage: Usage,
    /// Ids it read of the answer.
    pub pushed: u64,
    /// Ids it forgot again because a longer text is cut differently.
    pub rolled_back: u64,
    /// Units it did not read as one id more.
    pub multi_token: u64,
}

/// All steps of an answer.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize)]
pub struct Trace {
    prompt: Vec<u8>,
    members: Vec<MemberTrace>,
    steps: Vec<Step>,
    drops: Vec<Dropped>,
}

impl Trace {
    pub(crate) fn new(names: &[String], prompt: &[u8]) -> Self {
        let member = |name: &String| MemberTrace { name: name.clone(), ..MemberTrace::default() };
        Self { prompt: prompt.to_vec(), members: names.iter().map(member).collect(), ..Self::default() }
    }

    pub(crate) fn opened(&mut self, member: usize, prompt_tokens: usize) {
        self.members[member].prompt_tokens = prompt_tokens;
    }

    pub(crate) fn push(&mut self, step: Step) {
        self.steps.push(step);
    }

    pub(crate) fn dropped(&mut self, drop: Dropped) {
        self.drops.push(drop);
    }

    pub(crate) fn usage(&mut self, member: usize, usage: Usage, changes: Changes) {
        let member = &mut self.members[member];
        member.usage = usage;
        (member.pushed, member.rolled_back) = (changes.pushed, changes.rolled_back);
        member.multi_token = changes.multi_token;
    }

    /// The prompt.
    pub fn prompt(&self) -> &[u8] {
        &self.prompt
    }

    /// The members, dropped ones too.
    pub fn members(&self) -> &[MemberTrace] {
        &self.members
    }

    /// The steps, first first.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The members that were left out.
    pub fn drops(&self) -> &[Dropped] {
        &self.drops
    }
}
