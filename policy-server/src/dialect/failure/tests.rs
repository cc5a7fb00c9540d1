use super::*;

const REQUEST: &str = "invalid_request_error";

fn none(_: &str) -> Option<&'static str> {
    None
}

fn seen(status: u16, body: &str) -> Failure {
    of_status(status, &none, body.as_bytes(), 0)
}

fn openai(message: &str, kind: &str, code: &str) -> String {
    format!(r#"{{"error":{{"message":"{message}","type":"{kind}","param":null,"code":"{code}"}}}}"#)
}

fn anthropic(kind: &str, message: &str) -> String {
    format!(r#"{{"type":"error","error":{{"type":"{kind}","message":"{message}"}},"request_id":"req_1"}}"#)
}

/// Of each status and body: the kind, whether here again, whether elsewhere, and the status of the caller.
fn check(kind: Kind, here: bool, elsewhere: bool, cases: &[(u16, String, u16)]) {
    for (status, body, told) in cases {
        let failure = seen(*status, body);
        assert_eq!((failure.kind, failure.status), (kind, *status), "{body}");
        assert_eq!((failure.retries_here(), failure.falls_back()), (here, elsewhere), "{body}");
        assert_eq!(failure.problem().status, *told, "{body}");
        assert!(failure.problem().message.len() > 10, "{body}");
    }
}

#[test]
fn failures_of_the_request() {
    let invalid = [
        (400, openai("Invalid type for 'n'", REQUEST, "invalid_type"), 400),
        (422, r#"{"detail":[{"loc":["body"],"msg":"field required"}]}"#.to_owned(), 422),
    ];
    check(Kind::Invalid, false, false, &invalid);
    let unsupported = [
        (400, openai("Unsupported parameter: 'max_tokens'", REQUEST, "unsupported_parameter"), 400),
        (400, anthropic(REQUEST, "output_config.effort: Extra inputs are not permitted"), 400),
    ];
    check(Kind::Unsupported, false, true, &unsupported);
    let gemini = r#"[{"error":{"code":400,"status":"INVALID_ARGUMENT",
        "message":"The input token count (9) exceeds the maximum number of tokens allowed (8)."}}]"#;
    let vllm = r#"{"object":"error","message":"This model's maximum context length is 4096 tokens.",
        "type":"BadRequestError","code":400}"#;
    let llama =
        r#"{"error":{"code":500,"message":"the request exceeds","type":"exceed_context_size_error"}}"#;
    let context = [
        (400, String::new(), 400),
        (413, " \n".to_owned(), 400),
        (400, anthropic(REQUEST, "prompt is too long: 213462 tokens > 200000 maximum"), 400),
        (500, llama.to_owned(), 400),
        (400, gemini.to_owned(), 400),
        (400, vllm.to_owned(), 400),
    ];
    check(Kind::Context, false, true, &context);
    let large = anthropic("request_too_large", "Request exceeds the maximum size");
    check(Kind::TooLarge, false, true, &[(413, large, 413)]);
}

#[test]
fn failures_of_the_account() {
    let missing = openai("The model `x` does not exist", REQUEST, "model_not_found");
    check(Kind::NoModel, false, true, &[(404, missing, 502)]);
    let credential = [
        (401, openai("Incorrect API key provided: sk-ab", REQUEST, "invalid_api_key"), 502),
        (403, anthropic("permission_error", "no"), 502),
    ];
    check(Kind::Credential, false, true, &credential);
    let quota = [
        (402, String::new(), 503),
        (429, openai("You exceeded your current quota", "insufficient_quota", "insufficient_quota"), 503),
        (400, anthropic(REQUEST, "Your credit balance is too low to access the API"), 503),
    ];
    check(Kind::Quota, false, true, &quota);
    let tokens = "Request too large for model `x` on tokens per minute (TPM)";
    let rate = [
        (429, openai("Rate limit reached", "requests", "rate_limit_exceeded"), 429),
        (413, openai(tokens, "tokens", "rate_limit_exceeded"), 429),
    ];
    check(Kind::RateLimit, false, true, &rate);
}

#[test]
fn failures_of_the_server() {
    let gemini = r#"{"error":{"code":503,"message":"The model is overloaded.","status":"UNAVAILABLE"}}"#;
    let overloaded = [(529, anthropic("overloaded_error", "Overloaded"), 529), (503, gemini.to_owned(), 529)];
    check(Kind::Overloaded, false, true, &overloaded);
    let failed = [
        (500, openai("The server had an error", "server_error", ""), 502),
        (502, "<html>502 Bad Gateway</html>".to_owned(), 502),
        (503, String::new(), 503),
        (504, String::new(), 504),
        (408, String::new(), 504),
        (409, String::new(), 502),
    ];
    check(Kind::Server, true, true, &failed);
}

#[test]
fn what_names_the_operators_accounts_is_not_told() {
    let secret = "sk-secret9";
    for status in [401, 402, 403, 404, 429, 500, 503, 529] {
        let failure = seen(status, &openai(&format!("key {secret} of org-1"), "x", "y"));
        assert!(failure.message.contains(secret), "for the operator's log");
        assert!(!failure.problem().message.contains(secret) && !failure.passes_as_is(), "{status}");
    }
    assert!(seen(400, &openai("bad", "x", "y")).passes_as_is());
}

#[test]
fn waits_and_what_they_mean() {
    let failure = |status: u16, headers: &'static [(&'static str, &'static str)], body: &str| {
        let header = |name: &str| headers.iter().find(|(other, _)| *other == name).map(|(_, value)| *value);
        of_status(status, &header, body.as_bytes(), 0)
    };
    let soon = failure(429, &[("retry-after-ms", "300")], "");
    assert!(soon.retries_here() && soon.cooldown() == Cooldown::Arm(300));
    let later = failure(429, &[("retry-after", "7")], "");
    assert!(!later.retries_here() && later.cooldown() == Cooldown::Arm(7000));
    let unsaid = failure(429, &[], "");
    assert!(!unsaid.retries_here() && unsaid.cooldown() == Cooldown::Backoff(5000, 60_000));
    assert_eq!(failure(429, &[("retry-after", "999999")], "").wait_ms, Some(WAIT_MAX));
    assert!(!failure(500, &[("x-should-retry", "false")], "").retries_here());
    assert!(!failure(429, &[("x-should-retry", "false"), ("retry-after", "1")], "").retries_here());
    assert!(failure(529, &[("x-should-retry", "true")], "").retries_here());
    assert!(!failure(400, &[("x-should-retry", "true")], "{}").retries_here(), "it is the caller's");
    // A bucket's reset beside another failure.
    assert_eq!(failure(500, &[("x-ratelimit-reset-requests", "6m0s")], "").wait_ms, None);
    let of_a_day = failure(
        429,
        &[("x-ratelimit-remaining-tokens-day", "0"), ("x-ratelimit-reset-tokens-day", "40000")],
        "",
    );
    assert_eq!((of_a_day.kind, of_a_day.cooldown()), (Kind::Quota, Cooldown::Key(40_000_000)));
    let gemini = r#"{"error":{"code":429,"message":"m","status":"RESOURCE_EXHAUSTED","details":[
        {"@type":"type.googleapis.com/google.rpc.QuotaFailure",
         "violations":[{"quotaId":"RequestsPerDayPerProject"}]}]}}"#;
    assert_eq!(failure(429, &[], gemini).kind, Kind::Quota);
}

#[test]
fn replies_of_status_200_that_are_failures() {
    let kind = |dialect, body: &str| of_reply(dialect, body.as_bytes()).map(|failure| failure.kind);
    let chat = |body: &str| kind(Dialect::Chat, body);
    assert_eq!(chat(r#"{"choices":[{"finish_reason":"stop","message":{"content":"x"}}]}"#), None);
    assert_eq!(chat(r#"{"choices":[{"message":{"content":"x"}}],"error":null}"#), None);
    assert_eq!(chat(r#"{"choices":[{"finish_reason":"length","message":{"content":""}}]}"#), None);
    assert_eq!(chat(r#"{"choices":[{"message":{"tool_calls":[{"id":"c"}],"content":null}}]}"#), None);
    for nothing in
        ["", "x", "{}", r#"{"choices":[]}"#, r#"{"choices":[{"message":{"content":""}}]}"#, "[]", "null"]
    {
        assert_eq!(chat(nothing), Some(Kind::Malformed), "{nothing}");
    }
    assert_eq!(chat(r#"{"error":{"message":"Provider returned error","code":502}}"#), Some(Kind::Server));
    assert_eq!(chat(r#"{"error":{"message":"slow down","code":429},"choices":[]}"#), Some(Kind::RateLimit));
    assert_eq!(chat(r#"{"error":"it broke"}"#), Some(Kind::Server));
    assert_eq!(chat(r#"{"error":{"code":"context_length_exceeded","message":"m"}}"#), Some(Kind::Context));
    assert_eq!(
        chat(r#"{"choices":[{"finish_reason":"content_filter","message":{"content":""}}]}"#),
        Some(Kind::Refused)
    );
    assert_eq!(
        chat(r#"{"choices":[{"finish_reason":"stop","message":{"content":null,"refusal":"no"}}]}"#),
        Some(Kind::Refused)
    );
    let messages = |body: &str| kind(Dialect::Messages, body);
    assert_eq!(messages(r#"{"type":"message","content":[],"stop_reason":"end_turn"}"#), None);
    assert_eq!(messages(r#"{"type":"message","content":[],"stop_reason":"refusal"}"#), Some(Kind::Refused));
    assert_eq!(messages(r#"{"type":"message","content":[]}"#), Some(Kind::Malformed));
    assert_eq!(messages(&anthropic("overloaded_error", "x")), Some(Kind::Overloaded));
    let gemini = |body: &str| kind(Dialect::Gemini, body);
    assert_eq!(
        gemini(r#"{"candidates":[{"content":{"parts":[{"text":"x"}]},"finishReason":"STOP"}]}"#),
        None
    );
    assert_eq!(gemini(r#"{"promptFeedback":{"blockReason":"SAFETY"}}"#), Some(Kind::Refused));
    assert_eq!(gemini(r#"{"candidates":[{"finishReason":"SAFETY"}]}"#), Some(Kind::Refused));
    assert_eq!(
        gemini(r#"[{"error":{"code":429,"message":"m","status":"RESOURCE_EXHAUSTED"}}]"#),
        Some(Kind::RateLimit)
    );
    assert_eq!(gemini("{}"), Some(Kind::Malformed));
    assert_eq!(kind(Dialect::Responses, r#"{"output":[],"status":"completed","error":null}"#), None);
    assert_eq!(kind(Dialect::Embeddings, r#"{"data":[{"embedding":"AAAA"}]}"#), None);
    assert_eq!(kind(Dialect::Embeddings, r#"{"data":[]}"#), Some(Kind::Malformed));
}

#[test]
fn events_that_are_errors() {
    let cases = [
        (anthropic("overloaded_error", "Overloaded"), Kind::Overloaded),
        (anthropic("rate_limit_error", "x"), Kind::RateLimit),
        (openai("The server had an error", "server_error", ""), Kind::Server),
        (r#"{"type":"error","code":"rate_limit_exceeded","message":"m",
            "sequence_number":3}"#.to_owned(), Kind::RateLimit),
        (
            r#"{"type":"response.failed","response":{"status":"failed","error":{"code":"server_error","message":
                "m"}}}"#.to_owned(),
            Kind::Server,
        ),
        ("oops".to_owned(), Kind::Malformed),
        ("{}".to_owned(), Kind::Malformed),
    ];
    for (data, kind) in cases {
        assert_eq!(of_event(&data).kind, kind, "{data}");
    }
}

/// The keys that the clients of each vendor read.
#[test]
fn errors_have_the_shape_of_the_dialect() {
    let mut problem = Problem::new(429, "rate_limit_exceeded", "a \"b\"");
    problem.param = Some("model".to_owned());
    problem.request_id = Some("req_1".to_owned());
    assert_eq!(
        problem.body(Dialect::Chat),
        r#"{"error":{"message":"a \"b\"","type":"rate_limit_error","param":"model","code":"rate_limit_exceeded"}}"#
    );
    assert_eq!(
        problem.body(Dialect::Messages),
        r#"{"type":"error","error":{"type":"rate_limit_error","message":"a \"b\""},"request_id":"req_1"}"#
    );
    assert_eq!(
        problem.body(Dialect::Gemini),
        r#"{"error":{"code":429,"message":"a \"b\"","status":"RESOURCE_EXHAUSTED"}}"#
    );
    assert!(problem.event(Dialect::Messages, 0).starts_with("event: error\ndata: {\"type\":\"error\""));
    assert!(problem.event(Dialect::Chat, 0).starts_with("data: {\"error\":"));
    assert!(problem.event(Dialect::Responses, 7).contains("\"sequence_number\":7"));
    for status in [400, 401, 402, 403, 404, 408, 409, 413, 422, 429, 500, 502, 503, 504, 529] {
        let problem = Problem::new(status, "c", "m");
        for dialect in [Dialect::Chat, Dialect::Messages, Dialect::Gemini, Dialect::Responses] {
            assert!(Value::read(problem.body(dialect).as_bytes()).is_ok());
            // What is written as an error is read as one.
            let failure = of_reply(dialect, problem.body(dialect).as_bytes()).unwrap();
            assert_ne!(failure.kind, Kind::Malformed, "{status} {dialect:?}");
        }
    }
}
