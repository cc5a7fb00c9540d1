//! The row a program is registered by, what it is restored from, and what several of them read or make.

use crate::program::Program;
use crate::{Arm, Router};
use std::collections::BTreeMap;

/// What a program is restored from.
#[derive(Debug, Default)]
pub struct ProgramState {
    /// Sizes, thresholds, orders.
    pub config: serde_json::Value,
    /// Routers by name.
    pub parts: BTreeMap<String, Router>,
    /// Texts of prompts by id.
    pub prompts: BTreeMap<String, String>,
}

/// Why a stored program was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProgramError {
    /// No program of that name.
    #[error("unknown program `{program}`; this build knows: {known}")]
    Unknown {
        /// Name stored.
        program: String,
        /// Names known, comma-separated.
        known: String,
    },
    /// Written by a later version of its code.
    #[error("program `{program}` has version {found}; this build reads up to {known}")]
    Newer {
        /// Name of the program.
        program: String,
        /// Version stored.
        found: u32,
        /// Newest version known.
        known: u32,
    },
    /// A part is missing, or there is one that the program does not have.
    #[error("program `{program}` has the parts [{found}], expected [{expected}]")]
    Parts {
        /// Name of the program.
        program: &'static str,
        /// Names stored, comma-separated.
        found: String,
        /// Names expected, comma-separated.
        expected: &'static str,
    },
    /// The configuration is not what this program writes.
    #[error("the configuration of program `{program}` is not valid: {reason}")]
    Config {
        /// Name of the program.
        program: &'static str,
        /// What is wrong and what would be accepted.
        reason: String,
    },
}

/// Restores a program over the given arms.
pub type Load = fn(ProgramState, &[Arm]) -> Result<Box<dyn Program>, ProgramError>;

/// A registered program: how artifacts of it are restored.
#[derive(Debug, Clone, Copy)]
pub struct ProgramRow {
    /// Name stored in the manifest.
    pub name: &'static str,
    /// Newest layout of its configuration this build writes and reads.
    pub version: u32,
    /// What it does, in one line.
    pub title: &'static str,
    /// Restores it.
    pub load: Load,
    /// A small one over the given arms, at least two: what the conformance suite runs.
    pub example: fn(&[Arm]) -> ProgramState,
}

/// Checks that a program without parts is given none.
pub(super) fn no_parts(program: &'static str, parts: &BTreeMap<String, Router>) -> Result<(), ProgramError> {
    if parts.is_empty() {
        return Ok(());
    }
    let found = parts.keys().cloned().collect::<Vec<_>>().join(", ");
    Err(ProgramError::Parts { program, found, expected: "" })
}

/// Takes the one part of a program that has one.
pub(super) fn only_part(
    program: &'static str,
    name: &'static str,
    mut parts: BTreeMap<String, Router>,
) -> Result<Router, ProgramError> {
    let found = parts.keys().cloned().collect::<Vec<_>>().join(", ");
    match parts.remove(name) {
        Some(router) if parts.is_empty() => Ok(router),
        _ => Err(ProgramError::Parts { program, found, expected: name }),
    }
}

/// Reads the configuration of a program, naming the program in the error.
pub(super) fn config<T: serde::de::DeserializeOwned>(
    program: &'static str,
    value: serde_json::Value,
) -> Result<T, ProgramError> {
    serde_json::from_value(value).map_err(|error| ProgramError::Config { program, reason: error.to_string() })
}

/// A price of money, score per US dollar, within each range in which the same one of `points` (price, score) has the
/// greatest `score - lambda * price`: the cheapest first, 0 last.
pub(super) fn breakpoints(points: impl Iterator<Item = (f64, f64)>) -> Vec<f64> {
    let mut points: Vec<(f64, f64)> = points.collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0).then(b.1.total_cmp(&a.1)));
    // Slopes between neighbours of the upper hull fall from left to right.
    let mut hull: Vec<(f64, f64)> = Vec::new();
    let slope = |a: (f64, f64), b: (f64, f64)| (b.1 - a.1) / (b.0 - a.0);
    for point in points {
        if hull.last().is_some_and(|last| point.1 <= last.1) {
            continue;
        }
        while hull.len() > 1
            && slope(hull[hull.len() - 1], point) >= slope(hull[hull.len() - 2], hull[hull.len() - 1])
        {
            hull.pop();
        }
        hull.push(point);
    }
    let slopes: Vec<f64> = hull.windows(2).map(|pair| slope(pair[0], pair[1])).collect();
    let first = slopes.first().map(|slope| slope * 2.0);
    let between = slopes.windows(2).map(|pair| (pair[0] * pair[1]).sqrt());
    first.into_iter().chain(between).chain([0.0]).collect()
}

/// A router that reads no features and predicts fixed scores, and the mean prices: parts of examples.
pub(super) fn constant_router(scores: Vec<f32>, arms: &[Arm]) -> Router {
    use crate::forms::{Constant, CostModel};
    let price = |arm: &Arm| arm.price.mean_cost_usd.map_or(f32::NAN, |usd| usd as f32);
    let cost = CostModel::constant(arms.iter().map(price).collect());
    Router {
        featurizer: std::sync::Arc::new(routewright_data::features::Column::new("vector", 0)),
        predictor: Box::new(Constant::new(scores, Vec::new(), Vec::new(), cost)),
        selector: Box::new(crate::selectors::Argmax),
    }
}
