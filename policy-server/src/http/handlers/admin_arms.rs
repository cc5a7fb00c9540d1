//! `GET /admin/v1/arms` and `POST /admin/v1/arms/change`: the arms of the policies that learn, and a change of them.
//!
//! A change is an event of the log. It is answered when it is durable and the decisions of this server follow it.

use crate::clock::now_ms;
use crate::error::{ApiError, Code};
use crate::http::endpoint::{Access, Endpoint};
use crate::http::extract::{Json, Logged};
use crate::http::offload::Offload;
use crate::http::reply::json;
use crate::http::wire::{ArmBody, ArmsReply, Body, ChangeArmsRequest, PolicyArms};
use crate::ids;
use crate::ledger::{ArmChange, ChangeRecord, Ledger};
use crate::live::{InService, Live, Served};
use crate::settings::MetricConfig;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use routewright_data::suggest::near_names;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) const LIST: Endpoint = Endpoint {
    access: Access::Admin,
    reply: Some(Body::of::<ArmsReply<'static>>()),
    ..Endpoint::get("/admin/v1/arms", "Arms of the policies that learn, with their prices", || get(list))
};

pub(crate) const CHANGE: Endpoint = Endpoint {
    access: Access::Admin,
    request: Some(Body::of::<ChangeArmsRequest>()),
    reply: Some(Body::of::<PolicyArms<'static>>()),
    errors: &[Code::BatchTooLarge],
    ..Endpoint::post("/admin/v1/arms/change", "Add, remove or reprice arms of a policy that learns", || {
        post(change)
    })
};

/// Who is named in the log.
const WHO: &str = "admin";
/// Most arms of one change.
const ARMS_MAX: usize = 256;
/// How long an answer waits until decisions follow.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(5);

async fn list(State(live): State<Arc<InService>>) -> Result<Response, ApiError> {
    let live = live.snapshot();
    let learning = live.policies.values().filter(|served| served.arm_table.is_some());
    json(&ArmsReply { object: "list", data: learning.map(|served| describe(served, None)).collect() })
}

async fn change(
    State(live): State<Arc<InService>>,
    State(offload): State<Offload>,
    Logged(ledger): Logged,
    Json(request): Json<ChangeArmsRequest>,
) -> Result<Response, ApiError> {
    let (found, max) = (request.arms.len(), ARMS_MAX);
    if found > max {
        let message = format!("`arms` has {found} entries, expected at most {max} in one change");
        return Err(ApiError::new(Code::BatchTooLarge, message).param("arms"));
    }
    let arms: BTreeMap<String, ArmChange> =
        request.arms.into_iter().map(|(model, change)| (model, change.into())).collect();
    let served = learner(&live.load(), &request.policy)?;
    let checking = Arc::clone(&ledger);
    // What is believed of new arms takes some linear algebra to find out.
    let arms = offload.always(move || check(&checking, &served, &arms).map(|()| arms)).await??;
    let change_id = ids::change();
    let record = ChangeRecord {
        change_id: change_id.clone(),
        policy: request.policy.clone(),
        at_ms: now_ms(),
        who: WHO.to_owned(),
        arms,
    };
    ledger.changed(record).await?;
    let began = Instant::now();
    loop {
        let served = learner(&live.load(), &request.policy)?;
        let in_service = served.arm_table.as_ref().is_some_and(|table| table.has_seen(&change_id));
        if in_service || began.elapsed() > PATIENCE {
            let mut response = json(&describe(&served, Some(in_service)))?;
            if !in_service {
                *response.status_mut() = StatusCode::ACCEPTED;
            }
            return Ok(response);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The policy of that name, which learns.
fn learner(live: &Live, name: &str) -> Result<Arc<Served>, ApiError> {
    let learning = || live.policies.values().filter(|served| served.arm_table.is_some());
    learning().find(|served| served.name == name).cloned().ok_or_else(|| {
        let hint = near_names(name, learning().map(|served| served.name.as_str()));
        let message = format!("no policy `{name}` learns while it serves; {hint}");
        ApiError::new(Code::ModelNotFound, message).param("policy")
    })
}

fn check(ledger: &Ledger, served: &Served, arms: &BTreeMap<String, ArmChange>) -> Result<(), ApiError> {
    let metric = served.learning.as_ref().map(|learning| learning.metric.as_str()).unwrap_or_default();
    let declared = ledger.config().metrics.get(metric);
    let range = declared.map_or(MetricConfig::default().range, |metric| metric.range);
    let missing = || ApiError::internal("a learning policy has no learner");
    let router = served.policy.router().map_err(|_| missing())?;
    let learner = router.predictor.learner().ok_or_else(missing)?;
    let table = served.arm_table.as_ref().ok_or_else(missing)?;
    let refuse = |why| ApiError::new(Code::InvalidRequest, why).param("arms");
    table.check(arms, learner, range, true).map_err(refuse)
}

fn describe(served: &Served, in_service: Option<bool>) -> PolicyArms<'_> {
    let arm = |arm: &'_ routewright_policy::Arm| ArmBody {
        model: arm.model.clone(),
        cost_usd: arm.price.mean_cost_usd,
        latency_ms: arm.mean_latency_ms,
        tags: arm.tags.clone(),
        removed: arm.retired,
        added: !served.base.arms.iter().any(|base| base.model == arm.model),
    };
    PolicyArms {
        policy: &served.name,
        version: &served.version,
        changes: served.arm_table.as_ref().map_or(0, |table| table.n_changes),
        in_service,
        arms: served.policy.arms.iter().map(arm).collect(),
    }
}
