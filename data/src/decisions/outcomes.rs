//! The feedback of one kind, by decision.
//!
//! Every outcome is kept as a few numbers, and sorted by decision, time and outcome before anything is
//! summed: the order of delivery changes nothing, not even the last bit of a sum.

use super::feedback::{FeedbackReader, Report};
use super::key::{Key, KeyMap};
use crate::log::{FeedbackRow, LogError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// How several outcomes of one decision make one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Combine {
    /// The first by time.
    Earliest,
    /// The last by time.
    #[default]
    Latest,
    /// Their mean.
    Mean,
    /// Their sum.
    Sum,
    /// The least.
    Min,
    /// The greatest.
    Max,
}

impl Combine {
    /// Every rule, in the order of the documentation.
    pub const ALL: [Self; 6] = [Self::Earliest, Self::Latest, Self::Mean, Self::Sum, Self::Min, Self::Max];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Earliest => "earliest",
            Self::Latest => "latest",
            Self::Mean => "mean",
            Self::Sum => "sum",
            Self::Min => "min",
            Self::Max => "max",
        }
    }

    /// The value of outcomes in the order of time; `None` without any.
    fn apply(self, values: &[f64]) -> Option<f64> {
        let n = values.len() as f64;
        match self {
            Self::Earliest => values.first().copied(),
            Self::Latest => values.last().copied(),
            _ if values.is_empty() => None,
            Self::Mean => Some(values.iter().sum::<f64>() / n),
            Self::Sum => Some(values.iter().sum()),
            Self::Min => values.iter().copied().reduce(f64::min),
            Self::Max => values.iter().copied().reduce(f64::max),
        }
    }
}

impl std::fmt::Display for Combine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Combine {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.map(|rule| format!("`{rule}`")).join(", ");
        let found = Self::ALL.into_iter().find(|rule| rule.name() == text);
        found.ok_or_else(|| format!("unknown rule `{text}`; known: {known}"))
    }
}

/// What a feedback log held.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct OutcomeCounts {
    /// Rows read.
    pub rows: u64,
    /// Rows of the kind asked for, with a value, each outcome once.
    pub outcomes: u64,
    /// Rows whose outcome was seen before.
    pub repeated: u64,
    /// Repeated rows that say something else than the one that counts (the earliest).
    pub conflicting: u64,
    /// Rows of each other kind.
    pub other_kinds: BTreeMap<String, u64>,
}

/// One row: what it is of, and its numbers; NaN where unknown.
#[derive(Debug, Clone, Copy)]
struct Entry {
    decision: Key,
    outcome: Key,
    timestamp_ms: i64,
    value: f64,
    cost_usd: f64,
    of_kind: bool,
}

/// Value and billed cost of each decision.
#[derive(Debug, Clone, Default)]
pub struct Outcomes {
    /// NaN where unknown.
    of: KeyMap<[f64; 2]>,
    /// What the log held.
    pub counts: OutcomeCounts,
}

impl Outcomes {
    /// Reads the outcomes of `kind` from a feedback log; costs are taken from rows of every kind, the latest
    /// known of a decision.
    ///
    /// # Errors
    /// If the log cannot be read or a row is not valid.
    pub fn load(path: &Path, kind: &str, combine: Combine) -> Result<Self, LogError> {
        let mut collecting = Collecting::new(kind);
        FeedbackReader::open(path)?.each(|report| collecting.add(&report))?;
        Ok(collecting.finish(combine))
    }

    /// The same from rows in memory.
    pub fn of_rows<'a>(
        rows: impl IntoIterator<Item = &'a FeedbackRow>,
        kind: &str,
        combine: Combine,
    ) -> Self {
        let mut collecting = Collecting::new(kind);
        rows.into_iter().for_each(|row| collecting.add(&Report::of(row)));
        collecting.finish(combine)
    }

    /// Value of a decision, where one was received.
    pub fn value(&self, decision_id: &str) -> Option<f64> {
        self.of.get(&Key::of(decision_id)).map(|[value, _]| *value).filter(|value| !value.is_nan())
    }

    /// What the call of a decision was billed, US dollars, where known.
    pub fn cost_usd(&self, decision_id: &str) -> Option<f64> {
        self.of.get(&Key::of(decision_id)).map(|[_, cost]| *cost).filter(|cost| !cost.is_nan())
    }

    /// Decisions that have a value.
    pub fn n_valued(&self) -> u64 {
        self.of.values().filter(|[value, _]| !value.is_nan()).count() as u64
    }
}

struct Collecting<'a> {
    kind: &'a str,
    entries: Vec<Entry>,
    counts: OutcomeCounts,
}

impl<'a> Collecting<'a> {
    fn new(kind: &'a str) -> Self {
        Self { kind, entries: Vec::new(), counts: OutcomeCounts::default() }
    }

    fn add(&mut self, row: &Report<'_>) {
        self.counts.rows += 1;
        let of_kind = row.kind == self.kind;
        if !of_kind {
            *self.counts.other_kinds.entry(row.kind.to_owned()).or_default() += 1;
        }
        self.entries.push(Entry {
            decision: Key::of(row.decision_id),
            outcome: Key::of(row.outcome_id),
            timestamp_ms: row.timestamp_ms,
            value: row.value.filter(|_| of_kind).unwrap_or(f64::NAN),
            cost_usd: row.cost_usd.unwrap_or(f64::NAN),
            of_kind,
        });
    }

    fn finish(mut self, combine: Combine) -> Outcomes {
        // Of rows with one outcome id the earliest counts; ties are broken by content, never by position.
        let by_content =
            |e: &Entry| (e.outcome, e.timestamp_ms, e.decision, e.value.to_bits(), e.cost_usd.to_bits());
        self.entries.sort_unstable_by_key(by_content);
        let (mut repeated, mut conflicting) = (0, 0);
        self.entries.dedup_by(|later, first| {
            let same = later.outcome == first.outcome;
            if same {
                repeated += 1;
                conflicting += u64::from(!says_the_same(later, first));
            }
            same
        });
        (self.counts.repeated, self.counts.conflicting) = (repeated, conflicting);
        self.counts.outcomes = self.entries.iter().filter(|e| e.of_kind && !e.value.is_nan()).count() as u64;
        self.entries.sort_unstable_by_key(|e| (e.decision, e.timestamp_ms, e.outcome));
        let mut of = KeyMap::with_capacity_and_hasher(self.entries.len(), Default::default());
        let mut values = Vec::new();
        for entries in self.entries.chunk_by(|a, b| a.decision == b.decision) {
            values.clear();
            values.extend(entries.iter().map(|e| e.value).filter(|v| !v.is_nan()));
            let cost = entries.iter().rev().map(|e| e.cost_usd).find(|cost| !cost.is_nan());
            of.insert(
                entries[0].decision,
                [combine.apply(&values), cost].map(|known| known.unwrap_or(f64::NAN)),
            );
        }
        Outcomes { of, counts: self.counts }
    }
}

fn says_the_same(a: &Entry, b: &Entry) -> bool {
    let equal = |x: f64, y: f64| x.to_bits() == y.to_bits();
    a.decision == b.decision && equal(a.value, b.value) && equal(a.cost_usd, b.cost_usd)
}
