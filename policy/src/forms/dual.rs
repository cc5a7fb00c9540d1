//! Two forms side by side: one predicts scores, the other prices. Both read the same features.
//!
//! `score = a(x)`, `cost_usd = clamp(link(b(x)))` with `link` the identity (`b` predicts US dollars) or the exponential
//! (`b` predicts their logarithm), held within the prices seen in training. An arm without a known price has none
//! predicted, whatever `b` says of it. Neither part may depend on what the caller gives for a dollar.

use super::FormRow;
use super::mixture::{Part, restore_part, store_part};
use crate::{Batch, FormState, LoadError, PredictError, Prediction, Predictor, check_batch};
use routewright_data::Tensors;
use serde::{Deserialize, Serialize};

pub(super) const ROW: FormRow = FormRow {
    name: "dual",
    version: 1,
    title: "one form for scores beside one for prices",
    load: Dual::load,
};

/// Stored in place of a price that is not known.
const UNKNOWN: f32 = -1.0;

/// From the output of the form of prices to US dollars.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PriceLink {
    /// The output is in US dollars.
    Dollars,
    /// The output is their natural logarithm.
    Logarithm,
}

/// The two forms.
#[derive(Debug)]
pub struct Dual {
    dim: usize,
    link: PriceLink,
    score: Box<dyn Predictor>,
    cost: Box<dyn Predictor>,
    /// Least and greatest price of each arm, `(n_arms, 2)`, US dollars; `NaN` where unknown.
    range_usd: Vec<f32>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    dim: usize,
    link: PriceLink,
    score: Part,
    cost: Part,
}

impl Dual {
    /// `score` and `cost` over the same arms and features of width `dim`; `range_usd` is `(n_arms, 2)`.
    ///
    /// # Panics
    /// If lengths or widths do not match (a bug of the caller).
    pub fn new(
        dim: usize,
        score: Box<dyn Predictor>,
        cost: Box<dyn Predictor>,
        link: PriceLink,
        range_usd: Vec<f32>,
    ) -> Self {
        let n_arms = score.n_arms();
        assert!(cost.n_arms() == n_arms && range_usd.len() == 2 * n_arms, "dual: n_arms");
        let reads = |part: &dyn Predictor| part.dim().is_none_or(|own| own == dim);
        assert!(reads(score.as_ref()) && reads(cost.as_ref()), "dual: widths of parts");
        Self { dim, link, score, cost, range_usd }
    }

    fn load(mut state: FormState, n_arms: usize) -> Result<Box<dyn Predictor>, LoadError> {
        let Config { dim, link, score, cost } = super::config(ROW.name, state.config)?;
        let refuse = |reason: String| LoadError::Config { form: ROW.name, reason };
        let mut range_usd = state.tensors.take_f32("range_usd", &[n_arms, 2])?;
        range_usd.iter_mut().filter(|usd| **usd < 0.0).for_each(|usd| *usd = f32::NAN);
        if let Some(range) = range_usd.chunks_exact(2).find(|range| range[0] > range[1]) {
            return Err(refuse(format!(
                "a price lies in [{}, {}], expected the lesser first",
                range[0], range[1]
            )));
        }
        let mut part = |part: Part, name: &str| {
            let part = restore_part(part, name, &mut state.tensors, n_arms)?;
            match part.dim().filter(|own| *own != dim) {
                Some(own) => {
                    Err(refuse(format!("part `{name}` reads features of width {own}, expected {dim}")))
                }
                None if part.is_conditioned() => Err(refuse(format!(
                    "part `{name}` depends on the price of money, expected one that does not"
                ))),
                None => Ok(part),
            }
        };
        let (score, cost) = (part(score, "score")?, part(cost, "cost")?);
        Ok(Box::new(Self::new(dim, score, cost, link, range_usd)))
    }

    fn prices(&self, mut output: Vec<f32>) -> Vec<f32> {
        for row in output.chunks_exact_mut(self.score.n_arms()) {
            for (usd, range) in row.iter_mut().zip(self.range_usd.chunks_exact(2)) {
                let raw = match self.link {
                    PriceLink::Dollars => *usd,
                    PriceLink::Logarithm => usd.exp(),
                };
                *usd = if range[0] <= range[1] { raw.clamp(range[0], range[1]) } else { f32::NAN };
            }
        }
        output
    }
}

impl Predictor for Dual {
    fn form(&self) -> &'static str {
        ROW.name
    }

    fn n_arms(&self) -> usize {
        self.score.n_arms()
    }

    fn dim(&self) -> Option<usize> {
        Some(self.dim)
    }

    fn predict(&self, batch: &Batch<'_>) -> Result<Prediction, PredictError> {
        check_batch(batch, self.dim)?;
        let score = self.score.predict(batch)?;
        let cost_usd = self.prices(self.cost.predict(batch)?.score);
        Ok(Prediction { cost_usd, members: None, n_updates: 0, ..score })
    }

    fn state(&self) -> FormState {
        let mut tensors = Tensors::new();
        let score = store_part(self.score.as_ref(), "score", &mut tensors);
        let cost = store_part(self.cost.as_ref(), "cost", &mut tensors);
        let range = self.range_usd.iter().map(|usd| if usd.is_nan() { UNKNOWN } else { *usd }).collect();
        tensors.insert_f32("range_usd", &[self.n_arms(), 2], range);
        let config = Config { dim: self.dim, link: self.link, score, cost };
        FormState { config: serde_json::to_value(config).unwrap_or_default(), tensors }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{CostModel, Linear, Link};
    use super::*;
    use routewright_data::FeatureMatrix;

    fn dual(link: PriceLink, range_usd: Vec<f32>) -> Dual {
        let unknown = || CostModel::constant(vec![f32::NAN; 2]);
        let score = Linear::new(1, Link::Identity, vec![1.0, 0.1, -1.0, 0.5], unknown());
        let cost = Linear::new(1, Link::Identity, vec![2.0, -3.0, 0.0, 0.25], unknown());
        Dual::new(1, Box::new(score), Box::new(cost), link, range_usd)
    }

    #[test]
    fn scores_come_from_one_part_and_prices_from_the_other_within_their_range() {
        let features = FeatureMatrix::from_vec(2, 1, vec![0.5, 4.0]);
        let form = dual(PriceLink::Logarithm, vec![0.0, 10.0, f32::NAN, f32::NAN]);
        let found = form.predict(&Batch::of(&features)).unwrap();
        assert!((found.score[0] - 0.6).abs() < 1e-6 && found.score[1].abs() < 1e-6, "{found:?}");
        // exp(2 * 0.5 - 3) = 0.135335; exp(5) is over the range.
        assert!((found.cost_usd[0] - 0.135_335).abs() < 1e-5 && found.cost_usd[2] == 10.0, "{found:?}");
        assert!(found.cost_usd[1].is_nan() && found.cost_usd[3].is_nan());
        let form = dual(PriceLink::Dollars, vec![0.0, 10.0, 0.25, 0.25]);
        // 2 * 0.5 - 3 is below any price.
        assert_eq!(form.predict(&Batch::of(&features)).unwrap().cost_usd, [0.0, 0.25, 5.0, 0.25]);
    }

    #[test]
    fn what_was_stored_predicts_the_same_and_what_is_wrong_is_refused() {
        let form = dual(PriceLink::Logarithm, vec![0.0, 10.0, f32::NAN, f32::NAN]);
        let features = FeatureMatrix::from_vec(1, 1, vec![0.7]);
        let restored = crate::forms::restored(&form).unwrap();
        let (a, b) = (form.predict(&Batch::of(&features)), restored.predict(&Batch::of(&features)));
        assert_eq!(format!("{:?}", a.unwrap()), format!("{:?}", b.unwrap()));
        let load = |state: FormState| crate::forms::load("dual", 1, state, 2).unwrap_err().to_string();
        let mut state = form.state();
        state.config["dim"] = serde_json::json!(3);
        assert!(load(state).contains("part `score` reads features of width 1, expected 3"));
        let mut state = form.state();
        state.tensors.insert_f32("range_usd", &[2, 2], vec![2.0, 1.0, 0.0, 0.0]);
        assert!(load(state).contains("[2, 1]"));
        let mut state = form.state();
        state.config["cost"]["form"] = serde_json::json!("no-such-form");
        assert!(load(state).contains("no-such-form"));
    }
}
