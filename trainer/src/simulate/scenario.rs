//! What can go wrong in production, one row each: the streams bandits are chosen on.

use super::stream::{Delivery, Phase, Stream};
use crate::method::FitError;
use rand::RngExt as _;
use routewright_data::rng::{self, Rng};
use routewright_data::suggest::near_names;

/// What a scenario may know of the log.
#[derive(Debug, Clone, Copy)]
pub struct Setting<'a> {
    /// Rows of the stream, in a random order that all scenarios of a seed share.
    pub rows: &'a [usize],
    /// Number of the source of each row of the table, for topic shifts.
    pub topics: &'a [usize],
    /// Mean utility of each arm on the log.
    pub utility: &'a [f64],
    /// Mean price of each arm, `NaN` where unknown.
    pub cost_usd: &'a [f64],
    /// Seed of the scenario's own draws.
    pub seed: u64,
}

/// A registered scenario.
#[derive(Debug, Clone, Copy)]
pub struct ScenarioRow {
    /// Name on the command line.
    pub name: &'static str,
    /// What happens, in one line.
    pub title: &'static str,
    /// Whether it changes prices alone, which nothing feels where a call is not judged by its price.
    pub is_priced: bool,
    /// Makes the stream.
    pub build: fn(&Setting<'_>) -> Stream,
}

/// Every scenario, in the order of the documentation.
pub static ALL: &[ScenarioRow] = &[
    ScenarioRow {
        name: "stationary",
        title: "nothing changes, every reward arrives before the next query",
        is_priced: false,
        build: stationary,
    },
    ScenarioRow {
        name: "price-cut",
        title: "half way the dearest arm costs a tenth",
        is_priced: true,
        build: |s| {
            let dearest = greatest(s.cost_usd);
            half_way(s, |phase| phase.price[dearest] = 0.1)
        },
    },
    ScenarioRow {
        name: "score-drop",
        title: "half way the best arm silently loses 70 % of its score",
        is_priced: false,
        build: |s| {
            let best = greatest(s.utility);
            half_way(s, |phase| phase.score[best] = 0.3)
        },
    },
    ScenarioRow {
        name: "new-arm",
        title: "the best arm appears after a third of the queries",
        is_priced: false,
        build: new_arm,
    },
    ScenarioRow {
        name: "removed-arm",
        title: "half way the best arm is gone",
        is_priced: false,
        build: |s| {
            let best = greatest(s.utility);
            half_way(s, |phase| phase.available[best] = false)
        },
    },
    ScenarioRow {
        name: "delayed",
        title: "rewards arrive after 500 queries on average, exponentially",
        is_priced: false,
        build: |s| deliver(s, "delayed", |of, rng, out| push(out, of, exponential(rng, 500.0), false)),
    },
    ScenarioRow {
        name: "censored",
        title: "seven of ten rewards never arrive",
        is_priced: false,
        build: |s| {
            deliver(s, "censored", |of, rng, out| {
                if rng.random_bool(0.3) {
                    push(out, of, 0, false);
                }
            })
        },
    },
    ScenarioRow {
        name: "duplicated",
        title: "every reward arrives one to four times, up to 300 queries apart",
        is_priced: false,
        build: |s| {
            deliver(s, "duplicated", |of, rng, out| {
                push(out, of, 0, false);
                (0..rng.random_range(0..4)).for_each(|_| push(out, of, rng.random_range(0..300), false));
            })
        },
    },
    ScenarioRow {
        name: "reordered",
        title: "rewards arrive in any order within 200 queries",
        is_priced: false,
        build: |s| deliver(s, "reordered", |of, rng, out| push(out, of, rng.random_range(0..200), false)),
    },
    ScenarioRow {
        name: "poisoned",
        title: "one reward in five comes from strangers and says the opposite",
        is_priced: false,
        build: |s| deliver(s, "poisoned", |of, rng, out| push(out, of, 0, rng.random_bool(0.2))),
    },
    ScenarioRow {
        name: "topic-shift",
        title: "queries come a topic at a time",
        is_priced: false,
        build: |s| {
            let mut rows = s.rows.to_vec();
            rows.sort_by_key(|row| s.topics[*row]);
            Stream::prompt(rows, s.utility.len())
        },
    },
];

/// Finds a scenario by name.
///
/// # Errors
/// If there is none; near names are offered.
pub fn find(name: &str) -> Result<&'static ScenarioRow, FitError> {
    ALL.iter().find(|row| row.name == name).ok_or_else(|| {
        let hint = near_names(name, ALL.iter().map(|row| row.name));
        FitError::UnknownScenario { name: name.to_owned(), hint }
    })
}

/// Index of the greatest number; unknown ones never are.
fn greatest(values: &[f64]) -> usize {
    let known = |arm: &usize| if values[*arm].is_nan() { f64::NEG_INFINITY } else { values[*arm] };
    (0..values.len()).max_by(|a, b| known(a).total_cmp(&known(b))).unwrap_or(0)
}

fn stationary(s: &Setting<'_>) -> Stream {
    Stream::prompt(s.rows.to_vec(), s.utility.len())
}

fn half_way(s: &Setting<'_>, change: impl FnOnce(&mut Phase)) -> Stream {
    let mut phase = Phase::plain(s.utility.len());
    change(&mut phase);
    stationary(s).changing(s.rows.len() / 2, phase)
}

fn new_arm(s: &Setting<'_>) -> Stream {
    let mut stream = stationary(s);
    let whole = stream.phases[0].clone();
    let best = greatest(s.utility);
    // A single arm cannot be missing.
    stream.phases[0].available[best] = s.utility.len() == 1;
    stream.changing(s.rows.len() / 3, whole)
}

fn exponential(rng: &mut Rng, mean: f64) -> usize {
    (-mean * (1.0 - rng.random::<f64>()).ln()) as usize
}

fn push(out: &mut Vec<Delivery>, of: usize, delay: usize, poisoned: bool) {
    out.push(Delivery { at: of + 1 + delay, of, poisoned });
}

fn deliver(s: &Setting<'_>, name: &str, each: impl Fn(usize, &mut Rng, &mut Vec<Delivery>)) -> Stream {
    let mut rng = rng::stream(s.seed, name);
    let mut deliveries = Vec::with_capacity(s.rows.len());
    (0..s.rows.len()).for_each(|of| each(of, &mut rng, &mut deliveries));
    stationary(s).delivering(deliveries)
}
