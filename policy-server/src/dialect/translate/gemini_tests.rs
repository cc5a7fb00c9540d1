use super::*;
use crate::dialect::sse::{Events, written};
use serde_json::{Value as Json, json};

fn made(from: Dialect, body: &Json) -> Result<(Json, Vec<String>), Refused> {
    let target = Target { effort: Effort::Named, ..Target::default() };
    let text = body.to_string();
    let made = request(from, Dialect::Gemini, &Body::read(text.as_bytes()).unwrap(), &target)?;
    let names = made.dropped.into_iter().map(|dropped| dropped.field).collect();
    Ok((serde_json::from_str(&made.body).unwrap(), names))
}

#[test]
fn a_request_by_hand() {
    let signed = json!({"google": {"thought_signature": "Cg=="}});
    let chat = json!({"model": "m", "stream": true, "max_tokens": 9, "temperature": 0.5, "stop": "END", "seed": 3,
        "reasoning_effort": "high", "tool_choice": "required", "logit_bias": {"1": 2},
        "messages": [{"role": "system", "content": "S"},
            {"role": "user", "content": [{"type": "text", "text": "x"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO"}}]},
            {"role": "assistant", "content": null, "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{\"q\": 1}"},
                    "extra_content": signed},
                {"id": "b", "type": "function", "function": {"name": "g", "arguments": ""}}]},
            {"role": "tool", "tool_call_id": "b", "content": "two"},
            {"role": "tool", "tool_call_id": "a", "content": "{\"r\": 1}"},
            {"role": "user", "content": "go on"}],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}});
    let expected = json!({"systemInstruction": {"parts": [{"text": "S"}]},
        "contents": [
            {"role": "user", "parts": [{"text": "x"}, {"inlineData": {"mimeType": "image/png", "data": "iVBO"}}]},
            {"role": "model", "parts": [
                {"functionCall": {"name": "f", "args": {"q": 1}}, "thoughtSignature": "Cg=="},
                {"functionCall": {"name": "g", "args": {}}}]},
            {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"r": 1}}},
                {"functionResponse": {"name": "g", "response": {"output": "two"}}}, {"text": "go on"}]}],
        "tools": [{"functionDeclarations": [{"name": "f", "parametersJsonSchema": {"type": "object"}}]}],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY"}},
        "generationConfig": {"maxOutputTokens": 9, "temperature": 0.5, "seed": 3, "stopSequences": ["END"],
            "responseMimeType": "application/json", "responseJsonSchema": {"type": "object"},
            "thinkingConfig": {"thinkingLevel": "high", "includeThoughts": true}}});
    let (gemini, dropped) = made(Dialect::Chat, &chat).unwrap();
    assert_eq!(gemini, expected);
    assert_eq!(dropped, ["logit_bias"]);
    let messages = json!({"max_tokens": 9, "messages": [{"role": "user", "content": "x"}]});
    let contents = json!([{"role": "user", "parts": [{"text": "x"}]}]);
    assert_eq!(made(Dialect::Messages, &messages).unwrap().0["contents"], contents);
    assert_eq!(made(Dialect::Responses, &json!({"input": "x"})).unwrap().0["contents"], contents);
}

#[test]
fn what_cannot_be_said_is_refused() {
    let x = json!({"role": "user", "content": "x"});
    let call = json!({"role": "assistant", "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{}"}}]});
    let cases = [
        (json!({"messages": [x], "n": 2}), "n", false),
        (json!({"messages": [x], "logprobs": true}), "logprobs", false),
        (json!({"messages": [x], "tools": [{"type": "custom", "name": "x"}]}), "tools[0]", false),
        (json!({"messages": [{"role": "system", "content": "S"}]}), "messages", false),
        (json!({"messages": [x, {"role": "system", "content": "S"}]}), "messages[1]", false),
        (json!({"messages": [x, call, x]}), "messages[2]", true),
        (
            json!({"messages": [x, {"role": "tool", "tool_call_id": "a", "content": ""}]}),
            "messages[1].tool_call_id",
            true,
        ),
        (json!({"messages": [x], "max_tokens": 0}), "max_tokens", true),
    ];
    for (body, field, is_invalid) in cases {
        let refused = made(Dialect::Chat, &body).unwrap_err();
        assert_eq!((refused.field.as_str(), refused.is_invalid), (field, is_invalid), "{refused}");
    }
}

fn events() -> Vec<Json> {
    vec![
        json!({"responseId": "r1", "modelVersion": "m", "usageMetadata": {"promptTokenCount": 9}, "candidates": [
            {"content": {"role": "model", "parts": [{"text": "hm", "thought": true}]}}]}),
        json!({"responseId": "r1", "candidates": [{"content": {"parts": [{"text": "H"}]}}]}),
        json!({"responseId": "r1", "candidates": [{"content": {"parts": [{"text": "i"},
            {"functionCall": {"name": "f", "args": {"a": 1}}, "thoughtSignature": "Cg=="},
            {"functionCall": {"name": "g", "id": "own"}}]}}]}),
        json!({"responseId": "r1", "candidates": [{"content": {"parts": []}, "finishReason": "STOP"}],
            "usageMetadata": {"promptTokenCount": 9, "cachedContentTokenCount": 4, "candidatesTokenCount": 5,
            "thoughtsTokenCount": 7}}),
    ]
}

#[test]
fn replies_and_streams_say_the_same() {
    let mut whole = events().pop().unwrap();
    let all: Vec<Json> = events()
        .iter()
        .flat_map(|e| e["candidates"][0]["content"]["parts"].as_array().unwrap().clone())
        .collect();
    whole["candidates"][0]["content"]["parts"] = json!(all);
    let frame = Frame { usage: true, created: 7, ..Frame::default() };
    let chat = reply(Dialect::Gemini, Dialect::Chat, whole.to_string().as_bytes(), &frame).unwrap();
    let chat: Json = serde_json::from_str(&chat.body).unwrap();
    let calls = json!([
        {"id": "call_r1_0", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"},
            "extra_content": {"google": {"thought_signature": "Cg=="}}},
        {"id": "own", "type": "function", "function": {"name": "g", "arguments": "{}"}}]);
    let message = &chat["choices"][0]["message"];
    assert_eq!((&message["content"], &message["reasoning_content"]), (&json!("Hi"), &json!("hm")));
    assert_eq!(
        (&message["tool_calls"], &chat["choices"][0]["finish_reason"]),
        (&calls, &json!("tool_calls"))
    );
    assert_eq!(
        (&chat["usage"]["completion_tokens"], &chat["usage"]["prompt_tokens"]),
        (&json!(12), &json!(9))
    );
    let stream: String = events().iter().map(|event| written("", &event.to_string())).collect();
    for caller in [Dialect::Chat, Dialect::Messages, Dialect::Responses] {
        let sent = sent(caller, &stream);
        let last = sent.last().unwrap();
        match caller {
            Dialect::Chat => assert_eq!(last.1, "[DONE]"),
            Dialect::Messages => assert_eq!(last.0, "message_stop"),
            _ => {
                let response: Json = serde_json::from_str(&last.1).unwrap();
                assert_eq!(response["response"]["output"].as_array().unwrap().len(), 4);
            }
        }
        let joined: String = sent.iter().map(|(_, data)| data.as_str()).collect();
        assert!(joined.contains("call_r1_0") && joined.contains("\"own\""), "{joined}");
    }
}

fn sent(caller: Dialect, stream: &str) -> Vec<(String, String)> {
    let frame = Frame { usage: true, ..Frame::default() };
    let mut machine = Stream::new(Dialect::Gemini, caller, frame).unwrap();
    let (mut reader, mut out) = (Events::default(), String::new());
    reader.push(stream.as_bytes());
    while let Some(event) = reader.next() {
        out.push_str(&machine.event(&event.unwrap()));
    }
    out.push_str(&machine.finish());
    let (mut events, mut found) = (Events::default(), Vec::new());
    events.push(out.as_bytes());
    while let Some(event) = events.next() {
        let event = event.unwrap();
        found.push((event.name.into_owned(), event.data.into_owned()));
    }
    found
}

#[test]
fn ends_that_are_none() {
    let reason = |reason: &str| {
        json!({"candidates": [{"content": {"parts": [{"text": "x"}]},
        "finishReason": reason}]})
    };
    let frame = Frame::default();
    for broken in [reason("MALFORMED_FUNCTION_CALL"), json!({"candidates": []}), json!({})] {
        assert!(reply(Dialect::Gemini, Dialect::Chat, broken.to_string().as_bytes(), &frame).is_err());
        let sent = sent(Dialect::Chat, &written("", &broken.to_string()));
        assert!(sent.last().unwrap().1.starts_with("{\"error\":"));
    }
    for (gemini, chat) in
        [("SAFETY", "content_filter"), ("MAX_TOKENS", "length"), ("IMAGE_SAFETY", "content_filter")]
    {
        let made =
            reply(Dialect::Gemini, Dialect::Chat, reason(gemini).to_string().as_bytes(), &frame).unwrap();
        assert!(made.body.contains(&format!("\"finish_reason\":\"{chat}\"")), "{}", made.body);
    }
    let blocked = json!({"promptFeedback": {"blockReason": "SAFETY"}});
    let made = reply(Dialect::Gemini, Dialect::Chat, blocked.to_string().as_bytes(), &frame).unwrap();
    assert!(made.body.contains("content_filter"));
    let error = "data: [{\"error\":{\"code\":429,\"message\":\"m\",\"status\":\"RESOURCE_EXHAUSTED\"}}]\n\n";
    assert!(sent(Dialect::Messages, error).last().unwrap().1.contains("rate_limit_error"));
}
