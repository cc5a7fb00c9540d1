//! Bandits on streams whose every outcome is known: replays of a log, and what production does to them.
//!
//! A [`Stream`] says which query comes when, how the world differs from the log then, and when the news of
//! each reward arrives; [`scenario::ALL`] lists the ways to make one. [`run()`] plays one [`Bandit`] on it and
//! returns a [`Trace`]; [`simulate`] does so for several methods over several seeds, every method on the same
//! streams with the same draws, so that differences are paired.
//!
//! A replay of a log is a simulation too: every outcome is in the table, the bandit sees that of the arm it
//! called. Fitting an online method is one pass over the train rows.

mod bandit;
mod frozen;
mod run;
pub mod scenario;
mod stream;
mod trace;

pub use bandit::Bandit;
pub(crate) use run::preferred;
pub use run::{Ground, RunSettings, run, shuffled};
pub use scenario::ScenarioRow;
pub use stream::{Delivery, Phase, Round, Stream};
pub use trace::Trace;

use crate::method::{FitContext, FitError, MethodRow, Start};
use frozen::Frozen;
use rayon::prelude::*;
use routewright_data::{Cells, FeatureMatrix, OutcomeTable};
use routewright_policy::SelectorSpec;
use routewright_policy::forms::CostModel;
use routewright_policy::online::Reward;
use routewright_policy::pacing::PacerSettings;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How methods are simulated.
#[derive(Debug, Clone)]
pub struct SimulateOptions {
    /// Seeds; each makes its own order, draws and deliveries.
    pub seeds: Vec<u64>,
    /// Rounds of each run; the log is repeated in new orders if it is shorter.
    pub n_rounds: usize,
    /// What the regret is measured in.
    pub utility: Reward,
    /// Keeps the mean price of a call at a target.
    pub pacing: Option<PacerSettings>,
    /// Weight of rewards from sources that are not trusted, `[0, 1]`.
    pub trust: f64,
    /// Whether trust in each source is learned besides, from how far it agrees with what is expected.
    pub learn_trust: bool,
}

/// A mean over seeds with its standard error.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Mean {
    /// The mean.
    pub mean: f64,
    /// Its standard error; `None` for one seed.
    pub se: Option<f64>,
}

impl Mean {
    /// Mean and standard error of the values; zero if there are none.
    pub fn of(values: &[f64]) -> Self {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n.max(1.0);
        let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
        Self { mean, se: (values.len() > 1).then(|| (squares / (n - 1.0) / n).sqrt()) }
    }
}

/// One method on one scenario, over the seeds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Simulated {
    /// Name of the method.
    pub method: String,
    /// Regret a round.
    pub regret: Mean,
    /// Regret a round over the last quarter.
    pub last_regret: Mean,
    /// Regret a round less that of the first method, on the same streams.
    pub regret_vs_first: Mean,
    /// Utility a round.
    pub utility: Mean,
    /// Score a round.
    pub score: Mean,
    /// Spent a round, US dollars.
    pub cost_usd: Option<Mean>,
    /// Mean spend over the target.
    pub spend_over_target: Option<Mean>,
    /// Rounds until the change was recovered from, median over the seeds that did, and how many did.
    pub recovered_after: Option<(usize, usize)>,
    /// Share of each arm, by name.
    pub shares: BTreeMap<String, f64>,
    /// Mean cumulated regret at equal steps.
    pub curve: Vec<f64>,
}

/// Every method on one scenario, and the yardsticks.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Simulation {
    /// Name of the scenario.
    pub scenario: String,
    /// Rounds of each run.
    pub n_rounds: usize,
    /// Number of seeds.
    pub n_seeds: usize,
    /// Utility a round of the best arm of each round.
    pub oracle: Mean,
    /// Utility a round of calling every arm equally often.
    pub uniform: Mean,
    /// Utility a round of the best fixed arm, chosen in hindsight.
    pub best_single: Mean,
    /// The methods, in the order asked for.
    pub methods: Vec<Simulated>,
}

/// The queries of a simulation: those that are labelled before the stream starts, and those of the stream.
#[derive(Debug, Clone, Copy)]
pub struct Played<'a> {
    /// What methods may look at when they start: queries with every outcome they have.
    pub warm: FitContext<'a>,
    /// Queries of the stream.
    pub table: &'a OutcomeTable,
    /// Their features.
    pub features: &'a FeatureMatrix,
    /// Expected scores where they are known, for the regret; else the logged ones.
    pub expected: Option<&'a Cells>,
}

/// A method ready to be played, again for every seed.
enum Player<'a> {
    /// Learns from rewards; restarted for every seed.
    Learning(Start, &'a serde_json::Value),
    /// Fitted once on the labelled queries.
    Fitted(Frozen, SelectorSpec, CostModel),
}

impl<'a> Player<'a> {
    fn of(
        method: &MethodRow,
        params: &'a serde_json::Value,
        warm: &FitContext<'_>,
        utility: &Reward,
    ) -> Result<Self, FitError> {
        if let Some(start) = method.start {
            return Ok(Self::Learning(start, params));
        }
        let fitted = (method.fit)(params, warm)?;
        if fitted.program.is_some() {
            return Err(FitError::Steps { what: "a stream has no answers" });
        }
        if fitted.featurizer.is_some() {
            let reason = "it trains its own featurizer, and a stream has features already".to_owned();
            return Err(FitError::Log { method: method.name, reason });
        }
        let cost = CostModel::constant(crate::methods::mean_costs(warm.train));
        let mut selector = fitted.selector;
        if utility.cost > 0.0 && !fitted.predictor.is_conditioned() {
            // It chooses by what the regret is measured in.
            let lambda = utility.cost / utility.cost_unit_usd;
            let settings = serde_json::json!({ "lambda": lambda, "selector": selector });
            selector = SelectorSpec { name: "priced".to_owned(), settings };
        }
        Ok(Self::Fitted(Frozen(Arc::from(fitted.predictor)), selector, cost))
    }

    fn bandit(&self, warm: &FitContext<'_>) -> Result<Bandit, FitError> {
        match self {
            Self::Learning(start, params) => start(params, warm),
            Self::Fitted(frozen, selector, cost) => Ok(Bandit {
                learner: Box::new(frozen.clone()),
                selector: selector.clone(),
                reward: Reward::default(),
                normalized: false,
                cost: cost.clone(),
            }),
        }
    }
}

/// Runs every method on one scenario over every seed. A method that does not learn from rewards is fitted on the
/// labelled queries and stays as it is.
///
/// # Errors
/// If a method cannot be started or fitted, or a run fails.
pub fn simulate(
    methods: &[(&MethodRow, serde_json::Value)],
    scenario: &ScenarioRow,
    played: &Played<'_>,
    options: &SimulateOptions,
) -> Result<Simulation, FitError> {
    let &Played { warm, table, features, expected } = played;
    let arms = crate::train::arms(table);
    let ground = Ground { table, features, expected, arms: &arms };
    let players = methods.iter().map(|(method, params)| Player::of(method, params, &warm, &options.utility));
    let players = players.collect::<Result<Vec<_>, FitError>>()?;
    let about = About::of(table, &options.utility);
    let one = |&seed: &u64| -> Result<Vec<Trace>, FitError> {
        let rows = shuffled(table.n_queries(), options.n_rounds, seed);
        let stream = (scenario.build)(&about.setting(&rows, seed));
        let &SimulateOptions { utility, pacing, trust, learn_trust, .. } = options;
        let settings = RunSettings { utility, pacing, trust, learn_trust, seed };
        let play = |player: &Player<'_>| {
            let mut bandit = player.bandit(&FitContext { seed, ..warm })?;
            run(&mut bandit, ground, &stream, settings)
        };
        players.iter().map(play).collect()
    };
    let traces: Vec<Vec<Trace>> = options.seeds.par_iter().map(one).collect::<Result<_, _>>()?;
    Ok(summed_up(methods, scenario, &table.models, &traces))
}

/// What scenarios may know of the log.
struct About {
    topics: Vec<usize>,
    utility: Vec<f64>,
    cost_usd: Vec<f64>,
}

impl About {
    fn of(table: &OutcomeTable, utility: &Reward) -> Self {
        let mut numbers = BTreeMap::new();
        table.sources().into_iter().for_each(|source| {
            let next = numbers.len();
            numbers.entry(source).or_insert(next);
        });
        let cost = |arm: usize| table.cost_usd.column_mean(arm);
        let worth = |arm: usize| {
            let score = table.score.column_mean(arm).unwrap_or(f64::NAN);
            utility.of(score, cost(arm), table.latency_ms.as_ref().and_then(|cells| cells.column_mean(arm)))
        };
        Self {
            topics: table.sources().iter().map(|source| numbers[source]).collect(),
            utility: (0..table.n_arms()).map(worth).collect(),
            cost_usd: (0..table.n_arms()).map(|arm| cost(arm).unwrap_or(f64::NAN)).collect(),
        }
    }

    fn setting<'a>(&'a self, rows: &'a [usize], seed: u64) -> scenario::Setting<'a> {
        let Self { topics, utility, cost_usd } = self;
        scenario::Setting { rows, topics, utility, cost_usd, seed }
    }
}

fn summed_up(
    methods: &[(&MethodRow, serde_json::Value)],
    scenario: &ScenarioRow,
    models: &[String],
    traces: &[Vec<Trace>],
) -> Simulation {
    let over = |at: usize, figure: &dyn Fn(&Trace) -> f64| {
        Mean::of(&traces.iter().map(|runs| figure(&runs[at])).collect::<Vec<_>>())
    };
    let method = |(at, (row, _)): (usize, &(&MethodRow, serde_json::Value))| {
        let optional = |figure: &dyn Fn(&Trace) -> Option<f64>| {
            let known: Option<Vec<f64>> = traces.iter().map(|runs| figure(&runs[at])).collect();
            known.map(|known| Mean::of(&known))
        };
        let mut recovered: Vec<usize> = traces.iter().filter_map(|runs| runs[at].recovered_after).collect();
        recovered.sort_unstable();
        let median = recovered.get(recovered.len() / 2).map(|median| (*median, recovered.len()));
        let share = |(arm, model): (usize, &String)| (model.clone(), over(at, &|t| t.shares[arm]).mean);
        let points = traces.first().map_or(0, |runs| runs[at].curve.len());
        let differences: Vec<f64> = traces.iter().map(|runs| runs[at].regret - runs[0].regret).collect();
        Simulated {
            method: row.name.to_owned(),
            regret: over(at, &|t| t.regret),
            last_regret: over(at, &|t| t.last_regret),
            regret_vs_first: Mean::of(&differences),
            utility: over(at, &|t| t.utility),
            score: over(at, &|t| t.score),
            cost_usd: optional(&|t| t.cost_usd),
            spend_over_target: optional(&|t| t.spend_over_target),
            recovered_after: median,
            shares: models.iter().enumerate().map(share).collect(),
            curve: (0..points).map(|point| over(at, &|t| t.curve[point]).mean).collect(),
        }
    };
    Simulation {
        scenario: scenario.name.to_owned(),
        n_rounds: traces.first().and_then(|runs| runs.first()).map_or(0, |t| t.n_rounds),
        n_seeds: traces.len(),
        oracle: over(0, &|t| t.oracle),
        uniform: over(0, &|t| t.uniform),
        best_single: over(0, &|t| t.best_single),
        methods: methods.iter().enumerate().map(method).collect(),
    }
}

#[cfg(test)]
mod tests;
