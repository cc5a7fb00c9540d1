//! Composition: the parts of a running server, made from its configuration and joined.

use crate::decide::Service;
use crate::decide::answer::Gateway;
use crate::http::body::Room;
use crate::http::document::Document;
use crate::http::endpoint::Endpoints;
use crate::http::fused;
use crate::http::guard::Surroundings;
use crate::http::offload::Offload;
use crate::http::parts::{PartList, Parts};
use crate::http::rates::Rates;
use crate::http::routes::{TABLE, openapi_document};
use crate::ledger::Ledger;
use crate::lifecycle::Lifecycle;
use crate::live::batcher::Batcher;
use crate::live::fusion::Fusions;
use crate::live::metrics::Metrics;
use crate::live::rollouts::Rollouts;
use crate::live::{InService, Live, Served, slot};
use crate::log::{Log, Sink};
use crate::serve_error::ServeError;
use crate::settings::keys::Keys;
use crate::settings::{PolicyEntry, ServerConfig, private};
use crate::upkeep::canary::Canaries;
use crate::upkeep::reload::{Reloader, read_keys};
use arc_swap::ArcSwap;
use routewright_policy::Policy;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A server that is loaded; only [`crate::server`] holds it whole.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) config: Arc<ServerConfig>,
    pub(crate) live: Arc<InService>,
    pub(crate) keys: Arc<ArcSwap<Keys>>,
    pub(crate) metrics: Arc<Metrics>,
    /// The log of decisions and feedback, where one is configured.
    pub(crate) ledger: Option<Arc<Ledger>>,
    pub(crate) reloader: Arc<Reloader>,
    pub(crate) canaries: Arc<Canaries>,
    pub(crate) lifecycle: Arc<Lifecycle>,
    pub(crate) log: Log,
    /// What handlers may ask for.
    pub(crate) parts: Parts,
    /// What surrounds every handler.
    pub(crate) surroundings: Arc<Surroundings>,
}

impl App {
    /// Loads every policy; `in_memory` are policies that need not be read.
    pub(crate) fn new(
        config: ServerConfig,
        in_memory: Vec<(PolicyEntry, Policy)>,
        sink: Arc<dyn Sink>,
    ) -> Result<Self, ServeError> {
        let (limits, log) = (config.limits, Log(sink));
        let config = Arc::new(config);
        let endpoints = Endpoints::new(TABLE);
        let metrics = Arc::new(Metrics::new(endpoints.labels()));
        let rollouts = Arc::new(Rollouts::start().map_err(ServeError::Threads)?);
        let live = Arc::new(InService::new(load(&config, in_memory, &metrics, &rollouts)?));
        let keys = Arc::new(ArcSwap::from_pointee(read_keys(&config)?));
        let fusions = Arc::new(Fusions::open(&config)?);
        private::keep(&config, &log);
        let open = |store| Ledger::open(store, log.clone()).map(Arc::new);
        let ledger = config.store.as_ref().map(open).transpose()?;
        let service = Arc::new(Service {
            live: Arc::clone(&live),
            batcher: Batcher::start(&limits).map_err(ServeError::Threads)?,
            rollouts: Arc::clone(&rollouts),
            ledger: ledger.clone(),
            limits,
        });
        let gateway = Arc::new(Gateway::new(&service, &config, fused::routes(&fusions, &log), &log)?);
        let reloader = Arc::new(Reloader::new(&config, &live, &metrics, &rollouts, &keys, &log));
        let canaries = Arc::new(Canaries::new(&config, &live, &log));
        let rates = Arc::new(Rates::new(limits.rate_per_second, limits.rate_burst));
        let lifecycle = Arc::new(Lifecycle::default());
        let surroundings = Surroundings {
            config: Arc::clone(&config),
            endpoints,
            keys: Arc::clone(&keys),
            rates: Arc::clone(&rates),
            quotas: Arc::clone(&gateway.quotas),
            bodies: Room::new(&limits),
            metrics: Arc::clone(&metrics),
            log: log.clone(),
        };
        let parts = PartList {
            service,
            gateway,
            live: Arc::clone(&live),
            ledger: ledger.clone(),
            fusions,
            reloader: Arc::clone(&reloader),
            canaries: Arc::clone(&canaries),
            rollouts,
            metrics: Arc::clone(&metrics),
            keys: Arc::clone(&keys),
            rates,
            offload: Offload::new(limits.worker_count()),
            limits,
            lifecycle: Arc::clone(&lifecycle),
            log: log.clone(),
            document: Document(Arc::new(openapi_document())),
        };
        Ok(Self {
            config,
            live,
            keys,
            metrics,
            ledger,
            reloader,
            canaries,
            lifecycle,
            log,
            parts: Parts::from(parts),
            surroundings: Arc::new(surroundings),
        })
    }
}

/// Every policy of the configuration, and those in memory.
fn load(
    config: &ServerConfig,
    in_memory: Vec<(PolicyEntry, Policy)>,
    metrics: &Metrics,
    rollouts: &Rollouts,
) -> Result<Live, ServeError> {
    let mut challengers = BTreeMap::new();
    let enter = |entry| slot::enter(entry, metrics, rollouts, &mut challengers);
    let loaded = config.policies.iter().map(enter);
    let given = in_memory.into_iter();
    let given = given.map(|(entry, policy)| Served::new(&entry, None, policy, metrics).map(Arc::new));
    let served = loaded.chain(given).collect::<Result<Vec<_>, _>>()?;
    Live::of(served, challengers, config.default_policy.as_ref())
}
