//! The five yardsticks printed beside every policy.
//!
//! `best_single`, `source_best` and `cheapest` are chosen on the train rows under the average asked for, never on
//! those judged, by the very predictor and selector of the methods of those names; `random` and `oracle` need no
//! choice.

use super::{Decisions, Figures, JudgeError, JudgeOptions, QueryOutcomes, Sources};
use crate::methods::baselines::means;
use routewright_data::{FeatureMatrix, OutcomeTable};
use routewright_policy::forms::Constant;
use routewright_policy::selectors::{Argmax, Cheapest};
use routewright_policy::{Batch, Predictor, Selector};
use serde::{Deserialize, Serialize};

/// What a yardstick scores and costs on the rows judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// Scores, costs and differences.
    #[serde(flatten)]
    pub figures: Figures,
    /// The arm, where it is one for every query.
    pub model: Option<String>,
    /// What each query scored and cost; for paired comparison, not stored.
    #[serde(skip)]
    pub run: QueryOutcomes,
}

/// The five yardsticks. Those chosen on train are `None` without train rows, `cheapest` also without costs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Baselines {
    /// Every arm with the same probability.
    pub random: Option<Baseline>,
    /// The arm of the least average cost on train.
    pub cheapest: Option<Baseline>,
    /// The arm of the best average score on train.
    pub best_single: Option<Baseline>,
    /// The best arm of each source on train; the best single one for a source not seen there.
    pub source_best: Option<Baseline>,
    /// The best arm of each query, the cheapest of equals: known only after the fact.
    pub oracle: Option<Baseline>,
}

/// The names the five are reported under.
pub const YARDSTICKS: [&str; 5] = ["random", "cheapest", "best-single", "source-best", "oracle"];

impl Baselines {
    /// The five with the names they are reported under.
    pub fn named(&self) -> [(&'static str, Option<&Baseline>); 5] {
        let Self { random, cheapest, best_single, source_best, oracle } = self;
        let all = [random, cheapest, best_single, source_best, oracle];
        std::array::from_fn(|at| (YARDSTICKS[at], all[at].as_ref()))
    }

    pub(super) fn all_mut(&mut self) -> [Option<&mut Baseline>; 5] {
        let Self { random, cheapest, best_single, source_best, oracle } = self;
        [random, cheapest, best_single, source_best, oracle].map(Option::as_mut)
    }
}

/// Judges the five yardsticks on `test`; differences to each other are filled in by [`super::Judging::finish`].
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
    let (sources, average) = (Sources::of(test), options.average);
    let value = |decisions: Decisions| of(&decisions, test, &sources, options);
    let train = train.filter(|train| train.score.n_present() > 0);
    let choose = |form: Constant, selector: &dyn Selector| decide(&form, selector, test).and_then(value);
    Ok(Baselines {
        random: value(Decisions::uniform(test.n_queries(), test.n_arms())),
        cheapest: train
            .filter(|train| train.has_costs())
            .and_then(|train| choose(means::overall(train, average), &Cheapest)),
        best_single: train.and_then(|train| choose(means::overall(train, average), &Argmax)),
        source_best: train.and_then(|train| choose(means::by_source(train, average), &Argmax)),
        oracle: value(Decisions::deterministic(&oracle_arms(test), test.n_arms())),
    })
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
    let run = QueryOutcomes::of(decisions, test);
    let figures = Figures::of(std::slice::from_ref(&run), sources, options);
    figures.score?;
    Some(Baseline { figures, model: only_arm(decisions).map(|arm| test.models[arm].clone()), run })
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
    use crate::evaluate::Average;
    use crate::evaluate::fixtures::{near, table};

    /// Two queries of `a` and one of `b`, twenty times: the table of sources is shrunk, and three queries are no proof.
    fn twenty_times(score: &[f32; 9]) -> OutcomeTable {
        table(&["a", "a", "b"].repeat(20), &score.repeat(20), &[0.1, 0.3, 0.2].repeat(60))
    }

    /// x is cheap, y dear and best overall, z best in source `b`.
    fn train() -> OutcomeTable {
        twenty_times(&[0.0, 1.0, 0.0, 0.5, 1.0, 0.0, 0.5, 0.0, 1.0])
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
            let b = &baseline.unwrap().figures;
            let known = (b.score_micro.unwrap(), b.score_macro.unwrap());
            assert!(near(known.0, micro) && near(known.1, macro_), "{name}: {b:?}");
            assert!(near(b.cost_usd.unwrap(), cost) && b.score == b.score_micro, "{name}: {b:?}");
        };
        check("random", 5.0 / 9.0, (0.5 + (0.5 + 2.0 / 3.0) / 2.0) / 2.0, 0.2);
        check("cheapest", 0.5, 0.5, 0.1); // x
        check("best-single", 0.5, 0.375, 0.3); // y: 0, 0.5, 1
        check("source-best", 2.5 / 3.0, 0.875, (0.2 + 0.3 + 0.3) / 3.0); // z, then y twice
        check("oracle", 1.0, 1.0, (0.2 + 0.2 + 0.1) / 3.0); // z, z, and x as the cheaper of two
        assert_eq!(found.best_single.unwrap().model.as_deref(), Some("y"));
        assert_eq!(found.oracle.unwrap().model, None);
    }

    /// `y` has the best mean over queries of train, 2 / 3, `z` over sources, (0.25 + 1) / 2.
    #[test]
    fn the_best_single_model_and_what_falls_back_on_it_follow_the_average() {
        let train = twenty_times(&[0.0, 1.0, 0.0, 0.5, 1.0, 0.5, 0.5, 0.0, 1.0]);
        let found = |average| {
            let options = JudgeOptions { average, bootstrap_rounds: 0, ..JudgeOptions::default() };
            baselines(Some(&train), &test(), &options).unwrap()
        };
        let (micro, per_source) = (found(Average::Micro), found(Average::Macro));
        assert_eq!(micro.best_single.unwrap().model.as_deref(), Some("y"));
        assert_eq!(per_source.best_single.unwrap().model.as_deref(), Some("z"));
        // On the source not seen in training: y scores 0.5 and 1, z scores 1 and 0.
        assert_eq!(micro.source_best.unwrap().run.scores, [1.0, 0.5, 1.0]);
        assert_eq!(per_source.source_best.unwrap().run.scores, [1.0, 1.0, 0.0]);
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
