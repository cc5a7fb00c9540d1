//! CITER (arXiv 2502.01976): a small model writes, and a router hands single tokens to a larger one.
//!
//! Before every token the first member says what comes next; from that the router sees a state ([`super::state`])
//! and decides who writes the token. The router is an ordinary policy whose arms are the members and whose
//! features are the state: it is trained with `train` on a token log, which `fuse --labels` makes. Its prediction
//! for the first member is the confidence that this member is right here; below `threshold` the best of the
//! others writes. With `selector` the policy's own selector decides. Without a policy the probability of the
//! first member's own token is the confidence. Whoever is not asked does no work before it is.
//!
//! Labels ([`label`]): along the reference answer, a member is right where what it would write is what follows
//! there; where nobody is, each member's token is tried and the first member finishes the answer: right where
//! that is the reference. The text goes on with the reference.
//!
//! Deviations from the released code: 1. the state is eight numbers of the distribution, and the hidden state
//! only where the policy was trained with it; there it is the hidden state alone. 2. The router is any policy,
//! not one network. 3. Every arm has a label of its own, looked ahead for alike; there the small model's alone is
//! learned. 4. Labels are made once, not again with the router of the last round. 5. Members read text, each in
//! its own tokens; there both have one vocabulary. 6. Members keep their caches; there the large one reads
//! everything again.

use super::looping::say;
use super::state::{WIDTH, state};
use crate::backend::{Backend, NextTokens};
use crate::backends::writing::{first_of, pick};
use crate::distribution::Distribution;
use crate::fuse::{Fuser, Grain, MemberNeed, System, unfit};
use crate::generation::{Ask, FuseError, Generation, Unit};
use crate::trace::Step;
use crate::vocabulary::Role;
use rand::Rng as _;
use routewright_data::features::FeatureInput;
use routewright_policy::{Policy, Request, artifact};
use std::path::PathBuf;
use std::sync::Arc;

/// Parameters of CITER.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// Folder of the policy; relative to the ensemble file.
    pub policy: Option<PathBuf>,
    /// Confidence from which on the first member writes.
    pub threshold: f32,
    /// The policy's own selector decides.
    pub selector: bool,
}

impl Default for Params {
    fn default() -> Self {
        Self { policy: None, threshold: 0.9, selector: false }
    }
}

/// The system.
#[derive(Debug)]
pub struct Citer {
    router: Option<Router>,
    threshold: f32,
}

/// A policy and who its arms are.
#[derive(Debug)]
struct Router {
    policy: Policy,
    /// Index of the arm of every member.
    arms: Vec<usize>,
    /// It reads the hidden state.
    hidden: bool,
    selector: bool,
}

/// Who writes a token, and how that was decided.
struct Route {
    member: usize,
    weights: Vec<f32>,
    log_density: Option<f64>,
}

impl System for Citer {
    const NAME: &'static str = "citer";
    const TITLE: &'static str = "one member writes, a router hands single tokens to others";
    const PAPER: Option<&'static str> = Some("2502.01976");
    const GRAIN: Grain = Grain::Token;
    const NEEDS: &'static [MemberNeed] = &[MemberNeed::Next(NextTokens::Top(2))];
    type Params = Params;

    fn build(params: Params, backends: &[Arc<dyn Backend>]) -> Result<Self, FuseError> {
        if !(params.threshold >= 0.0 && params.threshold.is_finite()) {
            return Err(unfit::<Self>(&format!(
                "`threshold` is `{}`; numbers of at least 0 are accepted",
                params.threshold
            )));
        }
        let load = |path: PathBuf| artifact::load(&path).map_err(|error| unfit::<Self>(&error.to_string()));
        match params.policy.map(load).transpose()? {
            Some(policy) => Self::with_policy(policy, params.threshold, params.selector, backends),
            None if params.selector => Err(unfit::<Self>("`selector` needs a `policy`")),
            None => Ok(Self { router: None, threshold: params.threshold }),
        }
    }
}

impl Citer {
    /// Routed by a policy in memory.
    ///
    /// # Errors
    /// If a member is no arm of the policy, or it reads other features than a state.
    pub fn with_policy(
        policy: Policy,
        threshold: f32,
        selector: bool,
        backends: &[Arc<dyn Backend>],
    ) -> Result<Self, FuseError> {
        let arm = |backend: &Arc<dyn Backend>| {
            let name = backend.name();
            let at = policy.arms.iter().position(|arm| arm.model == name);
            at.ok_or_else(|| unfit::<Self>(&format!("the policy has no arm `{name}`, which is a member")))
        };
        let arms = backends.iter().map(arm).collect::<Result<Vec<_>, _>>()?;
        let dim = policy.router().map_err(|error| unfit::<Self>(&error.to_string()))?.featurizer.dim();
        let hidden = dim > WIDTH;
        if dim < WIDTH {
            return Err(unfit::<Self>(&format!(
                "the policy reads vectors of width {dim}; a state has {WIDTH} numbers, or more with a hidden state"
            )));
        }
        if hidden && !backends.first().is_some_and(|backend| backend.capabilities().hidden) {
            return Err(unfit::<Self>(
                "the policy reads hidden states, which the first member does not show",
            ));
        }
        Ok(Self { router: Some(Router { policy, arms, hidden, selector }), threshold })
    }

    /// Who writes the next token; members that are left only.
    fn route(
        &self,
        generation: &mut Generation<'_>,
        told: Option<&Distribution>,
    ) -> Result<Route, FuseError> {
        let n = generation.members().len();
        let alive: Vec<usize> = (0..n).filter(|at| generation.members()[*at].is_some()).collect();
        let sure = |member: usize| {
            let weights = (0..n).map(|at| if at == member { 1.0 } else { 0.0 }).collect();
            Route { member, weights, log_density: None }
        };
        let (Some(told), [0, _, ..]) = (told, alive.as_slice()) else { return Ok(sure(alive[0])) };
        let Some(router) = &self.router else {
            return Ok(sure(if told.best().1.exp() >= self.threshold { 0 } else { alive[1] }));
        };
        let (step, seed) = (generation.steps(), generation.rng().next_u64());
        let states =
            generation.ask_some(|at| at == 0, |_, member| state(member, told, step, router.hidden))?;
        // It may have been dropped just now.
        let Some(state) = states.into_iter().flatten().next() else { return Ok(sure(alive[1])) };
        let names = generation.names();
        let candidates: Vec<String> = alive.iter().map(|at| names[*at].clone()).collect();
        let request = Request {
            input: FeatureInput { text: "", vector: Some(&state) },
            candidates: Some(&candidates),
            seed,
            ..Request::default()
        };
        let decided = router.policy.decide(&request).map_err(|error| unfit::<Self>(&error.to_string()))?;
        let of = |member: usize| &decided.candidates[router.arms[member]];
        if router.selector {
            let chosen = alive.iter().copied().find(|member| router.arms[*member] == decided.arm);
            let weights = (0..n).map(|at| of(at).propensity).collect();
            let log_density = Some(f64::from(decided.propensity).ln());
            return Ok(Route { member: chosen.unwrap_or(0), weights, log_density });
        }
        if of(0).score >= self.threshold {
            return Ok(sure(0));
        }
        // Of equal ones the first.
        let others = alive[1..].iter().copied();
        let best = others.max_by(|a, b| of(*a).score.total_cmp(&of(*b).score).then(b.cmp(a)));
        Ok(sure(best.unwrap_or(0)))
    }
}

impl Fuser for Citer {
    fn fuse(&self, generation: &mut Generation<'_>) -> Result<(), FuseError> {
        while !generation.is_over()? {
            // Fails where nobody is left; where the first is gone, nobody is asked.
            let mut told = generation.ask_some(|at| at == 0, |_, member| member.next())?;
            let route = self.route(generation, told.first().and_then(Option::as_ref))?;
            if route.member != 0 {
                let others = generation.ask_some(|at| at == route.member, |_, member| member.next())?;
                told.iter_mut().zip(others).skip(1).for_each(|(told, other)| *told = other);
            }
            // A member that failed is left out, and the router asked again.
            if let Some(says) = told[route.member].clone() {
                write(generation, &route, &told, &says);
            }
        }
        Ok(())
    }
}

/// Commits a token of the member that was chosen.
fn write(generation: &mut Generation<'_>, route: &Route, told: &[Option<Distribution>], says: &Distribution) {
    let how = generation.picking();
    let id = pick(says, how.temperature, how.top_p, generation.rng());
    let Some(member) = &generation.members()[route.member] else { return };
    let (bytes, role) = (member.vocabulary().bytes(id).to_vec(), member.vocabulary().role(id));
    let of = |(at, told): (usize, &Option<Distribution>)| {
        let (Some(told), Some(Some(member))) = (told, generation.members().get(at)) else { return f32::NAN };
        let ids =
            if role == Role::End { member.vocabulary().ends() } else { member.vocabulary().ids(&bytes) };
        ids.iter().filter_map(|id| told.log_prob(*id)).map(f32::exp).sum()
    };
    let step = Step {
        probabilities: told.iter().enumerate().map(of).collect(),
        weights: route.weights.clone(),
        fused: says.log_prob(id).map(f32::exp),
        log_density: route.log_density,
        ..Step::default()
    };
    say(generation, route.member, id, step);
}

/// A state on the way of a reference answer, and which members are right there.
#[derive(Debug, Clone, PartialEq)]
pub struct Label {
    /// Bytes of the reference before it.
    pub at: usize,
    /// The state as the router sees it.
    pub state: Vec<f32>,
    /// 1 where the member is right, 0 where not; none where it was dropped.
    pub scores: Vec<Option<f32>>,
    /// Nobody was right, and the answers were finished to see.
    pub looked_ahead: bool,
}

/// Labels of the states on the way of `reference`, the right answer to what is asked. An answer is looked ahead for up
/// to `look_ahead` tokens; with 0 a token that is not in the reference is wrong. With `hidden` states carry hidden
/// states.
///
/// # Errors
/// If no member is left, none may fail and one does, or the first is dropped.
pub fn label(
    backends: &[Arc<dyn Backend>],
    ask: Ask,
    reference: &[u8],
    look_ahead: usize,
    hidden: bool,
) -> Result<Vec<Label>, FuseError> {
    let mut generation = Generation::open(backends, ask, Box::new(|_| {}))?;
    let (mut labels, mut at) = (Vec::new(), 0);
    loop {
        let told = generation.next()?;
        let Some(first) = &told[0] else {
            return Err(unfit::<Citer>("its first member was dropped, and states are its own"));
        };
        let step = labels.len();
        let states = generation.ask_some(|at| at == 0, |_, member| state(member, first, step, hidden))?;
        let Some(state) = states.into_iter().flatten().next() else { continue };
        let rest = &reference[at..];
        // What each member would say; none is an end.
        let says: Vec<Option<Vec<u8>>> = told
            .iter()
            .zip(generation.members())
            .map(|(told, member)| Some(member.as_ref()?.vocabulary().bytes(told.as_ref()?.best().0).to_vec()))
            .collect();
        let is_right = |bytes: &Vec<u8>| match bytes.as_slice() {
            [] => rest.is_empty(),
            bytes => rest.starts_with(bytes),
        };
        let right = says.iter().flatten().find(|bytes| is_right(bytes)).cloned();
        let scores = match &right {
            Some(_) => says.iter().map(|s| s.as_ref().map(|s| f32::from(u8::from(is_right(s))))).collect(),
            None => ahead(&mut generation, &says, reference, at, look_ahead)?,
        };
        labels.push(Label { at, state, scores, looked_ahead: right.is_none() });
        if rest.is_empty() {
            return Ok(labels);
        }
        let next = right.filter(|bytes| !bytes.is_empty()).unwrap_or_else(|| token(&generation, rest));
        at += next.len();
        generation.commit(Unit::Text(&next), &[], Step::default());
    }
}

/// The first token of `rest` as the first member cuts it after the text so far; a byte at least.
fn token(generation: &Generation<'_>, rest: &[u8]) -> Vec<u8> {
    let Some(Some(member)) = generation.members().first() else { return rest.to_vec() };
    let change = member.tokenizer().extend(member.text_ids(), rest);
    let whole = change.keep == member.text_ids().len();
    let first = change.push.first().filter(|_| whole).map(|id| member.vocabulary().bytes(*id));
    match first.filter(|bytes| !bytes.is_empty() && rest.starts_with(bytes)) {
        Some(bytes) => bytes.to_vec(),
        None => rest[..1].to_vec(),
    }
}

/// Whether the answer comes out right if the first member finishes it after what each member says.
fn ahead(
    generation: &mut Generation<'_>,
    says: &[Option<Vec<u8>>],
    reference: &[u8],
    at: usize,
    tokens: usize,
) -> Result<Vec<Option<f32>>, FuseError> {
    let draft = crate::backend::Draft { tokens, stop: Vec::new(), temperature: 0.0, top_p: 1.0 };
    let stops: Vec<Vec<u8>> = generation.limits().stop.iter().map(|stop| stop.clone().into_bytes()).collect();
    let mut scores = Vec::new();
    for says in says {
        let Some(says) = says else {
            scores.push(None);
            continue;
        };
        // Who ends here gives a beginning of the answer only.
        if says.is_empty() || tokens == 0 {
            scores.push(Some(0.0));
            continue;
        }
        let mut rng = routewright_data::rng::stream(0, "greedy");
        let rng = std::sync::Mutex::new(&mut rng);
        let missing = |text: &[u8], n: usize| usize::from(n < tokens && first_of(text, &stops).is_none());
        let written = generation.ask_some(
            |at| at == 0,
            |_, member| {
                let mut rng = rng.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                match member.after(says, |member| member.propose(&draft, missing, &mut **rng)) {
                    Err(crate::backend::BackendError::Context { .. }) => Ok(Vec::new()),
                    written => written.map(|written| written.text),
                }
            },
        )?;
        let mut text =
            [&reference[..at], says, &written.into_iter().flatten().next().unwrap_or_default()].concat();
        text.truncate(first_of(&text, &stops).unwrap_or(text.len()));
        let same = text.trim_ascii() == reference.trim_ascii();
        scores.push(Some(f32::from(u8::from(same))));
    }
    Ok(scores)
}
