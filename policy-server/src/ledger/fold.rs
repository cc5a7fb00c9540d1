//! State as a fold over the log: each event is applied once, whatever is delivered again.
//!
//! A learner plugs in as a [`Consumer`]. Its state and the sequence number of the last event in it are saved
//! together, so that a restart goes on where the saved state ends. A record that cannot be read is passed over and
//! counted: one bad record never keeps a consumer from those behind it. Where a consumer's arithmetic does not
//! depend on order (integer sums do not), the state is equal to the bit for every order of arrival.

use crate::ledger::{Checkpoint, Event, EventBody, Store, StoreError};

/// Events read at a time.
const PAGE: usize = 512;

/// Unreadable records remembered until they are logged.
const SKIPPED_MAX: usize = 16;

/// What learns from the log.
pub trait Consumer: Send {
    /// Takes the next event; called once an event that can be read, in the order of the log.
    fn apply(&mut self, event: &Event);

    /// The state, to be saved.
    fn save(&self) -> Vec<u8>;

    /// Replaces the state by a saved one.
    ///
    /// # Errors
    /// If it is not one, in words.
    fn restore(&mut self, state: &[u8]) -> Result<(), String>;
}

/// A consumer and how far it has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fold<C> {
    name: String,
    high_water: u64,
    /// Last event of the state that was handed out to be saved; `None` before the first time.
    saved: Option<u64>,
    /// Records passed over since the start.
    unreadable: u64,
    /// The first of those that were not logged yet: number and reason.
    skipped: Vec<(u64, String)>,
    /// The state.
    pub consumer: C,
}

impl<C: Consumer> Fold<C> {
    /// A fold that has seen nothing; `name` is the one of its checkpoint.
    pub fn new(name: &str, consumer: C) -> Self {
        let name = name.to_owned();
        Self { name, high_water: 0, saved: None, unreadable: 0, skipped: Vec::new(), consumer }
    }

    /// Takes up the saved state, where there is one.
    ///
    /// # Errors
    /// If the store cannot be read or the saved state is not one of this consumer.
    pub fn resume(&mut self, store: &mut dyn Store) -> Result<(), StoreError> {
        let Some(checkpoint) = store.checkpoint(&self.name)? else { return Ok(()) };
        self.consumer
            .restore(&checkpoint.state)
            .map_err(|reason| StoreError::Record { path: format!("checkpoint {}", self.name), reason })?;
        (self.high_water, self.saved) = (checkpoint.high_water, Some(checkpoint.high_water));
        Ok(())
    }

    /// Leaves out the events up to the one given: they were before this consumer's time.
    pub fn skip_to(&mut self, seq: u64) {
        self.high_water = self.high_water.max(seq);
    }

    /// Sequence number of the last event applied.
    pub fn high_water(&self) -> u64 {
        self.high_water
    }

    /// Applies an event unless it was applied already; returns whether it was new.
    pub fn apply(&mut self, event: &Event) -> bool {
        if event.seq <= self.high_water {
            return false;
        }
        match &event.body {
            EventBody::Unreadable(reason) => {
                self.unreadable += 1;
                if self.skipped.len() < SKIPPED_MAX {
                    self.skipped.push((event.seq, reason.clone()));
                }
            }
            _ => self.consumer.apply(event),
        }
        self.high_water = event.seq;
        true
    }

    /// Records passed over since the start because they cannot be read.
    pub fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// The first records that were passed over since this was last asked: number and reason.
    pub fn take_skipped(&mut self) -> Vec<(u64, String)> {
        std::mem::take(&mut self.skipped)
    }

    /// Applies all that the log holds beyond the last event applied; returns how many.
    ///
    /// # Errors
    /// If the store cannot be read; what was applied until then stays.
    pub fn catch_up(&mut self, store: &mut dyn Store) -> Result<u64, StoreError> {
        let mut applied = 0;
        loop {
            let events = store.read(self.high_water, PAGE)?;
            if events.is_empty() {
                return Ok(applied);
            }
            applied += events.iter().filter(|event| self.apply(event)).count() as u64;
        }
    }

    /// What is to be saved; `None` if nothing has changed since the last time this was asked.
    pub fn checkpoint(&mut self) -> Option<(String, Checkpoint)> {
        if self.saved == Some(self.high_water) {
            return None;
        }
        self.saved = Some(self.high_water);
        let checkpoint = Checkpoint { high_water: self.high_water, state: self.consumer.save() };
        Some((self.name.clone(), checkpoint))
    }
}
