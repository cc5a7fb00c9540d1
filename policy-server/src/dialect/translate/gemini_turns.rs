//! Turns of chat as contents of Gemini.
//!
//! Results of calls are told apart by the name of the function and their order; chat has ids. So the calls of the turn
//! before are kept until their results came. The signature of a thought stands at its part and has to come back with
//! it: chat carries it as `extra_content.google.thought_signature` of the call, as Google's own chat does.

use super::notes::{Notes, Refused, invalid, unfit};
use super::{LateSystem, Target};
use crate::dialect::json::{Kind, Value, Writer, quoted};

/// Collects the turns.
#[derive(Debug)]
pub(super) struct Turns<'t> {
    target: &'t Target,
    system: Vec<String>,
    /// Roles and parts.
    turns: Vec<(&'static str, Vec<String>)>,
    /// Ids and names of the calls of the last assistant, and their results so far.
    calls: Vec<(String, String, Option<String>)>,
}

impl<'t> Turns<'t> {
    pub(super) fn new(target: &'t Target) -> Self {
        Self { target, system: Vec::new(), turns: Vec::new(), calls: Vec::new() }
    }

    /// Takes a turn.
    pub(super) fn message(
        &mut self,
        field: &str,
        message: Value<'_>,
        notes: &mut Notes,
    ) -> Result<(), Refused> {
        let role = message.get("role").and_then(Value::text).unwrap_or_default();
        if role != "tool" {
            self.results(field)?;
        }
        match &*role {
            "system" | "developer" => {
                let parts = self.parts(field, message, notes)?;
                match self.target.late_system {
                    _ if self.turns.is_empty() => self.system.extend(parts),
                    LateSystem::Tagged => {
                        notes.drop(format!("{field}.role"), "became text of the user")?;
                        let tag = |text: &str| format!("{{\"text\":{}}}", quoted(text));
                        self.push("user", [vec![tag("<system>")], parts, vec![tag("</system>")]].concat());
                    }
                    _ => {
                        return Err(unfit(
                            field,
                            "is a system turn behind the first turn, which this model does not take",
                        ));
                    }
                }
            }
            "user" => {
                let parts = self.parts(field, message, notes)?;
                self.push("user", parts);
            }
            "assistant" => self.assistant(field, message, notes)?,
            "tool" => self.tool(field, message, notes)?,
            _ => return Err(invalid(format!("{field}.role"), "is no role of chat that is translated")),
        }
        if message.has("name").is_some() {
            notes.drop(format!("{field}.name"), "has no counterpart")?;
        }
        Ok(())
    }

    fn push(&mut self, role: &'static str, parts: Vec<String>) {
        match self.turns.last_mut() {
            _ if parts.is_empty() => {}
            Some((last, known)) if *last == role => known.extend(parts),
            _ => self.turns.push((role, parts)),
        }
    }

    fn assistant(&mut self, field: &str, message: Value<'_>, notes: &mut Notes) -> Result<(), Refused> {
        let mut parts = self.parts(field, message, notes)?;
        if let Some(refusal) = message.has("refusal").filter(|refusal| refusal.kind() == Kind::Text) {
            parts.push(format!("{{\"text\":{}}}", refusal.raw()));
        }
        for name in ["thinking_blocks", "reasoning_content", "reasoning"] {
            if message.has(name).is_some() {
                notes.drop(format!("{field}.{name}"), "is thinking that this model cannot be given back")?;
            }
        }
        for (at, call) in message.get("tool_calls").into_iter().flat_map(Value::items).enumerate() {
            let field = format!("{field}.tool_calls[{at}]");
            let function =
                call.has("function").ok_or_else(|| unfit(field.clone(), "is no call of a function"))?;
            let name = function.has("name").and_then(Value::text);
            let name = name.ok_or_else(|| invalid(format!("{field}.function.name"), "is missing"))?;
            let id = call.has("id").and_then(Value::text).filter(|id| !id.is_empty());
            let id = id.ok_or_else(|| invalid(format!("{field}.id"), "is missing"))?;
            let text = function.has("arguments").and_then(Value::text).unwrap_or_default();
            let arguments = if text.trim().is_empty() { "{}" } else { text.trim() };
            let read = Value::read(arguments.as_bytes()).ok().filter(|value| value.kind() == Kind::Object);
            let arguments = read.ok_or_else(|| {
                invalid(
                    format!("{field}.function.arguments"),
                    format!("of the call `{id}` are no JSON object"),
                )
            })?;
            let mut out = Writer::default();
            out.open('{').name("functionCall").open('{').name("name").text(&name);
            out.name("args").raw(arguments.raw()).close('}');
            if let Some(signature) = call.at(&["extra_content", "google", "thought_signature"]) {
                out.name("thoughtSignature").raw(signature.raw());
            }
            out.close('}');
            parts.push(out.finish());
            self.calls.push((id.into_owned(), name.into_owned(), None));
        }
        self.push("model", parts);
        Ok(())
    }

    fn tool(&mut self, field: &str, message: Value<'_>, notes: &mut Notes) -> Result<(), Refused> {
        let id = message.get("tool_call_id").and_then(Value::text).unwrap_or_default();
        let content = message.get("content");
        let mut text = content.and_then(Value::text).unwrap_or_default().into_owned();
        for part in content.into_iter().flat_map(Value::items) {
            match part.get("text").and_then(Value::text) {
                Some(piece) => text.push_str(&piece),
                None => notes.drop(format!("{field}.content"), "has a part other than text in a result")?,
            }
        }
        let found = self.calls.iter_mut().find(|(call, _, result)| *call == id && result.is_none());
        let Some((_, name, result)) = found else {
            let reason = format!("is `{id}`, which no call of the assistant before has without a result");
            return Err(invalid(format!("{field}.tool_call_id"), reason));
        };
        let object = Value::read(text.as_bytes()).ok().filter(|value| value.kind() == Kind::Object);
        let output = format!("{{\"output\":{}}}", quoted(&text));
        let mut out = Writer::default();
        out.open('{').name("functionResponse").open('{').name("name").text(name);
        out.name("response").raw(object.map_or(&output, |object| object.raw())).close('}').close('}');
        *result = Some(out.finish());
        Ok(())
    }

    /// All results, in the order of the calls.
    fn results(&mut self, field: &str) -> Result<(), Refused> {
        let calls = std::mem::take(&mut self.calls);
        if let Some((id, ..)) = calls.iter().find(|(_, _, result)| result.is_none()) {
            return Err(invalid(field, format!("follows the call `{id}`, whose result is missing")));
        }
        self.push("user", calls.into_iter().filter_map(|(_, _, result)| result).collect());
        Ok(())
    }

    fn parts(&self, field: &str, message: Value<'_>, notes: &mut Notes) -> Result<Vec<String>, Refused> {
        let Some(content) = message.has("content") else { return Ok(Vec::new()) };
        let text = |raw: &str| format!("{{\"text\":{raw}}}");
        match content.kind() {
            Kind::Text if content.raw() == "\"\"" => Ok(Vec::new()),
            Kind::Text => Ok(vec![text(content.raw())]),
            Kind::List => {
                let mut parts = Vec::new();
                for (at, part) in content.items().enumerate() {
                    let field = format!("{field}.content[{at}]");
                    let said =
                        part.has("text").or(part.has("refusal")).filter(|text| text.kind() == Kind::Text);
                    match said {
                        Some(said) if said.raw() == "\"\"" => {}
                        Some(said) => parts.push(text(said.raw())),
                        None => parts.push(self.media(&field, part, notes)?),
                    }
                }
                Ok(parts)
            }
            _ => Err(invalid(format!("{field}.content"), "is neither a text nor a list of parts")),
        }
    }

    /// An image, audio or a file.
    fn media(&self, field: &str, part: Value<'_>, notes: &mut Notes) -> Result<String, Refused> {
        let kind = part.get("type").and_then(Value::text).unwrap_or_default();
        let text = |path: &[&str]| part.at(path).and_then(Value::text);
        let inline = |kind: &str, data: &str| {
            let mut out = Writer::default();
            out.open('{').name("inlineData").open('{').name("mimeType").text(kind).name("data").text(data);
            out.close('}').close('}');
            out.finish()
        };
        let url = match &*kind {
            "image_url" => text(&["image_url", "url"]),
            "file" => text(&["file", "file_data"]),
            "input_audio" => {
                let (Some(data), Some(format)) =
                    (text(&["input_audio", "data"]), text(&["input_audio", "format"]))
                else {
                    return Err(invalid(field, "has no `data` and `format`"));
                };
                return Ok(inline(&format!("audio/{format}"), &data));
            }
            _ => {
                return Err(unfit(
                    format!("{field}.type"),
                    format!("is `{kind}`, which cannot be translated"),
                ));
            }
        };
        let url = url.ok_or_else(|| unfit(field, "is not within the request"))?;
        if part.at(&["image_url", "detail"]).is_some_and(|detail| !detail.is_text("auto")) {
            notes.drop(format!("{field}.image_url.detail"), "has no counterpart")?;
        }
        match url.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,")) {
            Some((kind, data)) => Ok(inline(kind, data)),
            None if self.target.image_urls && url.starts_with("https://") => {
                Ok(format!(r#"{{"fileData":{{"fileUri":{}}}}}"#, quoted(&url)))
            }
            None => Err(unfit(field, "is an address, which this model does not take")),
        }
    }

    /// Writes `systemInstruction` and `contents`.
    pub(super) fn finish(&mut self, out: &mut Writer) -> Result<(), Refused> {
        self.results("messages")?;
        if self.turns.is_empty() {
            return Err(unfit("messages", "has no turn besides those of the system"));
        }
        if !self.system.is_empty() {
            let parts = format!("[{}]", self.system.join(","));
            out.name("systemInstruction").open('{').name("parts").raw(&parts).close('}');
        }
        out.name("contents").open('[');
        for (role, parts) in &self.turns {
            let parts = format!("[{}]", parts.join(","));
            out.open('{').name("role").text(role).name("parts").raw(&parts).close('}');
        }
        out.close(']');
        Ok(())
    }
}
