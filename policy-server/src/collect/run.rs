//! Makes the calls: so many of each model at the same time, again after failures, within the budget, each in the
//! journal before and after.

use super::call::{self, Then, Trouble};
use super::error::CollectError;
use super::job::Job;
use super::journal::{Came, Journal};
use super::local::{self, Drawing};
use super::members::{Member, Reach};
use super::pace::Pace;
use super::purse::Purse;
use super::reply::Reply;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;

/// The first pause before another try; it doubles up to the longest.
const PAUSE: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// How far a collection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Calls there are to make, those of earlier runs included.
    pub total: u64,
    /// Calls that have ended.
    pub done: u64,
    /// Those of them that failed.
    pub failed: u64,
    /// Nano-USD spent so far, by earlier runs too.
    pub nano_usd: u64,
}

/// Hears of every call that ends.
pub type Heard = Arc<dyn Fn(Progress) + Send + Sync>;

/// Why no more calls are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stopped {
    /// The next call might cost more than is left of the budget.
    Budget,
    /// The caller asked for an end.
    Interrupt,
}

/// What all calls share.
pub(super) struct Run {
    pub(super) members: Vec<Member>,
    pub(super) paces: Vec<Pace>,
    pub(super) journal: Journal,
    pub(super) purse: Purse,
    /// Tries of a call at most.
    pub(super) attempts: u32,
    /// Whether calls that failed in an earlier run are made again.
    pub(super) retry_failed: bool,
    /// Raised by the caller, for an end.
    pub(super) interrupt: Arc<AtomicBool>,
    pub(super) is_broke: AtomicBool,
    pub(super) progress: Mutex<Progress>,
    pub(super) heard: Heard,
}

/// The calls of one model, in order; `None` after the last, `Some(None)` where there is none to make.
pub(super) type Jobs = Arc<dyn Fn(usize, usize) -> Option<Result<Option<Job>, CollectError>> + Send + Sync>;

impl Run {
    /// Makes the calls of every model.
    ///
    /// # Errors
    /// If the journal cannot be read or written.
    pub(super) async fn play(self: &Arc<Self>, jobs: &Jobs) -> Result<(), CollectError> {
        let mut workers = JoinSet::new();
        for at in 0..self.members.len() {
            let next = Arc::new(AtomicUsize::new(0));
            for _ in 0..self.concurrent(at) {
                let (run, jobs, next) = (Arc::clone(self), Arc::clone(jobs), Arc::clone(&next));
                workers.spawn(async move { run.work(at, &jobs, &next).await });
            }
        }
        while let Some(worked) = workers.join_next().await {
            match worked {
                Ok(worked) => worked?,
                Err(error) => {
                    return Err(CollectError::Options(format!("a worker of the collection ended: {error}")));
                }
            }
        }
        Ok(())
    }

    fn concurrent(&self, at: usize) -> usize {
        let member = &self.members[at];
        match &member.reach {
            Reach::Http(upstream) => member.asking.concurrent.min(upstream.config().concurrent_max),
            // A model in this process has every core already.
            Reach::Local(_) => 1,
        }
    }

    /// Why no more calls are made, where that is so.
    pub(super) fn stopped(&self) -> Option<Stopped> {
        match () {
            () if self.is_broke.load(Ordering::Relaxed) => Some(Stopped::Budget),
            () if self.interrupt.load(Ordering::Relaxed) => Some(Stopped::Interrupt),
            () => None,
        }
    }

    async fn work(&self, at: usize, jobs: &Jobs, next: &AtomicUsize) -> Result<(), CollectError> {
        while self.stopped().is_none() && !self.paces[at].is_given_up() {
            let Some(job) = jobs(at, next.fetch_add(1, Ordering::Relaxed)) else { return Ok(()) };
            let Some(job) = job? else { continue };
            match self.journal.ended(&job.key) {
                Some(failed) if !(failed && self.retry_failed) => self.count(failed),
                _ => self.make(at, &job).await?,
            }
        }
        Ok(())
    }

    fn count(&self, failed: bool) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.done += 1;
        progress.failed += u64::from(failed);
        progress.nano_usd = self.purse.spent();
        let now = *progress;
        drop(progress);
        (self.heard)(now);
    }

    /// Makes one call, with all its tries.
    async fn make(&self, at: usize, job: &Job) -> Result<(), CollectError> {
        let (member, pace) = (&self.members[at], &self.paces[at]);
        let most = job.most(member, member.tariff.as_ref());
        // A call that an earlier run left under way may have been paid.
        let (mut tries, mut paid, mut is_asked) = (0, self.journal.owed(&job.key), false);
        let came = loop {
            pace.turn().await;
            if self.stopped().is_some() || pace.is_given_up() {
                // Not ended: the next run makes it.
                return if is_asked { self.journal.ask(&job.key, paid).await } else { Ok(()) };
            }
            if !self.purse.hold(most).await {
                self.is_broke.store(true, Ordering::Relaxed);
                return if is_asked { self.journal.ask(&job.key, paid).await } else { Ok(()) };
            }
            self.journal.ask(&job.key, paid.saturating_add(most)).await?;
            is_asked = true;
            let trouble = match self.once(member, job).await {
                Ok(reply) => {
                    // A server that counts nothing may have written as much as it was allowed to.
                    let cost = reply.nano_usd.unwrap_or(most);
                    self.purse.settle(most, cost);
                    paid = paid.saturating_add(cost);
                    break Came::Reply(Box::new(reply));
                }
                Err(trouble) => trouble,
            };
            let cost = if trouble.is_paid_maybe { most } else { 0 };
            self.purse.settle(most, cost);
            paid = paid.saturating_add(cost);
            tries += u32::from(!matches!(trouble.then, Then::Later(_)));
            match trouble.then {
                Then::Later(wait) => tokio::time::sleep(wait).await,
                Then::Again(wait) if tries < self.attempts => {
                    pace.rest(wait.unwrap_or_default());
                    tokio::time::sleep(pause(job, tries)).await;
                }
                Then::Again(_) | Then::Never => break Came::Failed(reason(&trouble, tries)),
            }
        };
        let failed = matches!(came, Came::Failed(_));
        pace.count(!failed);
        self.journal.end(&job.key, job.called.clone(), paid, came).await?;
        self.count(failed);
        Ok(())
    }

    async fn once(&self, member: &Member, job: &Job) -> Result<Reply, Trouble> {
        match &member.reach {
            Reach::Http(upstream) => call::call(upstream, &job.body, member.asking.max_tokens).await,
            Reach::Local(backend) => {
                let (backend, tariff) = (Arc::clone(backend), member.tariff.clone());
                let messages = job.body["messages"].as_array().cloned().unwrap_or_default();
                let number = |key: &str, missing: f64| job.body[key].as_f64().unwrap_or(missing);
                let drawing = Drawing {
                    tokens: job.body[&member.asking.max_tokens_field].as_u64().unwrap_or_default(),
                    temperature: number("temperature", 0.0),
                    top_p: number("top_p", 1.0),
                    seed: job.seed,
                };
                let write = move || local::call(&*backend, &messages, drawing, tariff.as_ref());
                let died = |error: tokio::task::JoinError| Trouble {
                    why: format!("the model failed: {error}"),
                    then: Then::Never,
                    is_paid_maybe: false,
                };
                tokio::task::spawn_blocking(write).await.map_err(died)?
            }
        }
    }
}

/// Three quarters to all of a pause that doubles, so that calls that failed together do not come back together.
fn pause(job: &Job, tries: u32) -> Duration {
    let longest = PAUSE.saturating_mul(2_u32.saturating_pow(tries.saturating_sub(1))).min(PAUSE_MAX);
    longest * (75 + u32::try_from(job.seed % 26).unwrap_or_default()) / 100
}

fn reason(trouble: &Trouble, tries: u32) -> String {
    if tries > 1 { format!("{} ({tries} tries)", trouble.why) } else { trouble.why.clone() }
}
