//! The headline table: one row a policy, the best first, the baselines beneath.

use super::text::{ShortNames, percent, printable, score, three_digits, usd_per_1k};
use super::{bottom_line, verdict};
use crate::evaluate::{Baseline, Evaluation, Failed, Figures, Judged, PairedDifference};
use std::fmt::Write as _;

/// Arms named in the column of the most called ones.
const TOP_ARMS: usize = 2;
/// What stands for a figure that does not exist.
const NONE: &str = "-";
/// Mark of a policy that reads the source of each query.
pub(super) const TOLD: &str = " *";

/// The headline table in words, for any format.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Headline {
    /// Column titles; the first column is the name.
    pub columns: Vec<&'static str>,
    /// One row a policy, by falling score; methods that failed come last.
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
    /// Whether this is the method picked on train, with every seed.
    pub is_pick: bool,
}

impl HeadlineRow {
    fn push(&mut self, text: impl Into<String>, key: Option<f64>) {
        self.cells.push(text.into());
        self.keys.push(key);
    }

    fn figure(&mut self, value: Option<f64>, show: impl Fn(f64) -> String) {
        self.push(value.map_or_else(|| NONE.to_owned(), show), value);
    }

    /// A figure with its standard error.
    fn with_error(&mut self, value: Option<f64>, error: Option<f64>, show: impl Fn(f64) -> String) {
        let error = error.map_or_else(String::new, |se| format!(" ± {}", score(se)));
        self.figure(value, |value| show(value) + &error);
    }

    fn difference(&mut self, difference: Option<PairedDifference>) {
        let error = difference.map(|d| d.standard_error);
        self.with_error(difference.map(|d| d.difference), error, |d| format!("{d:+.4}"));
    }
}

/// Every column there is, in order; those without a figure are left out.
const COLUMNS: [&str; 18] = [
    "method",
    "score",
    "sd of seeds",
    "vs best-single",
    "vs source-best",
    "$/1k queries",
    "saves",
    "calls",
    "ms",
    "AIQ",
    "APGR",
    "CPT 50 %",
    "uncovered",
    "on train, vs best-single",
    "tried",
    "fit s",
    "decide µs",
    "most called arms",
];

/// The headline table of a document; columns without a single figure are left out.
pub fn headline(judged: &Judged) -> Headline {
    let mut policies: Vec<&Evaluation> = judged.policies.iter().collect();
    let key = |policy: &Evaluation| policy.figures.score.unwrap_or(f64::NEG_INFINITY);
    policies.sort_by(|a, b| key(b).total_cmp(&key(a)));
    let mut rows: Vec<HeadlineRow> = policies.into_iter().map(|policy| policy_row(policy, judged)).collect();
    rows.extend(judged.failed.iter().map(failed_row));
    // A baseline that was compared as a method is one row, not two.
    let is_named =
        |name: &str| judged.policies.iter().any(|policy| policy.policy.is_none() && policy.method == name);
    let named = judged.baselines.named().into_iter().filter(|(name, _)| !is_named(name));
    let mut baselines: Vec<HeadlineRow> =
        named.filter_map(|(name, baseline)| Some(baseline_row(name, baseline?, judged))).collect();
    baselines.extend(zero_router(judged));
    let mut table = Headline { columns: COLUMNS.to_vec(), policies: rows, baselines };
    table.drop_empty();
    table
}

impl Headline {
    /// Leaves out columns in which no row has a figure, nothing is uncovered, or every query takes one call.
    fn drop_empty(&mut self) {
        let rows = || self.policies.iter().chain(&self.baselines);
        let last = self.columns.len() - 1;
        let has = |at: usize| match self.columns[at] {
            "uncovered" => rows().any(|row| row.keys[at].is_some_and(|n| n > 0.0)),
            // One call a query is what a reader expects.
            "calls" => rows().any(|row| row.keys[at].is_some_and(|n| (n - 1.0).abs() > 1e-9)),
            _ => at < 2 || at == last || rows().any(|row| row.keys[at].is_some()),
        };
        let kept: Vec<usize> = (0..self.columns.len()).filter(|at| has(*at)).collect();
        self.columns = kept.iter().map(|at| self.columns[*at]).collect();
        for row in self.policies.iter_mut().chain(&mut self.baselines) {
            row.cells = kept.iter().map(|at| std::mem::take(&mut row.cells[*at])).collect();
            row.keys = kept.iter().map(|at| row.keys[*at]).collect();
        }
    }
}

/// Score to latency: what every row has.
fn figures(row: &mut HeadlineRow, figures: &Figures) {
    row.with_error(figures.score, figures.score_se, score);
    row.figure(figures.seed_sd, score);
    row.difference(figures.vs_best_single);
    row.difference(figures.vs_source_best);
    row.figure(figures.cost_usd, usd_per_1k);
    row.figure(figures.saving, percent);
    row.figure(figures.calls, |calls| format!("{calls:.2}"));
    row.figure(figures.latency_ms, three_digits);
}

fn policy_row(policy: &Evaluation, judged: &Judged) -> HeadlineRow {
    let picks = judged.picked.as_ref().map_or(&[][..], |picked| &picked.methods);
    let is_pick = !picks.is_empty() && picks.iter().all(|pick| pick == policy.name());
    let mut row = HeadlineRow { is_pick, ..HeadlineRow::default() };
    let told = if policy.reads_source { TOLD } else { "" };
    row.push(format!("{}{told}", policy.name()), None);
    figures(&mut row, &policy.figures);
    row.with_error(policy.aiq, policy.aiq_se, score);
    let apgr = policy.apgr.as_ref();
    row.with_error(apgr.map(|a| a.apgr), apgr.and_then(|a| a.apgr_se), score);
    row.figure(apgr.map(|a| a.cpt_50), score);
    row.push(policy.figures.n_uncovered.to_string(), Some(policy.figures.n_uncovered as f64));
    row.difference(policy.validation.and_then(|found| found.vs_best_single));
    let tried = policy.tuning.map(|tuning| (tuning.candidates * tuning.slices) as f64);
    row.figure(tried, |_| {
        policy.tuning.map_or_else(String::new, |t| format!("{} x {}", t.candidates, t.slices))
    });
    row.figure(policy.fit_seconds, three_digits);
    row.figure(policy.decide_us, three_digits);
    let top = policy.shares.iter().take(TOP_ARMS).filter(|arm| arm.share >= 0.005);
    let names = ShortNames::of_models(judged);
    let top: Vec<String> = top.map(|a| format!("{} {}", names.get(&a.model), percent(a.share))).collect();
    row.push(top.join(", "), None);
    row
}

/// A row without figures that says why.
fn failed_row(failed: &Failed) -> HeadlineRow {
    let mut row = HeadlineRow::default();
    row.push(failed.method.as_str(), None);
    (0..COLUMNS.len() - 2).for_each(|_| row.push(NONE, None));
    row.push(failed.error.as_str(), None);
    row
}

fn baseline_row(name: &str, baseline: &Baseline, judged: &Judged) -> HeadlineRow {
    let mut row = HeadlineRow::default();
    let picks = judged.picked.as_ref().map_or(&[][..], |picked| &picked.methods);
    row.is_pick = !picks.is_empty() && picks.iter().all(|pick| pick == name);
    row.push(format!("{name}{}", if name == "source-best" { TOLD } else { "" }), None);
    figures(&mut row, &baseline.figures);
    row.figure(if name == "oracle" { judged.oracle_aiq } else { None }, score);
    (0..2).for_each(|_| row.push(NONE, None));
    row.push(baseline.figures.n_uncovered.to_string(), Some(baseline.figures.n_uncovered as f64));
    (0..4).for_each(|_| row.push(NONE, None));
    row.push(
        baseline.model.as_deref().map(|model| ShortNames::of_models(judged).get(model)).unwrap_or_default(),
        None,
    );
    row
}

/// The row of mixing single models at random, which has an AIQ and no score of its own.
fn zero_router(judged: &Judged) -> Option<HeadlineRow> {
    let aiq = judged.singles_aiq?;
    let mut row = HeadlineRow::default();
    row.push("zero-router", None);
    (0..8).for_each(|_| row.push(NONE, None));
    row.with_error(Some(aiq), judged.singles_aiq_se, score);
    (0..7).for_each(|_| row.push(NONE, None));
    row.push("single models, mixed", None);
    Some(row)
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

/// The headline table for a terminal, with what must be known of it above and what follows from it below.
pub fn text_table(judged: &Judged) -> String {
    let mut table = headline(judged);
    for row in table.policies.iter_mut().chain(&mut table.baselines) {
        row.cells[0].insert_str(0, if row.is_pick { "> " } else { "  " });
    }
    let groups = [&table.policies, &table.baselines]
        .map(|rows| rows.iter().map(|row| row.cells.as_slice()).collect::<Vec<_>>());
    let mut out = caption(judged) + "\n";
    for notice in &judged.notices {
        let _ = writeln!(out, "note: {}", printable(notice));
    }
    out += "\n";
    out += &aligned(&table.columns, &groups);
    let words = legend(judged, &table);
    if !words.is_empty() {
        let _ = writeln!(out, "\n{words}");
    }
    let verdict = verdict(judged);
    if !verdict.is_empty() {
        let _ = writeln!(out, "\n{verdict}");
    }
    for promise in &judged.promises {
        let _ = writeln!(out, "\n{}", printable_lines(&promise.to_string()));
    }
    let last = bottom_line(judged);
    if !last.is_empty() {
        let _ = writeln!(out, "\n{last}");
    }
    out
}

/// Lines whose control characters are escaped, the ends of lines kept.
fn printable_lines(text: &str) -> String {
    text.lines().map(printable).collect::<Vec<_>>().join("\n")
}

/// What the marks of the table mean, where it has them.
pub(super) fn legend(judged: &Judged, table: &Headline) -> String {
    let mut words = Vec::new();
    if table.policies.iter().chain(&table.baselines).any(|row| row.is_pick) {
        words.push("> picked on train");
    }
    let told =
        judged.policies.iter().any(|policy| policy.reads_source) || judged.baselines.source_best.is_some();
    if told {
        words.push("* is given the true source of each query");
    }
    if table.columns.contains(&"tried") {
        words.push("tried: settings compared x slices of train");
    }
    words.join("; ")
}

/// Log, split, size and average, in a line.
fn caption(judged: &Judged) -> String {
    format!(
        "{}, split {}: {} of {}, {} average, scores in [0, 1]",
        printable(&judged.log),
        printable(&judged.split),
        super::text::count(judged.n_queries, "query", "queries"),
        super::text::count(judged.sources.len(), "source", "sources"),
        judged.average
    )
}
