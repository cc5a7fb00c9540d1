//! The arms of a log.

use routewright_data::OutcomeTable;
use routewright_policy::{Arm, Price};

/// The arms of a log with the prices and latencies it shows.
pub fn arms(table: &OutcomeTable) -> Vec<Arm> {
    let latency = |arm| table.latency_ms.as_ref().and_then(|cells| cells.column_mean(arm));
    let arm = |(at, model): (usize, &String)| Arm {
        model: model.clone(),
        price: Price { mean_cost_usd: table.cost_usd.column_mean(at), ..Price::default() },
        mean_latency_ms: latency(at),
        tags: Vec::new(),
        retired: false,
    };
    table.models.iter().enumerate().map(arm).collect()
}
