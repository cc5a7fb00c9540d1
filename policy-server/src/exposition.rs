//! The text format of Prometheus: families, samples, histograms on plain atomics.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Upper bounds of the duration buckets, nanoseconds.
const BUCKETS_NS: [u64; 13] = [
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
];

/// Upper bounds of the buckets of calls to models, nanoseconds: 10 ms, doubled, to 655 s.
const CALL_BUCKETS_NS: [u64; 17] = {
    let mut bounds = [10_000_000; 17];
    let mut at = 1;
    while at < bounds.len() {
        bounds[at] = bounds[at - 1] * 2;
        at += 1;
    }
    bounds
};

/// Durations by bucket, up to a quarter of a second.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    /// One count a bucket, the last one is `+Inf`.
    counts: [AtomicU64; BUCKETS_NS.len() + 1],
    sum_ns: AtomicU64,
}

/// Durations of calls to models by bucket, from 10 ms to 11 minutes.
#[derive(Debug, Default)]
pub(crate) struct Durations {
    /// One count a bucket, the last one is `+Inf`.
    counts: [AtomicU64; CALL_BUCKETS_NS.len() + 1],
    sum_ns: AtomicU64,
}

impl Histogram {
    pub(crate) fn observe(&self, duration: Duration) {
        observe(&self.counts, &self.sum_ns, &BUCKETS_NS, duration);
    }

    pub(crate) fn write(&self, out: &mut String, name: &str, labels: &str) {
        write(&self.counts, &self.sum_ns, &BUCKETS_NS, out, [name, labels]);
    }
}

impl Durations {
    pub(crate) fn observe(&self, duration: Duration) {
        observe(&self.counts, &self.sum_ns, &CALL_BUCKETS_NS, duration);
    }

    pub(crate) fn write(&self, out: &mut String, name: &str, labels: &str) {
        write(&self.counts, &self.sum_ns, &CALL_BUCKETS_NS, out, [name, labels]);
    }
}

fn observe(counts: &[AtomicU64], sum_ns: &AtomicU64, bounds_ns: &[u64], duration: Duration) {
    let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    if let Some(count) = counts.get(bounds_ns.partition_point(|bound| *bound < ns)) {
        count.fetch_add(1, Relaxed);
    }
    sum_ns.fetch_add(ns, Relaxed);
}

fn write(
    counts: &[AtomicU64],
    sum_ns: &AtomicU64,
    bounds_ns: &[u64],
    out: &mut String,
    [name, labels]: [&str; 2],
) {
    let comma = if labels.is_empty() { "" } else { "," };
    let mut cumulative = 0;
    for (count, bound) in counts.iter().zip(bounds_ns.iter().map(Some).chain([None])) {
        cumulative += count.load(Relaxed);
        let bound = bound.map_or("+Inf".to_owned(), |ns| (*ns as f64 / 1e9).to_string());
        line(out, &format!("{name}_bucket{{{labels}{comma}le=\"{bound}\"}}"), cumulative);
    }
    let sum = sum_ns.load(Relaxed) as f64 / 1e9;
    let braced = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
    line(out, &format!("{name}_sum{braced}"), sum);
    line(out, &format!("{name}_count{braced}"), cumulative);
}

/// Head of a family of series; `routewright_` is put before the name.
pub(crate) fn family(out: &mut String, name: &str, kind: &str, help: &str) {
    out.push_str(&format!("# HELP routewright_{name} {help}\n# TYPE routewright_{name} {kind}\n"));
}

/// One sample.
pub(crate) fn line(out: &mut String, series: &str, value: impl std::fmt::Display) {
    // Writing to a `String` cannot fail.
    let _written = writeln!(out, "{series} {value}");
}

/// Label values may hold anything.
pub(crate) fn escape(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative_and_a_bound_belongs_to_its_bucket() {
        let histogram = Histogram::default();
        for us in [25, 26, 300_000] {
            histogram.observe(Duration::from_micros(us));
        }
        let mut out = String::new();
        histogram.write(&mut out, "h", "a=\"b\"");
        for expected in [
            "h_bucket{a=\"b\",le=\"0.000025\"} 1\n",
            "h_bucket{a=\"b\",le=\"0.00005\"} 2\n",
            "h_bucket{a=\"b\",le=\"0.25\"} 2\n",
            "h_bucket{a=\"b\",le=\"+Inf\"} 3\n",
            "h_sum{a=\"b\"} 0.300051\n",
            "h_count{a=\"b\"} 3\n",
        ] {
            assert!(out.contains(expected), "{expected} not in {out}");
        }
    }
}
