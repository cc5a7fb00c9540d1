//! Files that only the server's own user should read or write: the store, which may hold prompts, and the keys.

use crate::log::{Level, Log};
use crate::settings::ServerConfig;
use serde_json::json;

/// Makes the file of the store where it is new, and warns of files that others can read or change.
pub(crate) fn keep(config: &ServerConfig, log: &Log) {
    let store = config.store.as_ref().map(|store| store.path.as_path());
    let store = store.filter(|path| !path.as_os_str().is_empty());
    if let Some(path) = store {
        make(path);
    }
    let files = [("store", store, READ | WRITE), ("keys_file", config.keys_file.as_deref(), WRITE)];
    for (what, path, forbidden) in files {
        let Some((path, mode)) = path.and_then(|path| Some((path, mode(path)?))) else { continue };
        if mode & forbidden != 0 {
            let fields = json!({
                "file": what,
                "path": path.display().to_string(),
                "mode": format!("{:04o}", mode & 0o7777),
                "hint": "chmod 600",
            });
            log.event(Level::Warn, "file_open_to_others", fields);
        }
    }
}

/// Permissions of group and others.
const READ: u32 = 0o044;
const WRITE: u32 = 0o022;

/// An empty file is an empty database, and the files beside it get its permissions.
#[cfg(unix)]
fn make(path: &std::path::Path) {
    use std::os::unix::fs::OpenOptionsExt;
    let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    // One that is there stays as it is; whether it can be opened is found out next.
    drop(made);
}

#[cfg(unix)]
fn mode(path: &std::path::Path) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).ok().map(|about| about.permissions().mode())
}

#[cfg(not(unix))]
fn make(_: &std::path::Path) {}

#[cfg(not(unix))]
fn mode(_: &std::path::Path) -> Option<u32> {
    None
}

#[cfg(all(test, unix))]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;
    use crate::log::Sink;
    use crate::settings::StoreConfig;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::{Arc, Mutex};

    #[derive(Debug, Default)]
    struct Lines(Mutex<Vec<String>>);

    impl Sink for Lines {
        fn line(&self, line: &str) {
            self.0.lock().unwrap().push(line.to_owned());
        }
    }

    #[test]
    fn a_new_store_is_private_and_files_open_to_others_are_warned_of() {
        let dir = tempfile::tempdir().unwrap();
        let (store, keys) = (dir.path().join("log.db"), dir.path().join("keys.toml"));
        std::fs::write(&keys, "").unwrap();
        let config = ServerConfig {
            store: Some(StoreConfig::at(store.clone())),
            keys_file: Some(keys.clone()),
            ..ServerConfig::default()
        };
        let warned = |store_mode: Option<u32>, keys_mode: u32| {
            for (path, mode) in [(&store, store_mode), (&keys, Some(keys_mode))] {
                if let Some(mode) = mode {
                    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
                }
            }
            let lines = Arc::new(Lines::default());
            keep(&config, &Log(Arc::clone(&lines) as _));
            lines.0.lock().unwrap().join("\n")
        };
        assert_eq!(warned(None, 0o644), "", "readable hashes of random keys open nothing");
        assert_eq!(mode(&store).unwrap() & 0o777, 0o600);
        let log = warned(Some(0o644), 0o666);
        assert!(log.contains("\"file\":\"store\"") && log.contains("\"mode\":\"0644\""), "{log}");
        assert!(log.contains("\"file\":\"keys_file\""), "{log}");
        assert_eq!(warned(Some(0o600), 0o600), "");
    }
}
