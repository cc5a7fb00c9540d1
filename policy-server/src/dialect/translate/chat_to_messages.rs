//! A request of chat as one of messages; its turns are in `chat_turns`.

use super::chat_turns::Turns;
use super::notes::{Notes, Refused, invalid, unfit};
use super::{Effort, Target};
use crate::dialect::json::{Kind, Value, Writer};
use crate::dialect::splice::Body;

/// Tokens of thinking that the server asks for at least.
const BUDGET_MIN: u64 = 1024;

/// Fields that mean nothing to messages and change no answer much.
const DROPPED: [&str; 16] = [
    "frequency_penalty",
    "logit_bias",
    "metadata",
    "min_p",
    "moderation",
    "prediction",
    "presence_penalty",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "repetition_penalty",
    "seed",
    "store",
    "verbosity",
    "chat_template_kwargs",
    "continue_final_message",
];

pub(super) fn request(body: &Body<'_>, target: &Target, notes: &mut Notes) -> Result<String, Refused> {
    refuse(body)?;
    let mut out = Writer::default();
    let max_tokens = max_tokens(body, target, notes)?;
    out.open('{').name("model").text(&target.model).name("max_tokens").number(max_tokens);
    let mut turns = Turns::new(target);
    let messages = body.get("messages").filter(|messages| messages.kind() == Kind::List);
    let messages =
        messages.ok_or_else(|| invalid("messages", "is missing or no list; a list of turns is accepted"))?;
    for (at, message) in messages.items().enumerate() {
        turns.message(at, message, notes)?;
    }
    turns.finish(&mut out)?;
    let lacks_thinking = turns.lacks_thinking();
    sampling(body, thinks(body, target, lacks_thinking), notes, &mut out)?;
    let has_tools = tools(body, notes, &mut out)?;
    tool_choice(body, has_tools, notes, &mut out)?;
    thinking(body, target, lacks_thinking, max_tokens, notes, &mut out)?;
    rest(body, notes, &mut out)?;
    out.close('}');
    Ok(out.finish())
}

/// Fields that ask for what messages cannot give.
fn refuse(body: &Body<'_>) -> Result<(), Refused> {
    let counts =
        |name: &str, most: f64| body.get(name).and_then(Value::number).is_some_and(|number| number > most);
    let is_true = |name: &str| body.get(name).and_then(Value::bool) == Some(true);
    if counts("n", 1.0) {
        return Err(unfit("n", "is above 1; this model gives one answer"));
    }
    if is_true("logprobs") || counts("top_logprobs", 0.0) {
        return Err(unfit("logprobs", "are asked for; this model has none"));
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
    Ok(())
}

fn max_tokens(body: &Body<'_>, target: &Target, notes: &mut Notes) -> Result<u64, Refused> {
    for name in ["max_completion_tokens", "max_tokens"] {
        let Some(value) = body.get(name) else { continue };
        let number =
            value.integer().and_then(|number| u64::try_from(number).ok()).filter(|number| *number > 0);
        let number = number
            .ok_or_else(|| invalid(name, "is no number of tokens; a whole number above 0 is accepted"))?;
        if number > target.max_output {
            notes.drop(name, "lowered to what the model allows")?;
        }
        return Ok(number.min(target.max_output));
    }
    Ok(target.max_tokens.min(target.max_output))
}

/// Whether the request turns a budget of thinking on, with which the server takes no other temperature and no forced
/// call.
fn thinks(body: &Body<'_>, target: &Target, lacks_thinking: bool) -> bool {
    let is_asked = body.get("reasoning_effort").is_some_and(|effort| !effort.is_text("none"));
    target.effort == Effort::Budget && is_asked && !lacks_thinking && !is_forced(body)
}

/// Whether the model has to call.
fn is_forced(body: &Body<'_>) -> bool {
    body.get("tool_choice").is_some_and(|choice| choice.is_text("required") || choice.kind() == Kind::Object)
}

fn sampling(body: &Body<'_>, thinks: bool, notes: &mut Notes, out: &mut Writer) -> Result<(), Refused> {
    if let Some(stop) = body.get("stop") {
        let one = (stop.kind() == Kind::Text).then_some(stop);
        let stops: Vec<Value<'_>> = one.into_iter().chain(stop.items()).collect();
        let is_said = |stop: &Value<'_>| stop.text().is_some_and(|text| !text.trim().is_empty());
        if stops.iter().any(|stop| !is_said(stop)) {
            notes.drop("stop", "sequences of blanks are left out")?;
        }
        let stops: Vec<&str> = stops.iter().filter(|stop| is_said(stop)).map(|stop| stop.raw()).collect();
        if !stops.is_empty() {
            out.name("stop_sequences").raw(&format!("[{}]", stops.join(",")));
        }
    }
    if let Some(temperature) = body.get("temperature") {
        let is_above = temperature.number().is_some_and(|number| number > 1.0);
        if is_above {
            notes.drop("temperature", "lowered to 1")?;
        } else if thinks && temperature.number() != Some(1.0) {
            notes.drop("temperature", "set to 1, the only one with thinking")?;
        }
        let is_above = is_above || thinks;
        out.name("temperature").raw(if is_above { "1" } else { temperature.raw() });
    }
    for name in ["top_p", "top_k", "stream", "cache_control"] {
        if let Some(value) = body.get(name) {
            out.name(name).raw(value.raw());
        }
    }
    Ok(())
}

/// Writes the tools; whether there are any.
fn tools(body: &Body<'_>, notes: &mut Notes, out: &mut Writer) -> Result<bool, Refused> {
    let tools: Vec<Value<'_>> = body.get("tools").into_iter().flat_map(Value::items).collect();
    if tools.is_empty() {
        return Ok(false);
    }
    out.name("tools").open('[');
    for (at, tool) in tools.iter().enumerate() {
        let function =
            tool.has("function").filter(|_| tool.get("type").is_none_or(|kind| kind.is_text("function")));
        let Some(function) = function else {
            return Err(unfit(format!("tools[{at}]"), "is no function; functions are accepted"));
        };
        let name = function.has("name").filter(|name| name.kind() == Kind::Text);
        let name = name.ok_or_else(|| invalid(format!("tools[{at}].function.name"), "is missing"))?;
        out.open('{').name("name").raw(name.raw());
        let parameters =
            function.has("parameters").map_or(r#"{"type":"object","properties":{}}"#, Value::raw);
        if let Some(description) = function.has("description") {
            out.name("description").raw(description.raw());
        }
        out.name("input_schema").raw(parameters);
        if function.get("strict").and_then(Value::bool) == Some(true) {
            out.name("strict").raw("true");
        }
        if let Some(cache) = tool.has("cache_control").or(function.has("cache_control")) {
            out.name("cache_control").raw(cache.raw());
        }
        out.close('}');
        let known = ["name", "description", "parameters", "strict", "cache_control"];
        for entry in
            function.entries().filter(|entry| !known.contains(&&*entry.name) && !entry.value.is_null())
        {
            notes.drop(format!("tools[{at}].function.{}", entry.name), "has no counterpart")?;
        }
    }
    out.close(']');
    Ok(true)
}

fn tool_choice(body: &Body<'_>, has_tools: bool, notes: &mut Notes, out: &mut Writer) -> Result<(), Refused> {
    let one_at_a_time = body.get("parallel_tool_calls").and_then(Value::bool) == Some(false);
    let choice = body.get("tool_choice");
    if !has_tools {
        return match choice.filter(|choice| !choice.is_text("none") && !choice.is_text("auto")) {
            Some(_) => Err(invalid("tool_choice", "is said without `tools`")),
            None => Ok(()),
        };
    }
    let word = choice.and_then(Value::text);
    let named = choice.and_then(|choice| choice.at(&["function", "name"]));
    let kind = match (word.as_deref(), named) {
        (Some("none"), _) => "none",
        (Some("required"), _) => "any",
        (Some("auto"), _) => "auto",
        (None, Some(_)) => "tool",
        (None, None) if choice.is_none() && one_at_a_time => "auto",
        (None, None) if choice.is_none() => return Ok(()),
        _ => {
            return Err(unfit(
                "tool_choice",
                "cannot be translated; a word or the name of a function is accepted",
            ));
        }
    };
    out.name("tool_choice").open('{').name("type").text(kind);
    if let Some(name) = named {
        out.name("name").raw(name.raw());
    }
    if one_at_a_time && kind != "none" {
        out.name("disable_parallel_tool_use").raw("true");
    }
    out.close('}');
    if choice.is_some_and(|choice| choice.entries().any(|entry| !matches!(&*entry.name, "type" | "function")))
    {
        notes.drop("tool_choice", "has more than a name")?;
    }
    Ok(())
}

/// Effort of thinking and the format of the answer, which share a field.
fn thinking(
    body: &Body<'_>,
    target: &Target,
    lacks_thinking: bool,
    max_tokens: u64,
    notes: &mut Notes,
    out: &mut Writer,
) -> Result<(), Refused> {
    let effort = body.get("reasoning_effort").and_then(Value::text);
    let is_on = effort.as_deref().is_some_and(|effort| effort != "none") || body.get("thinking").is_some();
    let mut named = None;
    if is_on && lacks_thinking && target.effort != Effort::None {
        // The server refuses a turn with a call whose thinking is missing; a signature cannot be made up.
        notes.drop("reasoning_effort", "thinking is off, since that of an open call is missing")?;
        out.name("thinking").raw(r#"{"type":"disabled"}"#);
    } else if let Some(thinking) = body.get("thinking") {
        out.name("thinking").raw(thinking.raw());
    } else if let Some(effort) = effort.as_deref() {
        match (target.effort, effort) {
            (Effort::None, "none") => {}
            (Effort::None, _) => notes.drop("reasoning_effort", "the model has none")?,
            (_, "none") => {
                out.name("thinking").raw(r#"{"type":"disabled"}"#);
            }
            (Effort::Named, effort) => {
                named = Some(if effort == "minimal" { "low" } else { effort }.to_owned())
            }
            (Effort::Budget, _) if is_forced(body) => {
                notes.drop("reasoning_effort", "thinking is off, since a call is forced")?;
            }
            (Effort::Budget, effort) => budget(effort, max_tokens, notes, out)?,
        }
    }
    let format = schema(body, notes)?;
    if named.is_some() || format.is_some() {
        out.name("output_config").open('{');
        if let Some(effort) = named {
            out.name("effort").text(&effort);
        }
        if let Some(schema) = format {
            out.name("format")
                .open('{')
                .name("type")
                .text("json_schema")
                .name("schema")
                .raw(schema)
                .close('}');
        }
        out.close('}');
    }
    Ok(())
}

/// Thinking by a budget of tokens, which has to be below those of the output.
fn budget(effort: &str, max_tokens: u64, notes: &mut Notes, out: &mut Writer) -> Result<(), Refused> {
    let tokens = match effort {
        "minimal" => BUDGET_MIN,
        "low" => 2048,
        "medium" => 8192,
        "high" => 16_384,
        _ => 32_768,
    };
    if max_tokens <= BUDGET_MIN {
        return notes.drop("reasoning_effort", "the output allowed is too short to think");
    }
    let tokens = tokens.min(max_tokens - 1);
    out.name("thinking")
        .open('{')
        .name("type")
        .text("enabled")
        .name("budget_tokens")
        .number(tokens)
        .close('}');
    Ok(())
}

/// The schema of the answer.
fn schema<'a>(body: &Body<'a>, notes: &mut Notes) -> Result<Option<&'a str>, Refused> {
    let Some(format) = body.get("response_format") else { return Ok(None) };
    let kind = format.get("type").and_then(Value::text).unwrap_or_default();
    match &*kind {
        "text" => Ok(None),
        "json_schema" => {
            let schema = format.at(&["json_schema", "schema"]).or(format.has("schema"));
            let schema = schema.ok_or_else(|| invalid("response_format.json_schema.schema", "is missing"))?;
            for name in ["name", "description"] {
                if format.at(&["json_schema", name]).is_some() {
                    notes.drop(format!("response_format.json_schema.{name}"), "schemas have no names")?;
                }
            }
            Ok(Some(schema.raw()))
        }
        _ => {
            Err(unfit("response_format", "asks for JSON without a schema, which this model does not promise"))
        }
    }
}

/// Users, tiers, and what is dropped.
fn rest(body: &Body<'_>, notes: &mut Notes, out: &mut Writer) -> Result<(), Refused> {
    if let Some(user) =
        body.get("safety_identifier").or(body.get("user")).filter(|user| user.kind() == Kind::Text)
    {
        out.name("metadata").open('{').name("user_id").raw(user.raw()).close('}');
    }
    match body.get("service_tier").and_then(Value::text).as_deref() {
        Some("auto") => {
            out.name("service_tier").text("auto");
        }
        Some("default") => {
            out.name("service_tier").text("standard_only");
        }
        Some(_) => notes.drop("service_tier", "the model has no such tier")?,
        None => {}
    }
    const READ: [&str; 30] = [
        "model",
        "messages",
        "max_tokens",
        "max_completion_tokens",
        "stop",
        "temperature",
        "top_p",
        "top_k",
        "stream",
        "stream_options",
        "cache_control",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "response_format",
        "reasoning_effort",
        "thinking",
        "user",
        "safety_identifier",
        "service_tier",
        "n",
        "logprobs",
        "top_logprobs",
        "modalities",
        "audio",
        "functions",
        "function_call",
        "web_search_options",
        "reasoning",
        "include_reasoning",
    ];
    let names: Vec<String> = body.names().map(str::to_owned).collect();
    for name in names.iter().filter(|name| !READ.contains(&name.as_str())) {
        let Some(value) = body.get(name) else { continue };
        // What is said to be the default changes nothing.
        let is_default = matches!(value.raw(), "0" | "0.0" | "false" | "{}" | "[]");
        let why =
            if DROPPED.contains(&name.as_str()) { "the model has no such field" } else { "is not known" };
        if !is_default {
            notes.drop(name.as_str(), why)?;
        }
    }
    Ok(())
}
