//! Settings of selectors that meet a target: money saved, score lost, a mean cost, or a share of strong calls.
//!
//! Calibrate on queries that the policy was not fitted on, never on the rows that are judged: on folds of train
//! ([`out_of_fold`]) or on another split. The target is met on other queries as far as they are alike.

mod against;
mod error;
mod folds;
mod price;
mod threshold;

pub use against::Always;
pub use error::{CalibrateError, OutOfReach};
pub use folds::{FOLDS, OutOfFold, out_of_fold};
pub use price::{Priced, check, price};
pub use threshold::{Calibrated, threshold_for_share};
