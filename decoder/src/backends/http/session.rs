//! One text a server is asked about.

use super::rows::Row;
use super::{Prompt, Server};
use crate::backend::{BackendError, Draft, Session, Stop, Usage, Written};
use crate::backends::writing;
use crate::chat::Message;
use crate::distribution::Distribution;
use crate::vocabulary::{Role, Tokenizer};
use rand::{Rng, RngExt as _};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A text read by a server, kept here: the server is handed all of it with every question.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    server: Arc<Server>,
    stop: Stop,
    tokenizer: Arc<Tokenizer>,
    ids: Vec<u32>,
    prompt: Vec<u8>,
    /// The prompt as a conversation.
    turns: Vec<Message>,
    told: Option<Distribution>,
    usage: Usage,
}

/// What a server wrote.
#[derive(Debug, Default)]
struct Reply {
    text: String,
    ended: bool,
    rows: Vec<Row>,
    /// It has one of the places of an answer.
    is_answer: bool,
    /// It says why it ended.
    finished: bool,
}

impl Reading {
    pub(super) fn new(server: Arc<Server>, prompt: &[u8], stop: &Stop) -> Result<Self, BackendError> {
        let tokenizer = server.tokenizer.clone().unwrap_or_else(|| Arc::new(Tokenizer::seen()));
        let ids: Vec<u32> = tokenizer.begin().into_iter().chain(tokenizer.encode(prompt)).collect();
        let mut reading = Self {
            server,
            stop: stop.clone(),
            tokenizer,
            ids: Vec::new(),
            prompt: prompt.to_vec(),
            turns: vec![Message::user(&String::from_utf8_lossy(prompt))],
            told: None,
            usage: Usage::default(),
        };
        reading.feed(&ids)?;
        Ok(reading)
    }

    /// The same prompt, as the turns of a conversation.
    pub(super) fn with_turns(mut self, turns: &[Message]) -> Self {
        self.turns = turns.to_vec();
        self
    }

    fn failed(&self, reason: impl Into<String>) -> BackendError {
        BackendError::Failed { model: self.server.name.clone(), reason: reason.into() }
    }

    fn unable(&self, what: &'static str) -> BackendError {
        BackendError::Unable { model: self.server.name.clone(), what }
    }

    /// The text of ids from the start on, as the server reads it.
    fn text(&self, ids: &[u32]) -> Result<String, BackendError> {
        String::from_utf8(self.tokenizer.decode(ids)).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            self.failed(format!(
                "the text is no UTF-8 from byte {at} on, and its server is sent text, not ids"
            ))
        })
    }

    /// A request to write `tokens` after `ids`.
    fn body(&self, ids: &[u32], tokens: usize) -> Result<Value, BackendError> {
        if self.server.sends_ids {
            return Ok(self.server.body(Prompt::Ids(ids), tokens));
        }
        let text = self.text(ids)?;
        if self.server.dialect.messages.is_none() {
            return Ok(self.server.body(Prompt::Text(&text), tokens));
        }
        let split = text.as_bytes().starts_with(&self.prompt) && text.is_char_boundary(self.prompt.len());
        if !split {
            return Err(self.unable("be asked about a part of a message"));
        }
        let (turns, answer) = (&self.turns[..], &text[self.prompt.len()..]);
        Ok(self.server.body(Prompt::Chat { turns, answer }, tokens))
    }

    fn ask(&mut self, body: &Value, read: usize) -> Result<Value, BackendError> {
        self.usage.calls += 1;
        self.usage.read += read as u64;
        let reply = self.server.client.ask(&self.server.url, body, &self.stop)?;
        match refusal(&reply) {
            Some(reason) => Err(self.failed(format!("it failed: {reason}"))),
            None => Ok(reply),
        }
    }

    fn reply(&self, value: &Value) -> Result<Reply, String> {
        let mut reply = Reply::default();
        reply.add(&self.server, value, &self.server.dialect.written)?;
        match reply.is_answer {
            true => Ok(reply),
            false => Err(format!("its reply has no answer: `{}`", short(value))),
        }
    }

    /// The id of a token the server sent; `None` where it has none here.
    fn id(&mut self, row: &Row) -> Result<Option<u32>, BackendError> {
        let is_end = |bytes: &[u8]| self.server.ends.iter().any(|end| end.as_bytes() == bytes);
        let vocabulary = self.tokenizer.vocabulary();
        if let (Some(id), true, None) = (row.id, row.marked, &self.server.tokenizer) {
            let mark = self.server.dialect.mark().unwrap_or_default();
            return Err(self.failed(format!(
                "it shows tokens as ids (`{mark}{id}`); declare the `tokenizer` of the model"
            )));
        }
        if let (Some(id), true) = (row.id, self.server.tokenizer.is_some()) {
            let has = vocabulary.bytes(id);
            let (n, known) = (vocabulary.len(), (id as usize) < vocabulary.len());
            let told = row.bytes.as_deref().unwrap_or(has);
            // Some servers show a first space or a byte in their own way.
            let alike = has.trim_ascii_start() == told.trim_ascii_start() || told.starts_with(b"<0x");
            if !known || (vocabulary.role(id) == Role::Text && !alike) {
                let (told, has) = (String::from_utf8_lossy(told), String::from_utf8_lossy(has));
                return Err(self.failed(format!(
                    "it told token {id} `{told}`, and the tokenizer declared for it has `{has}` there, of {n} tokens"
                )));
            }
            return Ok(Some(id));
        }
        Ok(match row.bytes.as_deref() {
            None | Some([]) => None,
            Some(bytes) if is_end(bytes) => vocabulary.ends().first().copied(),
            Some(bytes) if self.server.tokenizer.is_some() => vocabulary.ids(bytes).first().copied(),
            Some(bytes) => Some(Arc::make_mut(&mut self.tokenizer).learn(bytes)),
        })
    }

    /// The distribution of a list of candidates. Those of one text are one candidate.
    fn distribution(&mut self, rows: &[Row], end: Option<f32>) -> Result<Distribution, BackendError> {
        let mut by_text: BTreeMap<u32, f32> = BTreeMap::new();
        let mut entries = Vec::with_capacity(rows.len());
        for row in rows {
            let Some(id) = self.id(row)? else { continue };
            let p = row
                .log_prob
                .ok_or_else(|| self.failed(format!("it tells token {id} without a log-probability")))?;
            match row.id {
                Some(_) if self.server.tokenizer.is_some() => entries.push((id, p)),
                _ => _ = by_text.entry(id).and_modify(|sum| *sum = (sum.exp() + p.exp()).ln()).or_insert(p),
            }
        }
        entries.extend(by_text);
        let ends = self.tokenizer.vocabulary().ends();
        match (end, ends.first()) {
            (Some(p), Some(id)) if !entries.iter().any(|(id, _)| ends.contains(id)) => {
                // An end that is certain leaves nothing for others.
                entries.retain(|_| p < 0.0);
                entries.push((*id, p));
            }
            _ => {}
        }
        if entries.is_empty() {
            let first = rows.iter().find_map(|row| row.bytes.as_deref()).unwrap_or_default();
            return Err(self.failed(format!(
                "none of the {} candidates it told is a token of the tokenizer declared for it, such as `{}`",
                rows.len(),
                String::from_utf8_lossy(first)
            )));
        }
        let model = self.server.name.clone();
        Distribution::from_top(entries).map_err(|source| BackendError::Distribution { model, source })
    }

    /// Log-probabilities of the tokens of a text that starts where the session does, as the server cuts it.
    fn scored(&mut self, text: &str, read: usize) -> Result<Vec<Scored>, BackendError> {
        let (dialect, server) = (self.server.dialect, self.server.clone());
        let (Some(score), Some(rows)) = (&dialect.score, &dialect.prompt) else {
            return Err(self.unable("score a text"));
        };
        let mut body = server.body(Prompt::Text(text), 1);
        server.sample(&mut body, 0.0, 1.0, 0);
        super::merge(&mut body, &score.ask);
        let reply = self.ask(&body, read)?;
        let rows = rows.read(&reply, dialect.mark(), &[]).map_err(|reason| self.failed(reason))?;
        let rows = rows.unwrap_or_default();
        if rows.is_empty() && !text.is_empty() {
            let start = score
                .start
                .as_ref()
                .map_or(String::new(), |option| format!("; it may have to be started with `{option}`"));
            return Err(self.failed(format!("it scored no token of the text{start}")));
        }
        let spelled = spelled(&rows, text.as_bytes())
            .ok_or_else(|| self.failed("the tokens it scored do not spell the text it was sent"))?;
        let tokens = score.late_unless.as_ref().and_then(|at| reply.pointer(at)?.as_u64());
        if tokens.is_some_and(|tokens| tokens <= spelled.len() as u64) {
            return Err(self.failed(
                "it scores every token by what follows it, as llama-cpp-python's server does for models without a \
                 beginning-of-text token; a model with one, or a server of another dialect, is accepted",
            ));
        }
        Ok(spelled)
    }

    /// The sum of the scores of the tokens from byte `from` on.
    fn after(&self, rows: &[Scored], from: usize) -> Result<f64, BackendError> {
        let known = rows.iter().filter(|(start, _)| *start >= from).map(|(_, p)| *p);
        known.sum::<Option<f64>>().ok_or_else(|| {
            self.failed(
                "it gives no log-probability of the first token of a text; score what follows a prompt",
            )
        })
    }

    /// Scores where the server is sent text: one number for all of `ids`, given at the first.
    ///
    /// Where the text before would be cut differently, the tail that changes is counted on both sides.
    fn score_text(&mut self, ids: &[u32]) -> Result<Vec<f32>, BackendError> {
        if ids.iter().any(|id| self.tokenizer.vocabulary().role(*id) != Role::Text) {
            return Err(self.unable("score a token that is no text"));
        }
        let (before, all) = (self.text(&self.ids)?, self.text(&[&self.ids[..], ids].concat())?);
        let with = self.scored(&all, self.ids.len() + ids.len())?;
        let sum = if with.iter().any(|(start, _)| *start == before.len()) {
            self.after(&with, before.len())?
        } else {
            let without = self.scored(&before, self.ids.len())?;
            let common = with.iter().zip(&without).take_while(|(a, b)| a.0 == b.0).map(|(a, _)| a.0);
            // The last token that starts at the same place may still end at another.
            let common: Vec<usize> = common.collect();
            let from = common.last().copied().unwrap_or(0);
            self.after(&with, from)? - self.after(&without, from)?
        };
        let mut scores = vec![0.0; ids.len()];
        if let Some(first) = scores.first_mut() {
            *first = sum as f32;
        }
        Ok(scores)
    }

    /// Lets the server write; by a stream where it has one, so that it stops when we do.
    fn run(&mut self, mut body: Value) -> Result<Reply, BackendError> {
        let server = self.server.clone();
        let Some(stream) = &server.dialect.stream else {
            let value = self.ask(&body, self.ids.len())?;
            return self.reply(&value).map_err(|reason| self.failed(reason));
        };
        super::put(&mut body, &stream.ask, json!(true));
        self.usage.calls += 1;
        self.usage.read += self.ids.len() as u64;
        let written = stream.written.as_ref().unwrap_or(&server.dialect.written);
        let mut reply = Reply::default();
        let done = server
            .client
            .stream(&server.url, &body, &self.stop, &mut |event| reply.add(&server, event, written))?;
        match (reply.is_answer, done || reply.finished) {
            (false, _) => Err(self.failed("its stream has no answer")),
            (true, false) => {
                Err(self.failed("its stream broke off: it says neither `[DONE]` nor why it ended"))
            }
            (true, true) => Ok(reply),
        }
    }

    /// Takes up what was written, up to `text`; how many tokens those are, and their log-probability.
    fn take(&mut self, rows: &[Row], text: &[u8]) -> Result<(usize, Option<f64>), BackendError> {
        let mut rest = text;
        let (mut ids, mut sum) = (Vec::new(), Some(0.0));
        for row in rows {
            if rest.is_empty() {
                break;
            }
            let Some(id) = self.id(row)? else { break };
            let bytes = self.tokenizer.vocabulary().bytes(id);
            // A first space may be shown or not.
            let shown = bytes.trim_ascii_start();
            let own =
                rest.strip_prefix(bytes).or_else(|| rest.strip_prefix(shown).filter(|_| !shown.is_empty()));
            let Some(left) = own.filter(|_| !bytes.is_empty()) else { break };
            rest = left;
            sum = sum.zip(row.log_prob).map(|(sum, p)| sum + f64::from(p));
            ids.push(id);
        }
        if !rest.is_empty() {
            // Missing, or in another form: cut by ourselves, at no known price.
            ids = self.tokenizer.vocabulary().greedy(text);
            sum = None;
        }
        let n = ids.len();
        self.feed(&ids)?;
        Ok((n, sum))
    }
}

impl Reply {
    fn add(&mut self, server: &Server, value: &Value, written: &str) -> Result<(), String> {
        let dialect = server.dialect;
        if let Some(reason) = refusal(value) {
            return Err(format!("it failed while writing: {reason}"));
        }
        let text = value.pointer(written).and_then(Value::as_str);
        self.text.push_str(text.unwrap_or_default());
        let finish = value.pointer(&dialect.finish.at).and_then(Value::as_str);
        self.finished |= finish.is_some_and(|reason| !matches!(reason, "" | "none"));
        self.is_answer |= text.is_some() || finish.is_some();
        self.ended |= finish.is_some_and(|reason| dialect.finish.ended.iter().any(|ended| ended == reason));
        if let Some(rows) = &dialect.wrote {
            self.rows.extend(rows.read(value, dialect.mark(), &[])?.unwrap_or_default());
        }
        Ok(())
    }
}

/// Why a server failed, where a reply of status 200 says so.
fn refusal(value: &Value) -> Option<String> {
    let told = match value.get("error") {
        None | Some(Value::Null | Value::Bool(false)) if value["object"] == "error" => value,
        None | Some(Value::Null | Value::Bool(false)) => return None,
        Some(Value::String(text)) => return (!text.is_empty()).then(|| text.clone()),
        Some(error) => error,
    };
    Some(told["message"].as_str().map_or_else(|| short(told), str::to_owned))
}

fn short(value: &Value) -> String {
    value.to_string().chars().take(200).collect()
}

/// Where a token of a text starts, and its log-probability; `None` where the server leaves it open.
type Scored = (usize, Option<f64>);

/// Where the tokens of `text` start, with their log-probabilities. The rows may begin with a mark of the beginning and
/// a space that is put before a text, and go on after it.
fn spelled(rows: &[Row], text: &[u8]) -> Option<Vec<Scored>> {
    let from = |skipped: usize, space: usize| {
        let mut spelled = Vec::new();
        let mut all = Vec::new();
        for row in rows.get(skipped..)? {
            if all.len() >= text.len() + space {
                break;
            }
            spelled.push((all.len().saturating_sub(space), row.log_prob.map(f64::from)));
            all.extend_from_slice(row.bytes.as_deref()?);
        }
        (all.get(space..)? == text).then_some(spelled)
    };
    [(0, 0), (0, 1), (1, 0), (1, 1)].into_iter().find_map(|(skipped, space)| from(skipped, space))
}

impl Session for Reading {
    fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    fn ids(&self) -> &[u32] {
        &self.ids
    }

    fn feed(&mut self, ids: &[u32]) -> Result<(), BackendError> {
        if self.stop.is_cancelled() {
            return Err(BackendError::Cancelled);
        }
        let (tokens, context) = (self.ids.len() + ids.len(), self.server.context);
        if tokens > context {
            return Err(BackendError::Context { model: self.server.name.clone(), tokens, context });
        }
        let n = self.tokenizer.vocabulary().len();
        if let Some(id) = ids.iter().find(|id| **id as usize >= n) {
            return Err(self.failed(format!("it has no token {id}; its ids end at {}", n.saturating_sub(1))));
        }
        self.ids.extend_from_slice(ids);
        self.told = if ids.is_empty() { self.told.take() } else { None };
        Ok(())
    }

    fn next(&mut self) -> Result<Distribution, BackendError> {
        if let Some(told) = &self.told {
            return Ok(told.clone());
        }
        let (dialect, server) = (self.server.dialect, self.server.clone());
        let Some(rows) = &dialect.next else { return Err(self.unable("tell the next token")) };
        let mut body = self.body(&self.ids, 1)?;
        server.sample(&mut body, 0.0, 1.0, 0);
        server.list(&mut body, server.top);
        let value = self.ask(&body, self.ids.len())?;
        self.usage.told += 1;
        if let Some(unlike) = dialect.unlike.iter().find(|unlike| value.pointer(&unlike.at).is_some()) {
            return Err(self.failed(format!("it told candidates as {}", unlike.is)));
        }
        let rows = rows.read(&value, dialect.mark(), &[]).map_err(|reason| self.failed(reason))?;
        let reply = self.reply(&value).map_err(|reason| self.failed(reason))?;
        let ends_here = reply.ended && reply.text.is_empty();
        let end = ends_here.then(|| reply.rows.first().and_then(|row| row.log_prob).unwrap_or(0.0));
        let rows = rows.unwrap_or_default();
        if rows.is_empty() && end.is_none() {
            return Err(self.failed("it told no candidates for the next token"));
        }
        let told = self.distribution(&rows, end)?;
        self.told = Some(told.clone());
        Ok(told)
    }

    fn rollback(&mut self, len: usize) -> Result<(), BackendError> {
        if len < self.ids.len() {
            self.ids.truncate(len);
            self.told = None;
        }
        Ok(())
    }

    fn fork(&self) -> Result<Box<dyn Session>, BackendError> {
        Ok(Box::new(Self { usage: Usage::default(), ..self.clone() }))
    }

    fn score(&mut self, ids: &[u32]) -> Result<Vec<f32>, BackendError> {
        if !self.server.sends_ids {
            return self.score_text(ids);
        }
        let (dialect, server) = (self.server.dialect, self.server.clone());
        let (Some(score), Some(rows)) = (&dialect.score, &dialect.prompt) else {
            return Err(self.unable("score a text"));
        };
        let all = [&self.ids[..], ids].concat();
        let mut body = server.body(Prompt::Ids(&all), 1);
        server.sample(&mut body, 0.0, 1.0, 0);
        super::merge(&mut body, &score.ask);
        let reply = self.ask(&body, all.len())?;
        let rows = rows.read(&reply, dialect.mark(), &all).map_err(|reason| self.failed(reason))?;
        let rows = rows.unwrap_or_default();
        let scored = rows.get(self.ids.len()..all.len());
        let scored =
            scored.and_then(|rows| rows.iter().map(|row| row.log_prob).collect::<Option<Vec<f32>>>());
        scored.ok_or_else(|| {
            self.failed(format!(
                "it scored {} tokens of a text of {}, not all of them",
                rows.len(),
                all.len()
            ))
        })
    }

    fn write(&mut self, draft: &Draft, rng: &mut dyn Rng) -> Result<Written, BackendError> {
        if draft.tokens == 0 || self.stop.is_late() {
            return Ok(Written::default());
        }
        let server = self.server.clone();
        let mut body = self.body(&self.ids, draft.tokens)?;
        server.sample(&mut body, draft.temperature, draft.top_p, rng.random());
        server.list(&mut body, 1);
        let stops: Vec<_> = draft.stop.iter().filter_map(|stop| std::str::from_utf8(stop).ok()).collect();
        // More than it takes are looked for here alone.
        if !stops.is_empty() && server.dialect.stops.is_none_or(|most| stops.len() <= most) {
            super::put(&mut body, &server.dialect.stop, json!(stops));
        }
        let reply = self.run(body)?;
        let cut = writing::first_of(reply.text.as_bytes(), &draft.stop);
        let text = &reply.text.as_bytes()[..cut.unwrap_or(reply.text.len())];
        let (tokens, log_prob) = self.take(&reply.rows, text)?;
        self.usage.told += tokens as u64;
        let ended = cut.is_some() || reply.ended;
        Ok(Written { text: text.to_vec(), log_prob, tokens: tokens + usize::from(reply.ended), ended })
    }

    fn scores_first(&self) -> bool {
        let score = self.server.dialect.score.as_ref();
        self.begins() && (self.server.sends_ids || score.is_some_and(|score| !score.first_unknown))
    }

    fn hidden(&mut self) -> Result<Vec<f32>, BackendError> {
        Err(self.unable("show hidden states"))
    }

    fn usage(&self) -> Usage {
        self.usage
    }
}
