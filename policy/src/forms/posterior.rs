//! A Bayesian ridge regression per arm: the learner behind LinUCB, LinTS, MetaLLM and PILOT.
//!
//! `score_m(x) = theta_m . x`, `score_se_m(x) = noise * sqrt(x' A_m^-1 x)`, see [`crate::online`]. With an
//! intercept the features are `[x, 1]`. The statistics of the arms lie behind shared pointers: a snapshot
//! copies pointers, and learning copies the one arm it changes.
//!
//! With a `shared` precision the arms have coefficients in common (hybrid LinUCB), see [`Shared`]; the
//! statistics are the same.

use super::{CostModel, FormRow};
use crate::online::{
    Experience, Forgetting, History, LearnError, Learner, NewArm, Posterior, Prior, Scratch, Shared, check,
};
use crate::{Batch, FormState, LoadError, PredictError, Prediction, Predictor, check_batch};
use routewright_data::Tensors;
use routewright_data::linalg::LinalgError;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

pub(super) const ROW: FormRow = FormRow {
    name: "posterior",
    version: 2,
    title: "a Bayesian ridge regression per arm, with its uncertainty",
    load: BayesianRidge::load,
};

/// Sizes and switches of a [`BayesianRidge`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RidgeShape {
    /// Width of the features.
    pub dim: usize,
    /// Whether a constant feature is added.
    pub intercept: bool,
    /// Prior precision of every coefficient, above 0.
    pub precision: f64,
    /// Standard deviation of a reward around its expectation; scales the standard errors.
    pub noise: f64,
    /// What is remembered of rewards long past.
    #[serde(default)]
    pub forgetting: Forgetting,
    /// Prior precision of coefficients that all arms share beside their own, above 0; `None` shares none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared: Option<f64>,
}

impl RidgeShape {
    /// Number of coefficients an arm.
    pub fn width(&self) -> usize {
        self.dim + usize::from(self.intercept)
    }
}

/// One belief an arm.
#[derive(Debug, Clone)]
pub struct BayesianRidge {
    shape: RidgeShape,
    arms: Vec<Arc<Posterior>>,
    shared: Option<Arc<Shared>>,
    /// `(n_arms, width)`, or empty for zeros.
    prior_mean: Vec<f32>,
    cost: CostModel,
    n_updates: u64,
    room: Room,
}

/// Where a learner works; a copy of it starts empty.
#[derive(Debug, Clone, Default)]
struct Room {
    features: Vec<f32>,
    scratch: Scratch,
}

impl Room {
    fn fill(&mut self, features: &[f32], intercept: bool) {
        self.features.clear();
        self.features.extend_from_slice(features);
        if intercept {
            self.features.push(1.0);
        }
        self.scratch.fill(&self.features);
    }
}

impl BayesianRidge {
    /// Beliefs before any reward; `prior_mean` has shape `(n_arms, shape.width())` or is empty for zeros.
    ///
    /// # Errors
    /// If a precision is not above 0.
    ///
    /// # Panics
    /// If the length of `prior_mean` does not match (a bug of the caller).
    pub fn new(shape: RidgeShape, prior_mean: Vec<f32>, cost: CostModel) -> Result<Self, LinalgError> {
        let seen = vec![History::new(shape.width()); cost.mean_usd().len()];
        Self::with(shape, prior_mean, seen, cost)
    }

    fn with(
        shape: RidgeShape,
        prior_mean: Vec<f32>,
        seen: Vec<History>,
        cost: CostModel,
    ) -> Result<Self, LinalgError> {
        let (width, n_arms) = (shape.width(), cost.mean_usd().len());
        assert!(prior_mean.is_empty() || prior_mean.len() == n_arms * width, "prior mean: (n_arms, width)");
        let unfit = |reason| LinalgError { dim: width, reason };
        for (name, value) in [("precision", shape.precision), ("shared", shape.shared.unwrap_or(1.0))] {
            if !(value > 0.0 && value.is_finite()) {
                let reason = format!("{name} is `{value}`, expected a number above 0");
                return Err(unfit(reason));
            }
        }
        shape.forgetting.check().map_err(unfit)?;
        if matches!(shape.forgetting, Forgetting::Adwin(_)) && !shape.intercept {
            return Err(unfit("`adwin` looks at mean residuals, which need the intercept".to_owned()));
        }
        let n_updates = seen.iter().map(|seen| seen.sums().n_updates()).fold(0, u64::saturating_add);
        let believe = |(arm, seen): (usize, History)| {
            let mean = prior_mean.get(arm * width..(arm + 1) * width).unwrap_or_default().to_vec();
            Posterior::new(seen, Prior { precision: shape.precision, mean }).map(Arc::new)
        };
        let arms = seen.into_iter().enumerate().map(believe).collect::<Result<_, _>>()?;
        let mut out = Self { shape, arms, shared: None, prior_mean, cost, n_updates, room: Room::default() };
        out.share()?;
        Ok(out)
    }

    /// Recomputes the part all arms share.
    fn share(&mut self) -> Result<(), LinalgError> {
        let Some(precision) = self.shape.shared else { return Ok(()) };
        self.shared = Some(Arc::new(Shared::of(precision, &self.arms)?));
        Ok(())
    }

    /// The beliefs, one an arm.
    pub fn arms(&self) -> &[Arc<Posterior>] {
        &self.arms
    }

    fn load(state: FormState, n_arms: usize) -> Result<Box<dyn Predictor>, LoadError> {
        Ok(Box::new(Self::restore(state, n_arms)?))
    }

    pub(super) fn restore(mut state: FormState, n_arms: usize) -> Result<Self, LoadError> {
        let shape: RidgeShape = super::config(ROW.name, state.config)?;
        let tensors = &mut state.tensors;
        let prior_mean = match tensors.shape("prior_mean") {
            Ok(_) => tensors.take_f32("prior_mean", &[n_arms, shape.width()])?,
            Err(_) => Vec::new(),
        };
        let seen = restore_arms(tensors, n_arms, shape.width())?;
        let cost = CostModel::restore(tensors, n_arms)?;
        Self::with(shape, prior_mean, seen, cost)
            .map_err(|error| LoadError::Config { form: ROW.name, reason: error.to_string() })
    }

    fn failed(error: LinalgError) -> LearnError {
        LearnError::Statistics(LoadError::Config { form: ROW.name, reason: error.to_string() })
    }

    /// What is believed of the arms on average, made from the sums, so that a restart changes no bit of it.
    fn pooled(&self) -> Result<Vec<f32>, LinalgError> {
        let mut mean = vec![0.0_f32; self.shape.width()];
        let share = 1.0 / self.arms.len().max(1) as f32;
        for arm in &self.arms {
            mean.iter_mut().zip(arm.mean_of_sums()?).for_each(|(sum, theta)| *sum += share * theta);
        }
        Ok(mean)
    }

    /// Beliefs about arms that nobody has called. What is known of the others is pooled once for all of them.
    fn newcomers(&self, arms: &[NewArm]) -> Result<Vec<Posterior>, LearnError> {
        let (width, forgetting) = (self.shape.width(), self.shape.forgetting);
        let epoch = self.arms.iter().map(|arm| arm.statistics().epoch()).max().unwrap_or(0);
        let pooled =
            if arms.iter().any(|arm| arm.quality.is_none()) { self.pooled() } else { Ok(Vec::new()) };
        let pooled = pooled.map_err(Self::failed)?;
        let believe = |arm: &NewArm| {
            let (mean, quality, weight) = match arm.quality {
                None => (pooled.clone(), 0.0, 0.0),
                Some(_) if !self.shape.intercept => {
                    return Err(LearnError::Quality { reason: "the policy was trained without `intercept`" });
                }
                Some((quality, weight)) => {
                    let mut mean = vec![0.0; width];
                    mean[width - 1] = quality as f32;
                    (mean, quality, weight)
                }
            };
            let seen = History::declared(width, quality, weight, epoch, forgetting);
            Posterior::new(seen, Prior { precision: self.shape.precision, mean }).map_err(Self::failed)
        };
        arms.iter().map(believe).collect()
    }

    /// Lets every arm forget what is long past.
    fn forget(&mut self, now: u64) -> Result<(), LinalgError> {
        let forgetting = self.shape.forgetting;
        let mut forgot = false;
        for arm in self.arms.iter_mut().filter(|arm| arm.is_stale(now, forgetting)) {
            Arc::make_mut(arm).forget(now, forgetting)?;
            forgot = true;
        }
        if forgot { self.share() } else { Ok(()) }
    }

    /// Adds one reward to its arm, or takes it off where its weight is negative.
    fn tell(&mut self, experience: &Experience<'_>) -> Result<(), LearnError> {
        let mut room = std::mem::take(&mut self.room);
        room.fill(experience.features, self.shape.intercept);
        let arm = Arc::make_mut(&mut self.arms[experience.arm]);
        let told = arm.learn(experience, &room.features, self.shape.forgetting, &mut room.scratch);
        let told = told.and_then(|change| match (change, &mut self.shared) {
            (Some(change), Some(shared)) => {
                Arc::make_mut(shared).learn(change, &room.scratch);
                Ok(())
            }
            (None, Some(_)) => self.share(),
            (_, None) => Ok(()),
        });
        self.room = room;
        told.map_err(Self::failed)
    }

    fn predict_row(&self, room: &mut Room, score: &mut [f32], score_se: &mut [f32]) {
        let noise = self.shape.noise as f32;
        routewright_data::simd::widest(
            #[inline(always)]
            || {
                for ((arm, score), se) in self.arms.iter().zip(score.iter_mut()).zip(score_se.iter_mut()) {
                    let (mean, spread) = match &self.shared {
                        None => arm.predict(&room.features, &room.scratch),
                        Some(shared) => shared.predict(arm, &room.features, &mut room.scratch),
                    };
                    (*score, *se) = (mean, noise * spread);
                }
            },
        );
    }
}

fn restore_arms(tensors: &mut Tensors, n_arms: usize, width: usize) -> Result<Vec<History>, LoadError> {
    let restore = |arm: usize| History::restore(&format!("arm.{arm:04}"), width, tensors);
    Ok((0..n_arms).map(restore).collect::<Result<_, _>>()?)
}

impl Predictor for BayesianRidge {
    fn form(&self) -> &'static str {
        ROW.name
    }

    fn n_arms(&self) -> usize {
        self.arms.len()
    }

    fn dim(&self) -> Option<usize> {
        Some(self.shape.dim)
    }

    fn predict(&self, batch: &Batch<'_>) -> Result<Prediction, PredictError> {
        check_batch(batch, self.shape.dim)?;
        let (n, n_arms) = (batch.n_queries(), self.arms.len());
        let (mut score, mut score_se) = (vec![0.0; n * n_arms], vec![0.0; n * n_arms]);
        let mut room = Room::default();
        for row in 0..n {
            room.fill(batch.features.row(row), self.shape.intercept);
            let range = row * n_arms..(row + 1) * n_arms;
            self.predict_row(&mut room, &mut score[range.clone()], &mut score_se[range]);
        }
        let cost_usd = self.cost.predict(batch.features);
        let (score_se, n_updates) = (Some(score_se), self.n_updates);
        Ok(Prediction { n_arms, score, score_se, cost_usd, neighborhoods: None, members: None, n_updates })
    }

    fn state(&self) -> FormState {
        let mut tensors = Tensors::new();
        if !self.prior_mean.is_empty() {
            let shape = [self.arms.len(), self.shape.width()];
            tensors.insert_f32("prior_mean", &shape, self.prior_mean.clone());
        }
        for (arm, posterior) in self.arms.iter().enumerate() {
            posterior.history().store(&format!("arm.{arm:04}"), &mut tensors);
        }
        self.cost.store(&mut tensors);
        FormState { config: serde_json::to_value(self.shape).unwrap_or_default(), tensors }
    }

    fn learner(&self) -> Option<Box<dyn Learner>> {
        Some(Box::new(self.clone()))
    }
}

impl Learner for BayesianRidge {
    fn learn(&mut self, experience: &Experience<'_>) -> Result<(), LearnError> {
        check(experience, self.arms.len(), self.shape.dim)?;
        self.tell(experience)?;
        self.n_updates += 1;
        self.forget(experience.time).map_err(Self::failed)
    }

    fn can_unlearn(&self) -> bool {
        true
    }

    fn unlearn(&mut self, experience: &Experience<'_>) -> Result<(), LearnError> {
        check(experience, self.arms.len(), self.shape.dim)?;
        self.tell(&Experience { weight: -experience.weight, ..*experience })?;
        let forgetting = self.shape.forgetting;
        Arc::make_mut(&mut self.arms[experience.arm]).uncount(experience, forgetting);
        self.n_updates = self.n_updates.saturating_sub(1);
        Ok(())
    }

    fn predict_into(&mut self, features: &[f32], _: Option<&str>, score: &mut [f32], score_se: &mut [f32]) {
        let mut room = std::mem::take(&mut self.room);
        room.fill(features, self.shape.intercept);
        self.predict_row(&mut room, score, score_se);
        self.room = room;
    }

    fn n_updates(&self) -> u64 {
        self.n_updates
    }

    fn add_arm(&mut self, arm: &NewArm) -> Result<(), LearnError> {
        self.add_arms(std::slice::from_ref(arm))
    }

    fn add_arms(&mut self, arms: &[NewArm]) -> Result<(), LearnError> {
        let beliefs = self.newcomers(arms)?;
        self.prior_mean.resize(self.arms.len() * self.shape.width(), 0.0);
        for (arm, belief) in arms.iter().zip(beliefs) {
            let mean = &belief.prior().mean;
            self.prior_mean.extend(mean);
            self.arms.push(Arc::new(belief));
            self.cost.add_arm(arm.cost_usd);
        }
        self.share().map_err(Self::failed)
    }

    fn reprice(&mut self, arm: usize, usd: f64) -> Result<(), LearnError> {
        let n_arms = self.arms.len();
        if arm >= n_arms {
            return Err(LearnError::Arm { arm, n_arms });
        }
        self.cost.reprice(arm, usd);
        Ok(())
    }

    fn snapshot(&self) -> Box<dyn Predictor> {
        Box::new(Self { room: Room::default(), ..self.clone() })
    }

    fn merge(&mut self, other: FormState, base: FormState) -> Result<(), LearnError> {
        let (n_arms, width) = (self.arms.len(), self.shape.width());
        if let Forgetting::Adwin(_) = self.shape.forgetting {
            return Err(LearnError::Order { form: ROW.name });
        }
        let parts = [other, base].map(|mut state| restore_arms(&mut state.tensors, n_arms, width));
        let [other, base] = parts;
        for ((arm, other), base) in self.arms.iter_mut().zip(other?).zip(base?) {
            Arc::make_mut(arm).merge(other, base, self.shape.forgetting).map_err(Self::failed)?;
        }
        self.share().map_err(Self::failed)?;
        self.n_updates = self.arms.iter().map(|arm| arm.statistics().n_updates()).sum();
        Ok(())
    }
}

#[cfg(test)]
#[path = "hybrid_tests.rs"]
mod hybrid_tests;
#[cfg(test)]
#[path = "posterior_tests.rs"]
pub(super) mod tests;
