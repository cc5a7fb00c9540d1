//! Models behind HTTP: every dialect against a server that speaks it, everything a server can do wrong, and a real one.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod dialects;
mod faults;
mod gguf;
mod llama_server;
mod published;
mod server;
mod speak;

use routewright_decoder::backend::{Backend, BackendError};
use routewright_decoder::backends::{self, scripted::Scripted};
use routewright_decoder::ensemble::MemberFile;
use routewright_decoder::vocabulary::Tokenizer;
use serde_json::{Map, Value, json};
use std::path::Path;
use std::sync::Arc;

/// A tokenizer file of characters and these pieces, a space before every text.
pub(crate) fn tokenizer_file(dir: &Path, name: &str, pieces: &[&str]) -> String {
    let mut lines = vec!["<unk>\t0".to_owned(), "<s>\t0".to_owned(), "</s>\t0".to_owned()];
    let characters =
        "abcdefghijklmnopqrstuvwxyz0123456789.,?!+=-*\u{2581}\u{e9}".chars().map(|c| c.to_string());
    let pieces = pieces.iter().map(|piece| piece.replace(' ', "\u{2581}"));
    for (at, piece) in characters.chain(pieces).enumerate() {
        lines.push(format!("{piece}\t-{at}"));
    }
    lines.push("<0x0A>\t0".to_owned());
    let path = dir.join(name);
    std::fs::write(&path, lines.join("\n")).unwrap();
    path.display().to_string()
}

/// A model that knows a sentence, has its doubts, and ends.
pub(crate) fn model(tokenizer: &str) -> Arc<dyn Backend> {
    Arc::new(scripted(tokenizer))
}

pub(crate) fn scripted(tokenizer: &str) -> Scripted {
    let tokenizer = Arc::new(Tokenizer::open(Path::new(tokenizer)).unwrap());
    let known = "once upon a time, there was 1 caf\u{e9}.";
    Scripted::new("inside", tokenizer, move |read| {
        let read = std::str::from_utf8(read).unwrap();
        let next = known.get(read.len()..).and_then(|rest| rest.chars().next());
        let next = next.map_or(String::new(), |c| c.to_string());
        let doubt = if read.len().is_multiple_of(3) { "z" } else { "q" };
        vec![(next, 0.6), (doubt.to_owned(), 0.25), ("x".to_owned(), 0.05)]
    })
}

/// A member behind HTTP.
pub(crate) fn member(
    url: &str,
    dialect: &str,
    tokenizer: Option<&str>,
    more: &Value,
) -> Result<Arc<dyn Backend>, BackendError> {
    let mut settings = Map::new();
    settings.insert("url".into(), json!(url));
    settings.insert("dialect".into(), json!(dialect));
    if let Some(tokenizer) = tokenizer {
        settings.insert("tokenizer".into(), json!(tokenizer));
    }
    settings.extend(more.as_object().unwrap().clone());
    let member = MemberFile { name: "far".into(), backend: "http".into(), settings };
    backends::open(&member, Path::new("."))
}
