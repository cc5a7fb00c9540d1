//! `/openapi.json`: paths from the route table, schemas from `openapi_schemas.json` beside this file.

use crate::error::Code;
use crate::http::endpoint::{Access, Endpoint, Kind};
use serde_json::{Map, Value, json};

/// Media type of a batch of feedback: one object a line.
const NDJSON: &str = "application/x-ndjson";
/// Schemas, maintained by hand; tests hold them against what the server reads and writes.
const SCHEMAS: &str = include_str!("openapi_schemas.json");

/// The document of the routes given.
///
/// # Errors
/// If the schemas are not JSON, which a test excludes.
pub(crate) fn describe(rows: &[Endpoint]) -> Result<Value, serde_json::Error> {
    let schemas: Value = serde_json::from_str(SCHEMAS)?;
    let mut paths = Map::new();
    for row in rows {
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

fn operation(row: &Endpoint) -> Value {
    let mut operation = Map::new();
    operation.insert("summary".to_owned(), json!(row.title));
    operation.insert("operationId".to_owned(), json!(operation_id(row)));
    if let Some(name) = row.request {
        let required = !row.body_is_optional;
        let mut content = content(name);
        if row.line.is_some() {
            content[NDJSON] = content["application/json"].clone();
        }
        operation.insert("requestBody".to_owned(), json!({ "required": required, "content": content }));
    }
    let mut reply = match row.reply {
        Some(name) => json!({ "description": "answered", "content": content(name) }),
        None => json!({ "description": "answered", "content": { "text/plain": {} } }),
    };
    let mut replies = Map::new();
    if let Some((description, name)) = row.accepted.zip(row.reply) {
        replies.insert("202".to_owned(), json!({ "description": description, "content": content(name) }));
    }
    if let Some(line) = row.line {
        reply["content"][NDJSON] = content(line)["application/json"].clone();
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
fn errors(row: &Endpoint) -> Vec<(String, String)> {
    let applies = |code: &Code| match code {
        Code::ForeignOrigin | Code::RateLimited | Code::InvalidApiKey => row.access != Access::Open,
        Code::MediaType => row.access == Access::Admin && row.request.is_some(),
        Code::InvalidJson | Code::InvalidRequest | Code::BodyTooLarge | Code::ModelNotFound => {
            row.request.is_some()
        }
        Code::Overloaded => row.kind != Kind::Plain || row.errors.contains(code),
        Code::FusionFailed => row.kind == Kind::Answer,
        Code::StoreUnavailable => row.kind == Kind::Decision || row.errors.contains(code),
        Code::MethodNotAllowed | Code::RequestTimeout | Code::Internal => true,
        _ => row.errors.contains(code),
    };
    let mut by_status: Vec<(String, String)> = Vec::new();
    for code in Code::ALL.iter().filter(|code| applies(code)) {
        let (status, _, name) = code.row();
        match by_status.iter_mut().find(|(known, _)| *known == status.to_string()) {
            Some((_, names)) => names.push_str(&format!(", {name}")),
            None => by_status.push((status.to_string(), name.to_owned())),
        }
    }
    by_status
}

fn operation_id(row: &Endpoint) -> String {
    let words = row.path.split(['/', '.']).filter(|word| !word.is_empty());
    format!("{}_{}", row.method, words.collect::<Vec<_>>().join("_"))
}

fn content(schema: &str) -> Value {
    json!({ "application/json": { "schema": { "$ref": format!("#/components/schemas/{schema}") } } })
}
