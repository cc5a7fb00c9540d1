//! Groups: what waits is one, what is refused fails alone, a store that fails answers all.

use crate::ledger::tests::{Dice, decision};
use crate::ledger::writer::*;
use crate::ledger::{Checkpoint, Done, Event, Found, Listed, Order, Row, Silent, SqliteStore, Table};
use crate::settings::StoreConfig;
use std::sync::Mutex;

/// Keeps the sizes of the groups; fails while told to; waits for the gate before each.
#[derive(Debug)]
struct Fake {
    groups: Arc<Mutex<Vec<usize>>>,
    gate: std::sync::mpsc::Receiver<Result<(), StoreError>>,
}

impl Store for Fake {
    fn append(&mut self, entries: &[Entry]) -> Result<Vec<Receipt>, StoreError> {
        self.gate.recv().unwrap()?;
        self.groups.lock().unwrap().push(entries.len());
        Ok(vec![Receipt::Accepted { late: false }; entries.len()])
    }
    fn find(&mut self, _: &str) -> Result<Option<Found>, StoreError> {
        Ok(None)
    }
    fn read(&mut self, _: u64, _: usize) -> Result<Vec<Event>, StoreError> {
        Ok(Vec::new())
    }
    fn changes(&mut self, _: &str) -> Result<Vec<Event>, StoreError> {
        Ok(Vec::new())
    }
    fn days(&mut self) -> Result<Vec<i64>, StoreError> {
        Ok(Vec::new())
    }
    fn of_day(&mut self, _: i64, _: u64, _: usize) -> Result<Vec<Listed>, StoreError> {
        Ok(Vec::new())
    }
    fn silent(&mut self, _: &str, _: i64, _: i64, _: usize) -> Result<Vec<Silent>, StoreError> {
        Ok(Vec::new())
    }
    fn last(&mut self) -> Result<u64, StoreError> {
        Ok(0)
    }
    fn checkpoint(&mut self, _: &str) -> Result<Option<Checkpoint>, StoreError> {
        Ok(None)
    }
    fn save_checkpoint(&mut self, _: &str, _: &Checkpoint) -> Result<(), StoreError> {
        Ok(())
    }
    fn forget(&mut self, _: &str, _: &[String], _: i64) -> Result<u64, StoreError> {
        Ok(0)
    }
    fn expire(&mut self, _: i64) -> Result<u64, StoreError> {
        Ok(0)
    }
    fn account(&mut self, _: &[Order], _: i64) -> Result<Vec<Done>, StoreError> {
        Ok(Vec::new())
    }
    fn probe(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
    fn rows(&mut self, _: Table, _: u64, _: usize) -> Result<Vec<Row>, StoreError> {
        Ok(Vec::new())
    }
    fn set_aside(&mut self, _: &[(Row, String)]) -> Result<u64, StoreError> {
        Ok(0)
    }
    fn integrity(&mut self) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }
}

#[test]
fn what_waits_is_one_group_a_failure_answers_all_of_it_and_a_full_queue_refuses() {
    let (open, gate) = channel();
    let groups = Arc::new(Mutex::new(Vec::new()));
    let meter = Arc::new(StoreMeter::new(&StoreConfig::at("")));
    let fake = Fake { groups: Arc::clone(&groups), gate };
    let writer = Writer::start(Box::new(fake), Arc::clone(&meter), 6, 4).unwrap();
    let entries = |n| vec![Entry::Decision(Box::default()); n];
    let mut first = vec![writer.append(entries(1)).unwrap()];
    // The writer is at the gate with the first one once nothing can be added to its group.
    std::thread::sleep(std::time::Duration::from_millis(50));
    first.extend((0..5).map(|_| writer.append(entries(1)).unwrap()));
    let refused = writer.append(entries(1)).unwrap_err();
    assert_eq!(refused, StoreError::QueueFull { waiting: 6, max: 6 });
    open.send(Ok(())).unwrap();
    open.send(Err(StoreError::Closed)).unwrap();
    open.send(Ok(())).unwrap();
    let answers: Vec<bool> = first.into_iter().map(|r| r.blocking_recv().unwrap().is_ok()).collect();
    assert_eq!(answers, [true, false, false, false, false, true], "a group of four failed as one");
    assert_eq!(*groups.lock().unwrap(), [1, 1]);
    assert_eq!((meter.logged.load(Relaxed), meter.not_logged.load(Relaxed)), (2, 4));
    assert_eq!(meter.waiting.load(Relaxed), 0);
}

#[test]
fn entries_nobody_waits_for_gather_into_one_group_and_a_caller_among_them_is_answered() {
    let (open, gate) = channel();
    let groups = Arc::new(Mutex::new(Vec::new()));
    let meter = Arc::new(StoreMeter::new(&StoreConfig::at("")));
    let fake = Fake { groups: Arc::clone(&groups), gate };
    let writer = Writer::start(Box::new(fake), Arc::clone(&meter), 100, 50).unwrap();
    let entries = |n| vec![Entry::Decision(Box::default()); n];
    // The writer is held by a task while the others queue, so that time decides nothing.
    let (held, hold) = channel::<()>();
    let task = writer.run(move |_| hold.recv().unwrap()).unwrap();
    (0..7).for_each(|_| writer.append_unheard(entries(2)).unwrap());
    let heard = writer.append(entries(3)).unwrap();
    writer.append_unheard(entries(1)).unwrap();
    held.send(()).unwrap();
    open.send(Ok(())).unwrap();
    task.blocking_recv().unwrap();
    assert_eq!(heard.blocking_recv().unwrap().unwrap().len(), 3);
    drop(writer);
    assert_eq!(*groups.lock().unwrap(), [18]);
    assert_eq!((meter.logged.load(Relaxed), meter.waiting.load(Relaxed)), (18, 0));
}

#[test]
fn a_record_that_is_refused_fails_its_own_request_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.db");
    let mut store = SqliteStore::open(&path).unwrap();
    let meter = Arc::new(StoreMeter::new(&StoreConfig::at("")));
    let good = |id| vec![Entry::Decision(Box::new(decision(id, &mut Dice(1))))];
    let mut bad = decision(7, &mut Dice(1));
    bad.propensities = vec![f32::NAN; 2];
    let both = [good(8), vec![Entry::Decision(Box::new(bad.clone()))]].concat();
    let mut group = Vec::new();
    let (mut replies, mut answers) = (Vec::new(), Vec::new());
    for entries in [good(1), good(2), vec![Entry::Decision(Box::new(bad))], both, good(3)] {
        let (reply, answer) = oneshot::channel();
        replies.push((entries.len(), Some(reply)));
        answers.push(answer);
        group.extend(entries);
    }
    meter.waiting.store(group.len() as u64, Relaxed);
    commit(&mut store, &group, replies, &meter);
    let answers: Vec<Answer> = answers.into_iter().map(|answer| answer.blocking_recv().unwrap()).collect();
    let kept: Vec<bool> = answers.iter().map(Result::is_ok).collect();
    assert_eq!(kept, [true, true, false, false, true], "a request is whole or absent");
    assert!(answers[2].as_ref().unwrap_err().to_string().contains("null"), "{:?}", answers[2]);
    let ids: Vec<u64> = store.read(0, 100).unwrap().iter().map(|event| event.seq).collect();
    assert_eq!(ids, [1, 2, 3], "numbers have no holes");
    assert_eq!((meter.logged.load(Relaxed), meter.not_logged.load(Relaxed)), (3, 3));
    assert_eq!((meter.waiting.load(Relaxed), meter.failing()), (0, None), "the store works");
}
