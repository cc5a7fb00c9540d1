//! Accounts in both kinds of store: nothing is spent twice or lost, whatever is repeated, late or enormous.

#[cfg(feature = "postgres")]
use crate::ledger::postgres::database::{Database, skipped};
use crate::ledger::tests::Dice;
use crate::ledger::{AMOUNT_MAX, Account, Balance, Done, Order, SqliteStore, Store, Window};
use std::collections::BTreeMap;

/// 2026-12-01T12:00:00Z.
const NOON: i64 = 1_796_126_400_000;
const HOUR: i64 = 3_600_000;

fn account(key: &str, day: i64, month: i64) -> Account {
    Account { key: key.to_owned(), day: Some(day), month: Some(month) }
}

fn hold(id: &str, account: &Account, amount: i64) -> Order {
    Order::Hold { id: id.to_owned(), account: account.clone(), amount, lifetime_ms: HOUR }
}

fn settle(id: &str, charge: i64) -> Order {
    Order::Settle { id: id.to_owned(), charge }
}

/// Spent and held in day and month.
fn sums(store: &mut dyn Store, account: &Account, now_ms: i64) -> [(i64, i64); 2] {
    let order = Order::Balances { accounts: vec![account.clone()] };
    let Done::Balances(all) = store.account(&[order], now_ms).unwrap().remove(0) else {
        panic!("no balances")
    };
    let of = |window: Window| {
        let balance = all.iter().find(|balance| balance.window == window).unwrap();
        (balance.spent, balance.held)
    };
    [of(Window::Day), of(Window::Month)]
}

fn in_file() -> (SqliteStore, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (SqliteStore::open(&dir.path().join("log.db")).unwrap(), dir)
}

#[test]
fn what_does_not_fit_is_refused_and_names_its_budget() {
    let (mut store, _dir) = in_file();
    let key = account("k", 100, 150);
    let mut order = |order: Order, now_ms| store.account(&[order], now_ms).unwrap().remove(0);
    assert_eq!(order(hold("a", &key, 60), NOON), Done::Held);
    let Done::Refused(Balance { window, limit, spent, held, ends_in_ms, .. }) =
        order(hold("b", &key, 41), NOON)
    else {
        panic!("it fits")
    };
    assert_eq!((window, limit, spent, held, ends_in_ms), (Window::Day, 100, 0, 60, 12 * HOUR));
    assert_eq!(order(hold("b", &key, 40), NOON), Done::Held);
    assert_eq!(order(settle("a", 10), NOON), Done::Settled);
    // 10 spent, 40 held.
    assert!(matches!(order(hold("c", &key, 51), NOON), Done::Refused(_)));
    assert_eq!(order(hold("free", &key, 0), NOON), Done::Held, "what costs nothing always fits");
    // The next day the month is what binds.
    let tomorrow = NOON + 24 * HOUR;
    assert_eq!(order(settle("b", 40), NOON), Done::Settled);
    let Done::Refused(balance) = order(hold("d", &key, 101), tomorrow) else { panic!("it fits") };
    assert_eq!((balance.window, balance.spent), (Window::Day, 0), "a day of its own");
    let Done::Tightest(Some(tightest)) = order(Order::Tightest { account: key.clone() }, tomorrow) else {
        panic!("no budget")
    };
    assert_eq!((tightest.window, tightest.room()), (Window::Day, 100));
    assert_eq!(order(hold("d", &key, 100), tomorrow), Done::Held);
    let Done::Refused(balance) = order(hold("e", &key, 1), tomorrow + HOUR / 2) else { panic!("it fits") };
    assert_eq!(balance.window, Window::Day);
    assert_eq!(order(settle("d", 100), tomorrow), Done::Settled);
    let Done::Refused(balance) = order(hold("e", &key, 1), tomorrow + 24 * HOUR) else { panic!("it fits") };
    assert_eq!((balance.window, balance.spent), (Window::Month, 150));
}

#[test]
fn a_hold_that_nobody_settles_is_charged_and_corrected_should_it_be_settled_late() {
    let (mut store, _dir) = in_file();
    let key = account("k", 1000, 1000);
    store.account(&[hold("lost", &key, 300), hold("kept", &key, 200)], NOON).unwrap();
    assert_eq!(sums(&mut store, &key, NOON + HOUR), [(0, 500); 2], "it is due at the hour");
    store.account(&[settle("kept", 150)], NOON + HOUR).unwrap();
    assert_eq!(sums(&mut store, &key, NOON + HOUR + 1), [(450, 0); 2]);
    assert_eq!(sums(&mut store, &key, NOON + 2 * HOUR), [(450, 0); 2], "charged once");
    store.account(&[settle("lost", 20), settle("lost", 20), settle("never", 7)], NOON + 3 * HOUR).unwrap();
    assert_eq!(sums(&mut store, &key, NOON + 3 * HOUR), [(170, 0); 2], "settled once");
    // A clock that jumps forward charges early, one that jumps back still knows what was spent that day.
    store.account(&[hold("jump", &key, 100)], NOON).unwrap();
    assert_eq!(sums(&mut store, &key, NOON + 20 * HOUR), [(0, 0), (270, 0)]);
    assert_eq!(sums(&mut store, &key, NOON), [(270, 0); 2]);
    store.account(&[settle("jump", 5)], NOON).unwrap();
    assert_eq!(sums(&mut store, &key, NOON), [(175, 0); 2]);
}

#[test]
fn amounts_beyond_all_reason_overflow_nothing() {
    let (mut store, _dir) = in_file();
    let key = account("k", i64::MAX, i64::MAX);
    for amount in [i64::MAX, i64::MIN, AMOUNT_MAX, -1] {
        let id = amount.to_string();
        let done = store.account(&[hold(&id, &key, amount)], NOON).unwrap();
        assert!(matches!(done[0], Done::Held | Done::Refused(_)), "{done:?}");
        store.account(&[settle(&id, i64::MAX)], NOON).unwrap();
    }
    assert_eq!(sums(&mut store, &key, NOON), [(AMOUNT_MAX, 0); 2]);
    let far = account("far", 10, 10);
    for now_ms in [i64::MIN, -1, 0, i64::MAX] {
        let done = store.account(&[hold(&format!("f{now_ms}"), &far, 3)], now_ms).unwrap();
        assert!(matches!(done[0], Done::Held | Done::Refused(_)), "{done:?}");
    }
}

/// Random orders, some of them repeated, on several keys, against sums kept beside; at every admission what is spent
/// and held stays within the budget.
fn random_orders_add_up(open: &dyn Fn() -> Box<dyn Store>) {
    let (mut stores, mut dice) = ([open(), open()], Dice(3));
    let keys: Vec<Account> = (0..3).map(|key| account(&format!("k{key}"), 5000, 20_000)).collect();
    let mut under_way: BTreeMap<String, (usize, i64)> = BTreeMap::new();
    let (mut spent, mut refused) = ([0; 3], 0);
    for turn in 0..600 {
        let store = &mut stores[dice.roll(2)];
        if dice.roll(2) == 0 || under_way.is_empty() {
            let (of, amount, id) = (dice.roll(3), dice.roll(900) as i64, format!("h{turn}"));
            let held: i64 = under_way.values().filter(|(key, _)| *key == of).map(|(_, amount)| amount).sum();
            let fits = spent[of] + held + amount <= 5000;
            let order = hold(&id, &keys[of], amount);
            let times = 1 + dice.roll(2);
            let done = store.account(&vec![order; times], NOON).unwrap();
            assert_eq!(done.iter().all(|done| *done == Done::Held), fits, "{done:?}");
            refused += usize::from(!fits);
            if fits {
                under_way.insert(id, (of, amount));
            }
        } else {
            let at = dice.roll(under_way.len());
            let (id, (of, amount)) = under_way.iter().nth(at).map(|(id, of)| (id.clone(), *of)).unwrap();
            under_way.remove(&id);
            let charge = dice.roll(amount as usize + 1) as i64;
            store.account(&vec![settle(&id, charge); 1 + dice.roll(2)], NOON).unwrap();
            spent[of] += charge;
        }
        if spent.iter().all(|spent| *spent > 4500) {
            break;
        }
    }
    for (of, key) in keys.iter().enumerate() {
        let held: i64 = under_way.values().filter(|(key, _)| *key == of).map(|(_, amount)| amount).sum();
        assert_eq!(sums(&mut *stores[0], key, NOON), [(spent[of], held); 2]);
    }
    assert!(refused > 20, "{refused} were refused");
}

#[test]
fn random_orders_add_up_in_a_file() {
    let dir = tempfile::tempdir().unwrap();
    random_orders_add_up(&|| Box::new(SqliteStore::open(&dir.path().join("log.db")).unwrap()));
}

#[cfg(feature = "postgres")]
#[test]
fn random_orders_add_up_in_a_database_and_no_two_servers_spend_the_same() {
    let database = match Database::start("accounts") {
        Ok(database) => database,
        Err(why) => return skipped(&why),
    };
    let open = || crate::ledger::PostgresStore::open(crate::settings::Secret::new(database.url())).unwrap();
    // The clock of the database counts: the sums are read within the same day but for one run in a great many.
    random_orders_add_up(&|| Box::new(open()));
    let key = account("raced", 1000, 1000);
    let held: usize = std::thread::scope(|scope| {
        let racers: Vec<_> = (0..4)
            .map(|server| {
                let (mut store, key) = (open(), key.clone());
                scope.spawn(move || {
                    let orders = |n: usize| (0..5).map(move |at| format!("{server}-{n}-{at}"));
                    let tries = (0..40).flat_map(|n| {
                        let group: Vec<Order> = orders(n).map(|id| hold(&id, &key, 7)).collect();
                        store.account(&group, 0).unwrap()
                    });
                    tries.filter(|done| *done == Done::Held).count()
                })
            })
            .collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).sum()
    });
    assert_eq!(held, 1000 / 7, "exactly as many as fit");
}
