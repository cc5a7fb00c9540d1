//! How policies are learned and judged.
//!
//! A [`method::Method`] turns an outcome log into a predictor; [`methods::ALL`] lists every one. Training
//! makes features once ([`train::Prepared`]), fits, and hands an artifact draft to `routewright_policy`.
//! Hyper-parameters are chosen on slices of the train split ([`validation`]), never on test.

mod arms;
pub mod calibrate;
mod calibration;
pub mod clustering;
pub mod compare;
pub mod evaluate;
mod lbfgs;
pub mod method;
pub mod methods;
pub mod neural;
pub mod ope;
pub mod pool;
pub mod preferences;
pub mod progress;
pub mod promise;
pub mod report;
pub mod rlae;
pub mod rollout;
pub mod simulate;
pub mod source_guard;
pub(crate) mod source_table;
pub mod train;
pub mod validation;

pub use method::{Device, FitContext, FitError, Fitted, MethodRow, Need};
