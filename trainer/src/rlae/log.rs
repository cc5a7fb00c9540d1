//! Learning from a log of answers whose weights were drawn: off policy, without asking a model.

use super::actor::{ActorCritic, Batch, Bound, Played};
use super::trajectory::{Trajectory, advantages, standardize};
use super::{Agents, NAME, Params};
use crate::method::FitError;
use crate::progress::Progress;
use rand::seq::SliceRandom as _;
use routewright_data::features::{FeatureInput, Featurizer as _};
use routewright_data::rng;
use routewright_policy::forms::Simplex;
use routewright_policy::simplex::{Action, OverWeights};

/// Passes of the critic alone before the actor learns, as a share of all.
const CRITIC_SHARE: u64 = 4;
/// One answer of so many is kept to estimate what was learned.
const HELD_OUT: usize = 5;

/// A span of a log: the text of the state it began at, the weights drawn and their density.
#[derive(Debug, Clone, PartialEq)]
pub struct LoggedSpan {
    /// The state, as text.
    pub state: String,
    /// Weights, one a member.
    pub weights: Vec<f32>,
    /// Natural logarithm of the density they were drawn with.
    pub log_density: f64,
}

/// What was learned from a log.
#[derive(Debug)]
pub struct Lesson {
    /// The actor.
    pub form: Simplex,
    /// Mean reward of the answers held out.
    pub logged: f64,
    /// Their mean reward under the actor, by self-normalised importance weights over whole answers; a little too high,
    /// since the pass to keep was chosen by it.
    pub estimated: f64,
    /// Answers those weights are worth.
    pub effective: f64,
}

/// Learns from answers: their spans and rewards.
///
/// # Errors
/// If a parameter is out of range, there are too few answers, or agents draw what a log does not keep.
pub fn learn_from_log(
    params: &Params,
    answers: &[(Vec<LoggedSpan>, f32)],
    n_members: usize,
    seed: u64,
    progress: &dyn Progress,
) -> Result<Lesson, FitError> {
    params.check()?;
    if params.agents == Agents::Independent {
        let reason = "`agents` is `independent`, whose logits no log keeps; expected `one` or `joint`";
        return Err(FitError::Params { method: NAME, reason: reason.to_owned() });
    }
    if answers.len() < 2 * HELD_OUT {
        let (found, least) = (answers.len(), 2 * HELD_OUT);
        let reason =
            format!("it has {found} answers with a reward and drawn weights, expected {least} at least");
        return Err(FitError::Log { method: NAME, reason });
    }
    let featurizer = params.featurizer()?;
    let played = trajectories(answers, &featurizer)?;
    let (held, train): (Vec<_>, Vec<_>) =
        played.into_iter().enumerate().partition(|(at, _)| at % HELD_OUT == HELD_OUT - 1);
    let [held, train] = [held, train].map(|part| part.into_iter().map(|(_, t)| t).collect::<Vec<_>>());
    let mut networks = ActorCritic::new(params, featurizer.dim(), n_members, seed);
    // A mean of weights is what is used in the end; a wide deviation would count few spans of the log.
    networks.sd = if params.action == Action::Gaussian { params.sd[0] } else { networks.sd };
    progress.start("passes", params.rounds);
    let mut best: Option<(f64, Lesson)> = None;
    for pass in 0..params.rounds {
        learn(params, &mut networks, &train, seed, pass);
        progress.step(pass + 1, "");
        if (pass + 1) % params.every == 0 || pass + 1 == params.rounds {
            let (bound, lesson) = estimate(networks.form(), &held);
            if best.as_ref().is_none_or(|(known, _)| bound > *known) {
                best = Some((bound, lesson));
            }
        }
    }
    let nothing = || FitError::Numeric { method: NAME, reason: "no pass was judged".to_owned() };
    best.map(|(_, lesson)| lesson).ok_or_else(nothing)
}

/// Features of all states, at once.
fn trajectories(
    answers: &[(Vec<LoggedSpan>, f32)],
    featurizer: &routewright_data::features::StateFeatures,
) -> Result<Vec<Trajectory>, FitError> {
    let one = |(spans, reward): &(Vec<LoggedSpan>, f32)| {
        let inputs: Vec<FeatureInput<'_>> = spans.iter().map(|span| (&*span.state).into()).collect();
        let features = featurizer
            .featurize(&inputs)
            .map_err(|error| FitError::Log { method: NAME, reason: error.to_string() })?;
        let played = |(at, span): (usize, &LoggedSpan)| Played {
            features: features.row(at).to_vec(),
            weights: span.weights.clone(),
            logits: Vec::new(),
            log_density: span.log_density,
            means: Vec::new(),
        };
        Ok(Trajectory { spans: spans.iter().enumerate().map(played).collect(), reward: *reward })
    };
    answers.iter().map(one).collect()
}

/// One pass: the critic always, the actor once the critic knows something.
fn learn(params: &Params, networks: &mut ActorCritic, train: &[Trajectory], seed: u64, pass: u64) {
    let (mut worth, mut returns) = (Vec::new(), Vec::new());
    for trajectory in train {
        let features: Vec<f32> = trajectory.spans.iter().flat_map(|s| s.features.clone()).collect();
        let values = networks.values(&features);
        // Values of what the log did: the return itself, not what the actor would have had.
        let (a, _) = advantages(&values, trajectory.reward, params.gamma, params.lambda);
        let n = trajectory.spans.len();
        returns.extend((0..n).map(|t| params.gamma.powi((n - 1 - t) as i32) * trajectory.reward));
        worth.extend(a);
    }
    standardize(&mut worth);
    let spans: Vec<&Played> = train.iter().flat_map(|trajectory| &trajectory.spans).collect();
    let mut order: Vec<usize> = (0..spans.len()).collect();
    order.shuffle(&mut rng::stream(seed, &format!("pass {pass}")));
    for at in order.chunks(params.batch) {
        let chosen: Vec<&Played> = at.iter().map(|at| spans[*at]).collect();
        let features: Vec<f32> = chosen.iter().flat_map(|span| span.features.clone()).collect();
        let pick = |from: &[f32]| at.iter().map(|at| from[*at]).collect::<Vec<f32>>();
        networks.learn_values(&features, &pick(&returns));
        if pass >= params.rounds / CRITIC_SHARE {
            let batch = Batch { spans: &chosen, advantages: &pick(&worth) };
            networks.learn_weights(batch, Bound::Cap(params.cap), params.entropy);
        }
    }
}

/// What the actor is worth on answers it has not seen, and a lower bound of it: one standard error below.
///
/// The bound decides which pass is kept: an actor that knows its answers by heart gives the others hardly any weight,
/// and the few that are left bound nothing.
fn estimate(form: Simplex, held: &[Trajectory]) -> (f64, Lesson) {
    let weight = |trajectory: &Trajectory| {
        let spans = trajectory.spans.iter().map(|span| {
            let over: OverWeights = form.over_weights(&span.features);
            over.log_density(&span.weights) - span.log_density
        });
        spans.sum::<f64>().clamp(-50.0, 50.0).exp()
    };
    let weights: Vec<f64> = held.iter().map(weight).collect();
    let (sum, squares): (f64, f64) = (weights.iter().sum(), weights.iter().map(|w| w * w).sum());
    let weighted: f64 = weights.iter().zip(held).map(|(w, t)| w * f64::from(t.reward)).sum();
    let logged = held.iter().map(|t| f64::from(t.reward)).sum::<f64>() / held.len().max(1) as f64;
    let estimated = weighted / sum;
    let off = |(w, t): (&f64, &Trajectory)| (w * (f64::from(t.reward) - estimated)).powi(2);
    let error = weights.iter().zip(held).map(off).sum::<f64>().sqrt() / sum;
    // The spread among answers of equal reward is none, however few they are; that of a coin is the least to expect.
    let effective = sum * sum / squares;
    let least = (estimated * (1.0 - estimated)).max(0.0).sqrt().max(0.5 / effective) / effective.sqrt();
    (estimated - error.max(least), Lesson { form, logged, estimated, effective })
}
