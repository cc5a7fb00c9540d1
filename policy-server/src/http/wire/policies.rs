//! `GET /admin/v1/policies` and `POST /admin/v1/policies/reload`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Policies in service.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct PolicyList<'a> {
    #[schemars(extend("const" = "list"))]
    pub(crate) object: &'static str,
    /// policies in service
    pub(crate) data: Vec<PolicyBody<'a>>,
}

/// A policy in service.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Policy", deny_unknown_fields)]
pub(crate) struct PolicyBody<'a> {
    pub(crate) name: &'a str,
    pub(crate) version: &'a str,
    pub(crate) digest: &'a str,
    pub(crate) path: Option<String>,
    /// seconds since 1970
    pub(crate) loaded_at: u64,
    pub(crate) method: &'a str,
    pub(crate) form: &'a str,
    pub(crate) featurizer: &'a str,
    pub(crate) selector: &'a str,
    /// models
    pub(crate) arms: Vec<&'a str>,
    /// answers when the deadline passes
    pub(crate) default_arm: &'a str,
    #[schemars(extend("enum" = ["inline", "worker"]))]
    pub(crate) execution: &'static str,
    /// headline figures of the artifact
    pub(crate) metrics: &'a BTreeMap<String, f64>,
    /// versions taken into service since the start
    pub(crate) reloads: u64,
    /// artifacts refused since the start
    pub(crate) refusals: u64,
    /// why what is on disk is refused at present
    pub(crate) refused: Option<&'a str>,
}

/// What to look at.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReloadRequest {
    /// the one to look at; default: all
    #[serde(default)]
    pub(crate) policy: Option<String>,
}

/// What became of what was looked at.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct ReloadReply<'a> {
    #[schemars(extend("const" = "list"))]
    pub(crate) object: &'static str,
    /// what became of each policy
    pub(crate) data: Vec<ReloadedBody<'a>>,
}

/// What became of one policy.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(inline, deny_unknown_fields)]
pub(crate) struct ReloadedBody<'a> {
    pub(crate) name: &'a str,
    #[schemars(extend("enum" = ["reloaded", "unchanged"]))]
    pub(crate) result: &'static str,
    pub(crate) version: &'a str,
    pub(crate) digest: &'a str,
}
