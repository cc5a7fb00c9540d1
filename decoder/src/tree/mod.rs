//! Fusion step by step of a reasoning: members write steps, a search over the tree of them looks for the best chain.

pub mod arithmetic;
pub mod le_mcts;
pub mod reward;
pub mod search;
