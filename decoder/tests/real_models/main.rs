//! Two published models, SmolLM2-135M-Instruct and Gemma 3 270M, where `.ci/models` has put them: in `target/models`,
//! or where `ROUTEWRIGHT_MODELS` says. Skipped loudly where they are not; with `ROUTEWRIGHT_REQUIRE_MODELS` in the
//! environment that is a failure.

#![cfg(feature = "candle")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]
#![expect(clippy::print_stdout, reason = "a test shows its figures")]

mod llama_cpp;
mod llama_server;
mod systems;

use routewright_decoder::backend::Backend;
use routewright_decoder::backends::candle::Candle;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// File of the instruct model: byte-level BPE of 49,152 tokens, no beginning-of-text token, a chat template.
pub(crate) const SMOLLM2: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";
/// File of the base model: SentencePiece of 262,144 pieces, a beginning-of-text token, layers with a window.
pub(crate) const GEMMA3: &str = "gemma-3-270m-q4_k_m.gguf";

/// Where a model lies.
pub(crate) fn file(name: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/models");
    let path = std::env::var_os("ROUTEWRIGHT_MODELS").map_or_else(beside, PathBuf::from).join(name);
    if path.is_file() {
        return Some(path);
    }
    let missing = format!("{} is not here; `.ci/models` fetches it", path.display());
    assert!(std::env::var_os("ROUTEWRIGHT_REQUIRE_MODELS").is_none(), "{missing}");
    routewright_data::testing::skip("real models", &missing);
    None
}

/// A model, loaded once for all tests; its name is `smollm2` or `gemma3`.
pub(crate) fn model(name: &str) -> Option<Arc<Candle>> {
    static LOADED: [OnceLock<Option<Arc<Candle>>>; 2] = [const { OnceLock::new() }; 2];
    let (at, file_name) = match name {
        "smollm2" => (0, SMOLLM2),
        "gemma3" => (1, GEMMA3),
        other => panic!("no model `{other}`"),
    };
    let load = || file(file_name).map(|path| Arc::new(Candle::open(name, &path, None, None).unwrap()));
    LOADED[at].get_or_init(load).clone()
}

/// Both, the instruct model first.
pub(crate) fn both() -> Option<[Arc<dyn Backend>; 2]> {
    Some([model("smollm2")?, model("gemma3")?])
}
