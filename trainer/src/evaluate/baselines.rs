//! The five yardsticks printed beside every policy.
//!
//! `best_single`, `source_best` and `cheapest` are chosen on the train rows, never on those judged, by the
//! very predictor and selector of the methods of those names; `random` and `oracle` need no choice.

use super::{
    Average, Decisions, JudgeError, JudgeOptions, PairedDifference, Sources, paired_difference, query_costs,
    query_scores, standard_error,
};
use crate::methods::baselines::means;
use routewright_data::{FeatureMatrix, OutcomeTable};
use routewright_policy::forms::Constant;
use routewright_policy::selectors::{Argmax, Cheapest};
use routewright_policy::{Batch, Predictor, Selector};
use serde::{Deserialize, Serialize};

/// What a yardstick scores and costs on the rows judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// Average score under the average asked for, in `[0, 1]`.
    pub score: f64,
    /// Bootstrap standard error of `score`.
    pub score_se: Option<f64>,
    /// Average cost in US dollars under the same average, where known.
    pub cost_usd: Option<f64>,
    /// Mean score over queries.
    pub score_micro: f64,
    /// Mean score over sources.
    pub score_macro: f64,
    /// Mean cost over queries, US dollars.
    pub cost_usd_micro: Option<f64>,
    /// Mean cost over sources, US dollars.
    pub cost_usd_macro: Option<f64>,
    /// The arm, where it is one for every query.
    pub model: Option<String>,
    /// Score minus that of the best single model on the same queries.
    #[serde(default)]
    pub vs_best_single: Option<PairedDifference>,
    /// Queries left out because no chosen arm was observed.
    pub n_uncovered: usize,
    /// Score of each query, `NaN` where uncovered; for paired comparison, not stored.
    #[serde(skip)]
    pub query_scores: Vec<f64>,
}

/// The five yardsticks. Those chosen on train are `None` without train rows, `cheapest` also without costs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Baselines {
    /// Every arm with the same probability.
    pub random: Option<Baseline>,
    /// The arm of the least mean cost on train.
    pub cheapest: Option<Baseline>,
    /// The arm of the best mean score on train.
    pub best_single: Option<Baseline>,
    /// The best arm of each source on train; the best single one for a source not seen there.
    pub source_best: Option<Baseline>,
    /// The best arm of each query, the cheapest of equals: known only after the fact.
    pub oracle: Option<Baseline>,
}

impl Baselines {
    /// The five with the names they are reported under.
    pub fn named(&self) -> [(&'static str, Option<&Baseline>); 5] {
        [
            ("random", self.random.as_ref()),
            ("cheapest", self.cheapest.as_ref()),
            ("best_single", self.best_single.as_ref()),
            ("source_best", self.source_best.as_ref()),
            ("oracle", self.oracle.as_ref()),
        ]
    }

    fn all_mut(&mut self) -> [Option<&mut Baseline>; 5] {
        let Self { random, cheapest, best_single, source_best, oracle } = self;
        [random, cheapest, best_single, source_best, oracle].map(Option::as_mut)
    }
}

/// Judges the five yardsticks on `test`.
///
/// # Errors
/// If `test` has no score at all, or `train` has other models.
pub fn baselines(
    train: Option<&OutcomeTable>,
    test: &OutcomeTable,
    options: &JudgeOptions,
) -> Result<Baselines, JudgeError> {
    if test.score.n_present() == 0 {
        return Err(JudgeError::NoQueries);
    }
    if train.is_some_and(|train| train.models != test.models) {
        return Err(JudgeError::Models);
    }
    let sources = Sources::of(test);
    let value = |decisions: Decisions| of(&decisions, test, &sources, options);
    let train = train.filter(|train| train.score.n_present() > 0);
    let choose = |form: Constant, selector: &dyn Selector| decide(&form, selector, test).and_then(value);
    let mut found = Baselines {
        random: value(Decisions::uniform(test.n_queries(), test.n_arms())),
        cheapest: train
            .filter(|train| train.has_costs())
            .and_then(|train| choose(means::overall(train), &Cheapest)),
        best_single: train.and_then(|train| choose(means::overall(train), &Argmax)),
        source_best: train.and_then(|train| choose(means::by_source(train), &Argmax)),
        oracle: value(Decisions::deterministic(&oracle_arms(test), test.n_arms())),
    };
    if let Some(best) = found.best_single.as_ref().map(|best| best.query_scores.clone()) {
        for baseline in found.all_mut().into_iter().flatten() {
            baseline.vs_best_single = paired_difference(&baseline.query_scores, &best, &sources, options);
        }
    }
    Ok(found)
}

fn decide(form: &Constant, selector: &dyn Selector, test: &OutcomeTable) -> Option<Decisions> {
    let features = FeatureMatrix::zeros(test.n_queries(), 0);
    let sources = test.sources();
    let batch = Batch { sources: &sources, ..Batch::of(&features) };
    // A constant reads no features, so there is nothing it could refuse.
    form.predict(&batch).ok().map(|prediction| Decisions::of(&prediction, selector))
}

/// The best observed arm of each query; equal scores go to the cheaper, an unknown cost being the dearest.
fn oracle_arms(test: &OutcomeTable) -> Vec<usize> {
    let key = |query: usize, arm: usize| {
        let (score, cost) = (test.score.row(query)[arm], test.cost_usd.row(query)[arm]);
        let score = if score.is_nan() { f32::NEG_INFINITY } else { score };
        (score, if cost.is_nan() { f32::INFINITY } else { cost })
    };
    let better = |a: (f32, f32), b: (f32, f32)| a.0 > b.0 || (a.0 == b.0 && a.1 < b.1);
    let best = |query: usize| {
        (1..test.n_arms())
            .fold(0, |best, arm| if better(key(query, arm), key(query, best)) { arm } else { best })
    };
    (0..test.n_queries()).map(best).collect()
}

fn of(
    decisions: &Decisions,
    test: &OutcomeTable,
    sources: &Sources,
    options: &JudgeOptions,
) -> Option<Baseline> {
    let (scores, costs) = (query_scores(decisions, test), query_costs(decisions, test));
    Some(Baseline {
        score: sources.mean(&scores, options.average)?,
        score_se: standard_error(&scores, sources, options),
        cost_usd: sources.mean(&costs, options.average),
        score_micro: sources.mean(&scores, Average::Micro)?,
        score_macro: sources.mean(&scores, Average::Macro)?,
        cost_usd_micro: sources.mean(&costs, Average::Micro),
        cost_usd_macro: sources.mean(&costs, Average::Macro),
        model: only_arm(decisions).map(|arm| test.models[arm].clone()),
        vs_best_single: None,
        n_uncovered: scores.iter().filter(|score| score.is_nan()).count(),
        query_scores: scores,
    })
}

/// The arm that has the whole mass of every query.
fn only_arm(decisions: &Decisions) -> Option<usize> {
    let first =
        (0..decisions.n_arms()).find(|&arm| decisions.n_queries() > 0 && decisions.row(0)[arm] == 1.0)?;
    (0..decisions.n_queries()).all(|query| decisions.row(query)[first] == 1.0).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::fixtures::{near, table};

    /// x is cheap, y dear and best overall, z best in source `b`.
    fn train() -> OutcomeTable {
        table(
            &["a", "a", "b"],
            &[0.0, 1.0, 0.0, 0.5, 1.0, 0.0, 0.5, 0.0, 1.0],
            &[0.1, 0.3, 0.2, 0.1, 0.3, 0.2, 0.1, 0.3, 0.2],
        )
    }

    /// Sources `b` and one not seen in training.
    fn test() -> OutcomeTable {
        table(
            &["b", "new", "new"],
            &[0.5, 0.0, 1.0, 0.0, 0.5, 1.0, 1.0, 1.0, 0.0],
            &[0.1, 0.3, 0.2, 0.1, 0.3, 0.2, 0.1, 0.3, 0.2],
        )
    }

    #[test]
    fn the_five_by_hand() {
        let options = JudgeOptions { bootstrap_rounds: 50, ..JudgeOptions::default() };
        let found = baselines(Some(&train()), &test(), &options).unwrap();
        let check = |name: &str, micro: f64, macro_: f64, cost: f64| {
            let (_, baseline) = found.named().into_iter().find(|(n, _)| *n == name).unwrap();
            let b = baseline.unwrap();
            assert!(near(b.score_micro, micro) && near(b.score_macro, macro_), "{name}: {b:?}");
            assert!(near(b.cost_usd.unwrap(), cost) && b.score == b.score_micro, "{name}: {b:?}");
        };
        check("random", 5.0 / 9.0, (0.5 + (0.5 + 2.0 / 3.0) / 2.0) / 2.0, 0.2);
        check("cheapest", 0.5, 0.5, 0.1); // x
        check("best_single", 0.5, 0.375, 0.3); // y: 0, 0.5, 1
        check("source_best", 2.5 / 3.0, 0.875, (0.2 + 0.3 + 0.3) / 3.0); // z, then y twice
        check("oracle", 1.0, 1.0, (0.2 + 0.2 + 0.1) / 3.0); // z, z, and x as the cheaper of two
        let difference = found.oracle.as_ref().unwrap().vs_best_single.unwrap();
        assert!(near(difference.difference, 0.5) && difference.standard_error > 0.0, "{difference:?}");
        assert_eq!(found.best_single.unwrap().model.as_deref(), Some("y"));
        assert_eq!(found.oracle.unwrap().model, None);
    }

    #[test]
    fn nothing_is_chosen_on_the_rows_judged() {
        let found = baselines(None, &test(), &JudgeOptions::default()).unwrap();
        assert!(found.best_single.is_none() && found.source_best.is_none() && found.cheapest.is_none());
        assert!(found.random.is_some() && found.oracle.is_some());
    }

    #[test]
    fn bad_tables_are_refused() {
        let options = JudgeOptions::default();
        let two = table(&["a"], &[1.0, 0.0], &[0.1, 0.2]);
        assert_eq!(baselines(Some(&two), &test(), &options), Err(JudgeError::Models));
        let empty = table(&["a"], &[f32::NAN; 2], &[0.1, 0.2]);
        assert_eq!(baselines(None, &empty, &options), Err(JudgeError::NoQueries));
    }
}
