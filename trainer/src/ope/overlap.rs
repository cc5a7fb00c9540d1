//! How far the logged decisions cover what the target policy would do.

use super::Round;
use super::rounds::Clusters;
use serde::Serialize;

/// The figures of a sample that say how much of it speaks of the target policy.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Overlap {
    /// Rounds.
    pub rounds: usize,
    /// Groups of rounds that are not independent of each other; as many as rounds where none repeats.
    pub clusters: usize,
    /// Effective sample size `(sum w)^2 / sum w^2` (Kish): rounds of the target's own that tell as much, were they
    /// independent.
    pub ess: f64,
    /// `ess` over the number of rounds, in `[0, 1]`.
    pub ess_share: f64,
    /// Greatest importance weight.
    pub weight_max: f64,
    /// Mean importance weight: 1 but for chance, where propensities are right and overlap is full.
    pub weight_mean: f64,
    /// Share of the target's probability on arms the logging policy gave almost none, in `[0, 1]`.
    pub unsupported: f64,
}

impl Overlap {
    /// The overlap of a sample.
    pub fn of(rounds: &[Round]) -> Self {
        let (mut mass, mut weights, mut squares, mut unsupported) = (0.0, 0.0, 0.0, 0.0);
        for round in rounds {
            let weight = round.mass * round.importance;
            mass += round.mass;
            weights += weight;
            squares += weight * weight;
            unsupported += round.mass * round.unsupported;
        }
        let ess = if squares > 0.0 { weights * weights / squares } else { 0.0 };
        Self {
            rounds: rounds.len(),
            clusters: Clusters::of(rounds).n,
            ess,
            ess_share: ess / rounds.len().max(1) as f64,
            weight_max: rounds.iter().map(|round| round.importance).fold(0.0, f64::max),
            weight_mean: weights / mass,
            unsupported: unsupported / mass,
        }
    }
}
