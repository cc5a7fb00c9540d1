use super::*;
use crate::dialect::corpus::requests;
use serde_json::{Value as Json, json};

/// Random choices of the tests: splitmix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % below as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn text(&mut self) -> String {
        let texts =
            ["Hi", "a \"b\"\n", "\u{e9}\u{1f600}", "<&'>", "\u{1}\\", " two  blanks ", "{\"a\":1}", "x"];
        texts[self.below(texts.len())].to_owned()
    }
}

fn target() -> Target {
    Target {
        model: "arm".to_owned(),
        late_system: LateSystem::Role,
        effort: Effort::Named,
        same_family: true,
        ..Target::default()
    }
}

fn made(from: Dialect, to: Dialect, body: &str, target: &Target) -> Result<(Json, Vec<String>), Refused> {
    let body = Body::read(body.as_bytes()).unwrap();
    let made = request(from, to, &body, target)?;
    let names = made.dropped.into_iter().map(|dropped| dropped.field).collect();
    Ok((serde_json::from_str(&made.body).unwrap(), names))
}

fn to_messages(body: &Json) -> Result<(Json, Vec<String>), Refused> {
    made(Dialect::Chat, Dialect::Messages, &body.to_string(), &target())
}

fn to_chat(body: &Json) -> Result<(Json, Vec<String>), Refused> {
    made(Dialect::Messages, Dialect::Chat, &body.to_string(), &target())
}

#[test]
fn a_loop_of_tools_by_hand() {
    let chat = json!({"model": "m", "max_completion_tokens": 100, "messages": [
        {"role": "developer", "content": "D"}, {"role": "system", "content": [{"type": "text", "text": "S"}]},
        {"role": "user", "content": "w?"},
        {"role": "assistant", "content": "I look", "tool_calls": [
            {"id": "functions.f:0", "type": "function", "function": {"name": "f",
                "arguments": "{\"b\": 1e2, \"a\": 2}"}},
            {"id": "call_2", "type": "function", "function": {"name": "g", "arguments": ""}}]},
        {"role": "tool", "tool_call_id": "call_2", "content": "two"},
        {"role": "tool", "tool_call_id": "functions.f:0", "content": [{"type": "text", "text": "one"}]},
        {"role": "user", "content": "and?"}, {"role": "user", "content": [{"type": "text", "text": "now?"}]}],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}, "strict": true}},
                  {"type": "function", "function": {"name": "g", "description": "d"}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}}, "parallel_tool_calls": false,
        "stop": "END", "temperature": 1.5, "user": "u", "seed": 3, "stream": true});
    let narrowed = "rwx_66756e6374696f6e732e663a30";
    let expected = json!({"model": "arm", "max_tokens": 100,
        "system": [{"type": "text", "text": "D"}, {"type": "text", "text": "S"}],
        "messages": [{"role": "user", "content": "w?"},
            {"role": "assistant", "content": [{"type": "text", "text": "I look"},
                {"type": "tool_use", "id": narrowed, "name": "f", "input": {"b": 100.0, "a": 2}},
                {"type": "tool_use", "id": "call_2", "name": "g", "input": {}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": narrowed, "content": [{"type": "text", "text": "one"}]},
                {"type": "tool_result", "tool_use_id": "call_2", "content": "two"},
                {"type": "text", "text": "and?"}, {"type": "text", "text": "now?"}]}],
        "stop_sequences": ["END"], "temperature": 1, "stream": true,
        "tools": [{"name": "f", "input_schema": {"type": "object"}, "strict": true},
                  {"name": "g", "description": "d", "input_schema": {"type": "object", "properties": {}}}],
        "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": true},
        "metadata": {"user_id": "u"}});
    let (made, dropped) = to_messages(&chat).unwrap();
    assert_eq!(made, expected);
    assert_eq!(dropped, ["temperature", "seed"]);
}

#[test]
fn a_turn_of_results_by_hand() {
    let messages = json!({"model": "m", "max_tokens": 9, "system": "S", "messages": [
        {"role": "user", "content": [{"type": "text", "text": "w?", "cache_control": {"type": "ephemeral"}}]},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "sig"},
            {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}}]},
        {"role": "user", "content": [{"type": "text", "text": "look"},
            {"type": "tool_result", "tool_use_id": "toolu_1", "is_error": true, "content": [
                {"type": "text", "text": "r"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBO"}}]}]}],
        "tools": [{"name": "f", "input_schema": {"type": "object"}, "cache_control": {"type": "ephemeral"}}],
        "tool_choice": {"type": "any"}, "thinking": {"type": "enabled", "budget_tokens": 9000}, "top_k": 5,
        "metadata": {"user_id": "u"}, "context_management": {"edits": [1]}});
    let foreign = Target { same_family: false, ..target() };
    let (made, dropped) = made(Dialect::Messages, Dialect::Chat, &messages.to_string(), &foreign).unwrap();
    let expected = json!({"model": "arm", "max_completion_tokens": 9, "messages": [
        {"role": "system", "content": "S"}, {"role": "user", "content": [{"type": "text", "text": "w?"}]},
        {"role": "assistant", "content": null, "tool_calls": [
            {"id": "toolu_1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}}]},
        {"role": "tool", "tool_call_id": "toolu_1", "content": [{"type": "text", "text": "r"}]},
        {"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO"}}, {"type": "text",
                "text": "look"}]}],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
        "tool_choice": "required", "reasoning_effort": "medium", "user": "u"});
    assert_eq!(made, expected);
    let fields = [
        "messages[0].content[0].cache_control",
        "messages[1].thinking",
        "messages[2].content[1].is_error",
        "messages[2].content[1].content[1]",
        "top_k",
        "tools[0].cache_control",
        "thinking.budget_tokens",
        "context_management",
    ];
    assert_eq!(dropped, fields);
}

/// A request of chat that messages can say exactly.
fn exact_chat(dice: &mut Dice) -> Json {
    let mut turns = Vec::new();
    let parts = |dice: &mut Dice| match dice.below(3) {
        0 => json!(dice.text()),
        1 => json!([{"type": "text", "text": dice.text()}]),
        _ => json!([{"type": "text", "text": dice.text()},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO"}},
            {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBE"}}]),
    };
    if dice.one_in(2) {
        let content =
            if dice.one_in(2) { json!(dice.text()) } else { json!([{"type": "text", "text": dice.text()}]) };
        turns.push(json!({"role": "system", "content": content}));
    }
    turns.push(json!({"role": "user", "content": parts(dice)}));
    for turn in 0..dice.below(4) {
        let calls: Vec<String> = (0..dice.below(3)).map(|at| format!("call.{turn}:{at}")).collect();
        let mut assistant = json!({"role": "assistant", "content": dice.text()});
        if !calls.is_empty() {
            let call = |id: &String, arguments: String| {
                json!({"id": id, "type": "function",
                "function": {"name": "f", "arguments": arguments}})
            };
            let arguments = |dice: &mut Dice| {
                let inner = json!({"z": dice.text(), "a": [1, 2.5, null]}).to_string();
                if dice.one_in(2) { inner.replace(':', " : ") } else { inner }
            };
            assistant["tool_calls"] = calls.iter().map(|id| call(id, arguments(dice))).collect();
            if dice.one_in(2) {
                assistant["content"] = Json::Null;
            }
            if dice.one_in(3) {
                assistant["thinking_blocks"] =
                    json!([{"type": "thinking", "thinking": "", "signature": "EqQ/=="}]);
            }
        }
        turns.push(assistant);
        for id in &calls {
            let content =
                if dice.one_in(2) { json!(dice.text()) } else { json!([{"type": "text", "text": "r"}]) };
            turns.push(json!({"role": "tool", "tool_call_id": id, "content": content}));
        }
        // A turn of one text behind results is a text.
        let content = if calls.is_empty() { parts(dice) } else { json!(dice.text()) };
        turns.push(json!({"role": "user", "content": content}));
        if dice.one_in(4) {
            turns.push(json!({"role": "system", "content": dice.text()}));
        }
    }
    options(dice, turns)
}

fn options(dice: &mut Dice, turns: Vec<Json>) -> Json {
    let mut body = json!({"model": "arm", "max_completion_tokens": 1 + dice.below(9000), "messages": turns});
    let schema = json!({"type": "object", "properties": {"b": {"type": "string"}}, "required": ["b"]});
    let mut put = |dice: &mut Dice, name: &str, value: Json| {
        if dice.one_in(2) {
            body[name] = value;
        }
    };
    put(dice, "stop", json!(["END", "\n\nx"]));
    put(dice, "temperature", json!(0.7));
    put(dice, "top_p", json!(0.95));
    put(dice, "user", json!("user-1"));
    let effort = ["none", "low", "medium", "high", "xhigh"][dice.below(5)];
    put(dice, "reasoning_effort", json!(effort));
    let tier = ["auto", "default"][dice.below(2)];
    put(dice, "service_tier", json!(tier));
    if dice.one_in(2) {
        body["tools"] = json!([{"type": "function", "function": {"name": "f", "description": "d",
            "parameters": schema}}]);
        let named = json!({"type": "function", "function": {"name": "f"}});
        let choices = [json!("auto"), json!("none"), json!("required"), named];
        body["tool_choice"] = choices[dice.below(4)].clone();
        if dice.one_in(3) && body["tool_choice"] != "none" {
            body["parallel_tool_calls"] = json!(false);
        }
    }
    body
}

/// Without thinking of its own, a request whose open call lacks it is not asked to think.
fn strips_thinking(body: &Json) -> bool {
    let turns = body["messages"].as_array().unwrap();
    let last = turns.iter().rposition(|turn| turn["role"] == "user").unwrap();
    turns[last..].iter().any(|turn| turn.get("tool_calls").is_some() && turn.get("thinking_blocks").is_none())
}

#[test]
fn chat_to_messages_and_back_is_exact() {
    let mut dice = Dice(1);
    for _ in 0..3000 {
        let body = exact_chat(&mut dice);
        assert!(!strips_thinking(&body));
        let text = body.to_string();
        let messages =
            request(Dialect::Chat, Dialect::Messages, &Body::read(text.as_bytes()).unwrap(), &target())
                .unwrap();
        assert!(messages.dropped.is_empty(), "{:?}", messages.dropped);
        let (back, dropped) = made(Dialect::Messages, Dialect::Chat, &messages.body, &target()).unwrap();
        assert!(dropped.is_empty(), "{dropped:?}");
        assert_eq!(back, body, "{}", messages.body);
    }
}

#[test]
fn messages_to_chat_and_back_is_exact() {
    let mut dice = Dice(2);
    for _ in 0..3000 {
        // What came from chat is what both can say.
        let (messages, _) = to_messages(&exact_chat(&mut dice)).unwrap();
        let (chat, _) = to_chat(&messages).unwrap();
        assert_eq!(to_messages(&chat).unwrap().0, messages);
    }
}

#[test]
fn what_is_carried_keeps_its_bytes() {
    let schema = r#"{"type":"object","properties":{"z":{"type":"string"},"a":{"maximum":1e400,
        "minimum":18446744073709551616}}}"#;
    let arguments = r#"{"z": "\u00e9", "a": 1.50}"#;
    let chat = format!(
        r#"{{"messages":[{{"role":"user","content":"\ud83d\u0041 \/"}},{{"role":"assistant","tool_calls":[{{
            "id":"c","type":"function","function":{{"name":"f","arguments":{}}}}}]}},{{"role":"tool",
            "tool_call_id":"c","content":"r"}}],"tools":[{{"type":"function","function":{{"name":"f",
            "parameters":{schema}}}}}],"response_format":{{"type":"json_schema","json_schema":{{"schema":
            {schema}}}}}}}"#,
        crate::dialect::json::quoted(arguments)
    );
    let body = Body::read(chat.as_bytes()).unwrap();
    let made = request(Dialect::Chat, Dialect::Messages, &body, &target()).unwrap().body;
    assert!(
        made.contains(&format!("\"input_schema\":{schema}"))
            && made.contains(&format!("\"schema\":{schema}"))
    );
    assert!(made.contains(&format!("\"input\":{arguments}")) && made.contains(r#""\ud83d\u0041 \/""#));
    let back = Body::read(made.as_bytes()).unwrap();
    let back = request(Dialect::Messages, Dialect::Chat, &back, &target()).unwrap().body;
    assert!(back.contains(&format!("\"parameters\":{schema}")));
    assert!(back.contains(&crate::dialect::json::quoted(arguments)));
}

#[test]
fn what_cannot_be_said_is_refused_with_its_field() {
    let user = json!([{"role": "user", "content": "x"}]);
    let with = |field: &str, value: Json| {
        let mut body = json!({"model": "m", "messages": user});
        body[field] = value;
        body
    };
    let turns = |turns: Json| json!({"model": "m", "messages": turns});
    let call = json!({"role": "assistant", "tool_calls": [
        {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{"}}]});
    let whole = json!({"role": "assistant", "tool_calls": [
        {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]});
    let result = |id: &str| json!({"role": "tool", "tool_call_id": id, "content": "r"});
    let x = json!({"role": "user", "content": "x"});
    let cases = [
        (with("n", json!(2)), "n", false),
        (with("logprobs", json!(true)), "logprobs", false),
        (with("modalities", json!(["text", "audio"])), "modalities", false),
        (with("functions", json!([{}])), "functions", false),
        (with("response_format", json!({"type": "json_object"})), "response_format", false),
        (with("tools", json!([{"type": "custom", "name": "x"}])), "tools[0]", false),
        (with("max_tokens", json!(0)), "max_tokens", true),
        (with("max_tokens", json!("9")), "max_tokens", true),
        (with("messages", json!("x")), "messages", true),
        (turns(json!([])), "messages", false),
        (turns(json!([{"role": "assistant", "content": "x"}])), "messages", false),
        (turns(json!([{"role": "nobody", "content": "x"}])), "messages[0].role", true),
        (turns(json!([{"role": "user", "content": 7}])), "messages[0].content", true),
        (
            turns(json!([{"role": "user", "content": [{"type": "input_audio"}]}])),
            "messages[0].content[0]",
            false,
        ),
        (turns(json!([x, call])), "messages[1].tool_calls[0].function.arguments", true),
        (turns(json!([x, whole, x])), "messages[2]", true),
        (turns(json!([x, whole])), "messages", true),
        (turns(json!([x, whole, result("d")])), "messages[2].tool_call_id", true),
        (turns(json!([x, whole, result("c"), result("c")])), "messages[3].tool_call_id", true),
        (
            turns(
                json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "ftp://x"}}]}]),
            ),
            "messages[0].content[0].image_url.url",
            true,
        ),
    ];
    for (body, field, is_invalid) in cases {
        let refused = to_messages(&body).unwrap_err();
        assert_eq!((refused.field.as_str(), refused.is_invalid), (field, is_invalid), "{refused}");
        assert!(refused.to_string().len() > 20, "{refused}");
    }
    let late = turns(json!([x, {"role": "system", "content": "S"}]));
    let strict = Target { late_system: LateSystem::Refuse, ..target() };
    let body = late.to_string();
    assert_eq!(made(Dialect::Chat, Dialect::Messages, &body, &strict).unwrap_err().field, "messages[1]");
    let seeded = with("seed", json!(1)).to_string();
    let strict = Target { strict: true, ..target() };
    assert_eq!(made(Dialect::Chat, Dialect::Messages, &seeded, &strict).unwrap_err().field, "seed");
}

#[test]
fn what_is_deep_already_is_refused_where_it_would_be_deeper() {
    let schema = format!("{}1{}", "{\"a\":".repeat(125), "}".repeat(125));
    let body = format!(
        r#"{{"messages":[{{"role":"user","content":"x"}}],
            "response_format":{{"schema":{schema},"type":"json_schema"}}}}"#
    );
    let body = Body::read(body.as_bytes()).unwrap();
    let refused = request(Dialect::Chat, Dialect::Messages, &body, &target()).unwrap_err();
    assert!(refused.is_invalid && refused.reason.contains("127"), "{refused}");
}

#[test]
fn what_messages_have_alone_is_refused() {
    let with = |field: &str, value: Json| {
        let mut body = json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]});
        body[field] = value;
        body
    };
    let block = |block: Json| with("messages", json!([{"role": "user", "content": [block]}]));
    let cases = [
        (with("tools", json!([{"type": "web_search_20250305", "name": "web_search"}])), "tools[0]", false),
        (with("container", json!("c")), "container", false),
        (with("max_tokens", Json::Null), "max_tokens", true),
        (block(json!({"type": "search_result"})), "messages[0].content[0].type", false),
        (block(json!({"type": "server_tool_use"})), "messages[0].content[0].type", false),
        (
            block(json!({"type": "image", "source": {"type": "file", "file_id": "f"}})),
            "messages[0].content[0].source",
            false,
        ),
        (block(json!({"type": "text"})), "messages[0].content[0].text", true),
    ];
    for (body, field, is_invalid) in cases {
        let refused = to_chat(&body).unwrap_err();
        assert_eq!((refused.field.as_str(), refused.is_invalid), (field, is_invalid), "{refused}");
    }
}

#[test]
fn thinking_is_off_where_that_of_an_open_call_is_missing() {
    let call = json!({"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let turns = json!([{"role": "user", "content": "x"}, {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "r"}]);
    let body = json!({"messages": turns, "reasoning_effort": "high"});
    let (messages, dropped) = to_messages(&body).unwrap();
    assert_eq!(
        (&messages["thinking"]["type"], dropped),
        (&json!("disabled"), vec!["reasoning_effort".to_owned()])
    );
    assert!(messages.get("output_config").is_none());
    let mut later = turns.as_array().unwrap().clone();
    later.push(json!({"role": "assistant", "content": "done"}));
    later.push(json!({"role": "user", "content": "more"}));
    let (messages, _) = to_messages(&json!({"messages": later, "reasoning_effort": "high"})).unwrap();
    assert_eq!(messages["output_config"]["effort"], "high");
    let budget = Target { effort: Effort::Budget, ..target() };
    let body = json!({"messages": [{"role": "user", "content": "x"}], "reasoning_effort": "high", "max_tokens": 5000});
    let (messages, _) = made(Dialect::Chat, Dialect::Messages, &body.to_string(), &budget).unwrap();
    assert_eq!(messages["thinking"], json!({"type": "enabled", "budget_tokens": 4999}));
    let mut body =
        json!({"messages": [{"role": "user", "content": "x"}], "reasoning_effort": "low", "temperature": 0});
    let (messages, dropped) = made(Dialect::Chat, Dialect::Messages, &body.to_string(), &budget).unwrap();
    assert_eq!((&messages["temperature"], dropped), (&json!(1), vec!["temperature".to_owned()]));
    body["tools"] = json!([{"type": "function", "function": {"name": "f"}}]);
    body["tool_choice"] = json!("required");
    let (messages, dropped) = made(Dialect::Chat, Dialect::Messages, &body.to_string(), &budget).unwrap();
    assert_eq!((&messages["temperature"], dropped), (&json!(0), vec!["reasoning_effort".to_owned()]));
    assert!(messages.get("thinking").is_none());
}

#[test]
fn no_request_of_the_corpus_is_too_odd() {
    let mut answers = [0; 3];
    for (name, text) in requests() {
        for (from, to) in [(Dialect::Chat, Dialect::Messages), (Dialect::Messages, Dialect::Chat)] {
            let body = Body::read(text.as_bytes()).unwrap();
            match request(from, to, &body, &target()) {
                Ok(made) => {
                    assert!(Body::read(made.body.as_bytes()).is_ok(), "{name}: {}", made.body);
                    answers[0] += 1;
                }
                Err(refused) if refused.is_invalid => answers[1] += 1,
                Err(_) => answers[2] += 1,
            }
        }
    }
    assert!(answers.iter().all(|count| *count > 5), "{answers:?}");
}

fn replied(arm: Dialect, caller: Dialect, reply: &Json) -> Json {
    let frame = Frame { created: 7, input_estimate: 11, ..Frame::default() };
    let made = super::reply(arm, caller, reply.to_string().as_bytes(), &frame).unwrap();
    serde_json::from_str(&made.body).unwrap()
}

#[test]
fn replies_by_hand() {
    let message = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [
            {"type": "thinking", "thinking": "hm", "signature": "sig"}, {"type": "text", "text": "a"},
            {"type": "text", "text": "b"}, {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}}],
        "stop_reason": "tool_use", "stop_sequence": null,
        "usage": {"input_tokens": 9, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 20,
            "output_tokens": 30}});
    let chat = json!({"id": "msg_1", "object": "chat.completion", "created": 7, "model": "m", "choices": [{"index": 0,
            "message": {"role": "assistant", "content": "ab", "refusal": null, "reasoning_content": "hm",
                "thinking_blocks": [{"type": "thinking", "thinking": "hm", "signature": "sig"}],
                "tool_calls": [{"id": "toolu_1", "type": "function", "function": {"name": "f",
                    "arguments": "{\"a\":1}"}}]},
            "logprobs": null, "finish_reason": "tool_calls"}],
        "usage": {"prompt_tokens": 129, "completion_tokens": 30, "total_tokens": 159,
            "prompt_tokens_details": {"cached_tokens": 100, "cache_write_tokens": 20},
            "completion_tokens_details": {"reasoning_tokens": 0}}});
    assert_eq!(replied(Dialect::Messages, Dialect::Chat, &message), chat);
    let mut back = message.clone();
    back["content"] = json!([message["content"][0], {"type": "text", "text": "ab"}, message["content"][3]]);
    assert_eq!(replied(Dialect::Chat, Dialect::Messages, &chat), back);
}

#[test]
fn reasons_to_stop() {
    let pairs = [
        ("end_turn", "stop"),
        ("max_tokens", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
    ];
    for (stop, finish) in pairs {
        let message = json!({"content": [{"type": "text", "text": "x"}], "stop_reason": stop});
        assert_eq!(
            replied(Dialect::Messages, Dialect::Chat, &message)["choices"][0]["finish_reason"],
            finish
        );
        let chat = json!({"choices": [{"finish_reason": finish, "message": {"content": "x"}}]});
        assert_eq!(replied(Dialect::Chat, Dialect::Messages, &chat)["stop_reason"], stop);
    }
    let more = [("stop_sequence", "stop"), ("model_context_window_exceeded", "length")];
    for (stop, finish) in more {
        let message = json!({"content": [], "stop_reason": stop});
        assert_eq!(
            replied(Dialect::Messages, Dialect::Chat, &message)["choices"][0]["finish_reason"],
            finish
        );
    }
    let calls = json!([{"id": "", "function": {"name": "f", "arguments": {"a": 1}}}]);
    let chat =
        json!({"choices": [{"finish_reason": "stop", "message": {"content": "", "tool_calls": calls}}]});
    let message = replied(Dialect::Chat, Dialect::Messages, &chat);
    assert_eq!(message["stop_reason"], "tool_use", "callers act on the reason");
    assert_eq!(
        message["content"],
        json!([{"type": "tool_use", "id": "call_0", "name": "f", "input": {"a": 1}}])
    );
    let refused =
        json!({"choices": [{"finish_reason": "stop", "message": {"refusal": "no", "content": null}}]});
    let message = replied(Dialect::Chat, Dialect::Messages, &refused);
    assert_eq!((&message["stop_reason"], &message["content"][0]["text"]), (&json!("refusal"), &json!("no")));
    assert_eq!(message["usage"]["input_tokens"], 11, "the estimate, where nothing is said");
}

#[test]
fn replies_that_cannot_be_carried_are_failures() {
    let frame = Frame::default();
    let wrong = json!({"choices": [{"message": {"tool_calls": [{"id": "c", "function": {"name": "f",
        "arguments": "{"}}]}}]});
    for (arm, body) in [
        (Dialect::Chat, wrong.to_string()),
        (Dialect::Chat, "{}".to_owned()),
        (Dialect::Chat, "x".to_owned()),
        (Dialect::Messages, "{}".to_owned()),
    ] {
        let caller = if arm == Dialect::Chat { Dialect::Messages } else { Dialect::Chat };
        let failure = super::reply(arm, caller, body.as_bytes(), &frame).unwrap_err();
        assert_eq!(failure.kind, Kind::Malformed);
    }
}
