//! From a query to a vector. Training and serving call the same function, named in the artifact.
//!
//! A [`Featurizer`] is fitted once on the train split, described by a [`FeaturizerSpec`] and a set of
//! tensors, and restored from them bit for bit. The artifact records its digest: a policy refuses
//! features made by another featurizer.

use crate::Tensors;
use crate::suggest::near_names;
use std::path::Path;
use std::sync::Arc;

mod bag;
#[cfg(feature = "bert")]
pub mod bert;
mod column;
#[cfg(feature = "embed")]
mod embed;
mod encoder;
mod featurizer;
mod known;
mod lexical;
#[cfg(all(test, any(feature = "bert", feature = "embed")))]
mod minilm;
pub mod ngrams;
mod query_answer;
mod source_posterior;
mod sources;
mod sparse;
mod state;
mod svd;
#[cfg(feature = "embed")]
mod vector_cache;

pub use featurizer::{
    FeatureError, FeatureInput, Featurizer, FeaturizerRow, FeaturizerSpec, OpenFolder, Restore,
};

pub use bag::{BITS_MAX, BagVocabulary, HashedBag};
#[cfg(feature = "bert")]
pub use bert::Bert;
pub use column::Column;
#[cfg(feature = "embed")]
pub use embed::Embed;
pub use encoder::{EncoderSettings, Pooling};
pub use lexical::{Lexical, LexicalSettings};
pub use query_answer::QueryAnswer;
pub use source_posterior::Posterior;
pub use sources::WithSources;
pub use state::{Sight, State, StateFeatures, StateSettings};

/// Every featurizer of this build, in the order of the documentation.
pub static ALL: &[FeaturizerRow] = &[
    lexical::ROW,
    column::ROW,
    bag::ROW,
    sources::ROW,
    state::ROW,
    query_answer::ROW,
    #[cfg(feature = "bert")]
    bert::ROW,
    #[cfg(feature = "embed")]
    embed::ROW,
];

/// Featurizers that a build has only with the cargo feature of the same name.
pub const OPTIONAL: &[&str] = &["bert", "embed"];

/// Restores a featurizer from what an artifact stores.
///
/// # Errors
/// If its name is unknown or its weights are not valid.
pub fn restore(spec: &FeaturizerSpec, tensors: Tensors) -> Result<Arc<dyn Featurizer>, FeatureError> {
    (find(&spec.name)?.restore)(spec, tensors)
}

/// Opens the model folder `dir` with the featurizer named.
///
/// # Errors
/// If this build does not have it, or the folder is not what it reads.
pub fn open(name: &str, dir: &Path, settings: EncoderSettings) -> Result<Arc<dyn Featurizer>, FeatureError> {
    match find(name)?.open {
        Some(open) => open(dir, settings),
        None => {
            let reason = "it is fitted on a log, not opened as a folder".to_owned();
            Err(FeatureError::Setup { name: name.to_owned(), reason })
        }
    }
}

fn find(name: &str) -> Result<&'static FeaturizerRow, FeatureError> {
    ALL.iter().find(|row| row.name == name).ok_or_else(|| {
        let reason = if OPTIONAL.contains(&name) {
            format!("this build does not have it; build with `--features {name}`")
        } else {
            format!("this build does not know it; {}", near_names(name, ALL.iter().map(|row| row.name)))
        };
        FeatureError::Setup { name: name.to_owned(), reason }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_featurizer_this_build_lacks_is_refused_in_words() {
        let reason = |name: &str| {
            let opened = open(name, Path::new("nowhere"), EncoderSettings::default());
            opened.unwrap_err().to_string()
        };
        assert!(reason("lexikal").contains("`lexical`"), "{}", reason("lexikal"));
        assert!(reason("lexical").contains("fitted on a log"), "{}", reason("lexical"));
        for name in OPTIONAL {
            let said = reason(name);
            let built = ALL.iter().any(|row| row.name == *name);
            let expected = if built { "nowhere".to_owned() } else { format!("`--features {name}`") };
            assert!(said.contains(&expected), "{said}");
        }
    }
}
