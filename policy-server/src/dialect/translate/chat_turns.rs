//! Turns of chat as turns of messages: system to the front, results of calls together, neighbors of one role as one.

use super::notes::{Notes, Refused, invalid, unfit};
use super::{LateSystem, Target, ids};
use crate::dialect::json::{Kind, Value, Writer, quoted};

/// A block, or a text that is the whole content.
#[derive(Debug)]
enum Piece {
    Text(String),
    Block(String),
}

#[derive(Debug)]
struct Turn {
    role: &'static str,
    content: Vec<Piece>,
}

/// Collects the turns.
#[derive(Debug)]
pub(super) struct Turns<'t> {
    target: &'t Target,
    system: Vec<Piece>,
    turns: Vec<Turn>,
    /// Ids of the calls of the last assistant, in order, and the results so far.
    calls: Vec<(String, Option<String>)>,
    /// An assistant behind the last turn of the user called without thinking.
    lacks_thinking: bool,
}

impl<'t> Turns<'t> {
    pub(super) fn new(target: &'t Target) -> Self {
        let (system, turns, calls) = (Vec::new(), Vec::new(), Vec::new());
        Self { target, system, turns, calls, lacks_thinking: false }
    }

    /// Whether the loop of calls that goes on has a call whose thinking is missing.
    pub(super) fn lacks_thinking(&self) -> bool {
        self.lacks_thinking
    }

    /// Takes a turn.
    pub(super) fn message(
        &mut self,
        at: usize,
        message: Value<'_>,
        notes: &mut Notes,
    ) -> Result<(), Refused> {
        let role = message.get("role").and_then(Value::text).unwrap_or_default();
        let field = format!("messages[{at}]");
        if role != "tool" {
            self.results(&field)?;
        }
        match &*role {
            "system" | "developer" => self.system(&field, message, notes)?,
            "user" => {
                let content = content(&field, message, self.target, notes)?;
                self.lacks_thinking = false;
                self.push("user", content);
            }
            "assistant" => self.assistant(&field, message, notes)?,
            "tool" => self.tool(&field, message, notes)?,
            "function" => return Err(unfit(field, "has the role `function`; `tool` is accepted")),
            _ => return Err(invalid(format!("{field}.role"), "is no role of chat")),
        }
        let known = [
            "role",
            "content",
            "tool_calls",
            "tool_call_id",
            "refusal",
            "thinking_blocks",
            "audio",
            "function_call",
            "reasoning_content",
            "reasoning",
            "reasoning_details",
            "annotations",
            "cache_control",
        ];
        for entry in
            message.entries().filter(|entry| !known.contains(&&*entry.name) && !entry.value.is_null())
        {
            notes.drop(format!("messages[{at}].{}", entry.name), "has no counterpart")?;
        }
        Ok(())
    }

    fn push(&mut self, role: &'static str, content: Vec<Piece>) {
        if content.is_empty() {
            return;
        }
        match self.turns.last_mut() {
            Some(turn) if turn.role == role => turn.content.extend(content),
            _ => self.turns.push(Turn { role, content }),
        }
    }

    fn system(&mut self, field: &str, message: Value<'_>, notes: &mut Notes) -> Result<(), Refused> {
        let content = content(field, message, self.target, notes)?;
        if self.turns.is_empty() {
            self.system.extend(content);
            return Ok(());
        }
        match self.target.late_system {
            LateSystem::Role => self.push("system", content),
            LateSystem::Tagged => {
                notes.drop(format!("{field}.role"), "became text of the user")?;
                let tag = |text: &str| Piece::Block(text_block(&quoted(text)));
                let content = [tag("<system>")].into_iter().chain(content).chain([tag("</system>")]);
                self.push("user", content.collect());
            }
            LateSystem::Refuse => {
                let reason = "is a system turn behind the first turn, which this model does not take";
                return Err(unfit(field, reason));
            }
        }
        Ok(())
    }

    fn assistant(&mut self, field: &str, message: Value<'_>, notes: &mut Notes) -> Result<(), Refused> {
        if message.has("audio").is_some() || message.has("function_call").is_some() {
            return Err(unfit(field, "has audio or a `function_call`; text and `tool_calls` are accepted"));
        }
        let mut pieces = Vec::new();
        let thinking: Vec<Value<'_>> =
            message.get("thinking_blocks").into_iter().flat_map(Value::items).collect();
        if self.target.same_family {
            pieces.extend(thinking.iter().map(|block| Piece::Block(block.raw().to_owned())));
        } else if !thinking.is_empty() {
            notes.drop(format!("{field}.thinking_blocks"), "is of another vendor's model")?;
        }
        let has_reasoning =
            ["reasoning_content", "reasoning", "reasoning_details"].map(|name| message.has(name).is_some());
        if has_reasoning.contains(&true) && (thinking.is_empty() || !self.target.same_family) {
            notes.drop(format!("{field}.reasoning_content"), "has no signature to be given back with")?;
        }
        let lacks_thinking = pieces.is_empty();
        pieces.extend(content(field, message, self.target, notes)?);
        if let Some(refusal) = message.has("refusal").filter(|refusal| refusal.kind() == Kind::Text) {
            pieces.push(Piece::Block(text_block(refusal.raw())));
        }
        let mut calls = Vec::new();
        for (at, call) in message.get("tool_calls").into_iter().flat_map(Value::items).enumerate() {
            let field = format!("{field}.tool_calls[{at}]");
            let (id, block) = tool_use(&field, call)?;
            if calls.iter().any(|(other, _)| *other == id) {
                return Err(invalid(format!("{field}.id"), format!("is `{id}`, which another call has")));
            }
            pieces.push(Piece::Block(block));
            calls.push((id, None));
        }
        self.lacks_thinking |= lacks_thinking && !calls.is_empty();
        self.push("assistant", pieces);
        self.calls = calls;
        Ok(())
    }

    fn tool(&mut self, field: &str, message: Value<'_>, notes: &mut Notes) -> Result<(), Refused> {
        let id = message.get("tool_call_id").and_then(Value::text).unwrap_or_default();
        let found = self.calls.iter_mut().find(|(call, _)| *call == id);
        let Some((_, result)) = found else {
            let reason = format!("is `{id}`, which no call of the assistant before has");
            return Err(invalid(format!("{field}.tool_call_id"), reason));
        };
        if result.is_some() {
            return Err(invalid(
                format!("{field}.tool_call_id"),
                format!("is `{id}`, which has a result already"),
            ));
        }
        let mut out = Writer::default();
        out.open('{').name("type").text("tool_result").name("tool_use_id").text(&ids::narrow(&id));
        let pieces = content(field, message, self.target, notes)?;
        match &pieces[..] {
            [] => {}
            [Piece::Text(text)] => {
                out.name("content").raw(text);
            }
            pieces => {
                out.name("content").raw(&blocks(pieces));
            }
        }
        if let Some(cache) = message.has("cache_control") {
            out.name("cache_control").raw(cache.raw());
        }
        out.close('}');
        *result = Some(out.finish());
        Ok(())
    }

    /// All results are there: they are one turn of the user, in the order of the calls.
    fn results(&mut self, field: &str) -> Result<(), Refused> {
        let calls = std::mem::take(&mut self.calls);
        let missing = calls.iter().find(|(_, result)| result.is_none());
        if let Some((id, _)) = missing {
            return Err(invalid(field, format!("follows the call `{id}`, whose result is missing")));
        }
        let results = calls.into_iter().filter_map(|(_, result)| result.map(Piece::Block));
        self.push("user", results.collect());
        Ok(())
    }

    /// Writes `system` and `messages`.
    pub(super) fn finish(&mut self, out: &mut Writer) -> Result<(), Refused> {
        self.results("messages")?;
        if self.turns.first().is_none_or(|turn| turn.role != "user") {
            return Err(unfit(
                "messages",
                "does not begin with a turn of the user, which this model asks for",
            ));
        }
        match &self.system[..] {
            [] => {}
            [Piece::Text(text)] => {
                out.name("system").raw(text);
            }
            pieces => {
                out.name("system").raw(&blocks(pieces));
            }
        }
        out.name("messages").open('[');
        for turn in &self.turns {
            out.open('{').name("role").text(turn.role).name("content");
            match &turn.content[..] {
                [Piece::Text(text)] => out.raw(text),
                pieces => out.raw(&blocks(pieces)),
            };
            out.close('}');
        }
        out.close(']');
        Ok(())
    }
}

fn blocks(pieces: &[Piece]) -> String {
    let mut out = Writer::default();
    out.open('[');
    for piece in pieces {
        match piece {
            Piece::Text(text) => out.raw(&text_block(text)),
            Piece::Block(block) => out.raw(block),
        };
    }
    out.close(']');
    out.finish()
}

/// A block of a text that is JSON already.
fn text_block(text: &str) -> String {
    format!(r#"{{"type":"text","text":{text}}}"#)
}

/// The content of a turn: nothing where it is empty.
fn content(
    field: &str,
    message: Value<'_>,
    target: &Target,
    notes: &mut Notes,
) -> Result<Vec<Piece>, Refused> {
    let Some(content) = message.has("content") else { return Ok(Vec::new()) };
    match content.kind() {
        Kind::Text if content.raw() == "\"\"" => Ok(Vec::new()),
        Kind::Text => Ok(vec![Piece::Text(content.raw().to_owned())]),
        Kind::List => {
            let mut pieces = Vec::new();
            for (at, part) in content.items().enumerate() {
                let block = block(&format!("{field}.content[{at}]"), part, target, notes)?;
                pieces.extend(block.map(Piece::Block));
            }
            Ok(pieces)
        }
        _ => Err(invalid(format!("{field}.content"), "is neither a text nor a list of parts")),
    }
}

/// A part as a block; None where it is empty.
fn block(
    field: &str,
    part: Value<'_>,
    target: &Target,
    notes: &mut Notes,
) -> Result<Option<String>, Refused> {
    let kind = part.get("type").and_then(Value::text).unwrap_or_default();
    let mut out = Writer::default();
    out.open('{');
    match &*kind {
        "text" | "refusal" => {
            let text = part.has(&kind).filter(|text| text.kind() == Kind::Text);
            let text = text.ok_or_else(|| invalid(format!("{field}.{kind}"), "is no text"))?;
            if text.raw() == "\"\"" {
                return Ok(None);
            }
            out.name("type").text("text").name("text").raw(text.raw());
        }
        "image_url" => {
            let url = part.at(&["image_url", "url"]).or(part.has("image_url")).and_then(Value::text);
            let url = url.ok_or_else(|| invalid(format!("{field}.image_url.url"), "is no text"))?;
            out.name("type").text("image").name("source");
            source(&format!("{field}.image_url.url"), &url, target.image_urls, &mut out)?;
            if part.at(&["image_url", "detail"]).is_some_and(|detail| !detail.is_text("auto")) {
                notes.drop(format!("{field}.image_url.detail"), "has no counterpart")?;
            }
        }
        "file" => {
            let data = part.at(&["file", "file_data"]).and_then(Value::text);
            let data = data.filter(|data| data.starts_with("data:application/pdf;base64,"));
            let data = data.ok_or_else(|| unfit(field, "is a file other than a PDF within the request"))?;
            out.name("type").text("document").name("source");
            source(field, &data, false, &mut out)?;
            if let Some(name) = part.at(&["file", "filename"]) {
                out.name("title").raw(name.raw());
            }
        }
        "input_audio" => return Err(unfit(field, "is audio, which this model does not take")),
        _ => return Err(unfit(format!("{field}.type"), format!("is `{kind}`, which cannot be translated"))),
    }
    if let Some(cache) = part.has("cache_control") {
        out.name("cache_control").raw(cache.raw());
    }
    out.close('}');
    Ok(Some(out.finish()))
}

/// The source of an image or document: within the request, or an address.
fn source(field: &str, url: &str, takes_urls: bool, out: &mut Writer) -> Result<(), Refused> {
    if let Some((kind, data)) = url.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,")) {
        out.open('{')
            .name("type")
            .text("base64")
            .name("media_type")
            .text(kind)
            .name("data")
            .text(data)
            .close('}');
        return Ok(());
    }
    let is_address = url.starts_with("https://") || url.starts_with("http://");
    match is_address {
        true if takes_urls => {
            out.open('{').name("type").text("url").name("url").text(url).close('}');
        }
        true => return Err(unfit(field, "is an address, which this model does not take")),
        false => return Err(invalid(field, "is neither an address nor `data:` in base64")),
    }
    Ok(())
}

/// A call as a block, with its id as chat has it.
fn tool_use(field: &str, call: Value<'_>) -> Result<(String, String), Refused> {
    let Some(function) =
        call.has("function").filter(|_| call.get("type").is_none_or(|kind| kind.is_text("function")))
    else {
        return Err(unfit(field, "is no call of a function"));
    };
    let id = call.has("id").and_then(Value::text).filter(|id| !id.is_empty());
    let id = id.ok_or_else(|| invalid(format!("{field}.id"), "is missing"))?;
    let name = function.has("name").filter(|name| name.kind() == Kind::Text);
    let name = name.ok_or_else(|| invalid(format!("{field}.function.name"), "is missing"))?;
    let arguments = function.has("arguments").and_then(Value::text).unwrap_or_default();
    let input = match arguments.trim() {
        "" => "{}",
        arguments => {
            let read = Value::read(arguments.as_bytes()).ok().filter(|value| value.kind() == Kind::Object);
            read.ok_or_else(|| {
                invalid(
                    format!("{field}.function.arguments"),
                    format!("of the call `{id}` are no JSON object"),
                )
            })?
            .raw()
        }
    };
    let mut out = Writer::default();
    out.open('{').name("type").text("tool_use").name("id").text(&ids::narrow(&id));
    out.name("name").raw(name.raw()).name("input").raw(input).close('}');
    Ok((id.into_owned(), out.finish()))
}
