//! The text of a query is a function of the request alone: of its dialect, its spelling and where it was kept.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use routewright_data::QueryText;
use routewright_data::query_text::{Conversation, Dialect, JOINED_BYTES_MAX, read, stored};
use serde_json::json;

/// One conversation in every dialect, and as gateways log it.
fn spellings() -> Vec<(Dialect, serde_json::Value)> {
    let turns = json!([
        { "role": "user", "content": "first" },
        { "role": "assistant", "content": "answer" },
        { "role": "user", "content": [
            { "type": "text", "text": "second" },
            { "type": "image_url", "image_url": { "url": "data:" } },
            { "type": "text", "text": "part" } ] },
    ]);
    let mut chat = turns.as_array().unwrap().clone();
    chat.insert(0, json!({ "role": "developer", "content": "rules" }));
    let input = json!([
        { "type": "message", "role": "user", "content": [{ "type": "input_text", "text": "first" }] },
        { "type": "reasoning", "summary": [] },
        { "role": "assistant", "content": [{ "type": "output_text", "text": "answer" }] },
        { "role": "user", "content": [
            { "type": "input_text", "text": "second" },
            { "type": "input_image", "image_url": "data:" },
            { "type": "input_text", "text": "part" } ] },
    ]);
    vec![
        (Dialect::OpenaiChat, json!({ "model": "auto", "tools": [{}], "messages": chat })),
        (Dialect::OpenaiResponses, json!({ "instructions": "rules", "input": input })),
        (Dialect::AnthropicMessages, json!({ "system": "rules", "messages": turns })),
        (
            Dialect::AnthropicMessages,
            json!({ "system": [{ "type": "text", "text": "rules", "cache_control": {} }], "messages": turns }),
        ),
    ]
}

#[test]
fn every_dialect_gives_the_same_text_by_every_rule() {
    for (dialect, body) in spellings() {
        let conversation = read(dialect, &body).unwrap();
        let text = |rule: QueryText| rule.text(&conversation).unwrap();
        assert_eq!(text(QueryText::Users), "first\n\nsecond\npart", "{body}");
        assert_eq!(text(QueryText::LastUser), "second\npart", "{body}");
        assert_eq!(text(QueryText::WithSystem), "rules\n\nfirst\n\nsecond\npart", "{body}");
        assert_eq!(text(QueryText::Full), "rules\n\nfirst\n\nanswer\n\nsecond\npart", "{body}");
        assert!(conversation.has_media, "{body}");
        // A log keeps the body as an object or as a text that holds it.
        assert_eq!(stored(&body).unwrap().unwrap(), conversation, "{body}");
        let held = json!({ dialect.field(): body[dialect.field()].to_string(), "system": body["system"],
            "instructions": body["instructions"] });
        assert_eq!(stored(&held).unwrap().unwrap(), conversation, "{held}");
    }
}

#[test]
fn roles_and_parts_have_many_names() {
    let text = |turns: serde_json::Value| {
        let conversation = stored(&turns).unwrap().unwrap();
        (QueryText::Users.text(&conversation), QueryText::Full.text(&conversation))
    };
    let some = |users: &str, full: &str| (Some(users.to_owned()), Some(full.to_owned()));
    for (turns, expected) in [
        (json!([{ "from": "human", "value": "q" }, { "from": "gpt", "value": "a" }]), some("q", "q\n\na")),
        (json!([{ "type": "human", "content": "q" }, { "type": "ai", "content": "a" }]), some("q", "q\n\na")),
        (json!([{ "content": "q" }]), some("q", "q")),
        (json!([{ "role": "User", "content": { "type": "text", "text": "q" } }]), some("q", "q")),
        (json!([{ "role": "user", "content": [{ "type": "text", "value": "q" }] }]), some("q", "q")),
        (json!([{ "role": "user", "content": [{ "text": { "value": "q" } }] }]), some("q", "q")),
        (json!([{ "role": "user", "content": ["q", "r"] }]), some("q\nr", "q\nr")),
        (json!({ "conversations": [{ "from": "human", "value": "q" }] }), some("q", "q")),
        (
            json!({ "input": { "system": "s", "messages": [{ "role": "user", "content": "q" }] } }),
            some("q", "s\n\nq"),
        ),
        (
            json!([{ "role": "user", "content": "q" }, { "role": "assistant", "content": null, "tool_calls": [] },
                   { "role": "tool", "content": "42" }, { "role": "critic", "content": "c" }]),
            some("q", "q\n\n42\n\nc"),
        ),
        (
            json!([{ "role": "user", "content": "q" }, { "type": "function_call", "arguments": "{}" },
                   { "type": "function_call_output", "output": "42" }]),
            some("q", "q\n\n42"),
        ),
        (
            json!([{ "role": "user", "content": "q" }, { "role": "user", "content": [
                { "type": "tool_result", "content": [{ "type": "text", "text": "42" }] }] }]),
            some("q", "q\n\n42"),
        ),
    ] {
        assert_eq!(text(turns.clone()), expected, "{turns}");
    }
}

#[test]
fn a_plain_text_is_its_own_text_by_every_rule_even_where_it_is_json() {
    for prompt in
        ["hello", " padded \n", "[1, 2]", "{\"a\": 1}", "[\"x\"]", "[not json", &"long ".repeat(9000)]
    {
        let kept = stored(&json!(prompt)).unwrap().unwrap();
        assert_eq!(kept, Conversation::of_text(prompt));
        for rule in QueryText::ALL {
            assert_eq!(rule.text(&kept).as_deref(), Some(prompt), "{rule}");
        }
    }
}

#[test]
fn where_the_whole_is_too_long_the_oldest_turns_are_left_out_whole() {
    let turn = |role: &str, letter: &str, n: usize| json!({ "role": role, "content": letter.repeat(n) });
    let third = JOINED_BYTES_MAX / 3;
    let turns = json!([
        turn("system", "s", 10),
        turn("user", "a", third),
        turn("user", "b", third),
        turn("assistant", "x", 100),
        turn("user", "c", third),
    ]);
    let conversation = stored(&turns).unwrap().unwrap();
    let lengths = |rule: QueryText| -> Vec<usize> {
        rule.text(&conversation).unwrap().split("\n\n").map(str::len).collect()
    };
    // Three thirds with two breaks between them are 3 bytes beyond the limit (16,384 = 3 * 5,461 + 1).
    assert_eq!(lengths(QueryText::Users), [third, third]);
    assert_eq!(lengths(QueryText::WithSystem), [10, third, third]);
    assert_eq!(lengths(QueryText::Full), [10, third, 100, third]);
    let exact = json!([turn("user", "a", 4), turn("user", "b", JOINED_BYTES_MAX - 6)]);
    let exact = QueryText::Users.text(&stored(&exact).unwrap().unwrap()).unwrap();
    assert_eq!((exact.len(), &exact[..6]), (JOINED_BYTES_MAX, "aaaa\n\n"));
    // An old turn that would fit again does not come back: the text has no hole.
    let hole = json!([turn("user", "a", 1), turn("user", "b", JOINED_BYTES_MAX), turn("user", "c", 1)]);
    assert_eq!(QueryText::Users.text(&stored(&hole).unwrap().unwrap()).unwrap(), "c");
    // The newest turn and the system prompt are kept whatever their length.
    let huge = json!([turn("system", "s", 20_000), turn("user", "a", 1), turn("user", "b", 20_000)]);
    let huge = QueryText::WithSystem.text(&stored(&huge).unwrap().unwrap()).unwrap();
    assert_eq!(huge.len(), 40_002);
}

#[test]
fn without_text_of_a_user_there_is_no_text() {
    let kept = |turns: serde_json::Value| stored(&turns).unwrap().unwrap();
    let image = kept(json!([{ "role": "system", "content": "s" },
        { "role": "user", "content": [{ "type": "image_url", "image_url": {} }] }]));
    assert!(image.has_media && QueryText::ALL.iter().all(|rule| rule.text(&image).is_none()));
    let calls = kept(json!([{ "role": "assistant", "content": "a" },
        { "role": "user", "content": [{ "type": "tool_result", "content": "42" }] }]));
    assert!(!calls.has_media && QueryText::Users.text(&calls).is_none());
    for nothing in [json!(null), json!({}), json!(7), json!({ "messages": {} }), json!({ "messages": "{}" })]
    {
        assert_eq!(stored(&nothing), Ok(None), "{nothing}");
    }
}

#[test]
fn what_is_no_turn_is_refused_with_its_field() {
    for (body, field) in [
        (json!({ "messages": [{ "role": "user", "content": 7 }] }), "messages[0].content"),
        (json!({ "messages": ["ok", 7] }), "messages[1]"),
        (json!({ "messages": [{ "role": 7, "content": "x" }] }), "messages[0].role"),
        (json!({ "messages": [{ "role": "user", "content": [null] }] }), "messages[0].content[0]"),
        (json!({ "messages": 7 }), "messages"),
        (json!({}), "messages"),
        (json!([]), "request"),
    ] {
        assert_eq!(read(Dialect::OpenaiChat, &body).unwrap_err().field, field, "{body}");
    }
}

#[test]
fn names_read_back() {
    for rule in QueryText::ALL {
        assert_eq!(rule.name().parse(), Ok(rule));
        assert_eq!(serde_json::to_value(rule).unwrap(), json!(rule.name()));
    }
    assert!("user".parse::<QueryText>().unwrap_err().contains("`last-user`"));
}
