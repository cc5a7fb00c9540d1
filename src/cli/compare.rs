//! `routewright compare --log LOG --methods a,b,c`: several methods, one table, one report.

use super::benchmarks::{self, BenchmarkArgs};
use super::evaluate::write_report;
use super::pair_log::PairArgs;
use super::{answers, compare_pairs, fitting, output};
use anyhow::{Context as _, bail};
use clap::Args;
use routewright_trainer::compare::{CompareOptions, compare};
use routewright_trainer::evaluate::YARDSTICKS;
use routewright_trainer::method::{MethodRow, Reads};
use routewright_trainer::methods;
use routewright_trainer::report;
use std::path::PathBuf;
use std::process::ExitCode;

/// Exit code when some methods failed and the others were compared.
const PARTIAL: u8 = 3;

/// Arguments of `compare`.
#[derive(Debug, Args)]
pub(crate) struct CompareCommand {
    /// Outcome log: a Parquet file or a folder of them. Beside `--pairs` it is only judged on.
    #[arg(long, value_name = "PATH", required_unless_present = "pairs")]
    log: Option<PathBuf>,
    #[command(flatten)]
    pairs: PairArgs,
    /// Methods, comma-separated, or `all` but the yardsticks that every table has. One that cannot carry the log is
    /// a row that says why; the exit code is 3 then.
    #[arg(long, value_name = "NAMES", default_value = "all", value_delimiter = ',')]
    methods: Vec<String>,
    /// Split to judge on; read once.
    #[arg(long, value_name = "NAME", default_value = "test")]
    test_split: String,
    /// Number of seeds, counted up from `--seed`; figures are means over them.
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with = "pairs")]
    seeds: u64,
    /// Folds of the cross-validation on which the best method is picked; 0 picks none.
    #[arg(long, value_name = "N", default_value_t = 3)]
    folds: usize,
    /// One parameter of one method, e.g. `--set knn.k=[20]`; may be repeated.
    #[arg(long = "set", value_name = "METHOD.KEY=VALUE")]
    settings: Vec<String>,
    /// Folder for the report: HTML, Markdown, JSON, pictures.
    #[arg(long, value_name = "DIR", conflicts_with = "pairs")]
    report: Option<PathBuf>,
    #[command(flatten)]
    benchmarks: BenchmarkArgs,
    #[command(flatten)]
    fitting: fitting::FittingArgs,
}

impl CompareCommand {
    pub(crate) fn run(self, json: bool) -> anyhow::Result<ExitCode> {
        if let Some(path) = &self.pairs.pairs {
            return self.on_pairs().run(path, json);
        }
        let log = self.log.clone().context("`--log` is missing, expected an outcome log")?;
        let rows = rows(&self.methods, answers::are_in(&log)?)?;
        self.check_device(&rows)?;
        let mut entries = Vec::new();
        for row in rows {
            entries.push((row, fitting::params(None, &fitting::settings_of(row.name, &self.settings))?));
        }
        fitting::check_settings(&self.settings)?;
        if self.seeds == 0 {
            bail!("`--seeds` is `0`, expected at least 1");
        }
        let train = self.fitting.read(&log, &self.fitting.split)?;
        let test = self.fitting.read(&log, &self.test_split)?;
        let answers = answers::of_sides(&log, [&train, &test], entries.iter().map(|(row, _)| *row))?;
        let bars = output::Bars::with_lines("compare");
        let options = CompareOptions {
            features: self.fitting.feature_choice()?,
            average: self.fitting.average,
            seeds: (0..self.seeds).map(|i| self.fitting.seed + i).collect(),
            folds: self.folds,
            device: self.fitting.device()?,
            log: log.display().to_string(),
            split: self.test_split.clone(),
            answers,
        };
        let compared = compare(&train, &test, &entries, &options, &bars)?;
        drop(bars);
        if let Some(dir) = &self.report {
            let title = format!("Methods on {}", compared.judged.log);
            write_report(&compared.judged, &title, dir)?;
        }
        let figures = self.benchmarks.figures(&compared.judged, &test)?;
        if let (true, Some(figures)) = (json, &figures) {
            let mut document = serde_json::to_value(&compared.judged)?;
            document["benchmarks"] = serde_json::to_value(figures)?;
            output::say_json(&document)?;
        } else if json {
            output::say_json(&compared.judged)?;
        } else {
            output::say(&report::text_table(&compared.judged));
            figures.iter().for_each(|figures| benchmarks::say(figures));
        }
        for failed in &compared.judged.failed {
            output::tell(&format!("error: {}: {}", failed.method, failed.error));
        }
        Ok(if compared.judged.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(PARTIAL) })
    }
}

impl CompareCommand {
    /// Refuses a GPU for a method asked for by name that would not use it.
    fn check_device(&self, rows: &[&MethodRow]) -> anyhow::Result<()> {
        if self.methods == ["all"] {
            return Ok(());
        }
        let device = self.fitting.device()?;
        rows.iter().try_for_each(|row| super::methods::check_device(row, device))
    }

    fn on_pairs(&self) -> compare_pairs::Request<'_> {
        compare_pairs::Request {
            pairs: &self.pairs,
            fitting: &self.fitting,
            log: self.log.as_deref(),
            methods: &self.methods,
            settings: &self.settings,
            test_split: &self.test_split,
            folds: self.folds,
        }
    }
}

/// The rows named; `all` means every method that can be compared on outcomes, and on answers where the log has them,
/// but the five yardsticks, which every table has.
fn rows(names: &[String], has_answers: bool) -> anyhow::Result<Vec<&'static MethodRow>> {
    if names == ["all"] {
        let is_open =
            |row: &&MethodRow| !YARDSTICKS.contains(&row.name) && (has_answers || !row.reads(Reads::Answers));
        return Ok(methods::ALL.iter().filter(is_open).collect());
    }
    names.iter().map(|name| super::methods::find(name)).collect()
}
