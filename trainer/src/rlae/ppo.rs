//! Rounds of play and learning.

use super::actor::{ActorCritic, Batch, Bound, Played};
use super::trajectory::{Trajectory, advantages, standardize};
use super::{NAME, Params};
use crate::method::FitError;
use crate::neural::Checkpoint;
use crate::progress::Progress;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, RngExt as _};
use rayon::prelude::*;
use routewright_data::Tensors;
use routewright_data::features::{FeatureInput, Featurizer, State};
use routewright_data::rng::{self, Rng};
use routewright_policy::env::{Choice, Chooser, Environment};
use routewright_policy::forms::Simplex;
use routewright_policy::simplex::OverWeights;
use serde::Serialize;
use std::path::Path;

/// A judgement on the validation tasks.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Point {
    /// Rounds before it.
    pub round: u64,
    /// Answers played before it.
    pub episodes: u64,
    /// Mean reward of the answers of the last round, weights drawn.
    pub played: f32,
    /// Mean reward on the validation tasks, nothing explored.
    pub valid: f32,
}

/// Judgements in the order of rounds.
pub type Curve = Vec<Point>;

/// What was learned.
#[derive(Debug)]
pub struct Learned {
    /// The actor of the round that was worth most on the validation tasks.
    pub form: Simplex,
    /// Judgements.
    pub curve: Curve,
    /// Calls of all models.
    pub calls: u64,
}

/// Plays `train` and judges on `valid`, both positions of tasks; `checkpoint` is a folder a killed run goes on from.
///
/// # Errors
/// If a parameter is out of range, a task cannot be answered, or a checkpoint belongs to another run.
pub fn train(
    params: &Params,
    environment: &dyn Environment,
    lists: [&[usize]; 2],
    seed: u64,
    progress: &dyn Progress,
    checkpoint: Option<&Path>,
) -> Result<Learned, FitError> {
    params.check()?;
    train_reading(params, &params.featurizer()?, environment, lists, seed, progress, checkpoint)
}

/// The same with states read by `featurizer`, in place of the one that the parameters describe: a frozen encoder, for
/// one.
///
/// # Errors
/// As [`train`], and if the featurizer cannot read a state.
pub fn train_reading(
    params: &Params,
    featurizer: &dyn Featurizer,
    environment: &dyn Environment,
    [tasks, valid]: [&[usize]; 2],
    seed: u64,
    progress: &dyn Progress,
    checkpoint: Option<&Path>,
) -> Result<Learned, FitError> {
    params.check()?;
    let members = environment.members();
    if members.len() < 2 || tasks.is_empty() || valid.is_empty() {
        let (n, t, v) = (members.len(), tasks.len(), valid.len());
        let reason = format!(
            "there are {n} members, {t} tasks to learn from and {v} to judge on; expected 2, 1 and 1 at least"
        );
        return Err(FitError::Log { method: NAME, reason });
    }
    let networks = ActorCritic::new(params, featurizer.dim(), members.len(), seed);
    let form = networks.form();
    let spec = featurizer.spec();
    let identity = serde_json::json!({
        "params": params, "members": members, "seed": seed, "tasks": tasks, "features": [spec.name, spec.dim],
    });
    let mut run = Run {
        params,
        environment,
        featurizer,
        seed,
        best: (f32::NEG_INFINITY, form),
        networks,
        curve: Vec::new(),
        calls: 0,
        checkpoint: Checkpoint::of(checkpoint, identity.to_string()),
    };
    progress.start("rounds", params.rounds);
    for round in run.resume()?..params.rounds {
        run.networks.sd = deviation(params, round);
        let played = run.play(tasks, round)?;
        let mean = played.iter().map(|t| t.reward).sum::<f32>() / played.len() as f32;
        run.learn(&played, round);
        if (round + 1) % params.every == 0 || round + 1 == params.rounds {
            let worth = run.judge(valid)?;
            let episodes = (round + 1) * params.episodes as u64;
            run.curve.push(Point { round: round + 1, episodes, played: mean, valid: worth });
            if worth > run.best.0 {
                run.best = (worth, run.networks.form());
            }
            run.keep(round + 1)?;
        }
        progress.step(round + 1, &format!("reward {mean:.3}"));
    }
    Ok(Learned { form: run.best.1, curve: run.curve, calls: run.calls })
}

/// Deviation of the logits in a round.
fn deviation(params: &Params, round: u64) -> f32 {
    let share = round as f32 / (params.rounds.max(2) - 1) as f32;
    params.sd[0] + (params.sd[1] - params.sd[0]) * share
}

/// A run between two rounds.
struct Run<'a> {
    params: &'a Params,
    environment: &'a dyn Environment,
    featurizer: &'a dyn Featurizer,
    seed: u64,
    networks: ActorCritic,
    /// Worth on the validation tasks, and the actor.
    best: (f32, Simplex),
    curve: Curve,
    calls: u64,
    checkpoint: Checkpoint,
}

/// Draws weights and remembers the spans.
struct Player<'a> {
    form: &'a Simplex,
    featurizer: &'a dyn Featurizer,
    /// `None` plays without exploring.
    rng: Option<Rng>,
    spans: Vec<Played>,
}

impl Chooser for Player<'_> {
    fn choose(&mut self, state: &State<'_>) -> Result<Choice, String> {
        let features = self.featurizer.featurize(&[FeatureInput::from(&*state.to_text())]);
        let features = features.map_err(|error| error.to_string())?.row(0).to_vec();
        let over = self.form.over_weights(&features);
        let Some(rng) = &mut self.rng else {
            return Ok(Choice { weights: over.center(), log_density: None });
        };
        let drawn = over.draw(rng);
        let means = if let OverWeights::Gaussian(means, _) = over { means } else { Vec::new() };
        let choice = Choice { weights: drawn.weights.clone(), log_density: Some(drawn.log_density) };
        let log_density = drawn.log_density;
        self.spans.push(Played {
            features,
            weights: drawn.weights,
            logits: drawn.logits,
            log_density,
            means,
        });
        Ok(choice)
    }
}

impl Run<'_> {
    /// Answers of a round, at the same time; each has a stream of its own, so that their order decides nothing.
    fn play(&mut self, tasks: &[usize], round: u64) -> Result<Vec<Trajectory>, FitError> {
        let mut rng = rng::stream(self.seed, &format!("round {round}"));
        let drawn: Vec<(usize, u64)> = (0..self.params.episodes)
            .map(|_| (tasks[rng.random_range(0..tasks.len())], rng.next_u64()))
            .collect();
        let form = self.networks.form();
        let (environment, featurizer) = (self.environment, self.featurizer);
        let one = |(task, seed): &(usize, u64)| {
            let rng = Some(rng::stream(*seed, "weights"));
            let mut player = Player { form: &form, featurizer, rng, spans: Vec::new() };
            let outcome = environment.play(*task, *seed, &mut player)?;
            Ok((Trajectory { spans: player.spans, reward: outcome.reward }, outcome.calls))
        };
        let played: Result<Vec<(Trajectory, u64)>, String> = drawn.par_iter().map(one).collect();
        let played = played.map_err(|reason| FitError::Log { method: NAME, reason })?;
        self.calls += played.iter().map(|(_, calls)| calls).sum::<u64>();
        Ok(played.into_iter().map(|(trajectory, _)| trajectory).collect())
    }

    /// Mean reward without exploring.
    fn judge(&mut self, valid: &[usize]) -> Result<f32, FitError> {
        let form = self.networks.form();
        let (environment, featurizer) = (self.environment, self.featurizer);
        let one = |task: &usize| {
            let mut player = Player { form: &form, featurizer, rng: None, spans: Vec::new() };
            environment.play(*task, 0, &mut player)
        };
        let outcomes: Result<Vec<_>, String> = valid.par_iter().map(one).collect();
        let outcomes = outcomes.map_err(|reason| FitError::Log { method: NAME, reason })?;
        self.calls += outcomes.iter().map(|outcome| outcome.calls).sum::<u64>();
        Ok(outcomes.iter().map(|outcome| outcome.reward).sum::<f32>() / outcomes.len().max(1) as f32)
    }

    fn learn(&mut self, played: &[Trajectory], round: u64) {
        let (mut worth, mut returns) = (Vec::new(), Vec::new());
        for trajectory in played {
            let features: Vec<f32> = trajectory.spans.iter().flat_map(|s| s.features.clone()).collect();
            let values = self.networks.values(&features);
            let (gamma, lambda) = (self.params.gamma, self.params.lambda);
            let (a, r) = advantages(&values, trajectory.reward, gamma, lambda);
            worth.extend(a);
            returns.extend(r);
        }
        standardize(&mut worth);
        let spans: Vec<&Played> = played.iter().flat_map(|trajectory| &trajectory.spans).collect();
        let mut order: Vec<usize> = (0..spans.len()).collect();
        let mut rng = rng::stream(self.seed, &format!("order {round}"));
        for _ in 0..self.params.epochs {
            order.shuffle(&mut rng);
            for at in order.chunks(self.params.batch) {
                let chosen: Vec<&Played> = at.iter().map(|at| spans[*at]).collect();
                let features: Vec<f32> = chosen.iter().flat_map(|span| span.features.clone()).collect();
                let pick = |from: &[f32]| at.iter().map(|at| from[*at]).collect::<Vec<f32>>();
                let batch = Batch { spans: &chosen, advantages: &pick(&worth) };
                self.networks.learn_weights(batch, Bound::Clip(self.params.clip), self.params.entropy);
                self.networks.learn_values(&features, &pick(&returns));
            }
        }
    }

    /// The first round that is still to be played.
    fn resume(&mut self) -> Result<u64, FitError> {
        let Some(mut tensors) = self.checkpoint.load(NAME)? else { return Ok(0) };
        let error = |checkpoint: &Checkpoint, e: String| checkpoint.misfit(NAME, &e);
        self.networks.restore(&tensors).map_err(|e| error(&self.checkpoint, e.to_string()))?;
        let mut take = |name: &str| {
            let shape = tensors.shape(name).map_err(|e| error(&self.checkpoint, e.to_string()))?;
            tensors.take_f32(name, &shape).map_err(|e| error(&self.checkpoint, e.to_string()))
        };
        let (best, curve, calls) = (take("best.valid")?, take("curve")?, take("calls")?);
        let mut layers = Vec::new();
        for at in 0..=self.networks.hidden().len() {
            layers.push((take(&format!("best.{at}.weight"))?, take(&format!("best.{at}.bias"))?));
        }
        let sd = best.get(1).copied().unwrap_or(1.0);
        self.best.1 = self.best.1.with_layers(layers, sd).map_err(|e| error(&self.checkpoint, e))?;
        self.best.0 = best.first().copied().unwrap_or(f32::NEG_INFINITY);
        self.calls = calls.iter().fold(0, |sum, part| sum * (1 << 20) + *part as u64);
        self.curve = curve
            .chunks_exact(3)
            .map(|p| Point {
                round: p[0] as u64,
                episodes: p[0] as u64 * self.params.episodes as u64,
                played: p[1],
                valid: p[2],
            })
            .collect();
        Ok(self.curve.last().map_or(0, |point| point.round))
    }

    fn keep(&self, _round: u64) -> Result<(), FitError> {
        if !self.checkpoint.is_kept() {
            return Ok(());
        }
        let mut tensors = Tensors::new();
        self.networks.save(&mut tensors);
        tensors.insert_f32("best.valid", &[2], vec![self.best.0, self.best.1.sd()]);
        for (at, layer) in self.best.1.layers().iter().enumerate() {
            let name = format!("best.{at}");
            let (weights, bias) = (layer.weights().to_vec(), layer.bias().to_vec());
            tensors.insert_f32(&format!("{name}.weight"), &[weights.len()], weights);
            tensors.insert_f32(&format!("{name}.bias"), &[bias.len()], bias);
        }
        let curve: Vec<f32> = self.curve.iter().flat_map(|p| [p.round as f32, p.played, p.valid]).collect();
        tensors.insert_f32("curve", &[curve.len()], curve);
        // Two digits to the base 2^20, each a whole number an f32 holds.
        let calls = vec![(self.calls >> 20) as f32, (self.calls % (1 << 20)) as f32];
        tensors.insert_f32("calls", &[2], calls);
        self.checkpoint.save(NAME, tensors)
    }
}
