//! RLAE (arXiv 2506.00439): probabilities added with weights that a learned policy sets at every span.
//!
//! Where a span begins, the policy reads the prompt, the text so far and the number of spans, and puts out one weight
//! a member; they hold until the span ends. Members meet in the union of their vocabularies, as in GaC, or byte by
//! byte. The policy is an ordinary artifact whose arms are the members: weights are the distribution of its selector,
//! so that any policy can be used; `train rlae` makes one that was learned on whole answers.
//!
//! The policy may also be that of a policy server, which is asked at every span.
//!
//! With `explore` weights are drawn and logged with their density: from the policy's own distribution where it has
//! one, and without a policy from a flat Dirichlet. Such logs are what `train rlae --log` learns from.
//!
//! Deviations from the released code: 1. the state is the text of this very answer, not of an answer written before;
//! 2. a span is decoded once, with the weights chosen for it; 3. the first span has weights chosen for it, too; 4. a
//! span may also end at a mark; 5. members may meet as bytes; 6. from a log, a span is corrected by its own
//! ratio alone.

use super::{ByteLoop, TokenLoop};
use crate::align::bytes::Beam;
use crate::align::{Space, Union};
use crate::backend::{Backend, NextTokens, Stop};
use crate::fuse::{Fuser, Grain, MemberNeed, System, unfit, vocabularies};
use crate::generation::{FuseError, Generation};
use crate::pool::Pool;
use crate::weigh::{Fixed, ServedWeights, SpanWeights, Weigher};
use rand::Rng as _;
use routewright_data::rng::{self, Rng};
use routewright_policy::env::{Choice, Chooser, PolicyWeights, SpanRule, State};
use routewright_policy::simplex::OverWeights;
use routewright_policy::{Policy, artifact};
use std::path::PathBuf;
use std::sync::Arc;

/// Where members meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Meet {
    /// In the union of their vocabularies; a unit is a token.
    #[default]
    Union,
    /// Byte by byte; a unit is a byte.
    Bytes,
}

/// Parameters of RLAE.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// Folder of the policy, relative to the ensemble file, or the URL of a policy server.
    pub policy: Option<PathBuf>,
    /// Name of the policy on that server.
    pub served: Option<String>,
    /// Environment variable that holds the key for that server.
    pub key_env: Option<String>,
    /// Where a span ends; what the policy was trained with where `None`.
    pub span: Option<SpanRule>,
    /// Where members meet.
    pub meet: Meet,
    /// Covers of the text that are kept of each member, where they meet as bytes.
    pub beam: Beam,
    /// Whether weights are drawn, for a log to learn from.
    pub explore: bool,
    /// Concentration of the flat Dirichlet weights are drawn from where there is no policy.
    pub concentration: f32,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            policy: None,
            served: None,
            key_env: None,
            span: None,
            meet: Meet::Union,
            beam: Beam::default(),
            explore: false,
            concentration: 1.0,
        }
    }
}

/// The loop of tokens or of bytes.
#[derive(Debug)]
enum Steps {
    Tokens(TokenLoop),
    Bytes(ByteLoop),
}

/// Members that meet somewhere, to be weighed from outside: what [`Rlae`] and its environment share.
#[derive(Debug)]
pub struct Meeting(Steps);

impl Meeting {
    /// Members of these backends, which all declare tokenizers.
    ///
    /// # Errors
    /// If one declares none.
    pub fn new(meet: Meet, beam: Beam, backends: &[Arc<dyn Backend>]) -> Result<Self, FuseError> {
        let vocabularies = vocabularies::<Rlae>(backends)?;
        if let (Meet::Bytes, Some(backend)) =
            (meet, backends.iter().find(|backend| !tells_bytes(&***backend)))
        {
            return Err(unfit::<Rlae>(&format!(
                "member `{}` does not give all next-token probabilities in sessions that fork at no cost, which `meet` \
                 `bytes` needs; `union` is accepted",
                backend.name()
            )));
        }
        // Weights come from outside; these are never asked for.
        let weigh = Box::new(Fixed(vec![1.0; backends.len()]));
        Ok(Self(match meet {
            Meet::Union => Steps::Tokens(TokenLoop {
                align: Box::new(Union::new(Space::union(&vocabularies))),
                pool: Pool::Linear,
                weigh,
            }),
            Meet::Bytes => Steps::Bytes(ByteLoop::new(backends, beam, Pool::Linear, weigh)),
        }))
    }

    /// Writes the answer with the weights of `weigher`.
    ///
    /// # Errors
    /// If no member is left, none may fail and one does, or weights cannot be had.
    pub fn run(&self, generation: &mut Generation<'_>, weigher: &mut dyn Weigher) -> Result<(), FuseError> {
        match &self.0 {
            Steps::Tokens(steps) => steps.run_with(generation, weigher),
            Steps::Bytes(steps) => steps.run_with(generation, weigher),
        }
    }
}

/// The system.
#[derive(Debug)]
pub struct Rlae {
    meeting: Meeting,
    rule: SpanRule,
    source: Source,
}

/// Where weights come from.
#[derive(Debug)]
enum Source {
    Policy(PolicyWeights),
    Served(Box<ServedWeights>),
    /// Drawn from what the policy says.
    Explored(Arc<Policy>),
    /// Drawn from a flat Dirichlet.
    Flat(OverWeights),
}

/// Draws weights.
struct Explorer<'a> {
    source: &'a Source,
    rng: Rng,
    stop: Stop,
}

impl Chooser for Explorer<'_> {
    fn choose(&mut self, state: &State<'_>) -> Result<Choice, String> {
        let over = match self.source {
            Source::Flat(over) => over.clone(),
            Source::Policy(policy) => return policy.clone().choose(state),
            Source::Served(policy) => return policy.until(self.stop.clone()).choose(state),
            Source::Explored(policy) => {
                let text = state.to_text();
                let router = policy.router().map_err(|e| e.to_string())?;
                let features = router.featurizer.featurize(&[(&*text).into()]).map_err(|e| e.to_string())?;
                let over = router.predictor.over_weights(features.row(0));
                over.ok_or("the policy gives no distribution to draw weights from")?
            }
        };
        let drawn = over.draw(&mut self.rng);
        Ok(Choice { weights: drawn.weights, log_density: Some(drawn.log_density) })
    }
}

impl System for Rlae {
    const NAME: &'static str = "rlae";
    const TITLE: &'static str = "probabilities added with weights a learned policy sets span by span";
    const PAPER: Option<&'static str> = Some("2506.00439");
    const GRAIN: Grain = Grain::Span;
    const NEEDS: &'static [MemberNeed] = &[MemberNeed::Next(NextTokens::Top(1)), MemberNeed::Tokenizer];
    type Params = Params;

    fn build(params: Params, backends: &[Arc<dyn Backend>]) -> Result<Self, FuseError> {
        let meeting = Meeting::new(params.meet, params.beam, backends)?;
        if let Some(served) = connect(&params, backends)? {
            let rule = params.span.or_else(|| served.span().cloned()).unwrap_or_default();
            return Ok(Self { meeting, rule, source: Source::Served(Box::new(served)) });
        }
        let policy = params.policy.as_deref().map(|path| open(path, backends)).transpose()?;
        let trained = policy.as_ref().and_then(|policy| trained_rule(policy));
        let rule = params.span.or(trained).unwrap_or_default();
        let source = match (policy, params.explore) {
            (Some(policy), false) => Source::Policy(PolicyWeights(policy)),
            (Some(policy), true) => Source::Explored(policy),
            (None, true) if params.concentration.is_finite() && params.concentration > 0.0 => {
                Source::Flat(OverWeights::Dirichlet(vec![params.concentration; backends.len()]))
            }
            (None, true) => return Err(unfit::<Self>("`concentration` must be above 0")),
            (None, false) => {
                return Err(unfit::<Self>(
                    "give the folder of a `policy`, or `explore = true` to draw weights",
                ));
            }
        };
        Ok(Self { meeting, rule, source })
    }
}

/// A policy on a server, where the parameters name one.
fn connect(params: &Params, backends: &[Arc<dyn Backend>]) -> Result<Option<ServedWeights>, FuseError> {
    let Some(url) = params.policy.as_deref().and_then(|path| path.to_str()).filter(|path| is_url(path))
    else {
        return match (&params.served, &params.key_env) {
            (None, None) => Ok(None),
            _ => Err(unfit::<Rlae>("`served` and `key_env` go with the URL of a policy server as `policy`")),
        };
    };
    if params.explore {
        return Err(unfit::<Rlae>(
            "a server gives no distribution to `explore`; the folder of a policy does",
        ));
    }
    let key = params.key_env.as_ref().map(|variable| {
        std::env::var(variable)
            .map_err(|_| unfit::<Rlae>(&format!("key_env `{variable}` is not set in the environment")))
    });
    let members = backends.iter().map(|backend| backend.name().to_owned()).collect();
    let served = ServedWeights::connect(url, params.served.clone(), key.transpose()?, members);
    served.map(Some).map_err(|reason| unfit::<Rlae>(&reason))
}

/// Whether a member can meet others byte by byte.
fn tells_bytes(backend: &dyn Backend) -> bool {
    let can = backend.capabilities();
    can.next == NextTokens::Full && can.cheap_rollback
}

/// Whether what an ensemble file calls a policy is not a folder but a server.
pub fn is_url(policy: &str) -> bool {
    policy.starts_with("http://") || policy.starts_with("https://")
}

/// Loads a policy whose arms are the members.
fn open(path: &std::path::Path, backends: &[Arc<dyn Backend>]) -> Result<Arc<Policy>, FuseError> {
    let policy = artifact::load(path).map_err(|error| unfit::<Rlae>(&chain(&error)))?;
    let arms: Vec<&str> = policy.arms.iter().map(|arm| arm.model.as_str()).collect();
    let members: Vec<&str> = backends.iter().map(|backend| backend.name()).collect();
    if arms != members {
        let (path, arms, members) = (path.display(), arms.join(", "), members.join(", "));
        return Err(unfit::<Rlae>(&format!(
            "policy `{path}` has the arms {arms}; the members are {members}, in this order"
        )));
    }
    Ok(Arc::new(policy))
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(&format!(": {inner}"));
        source = inner.source();
    }
    text
}

/// The spans a policy was trained with, where it says so.
fn trained_rule(policy: &Policy) -> Option<SpanRule> {
    serde_json::from_value(policy.manifest.params.get("span")?.clone()).ok()
}

impl Fuser for Rlae {
    fn fuse(&self, generation: &mut Generation<'_>) -> Result<(), FuseError> {
        let rng = rng::stream(generation.rng().next_u64(), "weights");
        let explorer = Explorer { source: &self.source, rng, stop: generation.stop().clone() };
        let mut weigher = SpanWeights::new(self.rule.clone(), Box::new(explorer));
        self.meeting.run(generation, &mut weigher)
    }
}
