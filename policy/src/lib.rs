//! What a trained policy *is*: predict, then select.
//!
//! A [`Predictor`] maps features `(n, dim)` to a [`Prediction`]: score and cost of every arm. A
//! [`Selector`] turns one row of it and the constraints of a [`Request`] into a probability over arms.
//! Featurizer, predictor and selector are a [`Router`]. A [`Policy`] is the arms and a
//! [`Program`](program::Program) over routers: `one-call` calls the arm that its one router selects, others look at
//! answers and call again. It is stored as an artifact (see [`artifact`]) and never changes afterwards.
//!
//! Life of a decision: text → [`routewright_data::features::Featurizer`] → [`Predictor::predict`] →
//! eligibility from [`Constraints`] → [`Selector::distribution`] → one draw with the seed of the request →
//! [`Decision`], which carries the whole distribution it was drawn from.
//!
//! This crate is sans-IO: it reads no clock, no environment, no global random generator, and it never
//! calls a model. Only [`artifact`] touches files.

pub mod allowance;
pub mod artifact;
pub mod assignment;
pub mod decide;
pub mod distribution;
pub mod drift;
pub mod env;
pub mod evidence;
pub mod forms;
pub mod lookahead;
pub mod online;
pub mod pacing;
mod policy;
mod predict;
pub mod program;
pub mod programs;
mod router;
pub mod search;
pub mod selectors;
pub mod simplex;
pub mod trust;

pub use decide::{Candidate, Constraints, DecideError, Decision, Exclusion, Objective, Reason, Request};
pub use evidence::Evidence;
pub use policy::Policy;
pub use predict::{
    Arm, Batch, FormState, LoadError, Neighborhood, PredictError, Prediction, PredictionRow, Predictor,
    Price, check_batch,
};
pub use router::Router;
pub use selectors::{Selector, SelectorSpec};
