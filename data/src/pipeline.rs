//! Work on the items of a stream by several threads; what they make of it is taken in the order of the items.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Threads at most: each holds an item, and items may be batches of many megabytes.
const THREADS_MAX: usize = 8;

/// Hands the items of `source` to `work`, on as many threads as there are processors, and what it makes of them to
/// `take`, on this thread and in order. The first error, in the order of the items, ends it: results and errors are
/// those of one thread. At most one item a thread and two more are held at a time.
///
/// # Errors
/// The first of the source, of `work` or of `take`.
pub(crate) fn in_order<T: Send, U: Send, E: Send>(
    source: impl Iterator<Item = Result<T, E>> + Send,
    work: impl Fn(T) -> Result<U, E> + Sync,
    take: impl FnMut(U) -> Result<(), E>,
) -> Result<(), E> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(THREADS_MAX);
    in_order_on(threads, source, work, take)
}

fn in_order_on<T: Send, U: Send, E: Send>(
    threads: usize,
    mut source: impl Iterator<Item = Result<T, E>> + Send,
    work: impl Fn(T) -> Result<U, E> + Sync,
    mut take: impl FnMut(U) -> Result<(), E>,
) -> Result<(), E> {
    let Some(first) = source.next().transpose()? else { return Ok(()) };
    // Most logs are one batch: it is not worth a thread.
    let second = if threads > 1 { source.next() } else { None };
    take(work(first)?)?;
    let Some(second) = second else {
        return source.try_for_each(|item| take(work(item?)?));
    };
    let source = std::iter::once(second).chain(source);
    let line = Line {
        source: Mutex::new(Source { items: source, next: 0, is_over: false }),
        state: Mutex::new(State { results: BTreeMap::new(), taken: 0, end: None, is_stopped: false }),
        changed: Condvar::new(),
        room: threads + 1,
    };
    thread::scope(|scope| {
        // However this thread leaves, the others end.
        let _stop = Stop(&line, true);
        for _ in 0..threads {
            scope.spawn(|| {
                let _stop = Stop(&line, false);
                while line.step(&work) {}
            });
        }
        while let Some(result) = line.next() {
            take(result?)?;
        }
        Ok(())
    })
}

struct Source<I> {
    items: I,
    next: usize,
    is_over: bool,
}

struct State<U, E> {
    results: BTreeMap<usize, Result<U, E>>,
    /// Results taken, so the number of the one that is taken next.
    taken: usize,
    /// Number of items, once known.
    end: Option<usize>,
    is_stopped: bool,
}

/// Items on their way.
struct Line<I, U, E> {
    source: Mutex<Source<I>>,
    state: Mutex<State<U, E>>,
    changed: Condvar,
    /// Items between the source and the taker at most.
    room: usize,
}

/// Stops everybody when its thread is done, or when it panics.
struct Stop<'a, I, U, E>(&'a Line<I, U, E>, bool);

impl<I, U, E> Drop for Stop<'_, I, U, E> {
    fn drop(&mut self) {
        if self.1 || thread::panicking() {
            lock(&self.0.state).is_stopped = true;
            self.0.changed.notify_all();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T, U, E, I: Iterator<Item = Result<T, E>>> Line<I, U, E> {
    /// Works on the next item; `false` where there is none.
    fn step(&self, work: &impl Fn(T) -> Result<U, E>) -> bool {
        let Some((number, item)) = self.draw() else { return false };
        let result = item.and_then(work);
        lock(&self.state).results.insert(number, result);
        self.changed.notify_all();
        true
    }

    /// The next item with its number, once there is room for it.
    fn draw(&self) -> Option<(usize, Result<T, E>)> {
        let mut source = lock(&self.source);
        let mut state = lock(&self.state);
        while !state.is_stopped && source.next >= state.taken + self.room {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.is_stopped || source.is_over {
            return None;
        }
        drop(state);
        let item = source.items.next();
        // Nothing is asked of a source that has failed.
        source.is_over = !matches!(item, Some(Ok(_)));
        let number = source.next;
        source.next += usize::from(item.is_some());
        if source.is_over {
            lock(&self.state).end = Some(source.next);
            self.changed.notify_all();
        }
        item.map(|item| (number, item))
    }

    /// The next result, in order; `None` at the end, or where a thread panicked.
    fn next(&self) -> Option<Result<U, E>> {
        let mut state = lock(&self.state);
        loop {
            let number = state.taken;
            if let Some(result) = state.results.remove(&number) {
                state.taken += 1;
                self.changed.notify_all();
                return Some(result);
            }
            if state.is_stopped || state.end == Some(number) {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    /// Runs over `n` numbers, of which `bad` is an error of the source, `worse` one of the work.
    fn run(threads: usize, n: usize, bad: usize, worse: usize) -> (Vec<usize>, Result<(), String>, usize) {
        let (drawn, done, most) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        let source = (0..n).map(|at| {
            let held = drawn.fetch_add(1, Ordering::SeqCst) + 1 - done.load(Ordering::SeqCst);
            most.fetch_max(held, Ordering::SeqCst);
            if at == bad { Err(format!("source {at}")) } else { Ok(at) }
        });
        let work = |at: usize| {
            // Later items are done sooner.
            std::thread::sleep(Duration::from_micros(if at.is_multiple_of(3) { 300 } else { 10 }));
            if at == worse { Err(format!("work {at}")) } else { Ok(at * 2) }
        };
        let mut taken = Vec::new();
        let result = in_order_on(threads, source, work, |item| {
            taken.push(item);
            done.fetch_add(1, Ordering::SeqCst);
            Ok(())
        });
        (taken, result, most.load(Ordering::SeqCst))
    }

    #[test]
    fn results_and_errors_are_those_of_one_thread_and_few_items_are_held() {
        for (n, bad, worse) in
            [(0, 9, 9), (1, 9, 9), (2, 9, 9), (300, 999, 999), (300, 77, 999), (300, 999, 77)]
                .into_iter()
                .chain([(300, 80, 77), (300, 77, 80), (300, 0, 1), (300, 1, 2), (300, 299, 298)])
        {
            let (expected, ending, _) = run(1, n, bad, worse);
            for threads in [2, 3, 8] {
                let (taken, result, most) = run(threads, n, bad, worse);
                assert_eq!((&taken, &result), (&expected, &ending), "{threads} threads, {n} {bad} {worse}");
                assert!(most <= threads + 3, "{most} items at once on {threads} threads");
            }
        }
    }

    #[test]
    fn a_panic_of_the_work_or_the_taker_ends_the_run() {
        let source = || (0..100).map(Ok::<usize, ()>);
        let work = |at: usize| if at == 50 { panic!("no") } else { Ok(at) };
        let worker = std::panic::catch_unwind(|| in_order_on(2, source(), work, |_| Ok(())));
        assert!(worker.is_err());
        let taker = |at: usize| if at == 50 { panic!("no") } else { Ok(()) };
        assert!(std::panic::catch_unwind(|| in_order_on(2, source(), Ok, taker)).is_err());
    }

    #[test]
    fn an_error_of_the_taker_ends_the_run_at_its_item() {
        let mut taken = Vec::new();
        let result = in_order_on(4, (0..1000).map(Ok), Ok, |at| {
            taken.push(at);
            if at == 123 { Err("full") } else { Ok(()) }
        });
        assert_eq!((result, taken.len()), (Err("full"), 124));
    }
}
