//! What tests of every package share: where real logs lie, and how a test reports that it did not run.

use std::io::Write;
use std::path::{Path, PathBuf};

/// Names the file that each skipped test adds a line to: what it needs, a tab, why it did not run.
const SKIPS: &str = "ROUTEWRIGHT_SKIPS";

/// A file beneath `../shared` of the checkout, or beneath `$ROUTEWRIGHT_SHARED`; where it is missing, the test is
/// reported as skipped.
pub fn shared(name: &str) -> Option<PathBuf> {
    let path = place(name);
    if path.exists() {
        return Some(path);
    }
    skip("shared files", &format!("`{}` is not here", path.display()));
    None
}

fn place(name: &str) -> PathBuf {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    std::env::var_os("ROUTEWRIGHT_SHARED").map_or_else(beside, PathBuf::from).join(name)
}

/// Reports that a test, or the rest of one, does not run where `need` is missing: on stderr past the harness, which
/// keeps what a passing test prints, and as a line of the file `$ROUTEWRIGHT_SKIPS`.
pub fn skip(need: &str, why: &str) {
    let line = format!("{need}\t{}\n", why.replace(['\n', '\t'], " "));
    // A report that cannot be written must not fail a test.
    let _unheard = std::io::stderr().write_all(format!("\nSKIPPED: {line}").as_bytes());
    if let Some(path) = std::env::var_os(SKIPS) {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
        let _unwritten = file.and_then(|mut file| file.write_all(line.as_bytes()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_files_lie_beside_the_checkout_or_where_the_variable_says() {
        let asked = std::env::var_os("ROUTEWRIGHT_SHARED");
        let expected =
            asked.map_or_else(|| "../../shared".to_owned(), |at| at.to_string_lossy().into_owned());
        assert!(place("data").ends_with(Path::new(&expected).join("data")));
    }
}
