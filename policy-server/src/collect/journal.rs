//! Every call of a collection and what it brought, in a file that is only appended to.
//!
//! Beside a log `LOG.parquet` lies `LOG.parquet.journal`: JSON lines, each on disk (fsync) before the collection goes
//! on. `{"ask": KEY, "nano": N}` comes before a call, with the most it can cost; `{"key": KEY, "nano": N, ..}` after
//! it, with what it did cost and its `reply` or why it `failed`. After a kill, at any instant, a line that was cut
//! short is dropped, every answer is there, and a call that was under way counts as paid. The key of a call is a
//! digest of all that is sent, so that a changed prompt, model or temperature is another call.

use super::error::CollectError;
use super::reply::Reply;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use tokio::sync::oneshot;

/// Hex digits of a key.
const KEY_DIGITS: usize = 32;

/// The digest that names a call.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Key(String);

impl Key {
    /// The key of a call: of the parts, in order.
    pub(super) fn of(parts: &[&str]) -> Self {
        let mut hasher = blake3::Hasher::new();
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        Self(hasher.finalize().to_hex()[..KEY_DIGITS].to_owned())
    }

    /// Its first bits, as a number for draws.
    pub(super) fn number(&self) -> u64 {
        u64::from_str_radix(self.0.get(..16).unwrap_or_default(), 16).unwrap_or_default()
    }
}

/// A line of the journal.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    #[serde(skip_serializing_if = "Option::is_none")]
    ask: Option<Key>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<Key>,
    /// Nano-USD: at most, or in the end.
    nano: u64,
    /// Whose call it is, for readers of the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    call: Option<Called>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply: Option<Reply>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failed: Option<String>,
}

/// Whose call a line is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Called {
    /// `answer`, `judge` or `verify`.
    pub(super) what: String,
    pub(super) id: String,
    pub(super) model: String,
    pub(super) sample: u32,
}

/// What a call has come to.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Came {
    Reply(Box<Reply>),
    Failed(String),
}

/// Where the line of an answer is.
#[derive(Debug, Clone, Copy)]
struct Place {
    offset: u64,
    length: usize,
    failed: bool,
}

#[derive(Debug, Default)]
struct Index {
    places: HashMap<Key, Place>,
    /// Bytes of whole lines.
    length: u64,
}

/// What waits to be written: a line, the call it ends, and who waits for it.
struct Entry {
    line: String,
    ends: Option<(Key, bool)>,
    written: oneshot::Sender<Result<(), String>>,
}

/// The journal, open for this process alone.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: Mutex<File>,
    index: std::sync::Arc<Mutex<Index>>,
    entries: Sender<Entry>,
    /// Nano-USD of every call of earlier runs, those under way at their ends included.
    pub(super) spent: u64,
    /// What calls under way at the ends of earlier runs count as.
    owed: HashMap<Key, u64>,
    /// Lines that could not be read.
    pub(super) n_damaged: u64,
}

impl Journal {
    /// Where the journal of a log lies.
    pub(super) fn beside(log: &Path) -> PathBuf {
        let mut name = log.as_os_str().to_owned();
        name.push(".journal");
        name.into()
    }

    /// Opens the journal, and makes it where there is none.
    ///
    /// # Errors
    /// If it cannot be read or written, or another process has it open.
    pub(super) fn open(path: &Path) -> Result<Self, CollectError> {
        let shown = path.display().to_string();
        let fail = |action: &'static str| {
            let path = shown.clone();
            move |error: std::io::Error| CollectError::Journal { action, path, reason: error.to_string() }
        };
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true);
        // Prompts and answers are as private as the store of a server.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(path).map_err(fail("open"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let reason = "another collection has it open; wait for its end".to_owned();
                return Err(CollectError::Journal { action: "lock", path: shown, reason });
            }
            Err(TryLockError::Error(error)) => return Err(fail("lock")(error)),
        }
        let read = Contents::read(&file).map_err(fail("read"))?;
        // What was cut short by a kill is not followed by another line.
        file.set_len(read.index.length).map_err(fail("mend"))?;
        let spent = read.spent();
        let index = std::sync::Arc::new(Mutex::new(read.index));
        let writer = file.try_clone().map_err(fail("open"))?;
        let (entries, waiting) = channel();
        let known = std::sync::Arc::clone(&index);
        std::thread::spawn(move || write(writer, &waiting, &known));
        Ok(Self {
            path: path.to_path_buf(),
            file: Mutex::new(file),
            index,
            entries,
            spent,
            owed: read.open,
            n_damaged: read.n_damaged,
        })
    }

    /// Whether a call has ended, and then whether it failed.
    pub(super) fn ended(&self, key: &Key) -> Option<bool> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner).places.get(key).map(|place| place.failed)
    }

    /// What a call that never ended counts as, nano-USD; part of [`Self::spent`].
    pub(super) fn owed(&self, key: &Key) -> u64 {
        self.owed.get(key).copied().unwrap_or_default()
    }

    /// What a call has come to, read from the file.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(super) fn came(&self, key: &Key) -> Result<Option<Came>, CollectError> {
        let place = self.index.lock().unwrap_or_else(PoisonError::into_inner).places.get(key).copied();
        let Some(place) = place else { return Ok(None) };
        let mut bytes = vec![0; place.length];
        let read = || -> std::io::Result<()> {
            let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
            file.seek(SeekFrom::Start(place.offset))?;
            file.read_exact(&mut bytes)
        };
        let fail = |reason: String| CollectError::Journal {
            action: "read",
            path: self.path.display().to_string(),
            reason,
        };
        let mut read = read;
        read().map_err(|error| fail(error.to_string()))?;
        let line: Line = serde_json::from_slice(&bytes).map_err(|error| fail(error.to_string()))?;
        Ok(Some(match line.reply {
            Some(reply) => Came::Reply(Box::new(reply)),
            None => Came::Failed(line.failed.unwrap_or_default()),
        }))
    }

    /// Says that a call is to be made, which costs `most` nano-USD at most, earlier tries included.
    ///
    /// # Errors
    /// If that cannot be written.
    pub(super) async fn ask(&self, key: &Key, most: u64) -> Result<(), CollectError> {
        let line =
            Line { ask: Some(key.clone()), key: None, nano: most, call: None, reply: None, failed: None };
        self.append(&line, None).await
    }

    /// Says what a call has come to, and what it cost.
    ///
    /// # Errors
    /// If that cannot be written.
    pub(super) async fn end(
        &self,
        key: &Key,
        call: Called,
        nano: u64,
        came: Came,
    ) -> Result<(), CollectError> {
        let (reply, failed) = match came {
            Came::Reply(reply) => (Some(*reply), None),
            Came::Failed(reason) => (None, Some(reason)),
        };
        let is_failed = failed.is_some();
        let line = Line { ask: None, key: Some(key.clone()), nano, call: Some(call), reply, failed };
        self.append(&line, Some((key.clone(), is_failed))).await
    }

    async fn append(&self, line: &Line, ends: Option<(Key, bool)>) -> Result<(), CollectError> {
        let fail = |reason: String| CollectError::Journal {
            action: "write",
            path: self.path.display().to_string(),
            reason,
        };
        let line = serde_json::to_string(line).map_err(|error| fail(error.to_string()))? + "\n";
        let (written, told) = oneshot::channel();
        let gone = || fail("its thread has ended".to_owned());
        self.entries.send(Entry { line, ends, written }).map_err(|_| gone())?;
        told.await.map_err(|_| gone())?.map_err(fail)
    }
}

/// What a journal holds.
#[derive(Debug, Default)]
struct Contents {
    index: Index,
    ended: u64,
    /// Most that each call under way can cost.
    open: HashMap<Key, u64>,
    n_damaged: u64,
}

impl Contents {
    fn read(mut file: &File) -> std::io::Result<Self> {
        file.seek(SeekFrom::Start(0))?;
        let mut reader = BufReader::new(file);
        let (mut contents, mut line) = (Self::default(), Vec::new());
        loop {
            line.clear();
            let length = reader.read_until(b'\n', &mut line)?;
            if length == 0 || line.last() != Some(&b'\n') {
                return Ok(contents);
            }
            contents.take(&line);
            contents.index.length += length as u64;
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        let offset = self.index.length;
        let Ok(line) = serde_json::from_slice::<Line>(bytes) else {
            self.n_damaged += 1;
            return;
        };
        if let Some(key) = line.ask {
            // Each says what the call can cost with all tries so far.
            self.open.insert(key, line.nano);
        } else if let Some(key) = line.key {
            self.ended = self.ended.saturating_add(line.nano);
            self.open.remove(&key);
            let place = Place { offset, length: bytes.len(), failed: line.reply.is_none() };
            self.index.places.insert(key, place);
        }
    }

    fn spent(&self) -> u64 {
        self.open.values().fold(self.ended, |sum, nano| sum.saturating_add(*nano))
    }
}

/// Writes entries as they come, all that wait with one fsync, until the journal is dropped.
fn write(mut file: File, waiting: &Receiver<Entry>, index: &Mutex<Index>) {
    while let Ok(first) = waiting.recv() {
        let batch: Vec<Entry> = std::iter::once(first).chain(waiting.try_iter()).collect();
        let lines: String = batch.iter().map(|entry| entry.line.as_str()).collect();
        let result = file.write_all(lines.as_bytes()).and_then(|()| file.sync_data());
        let result = result.map_err(|error| error.to_string());
        if result.is_ok() {
            let mut index = index.lock().unwrap_or_else(PoisonError::into_inner);
            for Entry { line, ends, .. } in &batch {
                let (offset, length) = (index.length, line.len());
                if let Some((key, failed)) = ends {
                    index.places.insert(key.clone(), Place { offset, length, failed: *failed });
                }
                index.length += length as u64;
            }
        }
        for entry in batch {
            // Who asked may have been stopped.
            let _gone = entry.written.send(result.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn called() -> Called {
        Called { what: "answer".into(), id: "q".into(), model: "m".into(), sample: 0 }
    }

    #[tokio::test]
    async fn a_journal_cut_anywhere_keeps_every_whole_line_and_counts_what_was_under_way() {
        let dir = tempfile::tempdir().unwrap();
        let path = Journal::beside(&dir.path().join("log.parquet"));
        let keys = ["a", "b", "c"].map(|name| Key::of(&[name]));
        {
            let journal = Journal::open(&path).unwrap();
            assert!(Journal::open(&path).unwrap_err().to_string().contains("another collection"));
            for key in &keys {
                journal.ask(key, 100).await.unwrap();
            }
            let reply = Reply { text: "é\n\"x\"".into(), ..Reply::default() };
            journal.end(&keys[0], called(), 7, Came::Reply(Box::new(reply))).await.unwrap();
            journal.end(&keys[1], called(), 20, Came::Failed("no".into())).await.unwrap();
        }
        let whole = std::fs::read(&path).unwrap();
        let ends: Vec<usize> =
            whole.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1).collect();
        for cut in 0..=whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let journal = loop {
                // The lock goes with the thread that writes.
                match Journal::open(&path) {
                    Ok(journal) => break journal,
                    Err(error) => assert!(error.to_string().contains("another collection"), "{error}"),
                }
            };
            let lines = ends.iter().filter(|end| **end <= cut).count();
            let spent = [0, 100, 200, 300, 207, 127][lines];
            assert_eq!((journal.spent, journal.n_damaged), (spent, 0), "cut at {cut}");
            assert_eq!(journal.owed(&keys[2]), if lines >= 3 { 100 } else { 0 });
            assert_eq!(journal.ended(&keys[0]), (lines >= 4).then_some(false));
            assert_eq!(journal.ended(&keys[1]), (lines >= 5).then_some(true));
            if lines >= 4 {
                let Some(Came::Reply(reply)) = journal.came(&keys[0]).unwrap() else { panic!() };
                assert_eq!(reply.text, "é\n\"x\"");
            }
            journal.end(&keys[2], called(), 1, Came::Failed("late".into())).await.unwrap();
            assert_eq!(journal.came(&keys[2]).unwrap(), Some(Came::Failed("late".into())));
        }
    }

    #[test]
    fn keys_are_of_parts_and_not_of_their_join() {
        assert_eq!(Key::of(&["a", "b"]), Key::of(&["a", "b"]));
        assert_ne!(Key::of(&["a", "b"]), Key::of(&["ab", ""]));
    }
}
