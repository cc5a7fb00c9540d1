//! What a server was asked and what it said, kept in a file: so that a conversation can be had again without it.
//!
//! JSON lines of `{"ask": request, "said": [replies]}`, a reply as a whole or event by event. The same request can
//! stand there several times (sampling); it is then answered in that order, the last one again and again. Lines whose
//! `ask` is null, written by hand, answer every request that has no line of its own.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{HashMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// The request of lines that answer any request.
const ANY: &str = "null";

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    ask: Value,
    said: Vec<Value>,
}

/// A file that conversations are written to.
#[derive(Debug)]
pub struct Recorder(Mutex<File>);

impl Recorder {
    /// A new file.
    ///
    /// # Errors
    /// If it is there already or cannot be written.
    pub fn create(path: &Path) -> Result<Self, String> {
        let file = OpenOptions::new().append(true).create_new(true).open(path);
        let failed =
            |error| format!("cannot record to `{}`: {error}; a new file is accepted", path.display());
        Ok(Self(Mutex::new(file.map_err(failed)?)))
    }

    /// Appends a request and what came back.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn note(&self, ask: &Value, said: &[Value]) -> Result<(), String> {
        let line = Line { ask: ask.clone(), said: said.to_vec() };
        let mut text = serde_json::to_string(&line).map_err(|error| error.to_string())?;
        text.push('\n');
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(text.as_bytes()).map_err(|error| format!("cannot record a reply: {error}"))
    }
}

/// Replies read from a file, in order, by the request as JSON.
#[derive(Debug)]
pub struct Replay {
    path: String,
    said: Mutex<HashMap<String, VecDeque<Vec<Value>>>>,
}

impl Replay {
    /// Reads a file that [`Recorder`] wrote.
    ///
    /// # Errors
    /// If it cannot be read, or a line is not what was written.
    pub fn open(path: &Path) -> Result<Self, String> {
        let shown = path.display().to_string();
        let failed = |reason: String| format!("cannot replay `{shown}`: {reason}");
        let file = File::open(path).map_err(|error| failed(error.to_string()))?;
        let mut said: HashMap<String, VecDeque<Vec<Value>>> = HashMap::new();
        for (at, line) in BufReader::new(file).lines().enumerate() {
            let line = line.map_err(|error| failed(error.to_string()))?;
            let line: Line =
                serde_json::from_str(&line).map_err(|error| failed(format!("line {}: {error}", at + 1)))?;
            said.entry(line.ask.to_string()).or_default().push_back(line.said);
        }
        Ok(Self { path: shown, said: Mutex::new(said) })
    }

    /// What was said to a request.
    ///
    /// # Errors
    /// If it was never asked.
    pub fn said(&self, ask: &Value) -> Result<Vec<Value>, String> {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let ask_as_text = ask.to_string();
        let own = if said.contains_key(&ask_as_text) { ask_as_text.as_str() } else { ANY };
        let replies = said.get_mut(own);
        let reply = replies.and_then(|replies| match replies.len() {
            0 | 1 => replies.front().cloned(),
            _ => replies.pop_front(),
        });
        reply.ok_or_else(|| {
            let ask: String = ask_as_text.chars().take(200).collect();
            format!("recording `{}` has no reply to `{ask}`", self.path)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_was_said_is_said_again_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("talk.jsonl");
        let recorder = Recorder::create(&path).unwrap();
        let (a, b) = (json!({"prompt": "a"}), json!({"prompt": "b"}));
        for (ask, reply) in [(&a, 1), (&b, 2), (&a, 3)] {
            recorder.note(ask, &[json!(reply)]).unwrap();
        }
        let replay = Replay::open(&path).unwrap();
        let told: Vec<Value> =
            [&a, &a, &b, &a].iter().map(|ask| replay.said(ask).unwrap()[0].clone()).collect();
        assert_eq!(told, [1, 3, 2, 3].map(|n| json!(n)));
        let error = replay.said(&json!({"prompt": "c"})).unwrap_err();
        assert!(error.contains("has no reply to `{\"prompt\":\"c\"}`"), "{error}");
        assert!(Recorder::create(&path).unwrap_err().contains("a new file is accepted"));
        std::fs::write(&path, "{\"ask\":null,\"said\":[7]}\n{\"ask\":{\"a\":1},\"said\":[8]}\n").unwrap();
        let replay = Replay::open(&path).unwrap();
        assert_eq!(
            (replay.said(&b).unwrap(), replay.said(&json!({"a": 1})).unwrap()),
            (vec![json!(7)], vec![json!(8)])
        );
        std::fs::write(&path, "{\"ask\": 1}\n").unwrap();
        assert!(Replay::open(&path).unwrap_err().contains("line 1"));
    }
}
