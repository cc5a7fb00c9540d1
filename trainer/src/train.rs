//! From a log to an artifact draft: features once, then one fit a method.

pub use crate::arms::arms;
use crate::evaluate::Average;
use crate::method::{Device, FitContext, FitError, Fitted, MethodRow, Reads};
use crate::methods;
use crate::preferences::{Comparisons, Joined};
use crate::progress::Progress;
use routewright_data::answers::AnswerTable;
use routewright_data::features::{
    self, Column, EncoderSettings, FeatureError, FeatureInput, Featurizer, Lexical, LexicalSettings,
    WithSources,
};
use routewright_data::{FeatureMatrix, OutcomeTable, Query, QueryText, row_keys};
use routewright_policy::artifact::{ArtifactError, DataRecord, ProgramDraft, RouterDraft, TrainingRows};
use routewright_policy::program::Program;
use routewright_policy::{Batch, Policy, PredictError, Prediction};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How features are made.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureChoice {
    /// What they are made from.
    pub base: BaseFeatures,
    /// Weight of the predicted source beside them, see [`WithSources`]; 0 leaves them as they are.
    pub source_weight: f32,
}

/// Weight of the predicted source unless another is asked for: as much as the text.
pub const SOURCE_WEIGHT: f32 = 1.0;

impl Default for FeatureChoice {
    fn default() -> Self {
        Self { base: BaseFeatures::default(), source_weight: SOURCE_WEIGHT }
    }
}

/// What features are made from.
#[derive(Debug, Clone, PartialEq)]
pub enum BaseFeatures {
    /// Fit the lexical featurizer on the train rows.
    Lexical(LexicalSettings),
    /// Take the vectors that came with the log, from the column named.
    Column(String),
    /// Open a model folder: `bert` or `embed`, where the build has them.
    Folder {
        /// Registered name of the featurizer.
        name: String,
        /// The folder.
        dir: PathBuf,
        /// How texts are read.
        settings: EncoderSettings,
    },
}

impl Default for BaseFeatures {
    fn default() -> Self {
        Self::Lexical(LexicalSettings::default())
    }
}

impl BaseFeatures {
    /// Whether the featurizer depends on the rows it is fitted on; one that does not serves every fold.
    #[must_use]
    pub fn is_fitted(&self) -> bool {
        matches!(self, Self::Lexical(_))
    }

    /// The featurizer: fitted on `train`, or opened.
    ///
    /// # Errors
    /// If it cannot be fitted, the build lacks it, or its folder is not what it reads.
    pub fn featurizer(&self, train: &OutcomeTable, seed: u64) -> Result<Arc<dyn Featurizer>, FeatureError> {
        match self {
            Self::Lexical(settings) => Ok(Arc::new(Lexical::fit(&train.prompts(), *settings, seed)?)),
            Self::Column(name) => {
                let dim = train.vectors.as_ref().map_or(0, FeatureMatrix::dim);
                Ok(Arc::new(Column::new(name, dim)))
            }
            Self::Folder { name, dir, settings } => features::open(name, dir, *settings),
        }
    }
}

/// Why a policy could not be trained.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// Features could not be made.
    #[error(transparent)]
    Feature(#[from] FeatureError),
    /// The method refused.
    #[error(transparent)]
    Fit(#[from] FitError),
    /// A fitted policy could not predict.
    #[error(transparent)]
    Predict(#[from] PredictError),
    /// A fitted policy makes no artifact.
    #[error(transparent)]
    Artifact(#[from] Box<ArtifactError>),
}

/// A log with its features, shared by every method that is fitted on it.
#[derive(Debug)]
pub struct Prepared {
    /// Rows to learn from.
    pub train: OutcomeTable,
    /// Judgements between its arms, where a pair log was given.
    pub pairs: Option<Comparisons>,
    /// Answers to its queries by its arms, in its order, where they were given.
    pub answers: Option<AnswerTable>,
    /// Features of `train`, shape `(n_queries, dim)`.
    pub features: FeatureMatrix,
    /// What made them.
    pub featurizer: Arc<dyn Featurizer>,
    /// Rule the prompts were made by: what a policy trained on them reads of a request.
    pub query_text: QueryText,
    /// The same, where it appends the predicted source to the vectors of another.
    sources: Option<Arc<WithSources>>,
}

/// How a fit is run.
#[derive(Debug, Clone, Copy)]
pub struct RunOptions<'a> {
    /// The average hyper-parameters are chosen by.
    pub average: Average,
    /// Seed of every random choice.
    pub seed: u64,
    /// Where tensors are computed.
    pub device: Device,
    /// Told how far it is.
    pub progress: &'a dyn Progress,
    /// Folder for checkpoints, where resuming is wanted.
    pub checkpoint: Option<&'a Path>,
}

/// What a featurizer reads of each query of a table.
pub fn feature_inputs(table: &OutcomeTable) -> Vec<FeatureInput<'_>> {
    (0..table.n_queries())
        .map(|row| FeatureInput {
            text: table.queries[row].prompt.as_str(),
            vector: table.vectors.as_ref().map(|vectors| vectors.row(row)),
        })
        .collect()
}

/// The table without the arms that have no scored cell: nothing can be learned of them, and a policy that
/// calls them would do so for want of data.
#[must_use]
pub fn observed_arms(table: OutcomeTable) -> OutcomeTable {
    let observed: Vec<usize> =
        (0..table.n_arms()).filter(|arm| table.score.column_mean(*arm).is_some()).collect();
    if observed.is_empty() || observed.len() == table.n_arms() {
        return table;
    }
    table.select_arms(&observed)
}

impl Prepared {
    /// Fits the featurizer on `train` and makes its features; arms never observed are left out.
    ///
    /// # Errors
    /// If the featurizer cannot be fitted or a query lacks what it reads.
    pub fn new(train: OutcomeTable, choice: &FeatureChoice, seed: u64) -> Result<Self, TrainError> {
        let base = choice.base.featurizer(&train, seed)?;
        let vectors = base.featurize(&feature_inputs(&train))?;
        Self::on(train, base, vectors, choice.source_weight, seed)
    }

    /// On `vectors` that `base` made of the rows of `train`; only the predicted source is fitted, where
    /// `source_weight` is not 0. Arms never observed are left out.
    ///
    /// # Errors
    /// If the classifier of sources cannot be fitted.
    pub fn on(
        train: OutcomeTable,
        base: Arc<dyn Featurizer>,
        vectors: FeatureMatrix,
        source_weight: f32,
        seed: u64,
    ) -> Result<Self, TrainError> {
        Self::build(observed_arms(train), None, base, vectors, source_weight, seed)
    }

    /// On a pair log, alone or behind an outcome log.
    ///
    /// # Errors
    /// If the featurizer cannot be fitted or a query lacks what it reads.
    pub fn with_pairs(joined: Joined, choice: &FeatureChoice, seed: u64) -> Result<Self, TrainError> {
        let Joined { table, comparisons } = joined;
        let base = choice.base.featurizer(&table, seed)?;
        let vectors = base.featurize(&feature_inputs(&table))?;
        Self::build(table, Some(comparisons), base, vectors, choice.source_weight, seed)
    }

    fn build(
        train: OutcomeTable,
        pairs: Option<Comparisons>,
        base: Arc<dyn Featurizer>,
        vectors: FeatureMatrix,
        source_weight: f32,
        seed: u64,
    ) -> Result<Self, TrainError> {
        let query_text = QueryText::default();
        let sources = match source_weight {
            0.0 => None,
            weight => WithSources::fit(Arc::clone(&base), &vectors, &train.sources(), weight, seed)?,
        };
        let Some(sources) = sources.map(Arc::new) else {
            let answers = None;
            return Ok(Self {
                train,
                pairs,
                answers,
                features: vectors,
                featurizer: base,
                query_text,
                sources: None,
            });
        };
        let (features, featurizer) = (sources.append(&vectors), Arc::clone(&sources) as _);
        let answers = None;
        Ok(Self { train, pairs, answers, features, featurizer, query_text, sources: Some(sources) })
    }

    /// With the answers to its queries by `models`, in that order.
    #[must_use]
    pub fn with_answers(self, answers: &AnswerTable, models: &[String]) -> Self {
        let column = |model: &String| models.iter().position(|own| own == model);
        let columns: Vec<usize> = self.train.models.iter().filter_map(column).collect();
        Self { answers: Some(answers.select_arms(&columns)), ..self }
    }

    /// The features of rows whose vectors were already made by the featurizer beneath the predicted source.
    pub fn features_on(&self, vectors: &FeatureMatrix) -> FeatureMatrix {
        self.sources.as_ref().map_or_else(|| vectors.clone(), |sources| sources.append(vectors))
    }

    /// The same featurizer on some of the rows.
    #[must_use]
    pub fn select_rows(&self, rows: &[usize]) -> Self {
        Self {
            train: self.train.select_rows(rows),
            pairs: self.pairs.as_ref().map(|pairs| pairs.select_rows(rows)),
            answers: self.answers.as_ref().map(|answers| answers.select_rows(rows)),
            features: self.features.select_rows(rows),
            featurizer: Arc::clone(&self.featurizer),
            query_text: self.query_text,
            sources: self.sources.clone(),
        }
    }

    /// Fits one method.
    ///
    /// # Errors
    /// If a parameter is not valid or the log cannot carry the method.
    pub fn fit(
        &self,
        method: &MethodRow,
        params: &serde_json::Value,
        run: &RunOptions<'_>,
    ) -> Result<Fitted, FitError> {
        if self.pairs.is_some() && !method.reads(Reads::Pairs) {
            let names: Vec<String> = methods::reading_pairs().map(|row| format!("`{}`", row.name)).collect();
            return Err(FitError::Pairs { method: method.name, known: names.join(", ") });
        }
        let context = FitContext {
            train: &self.train,
            pairs: self.pairs.as_ref(),
            answers: self.answers.as_ref(),
            features: &self.features,
            featurizer: &self.featurizer,
            average: run.average,
            seed: run.seed,
            device: run.device,
            progress: run.progress,
            checkpoint: run.checkpoint,
        };
        (method.fit)(params, &context)
    }

    /// Predicts the rows of another table with what was fitted; `features` are that table's own, where the
    /// method did not bring its own featurizer.
    ///
    /// # Errors
    /// If features cannot be made or are refused.
    pub fn predict(
        &self,
        fitted: &Fitted,
        table: &OutcomeTable,
        features: &FeatureMatrix,
    ) -> Result<Prediction, TrainError> {
        if fitted.program.is_some() {
            let what = "it predicts no outcome before the first answer";
            return Err(FitError::Steps { what }.into());
        }
        let sources = table.sources();
        let own = match &fitted.featurizer {
            Some(featurizer) => Some(featurizer.featurize(&feature_inputs(table))?),
            None => None,
        };
        let features = own.as_ref().unwrap_or(features);
        Ok(fitted.predictor.predict(&Batch { sources: &sources, ..Batch::of(features) })?)
    }

    /// Digest of everything a method can learn from, judgements included.
    fn digest(&self) -> String {
        let table = self.train.digest();
        self.pairs.as_ref().map_or(table.clone(), |pairs| pairs.digest(&table))
    }

    /// The draft of an artifact from what was fitted.
    pub fn draft(
        &self,
        name: &str,
        method: &MethodRow,
        fitted: Fitted,
        split: &str,
        seed: u64,
    ) -> RouterDraft {
        RouterDraft {
            name: name.to_owned(),
            method: method.name.to_owned(),
            seed,
            arms: arms(&self.train),
            featurizer: fitted.featurizer.unwrap_or_else(|| Arc::clone(&self.featurizer)),
            predictor: fitted.predictor,
            selector: fitted.selector,
            query_text: self.query_text,
            params: fitted.params,
            data: self.data_record(split),
            metrics: fitted.metrics,
        }
    }

    /// The draft of an artifact of a policy of several steps.
    pub fn program_draft(
        &self,
        name: &str,
        method: &MethodRow,
        program: Box<dyn Program>,
        about: (serde_json::Value, std::collections::BTreeMap<String, f64>),
        split: &str,
        seed: u64,
    ) -> ProgramDraft {
        let (params, metrics) = about;
        ProgramDraft {
            name: name.to_owned(),
            method: method.name.to_owned(),
            seed,
            arms: arms(&self.train),
            program,
            query_text: self.query_text,
            params,
            data: self.data_record(split),
            metrics,
        }
    }

    /// The policy in memory, as it would be loaded from its artifact.
    ///
    /// # Errors
    /// If the fit makes no artifact.
    pub fn policy(&self, method: &MethodRow, mut fitted: Fitted, seed: u64) -> Result<Policy, TrainError> {
        let policy = match fitted.program.take() {
            Some(program) => {
                let about = (fitted.params, fitted.metrics);
                self.program_draft(method.name, method, program, about, "train", seed).into_policy()
            }
            None => self.draft(method.name, method, fitted, "train", seed).into_policy(),
        };
        policy.map_err(|error| TrainError::Artifact(Box::new(error)))
    }

    fn data_record(&self, split: &str) -> DataRecord {
        DataRecord {
            digest: self.digest(),
            ..data_record(&self.train, split, |query| row_keys::of_outcome(&query.id, &query.prompt))
        }
    }
}

/// What an artifact keeps of the rows it is made of; `key` is that of a row.
pub(crate) fn data_record(table: &OutcomeTable, split: &str, key: impl Fn(&Query) -> u64) -> DataRecord {
    let vector = |row: usize| table.vectors.as_ref().map(|vectors| vectors.row(row));
    let queries = || table.queries.iter().enumerate();
    let texts = queries().filter_map(|(row, query)| row_keys::of_text(&query.prompt, vector(row)));
    DataRecord {
        digest: table.digest(),
        split: split.to_owned(),
        n_queries: table.n_queries(),
        n_cells: table.score.n_present(),
        last_ms: table.queries.iter().filter_map(|query| query.timestamp_ms).max(),
        decisions: None,
        rows: Some(Arc::new(TrainingRows::new(table.queries.iter().map(key).collect(), texts.collect()))),
    }
}
