//! What a browser may be made to send: requests of pages of another origin, and under a name that leads elsewhere.
//!
//! A page of any site can make its visitor's browser post to this machine without asking first, and with a name that
//! it lets resolve to this machine (DNS rebinding) also read the reply. A key stops both; where none is asked for,
//! these rules do. Programs send neither `Origin` nor `Sec-Fetch-Site` and are not concerned.

use crate::error::{ApiError, Code};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, Uri, header};
use axum::response::{IntoResponse, Response};
use std::net::IpAddr;

/// Headers of replies that a page of another origin may read.
const EXPOSED: &str = "x-request-id, x-router-policy, x-router-model, x-router-decision-id, x-router-reason, \
                       x-router-overhead-ms, x-router-cost-usd, retry-after";
/// Seconds a browser may remember a permission.
const MAX_AGE: &str = "600";

/// Which names a listener is called by.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Names<'a> {
    /// Those of this machine, and these.
    Local(&'a [String]),
    /// Any: it is reachable under names that only its clients know.
    Any,
}

/// Refuses a request under a foreign name, and one that changes something for a page of another origin.
///
/// # Errors
/// If the host is none of the names, or the page is of another origin that is not in `origins`.
pub(crate) fn check(
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    names: Names<'_>,
    origins: &[String],
) -> Result<(), ApiError> {
    let refuse = |message: String| Err(ApiError::new(Code::ForeignOrigin, message));
    let hosts = || uri.authority().map(Authority::as_str).into_iter().chain(texts(headers, header::HOST));
    if let Names::Local(others) = names
        && let Some(host) = hosts().find(|host| !is_local(host, others))
    {
        return refuse(format!(
            "this server is not called `{host}`, expected a name of this machine or one of `server.hosts`"
        ));
    }
    if method == Method::GET || method == Method::HEAD {
        return Ok(());
    }
    let same = |origin: &str| {
        let of = origin.split_once("://").map_or("", |(_, of)| of);
        hosts().next().is_some_and(|host| host.eq_ignore_ascii_case(of))
    };
    let mut origin = texts(headers, header::ORIGIN);
    if let Some(origin) = origin.find(|origin| !same(origin) && !allows(origins, origin)) {
        return refuse(format!(
            "pages of `{origin}` may not call this server, expected an origin of `server.cors_origins`"
        ));
    }
    let named = headers.contains_key(header::ORIGIN);
    match texts(headers, header::HeaderName::from_static("sec-fetch-site"))
        .find(|site| !matches!(*site, "same-origin" | "none"))
    {
        Some(site) if !named => {
            refuse(format!("`sec-fetch-site` is `{site}`, expected a request of no other site"))
        }
        _ => Ok(()),
    }
}

/// Refuses a body that is not declared to be JSON, which no page can send to another origin without asking first.
///
/// # Errors
/// If the content type is another one, or missing.
pub(crate) fn demand_json(headers: &HeaderMap) -> Result<(), ApiError> {
    let kind = texts(headers, header::CONTENT_TYPE).next().unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let message = format!("the content type is `{kind}`, expected `application/json`");
    Err(ApiError::new(Code::MediaType, message).param("content-type"))
}

/// The permission for the origin of a request, where the configuration grants it.
pub(crate) fn permission(headers: &HeaderMap, origins: &[String]) -> Option<HeaderValue> {
    let origin = headers.get(header::ORIGIN)?;
    let granted = origin.to_str().is_ok_and(|origin| allows(origins, origin));
    granted.then(|| {
        if origins.iter().any(|any| any == "*") { HeaderValue::from_static("*") } else { origin.clone() }
    })
}

/// The reply to the question of a browser whether it may send a request, where it is one and is allowed.
pub(crate) fn preflight(method: &Method, headers: &HeaderMap, allowed: &str) -> Option<Response> {
    if method != Method::OPTIONS || !headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD) {
        return None;
    }
    let mut response = axum::http::StatusCode::NO_CONTENT.into_response();
    let out = response.headers_mut();
    out.extend(
        HeaderValue::try_from(allowed).ok().map(|value| (header::ACCESS_CONTROL_ALLOW_METHODS, value)),
    );
    let asked = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS).cloned();
    out.extend(asked.map(|value| (header::ACCESS_CONTROL_ALLOW_HEADERS, value)));
    out.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(MAX_AGE));
    Some(response)
}

/// Writes the permission on a reply; with any configured, a cache must know that replies depend on the origin.
pub(crate) fn grant(response: &mut Response, permission: Option<HeaderValue>) {
    let headers = response.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = permission {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
    }
}

fn allows(origins: &[String], origin: &str) -> bool {
    origins.iter().any(|known| known == "*" || known.eq_ignore_ascii_case(origin))
}

/// The values of a header; one that is no text is a text that fits nothing.
fn texts(headers: &HeaderMap, name: header::HeaderName) -> impl Iterator<Item = &str> {
    headers.get_all(name).into_iter().map(|value| value.to_str().unwrap_or("(unprintable)"))
}

/// Whether `host[:port]` names this machine, or is one of `others`.
fn is_local(host: &str, others: &[String]) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host().trim_end_matches('.').to_ascii_lowercase();
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    name == "localhost"
        || name.ends_with(".localhost")
        || address.is_ok_and(|address| address.to_canonical().is_loopback())
        || others.iter().any(|other| other.eq_ignore_ascii_case(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_name_that_is_not_of_this_machine_is_refused() {
        let named = ["router.internal".to_owned()];
        let ok = |host: &str, names| {
            check(&Method::GET, &Uri::from_static("/x"), &headers(&[("host", host)]), names, &[]).is_ok()
        };
        for host in [
            "localhost",
            "LOCALHOST:8081",
            "127.0.0.1:1",
            "127.9.9.9",
            "[::1]:8081",
            "a.localhost",
            "localhost.",
        ] {
            assert!(ok(host, Names::Local(&[])), "{host}");
        }
        for host in [
            "evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.1",
            "localhost.evil.example:80",
            "[::2]",
            "",
            "a b",
        ] {
            assert!(!ok(host, Names::Local(&[])), "{host}");
            assert!(ok(host, Names::Any), "{host}");
        }
        assert!(
            ok("router.internal:80", Names::Local(&named)) && !ok("router.internal:80", Names::Local(&[]))
        );
        let two = headers(&[("host", "localhost"), ("host", "evil.example")]);
        assert!(check(&Method::GET, &Uri::from_static("/x"), &two, Names::Local(&[]), &[]).is_err());
        let absolute = Uri::from_static("http://evil.example/x");
        let local = headers(&[("host", "localhost")]);
        assert!(check(&Method::GET, &absolute, &local, Names::Local(&[]), &[]).is_err());
    }

    #[test]
    fn a_page_of_another_origin_may_not_change_anything() {
        let known = ["https://app.example.com".to_owned()];
        let ok = |method: Method, more: &[(&'static str, &str)]| {
            let all: Vec<_> = [("host", "localhost:8081")].iter().chain(more).copied().collect();
            check(&method, &Uri::from_static("/x"), &headers(&all), Names::Local(&[]), &known).is_ok()
        };
        for (expected, more) in [
            (true, &[][..]),
            (true, &[("origin", "http://localhost:8081")]),
            (true, &[("origin", "https://app.example.com"), ("sec-fetch-site", "cross-site")]),
            (true, &[("sec-fetch-site", "same-origin")]),
            (true, &[("sec-fetch-site", "none")]),
            (false, &[("origin", "http://evil.example")]),
            (false, &[("origin", "null")]),
            (false, &[("origin", "http://localhost:3000")]),
            (false, &[("origin", "http://localhost:8081"), ("origin", "http://evil.example")]),
            (false, &[("sec-fetch-site", "cross-site")]),
            (false, &[("sec-fetch-site", "same-site")]),
        ] {
            assert_eq!(ok(Method::POST, more), expected, "{more:?}");
            assert!(ok(Method::GET, more), "what is only read stays unreadable for the page: {more:?}");
        }
    }

    #[test]
    fn only_json_is_json() {
        for (kind, expected) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("text/plain", false),
            ("application/x-www-form-urlencoded", false),
            ("application/jsonp", false),
        ] {
            assert_eq!(demand_json(&headers(&[("content-type", kind)])).is_ok(), expected, "{kind}");
        }
        assert!(demand_json(&HeaderMap::new()).is_err());
    }
}
