//! Fresh ids: UUIDs of version 7, their time to the millisecond, the other 74 bits random.
//!
//! The system's random numbers are taken a kilobyte at a time and thread by thread: asking it for every id is a
//! system call an id, two a request. Each byte is used once, so an id is as hard to guess as before.

use crate::clock::now_ms;
use std::cell::RefCell;
use uuid::{Builder, Uuid};

/// Random bytes of an id.
const BYTES: usize = 10;
/// Ids whose bytes are taken from the system at once.
const TOGETHER: usize = 100;

/// Random bytes of which the first `left` have not been used.
#[derive(Debug)]
struct Pool {
    bytes: [u8; BYTES * TOGETHER],
    left: usize,
}

thread_local! {
    static POOL: RefCell<Pool> = const { RefCell::new(Pool { bytes: [0; BYTES * TOGETHER], left: 0 }) };
}

impl Pool {
    fn take(&mut self) -> Option<[u8; BYTES]> {
        if self.left < BYTES {
            getrandom::fill(&mut self.bytes).ok()?;
            self.left = self.bytes.len();
        }
        let (_, taken) = self.bytes[..self.left].split_last_chunk_mut::<BYTES>()?;
        self.left -= BYTES;
        // What was used does not stay in memory.
        Some(std::mem::take(taken))
    }
}

/// A fresh id.
pub(crate) fn fresh() -> Uuid {
    let Some(random) = POOL.with_borrow_mut(Pool::take) else {
        // The system gives no random numbers: let the library say so as it does.
        return Uuid::now_v7();
    };
    Builder::from_unix_timestamp_millis(now_ms().unsigned_abs(), &random).into_uuid()
}

/// A fresh id of a change of arms.
pub(crate) fn change() -> String {
    format!("chg_{}", fresh().simple())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn ids_are_of_version_7_of_now_and_never_repeat_over_threads_and_refills() {
        let many = || (0..5 * TOGETHER + 7).map(|_| fresh()).collect::<Vec<Uuid>>();
        let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(many)).collect();
        let ids: Vec<Uuid> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        let now = crate::clock::now_seconds();
        for id in &ids {
            assert_eq!((id.get_version_num(), id.get_variant()), (7, uuid::Variant::RFC4122));
            let (seconds, _) = id.get_timestamp().unwrap().to_unix();
            assert!(now - seconds < 600, "{id} is of {seconds}, now is {now}");
        }
        // The random parts alone differ too: seeds of draws are made from them.
        let seeds: HashSet<u64> = ids.iter().map(|id| id.as_u64_pair().1).collect();
        assert_eq!(seeds.len(), ids.len());
    }
}
