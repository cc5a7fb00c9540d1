//! `routewright simulate --methods ... --scenario ...`: bandits on a replayed log or on a simulated world.

use super::{fitting, output};
use anyhow::ensure;
use clap::Args;
use routewright_data::features::LexicalSettings;
use routewright_data::synthetic::{Settings, World};
use routewright_data::{Cells, OutcomeTable};
use routewright_policy::online::Reward;
use routewright_policy::pacing::PacerSettings;
use routewright_trainer::evaluate::{Average, align};
use routewright_trainer::method::{Device, FitContext, MethodRow};
use routewright_trainer::methods;
use routewright_trainer::progress::{Progress, Silent};
use routewright_trainer::report::{simulation_html, simulation_table};
use routewright_trainer::simulate::{Played, ScenarioRow, SimulateOptions, Simulation, scenario, simulate};
use routewright_trainer::train::{
    BaseFeatures, FeatureChoice, Prepared, SOURCE_WEIGHT, arms, feature_inputs,
};
use routewright_trainer::validation;
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `simulate`.
#[derive(Debug, Args)]
pub(crate) struct SimulateCommand {
    /// Outcome log to replay; a simulated world if there is none.
    #[arg(long, value_name = "PATH")]
    log: Option<PathBuf>,
    /// Split of the log; `all` takes every row.
    #[arg(long, value_name = "NAME", default_value = "train")]
    split: String,
    /// Methods, comma-separated, or `all` bandits; other methods are fitted on the labelled queries and do not learn
    /// afterwards.
    #[arg(long, value_name = "NAMES", default_value = "all", value_delimiter = ',')]
    methods: Vec<String>,
    /// Scenarios, comma-separated, or `all`.
    #[arg(long, value_name = "NAMES", default_value = "stationary", value_delimiter = ',')]
    scenario: Vec<String>,
    /// Rounds of each run; the number of queries by default.
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// Number of seeds, counted up from `--seed`.
    #[arg(long, value_name = "N", default_value_t = 20)]
    seeds: u64,
    /// First seed.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Queries of the simulated world.
    #[arg(long, value_name = "N", default_value_t = 6000)]
    queries: usize,
    /// Width of the text features.
    #[arg(long, value_name = "N", default_value_t = 128)]
    dim: usize,
    /// Weight of the predicted source of a query beside its text, 0 for none.
    #[arg(long, value_name = "W", default_value_t = SOURCE_WEIGHT)]
    source_weight: f32,
    /// Share of the queries that is labelled before the stream starts: what the featurizer is fitted on, and
    /// what methods with a warm start may look at.
    #[arg(long, value_name = "SHARE", default_value_t = 0.2)]
    warm_share: f64,
    /// Weight of the price in the utility that regret is measured in, in prices of the dearest arm; methods
    /// that have a `cost` parameter are rewarded alike.
    #[arg(long, value_name = "W", default_value_t = 0.0)]
    cost_weight: f64,
    /// Target for the mean price of a call, US dollars.
    #[arg(long, value_name = "USD")]
    target_usd: Option<f64>,
    /// Weight of rewards from sources that are not trusted, from 0 to 1.
    #[arg(long, value_name = "W", default_value_t = 1.0)]
    trust: f64,
    /// Learn the trust in each source from its agreement with the predictions.
    #[arg(long)]
    learn_trust: bool,
    /// One parameter of one method, e.g. `--set linucb.precision=10`; may be repeated.
    #[arg(long = "set", value_name = "METHOD.KEY=VALUE")]
    settings: Vec<String>,
    /// File for a page with the drawn regret curves.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

/// The log to play on.
struct Log {
    name: String,
    table: OutcomeTable,
    expected: Option<Cells>,
}

impl SimulateCommand {
    pub(crate) fn run(self, json: bool) -> anyhow::Result<ExitCode> {
        ensure!(self.seeds > 0, "`--seeds` is `0`, expected at least 1");
        ensure!((0.0..=1.0).contains(&self.trust), "`--trust` is `{}`, expected 0 to 1", self.trust);
        let target = self.target_usd;
        ensure!(target.is_none_or(|usd| usd > 0.0), "`--target-usd` must be above 0");
        let scenarios = self.scenarios()?;
        let rows = self.rows()?;
        let log = self.log()?;
        let slice = validation::slice(&log.table, self.seed, self.warm_share);
        ensure!(
            !slice.fit.is_empty() && !slice.valid.is_empty(),
            "`--warm-share` is `{}`, which leaves no query on one side; expected a share above 0 and below 1",
            self.warm_share
        );
        let choice = FeatureChoice {
            base: BaseFeatures::Lexical(LexicalSettings { dim: self.dim, ..LexicalSettings::default() }),
            source_weight: self.source_weight,
        };
        let prepared = Prepared::new(log.table.select_rows(&slice.valid), &choice, self.seed)?;
        // Arms nobody has tried on the labelled queries are not known to the bandits.
        let table = align(&log.table.select_rows(&slice.fit), &arms(&prepared.train))?;
        let features = prepared.featurizer.featurize(&feature_inputs(&table))?;
        let expected = log.expected.as_ref().filter(|cells| cells.n_cols() == table.n_arms());
        let expected = expected.map(|cells| cells.select_rows(&slice.fit));
        let warm = FitContext {
            train: &prepared.train,
            pairs: None,
            answers: None,
            features: &prepared.features,
            featurizer: &prepared.featurizer,
            average: Average::Micro,
            seed: self.seed,
            device: Device::Cpu,
            progress: &Silent,
            checkpoint: None,
        };
        let played = Played { warm, table: &table, features: &features, expected: expected.as_ref() };
        let options = SimulateOptions {
            seeds: (0..self.seeds).map(|i| self.seed + i).collect(),
            n_rounds: self.rounds.unwrap_or(table.n_queries()),
            utility: self.utility(&table)?,
            pacing: target.map(PacerSettings::target),
            trust: self.trust,
            learn_trust: self.learn_trust,
        };
        let bars = output::Bars::with_lines("simulate");
        let mut out: Vec<Simulation> = Vec::new();
        bars.start("scenarios", scenarios.len() as u64);
        for scenario in scenarios {
            bars.step(out.len() as u64, scenario.name);
            out.push(simulate(&rows, scenario, &played, &options)?);
        }
        drop(bars);
        self.print(&log.name, &out, json)?;
        Ok(ExitCode::SUCCESS)
    }

    fn print(&self, name: &str, simulations: &[Simulation], json: bool) -> anyhow::Result<()> {
        if let Some(path) = &self.report {
            let page = simulation_html(name, simulations)?;
            routewright_data::files::write_file(path, page.as_bytes())?;
            output::tell(&format!("written to {}", path.display()));
        }
        if json {
            return output::say_json(&serde_json::json!({ "log": name, "simulations": simulations }));
        }
        for simulation in simulations {
            output::say(&simulation_table(name, simulation));
        }
        Ok(())
    }

    fn scenarios(&self) -> anyhow::Result<Vec<&'static ScenarioRow>> {
        let is_felt =
            |row: &&ScenarioRow| !row.is_priced || self.cost_weight > 0.0 || self.target_usd.is_some();
        if self.scenario == ["all"] {
            for row in scenario::ALL.iter().filter(|row| !is_felt(row)) {
                let name = row.name;
                output::tell(&format!(
                    "note: `{name}` is left out: it changes prices, and `--cost-weight` is 0"
                ));
            }
            return Ok(scenario::ALL.iter().filter(is_felt).collect());
        }
        let rows: Vec<&ScenarioRow> =
            self.scenario.iter().map(|name| scenario::find(name)).collect::<Result<_, _>>()?;
        for row in &rows {
            ensure!(
                is_felt(row),
                "scenario `{}` changes prices alone, which a utility without them does not feel; give \
                 `--cost-weight` above 0 or `--target-usd`",
                row.name
            );
        }
        Ok(rows)
    }

    /// The methods with their parameters.
    fn rows(&self) -> anyhow::Result<Vec<(&'static MethodRow, serde_json::Value)>> {
        let online = || methods::ALL.iter().filter(|row| row.start.is_some());
        let rows: Vec<&MethodRow> = match self.methods.as_slice() {
            [all] if all == "all" => online().collect(),
            names => names.iter().map(|name| super::methods::find(name)).collect::<Result<_, _>>()?,
        };
        fitting::check_settings(&self.settings)?;
        let with_params = |row: &'static MethodRow| {
            let mut params = fitting::params(None, &fitting::settings_of(row.name, &self.settings))?;
            let defaults = (row.defaults)();
            if let (Some(given), true) = (params.as_object_mut(), defaults.get("cost").is_some()) {
                given.entry("cost").or_insert(self.cost_weight.into());
            }
            Ok((row, params))
        };
        rows.into_iter().map(with_params).collect()
    }

    fn log(&self) -> anyhow::Result<Log> {
        let Some(path) = &self.log else {
            let settings = Settings { drift: 0.0, ..Settings::default() };
            let (table, expected, _) = World::new(settings, self.seed).table(self.queries);
            return Ok(Log { name: "simulated world".to_owned(), table, expected: Some(expected) });
        };
        let split = (self.split != "all").then_some(self.split.as_str());
        let table = fitting::read_split(path, split)?;
        Ok(Log { name: path.display().to_string(), table, expected: None })
    }

    fn utility(&self, table: &OutcomeTable) -> anyhow::Result<Reward> {
        let dearest =
            (0..table.n_arms()).filter_map(|arm| table.cost_usd.column_mean(arm)).fold(0.0, f64::max);
        ensure!(
            self.cost_weight == 0.0 && self.target_usd.is_none() || dearest > 0.0,
            "`--cost-weight` and `--target-usd` need a log with prices above 0"
        );
        let cost_unit_usd = if dearest > 0.0 { dearest } else { 1.0 };
        Ok(Reward { cost: self.cost_weight, cost_unit_usd, ..Reward::default() })
    }
}
