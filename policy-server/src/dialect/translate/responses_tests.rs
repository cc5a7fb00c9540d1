use super::*;
use crate::dialect::sse::{Events, written};
use serde_json::{Value as Json, json};

fn target() -> Target {
    Target { model: "arm".to_owned(), effort: Effort::Named, ..Target::default() }
}

fn made(body: &Json, to: Dialect) -> Result<(Json, Vec<String>), Refused> {
    let text = body.to_string();
    let made = request(Dialect::Responses, to, &Body::read(text.as_bytes()).unwrap(), &target())?;
    let names = made.dropped.into_iter().map(|dropped| dropped.field).collect();
    Ok((serde_json::from_str(&made.body).unwrap(), names))
}

/// What an agent sends in its third step.
fn of_an_agent() -> Json {
    json!({"model": "m", "instructions": "I", "stream": true, "store": false, "max_output_tokens": 50,
        "include": ["reasoning.encrypted_content"], "reasoning": {"effort": "medium", "summary": "auto"},
        "text": {"verbosity": "low", "format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}}},
        "input": [
            {"role": "developer", "content": "D"},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "x"},
                {"type": "input_image", "image_url": "data:image/png;base64,iVBO", "detail": "low"}]},
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I look"}]},
            {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{\"a\": 1}"},
            {"type": "custom_tool_call", "call_id": "c2", "name": "patch", "input": "*** \"Begin\""},
            {"type": "function_call_output", "call_id": "c1", "output": "1"},
            {"type": "custom_tool_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "ok"}]}],
        "tools": [{"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"},
            "strict": false},
            {"type": "custom", "name": "patch", "format": {"type": "grammar", "syntax": "lark",
                "definition": "start: x"}}],
        "tool_choice": {"type": "function", "name": "f"}, "parallel_tool_calls": false})
}

#[test]
fn a_request_of_an_agent_by_hand() {
    let (chat, dropped) = made(&of_an_agent(), Dialect::Chat).unwrap();
    let free = json!({"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"],
        "additionalProperties": false});
    let expected = json!({"model": "arm", "max_completion_tokens": 50, "stream": true,
        "stream_options": {"include_usage": true}, "verbosity": "low", "reasoning_effort": "medium",
        "messages": [{"role": "system", "content": "I"}, {"role": "system", "content": "D"},
            {"role": "user", "content": [{"type": "text", "text": "x"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO", "detail": "low"}}]},
            {"role": "assistant", "content": [{"type": "text", "text": "I look"}], "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"a\": 1}"}},
                {"id": "c2", "type": "function",
                    "function": {"name": "patch", "arguments": "{\"input\":\"*** \\\"Begin\\\"\"}"}}]},
            {"role": "tool", "tool_call_id": "c1", "content": "1"},
            {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "ok"}]}],
        "tools": [{"type": "function",
                "function": {"name": "f", "description": "d", "parameters": {"type": "object"}, "strict": false}},
            {"type": "function", "function": {"name": "patch", "parameters": free}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}}, "parallel_tool_calls": false,
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}});
    assert_eq!(chat, expected);
    assert_eq!(dropped, ["input[2]", "tools[1].format", "reasoning.summary", "include"]);
    let (messages, _) = made(&of_an_agent(), Dialect::Messages).unwrap();
    assert_eq!(messages["messages"].as_array().unwrap().len(), 3);
    assert_eq!(messages["messages"][2]["content"][1]["tool_use_id"], "c2");
    assert_eq!(messages["messages"][1]["content"][2]["input"]["input"], "*** \"Begin\"");
    let text = of_an_agent().to_string();
    assert_eq!(custom_tools(&Body::read(text.as_bytes()).unwrap()), ["patch"]);
}

#[test]
fn what_lives_elsewhere_is_refused() {
    let with = |field: &str, value: Json| {
        let mut body = json!({"model": "m", "input": "x"});
        body[field] = value;
        body
    };
    let item = |item: Json| with("input", json!([item]));
    let cases = [
        (with("previous_response_id", json!("resp_1")), "previous_response_id", false),
        (with("conversation", json!("conv_1")), "conversation", false),
        (with("background", json!(true)), "background", false),
        (with("tools", json!([{"type": "web_search"}])), "tools[0]", false),
        (with("input", json!(7)), "input", true),
        (with("max_output_tokens", json!(-1)), "max_output_tokens", true),
        (item(json!({"type": "item_reference", "id": "x"})), "input[0].type", false),
        (item(json!({"type": "function_call", "name": "f", "arguments": "{}"})), "input[0].call_id", true),
        (
            item(json!({"role": "user", "content": [{"type": "input_audio"}]})),
            "input[0].content[0].type",
            false,
        ),
        (item(json!({"role": "nobody", "content": "x"})), "input[0].role", true),
    ];
    for (body, field, is_invalid) in cases {
        let refused = made(&body, Dialect::Chat).unwrap_err();
        assert_eq!((refused.field.as_str(), refused.is_invalid), (field, is_invalid), "{refused}");
    }
    assert_eq!(made(&with("store", json!(true)), Dialect::Chat).unwrap().1, Vec::<String>::new());
}

fn frame() -> Frame {
    Frame { created: 7, custom_tools: vec!["patch".to_owned()], ..Frame::default() }
}

fn answer() -> Json {
    json!({"id": "c1", "model": "m", "choices": [{"index": 0, "finish_reason": "tool_calls", "message": {
        "role": "assistant", "reasoning_content": "hm", "content": "a \u{e9}", "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{\"a\": [1]}"}},
            {"id": "call_2", "type": "function", "function": {"name": "patch", "arguments": "{\"input\":\"x\\ny\"}"}},
            {"id": "call_3", "type": "function", "function": {"name": "g", "arguments": "{}"}}]}}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 4},
            "completion_tokens_details": {"reasoning_tokens": 3}}})
}

#[test]
fn a_reply_by_hand() {
    let made = reply(Dialect::Chat, Dialect::Responses, answer().to_string().as_bytes(), &frame()).unwrap();
    let response: Json = serde_json::from_str(&made.body).unwrap();
    let part = json!([{"type": "output_text", "annotations": [], "logprobs": [], "text": "a \u{e9}"}]);
    let output = json!([
        {"id": "rs_c1_0", "type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
        {"id": "msg_c1_1", "type": "message", "status": "completed", "role": "assistant", "content": part},
        {"id": "fc_c1_2", "type": "function_call", "status": "completed", "call_id": "call_1", "name": "f",
            "arguments": "{\"a\": [1]}"},
        {"id": "ctc_c1_3", "type": "custom_tool_call", "status": "completed", "call_id": "call_2", "name": "patch",
            "input": "x\ny"},
        {"id": "fc_c1_4", "type": "function_call", "status": "completed", "call_id": "call_3", "name": "g",
            "arguments": "{}"}]);
    assert_eq!(response["output"], output);
    assert_eq!((&response["id"], &response["status"]), (&json!("resp_c1"), &json!("completed")));
    let usage = json!({"input_tokens": 9, "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 0},
        "output_tokens": 7, "output_tokens_details": {"reasoning_tokens": 3}, "total_tokens": 16});
    assert_eq!(response["usage"], usage);
    let cut = json!({"choices": [{"finish_reason": "length", "message": {"content": "a"}}]});
    let made = reply(Dialect::Chat, Dialect::Responses, cut.to_string().as_bytes(), &frame()).unwrap();
    let response: Json = serde_json::from_str(&made.body).unwrap();
    assert_eq!(response["incomplete_details"], json!({"reason": "max_output_tokens"}));
}

/// Chunks that say the answer, in pieces; calls one after the other, or all at once.
fn chunks(answer: &Json, piece: usize, interleaved: bool) -> String {
    let message = &answer["choices"][0]["message"];
    let mut deltas = vec![json!({"role": "assistant", "content": ""})];
    let cut = |text: &Json| -> Vec<String> {
        let characters: Vec<char> = text.as_str().unwrap().chars().collect();
        characters.chunks(piece).map(|part| part.iter().collect()).collect()
    };
    for name in ["reasoning_content", "content"] {
        deltas.extend(cut(&message[name]).into_iter().map(|part| json!({name: part})));
    }
    let mut pieces = Vec::new();
    for (at, call) in message["tool_calls"].as_array().unwrap().iter().enumerate() {
        let name = &call["function"]["name"];
        let begin = json!({"index": at, "id": call["id"], "type": "function", "function": {"name": name,
            "arguments": ""}});
        pieces.push((0, at, begin));
        for (number, part) in cut(&call["function"]["arguments"]).into_iter().enumerate() {
            pieces.push((number + 1, at, json!({"index": at, "function": {"arguments": part}})));
        }
    }
    if interleaved {
        pieces.sort_by_key(|(number, at, _)| (*number, *at));
    }
    deltas.extend(pieces.into_iter().map(|(_, _, call)| json!({"tool_calls": [call]})));
    let mut out: String = deltas
        .iter()
        .map(|delta| {
            json!({"id": "c1", "model": "m", "choices": [{"index": 0, "delta": delta,
            "finish_reason": null}]})
        })
        .map(|chunk| written("", &chunk.to_string()))
        .collect();
    out.push_str(&written("", r#"{"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}"#));
    out.push_str(&written("", &json!({"choices": [], "usage": answer["usage"]}).to_string()));
    out + "data: [DONE]\n\n"
}

fn events(arm: Dialect, stream: &str) -> Vec<Json> {
    let mut machine = Stream::new(arm, Dialect::Responses, frame()).unwrap();
    let (mut reader, mut out) = (Events::default(), String::new());
    reader.push(stream.as_bytes());
    while let Some(event) = reader.next() {
        out.push_str(&machine.event(&event.unwrap()));
    }
    out.push_str(&machine.finish());
    let (mut made, mut found) = (Events::default(), Vec::new());
    made.push(out.as_bytes());
    while let Some(event) = made.next() {
        let event = event.unwrap();
        let data: Json = serde_json::from_str(&event.data).unwrap();
        assert_eq!(data["type"], &*event.name);
        assert_eq!(data["sequence_number"], found.len(), "one after the other");
        found.push(data);
    }
    found
}

/// The output that a client assembles, every event checked against what came before.
fn assembled(events: &[Json]) -> Vec<Json> {
    let (mut items, mut texts): (Vec<Json>, Vec<String>) = (Vec::new(), Vec::new());
    for event in events {
        let kind = event["type"].as_str().unwrap();
        let at = event["output_index"].as_u64().map(|at| at as usize);
        if kind == "response.output_item.added" {
            assert_eq!(at, Some(items.len()));
            items.push(event["item"].clone());
            texts.push(String::new());
            continue;
        }
        let Some(at) = at else { continue };
        if kind == "response.output_item.done" {
            assert_eq!(event["item"]["id"], items[at]["id"]);
            items[at] = event["item"].clone();
            continue;
        }
        assert_eq!(event["item_id"], items[at]["id"], "{kind}");
        if kind.ends_with(".delta") {
            texts[at].push_str(event["delta"].as_str().unwrap());
        } else if kind.ends_with(".done") {
            let whole = ["text", "arguments", "input"].iter().find_map(|name| event[*name].as_str());
            assert!(whole.is_none_or(|whole| whole == texts[at]), "{event}");
        }
    }
    items
}

#[test]
fn a_stream_says_what_the_reply_says() {
    let whole = reply(Dialect::Chat, Dialect::Responses, answer().to_string().as_bytes(), &frame()).unwrap();
    let whole: Json = serde_json::from_str(&whole.body).unwrap();
    for (piece, interleaved) in [(1, false), (1, true), (2, true), (3, false), (1000, false), (1000, true)] {
        let events = events(Dialect::Chat, &chunks(&answer(), piece, interleaved));
        assert_eq!(events[0]["type"], "response.created");
        assert_eq!(events[0]["response"]["status"], "in_progress");
        let last = events.last().unwrap();
        assert_eq!((&last["type"], &last["response"]), (&json!("response.completed"), &whole));
        assert_eq!(json!(assembled(&events)), whole["output"]);
    }
}

#[test]
fn a_stream_of_messages_comes_by_way_of_chat() {
    let stream = concat!(
        "data: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"model\":\"m\",",
        "\"usage\":{\"input_tokens\":9}}}\n\n",
        "data: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
        "data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Hi\"}}\n\n",
        "data: {\"type\":\"content_block_stop\",\"index\":0}\n\n",
        "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"max_tokens\"},",
        "\"usage\":{\"output_tokens\":3}}\n\n",
    );
    let events_of = |stream: &str| events(Dialect::Messages, stream);
    let whole = events_of(&format!("{stream}data: {{\"type\":\"message_stop\"}}\n\n"));
    let last = whole.last().unwrap();
    assert_eq!(last["type"], "response.incomplete");
    assert_eq!(last["response"]["usage"]["output_tokens"], 3);
    assert_eq!(assembled(&whole)[0]["content"][0]["text"], "Hi");
    let cut = events_of(&stream[..stream.len() / 2]);
    assert_eq!(cut.last().unwrap()["type"], "error");
    let error = "data: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"m\"}}\n\n";
    assert_eq!(events_of(error).last().unwrap()["code"], "upstream_overloaded");
}
