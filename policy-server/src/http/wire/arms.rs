//! `GET /admin/v1/arms` and `POST /admin/v1/arms/change`.

use crate::ledger::ArmChange;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A change of the arms of a policy that learns; all of it is in force or none.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangeArmsRequest {
    /// a policy that learns
    pub(crate) policy: String,
    /// by model; a model that is no arm yet is added
    #[schemars(extend(
        "minProperties" = 1,
        "maxProperties" = 256,
        "propertyNames" = { "minLength": 1, "maxLength": 256 },
    ))]
    pub(crate) arms: BTreeMap<String, ArmChangeBody>,
}

/// what is not said stays as it is
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "ArmChange")]
pub(crate) struct ArmChangeBody {
    /// mean price of a call, US dollars
    #[schemars(range(min = 0, max = 1_000_000))]
    cost_usd: Option<f64>,
    /// mean latency of a call, milliseconds
    #[schemars(range(min = 0, max = 1_000_000_000))]
    latency_ms: Option<f64>,
    /// properties a request may ask for
    tags: Option<Vec<String>>,
    /// of a new arm: the value of the metric expected of it
    quality: Option<f64>,
    /// of a new arm: how many reports `quality` counts as
    #[schemars(range(min = 0.001, max = 1_000_000), extend("default" = 10))]
    weight: Option<f64>,
    /// `true`: never chosen from now on; `false`: chosen again
    removed: Option<bool>,
}

impl From<ArmChangeBody> for ArmChange {
    fn from(body: ArmChangeBody) -> Self {
        let ArmChangeBody { cost_usd, latency_ms, tags, quality, weight, removed } = body;
        Self { cost_usd, latency_ms, tags, quality, weight, removed }
    }
}

/// Arms of the policies that learn.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct ArmsReply<'a> {
    #[schemars(extend("const" = "list"))]
    pub(crate) object: &'static str,
    pub(crate) data: Vec<PolicyArms<'a>>,
}

/// The arms of a policy that learns.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct PolicyArms<'a> {
    pub(crate) policy: &'a str,
    pub(crate) version: &'a str,
    /// changes in force
    pub(crate) changes: u64,
    /// of a change: whether decisions follow it; with 202 it is durable, and decisions follow soon
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) in_service: Option<bool>,
    pub(crate) arms: Vec<ArmBody>,
}

/// One arm.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(inline, deny_unknown_fields)]
pub(crate) struct ArmBody {
    pub(crate) model: String,
    /// mean price of a call, US dollars
    pub(crate) cost_usd: Option<f64>,
    /// mean latency of a call, milliseconds
    pub(crate) latency_ms: Option<f64>,
    pub(crate) tags: Vec<String>,
    /// it is no longer chosen
    pub(crate) removed: bool,
    /// the artifact does not have it
    pub(crate) added: bool,
}
