//! Options of every benchmark.

use super::peer::Interpreters;
use std::path::PathBuf;

/// Options of every benchmark.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) interpreters: Interpreters,
    pub(super) data: Option<PathBuf>,
    pub(super) vocabularies: Option<PathBuf>,
    pub(super) rounds: usize,
    pub(super) rows: usize,
    pub(super) decisions: usize,
}
