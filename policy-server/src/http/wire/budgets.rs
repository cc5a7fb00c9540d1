//! `GET /admin/v1/budgets`.

use schemars::JsonSchema;
use serde::Serialize;

/// What keys with a budget have spent.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct BudgetsReply<'a> {
    #[schemars(extend("const" = "list"))]
    pub(crate) object: &'static str,
    pub(crate) data: Vec<BudgetBody<'a>>,
}

/// One budget of one key.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(inline, deny_unknown_fields)]
pub(crate) struct BudgetBody<'a> {
    /// public id
    pub(crate) key: &'a str,
    pub(crate) name: &'a str,
    #[schemars(extend("enum" = ["day", "month"]))]
    pub(crate) window: &'static str,
    /// RFC 3339, UTC
    pub(crate) starts: String,
    pub(crate) ends: String,
    pub(crate) limit_usd: f64,
    /// what calls cost
    pub(crate) spent_usd: f64,
    /// what calls under way may cost
    pub(crate) held_usd: f64,
    /// calls refused by this server since its start
    pub(crate) refused: u64,
}
