//! `/openapi.json`: paths from the route table, schemas from the types that cross HTTP.

use crate::error::Code;
use crate::http::endpoint::{Access, Endpoint, Kind};
use crate::http::wire::{Body, ErrorBody, Schemas, schemas};
use serde_json::{Map, Value, json};

/// Media type of a batch of feedback: one object a line.
const NDJSON: &str = "application/x-ndjson";

/// The document of the routes given.
pub(crate) fn describe(rows: &[Endpoint]) -> Value {
    let (paths, components) = schemas(|read, written| {
        let mut paths = Map::new();
        for row in rows {
            paths.insert(row.path.replace("{*", "{"), json!({ (row.method): operation(row, read, written) }));
        }
        paths
    });
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "routewright policy server",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Which language model answers a query. Paths under /admin/ are on the second, \
                            loopback-only listener.",
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "bearer": { "type": "http", "scheme": "bearer" },
                "header": { "type": "apiKey", "in": "header", "name": "x-api-key" },
            },
        },
    })
}

/// One path: `read` makes the schemas of what is read, `written` those of what is written.
fn operation(row: &Endpoint, read: &mut Schemas, written: &mut Schemas) -> Value {
    let mut operation = Map::new();
    operation.insert("summary".to_owned(), json!(row.title));
    operation.insert("operationId".to_owned(), json!(operation_id(row)));
    if let Some(body) = row.request {
        let mut content = content(read, body);
        if row.line.is_some() {
            content[NDJSON] = content["application/json"].clone();
        }
        let body = json!({ "required": !row.body_is_optional, "content": content });
        operation.insert("requestBody".to_owned(), body);
    }
    let mut reply = match row.reply {
        Some(body) => json!({ "description": "answered", "content": content(written, body) }),
        None => json!({ "description": "answered", "content": { "text/plain": {} } }),
    };
    let mut replies = Map::new();
    if let Some((description, body)) = row.accepted.zip(row.reply) {
        let content = content(written, body);
        replies.insert("202".to_owned(), json!({ "description": description, "content": content }));
    }
    if let Some(line) = row.line {
        reply["content"][NDJSON] = content(written, line)["application/json"].clone();
    }
    replies.insert("200".to_owned(), reply);
    for (status, description) in errors(row) {
        let content = content(written, Body::of::<ErrorBody>());
        replies.insert(status, json!({ "description": description, "content": content }));
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
        Code::FusionFailed
        | Code::BudgetExceeded
        | Code::ContextTooLong
        | Code::UpstreamFailed
        | Code::UpstreamTimedOut
        | Code::UpstreamRateLimited
        | Code::UpstreamUnavailable => row.kind == Kind::Answer,
        Code::StoreUnavailable => {
            matches!(row.kind, Kind::Decision | Kind::Answer) || row.errors.contains(code)
        }
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
    let words = row.path.split(['/', '.', '{', '}', '*']).filter(|word| !word.is_empty());
    format!("{}_{}", row.method, words.collect::<Vec<_>>().join("_"))
}

fn content(schemas: &mut Schemas, body: Body) -> Value {
    json!({ "application/json": { "schema": schemas.of(body) } })
}
