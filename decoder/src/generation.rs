//! One answer being written: the members, the text, its limits, its reader.
//!
//! Every fuser is a loop over a [`Generation`]: ask the members, choose, [`Generation::commit`]. What all of them
//! need is here once: asking members at the same time, dropping one that fails, stop strings, budgets, valid
//! UTF-8 for a streaming reader, the trace.

use crate::align::{Align, Aligned};
use crate::backend::{Backend, BackendError, Stop};
use crate::chat::Message;
use crate::distribution::Distribution;
use crate::emit::Emitter;
use crate::member::Member;
use crate::member_threads::MemberThreads;
use crate::meter::Meter;
use crate::pick::Pick;
use crate::trace::{Dropped, Step, Trace};
use rand::Rng;
use routewright_data::rng;
use std::sync::Arc;
use std::time::Instant;

/// How far an answer may go.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Units committed at most: tokens, or spans of a span-level fuser.
    pub steps: usize,
    /// Bytes of the answer at most.
    pub bytes: usize,
    /// Tokens of the answer at most, as the first member that declares a tokenizer cuts it; units where none does.
    pub tokens: usize,
    /// Calls of all models together at most.
    pub calls: u64,
    /// The answer ends before the first of these, which is not part of it.
    pub stop: Vec<String>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { steps: 512, bytes: 1 << 16, tokens: usize::MAX, calls: u64::MAX, stop: Vec::new() }
    }
}

/// What is done with a member that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// It is left out from then on, and the trace says so; an error once none is left.
    #[default]
    Drop,
    /// The answer ends with an error.
    Fail,
}

/// What is done with a member whose context the answer has filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnContext {
    /// The answer ends, as at any other limit.
    #[default]
    End,
    /// It is left out from then on, and the others go on; the answer ends once none is left.
    Drop,
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// The models ended it, or a stop string was written.
    Stop,
    /// A limit was reached, or the context of a member.
    Length,
    /// The deadline passed.
    Deadline,
}

/// Why there is no answer.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum FuseError {
    /// A model failed, and nothing was to be done about it.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// All members were dropped.
    #[error("no member is left: {reasons}")]
    Alone {
        /// What became of each.
        reasons: String,
    },
    /// A member has read all it can: no error to a caller, who gets the answer as far as it is.
    #[error("the answer ends where the context of a member does: {0}")]
    Full(BackendError),
    /// The fuser cannot work with these members or parameters.
    #[error("cannot fuse by `{fuser}`: {reason}")]
    Unfit {
        /// Name of the fuser.
        fuser: String,
        /// What is wrong and what would be accepted.
        reason: String,
    },
    /// The models have nothing in common to go on with.
    #[error("at byte {at} of the answer no unit has any probability: {reason}")]
    Nothing {
        /// Length of the answer so far.
        at: usize,
        /// Why.
        reason: String,
    },
    /// The weights of a span cannot be had.
    #[error("cannot weigh the members at span {span}: {reason}")]
    Weights {
        /// Spans before it.
        span: usize,
        /// Why.
        reason: String,
    },
    /// Whoever asked has gone.
    #[error("cancelled")]
    Cancelled,
}

/// What is committed: a piece of text, or the end of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit<'a> {
    /// Bytes that follow.
    Text(&'a [u8]),
    /// The answer is complete.
    End,
}

/// Told of the answer while it is written; `text` is whole characters.
pub type Listener<'a> = Box<dyn FnMut(&str) + Send + 'a>;

/// What an answer is asked with.
#[derive(Debug, Clone)]
pub struct Ask {
    /// The prompt; may be empty.
    pub prompt: Vec<u8>,
    /// The same as a conversation, for members with a template; `None` makes the prompt what a user said.
    pub chat: Option<Vec<Message>>,
    /// How far the answer may go.
    pub limits: Limits,
    /// When to give up.
    pub stop: Stop,
    /// What is done with a member that fails.
    pub on_failure: OnFailure,
    /// What is done with a member whose context the answer has filled.
    pub on_context: OnContext,
    /// How a unit is chosen.
    pub pick: Pick,
    /// Seed of every random choice.
    pub seed: u64,
}

impl Ask {
    /// A prompt with default limits, no deadline and seed 0.
    pub fn new(prompt: &[u8]) -> Self {
        Self {
            prompt: prompt.to_vec(),
            chat: None,
            limits: Limits::default(),
            stop: Stop::default(),
            on_failure: OnFailure::default(),
            on_context: OnContext::default(),
            pick: Pick::default(),
            seed: 0,
        }
    }
}

/// An answer being written.
pub struct Generation<'a> {
    ask: Ask,
    members: Vec<Option<Member>>,
    /// Names of all members, dropped ones too.
    names: Vec<String>,
    threads: Option<MemberThreads>,
    rng: rng::Rng,
    text: Vec<u8>,
    emitter: Emitter<'a>,
    finish: Option<Finish>,
    trace: Trace,
    meter: Meter,
    /// Calls of members that were dropped.
    spent: u64,
    /// Members that have no weight in any step of this answer.
    idle: Vec<bool>,
    /// Why a member could not read the prompt or the answer so far.
    full: Option<BackendError>,
    since: Instant,
}

impl std::fmt::Debug for Generation<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = String::from_utf8_lossy(&self.text);
        f.debug_struct("Generation")
            .field("members", &self.names)
            .field("text", &text)
            .finish_non_exhaustive()
    }
}

impl<'a> Generation<'a> {
    /// Lets every backend read the prompt.
    ///
    /// # Errors
    /// If a member fails and failing is not allowed, or none is left.
    pub fn open(backends: &[Arc<dyn Backend>], ask: Ask, listener: Listener<'a>) -> Result<Self, FuseError> {
        Self::open_on(MemberThreads::of(backends.len()), backends, ask, listener)
    }

    /// The same on the calling thread alone, where many answers are written at the same time.
    ///
    /// # Errors
    /// If a member fails and failing is not allowed, or none is left.
    pub fn open_alone(
        backends: &[Arc<dyn Backend>],
        ask: Ask,
        listener: Listener<'a>,
    ) -> Result<Self, FuseError> {
        Self::open_on(None, backends, ask, listener)
    }

    fn open_on(
        threads: Option<MemberThreads>,
        backends: &[Arc<dyn Backend>],
        ask: Ask,
        listener: Listener<'a>,
    ) -> Result<Self, FuseError> {
        let names: Vec<String> = backends.iter().map(|backend| backend.name().to_owned()).collect();
        let mut generation = Self {
            members: (0..names.len()).map(|_| None).collect(),
            idle: vec![false; names.len()],
            rng: rng::stream(ask.seed, "fuse"),
            emitter: Emitter::new(&ask.limits.stop, ask.prompt.is_empty(), listener),
            trace: Trace::new(&names, &ask.prompt),
            meter: Meter::new(backends, ask.limits.tokens),
            ask,
            names,
            threads,
            text: Vec::new(),
            finish: None,
            spent: 0,
            full: None,
            since: Instant::now(),
        };
        let (prompt, chat, stop) = (&generation.ask.prompt, &generation.ask.chat, &generation.ask.stop);
        let mut opened: Vec<_> = backends.iter().map(|_| None).collect();
        let asked = backends.iter().zip(&mut opened).collect();
        MemberThreads::at_once(generation.threads.as_ref(), asked, |(backend, session)| {
            *session = Some(match chat {
                Some(chat) => backend.open_chat(chat, stop),
                None => backend.open(prompt, stop),
            });
        });
        for (at, session) in opened.into_iter().enumerate() {
            match session {
                Some(Ok(session)) => {
                    generation.trace.opened(at, session.ids().len());
                    generation.members[at] = Some(Member::new(&generation.names[at], session));
                }
                Some(Err(error)) => generation.fail(at, error)?,
                None => {}
            }
        }
        generation.check_alive()?;
        Ok(generation)
    }

    /// Members in the order of the ensemble; `None` where one was dropped.
    pub fn members(&self) -> &[Option<Member>] {
        &self.members
    }

    /// One member, unless it was dropped.
    pub fn member(&mut self, at: usize) -> Option<&mut Member> {
        self.members.get_mut(at)?.as_mut()
    }

    /// Names of all members.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The prompt.
    pub fn prompt(&self) -> &[u8] {
        &self.ask.prompt
    }

    /// The answer so far.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Units committed so far.
    pub fn steps(&self) -> usize {
        self.trace.steps().len()
    }

    /// The limits of the answer.
    pub fn limits(&self) -> &Limits {
        &self.ask.limits
    }

    /// When to give up.
    pub fn stop(&self) -> &Stop {
        &self.ask.stop
    }

    /// The source of every random choice.
    pub fn rng(&mut self) -> &mut rng::Rng {
        &mut self.rng
    }

    /// Asks every member the same, at the same time; `None` where one was dropped.
    ///
    /// # Errors
    /// If a member fails and failing is not allowed, or none is left.
    pub fn ask<T: Send>(
        &mut self,
        question: impl Fn(usize, &mut Member) -> Result<T, BackendError> + Sync,
    ) -> Result<Vec<Option<T>>, FuseError> {
        self.ask_some(|_| true, question)
    }

    /// The same, of the members that `who` names.
    ///
    /// # Errors
    /// If a member fails and failing is not allowed, or none is left.
    pub fn ask_some<T: Send>(
        &mut self,
        who: impl Fn(usize) -> bool + Sync,
        question: impl Fn(usize, &mut Member) -> Result<T, BackendError> + Sync,
    ) -> Result<Vec<Option<T>>, FuseError> {
        let mut replies: Vec<Option<Result<T, BackendError>>> = self.members.iter().map(|_| None).collect();
        let of = self.members.iter_mut().zip(&mut replies).enumerate();
        let asked: Vec<_> = of
            .filter(|(at, _)| who(*at))
            .filter_map(|(at, (member, reply))| Some((at, member.as_mut()?, reply)))
            .collect();
        MemberThreads::at_once(self.threads.as_ref(), asked, |(at, member, reply)| {
            *reply = Some(question(at, member))
        });
        let mut told = Vec::with_capacity(replies.len());
        for (at, reply) in replies.into_iter().enumerate() {
            told.push(match reply.transpose() {
                Ok(reply) => reply,
                Err(error) => {
                    self.fail(at, error)?;
                    None
                }
            });
        }
        self.check_alive()?;
        Ok(told)
    }

    /// What every member says comes next.
    ///
    /// # Errors
    /// If a member fails and failing is not allowed, or none is left.
    #[expect(clippy::should_implement_trait, reason = "it is a question, not an iterator")]
    pub fn next(&mut self) -> Result<Vec<Option<Distribution>>, FuseError> {
        self.ask(|_, member| member.next())
    }

    /// A unit of `fused`, which sums to 1, chosen as the caller asked.
    pub fn pick(&mut self, fused: &[f32]) -> Option<usize> {
        self.ask.pick.pick(fused, &mut self.rng)
    }

    /// How a unit is chosen.
    pub fn picking(&self) -> Pick {
        self.ask.pick
    }

    /// Brings the members' distributions into one space.
    ///
    /// # Errors
    /// If a member has to be asked again and fails.
    pub fn align<'b>(
        &mut self,
        align: &'b dyn Align,
        told: &[Option<Distribution>],
    ) -> Result<Aligned<'b>, FuseError> {
        Ok(align.align(&mut self.members, told)?)
    }

    /// A source of randomness for each member, so that asking them at the same time stays repeatable.
    pub fn streams(&mut self) -> Vec<rng::Rng> {
        let seed = self.rng.next_u64();
        self.names.iter().map(|name| rng::stream(seed, name)).collect()
    }

    /// Takes `unit` as what follows, for all members; `own` has each member's token for it, where it has one.
    pub fn commit(&mut self, unit: Unit<'_>, own: &[Option<u32>], step: Step) {
        if let Unit::Text(bytes) = unit {
            for (at, member) in self.members.iter_mut().enumerate() {
                if let Some(member) = member {
                    member.commit(bytes, own.get(at).copied().flatten());
                }
            }
        }
        self.note(unit, step);
    }

    /// Takes `text` as what follows, which the member `writer` wrote as `ids`; it keeps its own tokens.
    pub fn commit_written(&mut self, text: &[u8], writer: usize, ids: &[u32], step: Step) {
        for (at, member) in self.members.iter_mut().enumerate() {
            match member {
                Some(member) if at == writer => member.commit_own(text, ids),
                Some(member) => member.commit(text, None),
                None => {}
            }
        }
        self.note(Unit::Text(text), Step { winner: Some(writer), ..step });
    }

    /// Takes `unit` as what follows, which the members have read already.
    pub fn note(&mut self, unit: Unit<'_>, mut step: Step) {
        step.at = self.text.len();
        step.micros = u64::try_from(self.since.elapsed().as_micros()).unwrap_or(u64::MAX);
        step.calls = self.calls();
        match unit {
            Unit::End => self.finish = Some(Finish::Stop),
            Unit::Text(unit) => {
                let bytes = &unit[..self.meter.take(unit)];
                if bytes.len() < unit.len() {
                    self.finish = Some(Finish::Length);
                }
                step.text = bytes.to_vec();
                self.text.extend_from_slice(bytes);
                if self.emitter.push(bytes) {
                    self.finish = Some(Finish::Stop);
                }
            }
        }
        self.trace.push(step);
    }

    /// Whether the answer is over: ended, stopped, or at a limit.
    ///
    /// # Errors
    /// If the caller has gone.
    pub fn is_over(&mut self) -> Result<bool, FuseError> {
        if self.ask.stop.is_cancelled() {
            return Err(FuseError::Cancelled);
        }
        if self.finish.is_none() {
            let limits = &self.ask.limits;
            let long = self.steps() >= limits.steps || self.text.len() >= limits.bytes;
            if long || self.meter.is_full() || self.calls() >= limits.calls {
                self.finish = Some(Finish::Length);
            } else if self.ask.stop.is_late() {
                self.finish = Some(Finish::Deadline);
            }
        }
        Ok(self.finish.is_some())
    }

    /// Ends the answer at a limit, where it has not ended yet.
    pub fn cut_short(&mut self) {
        self.finish.get_or_insert(Finish::Length);
    }

    /// Notes something that is no step of its own on the last step.
    pub fn trace(&mut self) -> &mut Trace {
        &mut self.trace
    }

    /// Notes the weights of an answer that keeps them: a member of weight 0 does not end it where its context does.
    pub fn keeps_weights(&mut self, weights: &[f32]) {
        for (idle, weight) in self.idle.iter_mut().zip(weights) {
            *idle = *weight <= 0.0;
        }
    }

    /// Calls of all models so far.
    pub fn calls(&self) -> u64 {
        self.spent + self.members.iter().flatten().map(|member| member.usage().calls).sum::<u64>()
    }

    /// Leaves a member out from now on.
    ///
    /// # Errors
    /// If failing is not allowed, the answer is to end here, or the caller has gone.
    fn fail(&mut self, at: usize, error: BackendError) -> Result<(), FuseError> {
        let begun = !self.text.is_empty();
        match error {
            BackendError::Cancelled => return Err(FuseError::Cancelled),
            error if error.is_full() && begun && self.ends_full(at) => {
                return Err(self.end_full(error));
            }
            error if self.ask.on_failure == OnFailure::Fail && !(error.is_full() && begun) => {
                return Err(error.into());
            }
            error => {
                self.leave_out(at, &error);
                // Of several that are full, the one that reads most is the limit.
                let is_limit = self.full.as_ref().is_none_or(|full| reads(full) < reads(&error));
                if error.is_full() && is_limit {
                    self.full = Some(error);
                }
            }
        }
        Ok(())
    }

    fn leave_out(&mut self, at: usize, error: &BackendError) {
        if let Some(member) = self.members[at].take() {
            self.spent += member.usage().calls;
            self.trace.usage(at, member.usage(), member.changes());
        }
        let step = self.trace.steps().len();
        self.trace.dropped(Dropped { member: at, step, reason: error.to_string() });
    }

    /// Whether the answer ends where the context of this member does: not where it has no weight, unless no member that
    /// has any is left.
    fn ends_full(&self, at: usize) -> bool {
        let counts = |at: usize| self.members[at].is_some() && !self.idle[at];
        self.ask.on_context == OnContext::End && (counts(at) || !(0..self.members.len()).any(counts))
    }

    /// Ends the answer where a member has read all it can.
    fn end_full(&mut self, error: BackendError) -> FuseError {
        self.finish = Some(Finish::Length);
        FuseError::Full(error)
    }

    fn check_alive(&mut self) -> Result<(), FuseError> {
        if self.members.iter().any(Option::is_some) {
            return Ok(());
        }
        match self.full.take() {
            Some(full) if !self.text.is_empty() => return Err(self.end_full(full)),
            // None could read the prompt, which its sender has to mend.
            Some(full) if self.trace.steps().is_empty() => return Err(full.into()),
            _ => {}
        }
        let reasons: Vec<&str> = self.trace.drops().iter().map(|drop| drop.reason.as_str()).collect();
        Err(FuseError::Alone { reasons: reasons.join("; ") })
    }

    /// Ends the answer: emits what was held back and returns the whole.
    pub fn close(mut self) -> Answer {
        self.emitter.flush();
        let finish = self.finish.unwrap_or(Finish::Stop);
        for (at, member) in self.members.iter().enumerate() {
            if let Some(member) = member {
                self.trace.usage(at, member.usage(), member.changes());
            }
        }
        let micros = u64::try_from(self.since.elapsed().as_micros()).unwrap_or(u64::MAX);
        let (tokens, unsaid) = (self.meter.tokens(), self.emitter.unsaid());
        let calls = self.trace.members().iter().map(|member| member.usage.calls).sum();
        let text = self.emitter.into_text();
        Answer { text, finish, calls, tokens, unsaid, micros, trace: self.trace }
    }
}

/// A finished answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The text as emitted.
    pub text: String,
    /// Why it ended.
    pub finish: Finish,
    /// Calls of all models together.
    pub calls: u64,
    /// Its tokens, as the first member that declares a tokenizer cuts it; units where none does.
    pub tokens: usize,
    /// Bytes at the end of what was committed that are no part of the answer: a stop string and what came with it.
    pub unsaid: usize,
    /// Wall time from reading the prompt on, microseconds.
    pub micros: u64,
    /// How it came about.
    pub trace: Trace,
}

/// Tokens a model reads, where its error says so.
fn reads(error: &BackendError) -> usize {
    if let BackendError::Context { context, .. } = error { *context } else { 0 }
}
