//! Values whose size says that they are in another unit than their column.

/// Latencies below this are seldom those of a language model in milliseconds, and common in seconds.
const LATENCY_MS_MIN: f64 = 100.0;
/// Values below which a column is too short to be judged.
const VALUES_MIN: u64 = 20;
/// 2001-09-09 and 2100-01-01, in milliseconds since 1970: times of logs of language models lie between.
const TIME_MS_RANGE: (i64, i64) = (1_000_000_000_000, 4_102_444_800_000);

/// Counts values of odd sizes as they stream by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Units {
    latencies: u64,
    small_latencies: u64,
    times: u64,
    odd_times: u64,
}

impl Units {
    /// Notes a latency in milliseconds. Zeros say nothing: they are zero in every unit.
    pub(crate) fn latency_ms(&mut self, value: f64) {
        self.latencies += u64::from(value > 0.0);
        self.small_latencies += u64::from(value > 0.0 && value < LATENCY_MS_MIN);
    }

    /// Notes a time in milliseconds since 1970.
    pub(crate) fn timestamp_ms(&mut self, value: i64) {
        self.times += 1;
        self.odd_times += u64::from(!(TIME_MS_RANGE.0..TIME_MS_RANGE.1).contains(&value));
    }

    /// Takes in the counts of other values.
    pub(crate) fn merge(&mut self, other: Self) {
        self.latencies += other.latencies;
        self.small_latencies += other.small_latencies;
        self.times += other.times;
        self.odd_times += other.odd_times;
    }

    /// What looks like another unit: the rule's name and what to do.
    pub(crate) fn findings(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        if self.latencies >= VALUES_MIN && self.small_latencies * 100 >= self.latencies * 95 {
            let (small, all) = (self.small_latencies, self.latencies);
            found.push((
                "latency-unit",
                format!(
                    "{small} of {all} latencies are below {LATENCY_MS_MIN} ms: are they seconds? \
                     `routewright data import long --latency-unit s` converts them"
                ),
            ));
        }
        if self.odd_times > 0 && self.odd_times * 2 >= self.times {
            let (odd, all) = (self.odd_times, self.times);
            found.push((
                "time-unit",
                format!(
                    "{odd} of {all} times are before 2001-09-09 or after 2099: are they in milliseconds since \
                     1970? `routewright data import long` converts seconds, microseconds and nanoseconds"
                ),
            ));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(latencies: &[f64], times: &[i64]) -> Vec<&'static str> {
        let mut units = Units::default();
        latencies.iter().for_each(|value| units.latency_ms(*value));
        times.iter().for_each(|value| units.timestamp_ms(*value));
        units.findings().into_iter().map(|(rule, _)| rule).collect()
    }

    #[test]
    fn seconds_in_columns_of_milliseconds_are_noticed() {
        assert_eq!(rules(&[1.2; 40], &[]), ["latency-unit"]);
        assert_eq!(rules(&[1200.0; 40], &[1_700_000_000_000]), [""; 0]);
        assert_eq!(rules(&[0.0; 40], &[]), [""; 0], "cached answers take no time in any unit");
        assert_eq!(rules(&[1.2; 5], &[]), [""; 0], "too few to judge");
        assert_eq!(rules(&[], &[1_700_000_000, 1_700_000_001]), ["time-unit"]);
        assert_eq!(rules(&[], &[1_700_000_000_000_000]), ["time-unit"]);
    }
}
