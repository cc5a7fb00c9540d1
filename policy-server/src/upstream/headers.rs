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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{ModelConfig, Secret};
    use crate::upstream::{Local, Upstreams};
    use rand::rngs::SmallRng;
    use rand::seq::IndexedRandom as _;
    use rand::{RngExt as _, SeedableRng as _};
    use std::collections::BTreeMap;
    use std::sync::Arc;

    fn local() -> Arc<Local> {
        Arc::new(Local::new(axum::Router::new()))
    }

    const NAMES: [&str; 18] = [
        "authorization",
        "x-api-key",
        "api-key",
        "x-goog-api-key",
        "cookie",
        "proxy-authorization",
        "host",
        "x-forwarded-for",
        "x-router-feedback",
        "openai-organization",
        "openai-project",
        "connection",
        "te",
        "expect",
        "content-length",
        "anthropic-beta",
        "anthropic-version",
        "openai-beta",
    ];

    /// A configuration of up to five arms, some of them at one address with different keys.
    fn models(random: &mut SmallRng) -> BTreeMap<String, ModelConfig> {
        let arm = |at: usize, random: &mut SmallRng| {
            let host = random.random_range(0..3);
            let dialect =
                if random.random_bool(0.5) { ModelDialect::Openai } else { ModelDialect::Anthropic };
            let secret = random.random_bool(0.8).then(|| Secret::new(format!("arm-secret-{at}-end")));
            let mut config =
                ModelConfig { dialect, secret, ..ModelConfig::at(format!("https://h{host}/v1")) };
            if random.random_bool(0.3) {
                config.headers.insert("x-team".to_owned(), format!("team-{at}-end"));
            }
            (format!("m{at}"), config)
        };
        (0..random.random_range(1..=5)).map(|at| arm(at, random)).collect()
    }

    #[test]
    fn an_arm_gets_its_own_credential_and_of_the_caller_what_the_list_has() {
        let mut random = SmallRng::seed_from_u64(1);
        for _ in 0..20_000 {
            let models = models(&mut random);
            let upstreams = Upstreams::open(&models, &local()).unwrap();
            let mut caller = HeaderMap::new();
            for _ in 0..random.random_range(0..8) {
                let name = *NAMES.choose(&mut random).unwrap();
                let value = if OUT.contains(&name) { "let-through" } else { "caller-secret" };
                caller.append(name, HeaderValue::from_static(value));
            }
            for (at, (name, config)) in models.iter().enumerate() {
                let headers = upstreams.find(name).unwrap().headers(&caller, random.random_bool(0.5));
                let text =
                    format!("{:?}", headers.iter().map(|(n, v)| (n, v.as_bytes())).collect::<Vec<_>>());
                let values: Vec<String> =
                    headers.values().map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned()).collect();
                let values = values.join("\n");
                assert!(!values.contains("caller-secret"), "{values}");
                for other in (0..5).filter(|other| *other != at) {
                    assert!(!values.contains(&format!("arm-secret-{other}-end")), "{values}");
                    assert!(!values.contains(&format!("team-{other}-end")), "{values}");
                }
                let own = values.matches(&format!("arm-secret-{at}-end")).count();
                assert_eq!(own, usize::from(config.secret.is_some()), "{text}");
                let place = match config.dialect {
                    ModelDialect::Openai => "authorization",
                    ModelDialect::Anthropic => "x-api-key",
                };
                assert_eq!(headers.contains_key(place), config.secret.is_some());
                let let_through: usize = OUT.iter().map(|name| caller.get_all(*name).iter().count()).sum();
                assert_eq!(values.matches("let-through").count(), let_through);
                let known = |name: &HeaderName| {
                    let of_ours =
                        ["accept", "accept-encoding", "content-type", "user-agent", "host", "x-team", place];
                    of_ours.contains(&name.as_str()) || OUT.contains(&name.as_str())
                };
                assert!(headers.keys().all(known), "{text}");
            }
        }
    }

    #[test]
    fn a_secret_is_never_shown() {
        let at = ModelConfig::at("https://a/v1");
        let config = ModelConfig { secret: Some(Secret::new("arm-secret")), ..at };
        let upstreams = Upstreams::open(&BTreeMap::from([("m".to_owned(), config)]), &local()).unwrap();
        let headers = upstreams.find("m").unwrap().headers(&HeaderMap::new(), false);
        for shown in [format!("{upstreams:?}"), format!("{headers:?}")] {
            assert!(!shown.contains("arm-secret"), "{shown}");
        }
    }
}
