//! A request of messages as one of chat; its turns are in `messages_turns`.

use super::messages_turns::turn;
use super::notes::{Notes, Refused, invalid, unfit};
use super::{Effort, Target};
use crate::dialect::json::{Kind, Value, Writer, quoted};
use crate::dialect::splice::Body;

pub(super) fn request(body: &Body<'_>, target: &Target, notes: &mut Notes) -> Result<String, Refused> {
    for name in ["container", "mcp_servers", "inference_geo", "prefill"] {
        if body.get(name).is_some_and(|value| !matches!(value.raw(), "[]" | "{}" | "\"\"")) {
            return Err(unfit(name, "has no counterpart at this model"));
        }
    }
    let mut out = Writer::default();
    out.open('{').name("model").text(&target.model);
    max_tokens(body, target, notes, &mut out)?;
    out.name("messages").open('[');
    system(body, target, notes, &mut out)?;
    let messages = body.get("messages").filter(|messages| messages.kind() == Kind::List);
    let messages =
        messages.ok_or_else(|| invalid("messages", "is missing or no list; a list of turns is accepted"))?;
    for (at, message) in messages.items().enumerate() {
        turn(&format!("messages[{at}]"), message, target, notes, &mut out)?;
    }
    out.close(']');
    sampling(body, notes, &mut out)?;
    tools(body, notes, &mut out)?;
    tool_choice(body, notes, &mut out)?;
    thinking(body, target, notes, &mut out)?;
    rest(body, notes, &mut out)?;
    out.close('}');
    Ok(out.finish())
}

fn max_tokens(body: &Body<'_>, target: &Target, notes: &mut Notes, out: &mut Writer) -> Result<(), Refused> {
    let Some(value) = body.get("max_tokens") else {
        return Err(invalid("max_tokens", "is missing; a whole number above 0 is accepted"));
    };
    let number = value.integer().and_then(|number| u64::try_from(number).ok()).filter(|number| *number > 0);
    let number = number
        .ok_or_else(|| invalid("max_tokens", "is no number of tokens; a whole number above 0 is accepted"))?;
    if number > target.max_output {
        notes.drop("max_tokens", "lowered to what the model allows")?;
    }
    let name = if target.old_max_tokens { "max_tokens" } else { "max_completion_tokens" };
    out.name(name).number(number.min(target.max_output));
    Ok(())
}

fn system(body: &Body<'_>, target: &Target, notes: &mut Notes, out: &mut Writer) -> Result<(), Refused> {
    let Some(system) = body.get("system") else { return Ok(()) };
    let role = if target.developer_role { "developer" } else { "system" };
    match system.kind() {
        Kind::Text if system.raw() == "\"\"" => {}
        Kind::Text => {
            out.open('{').name("role").text(role).name("content").raw(system.raw()).close('}');
        }
        Kind::List => {
            let mut parts = Vec::new();
            for (at, block) in system.items().enumerate() {
                let field = format!("system[{at}]");
                let text = block.has("text").filter(|text| text.kind() == Kind::Text);
                let text = text.ok_or_else(|| invalid(format!("{field}.text"), "is no text"))?;
                // It differs from request to request, and the caches of other vendors go by the first bytes.
                if text.text().is_some_and(|text| text.starts_with("x-anthropic-billing-header:")) {
                    notes.drop(field, "is a line of billing of another vendor")?;
                    continue;
                }
                if block.has("cache_control").is_some() {
                    notes.drop(format!("{field}.cache_control"), "the model caches by itself")?;
                }
                parts.push(format!(r#"{{"type":"text","text":{}}}"#, text.raw()));
            }
            if !parts.is_empty() {
                let content = format!("[{}]", parts.join(","));
                out.open('{').name("role").text(role).name("content").raw(&content).close('}');
            }
        }
        _ => return Err(invalid("system", "is neither a text nor a list of blocks")),
    }
    Ok(())
}

fn sampling(body: &Body<'_>, notes: &mut Notes, out: &mut Writer) -> Result<(), Refused> {
    if let Some(stop) = body.get("stop_sequences").filter(|stop| stop.raw() != "[]") {
        out.name("stop").raw(stop.raw());
    }
    for name in ["temperature", "top_p", "stream"] {
        if let Some(value) = body.get(name) {
            out.name(name).raw(value.raw());
        }
    }
    if body.streams() {
        // The end of a stream of messages tells the usage.
        out.name("stream_options").raw(r#"{"include_usage":true}"#);
    }
    if body.get("top_k").is_some() {
        notes.drop("top_k", "the model has no such field")?;
    }
    Ok(())
}

fn tools(body: &Body<'_>, notes: &mut Notes, out: &mut Writer) -> Result<(), Refused> {
    let tools: Vec<Value<'_>> = body.get("tools").into_iter().flat_map(Value::items).collect();
    if tools.is_empty() {
        return Ok(());
    }
    out.name("tools").open('[');
    for (at, tool) in tools.iter().enumerate() {
        let field = format!("tools[{at}]");
        if let Some(kind) = tool.has("type").filter(|kind| !kind.is_text("custom")) {
            return Err(unfit(
                field,
                format!("is a tool of Anthropic's own, {}; tools with a schema are accepted", kind.raw()),
            ));
        }
        let name = tool.has("name").filter(|name| name.kind() == Kind::Text);
        let name = name.ok_or_else(|| invalid(format!("{field}.name"), "is missing"))?;
        out.open('{').name("type").text("function").name("function").open('{').name("name").raw(name.raw());
        if let Some(description) = tool.has("description") {
            out.name("description").raw(description.raw());
        }
        if let Some(schema) = tool.has("input_schema") {
            out.name("parameters").raw(schema.raw());
        }
        if tool.get("strict").and_then(Value::bool) == Some(true) {
            out.name("strict").raw("true");
        }
        out.close('}').close('}');
        let known = ["type", "name", "description", "input_schema", "strict", "eager_input_streaming"];
        for entry in tool.entries().filter(|entry| !known.contains(&&*entry.name) && !entry.value.is_null()) {
            notes.drop(format!("{field}.{}", entry.name), "has no counterpart")?;
        }
    }
    out.close(']');
    Ok(())
}

fn tool_choice(body: &Body<'_>, notes: &mut Notes, out: &mut Writer) -> Result<(), Refused> {
    let Some(choice) = body.get("tool_choice") else { return Ok(()) };
    if body.get("tools").is_none_or(|tools| tools.raw() == "[]") {
        return notes.drop("tool_choice", "there are no tools");
    }
    let kind = choice.get("type").and_then(Value::text).unwrap_or_default();
    out.name("tool_choice");
    match &*kind {
        "auto" | "none" => {
            out.text(&kind);
        }
        "any" => {
            out.text("required");
        }
        "tool" => {
            let name = choice.has("name").ok_or_else(|| invalid("tool_choice.name", "is missing"))?;
            out.open('{')
                .name("type")
                .text("function")
                .name("function")
                .open('{')
                .name("name")
                .raw(name.raw());
            out.close('}').close('}');
        }
        _ => return Err(unfit("tool_choice.type", "is not `auto`, `any`, `tool` or `none`")),
    }
    if let Some(disabled) =
        choice.get("disable_parallel_tool_use").and_then(Value::bool).filter(|_| kind != "none")
    {
        out.name("parallel_tool_calls").raw(if disabled { "false" } else { "true" });
    }
    Ok(())
}

/// Effort of thinking, and the format of the answer.
fn thinking(body: &Body<'_>, target: &Target, notes: &mut Notes, out: &mut Writer) -> Result<(), Refused> {
    let config = |name: &str| body.get("output_config").and_then(|config| config.has(name));
    let thinking = body.get("thinking");
    let kind = thinking.and_then(|thinking| thinking.get("type")).and_then(Value::text);
    let budget = thinking.and_then(|thinking| thinking.has("budget_tokens")).and_then(Value::integer);
    let of_budget = budget.map(|tokens| match tokens {
        ..4096 => "low",
        4096..16_384 => "medium",
        _ => "high",
    });
    let effort = config("effort").and_then(Value::text).map(|effort| effort.into_owned());
    let effort = match kind.as_deref() {
        Some("disabled") => Some("none".to_owned()),
        _ => effort.or(of_budget.map(str::to_owned)),
    };
    match (target.effort, effort) {
        (Effort::None, Some(effort)) if effort != "none" => {
            notes.drop("thinking", "the model has no effort to set")?
        }
        (Effort::None, _) if kind.as_deref().is_some_and(|kind| kind != "disabled") => {
            notes.drop("thinking", "the model thinks, or not, by itself")?;
        }
        (_, None) if kind.as_deref().is_some_and(|kind| kind != "disabled") => {
            notes.drop("thinking", "the model thinks as much as it does by itself")?;
        }
        (Effort::None, _) | (_, None) => {}
        // The highest that is known to be a name of chat, too.
        (_, Some(effort)) => {
            out.name("reasoning_effort").text(&effort);
        }
    }
    if budget.is_some() && target.effort != Effort::None {
        notes.drop("thinking.budget_tokens", "became an effort")?;
    }
    if let Some(format) = config("format") {
        let schema =
            format.has("schema").ok_or_else(|| invalid("output_config.format.schema", "is missing"))?;
        out.name("response_format").open('{').name("type").text("json_schema").name("json_schema").open('{');
        out.name("name").text("answer").name("strict").raw("true").name("schema").raw(schema.raw());
        out.close('}').close('}');
    }
    Ok(())
}

fn rest(body: &Body<'_>, notes: &mut Notes, out: &mut Writer) -> Result<(), Refused> {
    let metadata = body.get("metadata");
    if let Some(user) = metadata.and_then(|metadata| metadata.has("user_id")).and_then(Value::text) {
        // Chat allows 64 characters.
        let short: String = user.chars().take(64).collect();
        if short != user {
            notes.drop("metadata.user_id", "cut to 64 characters")?;
        }
        out.name("user").raw(&quoted(&short));
    }
    match body.get("service_tier").and_then(Value::text).as_deref() {
        Some("auto") => {
            out.name("service_tier").text("auto");
        }
        Some("standard_only") => {
            out.name("service_tier").text("default");
        }
        Some(_) => notes.drop("service_tier", "the model has no such tier")?,
        None => {}
    }
    const READ: [&str; 20] = [
        "model",
        "max_tokens",
        "system",
        "messages",
        "stop_sequences",
        "temperature",
        "top_p",
        "top_k",
        "stream",
        "tools",
        "tool_choice",
        "thinking",
        "output_config",
        "metadata",
        "service_tier",
        "container",
        "mcp_servers",
        "inference_geo",
        "prefill",
        "diagnostics",
    ];
    let names: Vec<String> = body.names().map(str::to_owned).collect();
    for name in names.iter().filter(|name| !READ.contains(&name.as_str())) {
        if body.get(name).is_some_and(|value| !matches!(value.raw(), "{}" | "[]")) {
            notes.drop(name.as_str(), "the model has no such field")?;
        }
    }
    Ok(())
}
