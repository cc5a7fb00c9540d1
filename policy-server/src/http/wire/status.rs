//! `GET /health` and `GET /ready`.

use schemars::JsonSchema;
use serde::Serialize;

/// A server that is about to stop answers /ready with an Error.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Status {
    #[schemars(extend("enum" = ["ok", "ready"]))]
    pub(crate) status: &'static str,
    pub(crate) version: &'static str,
    /// the log of decisions; null without a section `[store]`, absent from /health
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) store: Option<Option<StoreStatus>>,
}

/// The log of decisions.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(inline, deny_unknown_fields)]
pub(crate) struct StoreStatus {
    #[schemars(extend("enum" = ["available", "unavailable"]))]
    pub(crate) status: &'static str,
    /// records passed over since the start
    pub(crate) unreadable_records: u64,
}
