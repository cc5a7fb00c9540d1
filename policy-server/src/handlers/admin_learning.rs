//! `GET /admin/v1/learning`: what the policies that learn have learned, spend, whom they believe, what has changed.

use super::{ApiError, json};
use crate::learning::{Report, Spend};
use crate::state::{App, Served};
use crate::wire::{DriftBody, KeySpendBody, LearningBody, LearningReply, ReporterBody, SpendBody};
use axum::extract::State;
use axum::response::Response;
use std::sync::Arc;

pub(crate) async fn handle(State(app): State<Arc<App>>) -> Result<Response, ApiError> {
    let live = app.live.load_full();
    let learning = live.policies.values().filter_map(|served| Some((served, served.metrics.learning()?)));
    let data = learning.map(|(served, report)| describe(served, report)).collect();
    json(&LearningReply { object: "list", data })
}

fn describe(served: &Served, report: Report) -> LearningBody<'_> {
    let key = |(key, of): (String, Spend)| KeySpendBody { key, spend: spend(of) };
    let kinds = report.drift.iter().map(|figure| DriftBody {
        kind: figure.kind.name(),
        alarms: figure.alarms,
        z: figure.z,
    });
    let reporters = report.reporters.into_iter().map(|told| ReporterBody {
        reporter: told.reporter,
        reports: told.reports,
        trust: told.trust,
        withheld: told.withheld,
    });
    LearningBody {
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
