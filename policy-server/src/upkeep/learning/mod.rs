//! Policies that learn while they serve.

mod accounts;
mod arms_file;
mod decision_count;
mod learning_loop;
mod policy_learner;
mod report;
#[cfg(test)]
mod tests;

pub use arms_file::check_arms_file;
pub(crate) use learning_loop::LearningLoop;
