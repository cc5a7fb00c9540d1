//! From a prediction to a probability over arms. One file a selector, one row in [`ALL`].
//!
//! A selector wraps any predictor: cost-quality trade-off, budgets, thresholds and mixing live here and
//! nowhere else. It returns the exact distribution the decision is drawn from; exact ties share their mass
//! equally, so that the order of the arms never matters.

use crate::Arm;
use routewright_data::suggest::near_names;

mod argmax;
mod budget;
mod cheapest;
mod cheapest_within;
mod cover;
mod epsilon_greedy;
mod mixture;
mod priced;
mod proportional;
mod regcb;
mod selector;
mod softmax;
mod squarecb;
mod thompson;
mod threshold;
mod ucb;
mod uniform;
mod unsure;
mod utility;
mod votes;

pub use selector::{Build, Selector, SelectorError, SelectorRow, SelectorSpec};
use selector::{finite_at_least, normalized, settings, share_best, spread};

pub use argmax::Argmax;
pub use budget::Budget;
pub use cheapest::Cheapest;
pub use cheapest_within::CheapestWithin;
pub use cover::Cover;
pub use epsilon_greedy::EpsilonGreedy;
pub use mixture::{Mixture, Part};
pub use priced::{Priced, net_scores};
pub use proportional::Proportional;
pub use regcb::RegCb;
pub use softmax::Softmax;
pub use squarecb::SquareCb;
pub use thompson::Thompson;
pub use threshold::{Settings as ThresholdSettings, Threshold};
pub use ucb::Ucb;
pub use uniform::Uniform;
pub use unsure::Unsure;
pub use utility::Utility;
pub use votes::Votes;

/// Every selector, in the order of the documentation.
pub static ALL: &[SelectorRow] = &[
    argmax::ROW,
    utility::ROW,
    budget::ROW,
    cheapest_within::ROW,
    threshold::ROW,
    mixture::ROW,
    cheapest::ROW,
    uniform::ROW,
    priced::ROW,
    epsilon_greedy::ROW,
    softmax::ROW,
    ucb::ROW,
    thompson::ROW,
    squarecb::ROW,
    regcb::ROW,
    proportional::ROW,
    votes::ROW,
    cover::ROW,
    unsure::ROW,
];

/// Builds a selector for the given arms.
///
/// # Errors
/// If the name is unknown (near names are offered) or a setting is not valid.
pub fn build(spec: &SelectorSpec, arms: &[Arm]) -> Result<Box<dyn Selector>, SelectorError> {
    let Some(row) = ALL.iter().find(|row| row.name == spec.name) else {
        let hint = near_names(&spec.name, ALL.iter().map(|row| row.name));
        return Err(SelectorError::Unknown { name: spec.name.clone(), hint });
    };
    (row.build)(&spec.settings, arms)
}

#[cfg(test)]
mod explorer_tests;
#[cfg(test)]
mod law_tests;
#[cfg(test)]
mod tests;
