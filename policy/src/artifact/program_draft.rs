//! Policies of several steps: their manifest, their parts and prompts, written and read.

use super::parts::{self, NamedBytes, PartFiles};
use super::store::{
    TRAINING_ROWS, check_arms, check_target, digest_of, not_an_artifact, read_checked, record_of, write,
};
use super::{ArtifactError, DataRecord, FORMAT, KIND, Manifest, ProgramRecord};
use crate::program::Program;
use crate::programs::{self, ProgramError, ProgramState};
use crate::{Arm, Policy};
use routewright_data::{QueryText, names};
use std::collections::BTreeMap;
use std::path::Path;

/// Greatest number of parts, and of prompts.
const PARTS_MAX: usize = 64;

/// A policy of several steps about to be stored: everything the digest is not computed from.
#[derive(Debug)]
pub struct ProgramDraft {
    /// Name it is served under.
    pub name: String,
    /// Registered method that made it.
    pub method: String,
    /// Seed it was trained with.
    pub seed: u64,
    /// Arms, in the order of every prediction.
    pub arms: Vec<Arm>,
    /// What it does, step by step.
    pub program: Box<dyn Program>,
    /// What of a request is its text: the rule the training texts were made by.
    pub query_text: QueryText,
    /// Parameters of the method, as resolved.
    pub params: serde_json::Value,
    /// What it was trained on.
    pub data: DataRecord,
    /// Headline figures by name.
    pub metrics: BTreeMap<String, f64>,
}

impl ProgramDraft {
    /// The policy in memory, exactly as it would be loaded from disk.
    ///
    /// # Errors
    /// If the arms are not valid or weights cannot be serialised.
    pub fn into_policy(self) -> Result<Policy, ArtifactError> {
        let (manifest, _) = self.encode("(in memory)")?;
        let digest = digest_of(&manifest)?;
        Ok(Policy { manifest, digest, arms: self.arms, program: self.program })
    }

    /// Stores the policy as directory `path`, which must not exist or be an artifact to be replaced.
    ///
    /// # Errors
    /// If the directory exists and is something else, or a file cannot be written; nothing is left behind.
    pub fn save(&self, path: &Path) -> Result<Manifest, ArtifactError> {
        let (manifest, files) = self.encode(&path.display().to_string())?;
        check_target(path)?;
        write(path, manifest, &files)
    }

    fn encode(&self, path: &str) -> Result<(Manifest, Vec<NamedBytes>), ArtifactError> {
        check_arms(&self.arms, path)?;
        let program = &*self.program;
        let row = programs::find(program.name()).map_err(|source| refused(path, source))?;
        let (mut parts, mut files) = (BTreeMap::new(), Vec::new());
        for part in program.parts() {
            let router = part.router;
            let (record, encoded) = parts::encode(
                &*router.predictor,
                &*router.featurizer,
                router.selector.spec(),
                PartFiles::of_part(part.name),
            )?;
            parts.insert(part.name.to_owned(), record);
            files.extend(encoded);
        }
        let mut prompts = BTreeMap::new();
        for (id, text) in program.prompts() {
            let file = prompt_file(id);
            prompts.insert(id.to_owned(), file.clone());
            files.push((file, text.as_bytes().to_vec()));
        }
        files.extend(self.data.rows.as_ref().map(|rows| (TRAINING_ROWS.to_owned(), rows.encode())));
        let manifest = Manifest {
            kind: KIND.to_owned(),
            format: FORMAT,
            name: self.name.clone(),
            method: self.method.clone(),
            crate_version: env!("CARGO_PKG_VERSION").to_owned(),
            seed: self.seed,
            arms: self.arms.clone(),
            program: Some(ProgramRecord {
                name: row.name.to_owned(),
                version: row.version,
                config: program.config(),
            }),
            parts,
            prompts,
            query_text: Some(self.query_text),
            params: self.params.clone(),
            data: self.data.clone(),
            metrics: self.metrics.clone(),
            files: files.iter().map(|(name, bytes)| (name.clone(), record_of(bytes))).collect(),
            ..Manifest::default()
        };
        check_names(&manifest).map_err(|reason| not_an_artifact(path, reason))?;
        Ok((manifest, files))
    }
}

/// Reads the program of a manifest of format 2.
///
/// # Errors
/// If anything is missing, damaged, unknown or newer than this build; the reason is named.
pub(super) fn load(
    path: &Path,
    manifest: &Manifest,
    record: &ProgramRecord,
) -> Result<Box<dyn Program>, ArtifactError> {
    let shown = path.display().to_string();
    let mut state = ProgramState { config: record.config.clone(), ..ProgramState::default() };
    for (name, part) in &manifest.parts {
        let router = parts::load(path, manifest, part, &PartFiles::of_part(name))?;
        state.parts.insert(name.clone(), router);
    }
    for (id, file) in &manifest.prompts {
        let text = String::from_utf8(read_checked(path, manifest, file)?).map_err(|error| {
            let reason = format!("expected text in UTF-8: {error}");
            ArtifactError::Damaged { path: shown.clone(), file: file.clone(), reason }
        })?;
        state.prompts.insert(id.clone(), text);
    }
    programs::load(&record.name, record.version, state, &manifest.arms)
        .map_err(|source| refused(&shown, source))
}

/// Checks what names files: a name such as `../key` would read or write elsewhere.
pub(super) fn check_names(manifest: &Manifest) -> Result<(), String> {
    for (what, n) in [("parts", manifest.parts.len()), ("prompts", manifest.prompts.len())] {
        if n > PARTS_MAX {
            return Err(format!("it has {n} {what}, expected at most {PARTS_MAX}"));
        }
    }
    for name in manifest.parts.keys().chain(manifest.prompts.keys()) {
        names::check(name).map_err(|why| format!("the name `{name}` of a part or prompt {why}"))?;
        if Path::new(name).file_name() != Some(name.as_ref()) {
            return Err(format!("it has a part or prompt `{name}`, expected a plain name"));
        }
    }
    match manifest.prompts.iter().find(|(id, file)| **file != prompt_file(id)) {
        Some((id, file)) => {
            Err(format!("the prompt `{id}` is in file `{file}`, expected `{}`", prompt_file(id)))
        }
        None => Ok(()),
    }
}

fn prompt_file(id: &str) -> String {
    format!("{id}.prompt.txt")
}

fn refused(path: &str, source: ProgramError) -> ArtifactError {
    ArtifactError::Program { path: path.to_owned(), source }
}
