//! The description of every route, made once when the server starts.

use serde_json::Value;
use std::sync::Arc;

/// What `/openapi.json` replies.
#[derive(Debug, Clone)]
pub(crate) struct Document(pub(crate) Arc<Value>);
