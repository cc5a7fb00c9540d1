//! One turn of messages as turns of chat: results of calls first, each a turn of its own, then the rest.

use super::notes::{Notes, Refused, invalid, unfit};
use super::{Target, ids};
use crate::dialect::json::{Kind, Value, Writer, quoted};

/// Writes a turn.
pub(super) fn turn(
    field: &str,
    message: Value<'_>,
    target: &Target,
    notes: &mut Notes,
    out: &mut Writer,
) -> Result<(), Refused> {
    let role = message.get("role").and_then(Value::text).unwrap_or_default();
    let content = message.has("content").ok_or_else(|| invalid(format!("{field}.content"), "is missing"))?;
    if !matches!(&*role, "user" | "assistant" | "system") {
        return Err(invalid(format!("{field}.role"), "is no role of messages"));
    }
    match content.kind() {
        Kind::Text => {
            let role = if role == "system" && target.developer_role { "developer" } else { &role };
            out.open('{').name("role").text(role).name("content").raw(content.raw()).close('}');
            Ok(())
        }
        Kind::List if role == "assistant" => assistant(field, content, target, notes, out),
        Kind::List => user(field, &role, content, target, notes, out),
        _ => Err(invalid(format!("{field}.content"), "is neither a text nor a list of blocks")),
    }
}

fn user(
    field: &str,
    role: &str,
    content: Value<'_>,
    target: &Target,
    notes: &mut Notes,
    out: &mut Writer,
) -> Result<(), Refused> {
    let (mut parts, mut results) = (Vec::new(), 0);
    for (at, block) in content.items().enumerate() {
        let field = format!("{field}.content[{at}]");
        if !block.get("type").is_some_and(|kind| kind.is_text("tool_result")) {
            continue;
        }
        // Images cannot be within results: they follow them.
        parts.extend(tool_result(&field, block, target, notes, out)?);
        results += 1;
    }
    for (at, block) in content.items().enumerate() {
        let field = format!("{field}.content[{at}]");
        if !block.get("type").is_some_and(|kind| kind.is_text("tool_result")) {
            parts.push(part(&field, block, target, notes)?);
        }
    }
    let role = if role == "system" && target.developer_role { "developer" } else { role };
    match &parts[..] {
        [] => {}
        // A text behind results is what chat has as a turn of text.
        [Part { text: Some(text), .. }] if results > 0 => {
            out.open('{').name("role").text(role).name("content").raw(text).close('}');
        }
        parts => {
            out.open('{').name("role").text(role).name("content").raw(&list(parts)).close('}');
        }
    }
    Ok(())
}

/// A part of a turn.
#[derive(Debug)]
struct Part {
    json: String,
    /// Its text as JSON, where it is no more than a text.
    text: Option<String>,
}

impl Part {
    fn text(text: &str) -> Self {
        Self { json: format!(r#"{{"type":"text","text":{text}}}"#), text: Some(text.to_owned()) }
    }
}

fn list(parts: &[Part]) -> String {
    let parts: Vec<&str> = parts.iter().map(|part| part.json.as_str()).collect();
    format!("[{}]", parts.join(","))
}

/// Writes the turn of a result; its images.
fn tool_result(
    field: &str,
    block: Value<'_>,
    target: &Target,
    notes: &mut Notes,
    out: &mut Writer,
) -> Result<Vec<Part>, Refused> {
    let id = block.get("tool_use_id").and_then(Value::text);
    let id = id.ok_or_else(|| invalid(format!("{field}.tool_use_id"), "is missing"))?;
    if block.get("is_error").and_then(Value::bool) == Some(true) {
        notes.drop(format!("{field}.is_error"), "results of chat are not marked as errors")?;
    }
    out.open('{').name("role").text("tool").name("tool_call_id").text(&ids::widen(&id)).name("content");
    let mut images = Vec::new();
    match block.has("content") {
        None => {
            out.text("");
        }
        Some(content) if content.kind() == Kind::Text => {
            out.raw(content.raw());
        }
        Some(content) => {
            let mut texts = Vec::new();
            for (at, inner) in content.items().enumerate() {
                let field = format!("{field}.content[{at}]");
                let part = part(&field, inner, target, notes)?;
                if part.text.is_some() {
                    texts.push(part);
                    continue;
                }
                notes.drop(field, "moved behind the results, as a part of the user")?;
                images.push(part);
            }
            // Some servers refuse a list of nothing.
            out.raw(&if texts.is_empty() { "\"\"".to_owned() } else { list(&texts) });
        }
    }
    out.close('}');
    Ok(images)
}

/// A block as a part.
fn part(field: &str, block: Value<'_>, target: &Target, notes: &mut Notes) -> Result<Part, Refused> {
    let kind = block.get("type").and_then(Value::text).unwrap_or_default();
    if block.has("cache_control").is_some() {
        notes.drop(format!("{field}.cache_control"), "the model caches by itself")?;
    }
    let part = match &*kind {
        "text" | "mid_conv_system" => {
            if block.has("citations").is_some_and(|citations| citations.raw() != "[]") {
                notes.drop(format!("{field}.citations"), "has no counterpart")?;
            }
            let text = block.has("text").filter(|text| text.kind() == Kind::Text);
            Part::text(text.ok_or_else(|| invalid(format!("{field}.text"), "is no text"))?.raw())
        }
        "image" => {
            let url = url(&format!("{field}.source"), block.has("source"), target)?;
            let json = format!(r#"{{"type":"image_url","image_url":{{"url":{url}}}}}"#);
            Part { json, text: None }
        }
        "document" => return document(field, block, target, notes),
        _ => return Err(unfit(format!("{field}.type"), format!("is `{kind}`, which cannot be translated"))),
    };
    Ok(part)
}

/// A document as a file, or as the text that it is.
fn document(field: &str, block: Value<'_>, target: &Target, notes: &mut Notes) -> Result<Part, Refused> {
    let source = block.has("source");
    for name in ["citations", "context"] {
        if block.has(name).is_some() {
            notes.drop(format!("{field}.{name}"), "has no counterpart")?;
        }
    }
    if source.and_then(|source| source.get("type")).is_some_and(|kind| kind.is_text("text")) {
        let text = source.and_then(|source| source.has("data")).filter(|text| text.kind() == Kind::Text);
        return Ok(Part::text(
            text.ok_or_else(|| invalid(format!("{field}.source.data"), "is no text"))?.raw(),
        ));
    }
    let is_within = source.and_then(|source| source.get("type")).is_some_and(|kind| kind.is_text("base64"));
    if !is_within {
        return Err(unfit(format!("{field}.source"), "is not within the request"));
    }
    let data = url(&format!("{field}.source"), source, target)?;
    let name = block.has("title").map_or("\"document.pdf\"", Value::raw);
    Ok(Part {
        json: format!(r#"{{"type":"file","file":{{"filename":{name},"file_data":{data}}}}}"#),
        text: None,
    })
}

/// The source of an image as an address or a `data:` of it, as JSON.
fn url(field: &str, source: Option<Value<'_>>, target: &Target) -> Result<String, Refused> {
    let text = |name: &str| source.and_then(|source| source.has(name)).and_then(Value::text);
    match text("type").as_deref() {
        Some("url") if target.image_urls => {
            text("url").map(|url| quoted(&url)).ok_or_else(|| invalid(format!("{field}.url"), "is no text"))
        }
        Some("url") => Err(unfit(field, "is an address, which this model does not take")),
        Some("base64") => {
            let (kind, data) = (text("media_type"), text("data"));
            let (Some(kind), Some(data)) = (kind, data) else {
                return Err(invalid(field, "has no `media_type` and `data`"));
            };
            Ok(quoted(&format!("data:{kind};base64,{data}")))
        }
        _ => Err(unfit(field, "is a file at its vendor, which this model does not have")),
    }
}

fn assistant(
    field: &str,
    content: Value<'_>,
    target: &Target,
    notes: &mut Notes,
    out: &mut Writer,
) -> Result<(), Refused> {
    let (mut texts, mut calls, mut thinking, mut thought) =
        (Vec::new(), Vec::new(), Vec::new(), String::new());
    for (at, block) in content.items().enumerate() {
        let field = format!("{field}.content[{at}]");
        let kind = block.get("type").and_then(Value::text).unwrap_or_default();
        match &*kind {
            "tool_use" => calls.push(call(&field, block)?),
            "thinking" | "redacted_thinking" => {
                thinking.push(block.raw());
                thought.push_str(&block.has("thinking").and_then(Value::text).unwrap_or_default());
            }
            _ => texts.push(part(&field, block, target, notes)?),
        }
    }
    if texts.iter().any(|part| part.text.is_none()) {
        return Err(unfit(field, "is a turn of the assistant with an image, which chat does not have"));
    }
    out.open('{').name("role").text("assistant").name("content");
    match &texts[..] {
        [] if calls.is_empty() => out.text(""),
        [] => out.raw("null"),
        [Part { text: Some(text), .. }] if !calls.is_empty() || !thinking.is_empty() => out.raw(text),
        parts => out.raw(&list(parts)),
    };
    if target.takes_reasoning && !thought.is_empty() {
        out.name("reasoning_content").text(&thought);
    }
    match thinking.is_empty() {
        true => {}
        false if target.same_family => {
            out.name("thinking_blocks").raw(&format!("[{}]", thinking.join(",")));
        }
        false if target.takes_reasoning => {}
        false => notes.drop(format!("{field}.thinking"), "is of another vendor's model")?,
    }
    if !calls.is_empty() {
        out.name("tool_calls").raw(&format!("[{}]", calls.join(",")));
    }
    out.close('}');
    Ok(())
}

/// A call as chat has it.
fn call(field: &str, block: Value<'_>) -> Result<String, Refused> {
    let id = block.get("id").and_then(Value::text).filter(|id| !id.is_empty());
    let id = id.ok_or_else(|| invalid(format!("{field}.id"), "is missing"))?;
    let name = block.has("name").filter(|name| name.kind() == Kind::Text);
    let name = name.ok_or_else(|| invalid(format!("{field}.name"), "is missing"))?;
    let input = block.has("input").map_or("{}", Value::raw);
    let mut out = Writer::default();
    out.open('{').name("id").text(&ids::widen(&id)).name("type").text("function").name("function").open('{');
    out.name("name").raw(name.raw()).name("arguments").text(input).close('}').close('}');
    Ok(out.finish())
}
