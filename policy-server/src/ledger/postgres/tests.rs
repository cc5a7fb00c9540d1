//! Two servers on one log: nothing is skipped, nothing counts twice, both end where one alone would.

use crate::ledger::damage_tests::{
    a_checkpoint_never_goes_back, damage_is_passed_over_and_set_aside, repeats_are_marked,
};
use crate::ledger::postgres::database::{Database, skipped};
use crate::ledger::postgres::{Client, NoTls, PostgresStore, Secret};
use crate::ledger::tests::{
    Dice, WINDOW_MS, clean, decision, feedback, random_feedback, replaced_are_forgotten,
};
use crate::ledger::{
    Checkpoint, Entry, FeedbackRecord, Fold, Measure, Receipt, Statistics, Store, StoreError,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

#[test]
fn two_servers_on_one_log_end_with_the_statistics_of_one() {
    let database = match Database::start("store") {
        Ok(database) => database,
        Err(why) => return skipped(&why),
    };
    let open = || PostgresStore::open(Secret::new(database.url())).unwrap();
    let mut dice = Dice(7);
    let n = 40;
    let decisions: Vec<_> = (0..n).map(|id| decision(id, &mut dice)).collect();
    let outcomes: Vec<_> = (0..4 * n)
        .map(|key| {
            let of = dice.roll(n);
            random_feedback(key, of, &mut dice)
        })
        .collect();
    let dir = tempfile::tempdir().unwrap();
    let expected = clean(&dir.path().join("clean.db"), &decisions, &outcomes);
    let mut first = open();
    // Every decision is known before its feedback; both servers get all of both, in orders of their own.
    let entries: Vec<_> = decisions.iter().map(|d| Entry::Decision(Box::new(d.clone()))).collect();
    first.append(&entries).unwrap();
    let last = (decisions.len() + outcomes.len()) as u64;
    let folds: Vec<Fold<Statistics>> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..2)
            .map(|server| {
                let mut entries: Vec<_> =
                    outcomes.iter().map(|f| Entry::Feedback(Box::new(f.clone()), WINDOW_MS)).collect();
                Dice(server).shuffle(&mut entries);
                let (mut store, mut fold) = (open(), Fold::new("two", Statistics::default()));
                scope.spawn(move || {
                    for group in entries.chunks(3) {
                        store.append(group).unwrap();
                        fold.catch_up(&mut store).unwrap();
                    }
                    fold.catch_up(&mut store).unwrap();
                    fold
                })
            })
            .collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    for mut fold in folds {
        fold.catch_up(&mut first).unwrap();
        assert_eq!(fold.high_water(), last, "each exactly once");
        assert_eq!(fold.consumer, expected, "a fold that ran beside the writers skipped nothing");
    }
    let found = first.find("d1").unwrap().unwrap();
    assert_eq!(found.decision, decisions[1]);
    let days = first.days().unwrap();
    assert_eq!((days.as_slice(), first.of_day(0, 0, n).unwrap().len()), (&[0][..], n));
    let checkpoint = Checkpoint { high_water: last, state: b"state".to_vec() };
    first.save_checkpoint("x", &checkpoint).unwrap();
    assert_eq!(first.checkpoint("x").unwrap(), Some(checkpoint));
    assert_eq!(first.expire(i64::MAX).unwrap(), n as u64);
    assert_eq!(first.last().unwrap(), last);
}

#[test]
fn silence_is_given_once_in_a_database() {
    let database = match Database::start("silence") {
        Ok(database) => database,
        Err(why) => return skipped(&why),
    };
    let open = || Box::new(PostgresStore::open(Secret::new(database.url())).unwrap()) as Box<dyn Store>;
    crate::ledger::silence::tests::silence_is_given_once(&open);
}

#[test]
fn what_a_replaced_artifact_learned_is_forgotten_in_a_database() {
    let database = match Database::start("forget") {
        Ok(database) => database,
        Err(why) => return skipped(&why),
    };
    replaced_are_forgotten(&mut PostgresStore::open(Secret::new(database.url())).unwrap());
}

#[test]
fn damage_in_a_database_is_passed_over_and_set_aside() {
    let database = match Database::start("damage") {
        Ok(database) => database,
        Err(why) => return skipped(&why),
    };
    let mut store = PostgresStore::open(Secret::new(database.url())).unwrap();
    let other = std::cell::RefCell::new(Client::connect(database.url(), NoTls).unwrap());
    let scribble = |sql: &str| other.borrow_mut().batch_execute(sql).unwrap();
    damage_is_passed_over_and_set_aside(&mut store, "routewright_", &scribble);
    // A source with U+0000, which older builds took in, makes no query over feedback fail.
    scribble("UPDATE routewright_feedback SET body = replace(body, '\"user\"', '\"a\\u0000b\"')");
    assert_eq!(
        store.silent("score", 0, i64::MAX, 10).unwrap().len(),
        3 + 1,
        "of those with it nothing is known"
    );
    let own = FeedbackRecord {
        metric: Some("score".into()),
        measure: Some(Measure::Value(0.5)),
        ..feedback("late", "d0", 10_600)
    };
    store.append(&[Entry::Feedback(Box::new(own), WINDOW_MS)]).unwrap();
    assert_eq!(store.silent("score", 0, i64::MAX, 10).unwrap().len(), 3);
}

#[test]
fn checkpoints_and_repeats_in_a_database() {
    let database = match Database::start("repeats") {
        Ok(database) => database,
        Err(why) => return skipped(&why),
    };
    let mut store = PostgresStore::open(Secret::new(database.url())).unwrap();
    a_checkpoint_never_goes_back(&mut store);
    repeats_are_marked(&mut store);
}

#[test]
fn what_the_database_cannot_hold_fails_alone() {
    let database = match Database::start("refused") {
        Ok(database) => database,
        Err(why) => return skipped(&why),
    };
    let mut store = PostgresStore::open(Secret::new(database.url())).unwrap();
    let report =
        |id: &str| FeedbackRecord { latency_ms: Some(1.0), ..feedback(&format!("k-{id}"), id, 10_500) };
    let entry = |record| Entry::Feedback(Box::new(record), WINDOW_MS);
    store.append(&[Entry::Decision(Box::new(decision(1, &mut Dice(1))))]).unwrap();
    let refused = store.append(&[entry(report("d1")), entry(report("a\u{0}b"))]).unwrap_err();
    assert!(matches!(refused, StoreError::Refused { .. }), "{refused}");
    assert_eq!(store.append(&[entry(report("d1"))]).unwrap(), [Receipt::Accepted { late: false }]);
}

/// Hands bytes on between one client at a time and the database, and cuts the first connection whose commit was
/// answered, before the answer arrives.
fn cutting_proxy(socket: std::path::PathBuf) -> std::net::SocketAddr {
    use std::io::{Read as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let armed = Arc::new(AtomicBool::new(true));
        for client in listener.incoming() {
            let (Ok(client), Ok(server)) = (client, std::os::unix::net::UnixStream::connect(&socket)) else {
                return;
            };
            let (mut from_client, mut to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            let (mut from_server, mut to_client) = (server, client);
            let (committing, armed) = (Arc::new(AtomicBool::new(false)), Arc::clone(&armed));
            let seen = Arc::clone(&committing);
            std::thread::spawn(move || {
                let mut buffer = [0; 1 << 16];
                while let Ok(n @ 1..) = from_client.read(&mut buffer) {
                    let holds = |word: &[u8]| buffer[..n].windows(word.len()).any(|window| window == word);
                    seen.fetch_or(holds(b"COMMIT"), Relaxed);
                    if to_server.write_all(&buffer[..n]).is_err() {
                        return;
                    }
                }
            });
            std::thread::spawn(move || {
                let mut buffer = [0; 1 << 16];
                let mut n_commits = 0;
                while let Ok(n @ 1..) = from_server.read(&mut buffer) {
                    // The first commit makes the tables; the second is that of the first entries.
                    if committing.swap(false, Relaxed) {
                        n_commits += 1;
                        if n_commits == 2 && armed.swap(false, Relaxed) {
                            let _cut = to_client.shutdown(std::net::Shutdown::Both);
                            return;
                        }
                    }
                    if to_client.write_all(&buffer[..n]).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

#[test]
fn a_commit_whose_answer_was_lost_counts_once_and_is_confirmed() {
    let database = match Database::start("cut") {
        Ok(database) => database,
        Err(why) => return skipped(&why),
    };
    let folder = database.url().strip_prefix("host=/").and_then(|rest| rest.split(' ').next());
    let Some(folder) = folder else { return skipped("the database is another one's") };
    let socket = std::path::Path::new("/").join(folder).join(".s.PGSQL.5432");
    let address = cutting_proxy(socket);
    let url = format!("host=127.0.0.1 port={} user=tester dbname=postgres sslmode=disable", address.port());
    let mut store = PostgresStore::open(Secret::new(url)).unwrap();
    let entries: Vec<Entry> =
        (0..3).map(|id| Entry::Decision(Box::new(decision(id, &mut Dice(1))))).collect();
    assert_eq!(
        store.append(&entries).unwrap(),
        [Receipt::Duplicate; 3],
        "what was kept is confirmed as kept"
    );
    let mut other = PostgresStore::open(Secret::new(database.url())).unwrap();
    assert_eq!((other.last().unwrap(), other.read(0, 10).unwrap().len()), (3, 3), "each once");
}

#[test]
fn a_connection_that_was_lost_is_made_anew() {
    let database = match Database::start("lost") {
        Ok(database) => database,
        Err(why) => return skipped(&why),
    };
    let mut store = PostgresStore::open(Secret::new(database.url())).unwrap();
    let entry = |id| Entry::Decision(Box::new(decision(id, &mut Dice(1))));
    store.append(&[entry(1)]).unwrap();
    let Some(again) = database.interrupt() else { return skipped("the database is another one's") };
    // It cannot be seen what became of it.
    let error = store.append(&[entry(2)]).unwrap_err();
    assert!(matches!(error, StoreError::Unsettled { .. }), "{error}");
    assert!(
        store.append(&[entry(2)]).unwrap_err().to_string().contains("cannot open store"),
        "nobody is there"
    );
    again().unwrap();
    store.append(&[entry(1), entry(2)]).unwrap();
    assert_eq!(store.last().unwrap(), 2, "each once");
}
