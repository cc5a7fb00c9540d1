//! The one reader of the log: a page is read and decoded once, and every consumer gets the events of it that it has not
//! seen.

use super::event::Event;
use super::fold::{Consumer, Fold};
use super::store::{Store, StoreError};

/// Events read at a time.
const PAGE: usize = 512;

/// A consumer at its place in the log.
pub(crate) trait Follower {
    /// Sequence number of the last event applied.
    fn high_water(&self) -> u64;

    /// Takes an event unless it was taken already.
    fn take(&mut self, event: &Event);
}

impl<C: Consumer> Follower for Fold<C> {
    fn high_water(&self) -> u64 {
        Fold::high_water(self)
    }

    fn take(&mut self, event: &Event) {
        self.apply(event);
    }
}

/// Feeds one page to all followers, from the place of the one that is furthest behind; whether there was any.
///
/// # Errors
/// If the store cannot be read; what was taken until then stays.
pub(super) fn feed(store: &mut dyn Store, followers: &mut [&mut dyn Follower]) -> Result<bool, StoreError> {
    let Some(after) = followers.iter().map(|follower| follower.high_water()).min() else { return Ok(false) };
    let events = store.read(after, PAGE)?;
    for event in &events {
        followers.iter_mut().for_each(|follower| follower.take(event));
    }
    Ok(!events.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::tests::{Dice, decision};
    use crate::ledger::{Entry, SqliteStore, Statistics};

    #[test]
    fn one_pass_brings_every_follower_from_its_own_place_to_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = SqliteStore::open(&dir.path().join("log.db")).unwrap();
        let entries: Vec<Entry> =
            (0..2 * PAGE + 3).map(|id| Entry::Decision(Box::new(decision(id, &mut Dice(1))))).collect();
        store.append(&entries).unwrap();
        let fresh = || Fold::new("test", Statistics::default());
        let (mut whole, mut behind, mut ahead) = (fresh(), fresh(), fresh());
        whole.catch_up(&mut store).unwrap();
        ahead.skip_to(PAGE as u64 + 9);
        let mut pages = 0;
        while feed(&mut store, &mut [&mut behind, &mut ahead]).unwrap() {
            pages += 1;
        }
        assert_eq!((pages, behind.consumer.clone()), (3, whole.consumer));
        assert_eq!(behind.high_water(), ahead.high_water());
        let counted = |fold: &Fold<Statistics>| -> u64 {
            fold.consumer.policies.values().flat_map(|models| models.values()).map(|arm| arm.decisions).sum()
        };
        assert_eq!(
            counted(&behind) - counted(&ahead),
            PAGE as u64 + 9,
            "what was before its time is left out"
        );
        assert!(!feed(&mut store, &mut []).unwrap());
    }
}
