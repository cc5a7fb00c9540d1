//! Requests of every API as a [`Conversation`].
//!
//! All APIs are read by one reader that knows the union of their shapes: the same body gives the same turns under any
//! name, whether a client sends it or a gateway logged it. Fields it does not know are passed over.

use super::{Conversation, Role};
use serde_json::{Map, Value};
use std::borrow::Cow;

/// The API a request is made for: where it keeps its turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// `POST /v1/chat/completions`: `messages`.
    OpenaiChat,
    /// `POST /v1/responses`: `input`, a text or a list, and `instructions`.
    OpenaiResponses,
    /// `POST /v1/messages`: `messages` and `system`.
    AnthropicMessages,
}

impl Dialect {
    /// The field with the turns.
    pub fn field(self) -> &'static str {
        match self {
            Self::OpenaiChat | Self::AnthropicMessages => "messages",
            Self::OpenaiResponses => "input",
        }
    }
}

/// A request that cannot be read as turns.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` {reason}")]
pub struct Unreadable {
    /// The field at fault, such as `messages[2].content`.
    pub field: String,
    /// What it holds and what would be accepted.
    pub reason: String,
}

impl Unreadable {
    fn at(field: &str, found: &Value, expected: &str) -> Self {
        Self { field: field.to_owned(), reason: format!("is {}, expected {expected}", kind(found)) }
    }
}

/// Fields that hold turns or a text, in the order they are looked for.
const TURNS: [&str; 2] = ["messages", "conversations"];
const TEXTS: [&str; 2] = ["input", "prompt"];

/// The turns of a request body.
///
/// # Errors
/// If the body has no turns of that API, or a turn is not one; the field is named.
pub fn read(dialect: Dialect, body: &Value) -> Result<Conversation, Unreadable> {
    let field = dialect.field();
    let Some(fields) = body.as_object() else {
        return Err(Unreadable::at("request", body, "an object"));
    };
    match body.get(field).unwrap_or(&Value::Null) {
        Value::Array(_) => {}
        Value::String(_) if dialect == Dialect::OpenaiResponses => {}
        found => {
            let texts = if dialect == Dialect::OpenaiResponses { "a string or an array" } else { "an array" };
            return Err(Unreadable::at(field, found, texts));
        }
    }
    of_field(fields, field)
}

/// The turns of a request as a log keeps it: a plain text, a list of turns, or a whole body of any API, each as a value
/// or as a text that holds its JSON (tables keep objects so). `None` where it keeps none of these, such as `{}`.
///
/// # Errors
/// If a turn cannot be read; the field is named.
pub fn stored(value: &Value) -> Result<Option<Conversation>, Unreadable> {
    let value = parsed(value);
    match value.as_ref() {
        Value::String(text) => Ok(Some(Conversation::of_text(text.as_str()))),
        Value::Array(_) => {
            let mut conversation = Conversation::default();
            conversation.add_turns("messages", &value)?;
            Ok(Some(conversation))
        }
        Value::Object(fields) => stored_body(fields).transpose(),
        _ => Ok(None),
    }
}

/// The turns of a logged request body; `None` where it has no field of turns or text.
pub fn stored_body(fields: &Map<String, Value>) -> Option<Result<Conversation, Unreadable>> {
    let name = TURNS.into_iter().chain(TEXTS).find(|name| is_kept(fields, name))?;
    Some(of_field(fields, name))
}

/// Whether a logged body has a list of turns, not only a field that may hold a text.
pub fn has_turns(fields: &Map<String, Value>) -> bool {
    TURNS.iter().any(|name| is_kept(fields, name))
}

/// Whether a field holds something: gateways that keep no prompts log `{}` in their place.
fn is_kept(fields: &Map<String, Value>, name: &str) -> bool {
    match fields.get(name) {
        None | Some(Value::Null) => false,
        Some(Value::String(text)) => !matches!(text.trim(), "" | "{}" | "[]" | "null"),
        Some(Value::Array(items)) => !items.is_empty(),
        Some(Value::Object(fields)) => !fields.is_empty(),
        Some(_) => true,
    }
}

/// The turns in `name`, and the system prompts that stand beside it.
fn of_field(fields: &Map<String, Value>, name: &str) -> Result<Conversation, Unreadable> {
    let mut conversation = Conversation::default();
    for beside in ["system", "instructions"] {
        if let Some(system) = fields.get(beside) {
            conversation.add_content(Role::System, beside, &parsed(system))?;
        }
    }
    let turns = fields.get(name).map_or(Cow::Owned(Value::Null), parsed);
    match turns.as_ref() {
        // A body within the field, as some gateways log it.
        Value::Object(inner) => match stored_body(inner).transpose()? {
            Some(inner) => {
                conversation.turns.extend(inner.turns);
                conversation.has_media |= inner.has_media;
            }
            None => return Err(Unreadable::at(name, &turns, "a text or a list of turns")),
        },
        Value::String(text) => conversation.push(Role::User, text.clone()),
        turns => conversation.add_turns(name, turns)?,
    }
    Ok(conversation)
}

/// A text that holds the JSON of turns or of a body as that value. Any other text is one, even where it is JSON: a
/// user may well ask about some.
fn parsed(value: &Value) -> Cow<'_, Value> {
    let Value::String(text) = value else { return Cow::Borrowed(value) };
    if !text.trim_start().starts_with(['[', '{']) {
        return Cow::Borrowed(value);
    }
    let has = |item: &Value, names: &[&str]| names.iter().any(|name| item.get(name).is_some());
    let is_turn = |item: &Value| has(item, &["role", "from", "content", "type"]);
    let are_turns = |items: &[Value]| {
        items.iter().all(is_turn) && items.iter().any(|item| has(item, &["role", "from", "content"]))
    };
    let is_body =
        |fields: &Map<String, Value>| TURNS.iter().any(|name| fields.get(*name).is_some_and(Value::is_array));
    match serde_json::from_str::<Value>(text) {
        Ok(Value::Array(items)) if are_turns(&items) => Cow::Owned(Value::Array(items)),
        Ok(Value::Object(fields)) if is_body(&fields) => Cow::Owned(Value::Object(fields)),
        _ => Cow::Borrowed(value),
    }
}

impl Conversation {
    fn add_turns(&mut self, field: &str, turns: &Value) -> Result<(), Unreadable> {
        let Value::Array(turns) = turns else {
            return Err(Unreadable::at(field, turns, "a list of turns"));
        };
        for (at, turn) in turns.iter().enumerate() {
            self.add_turn(&format!("{field}[{at}]"), turn)?;
        }
        Ok(())
    }

    fn add_turn(&mut self, field: &str, turn: &Value) -> Result<(), Unreadable> {
        if let Value::String(text) = turn {
            self.push(Role::User, text.clone());
            return Ok(());
        }
        if !turn.is_object() {
            return Err(Unreadable::at(field, turn, "an object with `role` and `content`"));
        }
        // ShareGPT calls them `from` and `value`.
        let either = |a: &str, b: &str| turn.get(a).or_else(|| turn.get(b)).unwrap_or(&Value::Null);
        let (who, content) = (either("role", "from"), either("content", "value"));
        match (who, turn["type"].as_str()) {
            // Items of the Responses API that are not messages.
            (Value::Null, Some(kind)) if output_of(kind) => {
                self.add_content(Role::Tool, &format!("{field}.output"), &turn["output"])
            }
            // LangChain names the speaker by `type`.
            (Value::Null, Some(kind)) if role(kind) != Role::Other => {
                self.add_content(role(kind), &format!("{field}.content"), content)
            }
            (Value::Null, Some(kind)) if kind != "message" => {
                self.add_parts(Role::User, field, std::slice::from_ref(turn))
            }
            (Value::Null, _) => self.add_content(Role::User, &format!("{field}.content"), content),
            (Value::String(who), _) => self.add_content(role(who), &format!("{field}.content"), content),
            (who, _) => Err(Unreadable::at(&format!("{field}.role"), who, "a string")),
        }
    }

    /// Adds a text or the text parts of a list, as one turn.
    fn add_content(&mut self, role: Role, field: &str, content: &Value) -> Result<(), Unreadable> {
        match content {
            // A turn of calls alone has no content.
            Value::Null => Ok(()),
            Value::String(text) => {
                self.push(role, text.clone());
                Ok(())
            }
            Value::Array(parts) => self.add_parts(role, field, parts),
            Value::Object(_) => self.add_parts(role, field, std::slice::from_ref(content)),
            found => Err(Unreadable::at(field, found, "a string or a list of parts")),
        }
    }

    fn add_parts(&mut self, role: Role, field: &str, parts: &[Value]) -> Result<(), Unreadable> {
        let mut texts: Vec<&str> = Vec::new();
        for (at, part) in parts.iter().enumerate() {
            let kind = part["type"].as_str();
            match part {
                Value::String(text) => texts.push(text),
                Value::Object(_) => match kind {
                    // A part without a type is read as text: some clients leave it out.
                    kind if kind.is_none_or(is_text) => texts.extend(text_of(part)),
                    Some("tool_result") => {
                        self.add_content(Role::Tool, &format!("{field}[{at}].content"), &part["content"])?;
                    }
                    Some(kind) => self.has_media |= role == Role::User && !is_silent(kind),
                    None => {}
                },
                found => {
                    let field = format!("{field}[{at}]");
                    return Err(Unreadable::at(&field, found, "a string or an object"));
                }
            }
        }
        self.push(role, texts.join("\n"));
        Ok(())
    }
}

/// The text of a part: `text`, or `value` as older TensorZero has it; an assistants thread nests the latter in the
/// former.
fn text_of(part: &Value) -> Option<&str> {
    let text = &part["text"];
    text.as_str().or_else(|| text["value"].as_str()).or_else(|| part["value"].as_str())
}

fn is_text(kind: &str) -> bool {
    matches!(kind, "text" | "input_text" | "output_text" | "raw_text")
}

/// Parts and items that are neither text nor media: calls and thoughts.
fn is_silent(kind: &str) -> bool {
    kind.ends_with("_call")
        || kind.contains("thinking")
        || matches!(kind, "tool_use" | "reasoning" | "item_reference")
}

/// Items of the Responses API that hold what a tool gave back.
fn output_of(kind: &str) -> bool {
    kind.ends_with("_call_output")
}

fn role(name: &str) -> Role {
    match name.to_ascii_lowercase().as_str() {
        "system" | "developer" => Role::System,
        "user" | "human" => Role::User,
        "assistant" | "ai" | "gpt" | "model" | "bot" | "chatbot" => Role::Assistant,
        "tool" | "function" | "ipython" => Role::Tool,
        _ => Role::Other,
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "missing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
