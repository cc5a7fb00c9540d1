//! `GET /admin/v1/statistics`: what the log says of each policy and model.

use crate::error::{ApiError, Code};
use crate::http::endpoint::{Access, Endpoint};
use crate::http::extract::Logged;
use crate::http::offload::Offload;
use crate::http::reply::json;
use crate::http::wire::{Body, MetricBody, ModelStatistics, PolicyStatistics, StatisticsReply};
use crate::ledger::{ArmStatistics, MetricStatistics};
use crate::log::chain;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;

pub(crate) const ENDPOINT: Endpoint = Endpoint {
    access: Access::Admin,
    reply: Some(Body::of::<StatisticsReply<'static>>()),
    errors: &[Code::NoStore, Code::StoreUnavailable],
    ..Endpoint::get("/admin/v1/statistics", "What the log says of each policy and model", || get(handle))
};

async fn handle(State(offload): State<Offload>, Logged(ledger): Logged) -> Result<Response, ApiError> {
    // Catching up reads the disk.
    let read = offload.always(move || ledger.statistics()).await?;
    let (statistics, high_water) = read.map_err(|error| ApiError {
        inside: Some(chain(&error)),
        ..ApiError::new(Code::StoreUnavailable, "the store cannot be read now; try again")
    })?;
    let policies = statistics.policies.iter().map(|(policy, models)| PolicyStatistics {
        policy,
        models: models.iter().map(|(model, arm)| describe(model, arm)).collect(),
    });
    json(&StatisticsReply { object: "list", high_water, data: policies.collect() })
}

fn describe<'a>(model: &'a str, arm: &'a ArmStatistics) -> ModelStatistics<'a> {
    let body = |name: &'a str, metric: &MetricStatistics| MetricBody {
        metric: name,
        count: metric.count,
        mean: metric.mean(),
    };
    ModelStatistics {
        model,
        decisions: arm.decisions,
        predicted_usd: arm.predicted_usd(),
        spend_usd: arm.spend_usd(),
        latency_ms: arm.latency_ms.mean(),
        metrics: arm.metrics.iter().map(|(name, metric)| body(name, metric)).collect(),
    }
}
