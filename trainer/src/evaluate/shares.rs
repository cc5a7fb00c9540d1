//! Share of the queries each arm answers. Unit: fraction; the shares sum to 1.

use super::Decisions;
use serde::{Deserialize, Serialize};

/// How often an arm is called.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArmShare {
    /// The arm.
    pub model: String,
    /// Mean propensity over queries, in `[0, 1]`.
    pub share: f64,
}

/// Mean propensity of each arm over all queries (each query counts once, whatever the average), the arm
/// most called first; equal shares in order of name.
pub fn arm_shares(decisions: &Decisions, models: &[String]) -> Vec<ArmShare> {
    let n = decisions.n_queries().max(1) as f64;
    let mut totals = vec![0.0_f64; models.len()];
    for query in 0..decisions.n_queries() {
        for (total, &p) in totals.iter_mut().zip(decisions.row(query)) {
            *total += f64::from(p);
        }
    }
    let share = |(model, total): (&String, f64)| ArmShare { model: model.clone(), share: total / n };
    let mut shares: Vec<ArmShare> = models.iter().zip(totals).map(share).collect();
    shares.sort_by(|a, b| b.share.total_cmp(&a.share).then_with(|| a.model.cmp(&b.model)));
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_mean_propensities_most_called_first() {
        let decisions = Decisions::deterministic(&[1, 1, 0, 1], 3);
        let shares = arm_shares(&decisions, &["x".to_owned(), "y".to_owned(), "z".to_owned()]);
        let shown: Vec<(&str, f64)> = shares.iter().map(|s| (s.model.as_str(), s.share)).collect();
        assert_eq!(shown, [("y", 0.75), ("x", 0.25), ("z", 0.0)]);
    }
}
