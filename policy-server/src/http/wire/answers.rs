//! Bodies that models read and write: passed through, so that little is said of them.

use schemars::JsonSchema;
use serde_json::Value;

/// as the server of the model answers
#[derive(Debug, JsonSchema)]
#[schemars(extend("additionalProperties" = true))]
pub(crate) struct AnswerOfModel {}

/// body of the OpenAI embeddings API
#[derive(Debug, JsonSchema)]
#[schemars(extend("additionalProperties" = true))]
pub(crate) struct EmbeddingsRequest {
    #[schemars(rename = "model")]
    _model: String,
    #[schemars(extend("type" = ["string", "array"]))]
    #[schemars(rename = "input")]
    _input: Value,
}
