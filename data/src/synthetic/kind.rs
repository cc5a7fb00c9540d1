//! The kinds of worlds: how large each part of the score is.

use super::phrases::{LEVEL_SHARES, N_LEVELS, TOPICS};
use crate::rng;
use rand::seq::SliceRandom as _;

/// What decides which arm is best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    /// The topic, above all: a table of the best arm of each topic gains nearly all that the oracle gains.
    #[default]
    Topics,
    /// The topic together with the level, which reverses some topics, and a difficulty that arms feel unequally: a
    /// table of the best arm of each topic gains a half or less of what the oracle gains.
    Interactions,
}

/// Sizes of the parts, in logits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Shape {
    /// Spread of an arm's skills over the topics.
    pub(super) skill: f64,
    /// Spread of an arm's craft over the levels.
    pub(super) craft: f64,
    /// Topics whose skills change sign on hard queries.
    pub(super) n_reversed: usize,
    /// Spread of the logarithm of how much an arm feels difficulty.
    pub(super) strain: f64,
    /// Size of the difficulty that only level and audience together show.
    pub(super) twist: f64,
    /// Spread of the difficulty that the text does not show.
    pub(super) hidden: f64,
}

impl Kind {
    pub(super) fn shape(self) -> Shape {
        match self {
            Self::Topics => {
                Shape { skill: 1.4, craft: 0.0, n_reversed: 0, strain: 0.0, twist: 0.0, hidden: 0.3 }
            }
            Self::Interactions => {
                Shape { skill: 1.1, craft: 1.2, n_reversed: 3, strain: 0.5, twist: 0.6, hidden: 0.6 }
            }
        }
    }
}

/// Sides of the audiences in the twist.
const SIDES: [f64; 5] = [1.0, -1.0, 1.0, -1.0, 0.0];

/// Difficulty of a level for an audience, of size 1.
///
/// Its mean over the audiences of a level is 0, and its mean over the levels of an audience too: no word of the
/// prompt tells anything of it, nor does any sum over words, only level and audience together.
pub(super) fn twist(level: usize, audience: usize) -> f64 {
    let middling = LEVEL_SHARES[1];
    let of_level = if level == 1 { -(1.0 - middling) / middling } else { 1.0 };
    SIDES[audience] * of_level
}

/// The topics whose skills change sign on hard queries.
pub(super) fn reversed(shape: &Shape, seed: u64) -> [bool; TOPICS.len()] {
    let mut reversed = std::array::from_fn(|topic| topic < shape.n_reversed);
    reversed.shuffle(&mut rng::stream(seed, "synthetic reversals"));
    reversed
}

/// The level whose queries reverse the skills of some topics.
pub(super) const REVERSING: usize = N_LEVELS - 1;
