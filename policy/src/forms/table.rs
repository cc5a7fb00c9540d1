//! A value per arm, in one cell, one cell a source or one cell a cluster: the bandits without features.
//!
//! Which number a reward makes of a value is the [`Rule`]: the mean under a prior (UCB1, Gaussian and Beta
//! Thompson sampling, Mab2Rec-like clusters), a constant step (stateless Q-learning), or linear
//! reward-inaction on the simplex (a learning automaton).

use super::{CostModel, FormRow};
use crate::online::{Experience, LearnError, Learner, NewArm, check};
use crate::{Batch, FormState, LoadError, PredictError, Prediction, Predictor, check_batch};
use routewright_data::Tensors;
use serde::{Deserialize, Serialize};

pub(super) const ROW: FormRow = FormRow {
    name: "table",
    version: 1,
    title: "a learned value per arm, overall, by source or by cluster",
    load: ValueTable::load,
};

/// What a reward makes of the value of the arm that earned it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Rule {
    /// Mean of the rewards and of `prior_weight` rewards of `prior_mean`; the standard error is
    /// `noise / sqrt(prior_weight + n)`.
    Mean {
        /// Value before any reward.
        prior_mean: f64,
        /// Rewards that value counts as, above 0.
        prior_weight: f64,
        /// Standard deviation of a reward; 0.5 is the most a reward in `[0, 1]` can have.
        noise: f64,
    },
    /// The same mean with the bound of UCB1 (Auer et al. 2002) for a standard error:
    /// `sqrt(2 ln t / n)` after `t` rewards in the cell.
    Ucb1,
    /// Mean and standard deviation of a Beta belief that starts as `Beta(a, b)`; rewards in `[0, 1]` count
    /// as fractions of a success.
    Beta {
        /// Successes believed before any reward, above 0.
        a: f64,
        /// Failures believed before any reward, above 0.
        b: f64,
    },
    /// `value += alpha (reward - value)`.
    Step {
        /// Size of the step, `(0, 1]`.
        alpha: f64,
        /// Value before any reward.
        start: f64,
    },
    /// Linear reward-inaction: `p_m += rate r (1 - p_m)`, `p_j -= rate r p_j` for the others, for rewards
    /// clamped to `[0, 1]`; the values are probabilities and start equal.
    RewardInaction {
        /// Learning rate, `(0, 1)`.
        rate: f64,
    },
}

impl Rule {
    /// Refuses numbers that make a value or its standard error none.
    fn check(self) -> Result<(), String> {
        let numbers: &[(&str, f64, bool)] = match self {
            Self::Mean { prior_mean, prior_weight, noise } => &[
                ("prior_mean", prior_mean, prior_mean.is_finite()),
                ("prior_weight", prior_weight, prior_weight.is_finite() && prior_weight > 0.0),
                ("noise", noise, noise.is_finite() && noise >= 0.0),
            ],
            Self::Ucb1 => &[],
            Self::Beta { a, b } => &[("a", a, a.is_finite() && a > 0.0), ("b", b, b.is_finite() && b > 0.0)],
            Self::Step { alpha, start } => {
                &[("alpha", alpha, alpha > 0.0 && alpha <= 1.0), ("start", start, start.is_finite())]
            }
            Self::RewardInaction { rate } => &[("rate", rate, rate > 0.0 && rate < 1.0)],
        };
        match numbers.iter().find(|(_, _, is_valid)| !is_valid) {
            Some((name, value, _)) => Err(format!(
                "`{name}` of its rule is `{value}`, expected weights above 0, steps in (0, 1], the rest finite"
            )),
            None => Ok(()),
        }
    }
}

/// Which cell a query falls into.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// One cell for all.
    One,
    /// One cell a source named, and a last one that learns from all queries and serves every other source.
    Sources(Vec<String>),
    /// The nearest of the centroids, `(n_cells, dim)`.
    Centroids {
        /// Width of a centroid.
        dim: usize,
        /// Row-major.
        values: Vec<f32>,
    },
}

impl Cell {
    fn n_cells(&self) -> usize {
        match self {
            Self::One => 1,
            Self::Sources(names) => names.len() + 1,
            Self::Centroids { dim, values } => values.len() / dim,
        }
    }

    fn of(&self, features: &[f32], source: Option<&str>) -> usize {
        match self {
            Self::One => 0,
            Self::Sources(names) => {
                names.iter().position(|name| Some(name.as_str()) == source).unwrap_or(names.len())
            }
            Self::Centroids { dim, values } => {
                let distance = |centroid: &[f32]| -> f32 {
                    centroid.iter().zip(features).map(|(a, b)| (a - b) * (a - b)).sum()
                };
                let distances: Vec<f32> = values.chunks_exact(*dim).map(distance).collect();
                let nearest = (0..distances.len()).min_by(|a, b| distances[*a].total_cmp(&distances[*b]));
                nearest.unwrap_or(0)
            }
        }
    }
}

/// A value and its count for every cell and arm.
#[derive(Debug, Clone, PartialEq)]
pub struct ValueTable {
    rule: Rule,
    cell: Cell,
    /// `(n_cells, n_arms)`: the value of `step` and `reward_inaction`, the sum of weighted rewards of others.
    values: Vec<f64>,
    /// `(n_cells, n_arms)`: sum of weights.
    counts: Vec<f64>,
    cost: CostModel,
    n_updates: u64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    rule: Rule,
    sources: Option<Vec<String>>,
    n_updates: u64,
}

fn misshapen(centroids: &[usize]) -> String {
    format!("`centroids` has shape {centroids:?}, expected (n_cells, dim), both at least 1")
}

/// Rounds to a multiple of 2^-30, so that sums do not depend on the order of their terms.
fn rounded(value: f64) -> f64 {
    (value * (1_u64 << 30) as f64).round() / (1_u64 << 30) as f64
}

impl ValueTable {
    /// Values before any reward.
    pub fn new(rule: Rule, cell: Cell, cost: CostModel) -> Self {
        let n_arms = cost.mean_usd().len();
        let n = cell.n_cells() * n_arms;
        let start = match rule {
            Rule::Step { start, .. } => start,
            Rule::RewardInaction { .. } => 1.0 / n_arms.max(1) as f64,
            Rule::Mean { .. } | Rule::Ucb1 | Rule::Beta { .. } => 0.0,
        };
        Self { rule, cell, values: vec![start; n], counts: vec![0.0; n], cost, n_updates: 0 }
    }

    fn load(mut state: FormState, n_arms: usize) -> Result<Box<dyn Predictor>, LoadError> {
        let config: Config = super::config(ROW.name, state.config)?;
        let refuse = |reason: String| LoadError::Config { form: ROW.name, reason };
        config.rule.check().map_err(refuse)?;
        let tensors = &mut state.tensors;
        let cell = match (config.sources, tensors.shape("centroids")) {
            (Some(sources), _) => Cell::Sources(sources),
            (None, Ok(shape)) => {
                let &[n, dim] = shape.as_slice() else { return Err(refuse(misshapen(&shape))) };
                if n == 0 || dim == 0 {
                    return Err(refuse(misshapen(&shape)));
                }
                Cell::Centroids { dim, values: tensors.take_f32("centroids", &[n, dim])? }
            }
            (None, Err(_)) => Cell::One,
        };
        let cells = [cell.n_cells(), n_arms];
        let values = take_f64(tensors, "values", &cells)?;
        let counts = take_f64(tensors, "counts", &cells)?;
        let cost = CostModel::restore(tensors, n_arms)?;
        Ok(Box::new(Self { rule: config.rule, cell, values, counts, cost, n_updates: config.n_updates }))
    }

    fn row(&self, cell: usize) -> std::ops::Range<usize> {
        let n_arms = self.n_arms();
        cell * n_arms..(cell + 1) * n_arms
    }

    /// Value and standard error of the arms of a cell.
    fn read(&self, cell: usize, score: &mut [f32], score_se: &mut [f32]) {
        let row = self.row(cell);
        let (values, counts) = (&self.values[row.clone()], &self.counts[row]);
        let total: f64 = counts.iter().sum();
        for (arm, (value, n)) in values.iter().zip(counts).enumerate() {
            let (mean, se) = match self.rule {
                Rule::Mean { prior_mean, prior_weight, noise } => {
                    let weight = prior_weight + n;
                    ((prior_mean * prior_weight + value) / weight, noise / weight.sqrt())
                }
                // An arm never tried comes first: a bound beyond any reward.
                Rule::Ucb1 if *n == 0.0 => (1.0, 1e6),
                Rule::Ucb1 => (value / n, (2.0 * total.max(1.0).ln() / n).sqrt()),
                Rule::Beta { a, b } => {
                    let (a, b) = (a + value, b + (n - value).max(0.0));
                    let sum = a + b;
                    (a / sum, (a * b / (sum + 1.0)).sqrt() / sum)
                }
                Rule::Step { .. } | Rule::RewardInaction { .. } => (*value, 0.0),
            };
            (score[arm], score_se[arm]) = (mean as f32, se as f32);
        }
    }

    fn reward(&mut self, cell: usize, arm: usize, reward: f64, weight: f64) {
        let row = self.row(cell);
        let (values, counts) = (&mut self.values[row.clone()], &mut self.counts[row]);
        counts[arm] += rounded(weight);
        match self.rule {
            Rule::Mean { .. } | Rule::Ucb1 => values[arm] += rounded(weight * reward),
            Rule::Beta { .. } => values[arm] += rounded(weight * reward.clamp(0.0, 1.0)),
            Rule::Step { alpha, .. } => {
                values[arm] += (alpha * weight).min(1.0) * (reward - values[arm]);
            }
            Rule::RewardInaction { rate } => {
                let step = (rate * weight * reward.clamp(0.0, 1.0)).min(1.0);
                values.iter_mut().for_each(|p| *p -= step * *p);
                values[arm] += step;
            }
        }
    }

    fn tell(&mut self, experience: &Experience<'_>) {
        let Experience { features, source, arm, reward, weight, .. } = *experience;
        let cell = self.cell.of(features, source);
        self.reward(cell, arm, reward, weight);
        if let Cell::Sources(names) = &self.cell
            && cell < names.len()
        {
            self.reward(names.len(), arm, reward, weight);
        }
    }

    /// Value and count of an arm that nobody has called.
    fn newcomer(&self, quality: Option<(f64, f64)>) -> Result<(f64, f64), LearnError> {
        let n_arms = self.n_arms() as f64;
        match (self.rule, quality) {
            (Rule::Mean { .. } | Rule::Ucb1 | Rule::Beta { .. }, None) => Ok((0.0, 0.0)),
            (Rule::Mean { .. } | Rule::Ucb1, Some((quality, weight))) => {
                Ok((rounded(quality * weight), rounded(weight)))
            }
            (Rule::Beta { .. }, Some((quality, weight))) => {
                Ok((rounded(quality.clamp(0.0, 1.0) * weight), rounded(weight)))
            }
            (Rule::Step { start, .. }, quality) => Ok((quality.map_or(start, |(value, _)| value), 0.0)),
            (Rule::RewardInaction { .. }, None) => Ok((1.0 / (n_arms + 1.0), 0.0)),
            (Rule::RewardInaction { .. }, Some(_)) => {
                Err(LearnError::Quality { reason: "the values of a learning automaton are probabilities" })
            }
        }
    }

    /// Whether the values do not depend on the order of the rewards.
    fn commutes(&self) -> bool {
        matches!(self.rule, Rule::Mean { .. } | Rule::Ucb1 | Rule::Beta { .. })
    }
}

/// The same cells with one more arm, at `last`.
fn widened(values: &[f64], n_arms: usize, last: f64) -> Vec<f64> {
    values.chunks_exact(n_arms.max(1)).flat_map(|row| row.iter().copied().chain([last])).collect()
}

/// Stores f64 values bit for bit, as pairs of words.
pub(super) fn insert_f64(tensors: &mut Tensors, name: &str, shape: &[usize; 2], values: &[f64]) {
    let words = values.iter().flat_map(|value| {
        let bits = value.to_bits();
        [bits as u32, (bits >> 32) as u32]
    });
    tensors.insert_u32(name, &[shape[0], 2 * shape[1]], words.collect());
}

pub(super) fn take_f64(tensors: &mut Tensors, name: &str, shape: &[usize; 2]) -> Result<Vec<f64>, LoadError> {
    let words = tensors.take_u32(name, &[shape[0], 2 * shape[1]])?;
    let float = |pair: &[u32]| f64::from_bits(u64::from(pair[0]) | (u64::from(pair[1]) << 32));
    let values: Vec<f64> = words.chunks_exact(2).map(float).collect();
    match values.iter().position(|value| !value.is_finite()) {
        Some(position) => {
            let name = name.to_owned();
            Err(routewright_data::TensorError::NotFinite { name, position }.into())
        }
        None => Ok(values),
    }
}

impl Predictor for ValueTable {
    fn form(&self) -> &'static str {
        ROW.name
    }

    fn n_arms(&self) -> usize {
        self.cost.mean_usd().len()
    }

    fn dim(&self) -> Option<usize> {
        match &self.cell {
            Cell::Centroids { dim, .. } => Some(*dim),
            Cell::One | Cell::Sources(_) => None,
        }
    }

    fn predict(&self, batch: &Batch<'_>) -> Result<Prediction, PredictError> {
        if let Some(dim) = self.dim() {
            check_batch(batch, dim)?;
        }
        let (n, n_arms) = (batch.n_queries(), self.n_arms());
        let (mut score, mut score_se) = (vec![0.0; n * n_arms], vec![0.0; n * n_arms]);
        for row in 0..n {
            let cell = self.cell.of(batch.features.row(row), batch.source(row));
            let range = row * n_arms..(row + 1) * n_arms;
            self.read(cell, &mut score[range.clone()], &mut score_se[range]);
        }
        let cost_usd = match self.dim() {
            Some(_) => self.cost.predict(batch.features),
            None => self.cost.mean_usd().repeat(n),
        };
        let (score_se, n_updates) = (Some(score_se), self.n_updates);
        Ok(Prediction { n_arms, score, score_se, cost_usd, neighborhoods: None, members: None, n_updates })
    }

    fn state(&self) -> FormState {
        let mut tensors = Tensors::new();
        let shape = [self.cell.n_cells(), self.n_arms()];
        insert_f64(&mut tensors, "values", &shape, &self.values);
        insert_f64(&mut tensors, "counts", &shape, &self.counts);
        let sources = match &self.cell {
            Cell::Sources(names) => Some(names.clone()),
            Cell::Centroids { dim, values } => {
                tensors.insert_f32("centroids", &[shape[0], *dim], values.clone());
                None
            }
            Cell::One => None,
        };
        self.cost.store(&mut tensors);
        let config = Config { rule: self.rule, sources, n_updates: self.n_updates };
        FormState { config: serde_json::to_value(config).unwrap_or_default(), tensors }
    }

    fn learner(&self) -> Option<Box<dyn Learner>> {
        Some(Box::new(self.clone()))
    }
}

impl Learner for ValueTable {
    fn learn(&mut self, experience: &Experience<'_>) -> Result<(), LearnError> {
        check(experience, self.n_arms(), self.dim().unwrap_or(0))?;
        self.tell(experience);
        self.n_updates += 1;
        Ok(())
    }

    fn can_unlearn(&self) -> bool {
        self.commutes()
    }

    fn unlearn(&mut self, experience: &Experience<'_>) -> Result<(), LearnError> {
        check(experience, self.n_arms(), self.dim().unwrap_or(0))?;
        if !self.commutes() {
            return Err(LearnError::Order { form: ROW.name });
        }
        self.tell(&Experience { weight: -experience.weight, ..*experience });
        self.n_updates = self.n_updates.saturating_sub(1);
        Ok(())
    }

    fn predict_into(
        &mut self,
        features: &[f32],
        source: Option<&str>,
        score: &mut [f32],
        score_se: &mut [f32],
    ) {
        self.read(self.cell.of(features, source), score, score_se);
    }

    fn n_updates(&self) -> u64 {
        self.n_updates
    }

    fn add_arm(&mut self, arm: &NewArm) -> Result<(), LearnError> {
        let n_arms = self.n_arms();
        let (value, count) = self.newcomer(arm.quality)?;
        if let Rule::RewardInaction { .. } = self.rule {
            // What the new arm gets is taken from the others in proportion.
            self.values.iter_mut().for_each(|p| *p *= 1.0 - value);
        }
        self.values = widened(&self.values, n_arms, value);
        self.counts = widened(&self.counts, n_arms, count);
        self.cost.add_arm(arm.cost_usd);
        Ok(())
    }

    fn reprice(&mut self, arm: usize, usd: f64) -> Result<(), LearnError> {
        let n_arms = self.n_arms();
        if arm >= n_arms {
            return Err(LearnError::Arm { arm, n_arms });
        }
        self.cost.reprice(arm, usd);
        Ok(())
    }

    fn snapshot(&self) -> Box<dyn Predictor> {
        Box::new(self.clone())
    }

    fn merge(&mut self, other: FormState, base: FormState) -> Result<(), LearnError> {
        if !self.commutes() {
            return Err(LearnError::Order { form: ROW.name });
        }
        let shape = [self.cell.n_cells(), self.n_arms()];
        let updates = |state: &FormState| state.config["n_updates"].as_u64().unwrap_or(0);
        self.n_updates += updates(&other).saturating_sub(updates(&base));
        let [mut other, mut base] = [other, base].map(|state| state.tensors);
        for (name, own) in [("values", &mut self.values), ("counts", &mut self.counts)] {
            let (other, base) = (take_f64(&mut other, name, &shape)?, take_f64(&mut base, name, &shape)?);
            own.iter_mut().zip(other.iter().zip(&base)).for_each(|(own, (other, base))| *own += other - base);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rule: Rule, cell: Cell) -> ValueTable {
        ValueTable::new(rule, cell, CostModel::constant(vec![f32::NAN; 2]))
    }

    fn tell(table: &mut ValueTable, source: Option<&str>, arm: usize, reward: f64) {
        let experience = Experience { features: &[], source, arm, rival: None, reward, weight: 1.0, time: 0 };
        table.learn(&experience).unwrap();
    }

    fn read(table: &mut ValueTable, source: Option<&str>) -> ([f32; 2], [f32; 2]) {
        let (mut score, mut se) = ([0.0; 2], [0.0; 2]);
        table.predict_into(&[], source, &mut score, &mut se);
        (score, se)
    }

    #[test]
    fn every_rule_follows_its_formula() {
        let mut mean = table(Rule::Mean { prior_mean: 0.5, prior_weight: 2.0, noise: 0.5 }, Cell::One);
        for reward in [1.0, 1.0] {
            tell(&mut mean, None, 0, reward);
        }
        // (0.5 * 2 + 2) / 4, 0.5 / sqrt(4); untouched: 0.5, 0.5 / sqrt(2)
        let (score, se) = read(&mut mean, None);
        assert_eq!(score, [0.75, 0.5]);
        assert!((se[0] - 0.25).abs() < 1e-6 && (se[1] - 0.353_553_4).abs() < 1e-6);
        let mut beta = table(Rule::Beta { a: 1.0, b: 1.0 }, Cell::One);
        for reward in [1.0, 0.0, 1.0] {
            tell(&mut beta, None, 1, reward);
        }
        // Beta(3, 2): mean 0.6, variance 3 * 2 / (25 * 6) = 0.04
        let (score, se) = read(&mut beta, None);
        assert!((score[1] - 0.6).abs() < 1e-6 && (se[1] - 0.2).abs() < 1e-6);
        let mut step = table(Rule::Step { alpha: 0.5, start: 0.0 }, Cell::One);
        for reward in [1.0, 0.0] {
            tell(&mut step, None, 0, reward);
        }
        assert_eq!(read(&mut step, None).0, [0.25, 0.0]);
        let mut automaton = table(Rule::RewardInaction { rate: 0.1 }, Cell::One);
        tell(&mut automaton, None, 0, 0.5);
        // step 0.05: 0.5 + 0.05 * 0.5
        let (score, _) = read(&mut automaton, None);
        assert!((score[0] - 0.525).abs() < 1e-6 && (score[0] + score[1] - 1.0).abs() < 1e-6);
        tell(&mut automaton, None, 1, 0.0);
        assert_eq!(read(&mut automaton, None).0, score, "reward-inaction learns nothing from a failure");
        let mut ucb1 = table(Rule::Ucb1, Cell::One);
        assert!(read(&mut ucb1, None).1[0] > 1e3, "an arm never tried comes first");
        for reward in [1.0, 0.0, 1.0] {
            tell(&mut ucb1, None, 0, reward);
        }
        tell(&mut ucb1, None, 1, 1.0);
        let (score, se) = read(&mut ucb1, None);
        assert!(
            (score[0] - 2.0 / 3.0).abs() < 1e-6 && (se[0] - (2.0 * 4.0_f32.ln() / 3.0).sqrt()).abs() < 1e-6
        );
    }

    #[test]
    fn cells_are_learned_apart_and_survive_the_disk() {
        let rule = Rule::Step { alpha: 1.0, start: 0.0 };
        let mut by_source = table(rule, Cell::Sources(vec!["math".to_owned()]));
        tell(&mut by_source, Some("math"), 0, 1.0);
        tell(&mut by_source, Some("law"), 1, 0.5);
        assert_eq!(read(&mut by_source, Some("math")).0, [1.0, 0.0]);
        assert_eq!(read(&mut by_source, None).0, [1.0, 0.5], "what is known of all stands for the unknown");
        let mut clusters = table(rule, Cell::Centroids { dim: 2, values: vec![1.0, 0.0, 0.0, 1.0] });
        let near = Experience {
            features: &[0.1, 0.9],
            source: None,
            arm: 1,
            rival: None,
            reward: 1.0,
            weight: 1.0,
            time: 0,
        };
        clusters.learn(&near).unwrap();
        for form in [by_source, clusters] {
            let restored = ValueTable::load(form.state(), 2).unwrap();
            assert_eq!(restored.state(), form.state());
        }
    }

    #[test]
    fn an_added_arm_starts_from_the_prior_or_from_a_declared_quality() {
        let known = NewArm { quality: Some((0.8, 4.0)), cost_usd: Some(0.5) };
        let added = |rule, arm: &NewArm| {
            let mut table = table(rule, Cell::Sources(vec!["math".to_owned()]));
            tell(&mut table, Some("math"), 0, 1.0);
            let before = read(&mut table, Some("math")).0;
            table.add_arm(arm).unwrap();
            let restored = ValueTable::load(table.state(), 3).unwrap();
            assert_eq!(restored.state(), table.state());
            let (mut score, mut se) = ([0.0; 3], [0.0; 3]);
            table.predict_into(&[], Some("math"), &mut score, &mut se);
            (before, score)
        };
        let mean = Rule::Mean { prior_mean: 0.5, prior_weight: 1.0, noise: 0.5 };
        // (0.5 + 4 * 0.8) / 5
        assert_eq!(added(mean, &known).1, [0.75, 0.5, 0.74]);
        assert_eq!(added(mean, &NewArm::default()).1, [0.75, 0.5, 0.5]);
        // (1 + 3.2) / (2 + 4)
        assert!((added(Rule::Beta { a: 1.0, b: 1.0 }, &known).1[2] - 0.7).abs() < 1e-6);
        assert_eq!(added(Rule::Ucb1, &known).1[2], 0.8);
        assert_eq!(added(Rule::Step { alpha: 0.5, start: 0.1 }, &known).1[2], 0.8);
        let (before, after) = added(Rule::RewardInaction { rate: 0.1 }, &NewArm::default());
        assert!((after.iter().sum::<f32>() - 1.0).abs() < 1e-6 && (after[2] - 1.0 / 3.0).abs() < 1e-6);
        assert!((after[0] / after[1] - before[0] / before[1]).abs() < 1e-5);
        let error = table(Rule::RewardInaction { rate: 0.1 }, Cell::One).add_arm(&known).unwrap_err();
        assert!(error.to_string().contains("probabilities"), "{error}");
    }

    #[test]
    fn means_merge_by_addition_and_order_dependent_rules_refuse() {
        let rule = Rule::Beta { a: 1.0, b: 1.0 };
        let base = table(rule, Cell::One);
        let (mut one, mut other, mut all) = (base.clone(), base.clone(), base.clone());
        for (at, reward) in [0.3, 0.7, 0.1, 0.9].into_iter().enumerate() {
            tell(if at % 2 == 0 { &mut one } else { &mut other }, None, at / 2, reward);
            tell(&mut all, None, at / 2, reward);
        }
        one.merge(other.state(), base.state()).unwrap();
        assert_eq!(one.state(), all.state());
        let mut step = table(Rule::Step { alpha: 0.1, start: 0.0 }, Cell::One);
        assert!(one.can_unlearn() && !step.can_unlearn());
        let experience = |arm, reward| Experience {
            features: &[],
            source: None,
            arm,
            rival: None,
            reward,
            weight: 1.0,
            time: 0,
        };
        for (at, reward) in [0.3, 0.7, 0.1, 0.9].into_iter().enumerate() {
            one.unlearn(&experience(at / 2, reward)).unwrap();
        }
        assert_eq!(one.state(), base.state(), "what is unlearned was never learned");
        assert!(step.unlearn(&experience(0, 0.5)).unwrap_err().to_string().contains("order"));
        let error = step.merge(step.state(), step.state()).unwrap_err().to_string();
        assert!(error.contains("order"), "{error}");
    }
}
