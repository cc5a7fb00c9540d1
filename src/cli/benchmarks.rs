//! The figures of benchmarks, for `evaluate` and `compare`: a second table, and a field of the document.

use super::output;
use anyhow::{Context as _, ensure};
use clap::Args;
use routewright_data::OutcomeTable;
use routewright_trainer::evaluate::{BenchmarkFigures, Judged};

/// Arguments that ask for the figures of benchmarks.
#[derive(Debug, Args)]
pub(crate) struct BenchmarkArgs {
    /// Print the figures of RouterEval, RouterBench, RouterArena and MixInstruct too, as they define them.
    #[arg(long)]
    benchmarks: bool,
    /// Model of the log, or score in (0, 1], that RouterEval's V_R is relative to.
    #[arg(long, value_name = "MODEL|SCORE", requires = "benchmarks")]
    reference: Option<String>,
}

impl BenchmarkArgs {
    /// The figures, where they were asked for.
    pub(crate) fn figures(
        &self,
        judged: &Judged,
        test: &OutcomeTable,
    ) -> anyhow::Result<Option<Vec<BenchmarkFigures>>> {
        if !self.benchmarks {
            return Ok(None);
        }
        let reference = self.reference.as_deref().map(|name| reference(name, test)).transpose()?;
        Ok(Some(BenchmarkFigures::each(judged, reference)))
    }
}

/// The mean score of a model on the rows judged, or a number.
fn reference(name: &str, test: &OutcomeTable) -> anyhow::Result<f64> {
    if let Some(arm) = test.models.iter().position(|model| model == name) {
        return test
            .score
            .column_mean(arm)
            .with_context(|| format!("model `{name}` has no score on the rows judged"));
    }
    let score: f64 = name.parse().ok().with_context(|| {
        format!(
            "reference `{name}` is no model of the log, expected one of {}, or a score",
            test.models.join(", ")
        )
    })?;
    ensure!(score > 0.0 && score <= 1.0, "reference `{score}` is no score, expected a number in (0, 1]");
    Ok(score)
}

const COLUMNS: [&str; 9] = ["mu", "V_B", "V_R", "E_p", "AIQ", "AIQ (code)", "Arena", "mean rank", "top 3"];

/// Prints the figures as a table; columns without a figure are left out.
pub(crate) fn say(figures: &[BenchmarkFigures]) {
    let cells = |row: &BenchmarkFigures| {
        let values = [
            row.mu,
            row.v_b,
            row.v_r,
            row.e_p_bits,
            row.aiq,
            row.aiq_released,
            row.arena_score,
            row.mean_rank,
            row.top_3,
        ];
        values.map(|value| value.map(|value| format!("{value:.4}")))
    };
    let rows: Vec<_> = figures.iter().map(|row| (row.policy.as_str(), cells(row))).collect();
    let kept: Vec<usize> =
        (0..COLUMNS.len()).filter(|at| rows.iter().any(|row| row.1[*at].is_some())).collect();
    let width = rows.iter().map(|row| row.0.chars().count()).max().unwrap_or(0).max(6);
    let line = |name: &str, cell: &dyn Fn(usize) -> String| {
        let cells: Vec<String> = kept.iter().map(|at| format!("{:>10}", cell(*at))).collect();
        format!("{name:<width$}  {}", cells.join("  "))
    };
    output::say("\nAs benchmarks define it (docs/benchmarks.md):");
    output::say(&line("policy", &|at| COLUMNS[at].to_owned()));
    for (name, cells) in &rows {
        output::say(&line(name, &|at| cells[at].clone().unwrap_or_else(|| "-".to_owned())));
    }
}
