use super::*;
use crate::dialect::corpus::requests;

fn body(text: &str) -> Body<'_> {
    Body::read(text.as_bytes()).unwrap()
}

/// What an edit makes, and that its parts, its length and its bytes agree and are JSON.
fn made(edit: &Edit<'_, '_>) -> String {
    let bytes = edit.bytes();
    let original = edit.body.bytes;
    let joined: Vec<u8> = edit
        .parts()
        .iter()
        .flat_map(|part| match part {
            Part::Kept(range) => original[range.clone()].to_vec(),
            Part::Put(text) => text.clone().into_bytes(),
        })
        .collect();
    assert_eq!(joined, bytes);
    assert_eq!(edit.length(), bytes.len());
    assert!(!edit.parts().contains(&Part::Put(String::new())));
    Value::read(&bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn without_rules_every_body_stays() {
    for (name, text) in requests() {
        let body = body(text);
        assert_eq!(made(&body.edit()), text, "{name}");
        let whole = body.edit().parts();
        assert!(whole == [Part::Kept(0..text.len())] || text.is_empty(), "{name}");
        assert_eq!(made(&body.edit().remove("not there").rename("nor this", "that")), text, "{name}");
    }
}

#[test]
fn nothing_but_the_range_of_the_model_changes() {
    let name = "vendor/näme \"1\"";
    for (shape, text) in requests() {
        let body = body(text);
        let made = made(&body.edit().model(name));
        match body.range("model") {
            Some(range) => {
                let expected = format!("{}{}{}", &text[..range.start], quoted(name), &text[range.end..]);
                assert_eq!(made, expected, "{shape}");
            }
            None => {
                // Ours alone was put in.
                let at = made.find("\"model\":").unwrap();
                let put = format!("\"model\":{}", quoted(name));
                let rest = made.replacen(&format!(",{put}"), "", 1).replacen(&put, "", 1);
                assert!(at > 0 && rest == text, "{shape}: {made}");
            }
        }
        assert_eq!(self::body(&made).model().unwrap(), name, "{shape}");
    }
}

#[test]
fn usage_is_asked_for_and_the_rest_stays() {
    for (shape, text) in requests() {
        let body = body(text);
        let made = made(&body.edit().include_usage());
        let new = self::body(&made);
        assert!(new.asks_for_usage(), "{shape}");
        for name in body.names().filter(|name| *name != "stream_options") {
            assert_eq!(new.get(name).map(Value::raw), body.get(name).map(Value::raw), "{shape}");
        }
        let kept =
            |body: &Body<'_>| body.get("stream_options").and_then(|v| v.get("include_obfuscation")).is_some();
        assert_eq!(kept(&body), kept(&new), "{shape}");
        if body.asks_for_usage() {
            assert_eq!(made, text, "{shape}");
        }
    }
    let by_hand = [
        (r#"{"stream_options":{}}"#, r#"{"stream_options":{"include_usage":true}}"#),
        (
            r#"{"stream_options": { "x" : 1 } , "a":2}"#,
            r#"{"stream_options": { "x" : 1,"include_usage":true } , "a":2}"#,
        ),
        (r#"{"stream_options":{"include_usage": null}}"#, r#"{"stream_options":{"include_usage": true}}"#),
        (r#"{"stream_options":7}"#, r#"{"stream_options":7}"#),
        ("{}", r#"{"stream_options":{"include_usage":true}}"#),
    ];
    for (text, expected) in by_hand {
        assert_eq!(made(&body(text).edit().include_usage()), expected);
    }
}

#[test]
fn fields_are_renamed_removed_and_added() {
    let text = r#"{"a":1, "max_tokens" : 5,"b" :2 ,"c":3}"#;
    let edit = body(text);
    assert_eq!(
        made(&edit.edit().rename("max_tokens", "max_completion_tokens")),
        r#"{"a":1, "max_completion_tokens" : 5,"b" :2 ,"c":3}"#
    );
    assert_eq!(made(&edit.edit().rename("max_tokens", "a")), text, "the new name is taken");
    assert_eq!(made(&edit.edit().remove("a")), r#"{"max_tokens" : 5,"b" :2 ,"c":3}"#);
    assert_eq!(made(&edit.edit().remove("c")), r#"{"a":1, "max_tokens" : 5,"b" :2}"#);
    assert_eq!(made(&edit.edit().remove("b").remove("c")), r#"{"a":1, "max_tokens" : 5}"#);
    assert_eq!(made(&edit.edit().remove("a").remove("b").remove("c").remove("max_tokens")), "{}");
    assert_eq!(
        made(&edit.edit().remove("c").set("d", "[]").set("a", "7")),
        r#"{"a":7, "max_tokens" : 5,"b" :2,"d":[]}"#
    );
    assert_eq!(
        made(&edit.edit().set("d", "1").set("d", "2")),
        r#"{"a":1, "max_tokens" : 5,"b" :2 ,"c":3,"d":2}"#
    );
    assert_eq!(made(&edit.edit().remove("b").set("b", "9")), r#"{"a":1, "max_tokens" : 5 ,"c":3,"b":9}"#);
}

#[test]
fn a_field_that_is_acted_upon_stands_once() {
    for field in ACTED_UPON {
        let escaped = format!("\\u{:04x}{}", u32::from(field.as_bytes()[0]), &field[1..]);
        for second in [field, escaped.as_str()] {
            let text = format!("{{\"{field}\":1,\"x\":{{\"{field}\":0}},\"{second}\":null}}");
            let error = Body::read(text.as_bytes()).unwrap_err();
            assert_eq!(error, BodyError::Twice(field), "{text}");
            assert!(error.to_string().contains(&format!("`{field}`")));
        }
    }
    assert!(Body::read(br#"{"x":1,"x":2,"model":"m"}"#).is_ok());
}

#[test]
fn what_is_no_object_is_refused_in_words() {
    for text in ["", "[]", "1", "\"{}\"", "{\"a\":}", "{} {}", "\u{feff}{}", "{\"a\":\"\n\"}"] {
        let error = Body::read(text.as_bytes()).unwrap_err();
        assert!(error.to_string().len() > 30, "{text}: {error}");
    }
    assert!(Body::read(b"{\"a\":\"\xc3\"}").is_err());
    assert!(Body::read(format!("{{\"a\":{}{}}}", "[".repeat(4000), "]".repeat(4000)).as_bytes()).is_err());
}

#[test]
fn fields_are_found_as_they_were_written() {
    let body = body(r#"{"mod\u0065l":"a\u002fb","stream":true,"x":null}"#);
    assert_eq!(body.model().unwrap(), "a/b");
    assert!(body.streams());
    assert!(body.get("x").is_none() && body.range("x").is_some());
    assert_eq!(&body.bytes[body.range("stream").unwrap()], b"true");
    for odd in [r#"{"stream":1}"#, r#"{"stream":"true"}"#, r#"{"stream":null}"#, r#"{"model":7}"#] {
        let body = self::body(odd);
        assert!(!body.streams() && body.model().is_none());
    }
}
