//! What each key has spent, and what its calls under way may still cost: hard budgets of a day and a month.
//!
//! Before a call its greatest likely price is held; the call is made only where what was spent, what is held and this
//! together stay within the budget. Afterwards the hold is settled: its place is taken by what the call cost. So what
//! is spent exceeds a budget at most by what calls cost more than was held for them.
//!
//! All of it happens in transactions of the store that exclude each other, so that any number of servers on one store
//! spend from one budget. A hold that is not settled in time (its server has died) is charged in full, and corrected
//! should it be settled later. Windows are days and months of UTC by the clock of the store; a call belongs to those
//! in which it was held. Amounts are nano-dollars; sums stop at [`AMOUNT_MAX`] instead of overflowing.

use crate::clock;
use std::collections::BTreeMap;

/// Largest amount: two of them added up are no overflow.
pub const AMOUNT_MAX: i64 = 4_000_000_000_000_000_000;
/// How long a hold that was charged in full can still be corrected, milliseconds.
const LATE_MS: i64 = 24 * 3600 * 1000;
/// How long past windows are kept, milliseconds.
const KEEP_MS: i64 = 400 * 24 * 3600 * 1000;

/// A key and its budgets, nano-dollars.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Public id of the key.
    pub key: String,
    /// Of a day (UTC).
    pub day: Option<i64>,
    /// Of a month (UTC).
    pub month: Option<i64>,
}

/// What a budget is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Window {
    /// A day of UTC.
    Day,
    /// A month of UTC.
    Month,
}

impl Window {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Day, Self::Month];

    /// Its name in the store, in labels and replies.
    pub fn name(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Month => "month",
        }
    }

    /// The window of a time: its first millisecond, and that after its last.
    pub(crate) fn of(self, at_ms: i64) -> [i64; 2] {
        match self {
            Self::Day => clock::day_of(at_ms),
            Self::Month => clock::month_of(at_ms),
        }
    }

    fn limit(self, account: &Account) -> Option<i64> {
        match self {
            Self::Day => account.day,
            Self::Month => account.month,
        }
    }
}

/// What is asked of the accounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Hold an amount for a call that ends within so many milliseconds. The same hold twice is one.
    Hold {
        /// Id of the hold.
        id: String,
        /// Whose it is.
        account: Account,
        /// Nano-dollars.
        amount: i64,
        /// Until when it must be settled.
        lifetime_ms: i64,
    },
    /// Put what a call cost in the place of its hold. Settled twice, it counts once.
    Settle {
        /// Id of the hold.
        id: String,
        /// Nano-dollars.
        charge: i64,
    },
    /// The budget with the least room.
    Tightest {
        /// Whose budget it is.
        account: Account,
    },
    /// The balances of these accounts.
    Balances {
        /// Whose.
        accounts: Vec<Account>,
    },
}

/// What became of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// It is held.
    Held,
    /// It does not fit into a budget.
    Refused(Balance),
    /// It is settled.
    Settled,
    /// It is this one; `None` for an account without a budget.
    Tightest(Option<Balance>),
    /// Both windows of each account with a limit there.
    Balances(Vec<Balance>),
}

/// How one budget stands, nano-dollars.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Balance {
    /// Public id of the key.
    pub key: String,
    /// What the budget is for.
    pub window: Window,
    /// First millisecond of the window, and that after its last.
    pub span_ms: [i64; 2],
    /// The budget.
    pub limit: i64,
    /// What calls cost.
    pub spent: i64,
    /// What calls under way may cost.
    pub held: i64,
    /// Milliseconds until the window ends.
    pub ends_in_ms: i64,
}

impl Balance {
    /// How much more may be held.
    pub fn room(&self) -> i64 {
        self.limit.saturating_sub(self.spent).saturating_sub(self.held).max(0)
    }
}

/// A hold as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HoldRow {
    pub(super) id: String,
    pub(super) key: String,
    /// First milliseconds of its day and its month.
    pub(super) starts_ms: [i64; 2],
    pub(super) amount: i64,
    pub(super) until_ms: i64,
    /// Whether it was charged in full because nobody settled it.
    pub(super) is_charged: bool,
}

/// What was spent and is held in one window of one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Sums {
    pub(super) spent: i64,
    pub(super) held: i64,
}

/// The tables of a store, within a transaction that excludes all others on them.
pub(super) trait Books {
    type Error;

    /// The time by the clock of the store.
    fn now_ms(&mut self) -> Result<i64, Self::Error>;
    fn sums(&mut self, key: &str, window: Window, starts_ms: i64) -> Result<Sums, Self::Error>;
    fn set_sums(&mut self, key: &str, window: Window, starts_ms: i64, sums: Sums) -> Result<(), Self::Error>;
    fn hold(&mut self, id: &str) -> Result<Option<HoldRow>, Self::Error>;
    /// Adds or replaces a hold.
    fn set_hold(&mut self, hold: &HoldRow) -> Result<(), Self::Error>;
    fn delete_hold(&mut self, id: &str) -> Result<(), Self::Error>;
    /// Holds that were to be settled before then and were not charged.
    fn overdue(&mut self, before_ms: i64) -> Result<Vec<HoldRow>, Self::Error>;
    /// Deletes holds that were charged and due before the one time, and windows that began before the other.
    fn forget(&mut self, due_ms: i64, began_ms: i64) -> Result<(), Self::Error>;
}

/// Carries out orders, in their order.
pub(super) fn carry_out<B: Books>(books: &mut B, orders: &[Order]) -> Result<Vec<Done>, B::Error> {
    let now_ms = books.now_ms()?;
    let mut teller = Teller { books, now_ms, open: BTreeMap::new() };
    teller.charge_overdue()?;
    let done = orders.iter().map(|order| teller.order(order)).collect::<Result<_, _>>()?;
    teller.write_back()?;
    Ok(done)
}

/// Carries out the orders of one transaction.
struct Teller<'a, B> {
    books: &'a mut B,
    now_ms: i64,
    /// Sums that were read, and whether they were changed.
    open: BTreeMap<(String, Window, i64), (Sums, bool)>,
}

impl<B: Books> Teller<'_, B> {
    fn order(&mut self, order: &Order) -> Result<Done, B::Error> {
        match order {
            Order::Hold { id, account, amount, lifetime_ms } => {
                self.hold(id, account, clamped(*amount), *lifetime_ms)
            }
            Order::Settle { id, charge } => self.settle(id, clamped(*charge)),
            Order::Tightest { account } => {
                let balances = self.balances(account)?;
                Ok(Done::Tightest(balances.into_iter().min_by_key(Balance::room)))
            }
            Order::Balances { accounts } => {
                let (due_ms, began_ms) =
                    (self.now_ms.saturating_sub(LATE_MS), self.now_ms.saturating_sub(KEEP_MS));
                self.books.forget(due_ms, began_ms)?;
                let mut all = Vec::new();
                for account in accounts {
                    all.extend(self.balances(account)?);
                }
                Ok(Done::Balances(all))
            }
        }
    }

    fn hold(&mut self, id: &str, account: &Account, amount: i64, lifetime_ms: i64) -> Result<Done, B::Error> {
        if self.books.hold(id)?.is_some() {
            return Ok(Done::Held);
        }
        if let Some(refused) = self.balances(account)?.into_iter().find(|balance| amount > balance.room()) {
            return Ok(Done::Refused(refused));
        }
        let starts_ms = Window::ALL.map(|window| window.of(self.now_ms)[0]);
        let until_ms = self.now_ms.saturating_add(lifetime_ms.max(0));
        let key = account.key.clone();
        let hold = HoldRow { id: id.to_owned(), key, starts_ms, amount, until_ms, is_charged: false };
        self.books.set_hold(&hold)?;
        self.change(&hold, |sums| sums.held = sums.held.saturating_add(amount))?;
        Ok(Done::Held)
    }

    fn settle(&mut self, id: &str, charge: i64) -> Result<Done, B::Error> {
        let Some(hold) = self.books.hold(id)? else { return Ok(Done::Settled) };
        let before = if hold.is_charged { hold.amount } else { 0 };
        let released = if hold.is_charged { 0 } else { hold.amount };
        self.change(&hold, |sums| {
            sums.held -= released;
            sums.spent = (sums.spent - before).max(0).saturating_add(charge);
        })?;
        self.books.delete_hold(id)?;
        Ok(Done::Settled)
    }

    /// What nobody settled is charged in full: the call may have been made, and what it cost is not known.
    fn charge_overdue(&mut self) -> Result<(), B::Error> {
        for hold in self.books.overdue(self.now_ms)? {
            self.change(&hold, |sums| {
                sums.held -= hold.amount;
                sums.spent = sums.spent.saturating_add(hold.amount);
            })?;
            self.books.set_hold(&HoldRow { is_charged: true, ..hold })?;
        }
        Ok(())
    }

    /// The budgets that an account has, as they stand now.
    fn balances(&mut self, account: &Account) -> Result<Vec<Balance>, B::Error> {
        let mut all = Vec::new();
        for window in Window::ALL {
            let Some(limit) = window.limit(account) else { continue };
            let span_ms = window.of(self.now_ms);
            let Sums { spent, held } = self.sums(&account.key, window, span_ms[0])?;
            let ends_in_ms = span_ms[1].saturating_sub(self.now_ms);
            let key = account.key.clone();
            all.push(Balance { key, window, span_ms, limit, spent, held, ends_in_ms });
        }
        Ok(all)
    }

    fn sums(&mut self, key: &str, window: Window, starts_ms: i64) -> Result<Sums, B::Error> {
        let at = (key.to_owned(), window, starts_ms);
        if let Some((sums, _)) = self.open.get(&at) {
            return Ok(*sums);
        }
        let sums = self.books.sums(key, window, starts_ms)?;
        self.open.insert(at, (sums, false));
        Ok(sums)
    }

    /// Changes both windows of a hold.
    fn change(&mut self, hold: &HoldRow, change: impl Fn(&mut Sums)) -> Result<(), B::Error> {
        for (window, starts_ms) in Window::ALL.into_iter().zip(hold.starts_ms) {
            let mut sums = self.sums(&hold.key, window, starts_ms)?;
            change(&mut sums);
            let sums = Sums { spent: clamped(sums.spent), held: clamped(sums.held) };
            self.open.insert((hold.key.clone(), window, starts_ms), (sums, true));
        }
        Ok(())
    }

    fn write_back(self) -> Result<(), B::Error> {
        let changed = self.open.into_iter().filter(|(_, (_, is_changed))| *is_changed);
        for ((key, window, starts_ms), (sums, _)) in changed {
            self.books.set_sums(&key, window, starts_ms, sums)?;
        }
        Ok(())
    }
}

fn clamped(amount: i64) -> i64 {
    amount.clamp(0, AMOUNT_MAX)
}

#[cfg(test)]
mod tests;
