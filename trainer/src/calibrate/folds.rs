//! Predictions of the train rows by policies that have not seen them.

use crate::compare::CompareError;
use crate::compare::sides::{Held, Sides};
use crate::method::MethodRow;
use crate::progress::Silent;
use crate::train::{FeatureChoice, RunOptions, TrainError};
use crate::validation::Folds;
use rayon::prelude::*;
use routewright_data::OutcomeTable;
use routewright_policy::Prediction;

/// Folds of the train rows on which prices are chosen.
pub const FOLDS: usize = 5;

/// Train rows, each predicted by a fit on the other folds.
#[derive(Debug)]
pub struct OutOfFold {
    /// The rows predicted, fold by fold.
    pub table: OutcomeTable,
    /// Their prediction, in the shape of `table`.
    pub prediction: Prediction,
    /// Name of the selector the method comes with.
    pub selector: String,
    /// Whether the method reads the price of money itself.
    pub is_conditioned: bool,
}

/// Fits `method` [`FOLDS`] times, each without a fold of `train`, and predicts that fold; features are fitted without
/// it too.
///
/// # Errors
/// If the method cannot be fitted on a fold.
pub fn out_of_fold(
    train: &OutcomeTable,
    method: &MethodRow,
    params: &serde_json::Value,
    choice: &FeatureChoice,
    run: &RunOptions<'_>,
) -> Result<OutOfFold, CompareError> {
    let folds = Folds::new(train, run.seed, FOLDS);
    let nothing = train.select_rows(&[]);
    let sides = Sides::open(train, &nothing, choice)?;
    // A checkpoint is of the fit on all rows.
    let options = RunOptions { progress: &Silent, checkpoint: None, ..*run };
    run.progress.start("calibration", FOLDS as u64);
    let predict = |held_out: usize| {
        let slice = folds.slice(held_out)?;
        let predicted =
            sides.fold(&slice, run.seed).and_then(|held| Fold::predict(&held, method, params, &options));
        Some(predicted.map(|fold| (slice.valid, fold)))
    };
    let done: Vec<Option<Result<_, CompareError>>> =
        (0..folds.n_folds()).into_par_iter().map(predict).collect();
    let mut found = Collected::new(train.n_arms());
    for fold in done.into_iter().flatten() {
        let (rows, fold) = fold?;
        found.take(&rows, fold, &train.models);
    }
    Ok(found.finish(train))
}

/// What one fit predicts of the fold it has not seen.
struct Fold {
    prediction: Prediction,
    models: Vec<String>,
    selector: String,
    is_conditioned: bool,
}

impl Fold {
    fn predict(
        held: &Held,
        method: &MethodRow,
        params: &serde_json::Value,
        options: &RunOptions<'_>,
    ) -> Result<Self, CompareError> {
        let fitted = held.kept.fit(method, params, options).map_err(TrainError::from)?;
        Ok(Self {
            prediction: held.kept.predict(&fitted, &held.rest, &held.features)?,
            models: held.rest.models.clone(),
            is_conditioned: fitted.predictor.is_conditioned(),
            selector: fitted.selector.name,
        })
    }
}

/// Predictions collected fold by fold.
struct Collected {
    n_arms: usize,
    rows: Vec<usize>,
    score: Vec<f32>,
    cost_usd: Vec<f32>,
    selector: String,
    is_conditioned: bool,
}

impl Collected {
    fn new(n_arms: usize) -> Self {
        Self {
            n_arms,
            rows: Vec::new(),
            score: Vec::new(),
            cost_usd: Vec::new(),
            selector: String::new(),
            is_conditioned: false,
        }
    }

    /// Takes the rows of a fold in. An arm that the other folds never observed is not chosen.
    fn take(&mut self, rows: &[usize], fold: Fold, all: &[String]) {
        let columns: Vec<Option<usize>> =
            all.iter().map(|model| fold.models.iter().position(|own| own == model)).collect();
        for (at, row) in rows.iter().enumerate() {
            let predicted = fold.prediction.row(at);
            self.rows.push(*row);
            self.score.extend(
                columns.iter().map(|column| column.map_or(f32::NEG_INFINITY, |arm| predicted.score[arm])),
            );
            self.cost_usd
                .extend(columns.iter().map(|column| column.map_or(f32::NAN, |arm| predicted.cost_usd[arm])));
        }
        self.selector = fold.selector;
        self.is_conditioned |= fold.is_conditioned;
    }

    fn finish(self, train: &OutcomeTable) -> OutOfFold {
        let prediction = Prediction {
            n_arms: self.n_arms,
            score: self.score,
            score_se: None,
            cost_usd: self.cost_usd,
            neighborhoods: None,
            members: None,
            n_updates: 0,
        };
        let table = train.select_rows(&self.rows);
        OutOfFold { table, prediction, selector: self.selector, is_conditioned: self.is_conditioned }
    }
}
