//! What a request takes of the limits and budgets of its key: tokens are charged by estimate before anything is called
//! and corrected at the end, and the greatest likely price of each call is held before it is made.

use crate::caller::Allowance;
use crate::clock::rfc3339;
use crate::dialect::Dialect;
use crate::dialect::needs::Needs;
use crate::error::{ApiError, Code};
use crate::ledger::{Account, Balance, Hold, Ledger, unavailable};
use crate::live::query::Reachable;
use crate::live::quota::Quotas;
use crate::upstream::{Upstream, Upstreams};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Tokens that an image or a file is taken for.
const BINARY_TOKENS: u64 = 1600;
/// How long after its deadline a call may still be settled.
const SETTLE_WITHIN: Duration = Duration::from_secs(60);

/// What the budgets of a key leave of the models.
#[derive(Debug)]
pub(super) struct Narrowed {
    /// What may still be spent, nano-dollars.
    pub(super) room: u64,
    /// Models that may cost more.
    pub(super) dear: BTreeSet<String>,
    /// The error where no other model can answer.
    pub(super) error: ApiError,
}

/// What a request takes. Dropped with the last call that is made for it, it corrects what was charged.
#[derive(Debug, Default)]
pub(crate) struct Tab {
    key: Arc<Allowance>,
    quotas: Option<Arc<Quotas>>,
    ledger: Option<Arc<Ledger>>,
    /// Tokens of one call, estimated: the prompt, and the answer where it may be as long as that.
    input: u64,
    output: u64,
    /// How many answers a call gives.
    n: u64,
    /// Whether what it goes on from is kept at the model's server, so that its length is not known here.
    is_pinned: bool,
    /// Tokens charged.
    charged: u64,
    /// Tokens used by its calls so far.
    used: AtomicU64,
    /// Why a call was not paid for.
    refused: Mutex<Option<ApiError>>,
}

/// Tokens of a prompt, rather too many than too few.
fn input_tokens(needs: &Needs) -> u64 {
    let text = needs.size.tokens();
    let binary = needs.images.saturating_add(needs.files).saturating_add(u64::from(needs.audio));
    text.saturating_add(text.div_ceil(10)).saturating_add(binary.saturating_mul(BINARY_TOKENS))
}

impl Tab {
    /// Opens the tab of a request, and charges its tokens; an answer of unknown length is taken for `reserve` tokens.
    ///
    /// # Errors
    /// If its key has used as many as it may.
    pub(super) fn open(
        key: &Arc<Allowance>,
        quotas: &Arc<Quotas>,
        ledger: Option<&Arc<Ledger>>,
        (needs, api): (&Needs, Dialect),
        reserve: u64,
    ) -> Result<Arc<Self>, ApiError> {
        let counts = key.counts_tokens();
        let input = input_tokens(needs);
        let output = match api {
            Dialect::Embeddings => 0,
            _ => needs.max_output.unwrap_or(reserve),
        };
        let n = needs.n.max(1);
        // What is not known is charged once it is there.
        let known = if needs.max_output.is_some() { output.saturating_mul(n) } else { 0 };
        let charged = input.saturating_add(known);
        if counts {
            quotas.charge(key, charged, Instant::now())?;
        }
        Ok(Arc::new(Self {
            key: Arc::clone(key),
            quotas: counts.then(|| Arc::clone(quotas)),
            ledger: ledger.cloned(),
            input,
            output,
            n,
            is_pinned: needs.pinned.is_some(),
            charged,
            used: AtomicU64::new(0),
            refused: Mutex::default(),
        }))
    }

    /// Whether a model may answer.
    pub(super) fn allows(&self, model: &str) -> bool {
        self.key.allows(model)
    }

    /// Whether only some models may.
    pub(super) fn is_restricted(&self) -> bool {
        self.key.models.is_some()
    }

    /// The greatest likely price of a call, nano-dollars; `None` where its model has no prices.
    fn price(&self, upstream: &Upstream) -> Option<u64> {
        let window = upstream.config().context_tokens;
        let input = if self.is_pinned { self.input.max(window.unwrap_or(0)) } else { self.input };
        let output = window.map_or(self.output, |window| self.output.min(window));
        upstream.tariff().map(|tariff| tariff.reserve(input, output.saturating_mul(self.n)))
    }

    /// Holds the greatest likely price of a call that ends by then; `None` where its key has no budget.
    ///
    /// # Errors
    /// If it does not fit into a budget, is not known, or the store cannot take it.
    pub(super) async fn hold(
        &self,
        upstream: &Upstream,
        deadline: Instant,
    ) -> Result<Option<Hold>, ApiError> {
        let Some(account) = account(&self.key) else { return Ok(None) };
        let nano = self.price(upstream).ok_or_else(|| unpriced(upstream.name()))?;
        let lifetime = deadline.saturating_duration_since(Instant::now()) + SETTLE_WITHIN;
        let held = self.ledger()?.budgets().hold(account, nano, lifetime).await.map_err(unavailable)?;
        held.map(Some).map_err(|balance| {
            let error = exceeded(&balance, Some(nano));
            *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.clone());
            error
        })
    }

    /// Takes the models out that the budgets of the key have no room for.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub(super) async fn narrow(
        &self,
        reachable: &mut Reachable,
        upstreams: &Upstreams,
    ) -> Result<Option<Narrowed>, ApiError> {
        let Some(account) = account(&self.key) else { return Ok(None) };
        let tightest = self.ledger()?.budgets().tightest(account).await.map_err(unavailable)?;
        let Some(balance) = tightest else { return Ok(None) };
        let room = balance.room().unsigned_abs();
        let mut narrowed = Narrowed { room, dear: BTreeSet::new(), error: exceeded(&balance, None) };
        let mut unpriced = Vec::new();
        for name in &reachable.resting {
            match upstreams.find(name).and_then(|upstream| self.price(upstream)) {
                Some(nano) if nano <= room => {}
                Some(_) => {
                    narrowed.dear.insert(name.clone());
                }
                None => unpriced.push(name.clone()),
            }
        }
        let stays = |name: &String| !narrowed.dear.contains(name) && !unpriced.contains(name);
        reachable.models.retain(stays);
        reachable.resting.retain(stays);
        if !unpriced.is_empty() {
            let more = format!("; the budget of this key needs prices, which {} lack", unpriced.join(", "));
            reachable.why.push_str(&more);
        }
        Ok(Some(narrowed))
    }

    /// Why a call was not paid for.
    pub(super) fn refusal(&self) -> Option<ApiError> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A call used so many tokens; where it did not say, those that were charged for one.
    pub(super) fn uses(&self, tokens: Option<u64>) {
        let tokens = tokens.unwrap_or(self.charged);
        // It stays at the greatest number there is.
        let _before = self.used.fetch_update(Relaxed, Relaxed, |used| Some(used.saturating_add(tokens)));
    }

    fn ledger(&self) -> Result<&Arc<Ledger>, ApiError> {
        let none = || ApiError::internal("a key has a budget and there is no store");
        self.ledger.as_ref().ok_or_else(none)
    }
}

impl Drop for Tab {
    fn drop(&mut self) {
        if let Some(quotas) = &self.quotas {
            quotas.correct(&self.key, self.charged, self.used.load(Relaxed), Instant::now());
        }
    }
}

/// The account of a key with a budget.
pub(crate) fn account(key: &Allowance) -> Option<Account> {
    let nano = |budget: Option<u64>| budget.map(|nano| i64::try_from(nano).unwrap_or(i64::MAX));
    let account =
        Account { key: key.id.to_string(), day: nano(key.budget_day), month: nano(key.budget_month) };
    key.has_budget().then_some(account)
}

fn unpriced(model: &str) -> ApiError {
    let message = format!(
        "`{model}` has no prices, so that what it costs cannot be held against the budget of this key; expected a \
         model whose section has `input_usd_per_mtok` and `output_usd_per_mtok`"
    );
    ApiError::new(Code::NoEligibleCandidate, message).param("model")
}

fn exceeded(balance: &Balance, nano: Option<u64>) -> ApiError {
    let usd = |nano: i64| nano as f64 / 1e9;
    let asked = match nano {
        Some(nano) => format!("this call may cost {} US dollars more", nano as f64 / 1e9),
        None => "no model that could answer costs as little as is left".to_owned(),
    };
    let seconds = u64::try_from(balance.ends_in_ms / 1000).unwrap_or(0).max(1);
    let end = u64::try_from(balance.span_ms[1] / 1000).unwrap_or(0);
    let message = format!(
        "the budget of this key for the {} is {} US dollars, of which {} are spent and {} held for calls under way; \
         {asked}. It is renewed at {}",
        balance.window.name(),
        usd(balance.limit),
        usd(balance.spent),
        usd(balance.held),
        rfc3339(end),
    );
    ApiError { retry_after: Some(seconds), ..ApiError::new(Code::BudgetExceeded, message) }
}
