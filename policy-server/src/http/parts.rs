//! What handlers may ask for. Each names in its arguments the parts it uses, and gets no others.

use crate::decide::Service;
use crate::decide::answer::Gateway;
use crate::http::document::Document;
use crate::http::offload::Offload;
use crate::http::rates::Rates;
use crate::ledger::Ledger;
use crate::lifecycle::Lifecycle;
use crate::live::InService;
use crate::live::fusion::Fusions;
use crate::live::metrics::Metrics;
use crate::live::rollouts::Rollouts;
use crate::log::Log;
use crate::settings::Limits;
use crate::settings::keys::Keys;
use crate::upkeep::canary::Canaries;
use crate::upkeep::reload::Reloader;
use arc_swap::ArcSwap;
use axum::extract::FromRef;
use std::sync::Arc;

/// Declares the parts, and lets a handler take each of them as `State`.
macro_rules! parts {
    ($($(#[$doc:meta])* $name:ident: $kind:ty,)*) => {
        /// The parts, made by the composition of the server.
        #[derive(Debug)]
        pub(crate) struct PartList { $($(#[$doc])* pub(crate) $name: $kind,)* }

        $(impl FromRef<Parts> for $kind {
            fn from_ref(parts: &Parts) -> Self {
                parts.0.$name.clone()
            }
        })*
    };
}

parts! {
    /// Decides.
    service: Arc<Service>,
    /// Calls models, and answers with what they say.
    gateway: Arc<Gateway>,
    /// The policies in service.
    live: Arc<InService>,
    /// The log of decisions and feedback, where one is configured.
    ledger: Option<Arc<Ledger>>,
    /// Fused models in service.
    fusions: Arc<Fusions>,
    /// Takes what is on disk into service.
    reloader: Arc<Reloader>,
    /// The registries, and how their canaries do.
    canaries: Arc<Canaries>,
    /// Counts of canaries and shadows.
    rollouts: Arc<Rollouts>,
    metrics: Arc<Metrics>,
    /// Who may call, and what each may use.
    keys: Arc<ArcSwap<Keys>>,
    /// How often each caller may call.
    rates: Arc<Rates>,
    offload: Offload,
    limits: Limits,
    lifecycle: Arc<Lifecycle>,
    log: Log,
    /// The description of every route.
    document: Document,
}

/// The parts, shared by every request.
#[derive(Debug, Clone)]
pub(crate) struct Parts(Arc<PartList>);

impl From<PartList> for Parts {
    fn from(parts: PartList) -> Self {
        Self(Arc::new(parts))
    }
}
