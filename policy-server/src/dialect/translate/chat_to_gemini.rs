//! A request of chat as one of Gemini's `generateContent`; its turns are in `gemini_turns`. The model and whether a
//! stream is asked for stand in the address, not in the body.

use super::gemini_turns::Turns;
use super::notes::{Notes, Refused, invalid, unfit};
use super::{Effort, Target};
use crate::dialect::json::{Kind, Value, Writer};
use crate::dialect::splice::Body;

pub(super) fn request(body: &Body<'_>, target: &Target, notes: &mut Notes) -> Result<String, Refused> {
    let is_true = |name: &str| body.get(name).and_then(Value::bool) == Some(true);
    if body.get("n").and_then(Value::number).is_some_and(|number| number > 1.0) {
        return Err(unfit("n", "is above 1; one answer is translated"));
    }
    if is_true("logprobs") {
        return Err(unfit("logprobs", "are asked for; they are not translated"));
    }
    let modalities = body.get("modalities").into_iter().flat_map(Value::items);
    if body.get("audio").is_some() || { modalities }.any(|modality| !modality.is_text("text")) {
        return Err(unfit("modalities", "ask for more than text"));
    }
    for name in ["functions", "function_call", "web_search_options"] {
        if body.get(name).is_some() {
            return Err(unfit(name, "cannot be translated"));
        }
    }
    let messages = body.get("messages").filter(|messages| messages.kind() == Kind::List);
    let messages =
        messages.ok_or_else(|| invalid("messages", "is missing or no list; a list of turns is accepted"))?;
    let mut turns = Turns::new(target);
    for (at, message) in messages.items().enumerate() {
        turns.message(&format!("messages[{at}]"), message, notes)?;
    }
    let mut out = Writer::default();
    out.open('{');
    turns.finish(&mut out)?;
    tools(body, notes, &mut out)?;
    out.name("generationConfig").raw(&config(body, target, notes)?);
    rest(body, notes)?;
    out.close('}');
    Ok(out.finish())
}

fn tools(body: &Body<'_>, notes: &mut Notes, out: &mut Writer) -> Result<(), Refused> {
    let tools: Vec<Value<'_>> = body.get("tools").into_iter().flat_map(Value::items).collect();
    if tools.is_empty() {
        return Ok(());
    }
    out.name("tools").open('[').open('{').name("functionDeclarations").open('[');
    for (at, tool) in tools.iter().enumerate() {
        let function =
            tool.has("function").filter(|_| tool.get("type").is_none_or(|kind| kind.is_text("function")));
        let function = function
            .ok_or_else(|| unfit(format!("tools[{at}]"), "is no function; functions are accepted"))?;
        let name = function.has("name").filter(|name| name.kind() == Kind::Text);
        let name = name.ok_or_else(|| invalid(format!("tools[{at}].function.name"), "is missing"))?;
        out.open('{').name("name").raw(name.raw());
        for (from, to) in [("description", "description"), ("parameters", "parametersJsonSchema")] {
            if let Some(value) = function.has(from) {
                out.name(to).raw(value.raw());
            }
        }
        if function.get("strict").and_then(Value::bool) == Some(true) {
            notes.drop(format!("tools[{at}].function.strict"), "has no counterpart")?;
        }
        out.close('}');
    }
    out.close(']').close('}').close(']');
    if body.get("parallel_tool_calls").and_then(Value::bool) == Some(false) {
        notes.drop("parallel_tool_calls", "the model calls as many as it likes")?;
    }
    let Some(choice) = body.get("tool_choice") else { return Ok(()) };
    let (word, named) = (choice.text(), choice.at(&["function", "name"]));
    let mode = match (word.as_deref(), named) {
        (Some("auto"), _) => "AUTO",
        (Some("none"), _) => "NONE",
        (Some("required"), _) | (None, Some(_)) => "ANY",
        _ => return Err(unfit("tool_choice", "is neither a word nor the name of a function")),
    };
    out.name("toolConfig").open('{').name("functionCallingConfig").open('{').name("mode").text(mode);
    if let Some(name) = named {
        out.name("allowedFunctionNames").open('[').raw(name.raw()).close(']');
    }
    out.close('}').close('}');
    Ok(())
}

fn config(body: &Body<'_>, target: &Target, notes: &mut Notes) -> Result<String, Refused> {
    let mut out = Writer::default();
    out.open('{');
    let most = body.get("max_completion_tokens").or(body.get("max_tokens"));
    if let Some(most) = most {
        let tokens =
            most.integer().and_then(|number| u64::try_from(number).ok()).filter(|number| *number > 0);
        let tokens = tokens.ok_or_else(|| invalid("max_tokens", "is no whole number above 0"))?;
        if tokens > target.max_output {
            notes.drop("max_tokens", "lowered to what the model allows")?;
        }
        out.name("maxOutputTokens").number(tokens.min(target.max_output));
    }
    let same = [
        ("temperature", "temperature"),
        ("top_p", "topP"),
        ("top_k", "topK"),
        ("seed", "seed"),
        ("presence_penalty", "presencePenalty"),
        ("frequency_penalty", "frequencyPenalty"),
    ];
    for (from, to) in same {
        if let Some(value) = body.get(from) {
            out.name(to).raw(value.raw());
        }
    }
    if let Some(stop) = body.get("stop") {
        let stops = match stop.kind() {
            Kind::Text => format!("[{}]", stop.raw()),
            Kind::List => stop.raw().to_owned(),
            _ => return Err(invalid("stop", "is neither a text nor a list of texts")),
        };
        out.name("stopSequences").raw(&stops);
    }
    if let Some(format) = body.get("response_format") {
        let kind = format.get("type").and_then(Value::text).unwrap_or_default();
        if matches!(&*kind, "json_object" | "json_schema") {
            out.name("responseMimeType").text("application/json");
        }
        let schema = format.at(&["json_schema", "schema"]).or(format.has("schema"));
        if let Some(schema) = schema.filter(|_| kind == "json_schema") {
            out.name("responseJsonSchema").raw(schema.raw());
        }
    }
    thinking(body, target, notes, &mut out)?;
    out.close('}');
    Ok(out.finish())
}

fn thinking(body: &Body<'_>, target: &Target, notes: &mut Notes, out: &mut Writer) -> Result<(), Refused> {
    let Some(effort) = body.get("reasoning_effort").and_then(Value::text) else { return Ok(()) };
    let budget = match &*effort {
        "none" => 0,
        "minimal" => 512,
        "low" => 2048,
        "medium" => 8192,
        "high" => 16_384,
        _ => 24_576,
    };
    match target.effort {
        Effort::None if budget == 0 => {}
        Effort::None => notes.drop("reasoning_effort", "the model has none")?,
        Effort::Named if budget > 0 => {
            let level = if budget > 16_384 { "high" } else { &effort };
            out.name("thinkingConfig").open('{').name("thinkingLevel").text(level);
            out.name("includeThoughts").raw("true").close('}');
        }
        _ => {
            out.name("thinkingConfig").open('{').name("thinkingBudget").number(budget);
            out.name("includeThoughts").raw(if budget > 0 { "true" } else { "false" }).close('}');
        }
    }
    Ok(())
}

fn rest(body: &Body<'_>, notes: &mut Notes) -> Result<(), Refused> {
    const READ: [&str; 26] = [
        "model",
        "messages",
        "n",
        "logprobs",
        "top_logprobs",
        "modalities",
        "audio",
        "functions",
        "function_call",
        "web_search_options",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "max_completion_tokens",
        "max_tokens",
        "temperature",
        "top_p",
        "top_k",
        "seed",
        "presence_penalty",
        "frequency_penalty",
        "stop",
        "response_format",
        "reasoning_effort",
        "stream",
        "stream_options",
    ];
    let names: Vec<String> = body.names().map(str::to_owned).collect();
    for name in names.iter().filter(|name| !READ.contains(&name.as_str())) {
        if body.get(name).is_some_and(|value| !matches!(value.raw(), "{}" | "[]" | "false" | "0")) {
            notes.drop(name.as_str(), "the model has no such field")?;
        }
    }
    Ok(())
}
