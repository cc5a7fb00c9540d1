//! `/openapi.json`: paths from the route table, schemas from `openapi_schemas.json` beside this file.

use crate::error::Code;
use crate::routes::{Access, Endpoint, Row, TABLE};
use serde_json::{Map, Value, json};

/// Media type of a batch of feedback: one object a line.
const NDJSON: &str = "application/x-ndjson";
/// Schemas, maintained by hand; tests hold them against what the server reads and writes.
const SCHEMAS: &str = include_str!("openapi_schemas.json");

/// The document of both listeners.
///
/// # Errors
/// If the schemas are not JSON, which a test excludes.
pub fn document() -> Result<Value, serde_json::Error> {
    let schemas: Value = serde_json::from_str(SCHEMAS)?;
    let mut paths = Map::new();
    for row in &TABLE {
        paths.insert(row.path.to_owned(), json!({ (row.method): operation(row) }));
    }
    Ok(json!({
        "openapi": "3.1.0",
        "info": {
            "title": "routewright policy server",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Which language model answers a query. Paths under /admin/ are on the second, \
                            loopback-only listener.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": { "type": "http", "scheme": "bearer" },
                "header": { "type": "apiKey", "in": "header", "name": "x-api-key" },
            },
        },
    }))
}

fn operation(row: &Row) -> Value {
    let mut operation = Map::new();
    operation.insert("summary".to_owned(), json!(row.title));
    operation.insert("operationId".to_owned(), json!(operation_id(row)));
    if let Some(name) = row.request {
        // Only a reload may be asked for without a body.
        let required = row.endpoint != Endpoint::AdminReload;
        let mut content = content(name);
        if row.endpoint == Endpoint::Feedback {
            content[NDJSON] = content["application/json"].clone();
        }
        operation.insert("requestBody".to_owned(), json!({ "required": required, "content": content }));
    }
    let mut reply = match row.reply {
        Some(name) => json!({ "description": "answered", "content": content(name) }),
        None => json!({ "description": "answered", "content": { "text/plain": {} } }),
    };
    let mut replies = Map::new();
    if row.endpoint == Endpoint::Feedback {
        // New feedback is taken, repeated feedback is only confirmed.
        let taken = json!({ "description": "accepted, and on disk", "content": content("FeedbackReply") });
        replies.insert("202".to_owned(), taken);
        reply["content"][NDJSON] = content("FeedbackLine")["application/json"].clone();
    }
    replies.insert("200".to_owned(), reply);
    for (status, description) in errors(row) {
        replies.insert(status, json!({ "description": description, "content": content("Error") }));
    }
    operation.insert("responses".to_owned(), Value::Object(replies));
    let security =
        if row.access == Access::Open { json!([]) } else { json!([{ "bearer": [] }, { "header": [] }]) };
    operation.insert("security".to_owned(), security);
    Value::Object(operation)
}

/// Status and codes of the errors a route answers.
fn errors(row: &Row) -> Vec<(String, String)> {
    let completes = matches!(row.endpoint, Endpoint::ChatCompletions | Endpoint::Completions);
    let applies = |code: &Code| match code {
        // Not of any one route.
        Code::NotFound | Code::InvalidHttp | Code::UriTooLong | Code::HeadTooLarge => false,
        Code::ForeignOrigin => row.access != Access::Open,
        Code::MediaType => row.access == Access::Admin && row.request.is_some(),
        Code::RateLimited => row.access != Access::Open,
        Code::InvalidApiKey => row.access != Access::Open,
        Code::ShuttingDown => row.path.contains("read"),
        Code::ReloadFailed => row.path.ends_with("/reload") || row.endpoint == Endpoint::AdminPromote,
        Code::PromotionRefused => row.endpoint == Endpoint::AdminPromote,
        Code::BatchTooLarge => {
            matches!(row.endpoint, Endpoint::RouteBatch | Endpoint::Feedback | Endpoint::AdminArmsChange)
        }
        Code::InvalidJson | Code::InvalidRequest | Code::BodyTooLarge | Code::ModelNotFound => {
            row.request.is_some()
        }
        Code::UnknownCandidate | Code::NoEligibleCandidate => row.path == "/v1/route",
        Code::Overloaded => row.endpoint.decides() || completes || row.endpoint == Endpoint::Weights,
        Code::FusionFailed => completes,
        Code::DecisionNotFound
        | Code::DecisionExpired
        | Code::ForeignDecision
        | Code::FeedbackConflict
        | Code::UnknownMetric
        | Code::UnknownSource
        | Code::UnknownModel
        | Code::ValueOutOfRange => row.endpoint == Endpoint::Feedback,
        Code::NoStore => matches!(row.endpoint, Endpoint::Feedback | Endpoint::AdminStatistics),
        Code::StoreUnavailable => {
            row.endpoint.decides()
                || row.path.contains("read")
                || matches!(row.endpoint, Endpoint::Feedback | Endpoint::AdminStatistics)
        }
        Code::MethodNotAllowed | Code::RequestTimeout | Code::Internal => true,
    };
    let mut by_status: Vec<(String, String)> = Vec::new();
    for code in Code::ALL.iter().filter(|code| applies(code)) {
        let (status, _, name) = code.row();
        match by_status.iter_mut().find(|(known, _)| known == status.as_str()) {
            Some((_, names)) => names.push_str(&format!(", {name}")),
            None => by_status.push((status.as_str().to_owned(), name.to_owned())),
        }
    }
    by_status
}

fn operation_id(row: &Row) -> String {
    let words = row.path.split(['/', '.']).filter(|word| !word.is_empty());
    format!("{}_{}", row.method, words.collect::<Vec<_>>().join("_"))
}

fn content(schema: &str) -> Value {
    json!({ "application/json": { "schema": { "$ref": format!("#/components/schemas/{schema}") } } })
}
