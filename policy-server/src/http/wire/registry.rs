//! `GET /admin/v1/registry` and `POST /admin/v1/promote`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Another state for a version.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend(
    "if" = { "properties": { "to": { "const": "rollback" } } },
    "else" = { "properties": { "version": { "type": "string" } }, "required": ["version"] },
))]
pub(crate) struct PromoteRequest {
    /// a policy that has a registry
    pub(crate) policy: String,
    /// `candidate`, `shadow`, `canary:P`, `active`, `retired`, or `rollback`
    #[schemars(extend("pattern" = "^(candidate|shadow|canary:.+|active|retired|rollback)$"))]
    pub(crate) to: String,
    /// at least 12 digits of the digest of a version in the registry; not for `rollback`
    #[serde(default)]
    pub(crate) version: Option<String>,
    /// without evidence; needs `reason`
    #[serde(default)]
    pub(crate) force: bool,
    /// why, for the audit
    #[serde(default)]
    pub(crate) reason: Option<String>,
}

/// Every slot that has a registry.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct RegistryReply {
    #[schemars(extend("const" = "list"))]
    pub(crate) object: &'static str,
    pub(crate) data: Vec<RegistrySlot>,
}

/// The versions of one served name.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct RegistrySlot {
    pub(crate) policy: String,
    /// its folder
    pub(crate) registry: String,
    /// number of changes so far
    pub(crate) revision: u64,
    /// the one that is in service
    pub(crate) serving_revision: Option<u64>,
    pub(crate) versions: Vec<VersionBody>,
    /// feedback of both sides, 0 worst to 1 best; null without any
    pub(crate) trial: Option<TrialBody>,
}

/// One version.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(inline, deny_unknown_fields)]
pub(crate) struct VersionBody {
    pub(crate) version: String,
    pub(crate) digest: String,
    pub(crate) path: String,
    #[schemars(extend("enum" = ["candidate", "shadow", "canary", "active", "retired"]))]
    pub(crate) state: &'static str,
    /// of the requests, of a canary
    pub(crate) share: Option<f64>,
    pub(crate) since_ms: i64,
    pub(crate) reason: String,
    /// since the server started; null for other states
    pub(crate) shadow: Option<ShadowBody>,
}

/// What a shadow has done.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Shadow", deny_unknown_fields)]
pub(crate) struct ShadowBody {
    pub(crate) agreed: u64,
    pub(crate) differed: u64,
    pub(crate) failed: u64,
    pub(crate) dropped: u64,
    /// mean predicted score of its choice less that of the served one
    pub(crate) score_difference: Option<f64>,
}

/// The feedback of both sides of a canary.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Trial", deny_unknown_fields)]
pub(crate) struct TrialBody {
    pub(crate) metric: String,
    pub(crate) canary: SideBody,
    pub(crate) active: SideBody,
}

/// One side.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(inline, deny_unknown_fields)]
pub(crate) struct SideBody {
    pub(crate) count: u64,
    pub(crate) mean: Option<f64>,
    /// confidence sequence of the mean
    pub(crate) interval: [f64; 2],
}
