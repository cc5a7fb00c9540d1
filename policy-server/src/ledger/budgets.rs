//! The one door to the accounts of keys: group commit, and holds that are settled however a call ends.
//!
//! Orders queue for one thread, which has the writer of the store carry out all that wait in one transaction; while it
//! waits for the disk the next group gathers. A hold is a value: dropped, it is settled by what was set as its charge,
//! so that none outlives its call while the server lives. Settlements that the store does not take are kept and tried
//! again; holds of a server that has died are charged by whoever comes next ([`super::account`]).

use crate::clock::now_ms;
use crate::exposition::{escape, family, line};
use crate::ledger::account::{AMOUNT_MAX, Account, Balance, Done, Order, Window};
use crate::ledger::store::StoreError;
use crate::ledger::writer::Writer;
use crate::log::{Level, Log, chain};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Orders of one transaction.
const GROUP_MAX: usize = 512;
/// Pause before settlements that the store did not take are tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// Settlements that are kept for that; the holds of further ones are charged in full when they are overdue.
const UNSETTLED_MAX: usize = 65_536;

/// An amount that is held for a call, nano-dollars.
#[derive(Debug)]
pub(crate) struct Hold {
    id: String,
    amount: u64,
    charge: u64,
    queue: Sender<Job>,
}

impl Hold {
    /// What is held.
    pub(crate) fn amount(&self) -> u64 {
        self.amount
    }

    /// Settles it by what the call cost; dropped without that, it is settled as a call that was not made.
    pub(crate) fn charge(mut self, nano: u64) {
        self.charge = nano;
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let order = Order::Settle { id: std::mem::take(&mut self.id), charge: nano(self.charge) };
        // Once the thread has ended nobody is left to settle with: the hold is charged in full when it is overdue.
        let _ended = self.queue.send(Job::Do(order, Waits::Nobody));
    }
}

/// What comes of an attempt to hold an amount.
pub(crate) type Held = Result<Hold, Balance>;

/// Who waits for an order.
#[derive(Debug)]
enum Waits {
    Nobody,
    Holder(u64, oneshot::Sender<Result<Held, StoreError>>),
    Reader(oneshot::Sender<Result<Done, StoreError>>),
}

#[derive(Debug)]
enum Job {
    Do(Order, Waits),
    /// Ends the thread, once what was queued before is done.
    Stop,
}

/// The accounts of a store.
#[derive(Debug)]
pub(crate) struct Budgets {
    queue: Sender<Job>,
    thread: Option<JoinHandle<()>>,
    /// Calls refused since the start, by key and window.
    refused: Mutex<BTreeMap<(String, Window), u64>>,
}

impl Budgets {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the system gives none.
    pub(super) fn start(writer: Arc<Writer>, log: Log) -> std::io::Result<Self> {
        let (queue, jobs) = channel();
        let (queue_of_holds, unsettled) = (queue.clone(), Vec::new());
        let mut clerk = Clerk { writer, log, queue: queue_of_holds, unsettled, failed: None, again_at: None };
        let work = move || clerk.work(&jobs);
        let thread = std::thread::Builder::new().name("budgets".to_owned()).spawn(work)?;
        Ok(Self { queue, thread: Some(thread), refused: Mutex::default() })
    }

    /// Holds an amount for a call that ends within that time; or the budget that it does not fit into.
    ///
    /// # Errors
    /// If the store cannot take it.
    pub(crate) async fn hold(
        &self,
        account: Account,
        nano_usd: u64,
        lifetime: Duration,
    ) -> Result<Held, StoreError> {
        let (reply, held) = oneshot::channel();
        let lifetime_ms = i64::try_from(lifetime.as_millis()).unwrap_or(i64::MAX);
        let id = crate::ids::fresh().simple().to_string();
        let key = account.key.clone();
        let order = Order::Hold { id, account, amount: nano(nano_usd), lifetime_ms };
        self.send(order, Waits::Holder(nano_usd, reply))?;
        let held = held.await.unwrap_or(Err(StoreError::Closed))?;
        if let Err(balance) = &held {
            let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
            *refused.entry((key, balance.window)).or_default() += 1;
        }
        Ok(held)
    }

    /// The budget of an account with the least room.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub(crate) async fn tightest(&self, account: Account) -> Result<Option<Balance>, StoreError> {
        let (reply, done) = oneshot::channel();
        self.send(Order::Tightest { account }, Waits::Reader(reply))?;
        match done.await.unwrap_or(Err(StoreError::Closed))? {
            Done::Tightest(balance) => Ok(balance),
            _ => Err(StoreError::Closed),
        }
    }

    /// The balances of accounts, and the calls each budget has refused since the start. Blocks.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub(crate) fn balances(&self, accounts: Vec<Account>) -> Result<Vec<(Balance, u64)>, StoreError> {
        if accounts.is_empty() {
            return Ok(Vec::new());
        }
        let (reply, done) = oneshot::channel();
        self.send(Order::Balances { accounts }, Waits::Reader(reply))?;
        let Done::Balances(all) = done.blocking_recv().unwrap_or(Err(StoreError::Closed))? else {
            return Err(StoreError::Closed);
        };
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let count = |balance: Balance| {
            let n = refused.get(&(balance.key.clone(), balance.window)).copied();
            (balance, n.unwrap_or(0))
        };
        Ok(all.into_iter().map(count).collect())
    }

    /// Waits until all that is queued now was carried out or refused. Blocks.
    pub(super) fn flush(&self) {
        let (reply, done) = oneshot::channel();
        if self.send(Order::Balances { accounts: Vec::new() }, Waits::Reader(reply)).is_ok() {
            // An error means that the thread has ended, and with it its queue.
            let _ended = done.blocking_recv();
        }
    }

    fn send(&self, order: Order, reply: Waits) -> Result<(), StoreError> {
        self.queue.send(Job::Do(order, reply)).map_err(|_| StoreError::Closed)
    }
}

impl Drop for Budgets {
    fn drop(&mut self) {
        // This may be dropped within a runtime, so nothing is waited for but the end of the thread.
        let _ended = self.queue.send(Job::Stop);
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

/// A figure of a budget, of which the second number is how many calls it refused.
type Figure = fn(&Balance, u64) -> i64;

/// The series of the budgets, where they are known.
pub(crate) fn render(balances: &[(Balance, u64)]) -> String {
    let mut out = String::new();
    if balances.is_empty() {
        return out;
    }
    let usd = |nano: i64| nano as f64 / 1e9;
    let series: [(&str, &str, &str, Figure); 4] = [
        ("budget_limit_usd", "gauge", "Budget of a key in a window, US dollars.", |balance, _| balance.limit),
        ("budget_spent_usd", "gauge", "What its calls cost in the window.", |balance, _| balance.spent),
        ("budget_held_usd", "gauge", "What its calls under way may cost.", |balance, _| balance.held),
        ("budget_refused_total", "counter", "Calls that a budget refused.", |_, refused| {
            i64::try_from(refused).unwrap_or(i64::MAX)
        }),
    ];
    for (name, kind, help, value) in series {
        family(&mut out, name, kind, help);
        for (balance, refused) in balances {
            let labels = format!("key=\"{}\",window=\"{}\"", escape(&balance.key), balance.window.name());
            let (series, value) = (format!("routewright_{name}{{{labels}}}"), value(balance, *refused));
            match kind {
                "counter" => line(&mut out, &series, value),
                _ => line(&mut out, &series, usd(value)),
            }
        }
    }
    out
}

fn nano(amount: u64) -> i64 {
    i64::try_from(amount).unwrap_or(AMOUNT_MAX).min(AMOUNT_MAX)
}

/// What the thread works with.
struct Clerk {
    writer: Arc<Writer>,
    log: Log,
    queue: Sender<Job>,
    /// Settlements that the store did not take, and when they are tried again.
    unsettled: Vec<Order>,
    again_at: Option<Instant>,
    /// Why the store took the last group not, so that it is logged once.
    failed: Option<String>,
}

impl Clerk {
    fn work(&mut self, jobs: &Receiver<Job>) {
        let mut is_stopped = false;
        while !is_stopped {
            let mut group = Vec::new();
            let first = match self.again_at {
                Some(at) => jobs.recv_timeout(at.saturating_duration_since(Instant::now())).ok(),
                // The clerk itself holds an end of the queue, so that it is never closed.
                None => jobs.recv().ok(),
            };
            for job in first.into_iter().chain(jobs.try_iter().take(GROUP_MAX - 1)) {
                match job {
                    Job::Do(order, reply) => group.push((order, reply)),
                    Job::Stop => is_stopped = true,
                }
            }
            let is_due = is_stopped || self.again_at.is_some_and(|at| at <= Instant::now());
            let again = if is_due { std::mem::take(&mut self.unsettled) } else { Vec::new() };
            if group.is_empty() && again.is_empty() {
                self.again_at = self.again_at.filter(|_| !self.unsettled.is_empty());
                continue;
            }
            self.carry_out(again, group);
            self.again_at = match (self.unsettled.is_empty(), self.again_at) {
                (true, _) => None,
                (false, Some(at)) if !is_due => Some(at),
                (false, _) => Instant::now().checked_add(AGAIN),
            };
        }
    }

    fn carry_out(&mut self, again: Vec<Order>, group: Vec<(Order, Waits)>) {
        let orders: Vec<Order> = again.iter().chain(group.iter().map(|(order, _)| order)).cloned().collect();
        let asked = self.writer.run(move |store| store.account(&orders, now_ms()));
        let answer = asked.and_then(|done| done.blocking_recv().unwrap_or(Err(StoreError::Closed)));
        match answer {
            Ok(done) => {
                self.failed = None;
                let mut done = done.into_iter().skip(again.len());
                for (order, reply) in group {
                    self.tell(order, reply, done.next().ok_or(StoreError::Closed));
                }
            }
            Err(error) => {
                let reason = chain(&error);
                if self.failed.as_ref() != Some(&reason) {
                    self.log.event(Level::Error, "budgets_unavailable", json!({ "reason": reason }));
                    self.failed = Some(reason);
                }
                self.keep(again);
                for (order, reply) in group {
                    self.tell(order, reply, Err(error.clone()));
                }
            }
        }
    }

    fn tell(&mut self, order: Order, reply: Waits, done: Result<Done, StoreError>) {
        match (reply, order) {
            (Waits::Nobody, order) if done.is_err() => self.keep(vec![order]),
            // A reader may have gone.
            (Waits::Reader(reply), _) => drop(reply.send(done)),
            (Waits::Holder(amount, reply), Order::Hold { id, .. }) => {
                let held = match done {
                    Ok(Done::Refused(balance)) => Ok(Err(balance)),
                    // Where the store failed it may be held all the same: dropped here, it is settled as not used. So
                    // is one whose holder has gone.
                    done => {
                        let hold = Hold { id, amount, charge: 0, queue: self.queue.clone() };
                        done.map(|_| Ok(hold))
                    }
                };
                drop(reply.send(held));
            }
            (Waits::Nobody | Waits::Holder(..), _) => {}
        }
    }

    fn keep(&mut self, orders: Vec<Order>) {
        let settlements = orders.into_iter().filter(|order| matches!(order, Order::Settle { .. }));
        let room = UNSETTLED_MAX - self.unsettled.len().min(UNSETTLED_MAX);
        self.unsettled.extend(settlements.take(room));
    }
}
