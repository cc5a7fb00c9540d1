//! Which arm answers each query of a batch, so that the whole batch keeps a budget (FORC, arXiv 2308.06077).
//!
//! With `v_im` the expected score and `c_im` the price of arm `m` on query `i`, one arm for every query:
//!
//! ```text
//! maximise  sum_i v_i,m(i)    subject to  sum_i c_i,m(i) <= budget
//! ```
//!
//! The linear relaxation has one constraint that couples the queries, so that its optimum is `argmax_m v - lambda c` of
//! every query for one multiplier `lambda`, but for at most one query that is split between two arms. The multiplier is
//! found by bisection; what is left of the budget then goes to the queries that change arms at it, by gain a dollar. So
//! the score lacks at most one step of one query to the bound, which is returned beside it.
//!
//! [`greedy`] and [`threshold`] are the paper's simpler rules.

/// Rounds of the bisection, at most.
const ROUNDS: usize = 64;

/// Expected scores and prices of a batch, `(n_queries, n_arms)`, row-major. A cell without a finite score or price is
/// no choice.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// Number of arms.
    pub n_arms: usize,
    /// Expected scores.
    pub score: &'a [f32],
    /// Prices in US dollars.
    pub cost_usd: &'a [f32],
}

/// The arm of every query.
#[derive(Debug, Clone, PartialEq)]
pub struct Assignment {
    /// Index of the arm of each query.
    pub arms: Vec<u32>,
    /// Sum of the expected scores.
    pub score: f64,
    /// Sum of the prices, US dollars.
    pub cost_usd: f64,
    /// No assignment within the budget has a greater sum of scores; `None` where none was computed.
    pub bound: Option<f64>,
    /// Score that one more dollar would buy, where the budget binds.
    pub lambda: Option<f64>,
}

/// Why a batch could not be assigned.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AssignError {
    /// The shapes do not fit.
    #[error(
        "cannot assign: {scores} scores and {costs} prices for {n_arms} arms, expected as many of both, \
         a multiple of the arms"
    )]
    Shape {
        /// Scores given.
        scores: usize,
        /// Prices given.
        costs: usize,
        /// Arms.
        n_arms: usize,
    },
    /// No arm of a query has a score and a price.
    #[error(
        "cannot assign query {row}: none of its arms has both a score and a price, expected at least one"
    )]
    NoChoice {
        /// Position of the query.
        row: usize,
    },
    /// A budget is not a number of at least 0.
    #[error("cannot assign: the budget is `{budget_usd}`, expected US dollars of at least 0")]
    Budget {
        /// What was given.
        budget_usd: f64,
    },
    /// The cheapest arms cost more than the budget.
    #[error(
        "cannot assign: the cheapest arms of the batch cost {least_usd:.6} US dollars together, \
         the budget is {budget_usd:.6}"
    )]
    OutOfReach {
        /// What was given.
        budget_usd: f64,
        /// Sum of the least prices.
        least_usd: f64,
    },
}

impl Batch<'_> {
    fn n_queries(&self) -> usize {
        self.score.len() / self.n_arms.max(1)
    }

    fn check(&self, budget_usd: f64) -> Result<f64, AssignError> {
        let (scores, costs, n_arms) = (self.score.len(), self.cost_usd.len(), self.n_arms);
        if n_arms == 0 || scores != costs || scores % n_arms != 0 {
            return Err(AssignError::Shape { scores, costs, n_arms });
        }
        if budget_usd.is_nan() || budget_usd < 0.0 {
            return Err(AssignError::Budget { budget_usd });
        }
        let mut least_usd = 0.0;
        for row in 0..self.n_queries() {
            let cheapest = self.choices(row).map(|(_, _, cost)| cost).fold(f64::INFINITY, f64::min);
            if cheapest.is_infinite() {
                return Err(AssignError::NoChoice { row });
            }
            least_usd += cheapest;
        }
        // The sum of the same prices in another order may differ in its last digits.
        if least_usd > budget_usd * (1.0 + 1e-12) {
            return Err(AssignError::OutOfReach { budget_usd, least_usd });
        }
        Ok(least_usd)
    }

    /// Arm, score and price of every choice of a query.
    fn choices(&self, row: usize) -> impl Iterator<Item = (usize, f64, f64)> {
        let range = row * self.n_arms..(row + 1) * self.n_arms;
        let both = self.score[range.clone()].iter().zip(&self.cost_usd[range]).enumerate();
        both.filter(|(_, (v, c))| v.is_finite() && c.is_finite())
            .map(|(arm, (v, c))| (arm, f64::from(*v), f64::from(*c)))
    }

    fn assignment(&self, arms: Vec<u32>) -> Assignment {
        let (mut score, mut cost_usd) = (0.0, 0.0);
        for (row, arm) in arms.iter().enumerate() {
            let at = row * self.n_arms + *arm as usize;
            score += f64::from(self.score[at]);
            cost_usd += f64::from(self.cost_usd[at]);
        }
        Assignment { arms, score, cost_usd, bound: None, lambda: None }
    }

    /// The arm of greatest `score - lambda cost` of every query, the cheaper of equals; and the sum of these maxima.
    fn at(&self, lambda: f64) -> (Assignment, f64) {
        let (mut arms, mut dual) = (Vec::with_capacity(self.n_queries()), 0.0);
        for row in 0..self.n_queries() {
            let mut best = (0, f64::NEG_INFINITY, f64::INFINITY);
            for (arm, score, cost) in self.choices(row) {
                let value = score - lambda * cost;
                if value > best.1 || value == best.1 && cost < best.2 {
                    best = (arm, value, cost);
                }
            }
            arms.push(best.0 as u32);
            dual += best.1;
        }
        (self.assignment(arms), dual)
    }

    /// The cheapest arm of every query, the better of equals.
    fn cheapest(&self) -> Assignment {
        let of = |row: usize| {
            let best = self.choices(row).min_by(|a, b| a.2.total_cmp(&b.2).then(b.1.total_cmp(&a.1)));
            best.map_or(0, |(arm, _, _)| arm as u32)
        };
        self.assignment((0..self.n_queries()).map(of).collect())
    }
}

/// The greatest sum of expected scores within a budget, by bisection on the multiplier.
///
/// # Errors
/// If shapes do not fit, a query has no choice, or the budget is below the sum of the least prices.
pub fn within_budget(batch: &Batch<'_>, budget_usd: f64) -> Result<Assignment, AssignError> {
    batch.check(budget_usd)?;
    let (free, dual) = batch.at(0.0);
    if free.cost_usd <= budget_usd {
        return Ok(Assignment { bound: Some(dual), lambda: Some(0.0), ..free });
    }
    let cheapest = batch.cheapest();
    let (mut low, mut high) = ((0.0, free), (f64::INFINITY, cheapest));
    let mut bound = dual;
    let mut next = 1.0 / (low.1.cost_usd / batch.n_queries().max(1) as f64).max(f64::MIN_POSITIVE);
    for _ in 0..ROUNDS {
        let (found, dual) = batch.at(next);
        // Every multiplier bounds the score.
        bound = bound.min(dual + next * budget_usd);
        if found.cost_usd > budget_usd {
            low = (next, found);
        } else {
            high = (next, found);
        }
        let settled = high.0.is_finite() && high.0 - low.0 <= f64::EPSILON * high.0;
        next = if high.0.is_finite() { 0.5 * (low.0 + high.0) } else { 4.0 * next };
        if settled || low.1.arms == high.1.arms || !next.is_finite() {
            break;
        }
    }
    let lambda = if high.0.is_finite() { high.0 } else { low.0 };
    let filled = fill(batch, high.1.arms, &low.1.arms, budget_usd);
    Ok(Assignment { bound: Some(bound.max(filled.score)), lambda: Some(lambda), ..filled })
}

/// Moves queries from `kept` to `wanted`, by gain a dollar, while the budget lasts.
fn fill(batch: &Batch<'_>, mut kept: Vec<u32>, wanted: &[u32], budget_usd: f64) -> Assignment {
    let cell = |row: usize, arm: u32| {
        let at = row * batch.n_arms + arm as usize;
        (f64::from(batch.score[at]), f64::from(batch.cost_usd[at]))
    };
    let mut moves: Vec<(f64, usize, f64)> = Vec::new();
    for (row, (own, other)) in kept.iter().zip(wanted).enumerate().filter(|(_, (own, other))| own != other) {
        let (before, after) = (cell(row, *own), cell(row, *other));
        let (gain, price) = (after.0 - before.0, after.1 - before.1);
        if gain > 0.0 {
            moves.push((if price > 0.0 { gain / price } else { f64::INFINITY }, row, price));
        }
    }
    moves.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let mut spent = batch.assignment(kept.clone()).cost_usd;
    for (_, row, price) in moves {
        if spent + price <= budget_usd {
            spent += price;
            kept[row] = wanted[row];
        }
    }
    batch.assignment(kept)
}

/// In the order of the batch, the arm of greatest expected score that leaves enough for the cheapest arms of the rest.
///
/// # Errors
/// As [`within_budget`].
pub fn greedy(batch: &Batch<'_>, budget_usd: f64) -> Result<Assignment, AssignError> {
    let least = batch.check(budget_usd)?;
    let (mut spare, mut arms) = ((budget_usd - least).max(0.0), Vec::with_capacity(batch.n_queries()));
    for row in 0..batch.n_queries() {
        let cheapest = batch.choices(row).map(|(_, _, cost)| cost).fold(f64::INFINITY, f64::min);
        let mut best = (0, f64::NEG_INFINITY, cheapest);
        for (arm, score, cost) in batch.choices(row).filter(|(_, _, cost)| cost - cheapest <= spare) {
            if score > best.1 || score == best.1 && cost < best.2 {
                best = (arm, score, cost);
            }
        }
        spare -= best.2 - cheapest;
        arms.push(best.0 as u32);
    }
    Ok(batch.assignment(arms))
}

/// The cheapest arm whose expected score exceeds `least` of every query, the dearest where none does. No budget.
///
/// # Errors
/// If shapes do not fit or a query has no choice.
pub fn threshold(batch: &Batch<'_>, least: f64) -> Result<Assignment, AssignError> {
    batch.check(f64::INFINITY)?;
    let of = |row: usize| {
        let good = batch.choices(row).filter(|(_, score, _)| *score > least);
        let cheapest = good.min_by(|a, b| a.2.total_cmp(&b.2).then(b.1.total_cmp(&a.1)));
        let dearest = || batch.choices(row).max_by(|a, b| a.2.total_cmp(&b.2).then(a.1.total_cmp(&b.1)));
        cheapest.or_else(dearest).map_or(0, |(arm, _, _)| arm as u32)
    };
    Ok(batch.assignment((0..batch.n_queries()).map(of).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt;
    use routewright_data::rng;

    /// Scores rise with the price of an arm, more on some queries than on others.
    fn random(n: usize, n_arms: usize, seed: u64) -> (Vec<f32>, Vec<f32>) {
        let mut rng = rng::stream(seed, "assignment");
        let (mut score, mut cost) = (Vec::new(), Vec::new());
        for _ in 0..n {
            let (ease, length) = (rng.random::<f32>(), 0.2 + rng.random::<f32>());
            for arm in 0..n_arms {
                let level = (arm + 1) as f32 / n_arms as f32;
                score.push((ease + level * rng.random::<f32>()).min(1.0));
                cost.push(0.001 * length * level * level);
            }
        }
        (score, cost)
    }

    #[test]
    fn small_batches_are_near_the_best_of_all_assignments_and_never_above_the_bound() {
        for seed in 0..40 {
            let (score, cost_usd) = random(6, 3, seed);
            let batch = Batch { n_arms: 3, score: &score, cost_usd: &cost_usd };
            let least = batch.cheapest().cost_usd;
            for part in [0.0, 0.2, 0.5, 0.9, 2.0] {
                let budget = least + part * (batch.at(0.0).0.cost_usd - least);
                let found = within_budget(&batch, budget).unwrap();
                assert!(found.cost_usd <= budget * (1.0 + 1e-9), "{} of {budget}", found.cost_usd);
                let all = (0..3_usize.pow(6)).map(|code| {
                    batch.assignment((0..6).map(|i| (code / 3_usize.pow(i) % 3) as u32).collect())
                });
                let kept = all.filter(|a| a.cost_usd <= budget * (1.0 + 1e-9));
                let best = kept.map(|a| a.score).fold(f64::NEG_INFINITY, f64::max);
                let bound = found.bound.unwrap();
                assert!(bound >= best - 1e-6, "seed {seed}: bound {bound} below {best}");
                // At most one step of one query is missing.
                assert!(found.score > bound - 1.0 && found.score <= best + 1e-6, "{} {best}", found.score);
                let simple = greedy(&batch, budget).unwrap();
                assert!(simple.cost_usd <= budget * (1.0 + 1e-9) && simple.score <= bound + 1e-6);
            }
        }
    }

    #[test]
    fn large_batches_are_within_a_thousandth_of_the_bound() {
        let (score, cost_usd) = random(20_000, 20, 7);
        let batch = Batch { n_arms: 20, score: &score, cost_usd: &cost_usd };
        let free = batch.at(0.0).0.cost_usd;
        for part in [0.1, 0.3, 0.7] {
            let found = within_budget(&batch, part * free).unwrap();
            let bound = found.bound.unwrap();
            assert!(bound - found.score < 1e-3 * bound, "{part}: {} of {bound}", found.score);
            assert!(found.score > greedy(&batch, part * free).unwrap().score, "{part}");
        }
    }

    #[test]
    fn equal_queries_share_the_budget_though_all_change_at_one_multiplier() {
        let (score, cost_usd) = ([0.5_f32, 0.9].repeat(100), [1.0_f32, 3.0].repeat(100));
        let batch = Batch { n_arms: 2, score: &score, cost_usd: &cost_usd };
        let found = within_budget(&batch, 151.0).unwrap();
        assert_eq!(found.arms.iter().filter(|arm| **arm == 1).count(), 25);
        assert!((found.cost_usd - 150.0).abs() < 1e-9 && (found.lambda.unwrap() - 0.2).abs() < 1e-6);
        // 50 half dollars: 25 moves and a half.
        assert!((found.bound.unwrap() - (50.0 + 25.5 * 0.4)).abs() < 1e-4, "{found:?}");
    }

    #[test]
    fn thresholds_take_the_cheapest_that_is_good_enough() {
        let (score, cost_usd) = ([0.6, 0.9, 0.4, 0.45, f32::NAN, 0.7], [1.0, 2.0, 1.0, 2.0, 0.5, 3.0]);
        let batch = Batch { n_arms: 2, score: &score, cost_usd: &cost_usd };
        assert_eq!(threshold(&batch, 0.5).unwrap().arms, [0, 1, 1]);
    }

    #[test]
    fn what_cannot_be_assigned_is_refused_in_words() {
        let batch = Batch { n_arms: 2, score: &[0.5, 0.9], cost_usd: &[1.0, 3.0] };
        let error = within_budget(&batch, 0.5).unwrap_err().to_string();
        assert!(error.contains("1.000000") && error.contains("0.500000"), "{error}");
        assert!(within_budget(&batch, f64::NAN).unwrap_err().to_string().contains("`NaN`"));
        assert!(within_budget(&batch, -1.0).is_err() && greedy(&batch, 0.5).is_err());
        let empty = Batch { n_arms: 2, score: &[], cost_usd: &[] };
        assert_eq!(within_budget(&empty, 0.0).unwrap().arms, Vec::<u32>::new());
        let none = Batch { n_arms: 2, score: &[0.5, f32::NAN], cost_usd: &[f32::NAN, 1.0] };
        assert!(threshold(&none, 0.5).unwrap_err().to_string().contains("query 0"));
        let ragged = Batch { n_arms: 2, score: &[0.5], cost_usd: &[1.0, 2.0] };
        assert!(matches!(within_budget(&ragged, 1.0), Err(AssignError::Shape { .. })));
        // Free calls only.
        let free = Batch { n_arms: 2, score: &[0.5, 0.9], cost_usd: &[0.0, 0.0] };
        assert_eq!(within_budget(&free, 0.0).unwrap().arms, [1]);
    }
}
