//! Two real tiny models, where they lie beside the checkout or `ROUTEWRIGHT_SHARED` says; skipped loudly where they do
//! not.

#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(clippy::print_stdout, reason = "a test shows its figures")]

mod bytes;
mod identities;
mod references;
mod spans;
mod speculation;

use routewright_decoder::backends::llama2c::Llama2c;
use std::path::{Path, PathBuf};

/// The folder of the models.
pub(crate) fn models() -> Option<PathBuf> {
    routewright_data::testing::shared("models/stories260k/model.bin")?
        .ancestors()
        .nth(2)
        .map(Path::to_path_buf)
}

/// stories260K: 512 tokens of a few bytes.
pub(crate) fn stories() -> Option<Llama2c> {
    let models = models()?.join("stories260k");
    Some(Llama2c::open("stories", &models.join("model.bin"), &models.join("tokenizer.bin")).unwrap())
}

/// BabyLlama105: a token a character.
pub(crate) fn baby() -> Option<Llama2c> {
    let models = models()?.join("babyllama105");
    Some(Llama2c::open("baby", &models.join("model.bin"), &models.join("tok105.vocab")).unwrap())
}
