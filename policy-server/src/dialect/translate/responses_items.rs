//! Items of a request of responses as turns of chat: calls that follow each other, and the text before them, are one
//! turn of the assistant.

use super::Target;
use super::notes::{Notes, Refused, invalid, unfit};
use crate::dialect::json::{Kind, Value, Writer, quoted};

/// Collects the turn of the assistant that is not over.
#[derive(Debug)]
pub(super) struct Items<'t> {
    target: &'t Target,
    /// Content of the open turn as JSON; None for no text.
    content: Option<String>,
    calls: Vec<String>,
    reasoning: String,
}

impl<'t> Items<'t> {
    pub(super) fn new(target: &'t Target) -> Self {
        Self { target, content: None, calls: Vec::new(), reasoning: String::new() }
    }

    /// Takes an item.
    pub(super) fn item(
        &mut self,
        field: &str,
        item: Value<'_>,
        notes: &mut Notes,
        out: &mut Writer,
    ) -> Result<(), Refused> {
        let kind = item.get("type").and_then(Value::text).unwrap_or_else(|| "message".into());
        let text = |name: &str| {
            let text = item.get(name).and_then(Value::text);
            text.ok_or_else(|| invalid(format!("{field}.{name}"), "is no text"))
        };
        match &*kind {
            "message" => self.message(field, item, notes, out),
            "function_call" => {
                self.call(&text("call_id")?, &text("name")?, &text("arguments")?);
                Ok(())
            }
            "custom_tool_call" => {
                let input = format!("{{\"input\":{}}}", quoted(&text("input")?));
                self.call(&text("call_id")?, &text("name")?, &input);
                Ok(())
            }
            "function_call_output" | "custom_tool_call_output" => {
                self.flush(out);
                out.open('{')
                    .name("role")
                    .text("tool")
                    .name("tool_call_id")
                    .text(&text("call_id")?)
                    .name("content");
                let output =
                    item.has("output").ok_or_else(|| invalid(format!("{field}.output"), "is missing"))?;
                out.raw(&content(&format!("{field}.output"), output, "tool", self.target)?).close('}');
                Ok(())
            }
            "reasoning" => self.reasoning(field, item, notes),
            _ => Err(unfit(format!("{field}.type"), format!("is `{kind}`, which cannot be translated"))),
        }
    }

    fn message(
        &mut self,
        field: &str,
        item: Value<'_>,
        notes: &mut Notes,
        out: &mut Writer,
    ) -> Result<(), Refused> {
        let role = item.get("role").and_then(Value::text).unwrap_or_default();
        let role = match &*role {
            "user" | "assistant" => &role,
            "system" | "developer" if self.target.developer_role => "developer",
            "system" | "developer" => "system",
            _ => return Err(invalid(format!("{field}.role"), "is no role of responses")),
        };
        let value = item.has("content").ok_or_else(|| invalid(format!("{field}.content"), "is missing"))?;
        let content = content(&format!("{field}.content"), value, role, self.target)?;
        if value.items().any(|part| part.has("annotations").is_some_and(|notes| notes.raw() != "[]")) {
            notes.drop(format!("{field}.content.annotations"), "has no counterpart")?;
        }
        if role == "assistant" {
            // Reasoning belongs to what follows it.
            let reasoning = std::mem::take(&mut self.reasoning);
            self.flush(out);
            (self.content, self.reasoning) = (Some(content), reasoning);
            return Ok(());
        }
        self.flush(out);
        out.open('{').name("role").text(role).name("content").raw(&content).close('}');
        Ok(())
    }

    fn call(&mut self, id: &str, name: &str, arguments: &str) {
        let mut out = Writer::default();
        out.open('{').name("id").text(id).name("type").text("function").name("function").open('{');
        out.name("name").text(name).name("arguments").text(arguments).close('}').close('}');
        self.calls.push(out.finish());
    }

    fn reasoning(&mut self, field: &str, item: Value<'_>, notes: &mut Notes) -> Result<(), Refused> {
        let parts = [item.get("content"), item.get("summary")].into_iter().flatten();
        let texts: Vec<_> =
            parts.flat_map(Value::items).filter_map(|part| part.get("text").and_then(Value::text)).collect();
        if self.target.takes_reasoning && !texts.is_empty() {
            self.reasoning.push_str(&texts.join("\n"));
        } else if !texts.is_empty() || item.has("encrypted_content").is_some() {
            notes.drop(field, "is thinking that this model cannot be given back")?;
        }
        Ok(())
    }

    /// Writes the turn of the assistant that is open.
    pub(super) fn flush(&mut self, out: &mut Writer) {
        let (content, calls) = (self.content.take(), std::mem::take(&mut self.calls));
        let reasoning = std::mem::take(&mut self.reasoning);
        if content.is_none() && calls.is_empty() {
            return;
        }
        out.open('{')
            .name("role")
            .text("assistant")
            .name("content")
            .raw(content.as_deref().unwrap_or("null"));
        if !reasoning.is_empty() {
            out.name("reasoning_content").text(&reasoning);
        }
        if !calls.is_empty() {
            out.name("tool_calls").raw(&format!("[{}]", calls.join(",")));
        }
        out.close('}');
    }
}

/// Content as JSON of chat.
fn content(field: &str, content: Value<'_>, role: &str, target: &Target) -> Result<String, Refused> {
    match content.kind() {
        Kind::Text => return Ok(content.raw().to_owned()),
        Kind::List => {}
        _ => return Err(invalid(field, "is neither a text nor a list of parts")),
    }
    let mut out = Writer::default();
    out.open('[');
    for (at, part) in content.items().enumerate() {
        let field = format!("{field}[{at}]");
        let kind = part.get("type").and_then(Value::text).unwrap_or_default();
        let text = |name: &str| {
            let text = part.has(name).filter(|text| text.kind() == Kind::Text);
            text.ok_or_else(|| invalid(format!("{field}.{name}"), "is no text"))
        };
        match &*kind {
            "input_text" | "output_text" | "text" | "summary_text" => {
                out.open('{').name("type").text("text").name("text").raw(text("text")?.raw()).close('}');
            }
            "refusal" => {
                out.open('{')
                    .name("type")
                    .text("refusal")
                    .name("refusal")
                    .raw(text("refusal")?.raw())
                    .close('}');
            }
            "input_image" if role == "user" => {
                let url =
                    text("image_url").map_err(|_| unfit(field.clone(), "is an image without its address"))?;
                let is_address = url.text().is_some_and(|url| !url.starts_with("data:"));
                if is_address && !target.image_urls {
                    return Err(unfit(field, "is an address, which this model does not take"));
                }
                out.open('{')
                    .name("type")
                    .text("image_url")
                    .name("image_url")
                    .open('{')
                    .name("url")
                    .raw(url.raw());
                if let Some(detail) = part.has("detail") {
                    out.name("detail").raw(detail.raw());
                }
                out.close('}').close('}');
            }
            "input_file" if role == "user" => {
                let data =
                    text("file_data").map_err(|_| unfit(field.clone(), "is a file without its data"))?;
                out.open('{').name("type").text("file").name("file").open('{');
                if let Some(name) = part.has("filename") {
                    out.name("filename").raw(name.raw());
                }
                out.name("file_data").raw(data.raw()).close('}').close('}');
            }
            _ => {
                return Err(unfit(
                    format!("{field}.type"),
                    format!("is `{kind}`, which cannot be translated here"),
                ));
            }
        }
    }
    out.close(']');
    Ok(out.finish())
}
