//! What a comparison learns from and what it judges on, with the features of both.
//!
//! A featurizer that is fitted is fitted on the rows learned from. One that is not (a column, a model folder) is
//! opened once and reads every text once, whatever the number of seeds and folds.

use super::{Answers, CompareError};
use crate::evaluate::align;
use crate::train::{FeatureChoice, Prepared, TrainError, arms, feature_inputs};
use crate::validation::Slice;
use routewright_data::answers::AnswerTable;
use routewright_data::features::Featurizer;
use routewright_data::{FeatureMatrix, OutcomeTable};
use std::sync::Arc;

/// The train and the test rows.
pub(crate) struct Sides<'a> {
    train: &'a OutcomeTable,
    test: &'a OutcomeTable,
    choice: &'a FeatureChoice,
    shared: Option<Shared>,
    answers: Option<Logged<'a>>,
}

/// Answers to the train rows and the test rows, and the models of each.
#[derive(Clone, Copy)]
pub(crate) struct Logged<'a> {
    pub(crate) answers: &'a Answers,
    pub(crate) models: [&'a [String]; 2],
}

/// A featurizer that is not fitted and what it made of all rows.
struct Shared {
    featurizer: Arc<dyn Featurizer>,
    train: FeatureMatrix,
    test: FeatureMatrix,
}

/// A fold left out: the others with a featurizer that has not seen it, and its own rows.
pub(crate) struct Held {
    pub(crate) kept: Prepared,
    pub(crate) rest: OutcomeTable,
    pub(crate) features: FeatureMatrix,
    /// Answers to its own rows, by the models beside them.
    pub(crate) answers: Option<(AnswerTable, Vec<String>)>,
}

impl<'a> Sides<'a> {
    /// Opens what is not fitted.
    ///
    /// # Errors
    /// If it cannot be opened or a query lacks what it reads.
    pub(crate) fn open(
        train: &'a OutcomeTable,
        test: &'a OutcomeTable,
        choice: &'a FeatureChoice,
    ) -> Result<Self, TrainError> {
        if choice.base.is_fitted() {
            return Ok(Self { train, test, choice, shared: None, answers: None });
        }
        // The seed is that of a fit, and nothing is fitted.
        let featurizer = choice.base.featurizer(train, 0)?;
        let vectors = |table| featurizer.featurize(&feature_inputs(table));
        let (train_vectors, test_vectors) = (vectors(train)?, vectors(test)?);
        let shared = Shared { featurizer, train: train_vectors, test: test_vectors };
        Ok(Self { train, test, choice, shared: Some(shared), answers: None })
    }

    /// With the answers of both sides.
    pub(crate) fn with_answers(self, answers: Option<Logged<'a>>) -> Self {
        Self { answers, ..self }
    }

    /// A table that was prepared, with the answers to those train rows.
    fn answered(&self, prepared: Prepared, rows: Option<&[usize]>) -> Prepared {
        let Some(Logged { answers, models }) = self.answers else { return prepared };
        let train = rows.map_or_else(|| answers.train.clone(), |rows| answers.train.select_rows(rows));
        prepared.with_answers(&train, models[0])
    }

    /// The rows learned from.
    pub(crate) fn train(&self) -> &OutcomeTable {
        self.train
    }

    /// All train rows, and the features of the test rows.
    pub(crate) fn whole(&self, seed: u64) -> Result<(Prepared, FeatureMatrix), TrainError> {
        let Some(shared) = &self.shared else {
            let prepared = Prepared::new(self.train.clone(), self.choice, seed)?;
            let features = prepared.featurizer.featurize(&feature_inputs(self.test))?;
            return Ok((self.answered(prepared, None), features));
        };
        let prepared = shared.prepare(self.train.clone(), shared.train.clone(), self.choice, seed)?;
        let features = prepared.features_on(&shared.test);
        Ok((self.answered(prepared, None), features))
    }

    /// One fold of the train rows left out.
    pub(crate) fn fold(&self, slice: &Slice, seed: u64) -> Result<Held, CompareError> {
        let fit = self.train.select_rows(&slice.fit);
        let valid = self.train.select_rows(&slice.valid);
        let of_valid =
            |logged: Logged<'_>| (logged.answers.train.select_rows(&slice.valid), logged.models[0].to_vec());
        let answers = self.answers.map(of_valid);
        let Some(shared) = &self.shared else {
            let kept = Prepared::new(fit, self.choice, seed)?;
            let rest = align(&valid, &arms(&kept.train))?;
            let features = kept.featurizer.featurize(&feature_inputs(&rest)).map_err(TrainError::from)?;
            return Ok(Held { kept: self.answered(kept, Some(&slice.fit)), rest, features, answers });
        };
        let kept = shared.prepare(fit, shared.train.select_rows(&slice.fit), self.choice, seed)?;
        let rest = align(&valid, &arms(&kept.train))?;
        let features = kept.features_on(&shared.train.select_rows(&slice.valid));
        Ok(Held { kept: self.answered(kept, Some(&slice.fit)), rest, features, answers })
    }
}

impl Shared {
    fn prepare(
        &self,
        table: OutcomeTable,
        vectors: FeatureMatrix,
        choice: &FeatureChoice,
        seed: u64,
    ) -> Result<Prepared, TrainError> {
        Prepared::on(table, Arc::clone(&self.featurizer), vectors, choice.source_weight, seed)
    }
}
