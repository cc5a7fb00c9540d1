//! What `train --pairs`, `compare --pairs` and `evaluate --pairs` share: the pair log and its judges.

use anyhow::ensure;
use clap::Args;
use routewright_data::{Judge, Judges, LoadOptions, LogError, PairTable};
use std::path::{Path, PathBuf};

/// A pair log and whose judgements of it count.
#[derive(Debug, Clone, Args)]
pub(crate) struct PairArgs {
    /// Pair log: which of two answers was preferred; a Parquet file or a folder of them.
    #[arg(long, value_name = "PATH")]
    pub(crate) pairs: Option<PathBuf>,
    /// Judge whose judgements count, with a weight where it is not 1; may be repeated. [default: all]
    #[arg(long = "judge", value_name = "NAME[=WEIGHT]", requires = "pairs")]
    judges: Vec<Judge>,
}

impl PairArgs {
    /// The judgements of one split.
    pub(crate) fn read(&self, path: &Path, split: &str) -> anyhow::Result<PairTable> {
        self.judged(path, split, PairTable::load)
    }

    /// The same with the lengths of the answers, where the log has them.
    pub(crate) fn read_with_lengths(&self, path: &Path, split: &str) -> anyhow::Result<PairTable> {
        self.judged(path, split, PairTable::load_with_lengths)
    }

    fn judged(
        &self,
        path: &Path,
        split: &str,
        load: impl Fn(&Path, &LoadOptions) -> Result<PairTable, LogError>,
    ) -> anyhow::Result<PairTable> {
        let table = load(path, &LoadOptions::split(split))?.judged_by(&Judges::only(&self.judges)?)?;
        ensure!(!table.pairs.is_empty(), "split `{split}` of `{}` has no judgement", path.display());
        Ok(table)
    }
}
