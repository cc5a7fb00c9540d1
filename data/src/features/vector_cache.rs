//! Vectors of texts kept on disk, so that a log is embedded once.
//!
//! A folder of *segments*, each written whole under a temporary name and renamed, never changed afterwards:
//!
//! ```text
//! magic (8) | dim u32 | count u32 | count x (key (16), dim x f32) | blake3 of all before (32)
//! ```
//!
//! The key is the head of the blake3 of the text; the folder belongs to one model and one way of running it.
//! A segment is named by its digest, so several processes may write at once. A new process reads the newest
//! segments up to [`BYTES_MAX`] and removes the older ones; many small segments are merged into one. A
//! segment that is damaged or of another width is passed over with a warning. New vectors wait in memory
//! until [`PENDING_MAX`] of them are written together; a process that is killed loses those.

use crate::files::{self, FileError};
use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Bytes of vectors kept, in memory and (from the next start on) on disk.
const BYTES_MAX: u64 = 256 << 20;
/// New vectors written together.
const PENDING_MAX: usize = 1024;
/// Number of segments above which they are merged into one.
const SEGMENTS_MAX: usize = 16;
const MAGIC: &[u8; 8] = b"rwvec\x01\0\0";
const EXTENSION: &str = "vectors";
const DIGEST_BYTES: usize = 32;

type Key = [u8; 16];
type Vectors = HashMap<Key, Box<[f32]>>;

/// The vectors of one folder.
#[derive(Debug)]
pub(super) struct VectorCache {
    folder: PathBuf,
    dim: usize,
    content: Mutex<Content>,
}

#[derive(Debug, Default)]
struct Content {
    known: Vectors,
    pending: Vec<Key>,
}

impl VectorCache {
    /// Reads what the folder holds of vectors of width `dim`; a folder that does not exist holds nothing.
    pub(super) fn open(folder: &Path, dim: usize) -> Self {
        let cache = Self { folder: folder.to_path_buf(), dim, content: Mutex::default() };
        let mut segments = segments(folder);
        // Newest first: what does not fit any more is the oldest.
        segments.sort_by(|a, b| b.modified.cmp(&a.modified).then_with(|| a.path.cmp(&b.path)));
        let mut bytes = 0;
        let mut read = Vec::new();
        let mut content = cache.lock();
        for segment in segments {
            bytes += segment.bytes;
            if bytes > BYTES_MAX {
                remove(&segment.path);
                continue;
            }
            match read_segment(&segment.path, dim) {
                Ok(vectors) => {
                    content.known.extend(vectors);
                    read.push(segment.path);
                }
                // Another process may have rewritten it meanwhile.
                Err(_) if !segment.path.exists() => {}
                Err(reason) => warn(&format!("`{}` is passed over: {reason}", segment.path.display())),
            }
        }
        if read.len() > SEGMENTS_MAX {
            let keys: Vec<Key> = content.known.keys().copied().collect();
            if let Ok(merged) = cache.write(&content.known, keys) {
                read.iter().filter(|path| **path != merged).for_each(|path| remove(path));
            }
        }
        drop(content);
        cache
    }

    /// The vector of a text, where it is known.
    pub(super) fn get(&self, text: &str) -> Option<Vec<f32>> {
        self.lock().known.get(&key(text)).map(|vector| vector.to_vec())
    }

    /// Remembers the vector of a text.
    pub(super) fn insert(&self, text: &str, vector: &[f32]) {
        let mut content = self.lock();
        let entry_bytes = (size_of::<Key>() + self.dim * size_of::<f32>()) as u64;
        if vector.len() != self.dim || (content.known.len() as u64 + 1) * entry_bytes > BYTES_MAX {
            return;
        }
        let key = key(text);
        if content.known.insert(key, vector.into()).is_none() {
            content.pending.push(key);
        }
        if content.pending.len() >= PENDING_MAX {
            self.flush(content);
        }
    }

    /// Writes what waits. What cannot be written is forgotten on disk only, with a warning.
    fn flush(&self, mut content: MutexGuard<'_, Content>) {
        let pending = std::mem::take(&mut content.pending);
        if pending.is_empty() {
            return;
        }
        if let Err(error) = self.write(&content.known, pending) {
            warn(&format!("cannot {} `{}`: {}", error.action, error.path, error.source));
        }
    }

    fn write(&self, vectors: &Vectors, mut keys: Vec<Key>) -> Result<PathBuf, FileError> {
        keys.sort_unstable();
        let mut bytes = MAGIC.to_vec();
        bytes.extend((self.dim as u32).to_le_bytes());
        bytes.extend((keys.len() as u32).to_le_bytes());
        for key in &keys {
            bytes.extend(key);
            bytes.extend(vectors.get(key).into_iter().flatten().flat_map(|x| x.to_le_bytes()));
        }
        let digest = blake3::hash(&bytes);
        bytes.extend(digest.as_bytes());
        let path = self.folder.join(format!("{}.{EXTENSION}", &digest.to_hex()[..32]));
        files::write_file(&path, &bytes)?;
        Ok(path)
    }

    fn lock(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for VectorCache {
    fn drop(&mut self) {
        self.flush(self.lock());
    }
}

struct Segment {
    path: PathBuf,
    bytes: u64,
    modified: Option<std::time::SystemTime>,
}

fn segments(folder: &Path) -> Vec<Segment> {
    let segment = |path: PathBuf| {
        let data = std::fs::metadata(&path).ok()?;
        Some(Segment { path, bytes: data.len(), modified: data.modified().ok() })
    };
    let paths = files::list_dir(folder).unwrap_or_default().into_iter();
    paths.filter(|path| path.extension().is_some_and(|e| e == EXTENSION)).filter_map(segment).collect()
}

fn read_segment(path: &Path, dim: usize) -> Result<Vectors, String> {
    let bytes = files::read_up_to(path, BYTES_MAX).map_err(|e| e.source.to_string())?;
    let (body, digest) =
        bytes.split_at_checked(bytes.len().saturating_sub(DIGEST_BYTES)).ok_or("it is too short")?;
    if blake3::hash(body).as_bytes() != digest {
        return Err("it is damaged".to_owned());
    }
    let (head, entries) = body.split_at_checked(MAGIC.len() + 8).ok_or("it is too short")?;
    let number = |at: usize| head[at..at + 4].try_into().map(u32::from_le_bytes).unwrap_or(0) as usize;
    if &head[..MAGIC.len()] != MAGIC || number(MAGIC.len()) != dim {
        return Err(format!("it does not hold vectors of width {dim}"));
    }
    let width = size_of::<Key>() + dim * size_of::<f32>();
    if entries.len() != number(MAGIC.len() + 4) * width {
        return Err("its length is not the one it states".to_owned());
    }
    let entry = |entry: &[u8]| {
        let (key, values) = entry.split_first_chunk::<16>()?;
        let values: Box<[f32]> = values.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        values.iter().all(|x| x.is_finite()).then_some((*key, values))
    };
    Ok(entries.chunks_exact(width).filter_map(entry).collect())
}

fn key(text: &str) -> Key {
    let mut key = [0; 16];
    key.copy_from_slice(&blake3::hash(text.as_bytes()).as_bytes()[..16]);
    key
}

/// A file that another process removed first is gone all the same.
fn remove(path: &Path) {
    drop(std::fs::remove_file(path));
}

/// A cache is a convenience: errors are logged and ignored.
fn warn(text: &str) {
    drop(writeln!(std::io::stderr().lock(), "warning: vector cache: {text}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files_in(folder: &Path) -> Vec<PathBuf> {
        segments(folder).into_iter().map(|segment| segment.path).collect()
    }

    #[test]
    fn vectors_survive_the_process_and_two_processes_do_not_disturb_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (VectorCache::open(dir.path(), 2), VectorCache::open(dir.path(), 2));
        a.insert("one", &[1.0, 2.0]);
        b.insert("two", &[3.0, -0.0]);
        b.insert("one", &[1.0, 2.0]);
        assert_eq!(a.get("two"), None);
        drop((a, b));
        let cache = VectorCache::open(dir.path(), 2);
        assert_eq!((cache.get("one"), cache.get("two")), (Some(vec![1.0, 2.0]), Some(vec![3.0, -0.0])));
        assert_eq!(cache.get("three"), None);
        drop(cache); // nothing new: nothing written
        assert_eq!(files_in(dir.path()).len(), 2);
    }

    #[test]
    fn a_damaged_segment_is_passed_over_and_never_wrong() {
        let dir = tempfile::tempdir().unwrap();
        let cache = VectorCache::open(dir.path(), 2);
        cache.insert("one", &[1.0, 2.0]);
        drop(cache);
        let path = files_in(dir.path()).remove(0);
        let whole = std::fs::read(&path).unwrap();
        for at in (0..whole.len()).step_by(5) {
            let mut damaged = whole.clone();
            damaged[at] ^= 4;
            std::fs::write(&path, damaged).unwrap();
            assert_eq!(VectorCache::open(dir.path(), 2).get("one"), None, "byte {at}");
            std::fs::write(&path, &whole[..at]).unwrap();
            assert_eq!(VectorCache::open(dir.path(), 2).get("one"), None, "cut at {at}");
        }
        std::fs::write(&path, &whole).unwrap();
        assert_eq!(VectorCache::open(dir.path(), 3).get("one"), None);
        assert!(VectorCache::open(dir.path(), 2).get("one").is_some());
    }

    #[test]
    fn many_segments_are_written_anew_as_one() {
        let dir = tempfile::tempdir().unwrap();
        for i in 0..=SEGMENTS_MAX {
            let cache = VectorCache::open(dir.path(), 1);
            cache.insert(&i.to_string(), &[i as f32]);
        }
        let cache = VectorCache::open(dir.path(), 1);
        assert_eq!(files_in(dir.path()).len(), 1);
        for i in 0..=SEGMENTS_MAX {
            assert_eq!(cache.get(&i.to_string()), Some(vec![i as f32]));
        }
    }
}
