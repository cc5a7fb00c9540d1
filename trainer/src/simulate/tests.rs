//! Bandits on a known world, undisturbed and disturbed.

use super::*;
use crate::evaluate::Average;
use crate::method::Device;
use crate::progress::Silent;
use crate::train::{BaseFeatures, FeatureChoice, Prepared};
use routewright_data::features::LexicalSettings;
use routewright_data::synthetic::{Settings, World};
use serde_json::json;

struct Stage {
    prepared: Prepared,
    expected: Cells,
}

fn stage() -> Stage {
    let settings = Settings { n_arms: 4, drift: 0.0, missing: 0.0, ..Settings::default() };
    let (table, expected, _) = World::new(settings, 5).table(900);
    let base = BaseFeatures::Lexical(LexicalSettings { dim: 32, ..LexicalSettings::default() });
    let choice = FeatureChoice { base, source_weight: 1.0 };
    Stage { prepared: Prepared::new(table, &choice, 1).unwrap(), expected }
}

fn options(n_seeds: u64) -> SimulateOptions {
    SimulateOptions {
        seeds: (1..=n_seeds).collect(),
        n_rounds: 3000,
        utility: Reward::default(),
        pacing: None,
        trust: 1.0,
        learn_trust: false,
    }
}

impl Stage {
    fn play(
        &self,
        methods: &[(&str, serde_json::Value)],
        scenario: &str,
        options: &SimulateOptions,
    ) -> Result<Simulation, FitError> {
        let warm = FitContext {
            train: &self.prepared.train,
            pairs: None,
            answers: None,
            features: &self.prepared.features,
            featurizer: &self.prepared.featurizer,
            average: Average::Micro,
            seed: 1,
            device: Device::Cpu,
            progress: &Silent,
            checkpoint: None,
        };
        let (table, features) = (warm.train, warm.features);
        let played = Played { warm, table, features, expected: Some(&self.expected) };
        let rows: Vec<(&MethodRow, serde_json::Value)> = methods
            .iter()
            .map(|(name, params)| Ok((crate::methods::find(name)?, params.clone())))
            .collect::<Result<_, FitError>>()?;
        simulate(&rows, scenario::find(scenario)?, &played, options)
    }

    fn one(&self, method: &str, params: serde_json::Value, scenario: &str) -> Simulated {
        self.play(&[(method, params)], scenario, &options(3)).unwrap().methods.remove(0)
    }
}

#[test]
fn what_reads_the_query_beats_what_does_not_and_all_beat_chance() {
    let stage = stage();
    let methods = [
        "ucb1",
        "thompson",
        "linucb",
        "lints",
        "bagging",
        "cover",
        "neural-linear",
        "fgts-cdb",
        "pickllm-q",
        "pickllm-automaton",
    ];
    let rows = methods.map(|name| (name, json!({})));
    let simulation = stage.play(&rows, "stationary", &options(3)).unwrap();
    let utility: BTreeMap<&str, f64> =
        simulation.methods.iter().map(|m| (m.method.as_str(), m.utility.mean)).collect();
    assert!(utility.values().all(|u| *u > simulation.uniform.mean + 0.01), "{utility:?}");
    for name in ["linucb", "lints", "bagging", "cover", "neural-linear", "fgts-cdb"] {
        assert!(utility[name] > simulation.best_single.mean + 0.02, "{name}: {utility:?}");
    }
    assert!(
        utility["ucb1"] < simulation.best_single.mean && simulation.best_single.mean < simulation.oracle.mean
    );
    for method in &simulation.methods {
        assert!((method.regret.mean - (simulation.oracle.mean - method.utility.mean)).abs() < 1e-9);
        let (early, late) = (method.curve[49], method.curve[199] - method.curve[149]);
        assert!(late < early, "{}: regret does not fall: {early} {late}", method.method);
        assert!((method.shares.values().sum::<f64>() - 1.0).abs() < 1e-9);
    }
    assert_eq!(stage.play(&rows, "stationary", &options(3)).unwrap(), simulation, "one seed, one result");
}

#[test]
fn two_calls_a_query_cost_twice_and_cannot_be_paced() {
    let stage = stage();
    let prefer = json!({"explorer": {"name": "uniform"}});
    let one = stage.one("linucb", prefer.clone(), "stationary");
    let two = stage.one("fgts-cdb", prefer.clone(), "stationary");
    let ratio = two.cost_usd.unwrap().mean / one.cost_usd.unwrap().mean;
    assert!((ratio - 2.0).abs() < 0.1, "{ratio}");
    assert!((two.utility.mean - one.utility.mean).abs() < 0.02, "a round is worth the mean of both");
    let pacing = Some(PacerSettings::target(0.001));
    let options = SimulateOptions { pacing, ..options(1) };
    let error = stage.play(&[("fgts-cdb", prefer)], "stationary", &options).unwrap_err().to_string();
    assert!(error.contains("two arms"), "{error}");
}

#[test]
fn duplicates_count_once_and_late_or_shuffled_rewards_do_little_harm() {
    let stage = stage();
    let clean = stage.one("linucb", json!({}), "stationary");
    let duplicated = stage.one("linucb", json!({}), "duplicated");
    assert_eq!(clean, duplicated);
    for scenario in ["delayed", "reordered", "censored"] {
        let disturbed = stage.one("linucb", json!({}), scenario);
        let more = disturbed.regret.mean - clean.regret.mean;
        assert!(more > 0.0 && more < 0.05, "{scenario}: {more}");
    }
}

#[test]
fn a_stranger_who_says_the_opposite_is_weighed_by_the_trust_in_him() {
    let stage = stage();
    let regret = |trust: f64| {
        let options = SimulateOptions { trust, ..options(3) };
        stage.play(&[("linucb", json!({}))], "poisoned", &options).unwrap().methods[0].regret.mean
    };
    assert!(regret(0.0) + 0.005 < regret(1.0), "{} {}", regret(0.0), regret(1.0));
    // Trust that is learned finds him out, and leaves those who say what happened as they were.
    let learned = |scenario: &str| {
        let options = SimulateOptions { learn_trust: true, ..options(3) };
        stage.play(&[("linucb", json!({}))], scenario, &options).unwrap().methods[0].regret.mean
    };
    let (found, calm) = (learned("poisoned"), learned("stationary"));
    let plain = stage.one("linucb", json!({}), "stationary").regret.mean;
    assert!(found + 0.005 < regret(1.0), "{found}");
    assert!(calm < plain + 0.02, "{calm} {plain}");
}

#[test]
fn forgetting_recovers_from_a_silent_drop() {
    let stage = stage();
    let keeps = stage.one("linucb", json!({}), "score-drop");
    for forgetting in [json!({"discount": 0.995}), json!({"window": 300}), json!({"adwin": 0.05})] {
        let forgets = stage.one("linucb", json!({"forgetting": forgetting}), "score-drop");
        assert!(forgets.last_regret.mean < keeps.last_regret.mean, "{forgetting}: {forgets:?} {keeps:?}");
    }
    // An automaton that has settled stays where it is; a constant step goes on.
    let settled = stage.one("pickllm-automaton", json!({"per": "all", "rate": 0.2}), "score-drop");
    let steps = stage.one("pickllm-q", json!({"per": "all", "half_life": 0.0}), "score-drop");
    assert!(steps.last_regret.mean + 0.02 < settled.last_regret.mean, "{steps:?} {settled:?}");
}

#[test]
fn an_arm_is_called_only_while_it_is_there() {
    let stage = stage();
    let about = About::of(&stage.prepared.train, &Reward::default());
    let rows = shuffled(900, 1000, 4);
    let setting = about.setting(&rows, 4);
    for (name, gone) in [("removed-arm", 500..1000), ("new-arm", 0..333)] {
        let stream = (scenario::find(name).unwrap().build)(&setting);
        for (at, round) in stream.rounds.iter().enumerate() {
            let missing = stream.phases[round.phase].available.contains(&false);
            assert_eq!(missing, gone.contains(&at), "{name} at {at}");
        }
        assert!(stream.change.is_some());
    }
    for row in scenario::ALL {
        let stream = (row.build)(&setting);
        assert_eq!(stream.rounds.len(), 1000, "{}", row.name);
        assert!(stream.deliveries.iter().all(|d| d.at > d.of), "{}: news before the event", row.name);
        assert!(stream.deliveries.is_sorted_by_key(|d| d.at), "{}", row.name);
    }
}

#[test]
fn spend_is_kept_to_a_target_under_missing_late_and_duplicated_feedback() {
    let stage = stage();
    for (scenario, target) in
        [("stationary", 2e-4), ("censored", 5e-4), ("delayed", 3e-4), ("duplicated", 3e-4)]
    {
        let pacing = Some(PacerSettings::target(target));
        let options = SimulateOptions { pacing, n_rounds: 6000, ..options(2) };
        let played = stage.play(&[("linucb", json!({}))], scenario, &options).unwrap();
        let ratio = played.methods[0].spend_over_target.unwrap();
        assert!((ratio.mean - 1.0).abs() < 0.05, "{scenario}: spent {} of the target", ratio.mean);
    }
}

#[test]
fn a_fitted_policy_plays_and_stays_as_it_is() {
    let stage = stage();
    let rows = ["linucb", "ridge", "best-single"].map(|name| (name, json!({})));
    let simulation = stage.play(&rows, "stationary", &options(2)).unwrap();
    let [_, ridge, single] = simulation.methods.as_slice() else { unreachable!() };
    assert!(ridge.utility.mean > single.utility.mean, "{ridge:?} {single:?}");
    // It was fitted on the very queries: no bandit gets there.
    assert!((single.utility.mean - simulation.best_single.mean).abs() < 0.02);
    let early = ridge.curve[49] / 50.0;
    let late = (ridge.curve[199] - ridge.curve[149]) / 50.0;
    assert!((early - late).abs() < 0.3 * early.max(late), "regret of what does not learn: {early} {late}");
}

#[test]
fn unknown_names_and_parameters_are_answered() {
    let stage = stage();
    let error = |methods: &[(&str, serde_json::Value)], scenario: &str| {
        stage.play(methods, scenario, &options(1)).unwrap_err().to_string()
    };
    assert!(error(&[("linucb", json!({}))], "price-cuts").contains("`price-cut`"));
    assert!(error(&[("linucb", json!({"alpah": 1}))], "stationary").contains("alpah"));
    for (forgetting, word) in [
        (json!({"discount": 0.1}), "from 0.5 to 1"),
        (json!({"window": 3}), "at least 8"),
        (json!({"adwin": 1.0}), "probability"),
        (json!({"windw": 300}), "`window`"),
    ] {
        let found = error(&[("linucb", json!({"forgetting": forgetting}))], "stationary");
        assert!(found.contains(word), "{found}");
    }
    assert!(error(&[("linucb", json!({"explorer": {"name": "ubc"}}))], "stationary").contains("`ucb`"));
}
