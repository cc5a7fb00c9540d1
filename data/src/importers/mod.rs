//! Foreign formats to logs: one file and one row of [`ALL`] each.

mod answer_columns;
mod arena;
mod cells;
mod chat;
mod dsjson;
mod embedded;
mod error;
mod importer;
mod langfuse;
mod litellm;
mod long;
mod mapping;
mod messages;
mod mixinstruct;
mod mixinstruct_pairs;
mod openai;
mod portkey;
mod record;
mod records;
mod routerarena;
mod routerbench;
mod routerdc;
mod routereval;
mod samples;
mod sink;
mod tensorzero;
mod text_files;
mod times;

pub use importer::{ImportOptions, ImportSummary, Importer, LatencyUnit};

pub use dsjson::write_dsjson;
pub use error::{ImportError, Place};

use crate::suggest::near_names;
use std::path::{Path, PathBuf};

/// Every importer, in the order of the documentation.
pub static ALL: &[Importer] = &[
    long::ROW,
    routerbench::ROW,
    routerdc::ROW,
    mixinstruct::ROW,
    mixinstruct_pairs::ROW,
    routereval::ROW,
    routerarena::ROW,
    samples::ROW,
    arena::ROW,
    openai::ROW,
    litellm::ROW,
    langfuse::ROW,
    portkey::ROW,
    tensorzero::ROW,
    dsjson::ROW,
];

/// Reads `inputs` with the importer of that name and writes the log `out`, a Parquet file (for
/// `dsjson`, a folder with two of them).
///
/// Inputs are `.csv`, `.tsv`, `.jsonl`, `.ndjson`, `.json` (each also compressed, with `.gz` or `.zst`) or `.parquet`,
/// told apart by their names.
///
/// # Errors
/// If the importer or a mapped column is unknown, an input cannot be read (file and line are named), a record
/// is not valid, or the log cannot be written. No log is left behind then.
pub fn import(
    name: &str,
    inputs: &[PathBuf],
    out: &Path,
    options: &ImportOptions,
) -> Result<ImportSummary, ImportError> {
    let Some(importer) = ALL.iter().find(|importer| importer.name == name) else {
        let hint = near_names(name, ALL.iter().map(|importer| importer.name));
        return Err(ImportError::Options(format!("no importer `{name}`; {hint}")));
    };
    if inputs.is_empty() {
        return Err(ImportError::Options("no input files, expected at least one".to_owned()));
    }
    let (min, max) = (options.score_min, options.score_max);
    if !(min.is_finite() && max.is_finite() && min < max) {
        let reason =
            format!("scores reach from `{min}` to `{max}`, expected a least below a greatest number");
        return Err(ImportError::Options(reason));
    }
    if let Some((word, value)) = options.score_values.iter().find(|(_, value)| !(min..=max).contains(*value))
    {
        let reason = format!("score `{word}` is worth `{value}`, expected a number in [{min}, {max}]");
        return Err(ImportError::Options(reason));
    }
    (importer.run)(inputs, out, options)
}

#[cfg(test)]
mod benchmark_tests;
#[cfg(test)]
mod chat_tests;
#[cfg(test)]
mod table_tests;
#[cfg(test)]
mod tests;
