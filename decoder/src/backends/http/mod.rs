//! Models behind HTTP: servers that speak OpenAI's protocol or one of their own, told apart by data
//! ([`dialect`]).
//!
//! A server keeps no state for us: every question carries the whole text, as token ids where the dialect takes them
//! and the tokenizer is declared, otherwise as text. Servers that cache prefixes read only what is new.
//!
//! What a server lists of the next-token distribution is cut off; the probability of the rest goes with the list.
//! Candidates given by text alone are lossy: those that are no token of a declared tokenizer, or no whole characters,
//! count as rest. A server whose list leaves out the end of the answer shows it only by ending; it then counts as
//! certain.

mod dialect;
mod rows;
mod session;

pub use dialect::Dialect;

use crate::backend::{Backend, BackendError, Capabilities, NextTokens, Session, Stop};
use crate::backends::{BackendRow, path, settings};
use crate::chat::{Message, joined};
use crate::client::{Client, Patience, Recorder, Replay, Tape};
use crate::vocabulary::Tokenizer;
use dialect::{merge, put};
use serde_json::{Map, Value, json};
use session::Reading;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// The row of this backend.
pub const ROW: BackendRow = BackendRow {
    name: "http",
    title: "a model behind HTTP: vLLM, llama.cpp, SGLang, TGI, OpenAI and what speaks like them",
    open: |name, value, folder| {
        let settings: Settings = settings(name, value)?;
        Ok(Arc::new(Http(Arc::new(Server::new(name, settings, folder)?))))
    },
};

/// Texts by which servers show the end of an answer, where a tokenizer is not declared or ids are not given.
const ENDS: [&str; 8] = [
    "</s>",
    "<|endoftext|>",
    "<|im_end|>",
    "<|eot_id|>",
    "<|end_of_text|>",
    "<eos>",
    "<end_of_turn>",
    "<|end|>",
];

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Where the server is, such as `http://127.0.0.1:8000`.
    url: String,
    /// How it is spoken to.
    dialect: String,
    /// Name of the model there; that of the member where `None`.
    model: Option<String>,
    /// Tokenizer file of the model.
    tokenizer: Option<String>,
    /// Name of the environment variable that holds the key.
    key_env: Option<String>,
    /// Candidates asked for; 20, or as many as the dialect allows.
    top: Option<u32>,
    /// Tokens it can read, prompt and answer together.
    context: Option<usize>,
    /// Whether prompts go as text although they could go as ids.
    #[serde(default)]
    as_text: bool,
    /// Texts that mark the end of an answer.
    ends: Option<Vec<String>>,
    /// Longest wait for a reply or the next event of one, milliseconds.
    timeout_ms: Option<u64>,
    /// Times a request is sent at most.
    attempts: Option<u32>,
    /// File that requests and replies are written to.
    record: Option<String>,
    /// File that replies are read from; the server is not asked.
    replay: Option<String>,
    /// Fields of every request.
    #[serde(default)]
    extra: Map<String, Value>,
}

/// A model behind HTTP.
#[derive(Debug, Clone)]
pub struct Http(Arc<Server>);

/// What all sessions with a server share.
#[derive(Debug)]
struct Server {
    name: String,
    url: String,
    client: Client,
    dialect: &'static Dialect,
    model: String,
    tokenizer: Option<Arc<Tokenizer>>,
    /// Prompts go as ids.
    sends_ids: bool,
    top: u32,
    context: usize,
    ends: Vec<String>,
    extra: Map<String, Value>,
}

impl Server {
    fn new(name: &str, settings: Settings, folder: &Path) -> Result<Self, BackendError> {
        let failed = |reason: String| BackendError::Failed { model: name.to_owned(), reason };
        let dialect = Dialect::find(&settings.dialect).map_err(failed)?;
        let is_web = settings.url.starts_with("http://") || settings.url.starts_with("https://");
        if !is_web {
            return Err(failed(format!(
                "url `{}` is not accepted; `http://` or `https://` is",
                settings.url
            )));
        }
        let open = |file: &String| Tokenizer::open(&path(folder, file)).map_err(|e| failed(e.to_string()));
        let tokenizer = settings.tokenizer.as_ref().map(open).transpose()?.map(Arc::new);
        let most = dialect.top.as_ref().map_or(0, |top| top.most);
        let top = settings.top.unwrap_or(most.min(20));
        if top > most || (top == 0 && most > 0) {
            let dialect = &settings.dialect;
            return Err(failed(format!(
                "top `{top}` is not accepted; dialect `{dialect}` tells 1 to {most}"
            )));
        }
        let key = settings.key_env.as_ref().map(|variable| {
            let key = std::env::var(variable).ok().filter(|key| !key.is_empty());
            key.ok_or_else(|| failed(format!("key_env `{variable}` is not set in the environment")))
        });
        let tape = match (&settings.record, &settings.replay) {
            (None, None) => Tape::Off,
            (Some(file), None) => {
                Tape::Record(Arc::new(Recorder::create(&path(folder, file)).map_err(failed)?))
            }
            (None, Some(file)) => Tape::Replay(Arc::new(Replay::open(&path(folder, file)).map_err(failed)?)),
            (Some(_), Some(_)) => return Err(failed("`record` and `replay` exclude each other".to_owned())),
        };
        let timeout = Duration::from_millis(settings.timeout_ms.unwrap_or(60_000).max(1));
        let patience = Patience { timeout, attempts: settings.attempts.unwrap_or(3).max(1) };
        Ok(Self {
            name: name.to_owned(),
            url: format!("{}{}", settings.url.trim_end_matches('/'), dialect.path),
            client: Client::new(name, key.transpose()?, patience, tape),
            dialect,
            model: settings.model.unwrap_or_else(|| name.to_owned()),
            sends_ids: dialect.ids.is_some() && tokenizer.is_some() && !settings.as_text,
            tokenizer,
            top,
            context: settings.context.unwrap_or(usize::MAX),
            ends: settings.ends.unwrap_or_else(|| ENDS.map(str::to_owned).to_vec()),
            extra: settings.extra,
        })
    }

    /// A request to write `tokens` after `prompt`.
    fn body(&self, prompt: Prompt<'_>, tokens: usize) -> Value {
        let dialect = self.dialect;
        let mut body = Value::Object(dialect.fixed.clone());
        merge(&mut body, &dialect.neutral);
        if let (Some(mark), Some(_)) = (&dialect.id_mark, &self.tokenizer) {
            merge(&mut body, &mark.ask);
        }
        if let Some(at) = &dialect.model {
            put(&mut body, at, json!(self.model));
        }
        put(&mut body, &dialect.max_tokens, json!(tokens));
        match (prompt, &dialect.messages, &dialect.text, &dialect.ids) {
            (Prompt::Ids(ids), _, _, Some(at)) => put(&mut body, at, json!(ids)),
            (Prompt::Chat { turns, answer }, Some(messages), ..) => {
                let mut list: Vec<Value> = turns.iter().map(|turn| json!(turn)).collect();
                // An answer that the conversation begins itself is gone on with.
                let begun = turns.last().filter(|turn| turn.role == "assistant");
                list.truncate(turns.len() - usize::from(begun.is_some()));
                if !answer.is_empty() || begun.is_some() {
                    let begun = begun.map_or("", |turn| turn.content.as_str());
                    let mut message = json!({"role": "assistant", "content": format!("{begun}{answer}")});
                    merge(&mut message, &messages.prefix);
                    list.push(message);
                    merge(&mut body, &messages.continued);
                }
                put(&mut body, &messages.at, Value::Array(list));
            }
            (Prompt::Text(text), None, Some(at), _) => put(&mut body, at, json!(text)),
            _ => {}
        }
        body
    }

    /// Says how to sample.
    fn sample(&self, body: &mut Value, temperature: f32, top_p: f32, seed: u32) {
        let dialect = self.dialect;
        let greedy = temperature <= 0.0;
        if !(greedy && dialect.leaves_out_defaults) {
            put(body, &dialect.temperature, json!(temperature.max(0.0)));
        }
        if !greedy && (top_p < 1.0 || !dialect.leaves_out_defaults) {
            put(body, &dialect.top_p, json!(top_p));
        }
        if let (false, Some(at)) = (greedy, &dialect.seed) {
            put(body, at, json!(seed));
        }
        if !greedy {
            merge(body, &dialect.sampling);
        }
        merge(body, &self.extra);
    }

    /// Asks for `n` candidates a token.
    fn list(&self, body: &mut Value, n: u32) {
        if let Some(top) = &self.dialect.top {
            merge(body, &top.with);
            put(body, &top.ask, json!(n));
        }
    }
}

/// What a server is to go on from.
#[derive(Debug, Clone, Copy)]
enum Prompt<'a> {
    Ids(&'a [u32]),
    Text(&'a str),
    /// A conversation and what was answered so far.
    Chat {
        turns: &'a [Message],
        answer: &'a str,
    },
}

impl Backend for Http {
    fn name(&self) -> &str {
        &self.0.name
    }

    fn capabilities(&self) -> Capabilities {
        let dialect = self.0.dialect;
        Capabilities {
            next: if dialect.next.is_some() { NextTokens::Top(self.0.top) } else { NextTokens::None },
            scoring: dialect.score.is_some() && (dialect.ids.is_none() || self.0.sends_ids),
            hidden: false,
            embeddings: false,
            cheap_rollback: true,
        }
    }

    fn tokenizer(&self) -> Option<&Arc<Tokenizer>> {
        self.0.tokenizer.as_ref()
    }

    fn context(&self) -> usize {
        self.0.context
    }

    fn open(&self, prompt: &[u8], stop: &Stop) -> Result<Box<dyn Session>, BackendError> {
        Ok(Box::new(Reading::new(self.0.clone(), prompt, stop)?))
    }

    fn open_chat(&self, chat: &[Message], stop: &Stop) -> Result<Box<dyn Session>, BackendError> {
        let reading = Reading::new(self.0.clone(), joined(chat).as_bytes(), stop)?;
        Ok(Box::new(reading.with_turns(chat)))
    }

    fn reads_ids(&self) -> bool {
        self.0.sends_ids
    }
}
