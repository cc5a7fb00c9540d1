//! The headline table: one row a policy, the five baselines beneath.

use super::text::{percent, printable, score, short_name, three_digits, usd_per_1k};
use crate::evaluate::{Baseline, Evaluation, Judged};
use std::fmt::Write as _;

/// Arms named in the column of the most called ones.
const TOP_ARMS: usize = 2;
/// What stands for a figure that does not exist.
const NONE: &str = "-";

/// The headline table in words, for any format.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Headline {
    /// Column titles; the first column is the name.
    pub columns: Vec<&'static str>,
    /// One row a policy.
    pub policies: Vec<HeadlineRow>,
    /// One row a baseline.
    pub baselines: Vec<HeadlineRow>,
}

/// One row of [`Headline`], one cell a column, raw text (not escaped).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HeadlineRow {
    /// What is printed.
    pub cells: Vec<String>,
    /// What is sorted by: the figure behind the text, where there is one.
    pub keys: Vec<Option<f64>>,
}

impl HeadlineRow {
    fn push(&mut self, text: impl Into<String>, key: Option<f64>) {
        self.cells.push(text.into());
        self.keys.push(key);
    }

    fn figure(&mut self, value: Option<f64>, show: fn(f64) -> String) {
        self.push(value.map_or_else(|| NONE.to_owned(), show), value);
    }
}

/// Which optional columns the document has figures for.
#[derive(Debug, Clone, Copy)]
struct Shown {
    difference: bool,
    cost: bool,
    apgr: bool,
    uncovered: bool,
}

/// The headline table of a document; columns without a single figure are left out.
pub fn headline(judged: &Judged) -> Headline {
    let any = |has: fn(&Evaluation) -> bool| judged.policies.iter().any(has);
    let baselines = || judged.baselines.named().into_iter().filter_map(|(_, baseline)| baseline);
    let shown = Shown {
        difference: any(|p| p.vs_best_single.is_some()),
        cost: any(|p| p.cost_usd.is_some()) || baselines().any(|b| b.cost_usd.is_some()),
        apgr: any(|p| p.apgr.is_some()),
        uncovered: any(|p| p.n_uncovered > 0) || baselines().any(|b| b.n_uncovered > 0),
    };
    let mut columns = vec!["method", "score", "± s.e."];
    let mut add = |shown: bool, titles: &[&'static str]| {
        columns.extend(titles.iter().filter(|_| shown));
    };
    add(shown.difference, &["vs best single", "± s.e. "]);
    add(shown.cost, &["$/1k queries", "AIQ"]);
    add(shown.apgr, &["APGR", "CPT 50 %"]);
    add(shown.uncovered, &["uncovered"]);
    add(true, &["fit s", "decide µs", "most called arms"]);
    Headline {
        columns,
        policies: judged.policies.iter().map(|policy| policy_row(policy, shown)).collect(),
        baselines: judged
            .baselines
            .named()
            .into_iter()
            .filter_map(|(name, baseline)| Some(baseline_row(name, baseline?, judged, shown)))
            .collect(),
    }
}

fn policy_row(policy: &Evaluation, shown: Shown) -> HeadlineRow {
    let mut row = HeadlineRow::default();
    row.push(policy.name(), None);
    row.figure(Some(policy.score), score);
    row.figure(policy.score_se, score);
    if shown.difference {
        row.figure(policy.vs_best_single.map(|d| d.difference), |d| format!("{d:+.4}"));
        row.figure(policy.vs_best_single.map(|d| d.standard_error), score);
    }
    if shown.cost {
        row.figure(policy.cost_usd, usd_per_1k);
        row.figure(policy.aiq, score);
    }
    if shown.apgr {
        row.figure(policy.apgr.as_ref().map(|a| a.apgr), score);
        row.figure(policy.apgr.as_ref().map(|a| a.cpt_50), score);
    }
    if shown.uncovered {
        row.push(policy.n_uncovered.to_string(), Some(policy.n_uncovered as f64));
    }
    row.figure(policy.fit_seconds, three_digits);
    row.figure(policy.decide_us, three_digits);
    let top = policy.shares.iter().take(TOP_ARMS).filter(|arm| arm.share >= 0.005);
    let top: Vec<String> = top.map(|a| format!("{} {}", short_name(&a.model), percent(a.share))).collect();
    row.push(top.join(", "), None);
    row
}

fn baseline_row(name: &str, baseline: &Baseline, judged: &Judged, shown: Shown) -> HeadlineRow {
    let mut row = HeadlineRow::default();
    row.push(name, None);
    row.figure(Some(baseline.score), score);
    row.figure(baseline.score_se, score);
    if shown.difference {
        row.figure(baseline.vs_best_single.map(|d| d.difference), |d| format!("{d:+.4}"));
        row.figure(baseline.vs_best_single.map(|d| d.standard_error), score);
    }
    if shown.cost {
        row.figure(baseline.cost_usd, usd_per_1k);
        row.figure(if name == "oracle" { judged.oracle_aiq } else { None }, score);
    }
    if shown.apgr {
        row.figure(None, score);
        row.figure(None, score);
    }
    if shown.uncovered {
        row.push(baseline.n_uncovered.to_string(), Some(baseline.n_uncovered as f64));
    }
    row.figure(None, score);
    row.figure(None, score);
    row.push(baseline.model.as_deref().map(short_name).unwrap_or_default(), None);
    row
}

/// Rows of cells for a terminal, aligned: names to the left, figures to the right, a rule between groups.
pub(super) fn aligned(columns: &[&str], groups: &[Vec<&[String]>]) -> String {
    let rows = || groups.iter().flatten();
    let width = |text: &str| printable(text).chars().count();
    let widths: Vec<usize> = (0..columns.len())
        .map(|i| rows().map(|row| width(&row[i])).chain([width(columns[i])]).max().unwrap_or(0))
        .collect();
    let last = widths.len().saturating_sub(1);
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut line = String::new();
        for (i, cell) in cells.enumerate() {
            let (cell, width) = (printable(cell), widths[i]);
            let _ = if i == 0 {
                write!(line, "{cell:<width$}")
            } else if i == last {
                write!(line, "  {cell}")
            } else {
                write!(line, "  {cell:>width$}")
            };
        }
        line.trim_end().to_owned() + "\n"
    };
    let rule = "-".repeat(widths.iter().sum::<usize>() + 2 * last) + "\n";
    let mut out = line(&mut columns.iter().copied());
    for group in groups.iter().filter(|group| !group.is_empty()) {
        out += &rule;
        for row in group {
            out += &line(&mut row.iter().map(String::as_str));
        }
    }
    out
}

/// The headline table for a terminal.
pub fn text_table(judged: &Judged) -> String {
    let table = headline(judged);
    let groups = [&table.policies, &table.baselines]
        .map(|rows| rows.iter().map(|row| row.cells.as_slice()).collect::<Vec<_>>());
    let mut out = caption(judged) + "\n\n" + &aligned(&table.columns, &groups);
    if let Some(aiq) = judged.singles_aiq {
        let _ = writeln!(out, "\nAIQ of mixing single models at random: {}", score(aiq));
    }
    out
}

/// Log, split, size and average, in a line.
fn caption(judged: &Judged) -> String {
    format!(
        "{}, split {}: {} queries of {} sources, {} average, scores in [0, 1]",
        printable(&judged.log),
        printable(&judged.split),
        judged.n_queries,
        judged.sources.len(),
        judged.average
    )
}
