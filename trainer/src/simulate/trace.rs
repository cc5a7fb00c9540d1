//! What a run was worth: regret, spend, and how long a change was felt.

use super::stream::Stream;

/// Points of a regret curve.
const POINTS: usize = 200;
/// Rounds whose mean regret decides whether a bandit has recovered.
const WINDOW: usize = 200;
/// Mean regret this much above the one before the change still counts as recovered.
const SLACK: f64 = 0.01;
/// A bandit whose regret before the change was above this share of a random one's had not learned yet.
const LEARNED_SHARE: f64 = 0.5;

/// The figures of one run. All means are over rounds; regret and utility are in units of the reward.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    /// Number of rounds.
    pub n_rounds: usize,
    /// Regret a round against the best arm of each round.
    pub regret: f64,
    /// The same over the last quarter of the rounds.
    pub last_regret: f64,
    /// Utility a round.
    pub utility: f64,
    /// Score a round.
    pub score: f64,
    /// Spent a round, US dollars; `None` where no cost is known.
    pub cost_usd: Option<f64>,
    /// Mean spend over the target, where one was set.
    pub spend_over_target: Option<f64>,
    /// Rounds after the change until the mean regret is what it was before; `None` where nothing changes at
    /// once, the bandit had not learned by then (its regret was above half of that of random calls), or it never
    /// recovers.
    pub recovered_after: Option<usize>,
    /// Cumulated regret at equal steps.
    pub curve: Vec<f64>,
    /// Share of each arm.
    pub shares: Vec<f64>,
    /// Utility a round of the best arm of each round.
    pub oracle: f64,
    /// Utility a round of calling every arm equally often.
    pub uniform: f64,
    /// Utility a round of the best fixed arm in hindsight.
    pub best_single: f64,
}

/// Collects a [`Trace`].
#[derive(Debug)]
pub(super) struct Tracer {
    target_usd: Option<f64>,
    change: Option<usize>,
    regrets: Vec<f64>,
    /// Regret of calling every arm equally often.
    random_regrets: Vec<f64>,
    utility: f64,
    score: f64,
    cost: (f64, usize),
    counts: Vec<usize>,
    oracle: f64,
    uniform: f64,
    /// Sum and number of rounds of each arm.
    singles: Vec<(f64, usize)>,
    n: usize,
}

impl Tracer {
    pub(super) fn new(stream: &Stream, target_usd: Option<f64>) -> Self {
        let n_arms = stream.phases[0].available.len();
        Self {
            target_usd,
            change: stream.change,
            regrets: Vec::with_capacity(stream.rounds.len()),
            random_regrets: Vec::with_capacity(stream.rounds.len()),
            utility: 0.0,
            score: 0.0,
            cost: (0.0, 0),
            counts: vec![0; n_arms],
            oracle: 0.0,
            uniform: 0.0,
            singles: vec![(0.0, 0); n_arms],
            n: 0,
        }
    }

    /// Books a round: the arm called, and utility, score and cost of every arm that has them. A round whose
    /// called arm has no known outcome has no regret. Where a rival was called too, both are paid for, and the round
    /// is worth the mean of the two.
    pub(super) fn round(
        &mut self,
        called: usize,
        rival: Option<usize>,
        each: impl Iterator<Item = Option<(f64, f64, Option<f64>)>>,
    ) {
        let (mut best, mut total, mut known) = (f64::NEG_INFINITY, 0.0, 0);
        let (mut own, mut other) = (None, None);
        for (arm, worth) in each.enumerate() {
            let Some((utility, score, cost)) = worth else { continue };
            best = best.max(utility);
            total += utility;
            known += 1;
            self.singles[arm].0 += utility;
            self.singles[arm].1 += 1;
            if arm == called {
                own = Some((utility, score, cost));
            }
            if rival == Some(arm) {
                other = Some((utility, score, cost));
            }
        }
        self.counts[called] += 1;
        let both = |a: (f64, f64, Option<f64>), b: (f64, f64, Option<f64>)| {
            let cost = a.2.zip(b.2).map(|(a, b)| a + b);
            (f64::midpoint(a.0, b.0), f64::midpoint(a.1, b.1), cost)
        };
        let own = if rival.is_some() { own.zip(other).map(|(a, b)| both(a, b)) } else { own };
        let Some((utility, score, cost)) = own else {
            self.regrets.push(0.0);
            self.random_regrets.push(0.0);
            return;
        };
        self.n += 1;
        self.regrets.push(best - utility);
        self.random_regrets.push(best - total / f64::from(known));
        self.utility += utility;
        self.score += score;
        self.oracle += best;
        self.uniform += total / f64::from(known);
        if let Some(cost) = cost {
            self.cost = (self.cost.0 + cost, self.cost.1 + 1);
        }
    }

    pub(super) fn finish(self) -> Trace {
        let n_rounds = self.regrets.len();
        let mean = |sum: f64| sum / self.n.max(1) as f64;
        let over =
            |from: usize, to: usize| self.regrets[from..to].iter().sum::<f64>() / (to - from).max(1) as f64;
        let sums: Vec<f64> = (self.regrets.iter())
            .scan(0.0, |sum, regret| {
                *sum += regret;
                Some(*sum)
            })
            .collect();
        let curve = (1..=POINTS).filter_map(|k| sums.get((k * n_rounds / POINTS).checked_sub(1)?));
        let cost_usd = (self.cost.1 > 0).then(|| self.cost.0 / self.cost.1 as f64);
        // An arm that was there for a few rounds only is no policy.
        let singles = self.singles.iter().filter(|(_, n)| 2 * n > self.n);
        let best_single = singles.map(|(sum, n)| sum / *n as f64).fold(f64::NEG_INFINITY, f64::max);
        Trace {
            n_rounds,
            regret: mean(sums.last().copied().unwrap_or(0.0)),
            last_regret: over(n_rounds - n_rounds / 4, n_rounds),
            utility: mean(self.utility),
            score: mean(self.score),
            cost_usd,
            spend_over_target: self.target_usd.and_then(|target| Some(cost_usd? / target)),
            recovered_after: self
                .change
                .and_then(|at| recovered_after(&self.regrets, &self.random_regrets, at)),
            curve: curve.copied().collect(),
            shares: self.counts.iter().map(|n| *n as f64 / n_rounds.max(1) as f64).collect(),
            oracle: mean(self.oracle),
            uniform: mean(self.uniform),
            best_single,
        }
    }
}

/// Rounds after `change` until a window's mean regret is that of the last window before; `None` for a bandit that
/// had not learned in that window, to which nothing could happen.
fn recovered_after(regrets: &[f64], random: &[f64], change: usize) -> Option<usize> {
    let mean = |values: &[f64], from: usize| values[from..from + WINDOW].iter().sum::<f64>() / WINDOW as f64;
    let from = change.checked_sub(WINDOW)?;
    let before = mean(regrets, from);
    if before > LEARNED_SHARE * mean(random, from) {
        return None;
    }
    let last = regrets.len().checked_sub(WINDOW)?;
    (change..=last).find(|from| mean(regrets, *from) <= before + SLACK).map(|from| from - change)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bandit_that_had_not_learned_does_not_recover_at_once() {
        let random = vec![0.3; 1000];
        // Learned by 500; the change is felt for 150 rounds.
        let learned: Vec<f64> = (0..1000)
            .map(|i| {
                if i < 300 {
                    0.3
                } else if (500..650).contains(&i) {
                    0.4
                } else {
                    0.02
                }
            })
            .collect();
        // 145 rounds later a window has 5 bad rounds: 0.02 + 5 * 0.38 / 200 = 0.0295.
        assert_eq!(recovered_after(&learned, &random, 500), Some(145));
        let never_learned = vec![0.25; 1000];
        assert_eq!(recovered_after(&never_learned, &random, 500), None);
        let mut lost = learned.clone();
        lost[500..].fill(0.4);
        assert_eq!(recovered_after(&lost, &random, 500), None);
    }
}
