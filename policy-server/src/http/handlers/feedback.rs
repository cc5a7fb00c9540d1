//! `POST /v1/feedback`: what became of decisions, one as JSON or many as NDJSON; on disk before it is confirmed.

use crate::caller::Caller;
use crate::clock::now_ms;
use crate::error::{ApiError, Code};
use crate::http::endpoint::Endpoint;
use crate::http::extract::{Logged, Raw};
use crate::http::offload::Offload;
use crate::http::rates::Rates;
use crate::http::reply::{json, text};
use crate::http::wire::{self, Body, ErrorBody, FeedbackLine, FeedbackReply, FeedbackRequest};
use crate::ledger::meter::FeedbackStatus;
use crate::ledger::{FeedbackRecord, Ledger, Measure, Receipt};
use crate::live::InService;
use crate::settings::{Limits, MetricConfig, StoreConfig};
use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use routewright_data::names;
use routewright_data::suggest::near_names;
use std::collections::BTreeSet;
use std::sync::Arc;

pub(crate) const ENDPOINT: Endpoint = Endpoint {
    request: Some(Body::of::<FeedbackRequest>()),
    reply: Some(Body::of::<FeedbackReply<'static>>()),
    line: Some(Body::of::<FeedbackLine<'static>>()),
    // Repeated feedback is only confirmed.
    accepted: Some("accepted, and on disk"),
    errors: &[
        Code::BatchTooLarge,
        Code::DecisionNotFound,
        Code::DecisionExpired,
        Code::ForeignDecision,
        Code::FeedbackConflict,
        Code::UnknownMetric,
        Code::UnknownSource,
        Code::UnknownModel,
        Code::ValueOutOfRange,
        Code::NoStore,
        Code::StoreUnavailable,
    ],
    ..Endpoint::post("/v1/feedback", "Report what became of a decision; with NDJSON, of many", || {
        post(handle)
    })
};

const NDJSON: &str = "application/x-ndjson";
/// Who reports where no source is named.
const DEFAULT_SOURCE: &str = "user";
/// Metrics of comparisons that name none; they need no declaration.
const COMPARISONS: [&str; 2] = ["preference", "ranking"];
/// Earliest time that is believed, 2001-01-01 UTC: what is before it was given in seconds.
const OCCURRED_MS_MIN: i64 = 978_307_200_000;
/// How far a clock of a caller may be ahead, milliseconds.
const AHEAD_MS_MAX: i64 = 24 * 3600 * 1000;
/// Dearest call that is believed, US dollars.
const COST_USD_MAX: f64 = 1e6;
const LATENCY_MS_MAX: f64 = 1e9;

/// Reads reports for one caller.
#[derive(Debug, Clone)]
struct Reader {
    ledger: Arc<Ledger>,
    live: Arc<InService>,
    caller: Caller,
}

#[expect(clippy::too_many_arguments, reason = "a handler names each part that it uses")]
async fn handle(
    State(live): State<Arc<InService>>,
    State(limits): State<Limits>,
    State(rates): State<Arc<Rates>>,
    State(offload): State<Offload>,
    Extension(caller): Extension<Caller>,
    Logged(ledger): Logged,
    headers: HeaderMap,
    Raw(body): Raw,
) -> Result<Response, ApiError> {
    let reader = Reader { ledger, live, caller };
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(NDJSON)) {
        return one(reader, &offload, body).await;
    }
    let (found, max) = (lines(&body).count(), limits.feedback_batch_max);
    if found > max {
        let message = format!("the body has {found} lines, expected at most {max}");
        return Err(ApiError::new(Code::BatchTooLarge, message));
    }
    rates.charge(&reader.caller.share, found.saturating_sub(1));
    many(reader, &offload, body).await
}

/// The lines of a body that hold something.
fn lines(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    body.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty())
}

/// Decision and key of a report, which its receipt is matched with.
type Said = (String, String);

fn said(record: &FeedbackRecord) -> Said {
    (record.decision_id.clone(), record.key.clone())
}

async fn one(reader: Reader, offload: &Offload, body: Bytes) -> Result<Response, ApiError> {
    let ledger = Arc::clone(&reader.ledger);
    let record = offload.run(body.len(), move || reader.read(&body)).await??;
    let said = said(&record);
    let receipts = ledger.feedback(vec![record]).await?;
    let missing = || ApiError::internal("feedback got no receipt");
    let reply = outcome(&ledger, &said, *receipts.first().ok_or_else(missing)?)?;
    let mut response = json(&reply)?;
    *response.status_mut() = StatusCode::from_u16(status(&reply)).unwrap_or(StatusCode::OK);
    Ok(response)
}

/// All lines that can be read go into one group; each line has its own result.
async fn many(reader: Reader, offload: &Offload, body: Bytes) -> Result<Response, ApiError> {
    let (n_bytes, ledger) = (body.len(), Arc::clone(&reader.ledger));
    let read = move || {
        let mut records = Vec::new();
        let lines = lines(&body).map(|line| {
            let record = reader.read(line)?;
            let said = said(&record);
            records.push(record);
            Ok(said)
        });
        (lines.collect::<Vec<Result<Said, ApiError>>>(), records)
    };
    let (lines, records) = offload.run(n_bytes, read).await?;
    let receipts = if records.is_empty() { Vec::new() } else { ledger.feedback(records).await? };
    let out = offload.run(n_bytes, move || results(&ledger, &lines, receipts)).await??;
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static(NDJSON))], out).into_response())
}

/// The result of every line, one a line; the lines that were read have a receipt each.
fn results(
    ledger: &Ledger,
    lines: &[Result<Said, ApiError>],
    receipts: Vec<Receipt>,
) -> Result<String, ApiError> {
    let mut receipts = receipts.into_iter();
    let mut out = String::new();
    for line in lines {
        let result = line.as_ref().map_err(Clone::clone).and_then(|said| {
            let missing = || ApiError::internal("feedback got no receipt");
            outcome(ledger, said, receipts.next().ok_or_else(missing)?)
        });
        let line = match &result {
            Ok(reply) => FeedbackLine { status: status(reply), reply: Some(reply), error: None },
            Err(error) => {
                let status = error.code.status();
                FeedbackLine { status, reply: None, error: Some(ErrorBody::of(error).error) }
            }
        };
        out.push_str(&text(&line)?);
        out.push('\n');
    }
    Ok(out)
}

impl Reader {
    /// Reads one report; what is refused here is counted here, the rest where it is appended.
    fn read(&self, body: &[u8]) -> Result<FeedbackRecord, ApiError> {
        let read = wire::parse(body).and_then(|request| {
            let record = record(self.ledger.config(), &self.caller, request)?;
            compared(&self.live, &record)?;
            Ok(record)
        });
        read.inspect_err(|_| self.ledger.meter().feedback(None, FeedbackStatus::Refused))
    }
}

fn status(reply: &FeedbackReply<'_>) -> u16 {
    if reply.status == "duplicate" { 200 } else { 202 }
}

/// What a receipt means to the caller.
fn outcome<'a>(
    ledger: &Ledger,
    (decision_id, key): &'a (String, String),
    receipt: Receipt,
) -> Result<FeedbackReply<'a>, ApiError> {
    let refuse = |code, message: String, param: &str| Err(ApiError::new(code, message).param(param));
    let (status, late) = match receipt {
        Receipt::Accepted { late } => ("accepted", Some(late)),
        Receipt::Duplicate => ("duplicate", None),
        Receipt::Conflict => {
            let message = format!("`idempotency_key` `{key}` was used for other content; give another key");
            return refuse(Code::FeedbackConflict, message, "idempotency_key");
        }
        Receipt::Foreign => {
            let message = format!("decision `{decision_id}` was made for another key");
            return refuse(Code::ForeignDecision, message, "decision_id");
        }
        Receipt::UnknownDecision if ledger.has_expired(decision_id) => {
            let days = ledger.config().retention_days;
            let message = format!("decision `{decision_id}` is older than the {days} days that are kept");
            return refuse(Code::DecisionExpired, message, "decision_id");
        }
        Receipt::UnknownDecision => {
            let message = format!("unknown decision `{decision_id}`, expected the `id` of a logged decision");
            return refuse(Code::DecisionNotFound, message, "decision_id");
        }
    };
    Ok(FeedbackReply { object: "feedback", status, decision_id, idempotency_key: key, late })
}

/// Checks a request and makes the record of it.
fn record(
    config: &StoreConfig,
    caller: &Caller,
    request: FeedbackRequest,
) -> Result<FeedbackRecord, ApiError> {
    let source = request.source.clone().unwrap_or_else(|| DEFAULT_SOURCE.to_owned());
    for (param, text) in [
        ("decision_id", Some(&request.decision_id)),
        ("idempotency_key", request.idempotency_key.as_ref()),
        ("source", Some(&source)),
        ("metric", request.metric.as_ref()),
    ] {
        if let Some(Err(why)) = text.map(|text| names::check(text)) {
            return invalid(param, &why.to_string());
        }
    }
    let received_at_ms = now_ms();
    occurred(request.occurred_at, received_at_ms)?;
    let metric = metric_of(&request)?;
    let measure = measure(config, metric.as_deref(), &request)?;
    for (param, value, max) in
        [("cost_usd", request.cost_usd, COST_USD_MAX), ("latency_ms", request.latency_ms, LATENCY_MS_MAX)]
    {
        if let Some(value) = value.filter(|value| !(0.0..=max).contains(value)) {
            let message = format!("`{param}` is `{value}`, expected a number in [0, {max}]");
            return Err(ApiError::new(Code::ValueOutOfRange, message).param(param));
        }
    }
    if measure.is_none() && request.cost_usd.is_none() && request.latency_ms.is_none() && !request.activation
    {
        return invalid("metric", "is missing, and so are `cost_usd`, `latency_ms` and `activation`");
    }
    let weight = trust(config, metric.as_deref(), &source)?;
    let declared = metric.as_ref().and_then(|name| config.metrics.get(name));
    let compares = measure.as_ref().is_some_and(Measure::compares);
    let scale = declared.filter(|_| compares).map(|metric| metric.scale());
    let key = request.idempotency_key.unwrap_or_else(|| {
        let parts = [request.decision_id.as_str(), metric.as_deref().unwrap_or_default(), &source];
        // The separator stands in no id, so that no two triples share a text.
        blake3::hash(parts.join("\u{0}").as_bytes()).to_hex()[..32].to_owned()
    });
    Ok(FeedbackRecord {
        key,
        decision_id: request.decision_id,
        metric,
        measure,
        source,
        weight,
        occurred_at_ms: request.occurred_at,
        received_at_ms,
        // A loss of 0 and a win of 1 need no words.
        scale: scale.filter(|scale| *scale != [0.0, 1.0]),
        source_is_declared: declared.is_some_and(|metric| !metric.sources.is_empty()),
        cost_usd: request.cost_usd,
        latency_ms: request.latency_ms,
        activation: request.activation,
        tenant: caller.key.as_deref().map(str::to_owned),
        ..FeedbackRecord::default()
    })
}

/// Refuses a time that cannot be meant. A bill is corrected by later ones, so one from the far future would hold for
/// ever.
fn occurred(at_ms: Option<i64>, now_ms: i64) -> Result<(), ApiError> {
    let most = now_ms.saturating_add(AHEAD_MS_MAX);
    let Some(at_ms) = at_ms.filter(|at_ms| !(OCCURRED_MS_MIN..=most).contains(at_ms)) else { return Ok(()) };
    let message = format!(
        "`occurred_at` is `{at_ms}`, expected milliseconds since 1970-01-01 UTC, from 2001 to a day from now: \
         [{OCCURRED_MS_MIN}, {most}]"
    );
    Err(ApiError::new(Code::ValueOutOfRange, message).param("occurred_at"))
}

/// Refuses a comparison of models that are no arms of a policy in service.
fn compared(live: &InService, record: &FeedbackRecord) -> Result<(), ApiError> {
    let (param, models) = match &record.measure {
        Some(Measure::Preference { winner, loser }) => ("preference", vec![winner, loser]),
        Some(Measure::Ranking(models)) => ("ranking", models.iter().collect()),
        Some(Measure::Value(_)) | None => return Ok(()),
    };
    // What is no name is not repeated in an error.
    if let Some(Err(why)) = models.iter().map(|model| names::check(model)).find(Result::is_err) {
        return invalid(param, &format!("names a model that {why}"));
    }
    let live = live.load();
    let beside = live.challengers.values().flat_map(|beside| {
        let canary = beside.canary.iter().map(|canary| &canary.served);
        canary.chain(beside.shadows.iter().map(|shadow| &shadow.served))
    });
    let served = live.policies.values().chain(beside);
    // Arms that were removed while it served are still arms of a policy: reports on them may come late.
    let arms = served.flat_map(|served| served.policy.arms.iter().map(|arm| arm.model.as_str()));
    let arms: BTreeSet<&str> = arms.collect();
    match models.into_iter().find(|model| !arms.contains(model.as_str())) {
        Some(unknown) => {
            let hint = near_names(unknown, arms.iter().copied());
            let message = format!("unknown model `{unknown}`; {hint}");
            Err(ApiError::new(Code::UnknownModel, message).param(param))
        }
        None => Ok(()),
    }
}

fn invalid<T>(param: &str, what: &str) -> Result<T, ApiError> {
    Err(ApiError::new(Code::InvalidRequest, format!("`{param}` {what}")).param(param))
}

/// The metric named; comparisons need no name.
fn metric_of(request: &FeedbackRequest) -> Result<Option<String>, ApiError> {
    let given = [request.value.is_some(), request.preference.is_some(), request.ranking.is_some()];
    match (given.iter().filter(|given| **given).count(), &request.metric) {
        (2.., _) => invalid("value", "must stand alone: give one of `value`, `preference` and `ranking`"),
        (0, Some(_)) => invalid("value", "is missing: a metric needs `value`, `preference` or `ranking`"),
        (1, None) if request.value.is_some() => {
            invalid("metric", "is missing: `value` needs the name of the metric that it is a value of")
        }
        (1, None) => Ok(Some(if given[1] { "preference" } else { "ranking" }.to_owned())),
        (_, metric) => Ok(metric.clone()),
    }
}

fn measure(
    config: &StoreConfig,
    metric: Option<&str>,
    request: &FeedbackRequest,
) -> Result<Option<Measure>, ApiError> {
    if let Some(name) = metric.filter(|_| request.preference.is_some() || request.ranking.is_some()) {
        declared(config, name).map(|_| ()).or_else(|error| match COMPARISONS.contains(&name) {
            true => Ok(()),
            false => Err(error),
        })?;
    }
    if let Some(preference) = &request.preference {
        let (winner, loser) = (preference.winner.clone(), preference.loser.clone());
        if winner == loser || winner.is_empty() || loser.is_empty() {
            return invalid("preference", "must name two models, `winner` and `loser`");
        }
        return Ok(Some(Measure::Preference { winner, loser }));
    }
    if let Some(ranking) = &request.ranking {
        let mut names: Vec<&String> = ranking.iter().collect();
        names.sort_unstable();
        if names.len() < 2 || names.windows(2).any(|pair| pair[0] == pair[1]) {
            return invalid("ranking", "must name at least two models, each once, the best first");
        }
        return Ok(Some(Measure::Ranking(ranking.clone())));
    }
    let (Some(name), Some(value)) = (metric, request.value) else { return Ok(None) };
    let [lo, hi] = declared(config, name)?.range;
    // NaN fails this test too.
    if !(lo..=hi).contains(&value) {
        let message = format!("`value` is `{value}`, expected a number in [{lo}, {hi}] for metric `{name}`");
        return Err(ApiError::new(Code::ValueOutOfRange, message).param("value"));
    }
    Ok(Some(Measure::Value(value)))
}

/// The section of a metric.
fn declared<'a>(config: &'a StoreConfig, name: &str) -> Result<&'a MetricConfig, ApiError> {
    config.metrics.get(name).ok_or_else(|| {
        let hint = near_names(name, config.metrics.keys().map(String::as_str));
        ApiError::new(Code::UnknownMetric, format!("unknown metric `{name}`; {hint}")).param("metric")
    })
}

/// How far the metric trusts the source.
fn trust(config: &StoreConfig, metric: Option<&str>, source: &str) -> Result<f32, ApiError> {
    let sources = metric.and_then(|name| config.metrics.get(name)).map(|metric| &metric.sources);
    let Some(sources) = sources.filter(|sources| !sources.is_empty()) else { return Ok(1.0) };
    sources.get(source).copied().ok_or_else(|| {
        let hint = near_names(source, sources.keys().map(String::as_str));
        let message = format!("source `{source}` may not report this metric; {hint}");
        ApiError::new(Code::UnknownSource, message).param("source")
    })
}
