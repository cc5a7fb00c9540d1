//! Answers that are kept for a request that comes again, word for word.
//!
//! Least recently used, bounded by bytes, each for a time of its own by the monotonic clock. What counts as the same
//! request is the business of whoever makes the [`Fingerprint`]; that of a key is part of it, so that no key is
//! answered what another one asked.

use crate::exposition::{family, line};
use axum::body::Bytes;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Which request an answer is of.
pub(crate) type Fingerprint = [u8; 32];

/// Bytes that an entry takes beside those of its answer, about.
const ENTRY_BYTES: usize = 512;
/// The part of the cache that one answer may take.
const SHARE: usize = 8;

/// An answer as it went out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Kept {
    /// The model that answered.
    pub(crate) model: String,
    pub(crate) content_type: Option<String>,
    /// Whether it is a stream; then its pieces are those that were passed on.
    pub(crate) streams: bool,
    pub(crate) pieces: Vec<Bytes>,
    /// Fields of the request that a translation left out or changed.
    pub(crate) dropped: Vec<String>,
}

impl Kept {
    fn bytes(&self) -> usize {
        let texts = self.model.len() + self.dropped.iter().map(String::len).sum::<usize>();
        let pieces = self.pieces.iter().map(|piece| piece.len() + size_of::<Bytes>()).sum::<usize>();
        ENTRY_BYTES + texts + pieces
    }
}

#[derive(Debug)]
struct Entry {
    kept: Arc<Kept>,
    bytes: usize,
    since: Instant,
    until: Instant,
    /// Its place in the order of use.
    used: u64,
}

#[derive(Debug, Default)]
struct Entries {
    by_request: HashMap<Fingerprint, Entry>,
    by_use: BTreeMap<u64, Fingerprint>,
    bytes: usize,
    uses: u64,
}

impl Entries {
    fn remove(&mut self, request: &Fingerprint) {
        if let Some(entry) = self.by_request.remove(request) {
            self.by_use.remove(&entry.used);
            self.bytes -= entry.bytes;
        }
    }
}

/// The answers that are kept.
#[derive(Debug)]
pub(crate) struct Cache {
    bytes_max: usize,
    entries: Mutex<Entries>,
    /// Bytes of the answers that are being recorded.
    recorded: AtomicUsize,
    hits: AtomicU64,
    misses: AtomicU64,
    bypasses: AtomicU64,
    evicted: AtomicU64,
}

impl Cache {
    /// Keeps at most so many bytes; 0 keeps nothing.
    pub(crate) fn new(bytes_max: usize) -> Self {
        let count = AtomicU64::default;
        Self {
            bytes_max,
            entries: Mutex::default(),
            recorded: AtomicUsize::default(),
            hits: count(),
            misses: count(),
            bypasses: count(),
            evicted: count(),
        }
    }

    /// Longest answer that is kept, bytes.
    pub(crate) fn answer_bytes_max(&self) -> usize {
        (self.bytes_max / SHARE).saturating_sub(ENTRY_BYTES)
    }

    /// Takes memory for answers that are being recorded; all of them together get as much as those that are kept.
    pub(crate) fn reserve(&self, bytes: usize) -> bool {
        let more = |recorded: usize| recorded.checked_add(bytes).filter(|all| *all <= self.bytes_max);
        self.recorded.fetch_update(Relaxed, Relaxed, more).is_ok()
    }

    /// Gives it back.
    pub(crate) fn release(&self, bytes: usize) {
        self.recorded.fetch_sub(bytes, Relaxed);
    }

    /// The answer of a request, and its age.
    pub(crate) fn get(&self, request: &Fingerprint, now: Instant) -> Option<(Arc<Kept>, Duration)> {
        let mut entries = self.entries();
        let is_old = entries.by_request.get(request).is_some_and(|entry| entry.until <= now);
        if is_old {
            entries.remove(request);
        }
        entries.uses += 1;
        let uses = entries.uses;
        let Some(entry) = entries.by_request.get_mut(request) else {
            self.misses.fetch_add(1, Relaxed);
            return None;
        };
        let (kept, age) = (Arc::clone(&entry.kept), now.saturating_duration_since(entry.since));
        let before = std::mem::replace(&mut entry.used, uses);
        entries.by_use.remove(&before);
        entries.by_use.insert(uses, *request);
        self.hits.fetch_add(1, Relaxed);
        Some((kept, age))
    }

    /// Keeps the answer of a request for a time; the least recently used ones make room.
    pub(crate) fn put(&self, request: Fingerprint, kept: Kept, lifetime: Duration, now: Instant) {
        let bytes = kept.bytes();
        let Some(until) = now.checked_add(lifetime) else { return };
        if bytes > self.bytes_max / SHARE {
            return;
        }
        let mut entries = self.entries();
        entries.remove(&request);
        while entries.bytes + bytes > self.bytes_max {
            let Some((_, oldest)) = entries.by_use.first_key_value() else { break };
            let oldest = *oldest;
            entries.remove(&oldest);
            self.evicted.fetch_add(1, Relaxed);
        }
        entries.uses += 1;
        let used = entries.uses;
        entries.bytes += bytes;
        entries.by_use.insert(used, request);
        let entry = Entry { kept: Arc::new(kept), bytes, since: now, until, used };
        entries.by_request.insert(request, entry);
    }

    /// Counts a request of a key with a cache that is not looked up.
    pub(crate) fn bypassed(&self) {
        self.bypasses.fetch_add(1, Relaxed);
    }

    /// What was measured, in the text of Prometheus.
    pub(crate) fn render(&self) -> String {
        let mut out = String::new();
        family(
            &mut out,
            "cache_requests_total",
            "counter",
            "Requests of keys with a cache, by what came of them.",
        );
        for (result, count) in [("hit", &self.hits), ("miss", &self.misses), ("bypass", &self.bypasses)] {
            let series = format!("routewright_cache_requests_total{{kind=\"exact\",result=\"{result}\"}}");
            line(&mut out, &series, count.load(Relaxed));
        }
        let (n, bytes) = {
            let entries = self.entries();
            (entries.by_request.len(), entries.bytes)
        };
        family(&mut out, "cache_entries", "gauge", "Answers that are kept.");
        line(&mut out, "routewright_cache_entries", n);
        family(&mut out, "cache_bytes", "gauge", "Memory that they take, about.");
        line(&mut out, "routewright_cache_bytes", bytes);
        family(&mut out, "cache_evicted_total", "counter", "Answers that made room before their time.");
        line(&mut out, "routewright_cache_evicted_total", self.evicted.load(Relaxed));
        out
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(text: &str) -> Kept {
        let pieces = vec![Bytes::from(text.to_owned())];
        Kept { model: "m".into(), content_type: None, streams: false, pieces, dropped: Vec::new() }
    }

    fn request(n: u64) -> Fingerprint {
        *blake3::hash(&n.to_le_bytes()).as_bytes()
    }

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn an_answer_lives_as_long_as_it_was_said() {
        let (cache, start) = (Cache::new(1 << 20), Instant::now());
        assert_eq!(cache.get(&request(1), start), None);
        cache.put(request(1), kept("one"), MINUTE, start);
        cache.put(request(2), kept("two"), Duration::ZERO, start);
        cache.put(request(3), kept("three"), Duration::MAX, start);
        let later = start + MINUTE - Duration::from_nanos(1);
        let (found, age) = cache.get(&request(1), later).unwrap();
        assert_eq!((&*found.pieces[0], age), (&b"one"[..], MINUTE - Duration::from_nanos(1)));
        assert_eq!(cache.get(&request(1), start + MINUTE), None);
        assert_eq!((cache.get(&request(2), start), cache.get(&request(3), start)), (None, None));
        assert_eq!(cache.entries().bytes, 0, "what is over is gone");
        let text = cache.render();
        assert!(text.contains("result=\"hit\"} 1\n") && text.contains("result=\"miss\"} 4\n"), "{text}");
    }

    #[test]
    fn the_least_recently_used_make_room_and_bytes_add_up() {
        let (max, now) = (64 << 10, Instant::now());
        let cache = Cache::new(max);
        assert!(cache.answer_bytes_max() < max / SHARE);
        cache.put(request(0), kept(&"x".repeat(max)), MINUTE, now);
        assert_eq!(cache.get(&request(0), now), None, "an answer may not push all others out");
        let mut state = 5_u64;
        for turn in 0..5000_u64 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let size = (state >> 40) as usize % 6000;
            cache.put(request(turn % 700), kept(&"x".repeat(size)), MINUTE, now);
            assert!(cache.get(&request(turn % 700), now).is_some());
            let entries = cache.entries();
            let sum: usize = entries.by_request.values().map(|entry| entry.bytes).sum();
            assert!(entries.bytes == sum && sum <= max && entries.by_use.len() == entries.by_request.len());
        }
        // The last one was used; of those before, the oldest are gone.
        let cache = Cache::new(16 * 1024);
        for n in 0..8 {
            cache.put(request(n), kept(&"x".repeat(1400)), MINUTE, now);
        }
        assert!(cache.get(&request(0), now).is_some());
        cache.put(request(8), kept(&"x".repeat(1400)), MINUTE, now);
        assert!(cache.get(&request(0), now).is_some() && cache.get(&request(1), now).is_none());
    }

    #[test]
    fn what_is_being_recorded_has_a_bound_of_its_own() {
        let cache = Cache::new(1000);
        assert!(cache.reserve(600) && !cache.reserve(401) && !cache.reserve(usize::MAX));
        assert!(cache.reserve(400) && !cache.reserve(1) && cache.reserve(0));
        cache.release(600);
        assert!(cache.reserve(600) && !cache.reserve(1));
    }

    #[test]
    fn nothing_is_kept_where_there_is_no_room() {
        let cache = Cache::new(0);
        cache.put(request(1), kept(""), MINUTE, Instant::now());
        assert_eq!(cache.get(&request(1), Instant::now()), None);
    }
}
