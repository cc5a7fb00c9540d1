//! Which session a request belongs to, by the names that clients and gateways give it.
//!
//! In order: the field `session_id` of `POST /v1/route`, the headers of [`HEADERS`], then the fields
//! `prompt_cache_key`, `metadata.session_id` and `previous_response_id` of the model request. The session is
//! returned with the decision and kept in its record, so that evaluations resample sessions whole; it influences
//! nothing but whether a canary decides.

use axum::http::HeaderMap;
use serde_json::Value;

/// Headers that name a session, the first present one wins.
pub(crate) const HEADERS: [&str; 5] = [
    "x-session-id",
    "x-conversation-id",
    "x-model-affinity",
    "x-litellm-session-id",
    "x-claude-code-session-id",
];
/// Fields of a model request that name a session, as JSON pointers.
const FIELDS: [&str; 3] = ["/prompt_cache_key", "/metadata/session_id", "/previous_response_id"];

/// The session that the headers name; an empty or unprintable name is none.
pub(crate) fn of_headers(headers: &HeaderMap) -> Option<String> {
    let named =
        |name: &&str| headers.get(*name)?.to_str().ok().filter(|id| !id.is_empty()).map(str::to_owned);
    HEADERS.iter().find_map(named)
}

/// The session that the body of a model request names.
pub(crate) fn of_body(body: &Value) -> Option<String> {
    let named = |at: &str| body.pointer(at)?.as_str().filter(|id| !id.is_empty()).map(str::to_owned);
    FIELDS.iter().find_map(|at| named(at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use serde_json::json;

    #[test]
    fn the_first_name_in_the_stated_order_wins() {
        let mut headers = HeaderMap::new();
        assert_eq!(of_headers(&headers), None);
        for name in HEADERS.iter().rev() {
            headers.insert(*name, HeaderValue::from_static(name));
            assert_eq!(of_headers(&headers).as_deref(), Some(*name));
        }
        headers.insert("x-session-id", HeaderValue::from_static(""));
        assert_eq!(of_headers(&headers).as_deref(), Some("x-conversation-id"));
        let body = json!({ "metadata": { "session_id": "m" }, "previous_response_id": "p" });
        assert_eq!(of_body(&body).as_deref(), Some("m"));
        assert_eq!(of_body(&json!({ "prompt_cache_key": 7, "metadata": null })), None);
    }
}
