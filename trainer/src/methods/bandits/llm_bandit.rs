//! LLM Bandit (arXiv 2502.02743): a preference-conditioned policy over a set of arms known by identity vectors.
//!
//! 1. Identities: `irt.rs`, variational item response theory on outcomes and on pairs of them.
//! 2. Warm start: the policy imitates `argmax_k p_k - w cost_k` with calibrated successes `p` and relative prices,
//!    `w ~ U(0, 2)`, on random subsets of the arms.
//! 3. PPO on replayed outcomes, one step an episode: reward `(score, -relative cost)`, a value network `V(x)` of
//!    two outputs, advantage `(1, w) . (r - V)`, standardised, clipped surrogate, entropy, and mixup of a query with
//!    its nearest neighbour. The number of batches is the one worth most on a slice of train on which neither
//!    identities, calibration nor neighbours were made; then everything is fitted on all of train for that many.
//! 4. Cold start: an arm named in `cold_arms` is left out of all of this and placed afterwards by its outcomes on
//!    `quiz` queries that tell arms apart.
//!
//! Written from the description of a third-party replica. Deviations:
//! 1. the set is read by one learned query of attention over token networks, not by a Set Transformer (no
//!    attention among arms);
//! 2. pairs are made from outcomes, ties dropped; the calibration is a logistic line on successes, not on pairs;
//! 3. the value network reads the query alone;
//! 4. sizes are smaller (identities of 16, layers of 32 to 64), so that a fit takes seconds on two cores; training
//!    runs on the processor;
//! 5. mixup blends the policy's inputs, advantage and old probability; predicted successes are blended, not
//!    predicted again;
//! 6. `w` is drawn as twice the square of a uniform number, so that preferences near pure quality are practised;
//! 7. a cold arm is placed with the prior of weight 1 beside the *sum* over its quiz, the known arms with
//!    `kl_weight` beside a *mean*: a short quiz moves a cold arm less than training would.

use super::gradient::{Actions, sample, softmax, standardize, surrogate};
use super::irt::{Irt, IrtSettings, discriminative};
use super::paid;
use super::set_policy::{Decisions, SetPolicy, SetSizes, decisions};
use crate::evaluate::Tuning;
use crate::method::{Family, FitContext, FitError, Fitted, Method, MethodRow, Need};
use crate::methods::baselines::means;
use crate::methods::costs;
use crate::neural::{AdamW, Stack};
use crate::validation;
use rand::RngExt as _;
use rand_distr::{Beta, Distribution as _};
use routewright_data::dense::sigmoid;
use routewright_data::rng::{self, Rng};
use routewright_data::suggest::near_names;
use routewright_data::{FeatureMatrix, OutcomeTable};
use routewright_policy::forms::{IdentitySet, SetParts, relative_costs};
use routewright_policy::search::ExactIndex;
use serde::{Deserialize, Serialize};

pub(in crate::methods) const ROW: MethodRow = MethodRow::of::<LlmBandit>(
    "identity vectors by item response theory, a preference-conditioned set policy by PPO",
    Some("2502.02743"),
    Family::Before,
    &[Need::Features],
);

/// The greatest preference that is practised: twice the score for the dearest arm's price.
const PREFERENCE_MAX: f32 = 2.0;
/// Preferences a checkpoint is judged by.
const JUDGED: [f32; 3] = [0.0, 0.3, 1.0];
/// Steps that place a cold arm.
const PLACE_STEPS: u64 = 400;

/// The method of this file.
#[derive(Debug)]
pub(in crate::methods) struct LlmBandit;

/// Parameters.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::methods) struct Params {
    /// Width of an identity.
    identity: usize,
    /// Width of the hidden layers of the ability and of the trunk.
    hidden: usize,
    /// Width of a token's image.
    pool: usize,
    /// Steps of the identities, each on `batch / 4` queries.
    irt_steps: u64,
    /// Weight of the pairwise loss of the identities.
    pair_weight: f32,
    /// Weight of their divergence from the prior.
    kl_weight: f32,
    /// Steps of the warm start.
    warm_steps: u64,
    /// Batches of PPO, each learned from four times.
    ppo_steps: u64,
    /// Queries a batch.
    batch: usize,
    /// Learning rate of the identities and the warm start; PPO learns at a third of it.
    rate: f32,
    /// Range of the probability ratio.
    clip: f32,
    /// Weight of the entropy.
    entropy: f32,
    /// Parameter of the mixup's Beta distribution; 0 mixes nothing.
    mixup: f64,
    /// Share of train in the validation slice.
    valid_share: f64,
    /// Score given up for the price of the dearest arm where a request says nothing.
    cost: f64,
    /// Arms that are left out of training and placed by a quiz.
    cold_arms: Vec<String>,
    /// Queries of the quiz.
    quiz: usize,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            identity: 16,
            hidden: 64,
            pool: 32,
            irt_steps: 1500,
            pair_weight: 1.0,
            kl_weight: 1e-3,
            warm_steps: 600,
            ppo_steps: 200,
            batch: 128,
            rate: 2e-3,
            clip: 0.2,
            entropy: 0.01,
            mixup: 0.2,
            valid_share: 0.15,
            cost: 0.0,
            cold_arms: Vec::new(),
            quiz: 40,
        }
    }
}

/// Some rows of the log as the policy sees them: the arms that are not cold.
struct World {
    table: OutcomeTable,
    features: FeatureMatrix,
    relative: Vec<f32>,
    unit_usd: f64,
    /// Predicted successes `(n, m)`, and the same calibrated.
    ability: Vec<f32>,
    calibrated: Vec<f32>,
    /// Nearest other query of each among these rows; empty where the policy is only judged on them.
    neighbors: Vec<usize>,
}

impl World {
    /// Rows that have a score.
    fn scored(&self) -> Vec<usize> {
        (0..self.table.n_queries()).filter(|row| self.table.score.row_mean(*row).is_some()).collect()
    }

    fn m(&self) -> usize {
        self.table.n_arms()
    }

    fn relative_cost(&self, row: usize, arm: usize) -> f32 {
        let logged = self.table.cost_usd.get(row, arm).map(|usd| (f64::from(usd) / self.unit_usd) as f32);
        logged.unwrap_or(self.relative[arm])
    }

    /// Each arm that has an outcome on a scored row, kept with probability one half, but at least two where there are.
    fn subset(&self, row: usize, rng: &mut Rng) -> Vec<bool> {
        let observed: Vec<usize> =
            (0..self.m()).filter(|k| self.table.score.get(row, *k).is_some()).collect();
        let whole = rng.random_bool(0.5);
        let mut out = vec![false; self.m()];
        observed.iter().for_each(|k| out[*k] = whole || rng.random_bool(0.5));
        while out.iter().filter(|kept| **kept).count() < observed.len().min(2) {
            out[observed[rng.random_range(0..observed.len())]] = true;
        }
        out
    }
}

impl Method for LlmBandit {
    const NAME: &'static str = "llm-bandit";
    type Params = Params;

    fn fit(params: &Params, context: &FitContext<'_>) -> Result<Fitted, FitError> {
        check(params, context)?;
        let models = &context.train.models;
        let (cold, known): (Vec<usize>, Vec<usize>) =
            (0..models.len()).partition(|arm| params.cold_arms.contains(&models[*arm]));
        let table = context.train.select_arms(&known);
        if table.score.n_present() == 0 {
            let reason =
                "only arms of `cold_arms` have scores, expected some of an arm to learn from".to_owned();
            return Err(FitError::Log { method: Self::NAME, reason });
        }
        let log = Log { table, params, context };
        let (steps, worth, imitation) = log.choose_steps()?;
        let all: Vec<usize> = (0..log.table.n_queries()).collect();
        let mut irt = log.identities(&all);
        let strengths = irt.strengths(context.features, &all);
        let cost = costs::fit(Self::NAME, context)?;
        let mean_usd: Vec<f32> = known.iter().map(|arm| cost.mean_usd()[*arm]).collect();
        let world = log.world(&all, &strengths, &mean_usd)?;
        let (policy, _) = train(params, &world, None, &irt.identities, steps, context);
        let width = params.identity;
        let mut identities = vec![0.0; models.len() * width];
        for (at, arm) in known.iter().enumerate() {
            identities[arm * width..(arm + 1) * width]
                .copy_from_slice(&irt.identities[at * width..(at + 1) * width]);
        }
        for arm in cold {
            let placed = place(arm, &mut irt, &strengths, known.len(), params, context);
            identities[arm * width..(arm + 1) * width].copy_from_slice(&placed);
        }
        let parts = SetParts {
            identities,
            ability: irt.ability.layers(),
            tokens: policy.tokens.layers(),
            attention: policy.attention.values().to_vec(),
            trunk: policy.trunk.layers(),
        };
        let form = IdentitySet::new(context.features.dim(), width, parts, params.cost, cost);
        let mut fitted = Fitted::new(Box::new(form), params);
        for (name, value) in [("validation_utility", worth), ("validation_utility_imitation", imitation)] {
            if value.is_finite() {
                fitted.metrics.insert(name.to_owned(), value);
            }
        }
        fitted.metrics.insert("ppo_steps".to_owned(), steps as f64);
        // The checkpoint before PPO and one every 20 batches.
        fitted.tuning = Some(Tuning { candidates: 1 + (params.ppo_steps / 20) as usize, slices: 1 });
        Ok(fitted)
    }
}

/// What is learned from, the arms that are not cold.
struct Log<'a> {
    table: OutcomeTable,
    params: &'a Params,
    context: &'a FitContext<'a>,
}

impl Log<'_> {
    /// Item response theory on some rows and no others.
    fn identities(&self, rows: &[usize]) -> Irt {
        let params = self.params;
        self.context.progress.start("identities", 1);
        let settings = IrtSettings {
            width: params.identity,
            hidden: params.hidden,
            steps: params.irt_steps,
            batch: (params.batch / 4).max(1),
            rate: params.rate,
            pair_weight: params.pair_weight,
            kl_weight: params.kl_weight,
        };
        let score = self.table.score.select_rows(rows);
        Irt::fit(settings, &score, &self.context.features.select_rows(rows), self.context.seed)
    }

    /// Some rows with what is derived of them, from these rows alone but for `strengths` and `mean_usd`.
    fn world(&self, rows: &[usize], strengths: &[f32], mean_usd: &[f32]) -> Result<World, FitError> {
        let (table, features) = (self.table.select_rows(rows), self.context.features.select_rows(rows));
        let (relative, unit_usd) = relative_costs(mean_usd);
        let points = strengths.iter().zip(table.score.values()).filter(|(_, s)| !s.is_nan());
        let (slope, level) = logistic_line(points.map(|(f, s)| (f64::from(*f), f64::from(*s))));
        let calibrate = |f: &f32| sigmoid((slope * f64::from(*f) + level) as f32);
        let failed = |reason: String| FitError::Numeric { method: LlmBandit::NAME, reason };
        let index = ExactIndex::new(features.values().to_vec(), features.dim());
        let index = index.map_err(|error| failed(error.to_string()))?;
        let own: Vec<u32> = (0..features.n_rows() as u32).collect();
        let found = index.search_excluding(features.values(), 1, &own);
        let found = found.map_err(|error| failed(error.to_string()))?;
        let neighbor = |(row, near): (usize, &Vec<_>)| {
            near.first().map_or(row, |n: &routewright_policy::search::Neighbor| n.row as usize)
        };
        Ok(World {
            features,
            relative,
            unit_usd,
            ability: strengths.iter().map(|f| sigmoid(*f)).collect(),
            calibrated: strengths.iter().map(calibrate).collect(),
            neighbors: found.iter().enumerate().map(neighbor).collect(),
            table,
        })
    }

    /// The number of PPO batches that is worth most on a slice of train that nothing was fitted on, what it is worth
    /// there, and what imitation alone is worth.
    fn choose_steps(&self) -> Result<(u64, f64, f64), FitError> {
        let (params, context) = (self.params, self.context);
        let slice = validation::slice(&self.table, context.seed, params.valid_share);
        let mut irt = self.identities(&slice.fit);
        let mean_usd = means::mean_costs(&self.table.select_rows(&slice.fit));
        let mut part = |rows: &[usize]| {
            let strengths = irt.strengths(context.features, rows);
            self.world(rows, &strengths, &mean_usd)
        };
        let (seen, held_out) = (part(&slice.fit)?, part(&slice.valid)?);
        if seen.scored().is_empty() || held_out.scored().is_empty() {
            // Only one side has scores: nothing can be judged, and imitation is the plainer policy.
            return Ok((0, f64::NAN, f64::NAN));
        }
        let (_, watched) = train(params, &seen, Some(&held_out), &irt.identities, params.ppo_steps, context);
        Ok(watched)
    }
}

/// The identity of a cold arm, from the queries of the quiz it has outcomes on.
fn place(
    arm: usize,
    irt: &mut Irt,
    strengths: &[f32],
    m: usize,
    params: &Params,
    context: &FitContext<'_>,
) -> Vec<f32> {
    let score = |row: usize| context.train.score.get(row, arm);
    let among: Vec<usize> = (0..context.train.n_queries()).filter(|row| score(*row).is_some()).collect();
    let rows = discriminative(strengths, m, context.features, &among, params.quiz, context.seed);
    let quiz: Vec<(usize, f32)> = rows.into_iter().filter_map(|row| Some((row, score(row)?))).collect();
    irt.place(context.features, &quiz, PLACE_STEPS)
}

/// Slope and level of `P = sigmoid(slope f + level)`, by Newton steps on the cross-entropy.
fn logistic_line(points: impl Iterator<Item = (f64, f64)>) -> (f64, f64) {
    let points: Vec<(f64, f64)> = points.collect();
    let (mut slope, mut level) = (1.0_f64, 0.0_f64);
    for _ in 0..20 {
        let (mut g, mut h) = ([0.0; 2], [1e-6, 0.0, 1e-6]);
        for (f, y) in &points {
            let p = 1.0 / (1.0 + (-(slope * f + level)).exp());
            let (error, weight) = (p - y, p * (1.0 - p));
            g = [g[0] + error * f, g[1] + error];
            h = [h[0] + weight * f * f, h[1] + weight * f, h[2] + weight];
        }
        let determinant = h[0] * h[2] - h[1] * h[1];
        if determinant <= 0.0 {
            break;
        }
        slope -= (h[2] * g[0] - h[1] * g[1]) / determinant;
        level -= (h[0] * g[1] - h[1] * g[0]) / determinant;
    }
    if slope.is_finite() && level.is_finite() { (slope, level) } else { (1.0, 0.0) }
}

/// Warm start and `n_ppo` batches of PPO on `world`. Where `held_out` is given: the number of batches after which
/// the policy is worth most there, what it is worth, and what it is worth after none.
fn train(
    params: &Params,
    world: &World,
    held_out: Option<&World>,
    identities: &[f32],
    n_ppo: u64,
    context: &FitContext<'_>,
) -> (SetPolicy, (u64, f64, f64)) {
    let rows = &world.scored();
    let sizes = SetSizes {
        dim: world.features.dim(),
        width: params.identity,
        pool: params.pool,
        hidden: params.hidden,
    };
    let (identities, relative) = (identities.to_vec(), world.relative.clone());
    let mut policy = SetPolicy::new(sizes, identities, relative, params.rate, context.seed);
    let mut rng = rng::stream(context.seed, "llm-bandit");
    context.progress.start("policy", params.warm_steps + n_ppo);
    for step in 0..params.warm_steps {
        imitate(&mut policy, world, rows, params, &mut rng);
        if step % 50 == 0 {
            context.progress.step(step, "warm start");
        }
    }
    let judge = |policy: &mut SetPolicy| held_out.map_or(0.0, |held_out| worth(policy, held_out));
    let imitation = judge(&mut policy);
    let mut best = (0, imitation);
    policy.set_rate(params.rate / 3.0);
    let mut ppo = Ppo::new(params, world, context.seed);
    for step in 1..=n_ppo {
        ppo.step(&mut policy, rows, &mut rng);
        if held_out.is_some() && step % 20 == 0 {
            let now = judge(&mut policy);
            context.progress.step(params.warm_steps + step, &format!("PPO: {now:.4}"));
            if now > best.1 {
                best = (step, now);
            }
        }
    }
    (policy, (best.0, best.1, imitation))
}

/// A step of the warm start: cross-entropy against the arm of the greatest `p - w cost`.
fn imitate(policy: &mut SetPolicy, world: &World, rows: &[usize], params: &Params, rng: &mut Rng) {
    let m = world.m();
    let (chosen, batch) = draw(world, rows, params.batch, rng);
    let passed = policy.forward(&batch);
    let mut gradient = softmax(&passed.outputs, &batch.allowed, m);
    for (i, row) in chosen.iter().enumerate() {
        let value = |k: &usize| world.calibrated[row * m + k] - batch.preference[i] * world.relative[*k];
        let allowed = (0..m).filter(|k| batch.allowed[i * m + k]);
        if let Some(best) = allowed.max_by(|a, b| value(a).total_cmp(&value(b))) {
            gradient[i * m + best] -= 1.0;
        }
    }
    gradient.iter_mut().for_each(|g| *g /= chosen.len() as f32);
    policy.learn(&passed, &gradient);
}

/// Random rows, each with a random set of arms and a random preference.
fn draw(world: &World, rows: &[usize], n: usize, rng: &mut Rng) -> (Vec<usize>, Decisions) {
    let chosen: Vec<usize> = (0..n).map(|_| rows[rng.random_range(0..rows.len())]).collect();
    let allowed = chosen.iter().flat_map(|row| world.subset(*row, rng)).collect();
    let preference = chosen.iter().map(|_| PREFERENCE_MAX * rng.random::<f32>().powi(2)).collect();
    let batch = decisions(&world.features, &world.ability, world.m(), &chosen, allowed, preference);
    (chosen, batch)
}

/// Mean utility of the likeliest arms of the scored rows, over a few preferences.
fn worth(policy: &mut SetPolicy, world: &World) -> f64 {
    let (m, rows) = (world.m(), &world.scored());
    let mut total = 0.0;
    for preference in JUDGED {
        let allowed: Vec<bool> =
            rows.iter().flat_map(|row| world.table.score.row(*row).iter().map(|s| !s.is_nan())).collect();
        let preferences = vec![preference; rows.len()];
        let batch = decisions(&world.features, &world.ability, m, rows, allowed, preferences);
        let outputs = policy.forward(&batch).outputs;
        for (i, row) in rows.iter().enumerate() {
            let z = &outputs[i * m..(i + 1) * m];
            let known = (0..m).filter(|k| batch.allowed[i * m + k]);
            let Some(arm) = known.max_by(|a, b| z[*a].total_cmp(&z[*b])) else { continue };
            let score = world.table.score.get(*row, arm).unwrap_or(0.0);
            total += f64::from(score - preference * world.relative_cost(*row, arm));
        }
    }
    total / (JUDGED.len() * rows.len().max(1)) as f64
}

/// Stage 3.
struct Ppo<'a> {
    params: &'a Params,
    world: &'a World,
    value: Stack,
}

impl<'a> Ppo<'a> {
    fn new(params: &'a Params, world: &'a World, seed: u64) -> Self {
        let optimizer = AdamW { rate: params.rate, weight_decay: 0.0, ..AdamW::default() };
        let value = Stack::new(world.features.dim(), &[params.hidden], 2, optimizer, seed ^ 0x72);
        Self { params, world, value }
    }

    /// Draws a batch, acts, and learns from it four times.
    fn step(&mut self, policy: &mut SetPolicy, rows: &[usize], rng: &mut Rng) {
        const EPOCHS: usize = 4;
        let (world, m) = (self.world, self.world.m());
        let (chosen, mut batch) = draw(world, rows, self.params.batch, rng);
        let probabilities = softmax(&policy.forward(&batch).outputs, &batch.allowed, m);
        let arms = sample(&probabilities, m, rng);
        let mut drawn_with: Vec<f32> =
            arms.iter().enumerate().map(|(i, arm)| probabilities[i * m + arm]).collect();
        let mut advantages = self.advantages(&chosen, &arms, &batch);
        if self.params.mixup > 0.0 {
            self.mix(policy, &chosen, &arms, &mut batch, &mut drawn_with, &mut advantages, rng);
        }
        standardize(&mut advantages);
        for _ in 0..EPOCHS {
            let passed = policy.forward(&batch);
            let now = softmax(&passed.outputs, &batch.allowed, m);
            let actions = Actions { arms: &arms, advantages: &advantages, drawn_with: &drawn_with };
            let gradient = surrogate(&now, m, actions, self.params.clip, self.params.entropy);
            policy.learn(&passed, &gradient);
        }
    }

    /// `(1, w) . (r - V)` of each action; the value network learns from the same rewards.
    fn advantages(&mut self, chosen: &[usize], arms: &[usize], batch: &Decisions) -> Vec<f32> {
        let n = chosen.len() as f32;
        let values = self.value.outputs(&batch.features);
        let mut gradient = vec![0.0; values.len()];
        let mut out = Vec::with_capacity(chosen.len());
        for (i, (row, arm)) in chosen.iter().zip(arms).enumerate() {
            let score = self.world.table.score.get(*row, *arm).unwrap_or(0.0);
            let rewards = [score, -self.world.relative_cost(*row, *arm)];
            let errors = [rewards[0] - values[i * 2], rewards[1] - values[i * 2 + 1]];
            out.push(errors[0] + batch.preference[i] * errors[1]);
            (gradient[i * 2], gradient[i * 2 + 1]) = (-2.0 * errors[0] / n, -2.0 * errors[1] / n);
        }
        self.value.learn(&batch.features, gradient);
        out
    }

    /// Blends each query with its nearest neighbour; action and preference stay those of the query.
    #[expect(clippy::too_many_arguments, reason = "a batch of PPO has that many parts, all changed together")]
    fn mix(
        &mut self,
        policy: &mut SetPolicy,
        chosen: &[usize],
        arms: &[usize],
        batch: &mut Decisions,
        drawn_with: &mut [f32],
        advantages: &mut [f32],
        rng: &mut Rng,
    ) {
        let (world, m) = (self.world, self.world.m());
        let Ok(beta) = Beta::new(self.params.mixup, self.params.mixup) else { return };
        let near: Vec<usize> = chosen.iter().map(|row| world.neighbors[*row]).collect();
        let (allowed, preference) = (batch.allowed.clone(), batch.preference.clone());
        let other = decisions(&world.features, &world.ability, m, &near, allowed, preference);
        let probabilities = softmax(&policy.forward(&other).outputs, &other.allowed, m);
        let values = self.value.outputs(&other.features);
        let dim = world.features.dim();
        for (i, (row, arm)) in near.iter().zip(arms).enumerate() {
            // The dominant side is the query itself.
            let share = beta.sample(rng);
            let share = share.max(1.0 - share) as f32;
            let blend = |a: &mut f32, b: f32| *a = share * *a + (1.0 - share) * b;
            let Some(score) = world.table.score.get(*row, *arm) else { continue };
            let cost = world.relative_cost(*row, *arm);
            let advantage = score - values[i * 2] + batch.preference[i] * (-cost - values[i * 2 + 1]);
            blend(&mut advantages[i], advantage);
            blend(&mut drawn_with[i], probabilities[i * m + arm]);
            for j in i * dim..(i + 1) * dim {
                blend(&mut batch.features[j], other.features[j]);
            }
            for k in i * m..(i + 1) * m {
                blend(&mut batch.ability[k], other.ability[k]);
            }
        }
    }
}

fn check(params: &Params, context: &FitContext<'_>) -> Result<(), FitError> {
    let method = LlmBandit::NAME;
    let error = |reason: String| FitError::Params { method, reason };
    let sizes = [params.identity, params.hidden, params.pool, params.batch, params.quiz];
    if sizes.contains(&0) || params.irt_steps == 0 || params.warm_steps == 0 {
        return Err(error(
            "`identity`, `hidden`, `pool`, `batch`, `quiz` and the steps must be at least 1".to_owned(),
        ));
    }
    for (name, value) in [("rate", params.rate), ("clip", params.clip)] {
        paid::within(method, name, f64::from(value), 1e-7..=1.0)?;
    }
    paid::within(method, "entropy", f64::from(params.entropy), 0.0..=10.0)?;
    paid::within(method, "mixup", params.mixup, 0.0..=10.0)?;
    paid::within(method, "valid_share", params.valid_share, 0.0..=0.9)?;
    paid::within(method, "cost", params.cost, 0.0..=1e6)?;
    let models = &context.train.models;
    if let Some(unknown) = params.cold_arms.iter().find(|arm| !models.contains(arm)) {
        let hint = near_names(unknown, models.iter().map(String::as_str));
        return Err(error(format!("`cold_arms` names `{unknown}`, which is no arm of the log; {hint}")));
    }
    let n_cold = models.iter().filter(|model| params.cold_arms.contains(model)).count();
    if n_cold == models.len() {
        return Err(error("`cold_arms` names every arm, expected at least one to learn from".to_owned()));
    }
    Ok(())
}

#[cfg(test)]
#[path = "llm_bandit_tests.rs"]
mod tests;
