//! What a run of the benchmarks found: rows of figures, notes, and the table that is printed.

use super::measure::{Rounds, machine_load};
use super::output;
use serde::Serialize;
use std::fmt::Write as _;

/// What a row is held to. A ratio is ours over the peer's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Target {
    /// At most so much of the peer's time.
    RatioAtMost(f64),
    /// At least so many times the peer's rate.
    RatioAtLeast(f64),
    /// Our figure at most, in the unit of the row.
    OursAtMost(f64),
}

/// One thing measured.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Row {
    what: String,
    unit: &'static str,
    ours: Option<f64>,
    peer: Option<f64>,
    ratio: Option<f64>,
    target: Option<String>,
    /// Whether the target is met; nothing without a target or without the peer it speaks of.
    met: Option<bool>,
}

/// All that was measured.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Whether the build is optimised; figures of another one say little.
    release_build: bool,
    rounds: usize,
    /// Load averages of the machine at the start and the end.
    load_before: String,
    load_after: String,
    rows: Vec<Row>,
    notes: Vec<String>,
}

impl Target {
    fn met(self, row: &Rounds) -> Option<bool> {
        match self {
            Self::RatioAtMost(most) => row.ratio().map(|ratio| ratio <= most),
            Self::RatioAtLeast(least) => row.ratio().map(|ratio| ratio >= least),
            Self::OursAtMost(most) => row.ours().map(|ours| ours <= most),
        }
    }

    fn text(self, unit: &str) -> String {
        match self {
            Self::RatioAtMost(most) => format!("ratio <= {most}"),
            Self::RatioAtLeast(least) => format!("ratio >= {least}"),
            Self::OursAtMost(most) => format!("<= {most} {unit}"),
        }
    }
}

impl Report {
    /// An empty report; the load is taken now.
    pub(super) fn start(rounds: usize) -> Self {
        let release_build = !cfg!(debug_assertions);
        let mut report = Self {
            release_build,
            rounds,
            load_before: machine_load(),
            load_after: String::new(),
            rows: Vec::new(),
            notes: Vec::new(),
        };
        if !release_build {
            report.note("this is a development build: build with --release before believing a figure");
        }
        report
    }

    /// Takes the load at the end.
    pub(super) fn finish(&mut self) {
        self.load_after = machine_load();
    }

    /// Adds a row.
    pub(super) fn row(&mut self, what: String, unit: &'static str, rounds: &Rounds, target: Option<Target>) {
        let met = target.and_then(|target| target.met(rounds));
        let target = target.map(|target| target.text(unit));
        let (ours, peer, ratio) = (rounds.ours(), rounds.peer(), rounds.ratio());
        self.rows.push(Row { what, unit, ours, peer, ratio, target, met });
    }

    /// Adds a note, once; it is also printed at once.
    pub(super) fn note(&mut self, text: impl Into<String>) {
        let text = text.into();
        if !self.notes.contains(&text) {
            output::tell(&text);
            self.notes.push(text);
        }
    }

    /// Says that a peer is missing, and why.
    pub(super) fn skip(&mut self, peer: &str, why: &str) {
        self.note(format!("SKIPPED: peer {peer}: {why}"));
    }

    /// Whether a target was missed.
    pub(super) fn missed(&self) -> bool {
        self.rows.iter().any(|row| row.met == Some(false))
    }

    /// The table and what belongs to it.
    pub(super) fn text(&self) -> String {
        let mut lines = vec![["what", "ours", "peer", "ratio", "target", ""].map(str::to_owned)];
        lines.extend(self.rows.iter().map(Row::cells));
        let width = |column: usize| lines.iter().map(|line| line[column].len()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..6).map(width).collect();
        let mut out = String::new();
        for [what, ours, peer, ratio, target, verdict] in &lines {
            let (a, b, c, d, e) = (widths[0], widths[1], widths[2], widths[3], widths[4]);
            let line = format!("{what:<a$}  {ours:>b$}  {peer:>c$}  {ratio:>d$}  {target:<e$}  {verdict}");
            out.push_str(line.trim_end());
            out.push('\n');
        }
        let (before, after) = (&self.load_before, &self.load_after);
        let rounds = self.rounds;
        // Writing to a string does not fail.
        let _ =
            writeln!(out, "\nmedians of {rounds} alternating rounds; machine load {before}, then {after}");
        for note in &self.notes {
            let _ = writeln!(out, "{note}");
        }
        out
    }
}

impl Row {
    fn cells(&self) -> [String; 6] {
        let none = || "-".to_owned();
        let with_unit = |value: f64| format!("{} {}", figure(value), self.unit);
        [
            self.what.clone(),
            self.ours.map_or_else(none, with_unit),
            self.peer.map_or_else(none, with_unit),
            self.ratio.map_or_else(none, |ratio| format!("{ratio:.2}")),
            self.target.clone().unwrap_or_else(none),
            match (&self.target, self.met) {
                (_, Some(true)) => "met".to_owned(),
                (_, Some(false)) => "MISSED".to_owned(),
                (Some(_), None) => "not judged".to_owned(),
                (None, None) => String::new(),
            },
        ]
    }
}

/// About three digits.
fn figure(value: f64) -> String {
    match value.abs() {
        size if size < 10.0 => format!("{value:.2}"),
        size if size < 100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(ours: f64, peer: Option<f64>) -> Rounds {
        let mut rounds = Rounds::default();
        rounds.push(ours, peer);
        rounds
    }

    #[test]
    fn targets_are_judged_only_where_their_figures_exist() {
        for (target, ours, peer, met) in [
            (Target::RatioAtMost(1.0), 5.0, Some(10.0), Some(true)),
            (Target::RatioAtMost(1.0), 11.0, Some(10.0), Some(false)),
            (Target::RatioAtMost(1.0), 5.0, None, None),
            (Target::RatioAtLeast(5.0), 50.0, Some(10.0), Some(true)),
            (Target::RatioAtLeast(5.0), 49.0, Some(10.0), Some(false)),
            (Target::OursAtMost(60.0), 61.0, None, Some(false)),
            (Target::OursAtMost(60.0), 60.0, Some(1.0), Some(true)),
        ] {
            assert_eq!(target.met(&rounds(ours, peer)), met, "{target:?} {ours} {peer:?}");
        }
    }

    #[test]
    fn the_table_shows_what_is_missing_and_what_is_missed() {
        let mut report = Report::start(3);
        report.row("scan".to_owned(), "us", &rounds(5.25, Some(10.5)), Some(Target::RatioAtMost(1.0)));
        report.row("graph".to_owned(), "us", &rounds(120.4, None), Some(Target::RatioAtMost(1.0)));
        assert!(!report.missed());
        report.row("memory".to_owned(), "MB", &rounds(81.0, Some(4.0)), Some(Target::OursAtMost(80.0)));
        report.skip("hnswlib", "no --python given");
        report.finish();
        assert!(report.missed());
        let text = report.text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0].split_whitespace().collect::<Vec<_>>(),
            ["what", "ours", "peer", "ratio", "target"]
        );
        let cells = |line: &str| -> Vec<String> {
            line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect()
        };
        let rows: Vec<Vec<String>> = lines[1..4].iter().map(|line| cells(line)).collect();
        assert_eq!(rows[0], ["scan", "5.25 us", "10.5 us", "0.50", "ratio <= 1", "met"]);
        assert_eq!(rows[1], ["graph", "120 us", "-", "-", "ratio <= 1", "not judged"]);
        assert_eq!(rows[2], ["memory", "81.0 MB", "4.00 MB", "20.25", "<= 80 MB", "MISSED"]);
        assert!(text.contains("SKIPPED: peer hnswlib: no --python given"), "{text}");
    }
}
