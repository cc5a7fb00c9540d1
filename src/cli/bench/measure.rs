//! Processor time of this process and of others, medians over rounds.

use cpu_time::ProcessTime;

/// Kernel ticks of `/proc/PID/stat` a second, on every Linux of today.
const TICKS: f64 = 100.0;

/// Seconds of processor time, user and system, all threads, that `work` takes in this process.
pub(super) fn cpu_seconds(work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let start = ProcessTime::now();
    work()?;
    // A clock that has not moved would make a rate infinite.
    Ok(start.elapsed().as_secs_f64().max(1e-9))
}

/// Seconds of processor time, user and system, another process has used so far; Linux only.
pub(super) fn cpu_seconds_of(process: u32) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // Fields 14 and 15, counted after the name in parentheses, which may hold anything.
    let mut fields = stat.rsplit(')').next()?.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / TICKS)
}

/// Memory of its own that another process holds in RAM (heap, stacks, relocated data), megabytes (2^20 bytes); Linux
/// only. Pages of the program's file are left out: they are the kernel's cache, shared, and how many of them are
/// mapped depends on the kernel and on the size of the program rather than on what it serves.
pub(super) fn own_mb_of(process: u32) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("RssAnon"))?;
    Some(line.split_whitespace().nth(1)?.parse::<f64>().ok()? / 1024.0)
}

/// What this machine takes to read memory: a fixed sum over as many bytes as 36,000 rows of 128 codes.
///
/// Absolute times of what reads memory differ between virtual machines by far more than those of what computes, so
/// a target of such a benchmark is a multiple of this.
#[derive(Debug)]
pub(super) struct MemoryProbe(Vec<u64>);

impl MemoryProbe {
    const BYTES: usize = 36_000 * 128;
    const TIMES: usize = 100;

    /// The bytes that are read.
    pub(super) fn new() -> Self {
        Self((0..Self::BYTES as u64 / 8).collect())
    }

    /// Processor microseconds of one sum.
    ///
    /// # Errors
    /// None.
    pub(super) fn us(&self) -> anyhow::Result<f64> {
        let seconds = cpu_seconds(|| {
            for _ in 0..Self::TIMES {
                std::hint::black_box(
                    std::hint::black_box(&self.0).iter().fold(0, |sum: u64, x| sum.wrapping_add(*x)),
                );
            }
            Ok(())
        })?;
        Ok(seconds * 1e6 / Self::TIMES as f64)
    }
}

/// Load averages of the machine over 1, 5 and 15 minutes, where the system gives them.
pub(super) fn machine_load() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let averages: Vec<&str> = load.split_whitespace().take(3).collect();
    if averages.is_empty() { "unknown".to_owned() } else { averages.join(" ") }
}

/// The middle value, the mean of the two middle ones of an even number; `None` of nothing.
pub(super) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    if sorted.len() % 2 == 1 { Some(upper) } else { Some(f64::midpoint(sorted[middle - 1], upper)) }
}

/// Figures of both sides, one a round.
#[derive(Debug, Clone, Default)]
pub(super) struct Rounds {
    ours: Vec<f64>,
    peer: Vec<f64>,
    /// Of the rounds in which both sides have a figure.
    ratios: Vec<f64>,
}

impl Rounds {
    /// Adds a round.
    pub(super) fn push(&mut self, ours: f64, peer: Option<f64>) {
        self.ours.push(ours);
        if let Some(peer) = peer {
            self.peer.push(peer);
            self.ratios.push(ours / peer);
        }
    }

    /// Median of our figures.
    pub(super) fn ours(&self) -> Option<f64> {
        median(&self.ours)
    }

    /// Median of the peer's figures.
    pub(super) fn peer(&self) -> Option<f64> {
        median(&self.peer)
    }

    /// Median over rounds of ours over the peer's.
    pub(super) fn ratio(&self) -> Option<f64> {
        median(&self.ratios)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_ratios_are_over_rounds() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        let mut rounds = Rounds::default();
        for (ours, peer) in [(1.0, Some(2.0)), (9.0, None), (6.0, Some(3.0)), (3.0, Some(3.0))] {
            rounds.push(ours, peer);
        }
        // ours 1 3 6 9, theirs 2 3 3, ratios 0.5 1 2
        assert_eq!((rounds.ours(), rounds.peer(), rounds.ratio()), (Some(4.5), Some(3.0), Some(1.0)));
    }

    #[test]
    fn work_takes_time_and_its_failure_is_passed_on() {
        assert!(cpu_seconds(|| Ok(())).unwrap() > 0.0);
        assert!(cpu_seconds(|| anyhow::bail!("no")).is_err());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_is_read_from_proc() {
        let own = std::process::id();
        assert!(cpu_seconds_of(own).unwrap() >= 0.0);
        assert!(own_mb_of(own).unwrap() > 0.1);
        assert_eq!(cpu_seconds_of(u32::MAX), None);
    }
}
