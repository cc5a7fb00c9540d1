//! Two servers on one log: nothing is skipped, nothing counts twice, both end where one alone would.

use super::super::tests::{Dice, WINDOW_MS, clean, decision, random_feedback, replaced_are_forgotten};
use super::database::{Database, skipped};
use super::{PostgresStore, Secret};
use crate::store::{Checkpoint, Entry, Fold, Statistics, Store};

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
    crate::store::silence::tests::silence_is_given_once(&open);
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
fn a_connection_that_was_lost_is_made_anew() {
    let database = match Database::start("lost") {
        Ok(database) => database,
        Err(why) => return skipped(&why),
    };
    let mut store = PostgresStore::open(Secret::new(database.url())).unwrap();
    let entry = |id| Entry::Decision(Box::new(decision(id, &mut Dice(1))));
    store.append(&[entry(1)]).unwrap();
    let Some(again) = database.interrupt() else { return skipped("the database is another one's") };
    let error = store.append(&[entry(2)]).unwrap_err().to_string();
    assert!(error.contains("cannot write to store `postgres`"), "{error}");
    assert!(
        store.append(&[entry(2)]).unwrap_err().to_string().contains("cannot open store"),
        "nobody is there"
    );
    again().unwrap();
    store.append(&[entry(1), entry(2)]).unwrap();
    assert_eq!(store.last().unwrap(), 2, "each once");
}
