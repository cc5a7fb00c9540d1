//! Two real tiny models, where they lie beside the checkout; skipped loudly where they do not.

#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(clippy::print_stdout, reason = "a skipped test says so")]

mod references;

use std::path::{Path, PathBuf};

/// The folder of the models.
pub(crate) fn models() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/models");
    if !path.join("stories260k/model.bin").is_file() {
        println!("SKIPPED: {} is not here", path.display());
        return None;
    }
    Some(path)
}
