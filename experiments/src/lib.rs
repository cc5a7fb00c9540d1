//! Recorded experiments: see `README.md` and `record/` beside this crate's manifest.
//!
//! Figures of policies are made by commands of the `routewright` binary, so there is no second runner here. The
//! trained mixtures of the decoder bring code: skills, tasks that mix them, experts that have some of them.

pub mod contrast;
pub mod experts;
pub mod judge;
pub mod mixed_tasks;
pub mod real_pair;
pub mod skills;
pub mod span_weights;
