//! The JSON twins: what crosses HTTP, and nothing else does. Their schema is `openapi_schemas.json`.

mod fusion;
mod learning;

pub(crate) use fusion::{Answering, Asked, ChatRequest, CompletionRequest, CompletionShape};
pub(crate) use learning::{DriftBody, KeySpendBody, LearningBody, LearningReply, ReporterBody, SpendBody};

use crate::error::{ApiError, Code};
use crate::http::conversation::{self, InputFormat};
use crate::ledger::ArmChange;
use crate::live::query::Query;
use routewright_data::names;
use routewright_data::suggest::near_names;
use routewright_policy::{Constraints, Objective};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::collections::BTreeMap;

/// Body of `POST /v1/route`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RouteRequest {
    #[serde(default)]
    pub(crate) input_format: Option<InputFormat>,
    #[serde(default)]
    pub(crate) request: Option<Value>,
    #[serde(default)]
    pub(crate) input: Option<String>,
    #[serde(default)]
    pub(crate) vector: Option<Vec<f32>>,
    #[serde(default)]
    pub(crate) policy: Option<String>,
    #[serde(default)]
    pub(crate) candidates: Option<Vec<String>>,
    #[serde(default)]
    pub(crate) objective: Option<ObjectiveBody>,
    #[serde(default)]
    pub(crate) constraints: Option<ConstraintsBody>,
    #[serde(default)]
    pub(crate) session_id: Option<String>,
    #[serde(default)]
    pub(crate) source: Option<String>,
    #[serde(default)]
    pub(crate) seed: Option<u64>,
    #[serde(default)]
    pub(crate) explain: Explain,
    #[serde(default)]
    pub(crate) dry_run: bool,
    #[serde(default)]
    pub(crate) deferred: bool,
}

/// Body of `POST /v1/weights`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WeightsRequest {
    #[serde(default)]
    pub(crate) policy: Option<String>,
    pub(crate) prompt: String,
    #[serde(default)]
    pub(crate) text: String,
    #[serde(default)]
    pub(crate) span: usize,
}

/// Reply of `POST /v1/weights`.
#[derive(Debug, Serialize)]
pub(crate) struct WeightsReply {
    pub(crate) policy: String,
    pub(crate) version: String,
    pub(crate) models: Vec<String>,
    pub(crate) weights: Vec<f32>,
    pub(crate) span: Option<Value>,
}

/// `objective` of a request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ObjectiveBody {
    #[serde(default = "one")]
    quality: f64,
    #[serde(default)]
    cost: f64,
    #[serde(default)]
    latency: f64,
}

fn one() -> f64 {
    1.0
}

/// `constraints` of a request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConstraintsBody {
    #[serde(default)]
    max_cost_usd: Option<f64>,
    #[serde(default)]
    max_latency_ms: Option<f64>,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    residency: Option<String>,
}

impl From<ConstraintsBody> for Constraints {
    /// `residency` is a tag like any other: an arm that lacks it is not eligible.
    fn from(body: ConstraintsBody) -> Self {
        let mut tags = body.tags;
        tags.extend(body.residency);
        Self { max_cost_usd: body.max_cost_usd, max_latency_ms: body.max_latency_ms, tags }
    }
}

impl RouteRequest {
    /// The query to decide on; `fresh_seed` is used where the caller gave none.
    ///
    /// # Errors
    /// If it has no input, two inputs, or no text can be extracted.
    pub(crate) fn into_query(self, fresh_seed: u64) -> Result<Query, ApiError> {
        let refuse = |reason: &str, param: &str| {
            Err(ApiError::new(Code::InvalidRequest, reason.to_owned()).param(param))
        };
        if let Some(Err(why)) = self.source.as_deref().map(names::check) {
            return refuse(&format!("`source` {why}"), "source");
        }
        let (text, conversation) = match (self.input, self.request) {
            (Some(_), Some(_)) => return refuse("give either `input` or `request`, not both", "input"),
            (Some(text), None) if text.is_empty() && self.vector.is_none() => {
                return refuse("`input` is empty, expected a text", "input");
            }
            (Some(text), None) => (text, None),
            (None, Some(body)) => {
                let format = self.input_format.unwrap_or_default();
                (String::new(), Some(conversation::read(format, &body)?))
            }
            (None, None) if self.vector.is_some() => (String::new(), None),
            (None, None) => {
                return refuse(
                    "nothing to route on: give `input` (text), `request` (a body with its \
                     `input_format`) or `vector` (numbers)",
                    "input",
                );
            }
        };
        let objective =
            self.objective.map(|o| Objective { quality: o.quality, cost: o.cost, latency: o.latency });
        Ok(Query {
            text,
            conversation,
            vector: self.vector,
            source: self.source,
            candidates: self.candidates,
            objective,
            constraints: self.constraints.map(Constraints::from).unwrap_or_default(),
            seed: self.seed.unwrap_or(fresh_seed),
            session_id: self.session_id,
            explain: self.explain,
            dry_run: self.dry_run,
            deferred: self.deferred,
            ..Query::default()
        })
    }
}

/// Body of `POST /v1/route/batch`; each entry is read on its own, so that one bad entry fails alone.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BatchRequest {
    pub(crate) requests: Vec<Value>,
}

/// `summary` of a batch: how many of its entries came to what.
#[derive(Debug, Serialize)]
pub(crate) struct BatchSummary {
    pub(crate) entries: usize,
    pub(crate) decided: usize,
    /// Those that the default arm answered.
    pub(crate) deadline_default: usize,
    /// Those that have an error.
    pub(crate) failed: usize,
}

/// Body of `POST /v1/feedback`, or a line of it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FeedbackRequest {
    pub(crate) decision_id: String,
    #[serde(default)]
    pub(crate) metric: Option<String>,
    #[serde(default)]
    pub(crate) value: Option<f64>,
    #[serde(default)]
    pub(crate) preference: Option<PreferenceBody>,
    #[serde(default)]
    pub(crate) ranking: Option<Vec<String>>,
    #[serde(default)]
    pub(crate) source: Option<String>,
    #[serde(default)]
    pub(crate) idempotency_key: Option<String>,
    /// Milliseconds since 1970.
    #[serde(default)]
    pub(crate) occurred_at: Option<i64>,
    #[serde(default)]
    pub(crate) cost_usd: Option<f64>,
    #[serde(default)]
    pub(crate) latency_ms: Option<f64>,
    #[serde(default)]
    pub(crate) activation: bool,
}

/// `preference` of feedback.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PreferenceBody {
    pub(crate) winner: String,
    pub(crate) loser: String,
}

/// Body of `POST /admin/v1/policies/reload`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReloadRequest {
    #[serde(default)]
    pub(crate) policy: Option<String>,
}

/// Body of `POST /admin/v1/promote`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PromoteRequest {
    pub(crate) policy: String,
    /// A state, or `rollback`.
    pub(crate) to: String,
    #[serde(default)]
    pub(crate) version: Option<String>,
    #[serde(default)]
    pub(crate) force: bool,
    #[serde(default)]
    pub(crate) reason: Option<String>,
}

/// Body of `POST /admin/v1/arms/change`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangeArmsRequest {
    pub(crate) policy: String,
    pub(crate) arms: BTreeMap<String, ArmChangeBody>,
}

/// What is said of one arm.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ArmChangeBody {
    cost_usd: Option<f64>,
    latency_ms: Option<f64>,
    tags: Option<Vec<String>>,
    quality: Option<f64>,
    weight: Option<f64>,
    removed: Option<bool>,
}

impl From<ArmChangeBody> for ArmChange {
    fn from(body: ArmChangeBody) -> Self {
        let ArmChangeBody { cost_usd, latency_ms, tags, quality, weight, removed } = body;
        Self { cost_usd, latency_ms, tags, quality, weight, removed }
    }
}

/// Reads a JSON body.
///
/// # Errors
/// If it is not JSON, or not what the type accepts: line, column and near field names are given.
pub(crate) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    // Editors and PowerShell put a byte order mark before the text.
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    if body.starts_with(&[0xff, 0xfe]) || body.starts_with(&[0xfe, 0xff]) {
        let message = "the body is UTF-16 (it begins with its byte order mark), expected UTF-8";
        return Err(ApiError::new(Code::InvalidJson, message));
    }
    // The derived readers also take an array of the fields in order; nobody was promised that.
    if body.trim_ascii_start().first() == Some(&b'[') {
        return Err(not_an_object());
    }
    check_containers(body)?;
    serde_json::from_slice(body).map_err(|error| json_error(&error))
}

/// Most objects and arrays in one body: each takes up to a kilobyte once it is read, whatever its two bytes.
const CONTAINERS_MAX: usize = 50_000;

/// Counts objects and arrays before they are made.
fn check_containers(body: &[u8]) -> Result<(), ApiError> {
    if body.len() < 2 * CONTAINERS_MAX {
        return Ok(());
    }
    let (mut n, mut in_text, mut escaped) = (0, false, false);
    for byte in body {
        match (in_text, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => in_text = !in_text,
            (false, b'{' | b'[') => n += 1,
            _ => {}
        }
    }
    if n > CONTAINERS_MAX {
        let message = format!("the body has {n} objects and arrays, expected at most {CONTAINERS_MAX}");
        return Err(ApiError::new(Code::InvalidRequest, message));
    }
    Ok(())
}

/// Reads one entry of a batch.
///
/// # Errors
/// As [`parse`], without line and column.
pub(crate) fn parse_value<T: DeserializeOwned>(value: Value) -> Result<T, ApiError> {
    if value.is_array() {
        return Err(not_an_object());
    }
    serde_json::from_value(value).map_err(|error| json_error(&error))
}

fn not_an_object() -> ApiError {
    ApiError::new(Code::InvalidRequest, "the request is an array, expected an object")
}

fn json_error(error: &serde_json::Error) -> ApiError {
    let text = error.to_string();
    if !error.is_data() {
        return ApiError::new(Code::InvalidJson, format!("the body is not valid JSON: {text}"));
    }
    // `unknown field `a`, expected one of `b`, `c` at line 1 column 5`: the names are between backticks.
    let mut quoted = text.split('`').skip(1).step_by(2);
    if let (true, Some(name)) = (text.starts_with("unknown field"), quoted.next()) {
        let hint = near_names(name, quoted);
        return ApiError::new(Code::InvalidRequest, format!("{text}; {hint}")).param(name);
    }
    ApiError::new(Code::InvalidRequest, format!("the body is not accepted: {text}"))
}

/// A decision on its way out.
#[derive(Debug, Serialize)]
pub(crate) struct DecisionBody<'a> {
    pub(crate) object: &'static str,
    /// What to do with it, on the routes SDKs take for a completion.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) notice: Option<&'static str>,
    pub(crate) id: &'a str,
    /// Seconds since 1970.
    pub(crate) created: u64,
    pub(crate) policy: PolicyBody<'a>,
    pub(crate) action: ActionBody<'a>,
    pub(crate) fallbacks: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) candidates: Option<Vec<CandidateBody<'a>>>,
    pub(crate) propensity: f32,
    pub(crate) exploration: ExplorationBody<'a>,
    pub(crate) seed: u64,
    pub(crate) reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) flip: Option<FlipBody<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) neighbors: Option<Vec<NeighborBody<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) session: Option<SessionBody<'a>>,
    pub(crate) dry_run: bool,
    pub(crate) timings: TimingsBody,
}

/// What became of feedback.
#[derive(Debug, Serialize)]
pub(crate) struct FeedbackBody<'a> {
    pub(crate) object: &'static str,
    pub(crate) status: &'static str,
    pub(crate) decision_id: &'a str,
    pub(crate) idempotency_key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) late: Option<bool>,
}

/// Result of one line of a batch: the status a request of its own would have had, and its body.
#[derive(Debug, Serialize)]
pub(crate) struct FeedbackLine<'a> {
    pub(crate) status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reply: Option<&'a FeedbackBody<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<Value>,
}

/// Reply of `GET /admin/v1/statistics`.
#[derive(Debug, Serialize)]
pub(crate) struct StatisticsBody<'a> {
    pub(crate) object: &'static str,
    pub(crate) high_water: u64,
    pub(crate) data: Vec<PolicyStatisticsBody<'a>>,
}

/// Figures of one policy.
#[derive(Debug, Serialize)]
pub(crate) struct PolicyStatisticsBody<'a> {
    pub(crate) policy: &'a str,
    pub(crate) models: Vec<ModelStatisticsBody<'a>>,
}

/// Figures of one model.
#[derive(Debug, Serialize)]
pub(crate) struct ModelStatisticsBody<'a> {
    pub(crate) model: &'a str,
    pub(crate) decisions: u64,
    pub(crate) predicted_usd: f64,
    pub(crate) spend_usd: f64,
    pub(crate) latency_ms: Option<f64>,
    pub(crate) metrics: Vec<MetricBody<'a>>,
}

/// Figures of one metric.
#[derive(Debug, Serialize)]
pub(crate) struct MetricBody<'a> {
    pub(crate) metric: &'a str,
    pub(crate) count: u64,
    pub(crate) mean: Option<f64>,
}

/// Reply of `GET /admin/v1/arms`.
#[derive(Debug, Serialize)]
pub(crate) struct ArmsReply<'a> {
    pub(crate) object: &'static str,
    pub(crate) data: Vec<ArmsBody<'a>>,
}

/// The arms of a policy that learns.
#[derive(Debug, Serialize)]
pub(crate) struct ArmsBody<'a> {
    pub(crate) policy: &'a str,
    pub(crate) version: &'a str,
    pub(crate) changes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) in_service: Option<bool>,
    pub(crate) arms: Vec<ArmBody>,
}

/// One arm.
#[derive(Debug, Serialize)]
pub(crate) struct ArmBody {
    pub(crate) model: String,
    pub(crate) cost_usd: Option<f64>,
    pub(crate) latency_ms: Option<f64>,
    pub(crate) tags: Vec<String>,
    pub(crate) removed: bool,
    pub(crate) added: bool,
}

/// Which policy decided.
#[derive(Debug, Serialize)]
pub(crate) struct PolicyBody<'a> {
    pub(crate) name: &'a str,
    pub(crate) version: &'a str,
    pub(crate) digest: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) state: Option<&'static str>,
}

/// What to do.
#[derive(Debug, Serialize)]
pub(crate) struct ActionBody<'a> {
    pub(crate) kind: &'static str,
    pub(crate) model: &'a str,
}

/// One arm as the decision saw it.
#[derive(Debug, Serialize)]
pub(crate) struct CandidateBody<'a> {
    pub(crate) model: &'a str,
    pub(crate) score: Option<f32>,
    pub(crate) score_interval: Option<[f32; 2]>,
    pub(crate) cost_usd: Option<f32>,
    pub(crate) latency_ms: Option<f64>,
    pub(crate) propensity: f32,
    pub(crate) eligible: bool,
    pub(crate) excluded_by: Option<&'static str>,
}

/// Where the distribution comes from.
#[derive(Debug, Serialize)]
pub(crate) struct ExplorationBody<'a> {
    pub(crate) strategy: &'a str,
    pub(crate) exact: bool,
}

/// Where the choice would change.
#[derive(Debug, Serialize)]
pub(crate) struct FlipBody<'a> {
    pub(crate) lambda: f64,
    pub(crate) model: &'a str,
}

/// A training row the prediction rests on.
#[derive(Debug, Serialize)]
pub(crate) struct NeighborBody<'a> {
    pub(crate) id: &'a str,
    pub(crate) similarity: f32,
}

/// The session, as given.
#[derive(Debug, Serialize)]
pub(crate) struct SessionBody<'a> {
    pub(crate) id: &'a str,
}

/// Microseconds of each stage; `batch` is the number of queries decided together.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct TimingsBody {
    pub(crate) queue_us: f64,
    pub(crate) features_us: f64,
    pub(crate) score_us: f64,
    pub(crate) constraints_us: f64,
    pub(crate) batch: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_gets_its_field_and_its_place() {
        let error = parse::<RouteRequest>(b"{\n \"imput\": \"x\"}").unwrap_err();
        assert_eq!(error.param.as_deref(), Some("imput"));
        assert!(error.message.contains("did you mean `input`"), "{}", error.message);
        assert!(error.message.contains("line 2 column 8"), "{}", error.message);
        let error = parse::<RouteRequest>(b"{\"input\": ").unwrap_err();
        assert_eq!(error.code, Code::InvalidJson);
        assert!(error.message.contains("line 1 column"), "{}", error.message);
        assert!(parse::<RouteRequest>(b"\xef\xbb\xbf{\"input\": \"x\"}").is_ok());
        let error = parse::<RouteRequest>(b"{\"explain\": \"all\"}").unwrap_err();
        assert!(error.message.contains("`none`, `summary`, `full`"), "{}", error.message);
    }

    #[test]
    fn a_body_of_many_small_objects_is_refused_before_they_are_made() {
        let body = |n: usize| format!("{{\"request\":[{}{{}}]}}", "{},".repeat(n));
        let error = parse::<Value>(body(CONTAINERS_MAX).as_bytes()).unwrap_err();
        assert!(error.message.contains("50003 objects and arrays"), "{}", error.message);
        assert!(parse::<Value>(body(CONTAINERS_MAX - 3).as_bytes()).is_ok());
        let text = format!("{{\"input\":\"{}\\\"{{\"}}", "{[\\\\".repeat(CONTAINERS_MAX));
        assert!(parse::<Value>(text.as_bytes()).is_ok(), "what is in a text is no object");
    }

    #[test]
    fn residency_is_one_more_tag() {
        let body = br#"{"input":"x","constraints":{"tags":["tools"],"residency":"eu"}}"#;
        let query = parse::<RouteRequest>(body).unwrap().into_query(0).unwrap();
        assert_eq!(query.constraints.tags, ["tools", "eu"]);
    }
}
