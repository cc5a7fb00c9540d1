//! Writing, reading and verifying the directory of an artifact.

use super::parts::{self, NamedBytes, PartFiles};
use super::{
    DataRecord, FORMAT, FORMAT_ONE_CALL, FileRecord, KIND, Manifest, PartRecord, Promise, TrainingRows, arms,
    program_draft,
};
use crate::programs::ProgramError;
use crate::selectors::{self, SelectorError};
use crate::{Arm, LoadError, Policy, Predictor, Router, Selector, SelectorSpec, forms};
use routewright_data::QueryText;
use routewright_data::features::{self, FeatureError, Featurizer};
use routewright_data::files::{self, FileError};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

const MANIFEST: &str = "manifest.json";
pub(super) const TRAINING_ROWS: &str = "training-rows.bin";
/// A manifest is a page of JSON; anything longer is not one.
const MANIFEST_BYTES_MAX: u64 = 16 << 20;

/// Why an artifact could not be written or was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArtifactError {
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The directory is not an artifact of ours.
    #[error("`{path}` is not a policy artifact: {reason}")]
    NotAnArtifact {
        /// Directory.
        path: String,
        /// What is missing or malformed.
        reason: String,
    },
    /// The arms are not what arms may be.
    #[error("the arms of policy `{path}` are not valid: {reason}")]
    Arms {
        /// Directory.
        path: String,
        /// What is wrong and what would be accepted.
        reason: String,
    },
    /// Written by a later version.
    #[error("`{path}` has artifact format {found}; this build reads up to {FORMAT}")]
    NewerFormat {
        /// Directory.
        path: String,
        /// Format found.
        found: u32,
    },
    /// A file is not what the manifest says.
    #[error("`{file}` of policy `{path}` is damaged: {reason}")]
    Damaged {
        /// Directory.
        path: String,
        /// File in it.
        file: String,
        /// What differs.
        reason: String,
    },
    /// The stored form was refused.
    #[error("cannot load the predictor of policy `{path}`")]
    Form {
        /// Directory.
        path: String,
        /// The reason.
        #[source]
        source: LoadError,
    },
    /// The stored featurizer was refused.
    #[error("cannot load the featurizer of policy `{path}`")]
    Featurizer {
        /// Directory.
        path: String,
        /// The reason.
        #[source]
        source: FeatureError,
    },
    /// The stored program was refused.
    #[error("cannot load the program of policy `{path}`")]
    Program {
        /// Directory.
        path: String,
        /// The reason.
        #[source]
        source: ProgramError,
    },
    /// The stored selector was refused.
    #[error("cannot load the selector of policy `{path}`")]
    Selector {
        /// Directory.
        path: String,
        /// The reason.
        #[source]
        source: SelectorError,
    },
}

/// A policy about to be stored: everything the digest is not computed from.
#[derive(Debug)]
pub struct RouterDraft {
    /// Name it is served under.
    pub name: String,
    /// Registered method that made it.
    pub method: String,
    /// Seed it was trained with.
    pub seed: u64,
    /// Arms, in the order of every prediction.
    pub arms: Vec<Arm>,
    /// Makes the features.
    pub featurizer: Arc<dyn Featurizer>,
    /// Predicts outcomes.
    pub predictor: Box<dyn Predictor>,
    /// How an arm is chosen.
    pub selector: SelectorSpec,
    /// What of a request is its text: the rule the training texts were made by.
    pub query_text: QueryText,
    /// Parameters of the method, as resolved.
    pub params: serde_json::Value,
    /// What it was trained on.
    pub data: DataRecord,
    /// Headline figures by name.
    pub metrics: BTreeMap<String, f64>,
}

impl RouterDraft {
    /// The policy in memory, exactly as it would be loaded from disk.
    ///
    /// # Errors
    /// If the selector's settings do not fit the arms or weights cannot be serialised.
    pub fn into_policy(self) -> Result<Policy, ArtifactError> {
        check_arms(&self.arms, "(in memory)")?;
        let (manifest, _) = self.encode()?;
        let selector = build_selector(&self.selector, &self.arms, "(in memory)")?;
        let digest = digest_of(&manifest)?;
        let Self { arms, featurizer, predictor, .. } = self;
        Ok(Policy::one_call(manifest, digest, arms, Router { featurizer, predictor, selector }))
    }

    /// The manifest and the files it speaks of.
    fn encode(&self) -> Result<(Manifest, Vec<NamedBytes>), ArtifactError> {
        let (record, files) = parts::encode(
            &*self.predictor,
            &*self.featurizer,
            self.selector.clone(),
            PartFiles::of_router(),
        )?;
        let mut encoded = Vec::from(files);
        encoded.extend(self.data.rows.as_ref().map(|rows| (TRAINING_ROWS.to_owned(), rows.encode())));
        let manifest = Manifest {
            kind: KIND.to_owned(),
            format: FORMAT_ONE_CALL,
            name: self.name.clone(),
            method: self.method.clone(),
            crate_version: env!("CARGO_PKG_VERSION").to_owned(),
            seed: self.seed,
            form: record.form,
            arms: self.arms.clone(),
            featurizer: record.featurizer,
            selector: record.selector,
            query_text: Some(self.query_text),
            params: self.params.clone(),
            data: self.data.clone(),
            metrics: self.metrics.clone(),
            files: encoded.iter().map(|(name, bytes)| (name.clone(), record_of(bytes))).collect(),
            ..Manifest::default()
        };
        Ok((manifest, encoded))
    }
}

/// Stores a policy as directory `path`, which must not exist or be an artifact to be replaced.
///
/// # Errors
/// If the directory exists and is something else, or a file cannot be written; nothing is left behind.
pub fn save(draft: &RouterDraft, path: &Path) -> Result<Manifest, ArtifactError> {
    save_promised(draft, None, path)
}

/// [`save`] with what the selector of the draft was calibrated to.
///
/// # Errors
/// As [`save`].
pub fn save_promised(
    draft: &RouterDraft,
    promise: Option<Promise>,
    path: &Path,
) -> Result<Manifest, ArtifactError> {
    check_arms(&draft.arms, &path.display().to_string())?;
    build_selector(&draft.selector, &draft.arms, &path.display().to_string())?;
    check_target(path)?;
    let (mut manifest, encoded) = draft.encode()?;
    manifest.promise = promise;
    write(path, manifest, &encoded)
}

/// Stores the policy of directory `from` as directory `to` with another selector and what that promises; every other
/// byte is the same.
///
/// # Errors
/// As [`load`] and [`save`]; nothing is left behind.
pub fn recalibrate(
    from: &Path,
    to: &Path,
    selector: SelectorSpec,
    promise: Promise,
) -> Result<Manifest, ArtifactError> {
    let (mut manifest, _) = read_manifest(from)?;
    if let Some(program) = &manifest.program {
        let reason = format!("it runs the program `{}`, expected a policy of one step", program.name);
        return Err(not_an_artifact(&from.display().to_string(), reason));
    }
    build_selector(&selector, &manifest.arms, &to.display().to_string())?;
    check_target(to)?;
    let mut contents: Vec<(String, Vec<u8>)> = Vec::new();
    for name in manifest.files.keys() {
        // A name such as `../key` would copy a file from elsewhere.
        if Path::new(name).file_name() != Some(name.as_ref()) {
            let reason = format!("manifest.json lists a file `{name}`, expected a plain name");
            return Err(not_an_artifact(&from.display().to_string(), reason));
        }
        contents.push((name.clone(), read_checked(from, &manifest, name)?));
    }
    (manifest.selector, manifest.promise) = (selector, Some(promise));
    write(to, manifest, &contents)
}

pub(super) fn check_target(path: &Path) -> Result<(), ArtifactError> {
    if path.exists() && !path.join(MANIFEST).is_file() && !files::is_empty_dir(path) {
        let reason = "it exists and holds no manifest.json; choose another directory".to_owned();
        return Err(not_an_artifact(&path.display().to_string(), reason));
    }
    Ok(())
}

/// Writes the files and, last, the manifest.
pub(super) fn write<N: AsRef<str>>(
    path: &Path,
    manifest: Manifest,
    contents: &[(N, Vec<u8>)],
) -> Result<Manifest, ArtifactError> {
    let text = manifest_bytes(&manifest)?;
    let mut entries: Vec<(&str, &[u8])> =
        contents.iter().map(|(name, bytes)| (name.as_ref(), bytes.as_slice())).collect();
    entries.push((MANIFEST, &text));
    files::write_dir(path, &entries)?;
    Ok(manifest)
}

/// Reads a policy, checking every digest.
///
/// # Errors
/// If anything is missing, damaged, unknown or newer than this build; the reason is named.
pub fn load(path: &Path) -> Result<Policy, ArtifactError> {
    let (mut manifest, digest) = read_manifest(path)?;
    manifest.data.rows = read_training_rows(path, &manifest)?;
    let arms = manifest.arms.clone();
    if let Some(record) = &manifest.program {
        let program = program_draft::load(path, &manifest, record)?;
        return Ok(Policy { manifest, digest, arms, program });
    }
    let record = PartRecord {
        featurizer: manifest.featurizer.clone(),
        form: manifest.form.clone(),
        selector: manifest.selector.clone(),
    };
    let router: Router = parts::load(path, &manifest, &record, &PartFiles::of_router())?;
    Ok(Policy::one_call(manifest, digest, arms, router))
}

/// Checks an artifact without using it: everything [`load`] checks.
///
/// # Errors
/// As [`load`].
pub fn verify(path: &Path) -> Result<Manifest, ArtifactError> {
    load(path).map(|policy| policy.manifest)
}

fn read_manifest(path: &Path) -> Result<(Manifest, String), ArtifactError> {
    let shown = path.display().to_string();
    let file = path.join(MANIFEST);
    if !file.is_file() {
        return Err(not_an_artifact(&shown, "it has no manifest.json".to_owned()));
    }
    let bytes = files::read_up_to(&file, MANIFEST_BYTES_MAX)?;
    let malformed = |error: serde_json::Error| not_an_artifact(&shown, format!("manifest.json: {error}"));
    let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(malformed)?;
    if value["kind"] != KIND {
        let reason = format!("manifest.json has kind {}, expected \"{KIND}\"", value["kind"]);
        return Err(not_an_artifact(&shown, reason));
    }
    // The format is judged before the rest is read: a newer layout may not even parse.
    match value["format"].as_u64().and_then(|f| u32::try_from(f).ok()) {
        Some(found) if found > FORMAT => return Err(ArtifactError::NewerFormat { path: shown, found }),
        Some(1..) => {}
        _ => return Err(not_an_artifact(&shown, format!("manifest.json has format {}", value["format"]))),
    }
    let manifest: Manifest = serde_json::from_value(value).map_err(malformed)?;
    check_layout(&manifest).map_err(|reason| not_an_artifact(&shown, reason))?;
    check_arms(&manifest.arms, &shown)?;
    let parts = manifest.parts.values().map(|part| &part.featurizer);
    let dims = parts.chain([&manifest.featurizer]).map(|featurizer| featurizer.spec.dim);
    if let Some(dim) = dims.max().filter(|dim| *dim > forms::SIZE_MAX) {
        let reason = format!("its features have width {dim}, expected at most {}", forms::SIZE_MAX);
        return Err(not_an_artifact(&shown, reason));
    }
    Ok((manifest, blake3::hash(&bytes).to_hex().to_string()))
}

/// Each format has its own keys: those of one step in 1, those of programs in 2.
fn check_layout(manifest: &Manifest) -> Result<(), String> {
    let of_one_step = [
        ("form", manifest.form.name.is_empty()),
        ("featurizer", manifest.featurizer.digest.is_empty()),
        ("selector", manifest.selector.name.is_empty()),
    ];
    if manifest.format == FORMAT_ONE_CALL {
        if let Some((key, _)) = of_one_step.into_iter().find(|(_, is_absent)| *is_absent) {
            return Err(format!("manifest.json: missing field `{key}`"));
        }
        if manifest.program.is_some() || !manifest.parts.is_empty() || !manifest.prompts.is_empty() {
            return Err("manifest.json has a program, expected none in format 1".to_owned());
        }
        return Ok(());
    }
    if manifest.program.is_none() {
        return Err("manifest.json: missing field `program`".to_owned());
    }
    if let Some((key, _)) = of_one_step.into_iter().find(|(_, is_absent)| !*is_absent) {
        return Err(format!("manifest.json has `{key}` beside `parts`, expected it in a part"));
    }
    program_draft::check_names(manifest)
}

pub(super) fn record_of(bytes: &[u8]) -> FileRecord {
    FileRecord { bytes: bytes.len() as u64, blake3: blake3::hash(bytes).to_hex().to_string() }
}

pub(super) fn read_checked(path: &Path, manifest: &Manifest, name: &str) -> Result<Vec<u8>, ArtifactError> {
    let damaged = |reason: String| ArtifactError::Damaged {
        path: path.display().to_string(),
        file: name.to_owned(),
        reason,
    };
    let record =
        manifest.files.get(name).ok_or_else(|| damaged("the manifest does not list it".to_owned()))?;
    let file = path.join(name);
    if !file.is_file() {
        return Err(damaged("the file is missing".to_owned()));
    }
    let bytes = files::read_up_to(&file, record.bytes)?;
    let found = blake3::hash(&bytes).to_hex().to_string();
    if bytes.len() as u64 != record.bytes || found != record.blake3 {
        return Err(damaged(format!("its digest is {found}, the manifest says {}", record.blake3)));
    }
    Ok(bytes)
}

pub(super) fn check_arms(checked: &[Arm], path: &str) -> Result<(), ArtifactError> {
    arms::check(checked).map_err(|reason| ArtifactError::Arms { path: path.to_owned(), reason })
}

/// The rows it was trained on, where the artifact lists them.
fn read_training_rows(path: &Path, manifest: &Manifest) -> Result<Option<Arc<TrainingRows>>, ArtifactError> {
    if !manifest.files.contains_key(TRAINING_ROWS) {
        return Ok(None);
    }
    let bytes = read_checked(path, manifest, TRAINING_ROWS)?;
    let damaged = |reason: String| ArtifactError::Damaged {
        path: path.display().to_string(),
        file: TRAINING_ROWS.to_owned(),
        reason,
    };
    TrainingRows::decode(&bytes).map(Arc::new).map(Some).map_err(damaged)
}

pub(super) fn build_selector(
    spec: &SelectorSpec,
    arms: &[Arm],
    path: &str,
) -> Result<Box<dyn Selector>, ArtifactError> {
    selectors::build(spec, arms).map_err(|source| ArtifactError::Selector { path: path.to_owned(), source })
}

fn manifest_bytes(manifest: &Manifest) -> Result<Vec<u8>, ArtifactError> {
    let mut bytes =
        serde_json::to_vec_pretty(manifest).map_err(|e| not_an_artifact("(new)", e.to_string()))?;
    bytes.push(b'\n');
    Ok(bytes)
}

pub(super) fn digest_of(manifest: &Manifest) -> Result<String, ArtifactError> {
    Ok(blake3::hash(&manifest_bytes(manifest)?).to_hex().to_string())
}

pub(super) fn featurizer_digest(spec: &features::FeaturizerSpec, weights: &[u8]) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(spec.name.as_bytes());
    hasher.update(&(spec.dim as u64).to_le_bytes());
    hasher.update(spec.settings.to_string().as_bytes());
    hasher.update(weights);
    hasher.finalize().to_hex().to_string()
}

pub(super) fn not_an_artifact(path: &str, reason: String) -> ArtifactError {
    ArtifactError::NotAnArtifact { path: path.to_owned(), reason }
}
