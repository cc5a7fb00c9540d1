//! A request of responses as one of chat; its items are in `responses_items`.

use super::notes::{Notes, Refused, invalid, unfit};
use super::responses_items::Items;
use super::{Effort, Target};
use crate::dialect::json::{Kind, Value, Writer};
use crate::dialect::splice::Body;

/// What a tool with free text becomes: a function of one text.
const FREE_TEXT: &str = concat!(
    r#"{"type":"object","properties":{"input":{"type":"string"}},"#,
    r#""required":["input"],"additionalProperties":false}"#
);

/// Names of the tools with free text, whose calls have another shape in the reply.
pub(super) fn custom_tools(body: &Body<'_>) -> Vec<String> {
    let tools = body.get("tools").into_iter().flat_map(Value::items);
    let customs = tools.filter(|tool| tool.get("type").is_some_and(|kind| kind.is_text("custom")));
    customs.filter_map(|tool| tool.get("name").and_then(Value::text).map(|name| name.into_owned())).collect()
}

pub(super) fn request(body: &Body<'_>, target: &Target, notes: &mut Notes) -> Result<String, Refused> {
    for name in ["previous_response_id", "conversation", "prompt"] {
        if body.get(name).is_some() {
            return Err(unfit(name, "lives at the server that has it, and no other model can go on from it"));
        }
    }
    if body.get("background").and_then(Value::bool) == Some(true) {
        return Err(unfit("background", "is `true`; this model answers while the caller waits"));
    }
    if body.get("top_logprobs").and_then(Value::number).is_some_and(|number| number > 0.0) {
        return Err(unfit("top_logprobs", "cannot be translated"));
    }
    let mut out = Writer::default();
    out.open('{').name("model").text(&target.model);
    if let Some(most) = body.get("max_output_tokens") {
        let tokens =
            most.integer().and_then(|number| u64::try_from(number).ok()).filter(|number| *number > 0);
        let tokens = tokens.ok_or_else(|| invalid("max_output_tokens", "is no whole number above 0"))?;
        if tokens > target.max_output {
            notes.drop("max_output_tokens", "lowered to what the model allows")?;
        }
        let name = if target.old_max_tokens { "max_tokens" } else { "max_completion_tokens" };
        out.name(name).number(tokens.min(target.max_output));
    }
    out.name("messages").raw(&messages(body, target, notes)?);
    for name in
        ["temperature", "top_p", "user", "safety_identifier", "service_tier", "prompt_cache_key", "stream"]
    {
        if let Some(value) = body.get(name) {
            out.name(name).raw(value.raw());
        }
    }
    if body.streams() {
        out.name("stream_options").raw(r#"{"include_usage":true}"#);
    }
    tools(body, notes, &mut out)?;
    text(body, target, notes, &mut out)?;
    rest(body, notes)?;
    out.close('}');
    Ok(out.finish())
}

fn messages(body: &Body<'_>, target: &Target, notes: &mut Notes) -> Result<String, Refused> {
    let mut out = Writer::default();
    out.open('[');
    if let Some(instructions) = body.get("instructions").filter(|text| text.kind() == Kind::Text) {
        let role = if target.developer_role { "developer" } else { "system" };
        out.open('{').name("role").text(role).name("content").raw(instructions.raw()).close('}');
    }
    let input =
        body.get("input").ok_or_else(|| invalid("input", "is missing; a text or a list is accepted"))?;
    match input.kind() {
        Kind::Text => {
            out.open('{').name("role").text("user").name("content").raw(input.raw()).close('}');
        }
        Kind::List => {
            let mut items = Items::new(target);
            for (at, item) in input.items().enumerate() {
                items.item(&format!("input[{at}]"), item, notes, &mut out)?;
            }
            items.flush(&mut out);
        }
        _ => return Err(invalid("input", "is neither a text nor a list")),
    }
    out.close(']');
    Ok(out.finish())
}

fn tools(body: &Body<'_>, notes: &mut Notes, out: &mut Writer) -> Result<(), Refused> {
    let tools: Vec<Value<'_>> = body.get("tools").into_iter().flat_map(Value::items).collect();
    if tools.is_empty() {
        return Ok(());
    }
    out.name("tools").open('[');
    for (at, tool) in tools.iter().enumerate() {
        let field = format!("tools[{at}]");
        let kind = tool.get("type").and_then(Value::text).unwrap_or_default();
        if !matches!(&*kind, "function" | "custom") {
            return Err(unfit(field, format!("is of type `{kind}`; `function` and `custom` are accepted")));
        }
        let name = tool.has("name").filter(|name| name.kind() == Kind::Text);
        let name = name.ok_or_else(|| invalid(format!("{field}.name"), "is missing"))?;
        out.open('{').name("type").text("function").name("function").open('{').name("name").raw(name.raw());
        if let Some(description) = tool.has("description") {
            out.name("description").raw(description.raw());
        }
        if kind == "custom" {
            out.name("parameters").raw(FREE_TEXT);
            if tool
                .has("format")
                .is_some_and(|format| !format.get("type").is_some_and(|kind| kind.is_text("text")))
            {
                notes.drop(format!("{field}.format"), "became a text of any form")?;
            }
        } else {
            if let Some(parameters) = tool.has("parameters") {
                out.name("parameters").raw(parameters.raw());
            }
            if let Some(strict) = tool.has("strict") {
                out.name("strict").raw(strict.raw());
            }
        }
        out.close('}').close('}');
    }
    out.close(']');
    if let Some(choice) = body.get("tool_choice") {
        let word = choice.text().filter(|word| matches!(&**word, "auto" | "none" | "required"));
        let is_named =
            choice.get("type").is_some_and(|kind| kind.is_text("function") || kind.is_text("custom"));
        match (word, choice.has("name").filter(|_| is_named)) {
            (Some(word), _) => out.name("tool_choice").text(&word),
            (None, Some(name)) => {
                let name = format!(r#"{{"type":"function","function":{{"name":{}}}}}"#, name.raw());
                out.name("tool_choice").raw(&name)
            }
            (None, None) => return Err(unfit("tool_choice", "is neither a word nor the name of a function")),
        };
    }
    if let Some(parallel) = body.get("parallel_tool_calls") {
        out.name("parallel_tool_calls").raw(parallel.raw());
    }
    Ok(())
}

/// The format of the answer and the effort of thinking.
fn text(body: &Body<'_>, target: &Target, notes: &mut Notes, out: &mut Writer) -> Result<(), Refused> {
    let text = body.get("text");
    if let Some(format) = text.and_then(|text| text.has("format")) {
        let kind = format.get("type").and_then(Value::text).unwrap_or_default();
        match &*kind {
            "text" => {}
            "json_object" => {
                out.name("response_format").raw(r#"{"type":"json_object"}"#);
            }
            "json_schema" => {
                let schema =
                    format.has("schema").ok_or_else(|| invalid("text.format.schema", "is missing"))?;
                out.name("response_format")
                    .open('{')
                    .name("type")
                    .text("json_schema")
                    .name("json_schema")
                    .open('{');
                for name in ["name", "description", "strict"] {
                    if let Some(value) = format.has(name) {
                        out.name(name).raw(value.raw());
                    }
                }
                out.name("schema").raw(schema.raw()).close('}').close('}');
            }
            _ => return Err(unfit("text.format.type", format!("is `{kind}`, which cannot be translated"))),
        }
    }
    if let Some(verbosity) = text.and_then(|text| text.has("verbosity")) {
        out.name("verbosity").raw(verbosity.raw());
    }
    let reasoning = |name: &str| body.get("reasoning").and_then(|reasoning| reasoning.has(name));
    match reasoning("effort") {
        Some(effort) if target.effort != Effort::None => {
            out.name("reasoning_effort").raw(effort.raw());
        }
        Some(effort) if !effort.is_text("none") => notes.drop("reasoning.effort", "the model has none")?,
        _ => {}
    }
    if reasoning("summary").is_some() {
        notes.drop("reasoning.summary", "the model shows of its thinking what it does")?;
    }
    Ok(())
}

fn rest(body: &Body<'_>, notes: &mut Notes) -> Result<(), Refused> {
    const READ: [&str; 25] = [
        "model",
        "input",
        "instructions",
        "max_output_tokens",
        "temperature",
        "top_p",
        "user",
        "safety_identifier",
        "service_tier",
        "prompt_cache_key",
        "stream",
        "stream_options",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "text",
        "reasoning",
        "previous_response_id",
        "conversation",
        "prompt",
        "background",
        "top_logprobs",
        "store",
        // The default, or what cannot be cut anyway.
        "truncation",
        "client_metadata",
    ];
    let names: Vec<String> = body.names().map(str::to_owned).collect();
    for name in names.iter().filter(|name| !READ.contains(&name.as_str())) {
        if body.get(name).is_some_and(|value| !matches!(value.raw(), "{}" | "[]" | "false")) {
            notes.drop(name.as_str(), "the model has no such field")?;
        }
    }
    Ok(())
}
