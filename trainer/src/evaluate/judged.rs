//! The document `evaluate --json` and `compare --json` print, and every report is made of.

use super::baselines::Baseline;
use super::common::Common;
use super::figures::{Yardsticks, n_uncovered};
use super::judge::{CURVE_POINTS_MAX, aiq_of};
use super::{
    Average, Baselines, Evaluation, Figures, Frontier, JudgeError, JudgeOptions, KeptPromise, OperatingPoint,
    PairedDifference, QueryOutcomes, SingleModel, Sources, baselines, oracle_prediction, single_models, thin,
};
use routewright_data::OutcomeTable;
use routewright_data::stats::Coverage;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What follows from rows on which models cannot be compared.
const NO_FIGURES: &str = "No figures are shown and nothing is picked; where the probabilities are not known, \
    `routewright data log-decisions --estimate` estimates them";

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
    /// Methods the log could not carry.
    #[serde(default)]
    pub failed: Vec<Failed>,
    /// Every model on its own, on the queries that all have a score on.
    pub singles: Vec<SingleModel>,
    /// AIQ of mixing single models at random (RouterBench's zero router), where the log has costs.
    pub singles_aiq: Option<f64>,
    /// Bootstrap standard error of `singles_aiq`.
    #[serde(default)]
    pub singles_aiq_se: Option<f64>,
    /// AIQ of a router that knows every outcome, where the log has costs.
    pub oracle_aiq: Option<f64>,
    /// Operating points of that router, thinned.
    pub oracle_curve: Vec<OperatingPoint>,
    /// Number of queries of each source.
    pub sources: BTreeMap<String, usize>,
    /// Number of queries judged on.
    pub n_queries: usize,
    /// Number of queries every row with figures covers: what scores, costs and differences are taken on.
    #[serde(default)]
    pub n_common: usize,
    /// What a reader must know of these figures, in sentences.
    #[serde(default)]
    pub notices: Vec<String>,
    /// What picking a method by cross-validation on train gives, where one was picked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub picked: Option<Picked>,
    /// What the calibrated policies promised, and whether it was kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub promises: Vec<KeptPromise>,
    /// Digest of the rows judged on.
    pub digest: String,
    /// Seed of the bootstrap.
    pub seed: u64,
    /// Resamples of the bootstrap.
    pub bootstrap_rounds: usize,
}

/// A method that could not be fitted or judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// The method.
    pub method: String,
    /// Why.
    pub error: String,
}

/// The policy of a user who takes the method picked on train, seed by seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Picked {
    /// Method picked with each seed; `best-single` where no method could be told apart from it.
    pub methods: Vec<String>,
    /// Why, with each seed.
    pub reasons: Vec<Reason>,
    /// What the picks score and cost on the rows judged.
    #[serde(flatten)]
    pub figures: Figures,
    /// Whether a pick reads the source of a query, which requests must then name.
    #[serde(default)]
    pub reads_source: bool,
    /// What the picks scored and cost, one run a seed; not stored.
    #[serde(skip)]
    pub runs: Vec<QueryOutcomes>,
}

/// Why a method was picked, in figures of the cross-validation on train.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reason {
    /// The rule that decided.
    pub rule: Rule,
    /// Out-of-fold score of the pick.
    pub score: f64,
    /// Bootstrap standard error of `score`.
    pub score_se: Option<f64>,
    /// Out-of-fold cost of the pick in US dollars, where known.
    pub cost_usd: Option<f64>,
    /// Out-of-fold score minus that of the best single model; `None` for the best single model itself.
    pub vs_best_single: Option<PairedDifference>,
    /// Other methods whose out-of-fold scores could not be told apart from that of the pick.
    pub equals: Vec<String>,
}

/// The rules of the pick, see `compare/pick.rs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// It beats the best single model by more than two standard errors, and predicts best of those that do.
    Gain,
    /// It is the cheapest of those that beat the best single model and cannot be told from the best of them.
    CheaperGain,
    /// Nothing beats the best single model; it scores as much and costs less.
    CheaperEqual,
    /// Nothing beats the best single model, and nothing as good is cheaper: the method that keeps it until paired
    /// evidence speaks for another.
    Guarded,
    /// Nothing can be told apart from the best single model.
    BestSingle,
}

/// A [`Judged`] document that rows are still added to.
#[derive(Debug)]
pub struct Judging {
    judged: Judged,
    sources: Sources,
    /// Whether models cannot be compared on the rows judged.
    is_thin: bool,
}

impl Judging {
    /// Everything but the policies. `test` are the rows to judge on.
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
        let singles = single_models(test, options.average);
        let oracle = Frontier::weighed(&oracle_prediction(test), test, options).points;
        let mixed = Frontier::of_singles(test, options);
        let found = Coverage::of(test).thin();
        let judged = Judged {
            log: log.to_owned(),
            split: split.to_owned(),
            average: options.average,
            baselines,
            policies: Vec::new(),
            failed: Vec::new(),
            singles_aiq: aiq_of(&mixed.points, &singles),
            singles_aiq_se: mixed.spread.se,
            oracle_aiq: aiq_of(&oracle, &singles),
            oracle_curve: thin(&oracle, CURVE_POINTS_MAX),
            singles,
            sources: sources.names().iter().cloned().zip(sources.counts()).collect(),
            n_queries: test.n_queries(),
            n_common: 0,
            notices: found.iter().map(|thin| format!("split {split}: {thin}. {NO_FIGURES}")).collect(),
            picked: None,
            promises: Vec::new(),
            digest: test.digest(),
            seed: options.seed,
            bootstrap_rounds: options.bootstrap_rounds,
        };
        Ok(Self { judged, sources, is_thin: found.is_some() })
    }

    /// The sources of the rows judged on.
    pub fn sources(&self) -> &Sources {
        &self.sources
    }

    /// The five yardsticks.
    pub fn baselines(&self) -> &Baselines {
        &self.judged.baselines
    }

    /// Adds a policy judged on the same rows.
    pub fn add(&mut self, evaluation: Evaluation) {
        self.judged.policies.push(evaluation);
    }

    /// Adds a method that could not be judged.
    pub fn fail(&mut self, method: &str, error: String) {
        self.judged.failed.push(Failed { method: method.to_owned(), error });
    }

    /// Adds a sentence a reader must know.
    pub fn notice(&mut self, sentence: String) {
        if !self.judged.notices.contains(&sentence) {
            self.judged.notices.push(sentence);
        }
    }

    /// Adds what a user picks who never looks at the rows judged.
    pub fn pick(&mut self, picked: Picked) {
        self.judged.picked = Some(picked);
    }

    /// Takes all figures on the queries that the rows have in common, and compares them with the yardsticks.
    pub fn finish(self) -> Judged {
        let Self { mut judged, sources, is_thin } = self;
        let options = JudgeOptions {
            average: judged.average,
            seed: judged.seed,
            bootstrap_rounds: judged.bootstrap_rounds,
        };
        let n = judged.n_queries;
        let mut rows: Vec<Row<'_>> = Vec::new();
        let (best_single, source_best) = {
            let run = |baseline: &Option<Baseline>| baseline.as_ref().map(|baseline| baseline.run.clone());
            (run(&judged.baselines.best_single), run(&judged.baselines.source_best))
        };
        for baseline in judged.baselines.all_mut().into_iter().flatten() {
            let Baseline { figures, run, .. } = baseline;
            rows.push(Row { figures, runs: std::slice::from_ref(run) });
        }
        for policy in &mut judged.policies {
            let Evaluation { figures, runs, .. } = policy;
            rows.push(Row { figures, runs });
        }
        if let Some(Picked { figures, runs, .. }) = &mut judged.picked {
            rows.push(Row { figures, runs });
        }
        let covered: Vec<Vec<bool>> = rows.iter().map(Row::covered).collect();
        let common = if is_thin { Common::none(rows.len(), n) } else { Common::of(&covered, n) };
        let on = |run: Option<QueryOutcomes>| run.map(|run| run.on(&common.kept));
        let (best_single, source_best) = (on(best_single), on(source_best));
        let yardsticks = Yardsticks { best_single: best_single.as_ref(), source_best: source_best.as_ref() };
        for (row, has_figures) in rows.into_iter().zip(&common.has_figures) {
            row.settle(*has_figures, &common, yardsticks, &sources, &options);
        }
        judged.n_common = common.kept.iter().filter(|kept| **kept).count();
        coverage_notices(&mut judged, &common, is_thin);
        judged
    }
}

/// A row of the table, while its figures are made.
struct Row<'a> {
    figures: &'a mut Figures,
    runs: &'a [QueryOutcomes],
}

impl Row<'_> {
    fn covered(&self) -> Vec<bool> {
        let n = self.runs.first().map_or(0, |run| run.scores.len());
        (0..n).map(|query| self.runs.iter().all(|run| !run.scores[query].is_nan())).collect()
    }

    fn settle(
        self,
        has_figures: bool,
        common: &Common,
        yardsticks: Yardsticks<'_>,
        sources: &Sources,
        options: &JudgeOptions,
    ) {
        let uncovered = n_uncovered(self.runs);
        if !has_figures {
            *self.figures = Figures { n_uncovered: uncovered, ..Figures::default() };
            return;
        }
        let runs: Vec<QueryOutcomes> = self.runs.iter().map(|run| run.on(&common.kept)).collect();
        *self.figures = Figures::of(&runs, sources, options);
        self.figures.compare(&runs, yardsticks, sources, options);
        self.figures.n_uncovered = uncovered;
    }
}

fn coverage_notices(judged: &mut Judged, common: &Common, is_thin: bool) {
    if is_thin {
        return;
    }
    if judged.n_common < judged.n_queries {
        judged.notices.push(format!(
            "scores, costs and differences are taken on the {} of {} queries with an outcome in every row",
            judged.n_common, judged.n_queries
        ));
    }
    if common.has_figures.iter().any(|has| !has) {
        judged.notices.push(
            "rows shown as `-` call models without an outcome on too many queries to be compared on common ones"
                .to_owned(),
        );
    }
    if judged.singles.is_empty() {
        judged.notices.push(
            "fewer than half of the queries have a score of every model: no AIQ, no curve, no single models"
                .to_owned(),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::fixtures::{prediction, table};
    use crate::evaluate::{Contender, judge};
    use routewright_policy::selectors::Argmax;

    #[test]
    fn the_document_has_the_promised_keys_and_reads_back() {
        let test = table(&["a", "b"], &[1.0, 0.0, 0.5, 1.0], &[0.001, 0.01, 0.001, 0.03]);
        let options =
            JudgeOptions { average: Average::Macro, bootstrap_rounds: 20, ..JudgeOptions::default() };
        let mut judging = Judging::new("log.parquet", "test", Some(&test), &test, &options).unwrap();
        let guess = prediction(2, &[0.1, 0.2, 0.9, 0.2], &[0.001, 0.02, 0.001, 0.02]);
        judging.add(judge(&Contender::new("knn", &guess, &Argmax), &test, Some(&test), &options).unwrap());
        judging.fail("mlp", "no".to_owned());
        let judged = judging.finish();
        // The policy chose y, x: scores 0, 0.5; the best single model is x: scores 1, 0.5.
        assert_eq!(judged.policies[0].figures.vs_best_single.unwrap().difference, -0.5);
        assert_eq!(judged.policies[0].figures.ratio_to_best_single, Some(0.25 / 0.75));
        // One query says nothing of its source, so that the shrunk table calls the best single model in both.
        assert_eq!(judged.policies[0].figures.vs_source_best.unwrap().difference, -0.5);
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
        for key in ["score", "score_se", "cost_usd", "aiq", "aiq_se"] {
            assert!(policy[key].is_f64(), "{key} in {text}");
        }
        assert!(policy["by_source"]["a"].is_f64() && policy["fit_seconds"].is_null());
        assert_eq!(value["failed"][0]["method"], "mlp");
        let mut back: Judged = serde_json::from_str(&text).unwrap();
        // Everything but the values that are not stored.
        back.policies[0].runs.clone_from(&judged.policies[0].runs);
        back.policies[0].points.clone_from(&judged.policies[0].points);
        back.baselines = judged.baselines.clone();
        assert_eq!(back, judged);
    }

    /// The third query lacks an outcome of `y`: no row counts it, whatever it calls.
    #[test]
    fn all_rows_are_judged_on_the_same_queries() {
        let none = f32::NAN;
        let test = table(&["a"; 3], &[0.0, 1.0, 0.0, 1.0, 1.0, none], &[none; 6]);
        let options = JudgeOptions::default();
        let mut judging = Judging::new("l", "test", Some(&test), &test, &options).unwrap();
        for (name, x) in [("calls-x", 1.0), ("calls-y", 0.0)] {
            let guess = prediction(2, &[x, 0.5].repeat(3), &[none; 6]);
            judging.add(judge(&Contender::new(name, &guess, &Argmax), &test, Some(&test), &options).unwrap());
        }
        let judged = judging.finish();
        // Alone, calls-x would score a third.
        assert_eq!(judged.policies[0].figures.score, Some(0.0));
        assert_eq!(
            (judged.policies[1].figures.score, judged.policies[1].figures.n_uncovered),
            (Some(1.0), 1)
        );
        assert_eq!((judged.n_common, judged.baselines.oracle.unwrap().figures.score), (2, Some(1.0)));
        assert!(judged.notices[0].contains("2 of 3 queries"), "{:?}", judged.notices);
    }

    #[test]
    fn a_log_of_decisions_has_no_figures_and_says_what_to_do() {
        let none = f32::NAN;
        let cells = [1.0, none, none, 0.0, 1.0, none, 1.0, none].repeat(6);
        let test = table(&["a"; 24], &cells, &[none; 48]);
        let options = JudgeOptions::default();
        let mut judging = Judging::new("l", "test", Some(&test), &test, &options).unwrap();
        let guess = prediction(2, &[1.0, 0.5].repeat(24), &[none; 48]);
        judging.add(judge(&Contender::new("x", &guess, &Argmax), &test, Some(&test), &options).unwrap());
        let judged = judging.finish();
        let rows = judged.baselines.named().into_iter().filter_map(|(_, b)| Some(&b?.figures));
        for figures in rows.chain([&judged.policies[0].figures]) {
            assert_eq!((figures.score, figures.vs_best_single), (None, None));
        }
        assert!(judged.notices[0].contains("log of decisions") && judged.notices[0].contains("ope"));
        assert!(serde_json::to_value(&judged).unwrap()["policies"][0]["score"].is_null());
    }
}
