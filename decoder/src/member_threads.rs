//! The threads on which the members of an ensemble are asked at the same time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How long who waits for the others, or for the next question, stays awake: to be woken takes a good part of the
/// time of a token of a small model.
const AWAKE: Duration = Duration::from_micros(200);

/// Threads of all members but one, which is asked on the thread that asks.
#[derive(Debug)]
pub(crate) struct MemberThreads {
    threads: rayon::ThreadPool,
    /// Questions asked so far.
    asked: Arc<AtomicUsize>,
}

impl MemberThreads {
    /// Threads for so many members; `None` where one is enough or the system gives none.
    pub(crate) fn of(members: usize) -> Option<Self> {
        let others = members.checked_sub(1).filter(|others| *others > 0)?;
        let threads = rayon::ThreadPoolBuilder::new().num_threads(others).build().ok()?;
        Some(Self { threads, asked: Arc::default() })
    }

    /// Does `work` for all items, at the same time where there are threads.
    pub(crate) fn at_once<T: Send>(threads: Option<&Self>, mut items: Vec<T>, work: impl Fn(T) + Sync) {
        let Some(own) = items.pop() else { return };
        match threads.filter(|_| !items.is_empty()) {
            Some(threads) => threads.share(items, own, work),
            None => items.into_iter().chain([own]).for_each(work),
        }
    }

    fn share<T: Send>(&self, items: Vec<T>, own: T, work: impl Fn(T) + Sync) {
        let asked = self.asked.fetch_add(1, Ordering::AcqRel) + 1;
        let left = AtomicUsize::new(items.len());
        self.threads.in_place_scope(|scope| {
            let (work, left) = (&work, &left);
            for item in items {
                scope.spawn(move |_| {
                    work(item);
                    left.fetch_sub(1, Ordering::Release);
                });
            }
            work(own);
            awake_while(|| left.load(Ordering::Acquire) > 0);
        });
        let last = Arc::clone(&self.asked);
        self.threads.spawn_broadcast(move |_| awake_while(|| last.load(Ordering::Acquire) == asked));
    }
}

/// Returns soon after `waits` is false, or after [`AWAKE`]; other work for this processor goes first.
fn awake_while(waits: impl Fn() -> bool) {
    let since = Instant::now();
    while waits() && since.elapsed() < AWAKE {
        std::thread::yield_now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_done_once_with_a_crew_and_without() {
        for threads in [None, MemberThreads::of(1), MemberThreads::of(2), MemberThreads::of(4)] {
            for n in 0..5 {
                let mut done = vec![0; n];
                MemberThreads::at_once(threads.as_ref(), done.iter_mut().collect(), |one: &mut i32| {
                    *one += 1
                });
                assert_eq!(done, vec![1; n], "{threads:?}");
            }
        }
    }

    #[test]
    fn members_work_at_the_same_time() {
        let threads = MemberThreads::of(3);
        let meet = std::sync::Barrier::new(3);
        // Would hang if one waited for another to end.
        MemberThreads::at_once(threads.as_ref(), vec![(); 3], |()| {
            meet.wait();
        });
    }
}
