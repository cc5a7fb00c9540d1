//! The models that the server calls: one [`Upstream`] an arm, made of its section `[models.NAME]`.
//!
//! A request to an arm is built from its `Upstream` alone: address, credential and headers are never passed beside each
//! other, so that none of one arm reaches another. Of the caller's headers those of an allow-list go out, redirects are
//! never followed, and a host is connected to at an address that was checked. Bodies pass through as they are.
//!
//! Whoever calls decides what a reply means: an upstream knows connections, deadlines and breakers, no dialect.

mod address;
mod breaker;
mod connect;
mod error;
mod headers;
mod local;
mod meter;
mod pool;
mod reply;
mod request;
mod retries;
mod send;

pub(crate) use breaker::Verdict;
pub(crate) use error::CallError;
pub(crate) use local::Local;
pub(crate) use meter::{Outcome, Spent};
pub(crate) use reply::{Chunks, Reply};
pub(crate) use request::Outgoing;

use crate::dialect::bill::{PriceError, Prices, Tariff, per_million};
use crate::settings::{BaseUrl, ModelConfig};
use breaker::Breaker;
use connect::Connector;
use meter::Meter;
use pool::Pool;
use retries::RetryBudget;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::Semaphore;

/// Every model that is called, by name.
#[derive(Debug, Default)]
pub(crate) struct Upstreams(BTreeMap<String, Arc<Upstream>>);

/// One model that is called.
#[derive(Debug)]
pub(crate) struct Upstream {
    name: String,
    /// What its server calls it.
    model: String,
    config: ModelConfig,
    url: BaseUrl,
    connector: Connector,
    pool: Pool,
    breaker: Breaker,
    slots: Arc<Semaphore>,
    meter: Meter,
    /// What it costs; `None` where its section has no prices.
    tariff: Option<Tariff>,
    retries: RetryBudget,
}

impl Upstreams {
    /// The models of a configuration; `local` answers for those that are fused models of this server.
    ///
    /// # Errors
    /// If one cannot be called as its section says: its name, and why.
    pub(crate) fn open(
        models: &BTreeMap<String, ModelConfig>,
        local: &Arc<Local>,
    ) -> Result<Self, (String, String)> {
        let public = connect::tls(None).map_err(|why| (String::new(), why))?;
        let mut all = BTreeMap::new();
        for (name, config) in models {
            let refuse = |why: String| (name.clone(), why);
            let url = config.url().ok_or_else(|| refuse("its `base_url` is none".to_owned()))?;
            let own =
                config.ca_file.as_deref().map(|file| connect::tls(Some(file))).transpose().map_err(refuse)?;
            let connector = match config.fusion {
                Some(_) => Connector::Local(Arc::clone(local)),
                None => Connector::remote(&url, config.allowed_networks(), own.as_ref().unwrap_or(&public)),
            };
            let upstream = Upstream {
                name: name.clone(),
                model: config.model_of(name),
                config: config.clone(),
                url,
                connector,
                pool: Pool::default(),
                breaker: Breaker::default(),
                slots: Arc::new(Semaphore::new(config.concurrent_max.min(Semaphore::MAX_PERMITS))),
                meter: Meter::default(),
                tariff: tariff(config),
                retries: RetryBudget::default(),
            };
            all.insert(name.clone(), Arc::new(upstream));
        }
        Ok(Self(all))
    }

    /// The model of a name.
    pub(crate) fn find(&self, name: &str) -> Option<&Arc<Upstream>> {
        self.0.get(name)
    }

    /// Every model, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Upstream>> {
        self.0.values()
    }

    /// Whether no model is called.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What was measured, in the text of Prometheus.
    pub(crate) fn render(&self) -> String {
        meter::render(self.0.values().map(|upstream| (&*upstream.name, &upstream.meter, &upstream.breaker)))
    }
}

impl Upstream {
    /// Name of its section, and of the arm.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// What its server calls it.
    pub(crate) fn model(&self) -> &str {
        &self.model
    }

    /// What it costs; `None` where its section has no prices.
    pub(crate) fn tariff(&self) -> Option<&Tariff> {
        self.tariff.as_ref()
    }

    /// Whether a call may be made once more: a fifth of its calls may.
    pub(crate) fn may_retry(&self) -> bool {
        self.retries.take()
    }

    /// Until when it is not to be called, where that is so.
    pub(crate) fn rests_until(&self, now: Instant) -> Option<Instant> {
        self.breaker.rests_until(now)
    }

    /// Leaves it alone until then: its server said so.
    pub(crate) fn rest(&self, until: Instant) {
        self.breaker.rest(until);
    }

    /// Counts a call that has ended.
    pub(crate) fn count(&self, outcome: Outcome, spent: &Spent) {
        self.meter.count(outcome, spent);
    }
}

fn tariff(config: &ModelConfig) -> Option<Tariff> {
    let price = |usd: Option<f64>| -> Option<u64> {
        let read: Result<u64, PriceError> = per_million(&usd?.to_string());
        read.ok()
    };
    let (input, output) = (price(config.input_usd_per_mtok)?, price(config.output_usd_per_mtok)?);
    let write = price(config.cache_write_usd_per_mtok).unwrap_or(input);
    let read = price(config.cached_input_usd_per_mtok).unwrap_or(input);
    Some(Tariff::flat(Prices { read, write_5m: write, write_1h: write, ..Prices::of(input, output) }))
}
