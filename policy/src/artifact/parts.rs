//! A router on disk: its record in the manifest, and its two files of weights.

use super::store::{build_selector, featurizer_digest, not_an_artifact, read_checked};
use super::{ArtifactError, FeaturizerRecord, FormRecord, Manifest, PartRecord, arms, safetensors_codec};
use crate::{FormState, Predictor, Router, SelectorSpec, forms};
use routewright_data::Tensors;
use routewright_data::features::{self, Featurizer};
use std::path::Path;

/// A file of an artifact: name and content.
pub(super) type NamedBytes = (String, Vec<u8>);

/// Names of the files of a router.
#[derive(Debug, Clone)]
pub(super) struct PartFiles {
    pub(super) predictor: String,
    pub(super) featurizer: String,
}

impl PartFiles {
    /// Those of a policy of one step.
    pub(super) fn of_router() -> Self {
        Self {
            predictor: "predictor.safetensors".to_owned(),
            featurizer: "featurizer.safetensors".to_owned(),
        }
    }

    /// Those of a part of a program.
    pub(super) fn of_part(name: &str) -> Self {
        Self {
            predictor: format!("{name}.predictor.safetensors"),
            featurizer: format!("{name}.featurizer.safetensors"),
        }
    }
}

/// The record of a router, and its files.
///
/// # Errors
/// If weights cannot be serialised.
pub(super) fn encode(
    predictor: &dyn Predictor,
    featurizer: &dyn Featurizer,
    selector: SelectorSpec,
    files: PartFiles,
) -> Result<(PartRecord, [NamedBytes; 2]), ArtifactError> {
    let encode = |tensors: &Tensors| {
        safetensors_codec::encode(tensors).map_err(|reason| not_an_artifact("(new)", reason))
    };
    let state = predictor.state();
    let (weights, spec) = (encode(&state.tensors)?, featurizer.spec().clone());
    let features = encode(&featurizer.tensors())?;
    let digest = featurizer_digest(&spec, &features);
    let form = predictor.form();
    let version = forms::ALL.iter().find(|row| row.name == form).map_or(0, |row| row.version);
    let record = PartRecord {
        featurizer: FeaturizerRecord { spec, digest },
        form: FormRecord { name: form.to_owned(), version, config: state.config },
        selector,
    };
    Ok((record, [(files.predictor, weights), (files.featurizer, features)]))
}

/// Reads a router, checking digests, widths and a first prediction.
///
/// # Errors
/// If anything is missing, damaged, unknown or newer than this build; the file is named.
pub(super) fn load(
    path: &Path,
    manifest: &Manifest,
    record: &PartRecord,
    files: &PartFiles,
) -> Result<Router, ArtifactError> {
    let shown = path.display().to_string();
    let damaged = |file: &str, reason: String| ArtifactError::Damaged {
        path: shown.clone(),
        file: file.to_owned(),
        reason,
    };
    let weights = tensors(path, manifest, &files.predictor, |_| true)?;
    let digest = |bytes: &[u8]| featurizer_digest(&record.featurizer.spec, bytes) == record.featurizer.digest;
    let features = tensors(path, manifest, &files.featurizer, digest)?;
    let state = FormState { config: record.form.config.clone(), tensors: weights };
    let predictor = forms::load(&record.form.name, record.form.version, state, manifest.arms.len())
        .map_err(|source| ArtifactError::Form { path: shown.clone(), source })?;
    let featurizer = features::restore(&record.featurizer.spec, features)
        .map_err(|source| ArtifactError::Featurizer { path: shown.clone(), source })?;
    if let Some(expected) = predictor.dim().filter(|dim| *dim != featurizer.dim()) {
        let reason =
            format!("the featurizer makes width {}, the predictor reads {expected}", featurizer.dim());
        return Err(damaged("manifest.json", reason));
    }
    let selector = build_selector(&record.selector, &manifest.arms, &shown)?;
    arms::probe(&*predictor, &manifest.arms).map_err(|reason| damaged(&files.predictor, reason))?;
    Ok(Router { featurizer, predictor, selector })
}

fn tensors(
    path: &Path,
    manifest: &Manifest,
    name: &str,
    is_expected: impl Fn(&[u8]) -> bool,
) -> Result<Tensors, ArtifactError> {
    let damaged = |reason: String| ArtifactError::Damaged {
        path: path.display().to_string(),
        file: name.to_owned(),
        reason,
    };
    let bytes = read_checked(path, manifest, name)?;
    if !is_expected(&bytes) {
        let reason = "its digest is not the one of the featurizer the policy was trained with".to_owned();
        return Err(damaged(reason));
    }
    safetensors_codec::decode(&bytes).map_err(damaged)
}
