//! What surrounds every handler: request id, origin, key, rate, body, time limit, panic, count, log.

use crate::caller::{Allowance, Caller, Share};
use crate::error::{ApiError, Code};
use crate::http::body::{Room, has_body, too_slow};
use crate::http::connections::{Link, Phase, Tracked};
use crate::http::decision::Attribution;
use crate::http::endpoint::{Access, Endpoint, Endpoints, Kind};
use crate::http::error::in_shape;
use crate::http::extract::Began;
use crate::http::origin::{self, Names};
use crate::http::quota_headers;
use crate::http::rates::Rates;
use crate::live::metrics::{Metrics, Series, Stage};
use crate::live::quota::Quotas;
use crate::live::stages::panic_text;
use crate::log::{Level, Log};
use crate::settings::ServerConfig;
use crate::settings::keys::{KeyRecord, Keys, same_secret};
use arc_swap::ArcSwap;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use std::net::{IpAddr, Ipv4Addr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const OVERHEAD: HeaderName = HeaderName::from_static("x-router-overhead-ms");
/// Longest request id that is echoed.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// What the guard works with.
#[derive(Debug)]
pub(crate) struct Surroundings {
    pub(crate) config: Arc<ServerConfig>,
    pub(crate) endpoints: Endpoints,
    pub(crate) keys: Arc<ArcSwap<Keys>>,
    /// How often each caller may call.
    pub(crate) rates: Arc<Rates>,
    /// Requests and tokens a minute of each key.
    pub(crate) quotas: Arc<Quotas>,
    /// Memory of the bodies being received.
    pub(crate) bodies: Room,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) log: Log,
}

/// One listener's side of the guard.
#[derive(Debug, Clone)]
pub(crate) struct Guard {
    pub(crate) around: Arc<Surroundings>,
    pub(crate) admin: bool,
    /// Whether the listener is bound to a loopback address.
    pub(crate) is_local: bool,
}

/// Runs a request between its checks and its accounts.
pub(crate) async fn around(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let link =
        request.extensions().get::<ConnectInfo<Link>>().map(|ConnectInfo(Link(peer))| Arc::clone(peer));
    let enter = |phase| link.as_ref().iter().for_each(|peer| peer.enter(phase));
    enter(if has_body(request.headers(), request.body()) { Phase::Body } else { Phase::Answering });
    let id = request_id(request.headers());
    let found = guard.around.endpoints.find(request.uri().path());
    let (row, series) = found.map_or((None, None), |(row, series)| (Some(row), series));
    let origins = guard.origins();
    let permission = origin::permission(request.headers(), origins);
    let address = link.as_ref().map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |peer| peer.address);
    let mut response = match guard.preflight(row, &request, permission.is_some()) {
        Some(response) => response,
        None => match guard.identify(row, &request, address) {
            Ok(caller) => {
                let key = Arc::clone(&caller.allowance);
                let mut response = match guard.admit(row, &caller) {
                    Ok(()) => guard.run(request, next, row, caller, began, &enter).await,
                    Err(error) => error.into_response(),
                };
                if let Some(row) = row.filter(|row| row.kind == Kind::Answer) {
                    quota_headers::mark(response.headers_mut(), &guard.around.quotas, &key, row.shape);
                }
                response
            }
            Err(error) => error.into_response(),
        },
    };
    if let Some(row) = row {
        in_shape(&mut response, row.shape);
    }
    enter(Phase::Answering);
    if !origins.is_empty() {
        origin::grant(&mut response, permission);
    }
    account(&guard.around, (row, series), began.elapsed(), &id, &response);
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, id);
    if row.is_some_and(|row| row.kind == Kind::Decision) {
        let ms = format!("{:.3}", began.elapsed().as_secs_f64() * 1000.0);
        headers.extend(HeaderValue::try_from(ms).ok().map(|ms| (OVERHEAD, ms)));
    }
    match link {
        Some(peer) => response.map(|body| Body::new(Tracked::new(body, peer))),
        None => response,
    }
}

impl Guard {
    /// Origins whose pages may call this listener.
    fn origins(&self) -> &[String] {
        if self.admin { &[] } else { &self.around.config.cors_origins }
    }

    fn preflight(&self, row: Option<&Endpoint>, request: &Request, is_permitted: bool) -> Option<Response> {
        let method = row.filter(|_| is_permitted)?.method.to_uppercase();
        origin::preflight(request.method(), request.headers(), &method)
    }

    /// Who makes the request, where he may make it.
    fn identify(
        &self,
        row: Option<&Endpoint>,
        request: &Request,
        address: IpAddr,
    ) -> Result<Caller, ApiError> {
        let caller = Caller { share: Share::of_address(address), ..Caller::default() };
        match row.map_or(Access::Key, |row| row.access) {
            // Probes are cheap, and an orchestrator asks them by whatever name it likes.
            Access::Open => Ok(caller),
            Access::KeyUnlessOpened if self.around.config.metrics_open => Ok(caller),
            _ => {
                self.check_origin(request)?;
                self.authorize(request.headers(), caller)
            }
        }
    }

    /// Whether he may make it now.
    fn admit(&self, row: Option<&Endpoint>, caller: &Caller) -> Result<(), ApiError> {
        let config = &self.around.config;
        if self.admin || row.is_some_and(|row| row.access == Access::Open) {
            return Ok(());
        }
        if let Err(wait) = self.around.rates.admit(&caller.share, Instant::now()) {
            let rate = config.limits.rate_per_second;
            let message = format!("more than {rate} requests a second; try again later");
            let seconds = wait.as_secs_f64().ceil().max(1.0) as u64;
            return Err(ApiError { retry_after: Some(seconds), ..ApiError::new(Code::RateLimited, message) });
        }
        match row.is_some_and(|row| row.kind == Kind::Answer) {
            true => self.around.quotas.admit(&caller.allowance, Instant::now()),
            false => Ok(()),
        }
    }

    /// What a browser may be made to send is refused where no key would stop it, and always on the admin listener.
    fn check_origin(&self, request: &Request) -> Result<(), ApiError> {
        let keyless = !self.admin && !self.around.keys.load().required();
        if !self.admin && !keyless {
            return Ok(());
        }
        let hosts: &[String] = if self.admin { &[] } else { &self.around.config.hosts };
        let names = if self.is_local { Names::Local(hosts) } else { Names::Any };
        origin::check(request.method(), request.uri(), request.headers(), names, self.origins())?;
        if self.admin && has_body(request.headers(), request.body()) {
            return origin::demand_json(request.headers());
        }
        Ok(())
    }

    fn authorize(&self, headers: &HeaderMap, caller: Caller) -> Result<Caller, ApiError> {
        let config = &self.around.config;
        let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let bearer = bearer.and_then(|value| {
            let (scheme, key) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
        });
        let presented = bearer.or_else(|| headers.get("x-api-key").and_then(|value| value.to_str().ok()));
        let accepted = if self.admin {
            let Some(expected) = &config.admin_key else { return Ok(caller) };
            presented.map(|key| same_secret(key, expected).then_some(caller))
        } else {
            let keys = self.around.keys.load();
            if !keys.required() {
                return Ok(caller);
            }
            let known = |(record, allowance): (&KeyRecord, &Arc<Allowance>)| {
                let name: Arc<str> = record.name.as_str().into();
                let share = Share::Key(Arc::clone(&name));
                Caller { key: Some(name), share, allowance: Arc::clone(allowance) }
            };
            presented.map(|key| keys.opened(key).map(known))
        };
        let message = match accepted {
            Some(Some(caller)) => return Ok(caller),
            Some(None) => "the API key is not valid",
            None => {
                "no API key was given, expected `Authorization: Bearer sk-rw-...` or `x-api-key: sk-rw-...`"
            }
        };
        Err(ApiError::new(Code::InvalidApiKey, message))
    }

    /// Reads the body and runs the handler.
    async fn run(
        &self,
        request: Request,
        next: Next,
        row: Option<&Endpoint>,
        caller: Caller,
        began: Instant,
        enter: &impl Fn(Phase),
    ) -> Response {
        let limits = &self.around.config.limits;
        let (mut parts, body) = request.into_parts();
        let answers = row.is_some_and(|row| row.kind == Kind::Answer);
        let max = if answers { limits.answer_body_bytes_max } else { limits.body_bytes_max };
        let ms = limits.request_timeout_ms;
        let received = match self.around.bodies.receive(body, max, ms, began).await {
            Ok(received) => received,
            Err(error) => return error.into_response(),
        };
        enter(Phase::Answering);
        parts.extensions.insert(Began(began));
        parts.extensions.insert(caller);
        let request = Request::from_parts(parts, Body::from(received.bytes.clone()));
        // An answer has the deadlines of its ensemble, or of the models that are called for it.
        let ms = (!answers).then_some(limits.request_timeout_ms);
        caught(next.run(request), began, ms).await
    }
}

/// The caller's id where it is printable and short, else a fresh one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let usable = |id: &&HeaderValue| {
        !id.is_empty() && id.len() <= REQUEST_ID_BYTES_MAX && id.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    if let Some(id) = headers.get(REQUEST_ID).filter(usable) {
        return id.clone();
    }
    let mut buffer = [0_u8; uuid::fmt::Hyphenated::LENGTH];
    let fresh = crate::ids::fresh();
    let fresh = fresh.hyphenated().encode_lower(&mut buffer);
    HeaderValue::from_str(fresh).unwrap_or(HeaderValue::from_static("-"))
}

/// Runs a handler within the time limit; a panic becomes an error like any other.
async fn caught(handler: impl Future<Output = Response>, began: Instant, ms: Option<u64>) -> Response {
    let mut handler = Box::pin(handler);
    let caught = std::future::poll_fn(move |context| {
        // The handler is dropped after a panic, so nothing half-changed is seen again.
        match catch_unwind(AssertUnwindSafe(|| handler.as_mut().poll(context))) {
            Ok(poll) => poll,
            Err(panic) => {
                let inside = format!("a handler panicked: {}", panic_text(&*panic));
                std::task::Poll::Ready(ApiError::internal(inside).into_response())
            }
        }
    });
    let Some(ms) = ms else { return caught.await };
    let end = began.checked_add(Duration::from_millis(ms)).unwrap_or(began);
    match tokio::time::timeout_at(end.into(), caught).await {
        Ok(response) => response,
        Err(_) => too_slow(ms).into_response(),
    }
}

/// Counts and logs a request.
fn account(
    around: &Surroundings,
    (row, series): (Option<&Endpoint>, Series),
    took: Duration,
    id: &HeaderValue,
    response: &Response,
) {
    let error = response.extensions().get::<ApiError>();
    let decided = response.extensions().get::<Attribution>();
    let policy = decided.map(|decided| &*decided.policy);
    around.metrics.request(series, policy, error.map(|error| error.code));
    if let Some(policy) = policy {
        policy.stage(Stage::Total, took);
    }
    let inside = error.and_then(|error| error.inside.as_deref());
    let is_ours = |error: &ApiError| {
        matches!(
            error.code,
            Code::Internal | Code::FusionFailed | Code::UpstreamFailed | Code::UpstreamTimedOut
        )
    };
    let serious = error.is_some_and(is_ours);
    if serious || around.config.log_requests {
        let level = if serious { Level::Error } else { Level::Info };
        let fields = json!({
            "request_id": id.to_str().unwrap_or("-"),
            "endpoint": row.map_or("unknown", |row| row.label),
            "status": response.status().as_u16(),
            "code": error.map(|error| error.code.label()),
            "inside": inside,
            "policy": policy.map(|policy| policy.name()),
            "decision_id": decided.and_then(|decided| decided.decision_id.as_deref()),
            "model": decided.and_then(|decided| decided.model.as_deref()),
            "ms": took.as_secs_f64() * 1000.0,
        });
        around.log.event(level, "request", fields);
    }
}
