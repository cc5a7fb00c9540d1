//! Which arm to call next, looking ahead over sets of arms (cascade routing, arXiv 2410.10347).
//!
//! The options of a step are the sets `S` of arms that contain those called already. With `q_i` the estimated score of
//! arm `i` and `c_i` its price,
//!
//! ```text
//! value(S) = E[max_{i in S} q_i] - lambda sum_{i in S, not called} c_i
//! ```
//! The best set is taken; where it is what was called, the episode ends, else the cheapest arm of the set that was not
//! called yet is next, and everything is estimated again. `q` is normal with a given covariance, that of an estimate
//! around what it will be once its arm has answered; the expectation is the mean over [`Draws`]. Without a covariance
//! it is the greatest estimate.
//!
//! `E[max]` is submodular: where an arm adds less than its price to a set, it adds less to every larger one. The search
//! goes by sets that grow by one arm and drops such a set with all its supersets (pruning lemma of the paper), which
//! loses nothing. Ties of values to 7 digits are between the cheapest and the dearest set.

mod beliefs;
mod draws;

pub use beliefs::{Beliefs, Estimates, Heard, NUMBERS};
pub use draws::Draws;

/// Values closer than this are tied.
const TIE: f64 = 1e-7;

/// What is estimated at one step; every list has one entry an arm.
#[derive(Debug, Clone, Copy)]
pub struct Outlook<'a> {
    /// Estimated scores: of the answer where the arm was called, of the call where it was not.
    pub scores: &'a [f64],
    /// Prices of a call, US dollars.
    pub costs: &'a [f64],
    /// Whether an arm was called.
    pub called: &'a [bool],
    /// Whether an arm may be called.
    pub open: &'a [bool],
    /// Order that [`Options::Prefixes`] go by; the prices where `None`.
    pub order: Option<&'a [usize]>,
    /// Covariance of the scores, row-major; entries of arms that were called are not read.
    pub covariance: Option<&'a [f64]>,
}

/// Which sets are options.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Options {
    /// Every set.
    Full,
    /// One arm more than was called.
    Greedy,
    /// The first so many arms of a fixed order: a cascade.
    Prefixes,
    /// One arm in all: routing.
    Single,
}

/// What a step does: calls an arm next, or ends where it is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// Where ties go to the cheapest set.
    pub cheap: Option<usize>,
    /// Where they go to the dearest.
    pub dear: Option<usize>,
}

/// The next arm. `depth` is the most arms that are ever called, at least 1; an episode without an answer calls one if
/// any is open, whatever it costs.
pub fn next(outlook: &Outlook<'_>, lambda: f64, options: Options, depth: usize, draws: &Draws) -> Choice {
    let n_called = outlook.called.iter().filter(|called| **called).count();
    let mut search = Search::new(outlook, lambda, draws);
    if n_called > 0 {
        search.offer(&search.base.clone(), 0.0, &[]);
    }
    let room = depth.max(1).saturating_sub(n_called);
    let open: Vec<usize> = search.order.clone();
    match options {
        Options::Single if n_called > 0 => {}
        Options::Single | Options::Greedy => {
            for arm in open.iter().filter(|_| room > 0) {
                let sample = search.with(&search.base, *arm);
                search.offer(&sample, outlook.costs[*arm], &[*arm]);
            }
        }
        Options::Prefixes => {
            let (mut sample, mut cost, mut added) = (search.base.clone(), 0.0, Vec::new());
            let fixed = outlook.order.unwrap_or(&open);
            for arm in fixed.iter().filter(|arm| open.contains(arm)).take(room) {
                sample = search.with(&sample, *arm);
                cost += outlook.costs[*arm];
                added.push(*arm);
                search.offer(&sample, cost, &added);
            }
        }
        Options::Full => {
            let base = search.base.clone();
            search.grow(&base, 0.0, &mut Vec::new(), &open, room);
        }
    }
    Choice { cheap: search.first(search.cheap), dear: search.first(search.dear) }
}

/// A set found: its value, its price and its cheapest new arm.
#[derive(Debug, Clone, Copy)]
struct Found {
    value: f64,
    cost: f64,
    first: Option<usize>,
}

struct Search<'a> {
    outlook: &'a Outlook<'a>,
    lambda: f64,
    /// Arms that may be called, the cheapest first.
    order: Vec<usize>,
    /// Scores of every arm in every draw, arm by arm.
    drawn: Vec<Vec<f64>>,
    /// Greatest score of the arms called, in every draw.
    base: Vec<f64>,
    cheap: Option<Found>,
    dear: Option<Found>,
}

impl<'a> Search<'a> {
    fn new(outlook: &'a Outlook<'a>, lambda: f64, draws: &Draws) -> Self {
        let all = 0..outlook.scores.len();
        let mut order: Vec<usize> =
            all.clone().filter(|arm| outlook.open[*arm] && !outlook.called[*arm]).collect();
        order.sort_by(|a, b| outlook.costs[*a].total_cmp(&outlook.costs[*b]).then(a.cmp(b)));
        let drawn = drawn(outlook, &order, draws);
        let n = drawn.iter().map(Vec::len).max().unwrap_or(1);
        let mut base = vec![f64::NEG_INFINITY; n];
        for arm in all.filter(|arm| outlook.called[*arm]) {
            base.iter_mut().for_each(|best| *best = best.max(outlook.scores[arm]));
        }
        Self { outlook, lambda, order, drawn, base, cheap: None, dear: None }
    }

    /// The greatest score with one arm more, in every draw.
    fn with(&self, sample: &[f64], arm: usize) -> Vec<f64> {
        sample.iter().zip(&self.drawn[arm]).map(|(a, b)| a.max(*b)).collect()
    }

    /// Takes a set as the best where it is; the first of `added` is the cheapest.
    fn offer(&mut self, sample: &[f64], cost: f64, added: &[usize]) {
        let value = mean(sample) - self.lambda * cost;
        let found = Found { value, cost, first: added.first().copied() };
        let is_better = |old: Option<Found>, is_preferred: fn(f64, f64) -> bool| match old {
            None => true,
            Some(old) => value > old.value + TIE || (value > old.value - TIE && is_preferred(cost, old.cost)),
        };
        if is_better(self.cheap, |new, old| new < old) {
            self.cheap = Some(found);
        }
        if is_better(self.dear, |new, old| new > old) {
            self.dear = Some(found);
        }
    }

    /// Offers every set that adds arms of `open` to this one.
    fn grow(&mut self, sample: &[f64], cost: f64, added: &mut Vec<usize>, open: &[usize], room: usize) {
        if room == 0 {
            return;
        }
        let before = mean(sample);
        for (at, &arm) in open.iter().enumerate() {
            let larger = self.with(sample, arm);
            let price = self.outlook.costs[arm];
            // The empty set has no value: an arm of it is never dropped.
            if before.is_finite() && mean(&larger) - before < self.lambda * price - TIE {
                continue;
            }
            added.push(arm);
            self.offer(&larger, cost + price, added);
            self.grow(&larger, cost + price, added, &open[at + 1..], room - 1);
            added.pop();
        }
    }

    fn first(&self, found: Option<Found>) -> Option<usize> {
        found.and_then(|found| found.first)
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// Scores of the arms in `order` in every draw; one draw, the estimates, without a covariance.
fn drawn(outlook: &Outlook<'_>, order: &[usize], draws: &Draws) -> Vec<Vec<f64>> {
    let n_arms = outlook.scores.len();
    let factor = outlook.covariance.and_then(|covariance| {
        let of = |at: usize| covariance[order[at / order.len()] * n_arms + order[at % order.len()]];
        let own: Vec<f64> = (0..order.len() * order.len()).map(of).collect();
        (order.len() <= draws.width()).then(|| lower(own, order.len()))
    });
    let mut out: Vec<Vec<f64>> = outlook.scores.iter().map(|score| vec![*score]).collect();
    if let Some(factor) = factor {
        for (at, arm) in order.iter().enumerate() {
            let row = &factor[at * order.len()..at * order.len() + at + 1];
            let of =
                |draw: &[f64]| outlook.scores[*arm] + row.iter().zip(draw).map(|(l, z)| l * z).sum::<f64>();
            out[*arm] = draws.rows().map(of).collect();
        }
    }
    out
}

/// Cholesky factor of a covariance, row-major; a direction without variance has zeros.
fn lower(mut a: Vec<f64>, n: usize) -> Vec<f64> {
    for j in 0..n {
        let dot = |a: &[f64], i: usize| (0..j).map(|k| a[i * n + k] * a[j * n + k]).sum::<f64>();
        let diagonal = (a[j * n + j] - dot(&a, j)).max(0.0).sqrt();
        a[j * n + j] = diagonal;
        for i in j + 1..n {
            let value = if diagonal > 1e-9 { (a[i * n + j] - dot(&a, i)) / diagonal } else { 0.0 };
            a[i * n + j] = value;
        }
    }
    a
}

#[cfg(test)]
mod tests;
