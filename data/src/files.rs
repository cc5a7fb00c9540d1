//! File access whose errors name the path, and writes that are whole or absent.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// A file operation that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} `{path}`")]
pub struct FileError {
    /// What was attempted.
    pub action: &'static str,
    /// The path.
    pub path: String,
    /// What the system said.
    #[source]
    pub source: std::io::Error,
}

fn fail(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> FileError + use<> {
    let path = path.display().to_string();
    move |source| FileError { action, path, source }
}

/// Reads a file, at most `bytes_max + 1` bytes of it (so that a longer one is recognised by its length).
///
/// A named pipe is refused: opening one waits for a writer, which may never come. Files under `/dev` are read.
///
/// # Errors
/// If it cannot be opened or read, or is no regular file.
pub fn read_up_to(path: &Path, bytes_max: u64) -> Result<Vec<u8>, FileError> {
    let found = fs::metadata(path).map_err(fail("open", path))?;
    if !found.is_file() && !path.starts_with("/dev") {
        let what = if found.is_dir() { "it is a folder" } else { "it is a pipe, a socket or a device" };
        let reason = format!("{what}, expected a regular file");
        return Err(fail("open", path)(std::io::Error::new(std::io::ErrorKind::InvalidInput, reason)));
    }
    let file = File::open(path).map_err(fail("open", path))?;
    let mut bytes = Vec::new();
    file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes).map_err(fail("read", path))?;
    Ok(bytes)
}

/// Opens a file for reading.
///
/// # Errors
/// If it does not exist or cannot be opened.
pub fn open(path: &Path) -> Result<File, FileError> {
    File::open(path).map_err(fail("open", path))
}

/// The entries of a directory, sorted by name.
///
/// # Errors
/// If it cannot be listed.
pub fn list_dir(path: &Path) -> Result<Vec<PathBuf>, FileError> {
    let entries = fs::read_dir(path).map_err(fail("list", path))?;
    let mut found = entries.map(|entry| entry.map(|e| e.path())).collect::<Result<Vec<_>, _>>();
    if let Ok(found) = &mut found {
        found.sort();
    }
    found.map_err(fail("list", path))
}

/// Whether `path` is a directory with nothing in it.
pub fn is_empty_dir(path: &Path) -> bool {
    fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
}

/// Writes a file whole: temporary name in the same folder, fsync, rename. Missing folders are made.
///
/// # Errors
/// If any step fails; the temporary file is removed and an older file stays as it was.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let mut file = temporary_beside(path)?;
    file.write_all(bytes).map_err(fail("write", path))?;
    publish(file, path)
}

/// Writes several files into a folder, none of them before all are on disk; other files are left alone.
///
/// # Errors
/// If any step fails; the temporary files are removed, and the folder if it was made here.
pub fn write_files(dir: &Path, entries: &[(&str, &[u8])]) -> Result<(), FileError> {
    let made = !dir.exists();
    let written = write_together(dir, entries);
    if written.is_err() && made {
        // Best effort, and only if it is empty: the first error is the one to report.
        drop(fs::remove_dir(dir));
    }
    written
}

fn write_together(dir: &Path, entries: &[(&str, &[u8])]) -> Result<(), FileError> {
    let mut staged = Vec::with_capacity(entries.len());
    for (name, bytes) in entries {
        let path = dir.join(name);
        let mut file = temporary_beside(&path)?;
        file.write_all(bytes).map_err(fail("write", &path))?;
        staged.push((file, path));
    }
    staged.into_iter().try_for_each(|(file, path)| publish(file, &path))
}

/// Removes a file.
///
/// # Errors
/// If the system refuses.
pub fn remove_file(path: &Path) -> Result<(), FileError> {
    fs::remove_file(path).map_err(fail("remove", path))
}

/// A temporary file in the folder of `path` (made when missing), removed on drop unless published.
///
/// # Errors
/// If the folder or the file cannot be made.
pub(crate) fn temporary_beside(path: &Path) -> Result<tempfile::NamedTempFile, FileError> {
    let parent = parent_of(path);
    fs::create_dir_all(&parent).map_err(fail("create folder", &parent))?;
    let mut builder = tempfile::Builder::new();
    builder.prefix(".routewright-");
    // A log is as readable as any file the user writes: the process' umask decides, not the temporary name.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(&parent).map_err(fail("write in", &parent))
}

/// Gives a finished temporary file its name: fsync, rename, fsync of the folder.
///
/// # Errors
/// If any step fails; an older file stays as it was.
pub(crate) fn publish(file: tempfile::NamedTempFile, path: &Path) -> Result<(), FileError> {
    file.as_file().sync_all().map_err(fail("sync", path))?;
    file.persist(path).map_err(|error| fail("write", path)(error.error))?;
    sync_dir(&parent_of(path))
}

/// Writes a directory whole: files in the order given under a temporary name, fsync, rename.
///
/// A directory that stood at `path` is replaced.
///
/// # Errors
/// If any step fails; the temporary directory is removed and an older directory stays as it was.
pub fn write_dir(path: &Path, entries: &[(&str, &[u8])]) -> Result<(), FileError> {
    let parent = parent_of(path);
    fs::create_dir_all(&parent).map_err(fail("create folder", &parent))?;
    let staging = tempfile::Builder::new()
        .prefix(".routewright-")
        .tempdir_in(&parent)
        .map_err(fail("write in", &parent))?;
    for (name, bytes) in entries {
        let file_path = staging.path().join(name);
        let mut file = File::create(&file_path).map_err(fail("create", &file_path))?;
        file.write_all(bytes).map_err(fail("write", &file_path))?;
        file.sync_all().map_err(fail("sync", &file_path))?;
    }
    sync_dir(staging.path())?;
    // A directory cannot be renamed over a full one: the old one steps aside first and comes back if need be.
    let aside = tempfile::Builder::new()
        .prefix(".routewright-old-")
        .tempdir_in(&parent)
        .map_err(fail("write in", &parent))?;
    let old = aside.path().join("old");
    let replaced = path.exists();
    if replaced {
        fs::rename(path, &old).map_err(fail("replace", path))?;
    }
    if let Err(error) = fs::rename(staging.path(), path) {
        if replaced {
            fs::rename(&old, path).map_err(fail("restore", path))?;
        }
        return Err(fail("write", path)(error));
    }
    sync_dir(&parent)
}

fn parent_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

fn sync_dir(path: &Path) -> Result<(), FileError> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(fail("sync", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_replaced_whole_and_leaves_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("policy");
        write_dir(&target, &[("a", b"1"), ("b", b"2")]).unwrap();
        write_dir(&target, &[("a", b"3")]).unwrap();
        assert_eq!(fs::read(target.join("a")).unwrap(), b"3");
        assert!(!target.join("b").exists());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_write_names_the_path_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let blocked = dir.path().join("file");
        write_file(&blocked, b"x").unwrap();
        let error = write_dir(&blocked.join("policy"), &[("a", b"1")]).unwrap_err();
        assert!(error.to_string().contains("file"), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn a_named_pipe_is_refused_instead_of_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("manifest.json");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || tell.send(read_up_to(&pipe, 10)));
        let read = told.recv_timeout(std::time::Duration::from_secs(60));
        let error = read.unwrap().unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(error.to_string().contains("manifest.json") && cause.contains("regular file"), "{cause}");
        assert!(read_up_to(dir.path(), 10).is_err(), "a folder");
        assert_eq!(read_up_to(Path::new("/dev/null"), 10).unwrap(), b"", "what a shell hands over is read");
    }
}
