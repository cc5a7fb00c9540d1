//! `GET /admin/v1/learning`: what the policies that learn have learned, spend, whom they believe, what has changed.

use crate::error::ApiError;
use crate::http::endpoint::{Access, Endpoint};
use crate::http::reply::json;
use crate::http::wire::{
    Body, DriftBody, KeySpendBody, LearningReply, PolicyLearning, ReporterBody, SpendBody,
};
use crate::live::report::{Report, Spend};
use crate::live::{InService, Served};
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use std::sync::Arc;

const TITLE: &str = "What policies learned, spend, whom they believe and what has changed";

pub(crate) const ENDPOINT: Endpoint = Endpoint {
    access: Access::Admin,
    reply: Some(Body::of::<LearningReply<'static>>()),
    ..Endpoint::get("/admin/v1/learning", TITLE, || get(handle))
};

async fn handle(State(live): State<Arc<InService>>) -> Result<Response, ApiError> {
    let live = live.snapshot();
    let learning = live.policies.values().filter_map(|served| Some((served, served.metrics.learning()?)));
    let data = learning.map(|(served, report)| describe(served, report)).collect();
    json(&LearningReply { object: "list", data })
}

fn describe(served: &Served, report: Report) -> PolicyLearning<'_> {
    let key = |(key, of): (String, Spend)| KeySpendBody { key, spend: spend(of) };
    let kinds = report.drift.iter().map(|figure| DriftBody {
        kind: figure.kind.name(),
        alarms: figure.alarms,
        z: figure.z,
    });
    let reporters = report.reporters.into_iter().map(|found| ReporterBody {
        reporter: found.reporter,
        reports: found.reports,
        trust: found.trust,
        withheld: found.withheld,
    });
    PolicyLearning {
        policy: &served.name,
        version: &served.version,
        updates: report.updates,
        refused: report.refused,
        decisions: report.decisions,
        spend: spend(report.spend),
        keys: report.keys.into_iter().map(key).collect(),
        reporters: reporters.collect(),
        drift: kinds.collect(),
        last_alarm: report.last_alarm,
        epsilon: report.epsilon,
    }
}

fn spend(of: Spend) -> SpendBody {
    SpendBody { lambda: of.lambda, mean_usd: of.mean_usd, day_usd: of.day_usd }
}
