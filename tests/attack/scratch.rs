//! Files of a case: entry points that read paths get them in memory where the system has a file system there.

use crate::harness::Parts;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A folder of one target.
#[derive(Debug)]
pub(crate) struct Scratch(TempDir);

impl Scratch {
    pub(crate) fn new() -> Self {
        let memory = Path::new("/dev/shm");
        Self(if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file and returns its path.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// Writes every part into a folder.
    pub(crate) fn write_all(&self, folder: &str, parts: &Parts) -> PathBuf {
        let folder = self.path(folder);
        std::fs::create_dir_all(&folder).unwrap();
        for (name, bytes) in parts {
            std::fs::write(folder.join(name), bytes).unwrap();
        }
        folder
    }
}
