//! Blocks of a selection with what they learn from a log.

use super::log::Log;
use crate::methods::votes::weights::Accuracies;
use routewright_data::linalg;
use routewright_policy::programs::select::{Block, log_chars};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Share of the correlations, and of the independent part, in the matrix that is inverted.
const SHARED: (f64, f64) = (0.7, 0.3);
/// Standard deviation of logarithms of lengths that a member without spread is given.
const SPREAD_MIN: f64 = 0.05;

/// Blocks by name, as parameters name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::methods) enum Kind {
    /// Who gave it.
    Who,
    /// Who gave it, by task.
    WhoByTask,
    /// How good those are that gave it.
    Accuracy,
    /// How many gave it.
    Agreement,
    /// A vote in which members that err together count less.
    Correlation,
    /// Which of the three best members gave it.
    Top,
    /// How long its answer is.
    Length,
    /// The share of each family of members that gave it, over all and by task; no block where names have no families.
    Families,
}

/// The scale of each number of a block while it is learned; `None` for a standard deviation of 0.5.
pub(in crate::methods) fn scales(block: &Block, n_members: usize) -> Vec<Option<f64>> {
    let n = block.dim(n_members);
    match block {
        Block::Who => vec![Some(1.0); n],
        Block::WhoByTask { .. } => vec![Some(0.5); n],
        Block::Groups { groups, .. } => {
            let by_task = n - groups.len();
            [vec![Some(1.0); groups.len()], vec![Some(0.7); by_task]].concat()
        }
        _ => vec![None; n],
    }
}

/// A block learned on the rows named; `None` where the log has nothing for it.
pub(in crate::methods) fn fit(
    kind: Kind,
    log: &Log<'_>,
    rows: &[usize],
    accuracies: &Accuracies,
    separator: &str,
) -> Option<Block> {
    let tasks = || accuracies.tasks.keys().cloned().collect::<Vec<String>>();
    Some(match kind {
        Kind::Who => Block::Who,
        Kind::WhoByTask => Block::WhoByTask { tasks: tasks() },
        Kind::Accuracy => Block::Accuracy,
        Kind::Agreement => Block::Agreement,
        Kind::Top => Block::Top,
        Kind::Correlation => correlation(log, rows, accuracies)?,
        Kind::Length => length(log, rows),
        Kind::Families => {
            let groups = families(&log.models, separator);
            (!groups.is_empty()).then(|| Block::Groups { groups, tasks: tasks() })?
        }
    })
}

/// Members whose names have the same word at the same place between separators, and neither alone nor all of them.
fn families(models: &[String], separator: &str) -> Vec<Vec<usize>> {
    if separator.is_empty() {
        return Vec::new();
    }
    let mut groups = BTreeMap::<(usize, &str), Vec<usize>>::new();
    for (member, model) in models.iter().enumerate() {
        for (place, word) in model.split(separator).enumerate() {
            groups.entry((place, word)).or_default().push(member);
        }
    }
    let sets: BTreeSet<Vec<usize>> =
        groups.into_values().filter(|group| group.len() > 1 && group.len() < models.len()).collect();
    sets.into_iter().collect()
}

/// Correlations of `S_ij - g_j` over the rows that both members answer, and `max((.7 R + .3 I)^-1 1, 0)`.
fn correlation(log: &Log<'_>, rows: &[usize], accuracies: &Accuracies) -> Option<Block> {
    let n = log.models.len();
    let (mut products, mut squares) = (vec![0.0; n * n], vec![0.0; n * n]);
    for &row in rows {
        let residual = |member: usize| {
            log.votes.scores.get(row, member).map(|score| f64::from(score) - accuracies.overall[member])
        };
        let known: Vec<(usize, f64)> =
            (0..n).filter_map(|member| Some((member, residual(member)?))).collect();
        for (a, of_a) in &known {
            for (b, of_b) in &known {
                products[a * n + b] += of_a * of_b;
                // The squares of `a` on the rows that `b` has too.
                squares[a * n + b] += of_a * of_a;
            }
        }
    }
    let of = |a: usize, b: usize| {
        let scale = (squares[a * n + b] * squares[b * n + a]).sqrt();
        match a == b {
            true => 1.0,
            false if scale > 1e-12 => (products[a * n + b] / scale).clamp(-1.0, 1.0),
            false => 0.0,
        }
    };
    let between: Vec<f64> = (0..n * n).map(|at| of(at / n, at % n)).collect();
    let ridge = |at: usize| SHARED.0 * between[at] + if at / n == at % n { SHARED.1 } else { 0.0 };
    // Correlations over different rows need not make a matrix that can be inverted.
    let solved = linalg::solve_spd((0..n * n).map(ridge).collect(), vec![1.0; n], n, 1).ok()?;
    let weights = solved.into_iter().map(|weight| weight.max(0.0)).collect();
    Some(Block::Correlation { weights, between })
}

fn length(log: &Log<'_>, rows: &[usize]) -> Block {
    let of = |member: usize| {
        let lengths: Vec<f64> = rows
            .iter()
            .filter_map(|row| log.answer(*row, member).map(|_| log_chars(log.text(*row, member))))
            .collect();
        let n = lengths.len().max(1) as f64;
        let mean = lengths.iter().sum::<f64>() / n;
        let variance = lengths.iter().map(|length| (length - mean).powi(2)).sum::<f64>() / n;
        (mean, variance.sqrt().max(SPREAD_MIN))
    };
    let (means, spreads) = (0..log.models.len()).map(of).unzip();
    Block::Length { means, spreads }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_share_a_word_at_one_place_of_their_names() {
        let models = ["A/x", "A/y", "B/x", "A/x/swapped", "C"].map(str::to_owned);
        // A at the first place, x at the second; B, C, y and swapped are alone.
        assert_eq!(families(&models, "/"), [vec![0, 1, 3], vec![0, 2, 3]]);
        assert_eq!((families(&models, "").len(), families(&models[..1], "/").len()), (0, 0));
    }
}
