//! The statistics as a text for people.

use super::LogStats;
use std::fmt;

/// Sources listed at most.
const SOURCES_MAX: usize = 40;

impl fmt::Display for LogStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}: {} rows, {} queries, {} different prompts, {} models",
            self.path,
            self.rows,
            self.queries,
            self.prompts,
            self.models.len()
        )?;
        let number =
            |value: Option<f64>, digits: usize| value.map_or("-".to_owned(), |v| format!("{v:.digits$}"));
        let models = self.models.iter().map(|m| {
            let coverage = format!("{:.1} %", 100.0 * m.coverage);
            let (score, cost) = (number(m.score, 4), number(m.cost_usd, 6));
            vec![m.model.clone(), score, cost, number(m.latency_ms, 0), m.scored.to_string(), coverage]
        });
        let header = ["model", "score", "cost_usd", "latency_ms", "scored", "coverage"];
        write!(f, "\n{}", aligned(&header, models))?;
        let sources = self.sources.iter().take(SOURCES_MAX).map(|s| {
            let best = s.best_model.as_deref();
            let score = number(best.and_then(|model| s.score.get(model)).copied(), 4);
            vec![s.source.clone(), s.queries.to_string(), best.unwrap_or("-").to_owned(), score]
        });
        write!(f, "\n{}", aligned(&["source", "queries", "best model", "its score"], sources))?;
        if self.sources.len() > SOURCES_MAX {
            writeln!(f, "and {} more sources", self.sources.len() - SOURCES_MAX)?;
        }
        let splits =
            self.splits.iter().map(|s| vec![s.split.clone(), s.queries.to_string(), s.rows.to_string()]);
        write!(f, "\n{}\n", aligned(&["split", "queries", "rows"], splits))?;
        writeln!(
            f,
            "{:.2} scored cells a query, {:.1} % of all cells",
            self.cells_a_query,
            100.0 * self.coverage
        )?;
        if self.samples > 1 {
            writeln!(f, "up to {} samples of a model on a query", self.samples)?;
        }
        if !self.answers.is_empty() {
            let filled = self.answers.iter().map(|(column, n)| format!("{n} {column}"));
            writeln!(f, "rows with a value of answers: {}", filled.collect::<Vec<_>>().join(", "))?;
        }
        if self.leakage.is_empty() {
            writeln!(f, "no prompt is in two splits")?;
        }
        for leak in &self.leakage {
            let [a, b] = &leak.splits;
            writeln!(f, "leakage: {} prompts stand in both `{a}` and `{b}`", leak.prompts)?;
        }
        for warning in &self.warnings {
            writeln!(f, "warning: {warning}")?;
        }
        Ok(())
    }
}

/// Columns padded to their widest cell; the first column to the left, the others to the right.
fn aligned(header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let header = header.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    let rows: Vec<Vec<String>> = std::iter::once(header).chain(rows).collect();
    let n_columns = rows.first().map_or(0, Vec::len);
    let width = |col: usize| rows.iter().map(|row| row[col].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..n_columns).map(width).collect();
    let mut out = String::new();
    for row in &rows {
        for (col, (cell, &width)) in row.iter().zip(&widths).enumerate() {
            let padding = " ".repeat(width - cell.chars().count());
            let cell = if col == 0 { format!("{cell}{padding}") } else { format!("  {padding}{cell}") };
            out.push_str(&cell);
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
    }
    out
}
