//! Methods that learn from one reward at a time.

pub(in crate::methods) mod bagging;
pub(in crate::methods) mod barp;
pub(in crate::methods) mod cover;
pub(in crate::methods) mod fgts_cdb;
mod gradient;
mod irt;
mod linear;
pub(in crate::methods) mod lints;
pub(in crate::methods) mod linucb;
pub(in crate::methods) mod llm_bandit;
pub(in crate::methods) mod metallm;
pub(in crate::methods) mod neural_linear;
mod paid;
pub(in crate::methods) mod pickllm_automaton;
pub(in crate::methods) mod pickllm_q;
pub(in crate::methods) mod pilot;
mod plain;
mod replay;
mod set_policy;
mod tabular;
pub(in crate::methods) mod thompson;
pub(in crate::methods) mod ucb1;
