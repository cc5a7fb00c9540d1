//! A policy on disk: a directory of plain files that a person can read, diff and verify.
//!
//! ```text
//! manifest.json            what it is, and the digest of every other file; written last
//! predictor.safetensors    weights of the form
//! featurizer.safetensors   weights of the featurizer
//! training-rows.bin        keys of the rows it was trained on; optional
//! ```
//! A policy of several steps has two files a part, and one a prompt, instead:
//!
//! ```text
//! PART.predictor.safetensors   PART.featurizer.safetensors   ID.prompt.txt
//! ```
//! The directory is written under a temporary name and renamed, so a reader sees all of it or nothing.
//! Unknown keys of the manifest are kept; an unknown form, a newer format, a changed byte or a missing
//! file is refused with its reason.

pub mod arms;
#[cfg(test)]
mod damage_tests;
mod manifest;
mod parts;
mod program_draft;
#[cfg(test)]
mod program_tests;
mod promise;
mod safetensors_codec;
mod store;
mod training_rows;
mod version;

pub use manifest::{
    DataRecord, DecisionsRecord, FeaturizerRecord, FileRecord, FormRecord, Manifest, PartRecord,
    ProgramRecord,
};
pub use program_draft::ProgramDraft;
pub use promise::{Goal, Promise, Saving, Verdict};
pub use safetensors_codec::{decode as decode_tensors, encode as encode_tensors};
pub use store::{ArtifactError, RouterDraft, load, recalibrate, save, save_promised, verify};
pub use training_rows::TrainingRows;
pub use version::{FORMAT, FORMAT_ONE_CALL, KIND};
