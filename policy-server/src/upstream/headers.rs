//! Which headers go out to an arm and which come back.

use super::Upstream;
use crate::settings::ModelDialect;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

/// Headers of the caller that an arm gets; no other one does.
const OUT: [&str; 3] = ["anthropic-version", "anthropic-beta", "openai-beta"];
/// Headers of an arm that the caller gets as they are.
const BACK: [&str; 4] = ["content-type", "retry-after", "retry-after-ms", "x-should-retry"];
/// Where arms name their request.
const REQUEST_IDS: [&str; 2] = ["x-request-id", "request-id"];
/// Under which name the caller gets it.
const UPSTREAM_REQUEST_ID: HeaderName = HeaderName::from_static("x-router-upstream-request-id");
/// The version that is named where the caller names none.
const ANTHROPIC_VERSION: &str = "2023-06-01";
const USER_AGENT: &str = concat!("routewright/", env!("CARGO_PKG_VERSION"));

impl Upstream {
    /// The headers of a request to this arm: its own, its credential, and of the caller's those of the list.
    pub(super) fn headers(&self, caller: &HeaderMap, streams: bool) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for name in OUT {
            for value in caller.get_all(name) {
                headers.append(HeaderName::from_static(name), value.clone());
            }
        }
        for (name, value) in &self.config.headers {
            if let (Ok(name), Ok(value)) =
                (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value))
            {
                headers.insert(name, value);
            }
        }
        let accept = if streams { "text/event-stream" } else { "application/json" };
        headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
        // What comes is read on its way, so it may not be compressed.
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        if let Ok(host) = HeaderValue::from_str(&self.url.authority()) {
            headers.insert(header::HOST, host);
        }
        let secret = self.config.secret.as_ref().map(|secret| secret.reveal());
        let (name, value) = match self.config.dialect {
            ModelDialect::Openai => (header::AUTHORIZATION, secret.map(|secret| format!("Bearer {secret}"))),
            ModelDialect::Anthropic => {
                let version = HeaderName::from_static("anthropic-version");
                headers.entry(version).or_insert(HeaderValue::from_static(ANTHROPIC_VERSION));
                (HeaderName::from_static("x-api-key"), secret.map(str::to_owned))
            }
        };
        if let Some(mut value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        headers
    }
}

/// What of an arm's headers the caller gets.
pub(super) fn back(arm: &HeaderMap) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for name in BACK {
        if let Some(value) = arm.get(name) {
            headers.insert(HeaderName::from_static(name), value.clone());
        }
    }
    if let Some(id) = REQUEST_IDS.iter().find_map(|name| arm.get(*name)) {
        headers.insert(UPSTREAM_REQUEST_ID, id.clone());
    }
    headers
}
