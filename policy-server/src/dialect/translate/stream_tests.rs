use super::*;
use crate::dialect::sse::{Event, Events, written};
use serde_json::{Value as Json, json};

fn frame() -> Frame {
    Frame { created: 7, usage: true, input_estimate: 11, ..Frame::default() }
}

/// The translation of a stream whose bytes come one by one, as events: name and data.
fn translated(arm: Dialect, caller: Dialect, stream: &str) -> Vec<(String, String)> {
    let mut machine = Stream::new(arm, caller, frame()).unwrap();
    let (mut events, mut out) = (Events::default(), String::new());
    for byte in stream.as_bytes() {
        events.push(&[*byte]);
        while let Some(event) = events.next() {
            out.push_str(&machine.event(&event.unwrap()));
        }
    }
    while let Some(event) = events.finish() {
        out.push_str(&machine.event(&event.unwrap()));
    }
    out.push_str(&machine.finish());
    assert!(machine.is_over() && machine.finish().is_empty());
    let mut made = Events::default();
    made.push(out.as_bytes());
    let mut found = Vec::new();
    while let Some(event) = made.next() {
        let event = event.unwrap();
        found.push((event.name.into_owned(), event.data.into_owned()));
    }
    found
}

fn chunks(deltas: &[Json], finish: &str, usage: Option<Json>) -> String {
    let chunk = |choices: Json, usage: Json| {
        let chunk = json!({"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m",
            "choices": choices, "usage": usage});
        written("", &chunk.to_string())
    };
    let mut out: String = deltas
        .iter()
        .map(|delta| chunk(json!([{"index": 0, "delta": delta, "finish_reason": null}]), Json::Null))
        .collect();
    if !finish.is_empty() {
        out.push_str(&chunk(json!([{"index": 0, "delta": {}, "finish_reason": finish}]), Json::Null));
    }
    if let Some(usage) = usage {
        out.push_str(&chunk(json!([]), usage));
    }
    out + "data: [DONE]\n\n"
}

/// The message that a client assembles of a stream of messages; each event checked for order.
fn message(events: &[(String, String)]) -> Json {
    let mut message = Json::Null;
    let (mut open, mut arguments) = (None, String::new());
    for (name, data) in events {
        let event: Json = serde_json::from_str(data).unwrap();
        assert_eq!(event["type"], name.as_str(), "clients go by the name of the event");
        match name.as_str() {
            "message_start" => message = event["message"].clone(),
            "content_block_start" => {
                assert_eq!(
                    (open, &event["index"]),
                    (None, &json!(message["content"].as_array().unwrap().len()))
                );
                open = event["index"].as_u64();
                message["content"].as_array_mut().unwrap().push(event["content_block"].clone());
                arguments.clear();
            }
            "content_block_delta" => {
                assert_eq!(event["index"].as_u64(), open);
                let block = message["content"].as_array_mut().unwrap().last_mut().unwrap();
                let delta = &event["delta"];
                match delta["type"].as_str().unwrap() {
                    "input_json_delta" => arguments.push_str(delta["partial_json"].as_str().unwrap()),
                    kind => {
                        let name = kind.trim_end_matches("_delta");
                        block[name] =
                            (block[name].as_str().unwrap().to_owned() + delta[name].as_str().unwrap()).into();
                    }
                }
            }
            "content_block_stop" => {
                assert_eq!(event["index"].as_u64(), open.take());
                let block = message["content"].as_array_mut().unwrap().last_mut().unwrap();
                if !arguments.is_empty() {
                    block["input"] = serde_json::from_str(&arguments).unwrap();
                }
            }
            "message_delta" => {
                message["stop_reason"] = event["delta"]["stop_reason"].clone();
                message["usage"] = event["usage"].clone();
            }
            "message_stop" => assert_eq!(open, None),
            other => panic!("{other}: {data}"),
        }
    }
    assert_eq!(events.last().unwrap().0, "message_stop");
    message
}

/// The answer that a client assembles of chunks of chat.
fn completion(events: &[(String, String)]) -> Json {
    let mut message = json!({"role": "assistant", "content": null, "refusal": null});
    let mut reply = json!({"object": "chat.completion"});
    let (last, chunks) = events.split_last().unwrap();
    assert_eq!(last.1, "[DONE]");
    for (name, data) in chunks {
        assert!(name.is_empty());
        let chunk: Json = serde_json::from_str(data).unwrap();
        for field in ["id", "created", "model"] {
            reply[field] = chunk[field].clone();
        }
        if !chunk["usage"].is_null() {
            assert_eq!(chunk["choices"], json!([]));
            reply["usage"] = chunk["usage"].clone();
            continue;
        }
        let choice = &chunk["choices"][0];
        let append = |to: &mut Json, piece: &Json| {
            *to = (to.as_str().unwrap_or_default().to_owned() + piece.as_str().unwrap()).into();
        };
        for (field, piece) in choice["delta"].as_object().unwrap() {
            match field.as_str() {
                "role" => assert_eq!(piece, "assistant"),
                "content" | "reasoning_content" if piece == "" => {}
                "content" | "reasoning_content" => append(&mut message[field], piece),
                "thinking_blocks" => {
                    let blocks =
                        message.as_object_mut().unwrap().entry("thinking_blocks").or_insert(json!([]));
                    blocks.as_array_mut().unwrap().extend(piece.as_array().unwrap().clone());
                }
                "tool_calls" => {
                    let calls = message.as_object_mut().unwrap().entry("tool_calls").or_insert(json!([]));
                    let calls = calls.as_array_mut().unwrap();
                    let call = &piece[0];
                    if call.get("id").is_some() {
                        assert_eq!(call["index"], json!(calls.len()));
                        let mut call = call.clone();
                        call.as_object_mut().unwrap().remove("index");
                        calls.push(call);
                    } else {
                        let at = call["index"].as_u64().unwrap() as usize;
                        append(&mut calls[at]["function"]["arguments"], &call["function"]["arguments"]);
                    }
                }
                other => panic!("{other}"),
            }
        }
        if !choice["finish_reason"].is_null() {
            reply["choices"] =
                json!([{"index": 0, "logprobs": null, "finish_reason": choice["finish_reason"]}]);
        }
    }
    reply["choices"][0]["message"] = message;
    reply
}

/// A stream of messages that tells this message.
fn stream_of(message: &Json, piece: usize) -> String {
    let mut out = String::new();
    let mut event = |data: Json| {
        out.push_str(&written(data["type"].as_str().unwrap(), &data.to_string()));
    };
    let mut start = message.clone();
    start["content"] = json!([]);
    start["stop_reason"] = Json::Null;
    start["usage"]["output_tokens"] = json!(1);
    event(json!({"type": "message_start", "message": start}));
    event(json!({"type": "ping"}));
    for (index, block) in message["content"].as_array().unwrap().iter().enumerate() {
        let mut first = block.clone();
        let mut deltas = Vec::new();
        let mut cut = |text: &str, kind: &str, field: &str| {
            let characters: Vec<char> = text.chars().collect();
            for part in characters.chunks(piece) {
                let part: String = part.iter().collect();
                deltas.push(json!({"type": kind, field: part}));
            }
        };
        match block["type"].as_str().unwrap() {
            "text" => cut(block["text"].as_str().unwrap(), "text_delta", "text"),
            "thinking" => {
                cut(block["thinking"].as_str().unwrap(), "thinking_delta", "thinking");
                cut(block["signature"].as_str().unwrap(), "signature_delta", "signature");
            }
            "tool_use" if block["input"] != json!({}) => {
                cut(&block["input"].to_string(), "input_json_delta", "partial_json")
            }
            _ => {}
        }
        for (field, empty) in
            [("text", json!("")), ("thinking", json!("")), ("signature", json!("")), ("input", json!({}))]
        {
            if first.get(field).is_some() {
                first[field] = empty;
            }
        }
        event(json!({"type": "content_block_start", "index": index, "content_block": first}));
        for delta in deltas {
            event(json!({"type": "content_block_delta", "index": index, "delta": delta}));
        }
        event(json!({"type": "content_block_stop", "index": index}));
    }
    let delta = json!({"stop_reason": message["stop_reason"], "stop_sequence": null});
    event(json!({"type": "message_delta", "delta": delta, "usage": message["usage"]}));
    event(json!({"type": "message_stop"}));
    out
}

/// Messages with every kind of block, in orders of their own.
fn messages() -> Vec<Json> {
    let blocks = [
        json!({"type": "thinking", "thinking": "h\u{e9} m", "signature": "EqQ/+=="}),
        json!({"type": "thinking", "thinking": "", "signature": "sig"}),
        json!({"type": "text", "text": "a \"\u{1f600}\"\n\u{e9}"}),
        json!({"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": "}{\"", "b": [1, {"c": null}]}}),
        json!({"type": "tool_use", "id": "toolu_2", "name": "g", "input": {}}),
        json!({"type": "tool_use", "id": "rwx_612e62", "name": "g", "input": {"x": {}}}),
    ];
    let orders: [&[usize]; 8] = [&[], &[2], &[0, 2], &[3], &[0, 2, 3, 4, 5], &[1, 4], &[5, 3], &[2, 5, 4, 3]];
    let message = |order: &&[usize]| {
        let content: Vec<Json> = order.iter().map(|at| blocks[*at].clone()).collect();
        let stop = if order.iter().any(|at| *at > 2) { "tool_use" } else { "max_tokens" };
        json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": content,
            "stop_reason": stop, "stop_sequence": null, "usage": {"input_tokens": 9, "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 100, "output_tokens": 30}})
    };
    orders.iter().map(message).collect()
}

#[test]
fn a_stream_says_what_the_reply_says() {
    for message in messages() {
        let reply =
            reply(Dialect::Messages, Dialect::Chat, message.to_string().as_bytes(), &frame()).unwrap();
        let reply: Json = serde_json::from_str(&reply.body).unwrap();
        for piece in [1, 2, 3, 7, 1000] {
            let stream = stream_of(&message, piece);
            assert_eq!(completion(&translated(Dialect::Messages, Dialect::Chat, &stream)), reply, "{stream}");
        }
    }
}

#[test]
fn a_stream_to_chat_and_back_is_the_same_message() {
    for expected in messages() {
        let chat: String = translated(Dialect::Messages, Dialect::Chat, &stream_of(&expected, 3))
            .iter()
            .map(|(name, data)| written(name, data))
            .collect();
        let back = message(&translated(Dialect::Chat, Dialect::Messages, &chat));
        let mut expected = expected;
        // Signatures of a stream come with the whole block, which messages have no delta for.
        for block in expected["content"].as_array_mut().unwrap() {
            if block.get("signature").is_some() {
                block["signature"] = json!("");
            }
        }
        expected["content"].as_array_mut().unwrap().retain(|block| block["thinking"] != "");
        assert_eq!(back, expected, "{chat}");
    }
}

fn call(index: Option<u64>, id: &str, name: &str, arguments: &str) -> Json {
    let mut call = json!({"function": {"arguments": arguments}});
    if let Some(index) = index {
        call["index"] = json!(index);
    }
    if !id.is_empty() {
        call["id"] = json!(id);
    }
    if !name.is_empty() {
        call["function"]["name"] = json!(name);
    }
    json!({"tool_calls": [call]})
}

#[test]
fn calls_are_told_apart_however_they_are_numbered() {
    let f = json!({"type": "tool_use", "id": "call_1", "name": "f", "input": {"a": 1}});
    let g = json!({"type": "tool_use", "id": "call_2", "name": "g", "input": {}});
    let interleaved = vec![
        call(Some(0), "call_1", "f", ""),
        call(Some(0), "", "", "{\"a\""),
        call(Some(1), "call_2", "g", "{}"),
        call(Some(0), "", "", ":1}"),
    ];
    let all_zero = vec![call(Some(0), "call_1", "f", "{\"a\":1}"), call(Some(0), "call_2", "g", "{}")];
    let from_one = vec![
        call(Some(1), "call_1", "f", "{\"a\":"),
        call(Some(1), "call_1", "", "1}"),
        call(Some(2), "call_2", "g", "{}"),
        call(Some(1), "", "", " \n"),
    ];
    let none =
        vec![call(None, "call_1", "f", "{\"a\""), call(None, "", "", ":1}"), call(None, "call_2", "g", "")];
    let pieces: Vec<Json> = std::iter::once(call(Some(0), "call_1", "f", ""))
        .chain("{\"a\":1}".chars().map(|c| call(Some(0), "", "", &c.to_string())))
        .chain([call(Some(1), "call_2", "g", "")])
        .collect();
    for deltas in [interleaved, all_zero, from_one, none, pieces] {
        let events = translated(Dialect::Chat, Dialect::Messages, &chunks(&deltas, "tool_calls", None));
        let message = message(&events);
        assert_eq!(message["content"], json!([f, g]), "{deltas:?}");
        assert_eq!(message["stop_reason"], "tool_use");
    }
}

#[test]
fn text_waits_for_a_call_that_is_not_whole() {
    let deltas = [
        json!({"role": "assistant", "content": ""}),
        json!({"reasoning_content": "h"}),
        json!({"reasoning": "m"}),
        json!({"content": "a"}),
        call(Some(0), "call_1", "f", "{\"a\""),
        json!({"content": "b"}),
        call(Some(0), "", "", ":1}"),
        json!({"content": "c"}),
    ];
    let usage =
        json!({"prompt_tokens": 20, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 8}});
    let events = translated(Dialect::Chat, Dialect::Messages, &chunks(&deltas, "stop", Some(usage)));
    let message = message(&events);
    let expected = json!([{"type": "thinking", "thinking": "hm", "signature": ""}, {"type": "text", "text": "a"},
        {"type": "tool_use", "id": "call_1", "name": "f", "input": {"a": 1}}, {"type": "text", "text": "bc"}]);
    assert_eq!(message["content"], expected);
    assert_eq!(message["stop_reason"], "tool_use", "a call, whatever the server says");
    let usage = json!({"input_tokens": 12, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 8,
        "output_tokens": 5});
    assert_eq!(message["usage"], usage);
    let first: Json = serde_json::from_str(&events[0].1).unwrap();
    assert_eq!(first["message"]["usage"]["input_tokens"], 11, "the estimate");
}

#[test]
fn deltas_are_sent_as_they_come() {
    let mut machine = Stream::new(Dialect::Chat, Dialect::Messages, frame()).unwrap();
    let mut sent = |delta: Json| {
        let data = json!({"choices": [{"index": 0, "delta": delta}]}).to_string();
        machine.event(&Event { name: "".into(), data: data.into() })
    };
    assert!(sent(json!({"content": "a"})).contains("text_delta"));
    assert!(sent(call(Some(0), "c", "f", "{")).contains("input_json_delta"));
    assert!(sent(call(Some(0), "", "", "}")).contains("\"}\""));
    assert!(sent(call(Some(1), "d", "g", "{\"")).contains("content_block_start"), "the first call is whole");
}

#[test]
fn a_stream_cut_off_is_an_error() {
    let whole = stream_of(&messages()[4], 5);
    let stop = whole.find("event: message_delta").unwrap();
    for cut in [0, 10, whole.len() / 2, stop] {
        let events = translated(Dialect::Messages, Dialect::Chat, &whole[..cut]);
        let (_, last) = events.last().unwrap();
        assert!(last.starts_with("{\"error\":"), "{last}");
    }
    // The reason came, the last event did not.
    let events =
        translated(Dialect::Messages, Dialect::Chat, &whole[..whole.find("event: message_stop").unwrap()]);
    assert_eq!(events.last().unwrap().1, "[DONE]");
    for stream in [chunks(&[json!({"content": "a"})], "", None), String::new(), "data: {\"cho".to_owned()] {
        let events = translated(Dialect::Chat, Dialect::Messages, &stream);
        assert_eq!(events.last().unwrap().0, "error");
        assert!(!events.iter().any(|(name, _)| name == "message_stop"));
    }
}

#[test]
fn errors_within_a_stream() {
    let overloaded =
        written("error", r#"{"type":"error","error":{"type":"overloaded_error","message":"m"}}"#);
    let events = translated(Dialect::Messages, Dialect::Chat, &overloaded);
    assert!(events[0].1.contains("upstream_overloaded") && events.len() == 1, "{events:?}");
    let failed = chunks(&[json!({"content": "a"})], "", None)
        .replace("[DONE]", r#"{"error":{"message":"m","code":500}}"#);
    let events = translated(Dialect::Chat, Dialect::Messages, &failed);
    let (name, data) = events.last().unwrap();
    assert!(name == "error" && data.contains("\"api_error\""), "{data}");
}

#[test]
fn what_does_not_end_takes_bounded_memory() {
    let mut machine = Stream::new(Dialect::Chat, Dialect::Messages, frame()).unwrap();
    let piece = "x".repeat(1 << 20);
    let mut sent = |delta: Json| {
        let data = json!({"choices": [{"index": 0, "delta": delta}]}).to_string();
        let out = machine.event(&Event { name: "".into(), data: data.into() });
        (out, machine.is_over())
    };
    sent(call(Some(0), "c", "f", "{"));
    let over = (0..40).find(|_| sent(call(Some(1), "d", "g", &piece)).1);
    assert!(over.is_some_and(|at| at < 20), "{over:?}");
}
