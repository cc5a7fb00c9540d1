//! The document `evaluate --json` and `compare --json` print, and every report is made of.

use super::judge::aiq_of;
use super::{
    Average, Baselines, Evaluation, JudgeError, JudgeOptions, OperatingPoint, SingleModel, Sources,
    baselines, oracle_prediction, paired_difference, single_models, sweep, thin,
};
use routewright_data::OutcomeTable;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Points of the oracle's curve that are written out.
const CURVE_POINTS_MAX: usize = 200;

/// Policies judged on the same rows, with the yardsticks they are read against. All scores in `[0, 1]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// Path of the log.
    pub log: String,
    /// Split judged on.
    pub split: String,
    /// Average of every `score` and `cost_usd`.
    pub average: Average,
    /// The five yardsticks.
    pub baselines: Baselines,
    /// The policies, in the order they were asked for.
    pub policies: Vec<Evaluation>,
    /// Every model on its own, on the rows judged.
    pub singles: Vec<SingleModel>,
    /// AIQ of mixing single models at random (RouterBench's zero router), where the log has costs.
    pub singles_aiq: Option<f64>,
    /// AIQ of a router that knows every outcome, where the log has costs.
    pub oracle_aiq: Option<f64>,
    /// Operating points of that router, thinned.
    pub oracle_curve: Vec<OperatingPoint>,
    /// Number of queries of each source.
    pub sources: BTreeMap<String, usize>,
    /// Number of queries judged on.
    pub n_queries: usize,
    /// Digest of the rows judged on.
    pub digest: String,
    /// Seed of the bootstrap.
    pub seed: u64,
    /// Resamples of the bootstrap.
    pub bootstrap_rounds: usize,
    /// Source of each query; not stored, so a document that was read back compares nothing.
    #[serde(skip)]
    query_sources: Option<Sources>,
}

impl Judged {
    /// Everything but the policies, which are added afterwards. `test` are the rows to judge on.
    ///
    /// # Errors
    /// If `test` has no score or `train` has other models.
    pub fn new(
        log: &str,
        split: &str,
        train: Option<&OutcomeTable>,
        test: &OutcomeTable,
        options: &JudgeOptions,
    ) -> Result<Self, JudgeError> {
        let baselines = baselines(train, test, options)?;
        let sources = Sources::of(test);
        let singles = single_models(test, &sources, options.average);
        let oracle = sweep(&oracle_prediction(test), test, options.average);
        let single_points: Vec<(f64, f64)> =
            singles.iter().filter_map(|single| Some((single.cost_usd?, single.score))).collect();
        Ok(Self {
            log: log.to_owned(),
            split: split.to_owned(),
            average: options.average,
            baselines,
            policies: Vec::new(),
            singles_aiq: super::aiq(&single_points, &singles),
            oracle_aiq: aiq_of(&oracle, &singles),
            oracle_curve: thin(&oracle, CURVE_POINTS_MAX),
            singles,
            sources: sources.names().iter().cloned().zip(sources.counts()).collect(),
            n_queries: test.n_queries(),
            digest: test.digest(),
            seed: options.seed,
            bootstrap_rounds: options.bootstrap_rounds,
            query_sources: Some(sources),
        })
    }

    /// Adds a policy judged on the same rows, compared with the best single model query by query.
    pub fn add(&mut self, mut evaluation: Evaluation) {
        let options =
            JudgeOptions { average: self.average, seed: self.seed, bootstrap_rounds: self.bootstrap_rounds };
        if let (Some(best), Some(sources)) = (&self.baselines.best_single, &self.query_sources) {
            evaluation.vs_best_single =
                paired_difference(&evaluation.query_scores, &best.query_scores, sources, &options);
        }
        self.policies.push(evaluation);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::fixtures::{prediction, table};
    use crate::evaluate::judge;
    use routewright_policy::selectors::Argmax;

    #[test]
    fn the_document_has_the_promised_keys_and_reads_back() {
        let test = table(&["a", "b"], &[1.0, 0.0, 0.5, 1.0], &[0.001, 0.01, 0.001, 0.03]);
        let options =
            JudgeOptions { average: Average::Macro, bootstrap_rounds: 20, ..JudgeOptions::default() };
        let mut judged = Judged::new("log.parquet", "test", Some(&test), &test, &options).unwrap();
        let guess = prediction(2, &[0.1, 0.2, 0.9, 0.2], &[0.001, 0.02, 0.001, 0.02]);
        judged.add(judge("knn", &test, Some(&test), &guess, &Argmax, &options).unwrap());
        // The policy chose y, x: scores 0, 0.5; the best single model is x: scores 1, 0.5.
        assert_eq!(judged.policies[0].vs_best_single.unwrap().difference, -0.5);
        let text = serde_json::to_string(&judged).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (&value["log"], &value["split"], &value["average"]),
            (&"log.parquet".into(), &"test".into(), &"macro".into())
        );
        for baseline in ["random", "cheapest", "best_single", "source_best", "oracle"] {
            for key in ["score", "cost_usd"] {
                assert!(value["baselines"][baseline][key].is_f64(), "{baseline}.{key} in {text}");
            }
        }
        let policy = &value["policies"][0];
        assert_eq!(policy["method"], "knn");
        for key in ["score", "score_se", "cost_usd", "aiq"] {
            assert!(policy[key].is_f64(), "{key} in {text}");
        }
        assert!(policy["by_source"]["a"].is_f64() && policy["fit_seconds"].is_null());
        let mut back: Judged = serde_json::from_str(&text).unwrap();
        // Everything but the values that are not stored.
        back.policies[0].query_scores.clone_from(&judged.policies[0].query_scores);
        back.baselines = judged.baselines.clone();
        back.query_sources.clone_from(&judged.query_sources);
        assert_eq!(back, judged);
    }
}
