//! Everything a server can do wrong: an error that says what, or an answer without the member.

use crate::server::{Reply, serve};
use crate::speak::speak;
use crate::{member, model, tokenizer_file};
use routewright_data::rng;
use routewright_decoder::backend::{Backend, BackendError, Draft, Stop};
use routewright_decoder::fuse::{answer, find};
use routewright_decoder::generation::{Ask, FuseError, OnFailure};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

fn llama(top: &Value) -> Reply {
    let row = json!({"id": 3, "token": "a", "bytes": [97], "logprob": -0.1, "top_logprobs": top});
    Reply::Json(json!({"content": "a", "stop_type": "limit", "completion_probabilities": [row]}))
}

fn candidate(id: u32, token: &str, p: Value) -> Value {
    json!({"id": id, "token": token, "bytes": token.as_bytes(), "logprob": p})
}

/// What asking for the next token ends with.
fn next(
    dialect: &str,
    more: &Value,
    reply: impl Fn(usize) -> Reply + Send + Sync + 'static,
) -> (String, usize) {
    let dir = tempfile::tempdir().unwrap();
    let file = tokenizer_file(dir.path(), "tokenizer.vocab", &[]);
    let (url, seen) = serve(move |_, number| reply(number));
    let mut settings = json!({"timeout_ms": 300, "attempts": 2});
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let far = member(&url, dialect, Some(&file), &settings).unwrap();
    let told = far.open(b"once", &Stop::default()).unwrap().next();
    let said = told.map_or_else(|error| error.to_string(), |told| format!("{told:?}"));
    let asked = seen.requests.lock().unwrap().len();
    (said, asked)
}

#[test]
fn a_reply_that_is_none_is_named() {
    type Case = (&'static str, fn(usize) -> Reply, usize);
    let cases: &[Case] = &[
        (
            "status 400: it is too long",
            |_| Reply::Status(400, "", r#"{"error": {"message": "it is too long"}}"#.into()),
            1,
        ),
        ("status 404: nothing here", |_| Reply::Status(404, "", "nothing here".into()), 1),
        ("status 503: busy (2 tries)", |_| Reply::Status(503, "", "busy".into()), 2),
        ("not JSON", |_| Reply::Raw(b"<html>".to_vec()), 1),
        ("not JSON", |_| Reply::Raw(br#"{"completion_probabilities": [{"logprob": NaN}]}"#.to_vec()), 1),
        ("not UTF-8", |_| Reply::Raw(vec![b'"', 0xff, b'"']), 1),
        ("broke off its reply", |_| Reply::Short, 2),
        ("did not", |_| Reply::Hang(Duration::from_secs(3)), 2),
        ("its reply has no answer", |_| Reply::Json(json!({})), 1),
        ("no candidates", |_| Reply::Json(json!({"content": "a"})), 1),
        ("a list of tokens is accepted", |_| llama(&json!("a")), 1),
        ("without a log-probability", |_| llama(&json!([candidate(3, "a", Value::Null)])), 1),
        ("is no number", |_| llama(&json!([candidate(3, "a", json!("-inf"))])), 1),
        ("log-probability `0.5` is above 0", |_| llama(&json!([candidate(3, "a", json!(0.5))])), 1),
        (
            "sum to 1.8097",
            |_| llama(&json!([candidate(3, "a", json!(-0.1)), candidate(4, "b", json!(-0.1))])),
            1,
        ),
        (
            "listed twice",
            |_| llama(&json!([candidate(3, "a", json!(-2.0)), candidate(3, "a", json!(-2.0))])),
            1,
        ),
        ("told token 3 `b`", |_| llama(&json!([candidate(3, "b", json!(-1.0))])), 1),
        ("told token 900 `a`", |_| llama(&json!([candidate(900, "a", json!(-1.0))])), 1),
    ];
    for (expected, reply, tries) in cases {
        let (said, asked) = next("llama-cpp", &json!({}), *reply);
        let stalls = *expected == "did not";
        let named = said.contains(expected)
            || (stalls && (said.contains("said nothing") || said.contains("timeout")));
        assert!(named, "{expected}: {said}");
        assert!(said.starts_with("model `far`"), "{said}");
        assert_eq!(asked, *tries, "{expected}: {said}");
    }
}

#[test]
fn what_can_be_made_good_is() {
    // A server that was busy, and one that lists in no order.
    let busy = |number| match number {
        1 => Reply::Status(429, "retry-after: 0\r\n", "slow down".into()),
        _ => llama(&json!([candidate(4, "b", json!(-3.0)), candidate(3, "a", json!(-0.1))])),
    };
    let (said, asked) = next("llama-cpp", &json!({}), busy);
    assert!(said.contains("entries: [(3, -0.1), (4, -3.0)]"), "{said}");
    assert_eq!(asked, 2);
    // Candidates by text: one that is no token, one that cannot be shown, two keys of one text.
    let reply = |_| {
        let top = r#"{"a": -1.0, "nonsense": -2.0, "": -2.5, "\ufffd": -2.6}"#;
        Reply::Raw(
            format!(r#"{{"choices": [{{"text": "a", "logprobs": {{"top_logprobs": [{top}]}}}}]}}"#)
                .into_bytes(),
        )
    };
    let (said, _) = next("openai", &json!({}), reply);
    assert!(said.contains("-1.0)]") && said.contains("rest: 0.632"), "{said}");
    let reply = |_| {
        let row = |token: &str, p: f32| json!({"token": token, "logprob": p});
        let top = json!([row("a", -1.0), row("a", -1.5)]);
        let first = json!({"token": "a", "logprob": -1.0, "top_logprobs": top});
        Reply::Json(json!({"choices": [{"message": {"content": "a"}, "logprobs": {"content": [first]}}]}))
    };
    let (said, _) = next("openai-chat", &json!({}), reply);
    // ln(e^-1 + e^-1.5)
    assert!(said.contains("(3, -0.52592"), "{said}");
}

#[test]
fn an_error_inside_a_reply_of_status_200_is_a_failure_with_its_text() {
    let draft = Draft { tokens: 4, stop: Vec::new(), temperature: 0.0, top_p: 1.0 };
    let write = |url: &str| {
        let far = member(url, "openai", None, &json!({"attempts": 1})).unwrap();
        let written = far.open(b"x", &Stop::default()).unwrap().write(&draft, &mut rng::stream(0, "x"));
        written.map_or_else(|error| error.to_string(), |written| String::from_utf8(written.text).unwrap())
    };
    let piece = |text: &str| json!({"choices": [{"text": text, "finish_reason": null}]});
    let end = json!({"choices": [{"text": "", "finish_reason": "stop"}]});
    let streams: Vec<(Vec<Value>, &str)> = vec![
        (
            vec![piece("a"), json!({"error": {"message": "CUDA out of memory", "code": 500}})],
            "CUDA out of memory",
        ),
        (vec![piece("a"), json!({"error": "CUDA out of memory"})], "CUDA out of memory"),
        (vec![json!({"object": "error", "message": "no such model", "code": 404})], "no such model"),
        (vec![json!({"error": {"code": 7}})], "{\"code\":7}"),
        (vec![json!({"choices": [], "usage": {"prompt_tokens": 3}})], "its stream has no answer"),
        (vec![piece("a"), json!({"error": null, "choices": [{"text": "b"}]}), end.clone()], "ab"),
        // Ended by `[DONE]` alone.
        (vec![piece("a")], "a"),
    ];
    for (events, says) in streams {
        let (url, _) = serve(move |_, _| Reply::Stream(events.clone(), Duration::ZERO));
        let said = write(&url);
        assert!(said.contains(says), "{said}");
    }
    // A stream that just ends is half an answer.
    let half = b"data: {\"choices\": [{\"text\": \"a\"}]}\n\n".to_vec();
    let (url, _) = serve(move |_, _| Reply::Raw(half.clone()));
    assert!(write(&url).contains("its stream broke off"), "{}", write(&url));
    // Whole replies.
    for (reply, says) in [
        (json!({"error": {"message": "Provider returned error", "code": 502}}), "Provider returned error"),
        (json!({"error": "Provider returned error"}), "Provider returned error"),
        (json!({"id": "x"}), "its reply has no answer: `{\"id\":\"x\"}`"),
    ] {
        let (said, _) = next("openai", &json!({}), move |_| Reply::Json(reply.clone()));
        assert!(said.contains(says), "{said}");
    }
}

#[test]
fn a_server_that_finds_a_text_too_long_is_full_not_broken() {
    let says = r#"{"error": {"message": "This model's maximum context length is 16 tokens.", "code": 400}}"#;
    let (url, _) = serve(move |_, _| Reply::Status(400, "", says.into()));
    let far = member(&url, "vllm", None, &json!({})).unwrap();
    let error = far.open(b"x", &Stop::default()).unwrap().next().unwrap_err();
    assert!(error.is_full(), "{error}");
    assert!(error.to_string().contains("maximum context length is 16"), "{error}");
}

#[test]
fn nobody_there_is_said_and_settings_are_checked() {
    let far = member("http://127.0.0.1:9", "openai", None, &json!({"attempts": 1})).unwrap();
    let error = far.open(b"x", &Stop::default()).unwrap().next().unwrap_err().to_string();
    assert!(error.contains("cannot be reached") && error.contains("127.0.0.1:9/v1/completions"), "{error}");
    let refused =
        |dialect: &str, url: &str, more: Value| member(url, dialect, None, &more).unwrap_err().to_string();
    for (error, expected) in [
        (refused("vlm", "http://a", json!({})), "there is no dialect `vlm`"),
        (refused("vllm", "a:80", json!({})), "url `a:80` is not accepted"),
        (
            refused("openai", "http://a", json!({"top": 9})),
            "top `9` is not accepted; dialect `openai` tells 1 to 5",
        ),
        (
            refused("openai", "http://a", json!({"key_env": "ROUTEWRIGHT_NO_SUCH_KEY"})),
            "is not set in the environment",
        ),
        (refused("openai", "http://a", json!({"replay": "/nowhere/x"})), "cannot replay `/nowhere/x`"),
        (refused("openai", "http://a", json!({"timeout": 5})), "unknown field `timeout`"),
    ] {
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_key_is_sent_and_never_shown() {
    let variable = "PATH";
    let key = std::env::var(variable).unwrap();
    let (url, seen) = serve(|_, _| Reply::Status(401, "", "who are you".into()));
    let far =
        member(&url, "openai", None, &json!({"key_env": variable, "model": "big", "extra": {"user": "u"}}))
            .unwrap();
    let error = far.open(b"x", &Stop::default()).unwrap().next().unwrap_err().to_string();
    assert!(error.contains("status 401: who are you") && !error.contains(&key), "{error}");
    assert!(!format!("{far:?}").contains(&key));
    let request = seen.requests.lock().unwrap()[0].clone();
    assert!(request.headers.contains(&format!("authorization: bearer {}", key.to_lowercase())));
    assert_eq!((&request.body["model"], &request.body["user"]), (&json!("big"), &json!("u")));
}

#[test]
fn a_stream_that_is_cancelled_is_closed_and_one_that_breaks_is_named() {
    let event = json!({"choices": [{"text": "a", "finish_reason": null}]});
    let (url, seen) = serve(move |_, _| Reply::Endless(event.clone()));
    let far = member(&url, "openai", None, &json!({})).unwrap();
    let stop = Stop::default();
    let mut session = far.open(b"x", &stop).unwrap();
    let raised = stop.clone();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(150));
        raised.cancel();
    });
    let draft = Draft { tokens: 1000, stop: Vec::new(), temperature: 0.0, top_p: 1.0 };
    let since = Instant::now();
    let error = session.write(&draft, &mut rng::stream(0, "x")).unwrap_err();
    assert!(matches!(error, BackendError::Cancelled), "{error}");
    assert!(since.elapsed() < Duration::from_secs(5));
    let patience = Instant::now();
    while seen.left.load(Ordering::SeqCst) == 0 {
        assert!(patience.elapsed() < Duration::from_secs(10), "the server is still writing");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(seen.events.load(Ordering::SeqCst) > 1);

    let broken = json!({"error": {"message": "out of memory"}});
    let whole = json!({"choices": [{"text": "a"}]});
    let (url, seen) = serve(move |_, _| Reply::Stream(vec![whole.clone(), broken.clone()], Duration::ZERO));
    let far = member(&url, "openai", None, &json!({})).unwrap();
    let write = |far: &Arc<dyn Backend>| {
        far.open(b"x", &Stop::default()).unwrap().write(&draft, &mut rng::stream(0, "x")).unwrap_err()
    };
    let error = write(&far);
    assert!(error.to_string().contains("out of memory"), "{error}");
    assert_eq!(seen.requests.lock().unwrap().len(), 1, "what was begun is not begun again");

    let half = b"data: {\"choices\": [{\"text\": \"\xc3\"}]}\n\n".to_vec();
    let (url, _) = serve(move |_, _| Reply::Raw(half.clone()));
    let error = write(&member(&url, "openai", None, &json!({})).unwrap());
    assert!(error.to_string().contains("not UTF-8"), "{error}");
}

/// An answer of two members, one behind a server that fails at its third question.
fn fused(
    on_failure: OnFailure,
    fault: fn() -> Reply,
    stop: Stop,
) -> Result<(String, Vec<String>), FuseError> {
    let dir = tempfile::tempdir().unwrap();
    let file = tokenizer_file(dir.path(), "tokenizer.vocab", &[]);
    let near = model(&file);
    let served = near.clone();
    let (url, _) = serve(move |request, number| match number {
        1 | 2 => speak("sglang", &served, request),
        _ => fault(),
    });
    let far = member(&url, "sglang", Some(&file), &json!({"timeout_ms": 200, "attempts": 1})).unwrap();
    let members: [Arc<dyn Backend>; 2] = [far, near];
    let fuser = find("gac").unwrap().build(&json!({}), &members).unwrap();
    let mut ask = Ask::new(b"once");
    (ask.on_failure, ask.stop) = (on_failure, stop);
    let answer = answer(&*fuser, &members, ask, Box::new(|_| {}))?;
    let drops = answer.trace.drops().iter().map(|drop| format!("{} {}", drop.step, drop.reason)).collect();
    Ok((answer.text, drops))
}

#[test]
fn a_member_whose_server_fails_is_left_out_and_the_trace_says_so() {
    let faults: [fn() -> Reply; 3] = [
        || Reply::Hang(Duration::from_secs(2)),
        || Reply::Raw(b"{".to_vec()),
        || Reply::Status(500, "", "dead".into()),
    ];
    for fault in faults {
        let (text, drops) = fused(OnFailure::Drop, fault, Stop::default()).unwrap();
        assert_eq!(text, " upon a time, there was 1 caf\u{e9}.");
        assert_eq!(drops.len(), 1);
        assert!(drops[0].starts_with("2 model `far` failed"), "{drops:?}");
        let error = fused(OnFailure::Fail, fault, Stop::default()).unwrap_err();
        assert!(error.to_string().contains("model `far` failed"), "{error}");
    }
}

#[test]
fn no_answer_outlives_its_deadline() {
    let since = Instant::now();
    let stop = Stop::at(Some(since + Duration::from_millis(400)));
    let hang = || Reply::Hang(Duration::from_secs(20));
    let dir = tempfile::tempdir().unwrap();
    let file = tokenizer_file(dir.path(), "tokenizer.vocab", &[]);
    let (url, _) = serve(move |_, _| hang());
    let far = member(&url, "sglang", Some(&file), &json!({})).unwrap();
    let fuser = find("gac").unwrap().build(&json!({}), std::slice::from_ref(&far)).unwrap();
    let mut ask = Ask::new(b"once");
    ask.stop = stop;
    let error = answer(&*fuser, &[far], ask, Box::new(|_| {})).unwrap_err();
    assert!(error.to_string().contains("deadline") || error.to_string().contains("timeout"), "{error}");
    assert!(since.elapsed() < Duration::from_secs(10), "{:?}", since.elapsed());
}

#[test]
fn a_redirect_is_a_failure_and_is_not_followed() {
    for status in [301, 302, 303, 307, 308] {
        let (elsewhere, visits) = serve(|_, _| llama(&json!([candidate(3, "a", json!(-0.1))])));
        let location: &'static str = format!("location: {elsewhere}/completion\r\n").leak();
        let (said, asked) =
            next("llama-cpp", &json!({}), move |_| Reply::Status(status, location, "moved".into()));
        assert!(said.contains(&format!("status {status}: moved")), "{said}");
        assert_eq!(asked, 1, "{status}");
        assert!(visits.requests.lock().unwrap().is_empty(), "{status} was followed");
    }
}
