//! The estimates of parts of the log: by policy version, by source, by number of candidates.

use super::estimate::{EstimateOptions, Sample, estimate};
use super::{Difference, Estimator, OpeError, Overlap, Round};
use routewright_data::log::DecisionRow;
use serde::Serialize;
use std::collections::HashMap;

/// Parts of one column that are reported, the largest; the others are counted together as `(others)`.
const SEGMENTS_MAX: usize = 12;
/// Rounds below which a part is not estimated.
const ROUNDS_MIN: usize = 30;

/// What one estimator says of a part of the log.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Segment {
    /// What the log was parted by: `policy_version`, `source` or `candidates`.
    pub by: &'static str,
    /// The part.
    pub name: String,
    /// Its rounds.
    pub rounds: usize,
    /// Its effective sample size.
    pub ess: f64,
    /// Mean logged reward.
    pub logged: f64,
    /// The estimator's value and the rest of its figures; `None` below 30 rounds.
    pub value: Option<f64>,
    /// Bootstrap standard error of the value.
    pub standard_error: Option<f64>,
    /// Value minus mean logged reward.
    pub vs_logged: Option<Difference>,
}

/// A name for every round, as numbers.
#[derive(Debug)]
struct Family {
    by: &'static str,
    numbers: HashMap<String, u32>,
    of: Vec<u32>,
}

/// The parts each round belongs to.
#[derive(Debug)]
pub(super) struct Labels([Family; 3]);

impl Labels {
    pub(super) fn new() -> Self {
        Self(["policy_version", "source", "candidates"].map(|by| Family {
            by,
            numbers: HashMap::new(),
            of: Vec::new(),
        }))
    }

    pub(super) fn add(&mut self, row: &DecisionRow) {
        let n = row.candidates.len().to_string();
        let names = [&*row.policy_version, row.source.as_deref().unwrap_or("(none)"), n.as_str()];
        for (family, name) in self.0.iter_mut().zip(names) {
            let next = family.numbers.len() as u32;
            let number = match family.numbers.get(name) {
                Some(number) => *number,
                None => *family.numbers.entry(name.to_owned()).or_insert(next),
            };
            family.of.push(number);
        }
    }

    /// Estimates every part of the columns that have more than one.
    pub(super) fn estimate(
        &self,
        rounds: &[Round],
        estimator: &Estimator,
        options: &EstimateOptions,
    ) -> Result<Vec<Segment>, OpeError> {
        let mut out = Vec::new();
        for family in self.0.iter().filter(|family| family.numbers.len() > 1) {
            for (name, part) in family.parts(rounds) {
                out.push(segment(family.by, name, &part, estimator, options)?);
            }
        }
        Ok(out)
    }
}

impl Family {
    /// The parts with their rounds, the largest first.
    fn parts(&self, rounds: &[Round]) -> Vec<(String, Vec<Round>)> {
        let mut parts: Vec<(String, Vec<Round>)> = vec![Default::default(); self.numbers.len()];
        for (name, number) in &self.numbers {
            parts[*number as usize].0.clone_from(name);
        }
        for (round, number) in rounds.iter().zip(&self.of) {
            parts[*number as usize].1.push(*round);
        }
        parts.sort_by(|a, b| b.1.len().cmp(&a.1.len()).then_with(|| a.0.cmp(&b.0)));
        if parts.len() > SEGMENTS_MAX {
            let others = parts.drain(SEGMENTS_MAX - 1..).flat_map(|(_, rounds)| rounds).collect();
            parts.push(("(others)".to_owned(), others));
        }
        parts
    }
}

fn segment(
    by: &'static str,
    name: String,
    part: &[Round],
    estimator: &Estimator,
    options: &EstimateOptions,
) -> Result<Segment, OpeError> {
    let mass: f64 = part.iter().map(|round| round.mass).sum();
    let logged = part.iter().map(|round| round.mass * round.reward).sum::<f64>() / mass;
    let mut segment = Segment {
        by,
        name,
        rounds: part.len(),
        ess: Overlap::of(part).ess,
        logged,
        value: None,
        standard_error: None,
        vs_logged: None,
    };
    if part.len() >= ROUNDS_MIN {
        let sample = Sample { target: part, ..Sample::default() };
        let found = estimate(&sample, &[estimator], options)?.1;
        if let Some(found) = found.first() {
            segment.value = found.value;
            segment.standard_error = found.standard_error;
            segment.vs_logged = found.vs_logged;
        }
    }
    Ok(segment)
}
