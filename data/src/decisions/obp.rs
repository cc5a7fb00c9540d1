//! Decisions and rewards as the arrays the Open Bandit Pipeline reads (its `bandit_feedback`), in numpy files.
//!
//! | file | shape | what |
//! |---|---|---|
//! | `action.npy` | `(n,)` int64 | number of the chosen model in `names.json` |
//! | `reward.npy` | `(n,)` float64 | reward |
//! | `pscore.npy` | `(n,)` float64 | probability with which it was chosen |
//! | `action_dist.npy` | `(n, n_actions, 1)` float64 | the logging policy's probabilities, 0 for no candidates |
//! | `context.npy` | `(n, dim)` float64 | logged features, where every row has them |
//! | `names.json` | | models in order, decision ids in order, sizes |
//!
//! Only decisions with a reward are written. The format of the files:
//! <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>, version 1.

use super::{DecisionReader, Outcomes, RewardRule, Rewarded};
use crate::files;
use crate::log::{DecisionRow, LogError};
use std::collections::BTreeMap;
use std::path::Path;

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct ObpSummary {
    /// Rounds written.
    pub rounds: u64,
    /// Models.
    pub actions: u64,
    /// Width of the context, 0 where there is none.
    pub context: u64,
    /// Decisions left out for want of a reward.
    pub without_reward: u64,
}

/// Writes the arrays into folder `dir`, all of them or none.
///
/// # Errors
/// If the log cannot be read, holds a row that is not valid, has no decision with a reward, or a file cannot
/// be written.
pub fn write_obp(
    decisions: &Path,
    outcomes: &Outcomes,
    rule: &RewardRule,
    dir: &Path,
) -> Result<ObpSummary, LogError> {
    let (mut rows, mut without_reward) = (Vec::new(), 0);
    for batch in DecisionReader::open(decisions)? {
        for row in batch? {
            match rule.apply(&row, outcomes) {
                Rewarded::Reward(reward) => rows.push((DecisionRow { prompt: None, ..row }, reward)),
                Rewarded::NoFeedback | Rewarded::NoCost => without_reward += 1,
            }
        }
    }
    if rows.is_empty() {
        let path = decisions.display().to_string();
        return Err(LogError::Empty {
            path,
            expected: "expected decisions with feedback of the kind asked for",
        });
    }
    let mut numbers: BTreeMap<&str, usize> =
        rows.iter().flat_map(|(row, _)| row.candidates.iter().map(|model| (model.as_str(), 0))).collect();
    numbers.values_mut().enumerate().for_each(|(at, number)| *number = at);
    let (n, k) = (rows.len(), numbers.len());
    let action: Vec<u8> =
        rows.iter().flat_map(|(row, _)| (numbers[row.model.as_str()] as i64).to_le_bytes()).collect();
    let mut dist = vec![0.0_f64; n * k];
    for ((row, _), dist) in rows.iter().zip(dist.chunks_exact_mut(k)) {
        for (model, p) in row.candidates.iter().zip(&row.propensities) {
            dist[numbers[model.as_str()]] = f64::from(*p);
        }
    }
    let context = context(&rows);
    let ids: Vec<&str> = rows.iter().map(|(row, _)| row.decision_id.as_str()).collect();
    let names = serde_json::json!({
        "n_rounds": n, "n_actions": k, "actions": numbers.keys().collect::<Vec<_>>(), "decisions": ids,
    });
    let (dim, context) = context.map_or((0, None), |(dim, values)| (dim, Some(values)));
    let mut entries = vec![
        ("action.npy", npy("<i8", &format!("({n},)"), &action)),
        ("reward.npy", npy("<f8", &format!("({n},)"), &bytes(rows.iter().map(|(_, reward)| *reward)))),
        ("pscore.npy", npy("<f8", &format!("({n},)"), &bytes(rows.iter().map(|(row, _)| row.propensity)))),
        ("action_dist.npy", npy("<f8", &format!("({n}, {k}, 1)"), &bytes(dist.into_iter()))),
        ("names.json", format!("{names:#}\n").into_bytes()),
    ];
    if let Some(context) = context {
        entries.push(("context.npy", npy("<f8", &format!("({n}, {dim})"), &bytes(context.into_iter()))));
    }
    let entries: Vec<(&str, &[u8])> = entries.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
    files::write_files(dir, &entries)?;
    Ok(ObpSummary { rounds: n as u64, actions: k as u64, context: dim as u64, without_reward })
}

/// Logged features and their width, where every row has them.
fn context(rows: &[(DecisionRow, f64)]) -> Option<(usize, Vec<f64>)> {
    let dim = rows.first()?.0.features.as_ref()?.len();
    let same = |row: &DecisionRow| row.features.as_ref().is_some_and(|x| x.len() == dim);
    let all = rows.iter().all(|(row, _)| same(row));
    let values = rows.iter().flat_map(|(row, _)| row.features.iter().flatten().map(|v| f64::from(*v)));
    all.then(|| (dim, values.collect()))
}

fn bytes(values: impl Iterator<Item = f64>) -> Vec<u8> {
    values.flat_map(f64::to_le_bytes).collect()
}

/// A numpy file: header, then the values in C order.
fn npy(descr: &str, shape: &str, values: &[u8]) -> Vec<u8> {
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
    // Ten bytes stand before the header, a line break ends it, all a multiple of 64.
    while (10 + header.len() + 1) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    let mut out = b"\x93NUMPY\x01\x00".to_vec();
    out.extend_from_slice(&(header.len() as u16).to_le_bytes());
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(values);
    out
}
