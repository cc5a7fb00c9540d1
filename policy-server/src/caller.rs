//! Who calls: a key with what it may use, and whose share of the server a request takes.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

/// One share of the server: a key, or an address where no key is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Share {
    /// Name of a key.
    Key(Arc<str>),
    /// An address; of IPv6 the network of 64 bits, which one customer has whole.
    Address(IpAddr),
}

impl Share {
    /// The share of an address.
    pub(crate) fn of_address(address: IpAddr) -> Self {
        Self::Address(match address.to_canonical() {
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

/// What a key may use; `None` sets no limit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Allowance {
    /// Public id of the key; empty where no key is asked for.
    pub(crate) id: Arc<str>,
    /// Models that may answer it.
    pub(crate) models: Option<BTreeSet<String>>,
    /// Requests that models answer, a minute.
    pub(crate) requests_per_minute: Option<u64>,
    /// Tokens of such requests and of their answers, a minute.
    pub(crate) tokens_per_minute: Option<u64>,
    /// Nano-dollars that its calls may cost in one day (UTC).
    pub(crate) budget_day: Option<u64>,
    /// Nano-dollars that its calls may cost in one month (UTC).
    pub(crate) budget_month: Option<u64>,
    /// How long answers are kept for it.
    pub(crate) cache: Option<Duration>,
    /// Whether answers that are drawn at random are kept, too.
    pub(crate) cache_samples: bool,
}

impl Allowance {
    /// Whether a model may answer it.
    pub(crate) fn allows(&self, model: &str) -> bool {
        self.models.as_ref().is_none_or(|models| models.contains(model))
    }

    /// Whether its calls have a budget.
    pub(crate) fn has_budget(&self) -> bool {
        self.budget_day.is_some() || self.budget_month.is_some()
    }

    /// Whether the tokens of its calls are counted, for a limit or for their price.
    pub(crate) fn counts_tokens(&self) -> bool {
        self.has_budget() || self.tokens_per_minute.is_some()
    }
}

/// Who sent a request.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// Name of the key it came with; `None` where keys are not asked for.
    pub(crate) key: Option<Arc<str>>,
    /// Whose share of the server it takes.
    pub(crate) share: Share,
    /// What its key may use.
    pub(crate) allowance: Arc<Allowance>,
}

impl Default for Caller {
    /// Somebody on this machine.
    fn default() -> Self {
        let share = Share::Address(IpAddr::V4(Ipv4Addr::LOCALHOST));
        Self { key: None, share, allowance: Arc::default() }
    }
}
