//! Streams in the dialects of model servers: cut anywhere, watched, translated, with the usage hidden.

use crate::bytes;
use crate::harness::{Parts, Target, Verdict, attack, refused_in};
use crate::json::Json;
use crate::random::{Rng, below, one_in, pick};
use crate::text;
use routewright_policy_server::dialect::Dialect;
use routewright_policy_server::dialect::sse::{Events, Frames, HideUsage, Piece};
use routewright_policy_server::dialect::translate::{self, Frame, Stream};
use routewright_policy_server::dialect::watch::Watch;
use serde_json::Value as Tree;

const NAMES: [&str; 16] = [
    "choices",
    "delta",
    "content",
    "tool_calls",
    "index",
    "id",
    "function",
    "arguments",
    "finish_reason",
    "usage",
    "type",
    "content_block",
    "partial_json",
    "stop_reason",
    "error",
    "message",
];

/// Events of one stream a line: the name, then the data.
const STREAMS: [&str; 3] = [
    r#" {"id":"c","model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}
 {"choices":[{"index":0,"delta":{"reasoning_content":"r"}}],"usage":null}
 {"choices":[{"index":0,"delta":{"content":"Hi"}}],"usage":null}
 {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_1","function":{"name":"f","arguments":""}}]}}]}
 {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"a\""}}]}}]}
 {"choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"id":"call_2","function":{"name":"g","arguments":"{}"}}]}}]}
 {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":":1}"}}]}}]}
 {"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}
 {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":7}}
 [DONE]"#,
    r#"message_start {"type":"message_start","message":{"id":"m","model":"m","content":[],"usage":{"input_tokens":9}}}
content_block_start {"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":""}}
content_block_delta {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"t"}}
content_block_delta {"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"s"}}
content_block_stop {"type":"content_block_stop","index":0}
ping {"type":"ping"}
content_block_start {"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"t","name":"f"}}
content_block_delta {"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{}"}}
content_block_stop {"type":"content_block_stop","index":1}
message_delta {"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"output_tokens":3}}
message_stop {"type":"message_stop"}"#,
    r#" {"candidates":[{"content":{"parts":[{"text":"a"}]}}],"usageMetadata":{"promptTokenCount":9}}
 {"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":{}}}]},"finishReason":"STOP"}]}
error {"error":{"code":500,"message":"m"}}"#,
];

/// A stream, some of its events damaged, left out, twice or in another order.
fn stream(rng: &mut Rng) -> Vec<u8> {
    let mut events: Vec<&str> = pick(rng, &STREAMS).lines().collect();
    for _ in 0..*pick(rng, &[0, 0, 1, 2, 4]) {
        let (at, other) = (below(rng, events.len()), below(rng, events.len()));
        match below(rng, 4) {
            0 => events.swap(at, other),
            1 => events.insert(at, events[other]),
            2 if events.len() > 1 => drop(events.remove(at)),
            _ => {}
        }
    }
    let end = *pick(rng, &["\n", "\n", "\r\n", "\r"]);
    let mut out = Vec::new();
    for event in events {
        let (name, data) = event.split_once(' ').unwrap_or_default();
        let tree: Tree = serde_json::from_str(data).unwrap_or(Tree::Null);
        let data = match one_in(rng, 4) && !tree.is_null() {
            true => Json::damaged(&tree, &NAMES, rng),
            false => data.as_bytes().to_vec(),
        };
        if !name.is_empty() && !one_in(rng, 20) {
            out.extend(format!("event: {name}{end}").bytes());
        }
        if one_in(rng, 10) {
            out.extend(format!(": {}{end}", text::any(rng).replace(['\r', '\n'], " ")).bytes());
        }
        out.extend(b"data: ");
        out.extend(data);
        out.extend(format!("{end}{end}").bytes());
    }
    out
}

/// Name and data of every event, the stream cut at these places.
fn events(stream: &[u8], width: usize, max: usize) -> Vec<Option<(String, String)>> {
    let mut events = Events::new(max);
    let mut found = Vec::new();
    for piece in stream.chunks(width.max(1)) {
        events.push(piece);
        while let Some(event) = events.next() {
            found.push(event.ok().map(|event| (event.name.into_owned(), event.data.into_owned())));
        }
    }
    while let Some(event) = events.finish() {
        found.push(event.ok().map(|event| (event.name.into_owned(), event.data.into_owned())));
    }
    found
}

/// Whether what a client of messages gets has its blocks one after the other, and an end or an error.
fn is_in_order(stream: &str) -> Result<bool, String> {
    let (mut open, mut next, mut is_whole) = (None, 0, false);
    let mut is_failed = false;
    for event in events(stream.as_bytes(), stream.len(), usize::MAX).into_iter().flatten() {
        let data: Tree = serde_json::from_str(&event.1).map_err(|error| format!("{error}: {}", event.1))?;
        if is_whole || is_failed {
            return Err("something follows the end".to_owned());
        }
        let index = data["index"].as_u64();
        let is_right = match event.0.as_str() {
            "content_block_start" => {
                let is_next = open.is_none() && index == Some(next);
                (open, next) = (index, next + 1);
                is_next
            }
            "content_block_delta" => open.is_some() && index == open,
            "content_block_stop" => open.take() == index && index.is_some(),
            "message_start" => next == 0,
            "message_delta" => open.is_none(),
            "message_stop" => {
                is_whole = true;
                open.is_none()
            }
            "error" => {
                is_failed = true;
                true
            }
            _ => false,
        };
        if !is_right {
            return Err(format!("`{}` is out of order in {stream}", event.0));
        }
    }
    match is_whole || is_failed {
        true => Ok(is_whole),
        false => Err(format!("neither an end nor an error: {stream}")),
    }
}

/// Whether what a client of chat gets is chunks and an end, or an error.
fn is_chat(stream: &str) -> Result<bool, String> {
    let events: Vec<_> = events(stream.as_bytes(), stream.len(), usize::MAX).into_iter().flatten().collect();
    let (last, chunks) = events.split_last().ok_or("nothing was sent")?;
    let mut calls = 0;
    for (_, data) in chunks {
        let chunk: Tree = serde_json::from_str(data).map_err(|error| format!("{error}: {data}"))?;
        if let Some(call) = chunk["choices"][0]["delta"]["tool_calls"].get(0) {
            let at = call["index"].as_u64().unwrap_or(u64::MAX);
            if call.get("id").is_some() && at != calls || call.get("id").is_none() && at >= calls {
                return Err(format!("a call is numbered wrongly: {data}"));
            }
            calls += u64::from(call.get("id").is_some());
        }
    }
    match last.1.as_str() {
        "[DONE]" => Ok(true),
        error if error.starts_with("{\"error\":") => Ok(false),
        other => Err(format!("the end is `{other}`")),
    }
}

/// Whether what a client of responses gets is numbered one after the other, tells each item by one id, and ends.
fn is_response(stream: &str) -> Result<bool, String> {
    let events: Vec<_> = events(stream.as_bytes(), stream.len(), usize::MAX).into_iter().flatten().collect();
    let (mut ids, mut closed) = (Vec::new(), 0);
    for (number, (name, data)) in events.iter().enumerate() {
        let event: Tree = serde_json::from_str(data).map_err(|error| format!("{error}: {data}"))?;
        if event["sequence_number"] != number || event["type"] != name.as_str() {
            return Err(format!("event {number} is {data}"));
        }
        let Some(at) = event["output_index"].as_u64() else { continue };
        match name.as_str() {
            "response.output_item.added" if at == ids.len() as u64 => ids.push(event["item"]["id"].clone()),
            "response.output_item.done" => closed += 1,
            _ if ids.get(at as usize) == Some(&event["item_id"]) => {}
            _ => return Err(format!("an item is not the one that was added: {data}")),
        }
    }
    let (name, data) = events.last().ok_or("nothing was sent")?;
    let end: Tree = serde_json::from_str(data).map_err(|error| error.to_string())?;
    match name.as_str() {
        "error" => Ok(false),
        "response.completed" | "response.incomplete" => {
            let told: Vec<_> =
                end["response"]["output"].as_array().into_iter().flatten().map(|i| &i["id"]).collect();
            let is_same = told.iter().copied().eq(&ids) && closed == ids.len();
            if is_same { Ok(true) } else { Err(format!("the end tells other items: {data}")) }
        }
        other => Err(format!("the end is `{other}`")),
    }
}

struct Streams;

impl Streams {
    /// Frames and what is hidden of them.
    fn pass(stream: &[u8], width: usize) -> Result<(), String> {
        let (mut frames, mut joined) = (Frames::new(300), Vec::new());
        let (mut hide, mut shown) = (HideUsage::default(), Vec::new());
        for piece in stream.chunks(width) {
            frames.push(piece);
            hide.push(piece, &mut shown);
            while let Some(Piece::Whole(bytes) | Piece::Part(bytes, _)) = frames.next() {
                joined.extend_from_slice(bytes);
            }
        }
        while let Some(Piece::Whole(bytes) | Piece::Part(bytes, _)) = frames.finish() {
            joined.extend_from_slice(bytes);
        }
        hide.finish(&mut shown);
        if joined != stream {
            return Err("the frames are not the stream".to_owned());
        }
        let mut whole = Vec::new();
        let mut hide = HideUsage::default();
        hide.push(stream, &mut whole);
        hide.finish(&mut whole);
        if whole != shown {
            return Err("what is hidden depends on how the stream is cut".to_owned());
        }
        Ok(())
    }

    /// The translation of a stream; whether it is whole.
    fn translated(stream: &[u8], arm: Dialect, caller: Dialect) -> Result<bool, String> {
        let frame = Frame { usage: true, ..Frame::default() };
        let Some(mut machine) = Stream::new(arm, caller, frame) else {
            return Err("no translation".to_owned());
        };
        let (mut reader, mut out) = (Events::default(), String::new());
        reader.push(stream);
        while let Some(event) = reader.next() {
            out.push_str(&event.map(|event| machine.event(&event)).unwrap_or_default());
        }
        while let Some(event) = reader.finish() {
            out.push_str(&event.map(|event| machine.event(&event)).unwrap_or_default());
        }
        out.push_str(&machine.finish());
        if out.len() > 64 * stream.len() + 4096 {
            return Err(format!("{} bytes became {}", stream.len(), out.len()));
        }
        match caller {
            Dialect::Messages => is_in_order(&out),
            Dialect::Responses => is_response(&out),
            _ => is_chat(&out),
        }
    }
}

impl Target for Streams {
    const NAME: &'static str = "dialect-streams";
    const CASES: u64 = 1000;

    fn input(&mut self, rng: &mut Rng) -> Parts {
        let mut stream = stream(rng);
        if one_in(rng, 8) {
            bytes::damage(&mut stream, rng);
        }
        // It is read a dozen times.
        stream.truncate(1 << 20);
        vec![("stream.txt".to_owned(), stream)]
    }

    fn feed(&mut self, parts: &Parts) -> Result<Verdict, String> {
        let stream = &parts[0].1;
        let found = events(stream, stream.len(), 4000);
        for width in [1, 2, 3, 1 + stream.len() % 97] {
            if events(stream, width, 4000) != found {
                return Err(format!("the events depend on the cut, every {width} bytes"));
            }
            Self::pass(stream, width)?;
        }
        let mut is_whole = false;
        for dialect in
            [Dialect::Chat, Dialect::Messages, Dialect::Responses, Dialect::Gemini, Dialect::Completions]
        {
            let (mut watch, mut reader) = (Watch::new(dialect), Events::default());
            reader.push(stream);
            let mut had = false;
            while let Some(event) = reader.next() {
                let Ok(event) = event else { continue };
                let has = watch.event(&event);
                if had && !has {
                    return Err("content came and went".to_owned());
                }
                had = has;
            }
            for caller in [Dialect::Chat, Dialect::Messages, Dialect::Responses, Dialect::Gemini] {
                if translate::is_possible(caller, dialect) {
                    is_whole |= Self::translated(stream, dialect, caller)?;
                }
            }
        }
        if is_whole { Ok(Verdict::Accepted) } else { refused_in("the stream is not whole", parts) }
    }
}

#[test]
fn streams_of_dialects() {
    attack(Streams);
}
