//! Models that can take part. One file or folder a kind.

pub mod llama2c;
pub mod writing;
