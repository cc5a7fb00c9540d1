//! What the log and the metrics learn of a call, once, however it ends.

use super::tab::Tab;
use crate::clock::now_ms;
use crate::dialect::Dialect;
use crate::dialect::bill::Tariff;
use crate::dialect::usage::Counts;
use crate::dialect::watch::Watch;
use crate::ledger::{CallRecord, FeedbackRecord, Hold, Ledger};
use crate::upstream::{Outcome, Spent, Upstream};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Nano-dollars in a dollar.
const NANO: f64 = 1e9;

/// A call under way. Dropped without an end, its caller has gone.
#[derive(Debug)]
pub(super) struct Report {
    upstream: Arc<Upstream>,
    ledger: Option<Arc<Ledger>>,
    /// Id of the decision, and whose key asked; `None` where the caller named the model.
    decision: Option<(String, Option<Arc<str>>)>,
    began: Instant,
    first: Option<Duration>,
    /// What is known of tokens and price so far.
    pub(super) tally: Tally,
    tab: Arc<Tab>,
    /// What is held for it of the budgets of its key.
    pub(super) hold: Option<Hold>,
    /// Whether it may have reached the arm, and whether an answer of it began.
    is_sent: bool,
    pub(super) is_answered: bool,
    ended: bool,
}

/// What an answer took, as far as it is known.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    pub(super) finish: Option<String>,
    pub(super) input: Option<u64>,
    pub(super) cache_read: u64,
    pub(super) cache_write: u64,
    pub(super) output: Option<u64>,
    pub(super) nano_usd: Option<u64>,
}

impl Tally {
    /// Takes in what a server counted; a price is known only where it counted all.
    pub(super) fn count(&mut self, counts: Option<&Counts>, api: Dialect, tariff: Option<&Tariff>) {
        let Some(counts) = counts else { return };
        let usage = counts.settle(api);
        if counts.has_input() {
            self.input = Some(usage.uncached);
            (self.cache_read, self.cache_write) = (usage.read, usage.write_5m.saturating_add(usage.write_1h));
        }
        if counts.has_output() {
            self.output = Some(usage.output);
        }
        // Embeddings have no output to count.
        if counts.has_input() && (counts.has_output() || api == Dialect::Embeddings) {
            self.nano_usd = tariff.map(|tariff| tariff.bill(&usage));
        }
    }

    /// Takes in what a stream has come to.
    pub(super) fn of_watch(&mut self, watch: &Watch, api: Dialect, tariff: Option<&Tariff>) {
        self.finish = watch.finish().map(str::to_owned);
        self.count(watch.counts(), api, tariff);
    }
}

impl Report {
    pub(super) fn new(
        upstream: &Arc<Upstream>,
        ledger: Option<Arc<Ledger>>,
        tab: Arc<Tab>,
        decision: Option<(String, Option<Arc<str>>)>,
    ) -> Self {
        Self {
            upstream: Arc::clone(upstream),
            ledger,
            decision,
            began: Instant::now(),
            first: None,
            tally: Tally::default(),
            tab,
            hold: None,
            is_sent: false,
            is_answered: false,
            ended: false,
        }
    }

    /// It goes out now.
    pub(super) fn sends(&mut self) {
        (self.is_sent, self.began) = (true, Instant::now());
    }

    /// Takes in what a stream has come to.
    pub(super) fn watched(&mut self, watch: &Watch, api: Dialect) {
        self.tally.of_watch(watch, api, self.upstream.tariff());
    }

    /// The first piece of the answer is there.
    pub(super) fn begins(&mut self) {
        self.first.get_or_insert_with(|| self.began.elapsed());
    }

    /// Time since the call began.
    pub(super) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// The call has ended; only the first end counts.
    pub(super) fn end(&mut self, outcome: Outcome) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let tally = &self.tally;
        let spent = Spent {
            input: tally.input.unwrap_or_default(),
            cache_read: tally.cache_read,
            cache_write: tally.cache_write,
            output: tally.output.unwrap_or_default(),
            nano_usd: tally.nano_usd,
            first: self.first,
            whole: self.began.elapsed(),
        };
        self.upstream.count(outcome, &spent);
        self.settle(outcome);
        let tally = &self.tally;
        let (Some(ledger), Some((decision_id, tenant))) = (&self.ledger, &self.decision) else { return };
        let call = CallRecord {
            outcome: outcome.name().to_owned(),
            finish: tally.finish.clone(),
            input_tokens: tally.input.map(|input| input + tally.cache_read + tally.cache_write),
            output_tokens: tally.output,
            first_ms: self.first.map(|first| first.as_secs_f64() * 1000.0),
        };
        let record = FeedbackRecord::of_call(decision_id, tenant.as_deref(), call, now_ms());
        ledger.note(FeedbackRecord {
            cost_usd: tally.nano_usd.map(|nano| nano as f64 / NANO),
            latency_ms: (outcome == Outcome::Ok).then(|| self.elapsed().as_secs_f64() * 1000.0),
            // What was passed on, in part or whole, was acted upon; a call that failed before was not.
            activation: self.first.is_some(),
            ..record
        });
    }
}

impl Report {
    /// Settles what was held and charged: by what the server counted, else in full where the call may have been carried
    /// out, since then it may be billed.
    fn settle(&mut self, outcome: Outcome) {
        let may_be_billed = match outcome {
            Outcome::Ok | Outcome::Cancelled | Outcome::TimedOut | Outcome::Broken => self.is_sent,
            Outcome::NotCalled | Outcome::Unreachable => false,
            Outcome::Refused | Outcome::RateLimited | Outcome::Failed => self.is_answered,
        };
        let Tally { input, output, cache_read, cache_write, nano_usd, .. } = self.tally;
        let counted = input.map(|input| {
            [cache_read, cache_write, output.unwrap_or(0)].into_iter().fold(input, u64::saturating_add)
        });
        if counted.is_some() || may_be_billed {
            self.tab.uses(counted);
        }
        if let Some(hold) = self.hold.take() {
            let unknown = if may_be_billed { hold.amount() } else { 0 };
            hold.charge(nano_usd.unwrap_or(unknown));
        }
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        self.end(Outcome::Cancelled);
    }
}
