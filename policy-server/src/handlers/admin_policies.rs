//! `GET /admin/v1/policies`: what is in service, and what on disk was refused.

use super::{ApiError, json};
use crate::state::App;
use axum::extract::State;
use axum::response::Response;
use serde_json::{Value, json as object};
use std::sync::Arc;

pub(crate) async fn handle(State(app): State<Arc<App>>) -> Result<Response, ApiError> {
    let memory = app.memory.lock().await;
    let live = app.live.load();
    let describe = |served: &Arc<crate::state::Served>| -> Value {
        let (reloads, refusals) = served.metrics.reload_counts();
        let manifest = &served.policy.manifest;
        object!({
            "name": served.name,
            "version": served.version,
            "digest": served.policy.digest,
            "path": served.path.as_ref().map(|path| path.display().to_string()),
            "loaded_at": served.loaded_at,
            "method": manifest.method,
            "form": manifest.form.name,
            "featurizer": manifest.featurizer.spec.name,
            "selector": manifest.selector.name,
            "arms": served.policy.arms.iter().map(|arm| &arm.model).collect::<Vec<_>>(),
            "default_arm": served.policy.arms.get(served.default_arm).map(|arm| &arm.model),
            "execution": if served.inline { "inline" } else { "worker" },
            "metrics": manifest.metrics,
            "reloads": reloads,
            "refusals": refusals,
            "refused": memory.refusal(&served.name),
        })
    };
    let data: Vec<Value> = live.policies.values().map(describe).collect();
    json(&object!({ "object": "list", "data": data }))
}
