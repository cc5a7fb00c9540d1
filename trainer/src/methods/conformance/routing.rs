//! Every method that learns from features must route: be worth more than the best single model and than a look-up of
//! the topic, on a world where looking up the topic gains about half of what can be gained.
//!
//! Baselines are what is to be beaten. Methods without features (`ucb1`, `thompson`, the tabular bandits) decide by
//! source or not at all and cannot do better than the look-up: a row is examined if it needs [`Need::Features`].

use super::*;
use crate::methods::find;
use routewright_data::synthetic::Kind;

/// Standard errors by which a method must be ahead, of the paired difference over the judged queries. A policy that is
/// worth no more than its rival is that far ahead on one draw of the queries in 740.
const MARGIN: f64 = 3.0;

/// Parameters that fit within seconds in a test build and still learn: 12 clusters are hardly more than the topics, and
/// 200 steps of a warm start end before the policy tells levels apart.
fn params(row: &MethodRow) -> Value {
    let (mut params, defaults) = (quick(row), (row.defaults)());
    for (key, value) in [("clusters", json!([8, 32])), ("warm_steps", json!(600))] {
        if defaults.get(key).is_some_and(|default| default.is_array() == value.is_array()) {
            params[key] = value;
        }
    }
    params
}

/// Mean of paired differences, and its standard error.
fn lead(ours: &[f64], theirs: &[f64]) -> (f64, f64) {
    let n = ours.len() as f64;
    let gains: Vec<f64> = ours.iter().zip(theirs).map(|(a, b)| a - b).collect();
    let mean = gains.iter().sum::<f64>() / n;
    let variance = gains.iter().map(|gain| (gain - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, (variance / n).sqrt())
}

/// Queries to learn from and others to judge on, whose expected scores are known.
struct Exam {
    prepared: Prepared,
    judged: OutcomeTable,
    expected: Cells,
    features: FeatureMatrix,
}

impl Exam {
    fn new() -> Self {
        const N: usize = 3000;
        let kind = Kind::Interactions;
        let settings = Settings { kind, n_arms: 4, n_languages: 1, drift: 0.0, ..Settings::default() };
        let (table, expected, _) = World::new(settings, 3).table(N);
        let (train, judged): (Vec<usize>, Vec<usize>) = (0..N).partition(|row| row % 2 == 0);
        let prepared = prepare(table.select_rows(&train));
        let (judged, expected) = (table.select_rows(&judged), expected.select_rows(&judged));
        let features = prepared.featurizer.featurize(&feature_inputs(&judged)).unwrap();
        Self { prepared, judged, expected, features }
    }

    /// Expected score of the decisions on each judged query.
    fn worth(&self, row: &MethodRow) -> Vec<f64> {
        self.worth_of(row, &params(row))
    }

    fn worth_of(&self, row: &MethodRow, params: &Value) -> Vec<f64> {
        let fitted = fit_with(row, params, &self.prepared).unwrap();
        let prediction = self.prepared.predict(&fitted, &self.judged, &self.features).unwrap();
        let selector = selectors::build(&fitted.selector, &arms(&self.prepared.train)).unwrap();
        let eligible = vec![true; self.judged.n_arms()];
        let of_query = |query: usize| {
            let distribution = selector.distribution(&prediction.row(query), &eligible);
            let sum: f32 = distribution.iter().sum();
            assert!((sum - 1.0).abs() < 1e-5 && distribution.iter().all(|p| *p >= 0.0), "{}", row.name);
            distribution.iter().zip(self.expected.row(query)).map(|(p, s)| f64::from(p * s)).sum::<f64>()
        };
        (0..self.judged.n_queries()).map(of_query).collect()
    }

    /// What the best single model and the best model of each topic are worth.
    fn rivals(&self) -> [(&'static str, Vec<f64>); 2] {
        ["best-single", "source-best"].map(|name| (name, self.worth(find(name).unwrap())))
    }

    /// Whether decisions of that worth are ahead of both rivals; why not, where they are not.
    fn routes(&self, worth: &[f64]) -> Result<(), String> {
        for (rival, theirs) in self.rivals() {
            let (mean, error) = lead(worth, &theirs);
            if mean <= MARGIN * error {
                return Err(format!("ahead of {rival} by {mean:.4} +- {error:.4}, expected {MARGIN} errors"));
            }
        }
        Ok(())
    }
}

#[test]
fn methods_that_learn_from_features_beat_the_best_single_model_and_the_table_of_topics() {
    let exam = Exam::new();
    let learned: Vec<_> = learnable().filter(|row| row.needs.contains(&Need::Features)).collect();
    assert!(learned.len() >= 15, "{} methods learn from features", learned.len());
    let mut failed = Vec::new();
    for row in learned {
        let worth = exam.worth(row);
        if let Err(reason) = exam.routes(&worth) {
            failed.push(format!("{} {reason}", row.name));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn a_collapsed_method_fails_the_exam_and_the_oracle_passes_it() {
    let exam = Exam::new();
    for row in learnable().filter(|row| !row.needs.contains(&Need::Features)) {
        let failed = exam.routes(&exam.worth(row));
        assert!(failed.is_err(), "{} reads no features and passes", row.name);
    }
    // All neighbours alike: the same arm for every query, though features are read.
    let everyone = json!({"k": [exam.prepared.train.n_queries()], "power": [0]});
    let reason = exam.routes(&exam.worth_of(find("knn").unwrap(), &everyone)).unwrap_err();
    assert!(reason.contains("best-single"), "{reason}");
    for arm in 0..exam.judged.n_arms() {
        let always = (0..exam.judged.n_queries()).map(|row| f64::from(exam.expected.row(row)[arm]));
        assert!(exam.routes(&always.collect::<Vec<_>>()).is_err(), "always arm {arm} passes");
    }
    let best = |row: usize| exam.expected.row(row).iter().fold(0.0_f64, |best, s| best.max(f64::from(*s)));
    let oracle: Vec<f64> = (0..exam.judged.n_queries()).map(best).collect();
    exam.routes(&oracle).unwrap();
    let [(_, single), (_, topics)] = exam.rivals();
    let share = lead(&topics, &single).0 / lead(&oracle, &single).0;
    assert!(share <= 0.7, "the table of topics gains {share} of what the oracle gains");
}
