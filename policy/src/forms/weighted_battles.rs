//! Strengths of arms from all comparisons, weighted by how similar their queries are (RouteLLM's similarity-weighted
//! ranking, arXiv 2406.18665).
//!
//! With `s_i` the cosine of the query with query `i` of the log and `s` the greatest of them, comparisons of query `i`
//! count `base^(s_i / s)`. Arms are merged into tiers; the strengths `theta` of the tiers are the Bradley-Terry fit
//! of the weighted comparisons, a tie being half a win of either. The score of an arm is the calibrated chance to win
//! against an arm of the mean strength, `1 / (1 + exp(mean theta - theta_m))`. Arms of one tier differ by a
//! thousandth of the difference of their own strengths over all comparisons.
//!
//! A query without features, or near to nothing, has the strengths of all comparisons alike.

use super::bradley_terry::strengths;
use super::coded_rows::{CodedRows, check_starts};
use super::ratings::Battle;
use super::{Calibration, CostModel, FormRow};
use crate::{Batch, FormState, LoadError, PredictError, Prediction, Predictor, check_batch};
use routewright_data::linalg::LinalgError;
use routewright_data::{FeatureMatrix, Tensors};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

pub(super) const ROW: FormRow = FormRow {
    name: "weighted-battles",
    version: 1,
    title: "Bradley-Terry strengths of comparisons weighted by similarity",
    load: WeightedBattles::load,
};

/// How much of the strength of an arm over all comparisons shows within its tier.
const WITHIN_TIER: f64 = 1e-3;
/// Entries for one value of the dense table, at most, before the table would be mostly zeros.
const SPARSE: usize = 4;

/// Numbers of the rule.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WeightShape {
    /// Width of the features.
    pub dim: usize,
    /// What the most similar query counts, in comparisons of one that shares nothing; at least 1, the paper has 10.
    pub base: f32,
    /// Precision of a strength around 0, in comparisons of the most similar query; above 0.
    pub penalty: f64,
}

impl WeightShape {
    fn check(&self) -> Result<(), String> {
        if !(self.base >= 1.0 && self.base.is_finite()) {
            return Err(format!("`base` is `{}`, expected a number of at least 1", self.base));
        }
        if !(self.penalty > 0.0 && self.penalty.is_finite()) {
            return Err(format!("`penalty` is `{}`, expected a number above 0", self.penalty));
        }
        Ok(())
    }
}

/// Comparisons of tiers by query: what either side of a pair of tiers won.
#[derive(Debug, Clone, PartialEq)]
struct Wins {
    n_tiers: usize,
    /// Position of the first entry of each query, and their number last.
    starts: Vec<u32>,
    /// Index of the pair of tiers of each entry, see [`pair`].
    pairs: Vec<u32>,
    /// What the lower and the higher tier of the pair won.
    won: Vec<f32>,
    /// The same as one table of `2 n_pairs` values a query, where few of them are zero.
    table: Option<Vec<f32>>,
}

/// Position of two tiers, `low < high`, among all pairs.
fn pair(low: usize, high: usize) -> usize {
    high * (high - 1) / 2 + low
}

impl Wins {
    /// Sums the battles of each query by tiers; those within one tier say nothing.
    fn of(n_tiers: usize, tiers: &[u32], starts: &[usize], battles: &[Battle]) -> Self {
        let mut wins = Self { n_tiers, starts: vec![0], pairs: Vec::new(), won: Vec::new(), table: None };
        for query in starts.windows(2) {
            let mut sums = std::collections::BTreeMap::<usize, [f32; 2]>::new();
            for Battle { a, b, share, weight } in &battles[query[0]..query[1]] {
                let (a, b) = (tiers[*a as usize] as usize, tiers[*b as usize] as usize);
                let (low, high, share) = if a < b { (a, b, *share) } else { (b, a, 1.0 - share) };
                if a != b {
                    let sum = sums.entry(pair(low, high)).or_default();
                    sum[0] += weight * share;
                    sum[1] += weight * (1.0 - share);
                }
            }
            for (pair, sum) in sums {
                wins.pairs.push(pair as u32);
                wins.won.extend(sum);
            }
            wins.starts.push(wins.pairs.len() as u32);
        }
        wins.tabulated()
    }

    fn n_pairs(&self) -> usize {
        self.n_tiers * self.n_tiers.saturating_sub(1) / 2
    }

    fn tabulated(mut self) -> Self {
        let (n, width) = (self.starts.len() - 1, 2 * self.n_pairs());
        if n * self.n_pairs() > SPARSE * self.pairs.len() {
            return self;
        }
        let mut table = vec![0.0; n * width];
        for query in 0..n {
            for at in self.starts[query] as usize..self.starts[query + 1] as usize {
                let cell = query * width + 2 * self.pairs[at] as usize;
                table[cell..cell + 2].copy_from_slice(&self.won[2 * at..2 * at + 2]);
            }
        }
        self.table = Some(table);
        self
    }

    /// Weighted sums of what every tier won against every other, `(n_tiers, n_tiers)`.
    fn weighted(&self, weights: &[f32]) -> Vec<f64> {
        let mut sums = vec![0.0_f32; 2 * self.n_pairs()];
        match &self.table {
            Some(table) if !sums.is_empty() => routewright_data::simd::widest(
                #[inline(always)]
                || {
                    let rows = table.chunks_exact(sums.len());
                    for (weight, row) in weights.iter().zip(rows) {
                        sums.iter_mut().zip(row).for_each(|(sum, won)| *sum += weight * won);
                    }
                },
            ),
            _ => {
                for (query, weight) in weights.iter().enumerate() {
                    for at in self.starts[query] as usize..self.starts[query + 1] as usize {
                        let cell = 2 * self.pairs[at] as usize;
                        sums[cell] += weight * self.won[2 * at];
                        sums[cell + 1] += weight * self.won[2 * at + 1];
                    }
                }
            }
        }
        let n = self.n_tiers;
        let mut wins = vec![0.0; n * n];
        for high in 1..n {
            for low in 0..high {
                let cell = 2 * pair(low, high);
                wins[low * n + high] = f64::from(sums[cell]);
                wins[high * n + low] = f64::from(sums[cell + 1]);
            }
        }
        wins
    }
}

/// All comparisons, and the queries they are of.
#[derive(Debug, Clone)]
pub struct WeightedBattles {
    shape: WeightShape,
    rows: Arc<CodedRows>,
    wins: Arc<Wins>,
    /// Tier of each arm.
    tiers: Vec<u32>,
    /// Strength of each arm over all comparisons, log-odds.
    global: Vec<f32>,
    calibration: Calibration,
    cost: CostModel,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    shape: WeightShape,
    tiers: Vec<u32>,
}

/// `2^x` to within 1e-5 of itself, in arithmetic that compilers vectorise.
#[inline(always)]
fn exp2(x: f32) -> f32 {
    let x = x.clamp(-126.0, 126.0);
    let whole = (x + 0.5).floor();
    let rest = (x - whole) * std::f32::consts::LN_2;
    let high = 1.0 / 6.0 + rest * (1.0 / 24.0 + rest * (1.0 / 120.0));
    let series = 1.0 + rest * (1.0 + rest * (0.5 + rest * high));
    f32::from_bits(((whole as i32 + 127) << 23) as u32) * series
}

impl WeightedBattles {
    /// `features` are those of the queries, `(n, dim)`; the comparisons of query `i` are
    /// `battles[starts[i]..starts[i + 1]]`; `tiers` and `global` have one entry an arm.
    ///
    /// # Panics
    /// If a length does not match (a bug of the caller).
    pub fn new(
        shape: WeightShape,
        features: &FeatureMatrix,
        (starts, battles): (&[usize], &[Battle]),
        (tiers, global): (Vec<u32>, Vec<f32>),
        cost: CostModel,
    ) -> Self {
        assert_eq!(starts.len(), features.n_rows() + 1, "weighted battles: one start a query");
        assert!(
            tiers.len() == global.len() && tiers.len() == cost.mean_usd().len(),
            "weighted battles: arms"
        );
        let n_tiers = tiers.iter().max().map_or(0, |tier| *tier as usize + 1);
        let wins = Arc::new(Wins::of(n_tiers, &tiers, starts, battles));
        let rows = Arc::new(CodedRows::new(features));
        Self { shape, rows, wins, tiers, global, calibration: Calibration::default(), cost }
    }

    /// The same with the line from chances to scores.
    #[must_use]
    pub fn calibrated(self, calibration: Calibration) -> Self {
        Self { calibration, ..self }
    }

    /// The same with another base of the weights.
    #[must_use]
    pub fn with_base(mut self, base: f32) -> Self {
        self.shape.base = base;
        self
    }

    fn load(state: FormState, n_arms: usize) -> Result<Box<dyn Predictor>, LoadError> {
        let FormState { config, mut tensors } = state;
        let Config { shape, tiers } = super::config(ROW.name, config)?;
        let refuse = |reason: String| LoadError::Config { form: ROW.name, reason };
        shape.check().map_err(refuse)?;
        if tiers.len() != n_arms || tiers.iter().any(|tier| *tier as usize >= n_arms) {
            return Err(refuse(format!(
                "`tiers` is `{tiers:?}`, expected a tier below {n_arms} of every arm"
            )));
        }
        let n_tiers = tiers.iter().max().map_or(0, |tier| *tier as usize + 1);
        let rows = CodedRows::restore(&mut tensors, shape.dim)?;
        let starts = tensors.take_u32("starts", &[rows.len() + 1])?;
        let n = tensors.shape("pairs")?.first().copied().unwrap_or(0);
        check_starts(ROW.name, &starts, n)?;
        let (pairs, won) = (tensors.take_u32("pairs", &[n])?, tensors.take_f32("won", &[n, 2])?);
        let wins = Wins { n_tiers, starts, pairs, won, table: None };
        if let Some(found) = wins.pairs.iter().find(|pair| **pair as usize >= wins.n_pairs()) {
            return Err(refuse(format!("pair `{found}` of {n_tiers} tiers is unknown")));
        }
        if let Some(found) = wins.won.iter().find(|won| **won < 0.0) {
            return Err(refuse(format!("a tier won `{found}`, expected at least 0")));
        }
        let global = tensors.take_f32("global", &[n_arms])?;
        let calibration = Calibration::restore(ROW.name, &mut tensors)?;
        let cost = CostModel::restore(&mut tensors, n_arms)?;
        let (rows, wins) = (Arc::new(rows), Arc::new(wins.tabulated()));
        Ok(Box::new(Self { shape, rows, wins, tiers, global, calibration, cost }))
    }

    /// What the comparisons of each query count, 1 for the most similar.
    fn weigh(&self, x: &[f32], weights: &mut Vec<f32>) {
        self.rows.cosines(x, weights);
        let greatest = weights.iter().copied().fold(0.0_f32, f32::max);
        if greatest <= 0.0 {
            weights.fill(1.0);
            return;
        }
        let (per_cosine, log) = (self.shape.base.log2() / greatest, self.shape.base.log2());
        routewright_data::simd::widest(
            #[inline(always)]
            || weights.iter_mut().for_each(|weight| *weight = exp2(*weight * per_cosine - log)),
        );
    }

    fn predict_row(&self, x: &[f32], weights: &mut Vec<f32>, score: &mut [f32]) -> Result<(), LinalgError> {
        self.weigh(x, weights);
        let n_tiers = self.wins.n_tiers;
        let mut mean = vec![(0.0_f64, 0.0_f64); n_tiers];
        for (tier, global) in self.tiers.iter().zip(&self.global) {
            let (sum, n) = mean[*tier as usize];
            mean[*tier as usize] = (sum + f64::from(*global), n + 1.0);
        }
        let start: Vec<f64> = mean.iter().map(|(sum, n)| sum / n.max(1.0)).collect();
        let theta = strengths(&self.wins.weighted(weights), self.shape.penalty, &start)?;
        let of_arm = |(tier, global): (&u32, &f32)| {
            let tier = *tier as usize;
            theta[tier] + WITHIN_TIER * (f64::from(*global) - start[tier])
        };
        let strength: Vec<f64> = self.tiers.iter().zip(&self.global).map(of_arm).collect();
        let mean = strength.iter().sum::<f64>() / strength.len().max(1) as f64;
        score.iter_mut().zip(&strength).for_each(|(s, own)| *s = (1.0 / (1.0 + (mean - own).exp())) as f32);
        self.calibration.apply(score);
        Ok(())
    }
}

impl Predictor for WeightedBattles {
    fn form(&self) -> &'static str {
        ROW.name
    }

    fn n_arms(&self) -> usize {
        self.tiers.len()
    }

    fn dim(&self) -> Option<usize> {
        Some(self.rows.dim())
    }

    fn predict(&self, batch: &Batch<'_>) -> Result<Prediction, PredictError> {
        check_batch(batch, self.rows.dim())?;
        let n_arms = self.n_arms();
        let (mut score, mut weights) = (vec![0.0; batch.n_queries() * n_arms], Vec::new());
        for (row, score) in score.chunks_exact_mut(n_arms.max(1)).enumerate() {
            self.predict_row(batch.features.row(row), &mut weights, score)
                .map_err(|error| PredictError::Search(error.to_string()))?;
        }
        Ok(Prediction {
            n_arms,
            score,
            score_se: None,
            cost_usd: self.cost.predict(batch.features),
            neighborhoods: None,
            members: None,
            n_updates: 0,
        })
    }

    fn state(&self) -> FormState {
        let mut tensors = Tensors::new();
        self.rows.store(&mut tensors);
        let wins = &self.wins;
        tensors.insert_u32("starts", &[wins.starts.len()], wins.starts.clone());
        tensors.insert_u32("pairs", &[wins.pairs.len()], wins.pairs.clone());
        tensors.insert_f32("won", &[wins.pairs.len(), 2], wins.won.clone());
        tensors.insert_f32("global", &[self.global.len()], self.global.clone());
        self.calibration.store(&mut tensors);
        self.cost.store(&mut tensors);
        let config = Config { shape: self.shape, tiers: self.tiers.clone() };
        FormState { config: serde_json::to_value(config).unwrap_or_default(), tensors }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(base: f32, n: usize) -> WeightedBattles {
        // On the first axis arm 0 beats arm 1, on the second arm 1 beats arm 0; arm 2 ties with both.
        let values = (0..n).flat_map(|i| if i % 2 == 0 { [1.0, 0.0] } else { [0.0, 1.0] }).collect();
        let battle = |a, b, share| Battle { a, b, share, weight: 1.0 };
        let battles: Vec<Battle> = (0..n)
            .flat_map(|i| {
                [battle(1, 0, f32::from(u8::from(i % 2 == 1))), battle(2, 0, 0.5), battle(1, 2, 0.5)]
            })
            .collect();
        let starts: Vec<usize> = (0..=n).map(|i| 3 * i).collect();
        let shape = WeightShape { dim: 2, base, penalty: 1e-6 };
        let features = FeatureMatrix::from_vec(n, 2, values);
        let cost = CostModel::constant(vec![0.1, f32::NAN, 0.0]);
        WeightedBattles::new(shape, &features, (&starts, &battles), (vec![0, 1, 2], vec![0.0; 3]), cost)
    }

    fn scores(form: &dyn Predictor, x: [f32; 2]) -> Vec<f32> {
        form.predict(&Batch::of(&FeatureMatrix::from_vec(1, 2, x.to_vec()))).unwrap().score
    }

    #[test]
    fn strengths_are_those_of_the_weighted_comparisons() {
        let form = form(10.0, 40);
        let found = scores(&form, [1.0, 0.0]);
        // Weights 1 and 1/10 of 20 queries each: arm 0 won 20 and lost 2 of its battles with arm 1.
        let wins = [0.0, 20.0, 11.0, 2.0, 0.0, 11.0, 11.0, 11.0, 0.0];
        let theta = strengths(&wins, 1e-6, &[0.0; 3]).unwrap();
        let mean = theta.iter().sum::<f64>() / 3.0;
        for (found, theta) in found.iter().zip(&theta) {
            let expected = 1.0 / (1.0 + (mean - theta).exp());
            assert!((f64::from(*found) - expected).abs() < 1e-3, "{found} for {expected}");
        }
        assert!(found[0] > found[2] && found[2] > found[1]);
        let alike = scores(&form.clone().with_base(1.0), [1.0, 0.0]);
        assert!(alike.iter().all(|score| (score - 0.5).abs() < 1e-5), "{alike:?}");
        assert!(scores(&form, [0.0, 0.0]).iter().all(|score| (score - 0.5).abs() < 1e-5));
    }

    #[test]
    fn the_state_survives_and_damage_is_refused() {
        let form = form(100.0, 9);
        let restored = crate::forms::restored(&form).unwrap();
        assert_eq!(scores(restored.as_ref(), [0.6, 0.8]), scores(&form, [0.6, 0.8]));
        let load = |state| crate::forms::load(ROW.name, 1, state, 3).unwrap_err().to_string();
        let mut state = form.state();
        state.tensors.insert_u32("pairs", &[27], vec![3; 27]);
        assert!(load(state).contains("pair `3` of 3 tiers"));
        let mut state = form.state();
        state.config["tiers"] = serde_json::json!([0, 1, 3]);
        assert!(load(state).contains("expected a tier below 3"));
        let mut state = form.state();
        state.config["shape"]["base"] = serde_json::json!(0.5);
        assert!(load(state).contains("`base` is `0.5`"));
    }

    #[test]
    fn few_comparisons_of_many_tiers_are_summed_as_a_table_would() {
        let battle = |a, b, share| Battle { a, b, share, weight: 2.0 };
        let battles = [battle(0, 5, 1.0), battle(5, 0, 0.5), battle(3, 9, 0.0)];
        let tiers: Vec<u32> = (0..10).collect();
        let wins = Wins::of(10, &tiers, &[0, 2, 3], &battles);
        assert!(wins.table.is_none());
        let sums = wins.weighted(&[1.0, 0.25]);
        assert_eq!((sums[5], sums[50], sums[39], sums[93]), (3.0, 1.0, 0.0, 0.5));
        let mut tabled = wins.clone();
        tabled.pairs.extend([0; 40]);
        tabled.won.extend([0.0; 80]);
        assert!(tabled.clone().tabulated().table.is_some());
        assert_eq!(tabled.tabulated().weighted(&[1.0, 0.25]), sums);
    }

    #[test]
    fn powers_of_two_are_near() {
        for i in -800..800 {
            let x = i as f32 / 100.0;
            assert!((exp2(x) / x.exp2() - 1.0).abs() < 2e-5, "{x}: {}", exp2(x));
        }
    }
}
