//! `GET /openapi.json`.

use schemars::JsonSchema;

/// An OpenAPI 3.1 document.
#[derive(Debug, JsonSchema)]
#[schemars(rename = "Document", extend("additionalProperties" = true))]
pub(crate) struct OpenApiDocument {}
