//! `GET /admin/v1/arms` and `POST /admin/v1/arms/change`: the arms of the policies that learn, and a change of them.
//!
//! A change is an event of the log. It is answered when it is durable and the decisions of this server follow it.

use super::{ApiError, Bytes, BytesRejection, json};
use crate::clock::now_ms;
use crate::error::Code;
use crate::learning::change_id;
use crate::state::{App, Served};
use crate::store::ledger::unavailable;
use crate::store::{ArmChange, ChangeRecord, MetricConfig, StoreError};
use crate::wire::{ArmBody, ArmsBody, ArmsReply, ChangeArmsRequest};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use routewright_data::suggest::near_names;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Who is named in the log.
const WHO: &str = "admin";
/// Most arms of one change.
const ARMS_MAX: usize = 256;
/// How long an answer waits until decisions follow.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(5);

pub(crate) async fn list(State(app): State<Arc<App>>) -> Result<Response, ApiError> {
    let live = app.live.load_full();
    let learning = live.policies.values().filter(|served| served.roster.is_some());
    json(&ArmsReply { object: "list", data: learning.map(|served| describe(served, None)).collect() })
}

pub(crate) async fn change(
    State(app): State<Arc<App>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let ledger = super::ledger(&app)?;
    let request: ChangeArmsRequest = super::parse(&app, super::body(&app, body)?).await?;
    let (found, max) = (request.arms.len(), ARMS_MAX);
    if found > max {
        let message = format!("`arms` has {found} entries, expected at most {max} in one change");
        return Err(ApiError::new(Code::BatchTooLarge, message).param("arms"));
    }
    let arms: BTreeMap<String, ArmChange> =
        request.arms.into_iter().map(|(model, said)| (model, said.into())).collect();
    let served = learner(&app, &request.policy)?;
    // What is believed of new arms takes some linear algebra to find out.
    let checking = Arc::clone(&app);
    let arms =
        super::aside(&app, usize::MAX, move || check(&checking, &served, &arms).map(|()| arms)).await??;
    let change_id = change_id();
    let record = ChangeRecord {
        change_id: change_id.clone(),
        policy: request.policy.clone(),
        at_ms: now_ms(),
        who: WHO.to_owned(),
        arms,
    };
    let appended = ledger.change(record).map_err(unavailable)?.await;
    appended.unwrap_or(Err(StoreError::Closed)).map_err(unavailable)?;
    let began = Instant::now();
    loop {
        let served = learner(&app, &request.policy)?;
        let in_service = served.roster.as_ref().is_some_and(|roster| roster.has_seen(&change_id));
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
fn learner(app: &App, name: &str) -> Result<Arc<Served>, ApiError> {
    let live = app.live.load();
    let learning = || live.policies.values().filter(|served| served.roster.is_some());
    learning().find(|served| served.name == name).cloned().ok_or_else(|| {
        let hint = near_names(name, learning().map(|served| served.name.as_str()));
        let message = format!("no policy `{name}` learns while it serves; {hint}");
        ApiError::new(Code::ModelNotFound, message).param("policy")
    })
}

fn check(app: &App, served: &Served, arms: &BTreeMap<String, ArmChange>) -> Result<(), ApiError> {
    let metric = served.learning.as_ref().map(|learning| learning.metric.as_str()).unwrap_or_default();
    let declared = app.ledger.as_ref().and_then(|ledger| ledger.config().metrics.get(metric));
    let range = declared.map_or(MetricConfig::default().range, |metric| metric.range);
    let missing = || ApiError::internal("a learning policy has no learner");
    let learner = served.policy.predictor.learner().ok_or_else(missing)?;
    let roster = served.roster.as_ref().ok_or_else(missing)?;
    let refuse = |why| ApiError::new(Code::InvalidRequest, why).param("arms");
    roster.check(arms, learner, range, true).map_err(refuse)
}

fn describe(served: &Served, in_service: Option<bool>) -> ArmsBody<'_> {
    let arm = |arm: &'_ routewright_policy::Arm| ArmBody {
        model: arm.model.clone(),
        cost_usd: arm.price.mean_cost_usd,
        latency_ms: arm.mean_latency_ms,
        tags: arm.tags.clone(),
        removed: arm.retired,
        added: !served.base.arms.iter().any(|base| base.model == arm.model),
    };
    ArmsBody {
        policy: &served.name,
        version: &served.version,
        changes: served.roster.as_ref().map_or(0, |roster| roster.n_changes),
        in_service,
        arms: served.policy.arms.iter().map(arm).collect(),
    }
}
