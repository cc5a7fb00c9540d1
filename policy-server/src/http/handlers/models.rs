//! `GET /v1/models` and `GET /v1/models/{id}`: policies, the arms they choose among, and fused models, as models.

use crate::caller::Allowance;
use crate::clock::rfc3339;
use crate::decide::answer::Gateway;
use crate::error::{ApiError, Code};
use crate::http::endpoint::Endpoint;
use crate::http::extract::From;
use crate::http::reply::json;
use crate::http::wire::{AnthropicList, AnthropicModel, Body, ModelBody, ModelKind, ModelList};
use crate::live::fusion::Fusions;
use crate::live::{InService, Live, Served};
use crate::settings::FUSION_PREFIX;
use crate::upstream::Upstreams;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use routewright_data::suggest::near_names;
use routewright_policy::Arm;
use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) const ENDPOINT: Endpoint = Endpoint {
    reply: Some(Body::of::<ModelList<'static>>()),
    ..Endpoint::get("/v1/models", "Policies and arms, as models", || get(handle))
};

/// One of them; a name may have slashes.
pub(crate) const ONE: Endpoint = Endpoint {
    reply: Some(Body::of::<ModelBody<'static>>()),
    errors: &[Code::ModelNotFound],
    ..Endpoint::get("/v1/models/{*id}", "A policy, an arm or a fused model", || get(one))
};

/// The same for an SDK whose base URL is `/route/v1`.
pub(crate) const FOR_SDKS: Endpoint = Endpoint {
    path: "/route/v1/models",
    title: "Policies and arms, as models, for an SDK whose base URL is /route/v1",
    ..ENDPOINT
};

/// Header of clients of the Anthropic API.
const ANTHROPIC: &str = "anthropic-version";
/// Owner of policies and fused models.
const OURS: &str = "routewright";

/// The arms that may be chosen.
fn available(served: &Served) -> impl Iterator<Item = &Arm> {
    served.policy.arms.iter().filter(|arm| !arm.retired)
}

async fn handle(
    State(live): State<Arc<InService>>,
    State(fusions): State<Arc<Fusions>>,
    State(gateway): State<Arc<Gateway>>,
    From { caller, headers, .. }: From,
) -> Result<Response, ApiError> {
    let live = live.load();
    let data = all(&live, &fusions, &gateway.upstreams, &caller.allowance);
    if !headers.contains_key(ANTHROPIC) {
        return json(&ModelList { object: "list", data });
    }
    let data: Vec<AnthropicModel> = data.into_iter().map(as_anthropic).collect();
    let (first, last) = (data.first(), data.last());
    let [first_id, last_id] = [first, last].map(|model| model.map(|model| model.id.clone()));
    json(&AnthropicList { data, has_more: false, first_id, last_id })
}

async fn one(
    State(live): State<Arc<InService>>,
    State(fusions): State<Arc<Fusions>>,
    State(gateway): State<Arc<Gateway>>,
    Path(id): Path<String>,
    From { caller, headers, .. }: From,
) -> Result<Response, ApiError> {
    let live = live.load();
    let mut data = all(&live, &fusions, &gateway.upstreams, &caller.allowance);
    let Some(at) = data.iter().position(|model| model.id == id) else {
        let hint = near_names(&id, data.iter().map(|model| model.id.as_str()));
        return Err(ApiError::new(Code::ModelNotFound, format!("unknown model `{id}`; {hint}")).param("id"));
    };
    let found = data.swap_remove(at);
    if headers.contains_key(ANTHROPIC) { json(&as_anthropic(found)) } else { json(&found) }
}

/// Everything that has a name here: policies, then arms and other models that are called, then fused models; of models
/// those that may answer the key.
fn all<'a>(
    live: &'a Live,
    fusions: &'a Fusions,
    upstreams: &'a Upstreams,
    key: &Allowance,
) -> Vec<ModelBody<'a>> {
    let available = |served: &'a Served| available(served).filter(|arm| key.allows(&arm.model));
    let mut data: Vec<ModelBody<'_>> = Vec::new();
    let mut arms: BTreeMap<&str, (Option<&Arm>, u64, Vec<&str>)> = BTreeMap::new();
    for served in live.policies.values() {
        let created = served.loaded_at;
        let kind = ModelKind::Policy {
            version: &served.version,
            method: &served.policy.manifest.method,
            default: live.default.as_deref() == Some(served.name.as_str()),
            arms: available(served).map(|arm| arm.model.as_str()).collect(),
            called: available(served).any(|arm| upstreams.find(&arm.model).is_some()),
        };
        data.push(model(format!("routewright/{}", served.name), created, OURS, kind));
        for arm in available(served) {
            arms.entry(&arm.model).or_insert((Some(arm), created, Vec::new())).2.push(&served.name);
        }
    }
    for upstream in upstreams.iter().filter(|upstream| key.allows(upstream.name())) {
        arms.entry(upstream.name()).or_insert((None, fusions.loaded_at, Vec::new()));
    }
    // Arms of one name are one model; its facts are those of the first policy that has it.
    data.extend(arms.into_iter().map(|(name, (arm, created, policies))| {
        let called = upstreams.find(name).map(|upstream| upstream.config());
        let kind = ModelKind::Arm {
            policies,
            mean_cost_usd: arm.and_then(|arm| arm.price.mean_cost_usd),
            input_usd_per_mtok: called
                .and_then(|config| config.input_usd_per_mtok)
                .or(arm.and_then(|arm| arm.price.input_usd_per_mtok)),
            output_usd_per_mtok: called
                .and_then(|config| config.output_usd_per_mtok)
                .or(arm.and_then(|arm| arm.price.output_usd_per_mtok)),
            mean_latency_ms: arm.and_then(|arm| arm.mean_latency_ms),
            tags: arm.map_or(&[], |arm| &arm.tags),
            called: called.is_some(),
            context_tokens: called.and_then(|config| config.context_tokens),
        };
        let owner = name.split_once('/').map_or("unknown", |(owner, _)| owner);
        model(name.to_owned(), created, owner, kind)
    }));
    let may_answer = |name: &str| key.allows(&format!("{FUSION_PREFIX}{name}"));
    data.extend(fusions.models.iter().filter(|(name, _)| may_answer(name)).map(|(name, ensemble)| {
        let kind = ModelKind::Fusion {
            system: ensemble.system().name,
            members: ensemble.backends().iter().map(|backend| backend.name()).collect(),
        };
        model(format!("{FUSION_PREFIX}{name}"), fusions.loaded_at, OURS, kind)
    }));
    data
}

fn as_anthropic(model: ModelBody<'_>) -> AnthropicModel {
    let ModelBody { id, created, .. } = model;
    AnthropicModel { kind: "model", display_name: id.clone(), id, created_at: rfc3339(created) }
}

fn model<'a>(id: String, created: u64, owned_by: &'a str, kind: ModelKind<'a>) -> ModelBody<'a> {
    ModelBody { id, object: "model", created, owned_by, kind }
}
