//! `GET /admin/v1/statistics`: what the log says of each policy and model.

use super::{ApiError, json};
use crate::error::Code;
use crate::log::chain;
use crate::state::App;
use crate::store::{ArmStatistics, MetricStatistics};
use crate::wire::{MetricBody, ModelStatisticsBody, PolicyStatisticsBody, StatisticsBody};
use axum::extract::State;
use axum::response::Response;
use std::sync::Arc;

pub(crate) async fn handle(State(app): State<Arc<App>>) -> Result<Response, ApiError> {
    super::ledger(&app)?;
    let reading = Arc::clone(&app);
    // Catching up reads the disk.
    let read = move || reading.ledger.as_ref().map(|ledger| ledger.statistics());
    let read = tokio::task::spawn_blocking(read).await.ok().flatten();
    let read = read.ok_or_else(|| ApiError::internal("the statistics could not be read"))?;
    let (statistics, high_water) = read.map_err(|error| ApiError {
        inside: Some(chain(&error)),
        ..ApiError::new(Code::StoreUnavailable, "the store cannot be read now; try again")
    })?;
    let policies = statistics.policies.iter().map(|(policy, models)| PolicyStatisticsBody {
        policy,
        models: models.iter().map(|(model, arm)| describe(model, arm)).collect(),
    });
    json(&StatisticsBody { object: "list", high_water, data: policies.collect() })
}

fn describe<'a>(model: &'a str, arm: &'a ArmStatistics) -> ModelStatisticsBody<'a> {
    let body = |name: &'a str, metric: &MetricStatistics| MetricBody {
        metric: name,
        count: metric.count,
        mean: metric.mean(),
    };
    ModelStatisticsBody {
        model,
        decisions: arm.decisions,
        predicted_usd: arm.predicted_usd(),
        spend_usd: arm.spend_usd(),
        latency_ms: arm.latency_ms.mean(),
        metrics: arm.metrics.iter().map(|(name, metric)| body(name, metric)).collect(),
    }
}
