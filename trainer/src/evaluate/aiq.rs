//! AIQ, average improvement in quality (RouterBench, arXiv 2403.12031). Unit: score; higher is better.
//!
//! Convention: the mean height of the policy's non-decreasing concave hull between the mean cost of the
//! cheapest and of the dearest single model, `area / (c_max - c_min)` as in the paper. The hull begins at
//! the point of the cheapest single model (which every router can imitate) and runs flat to the right of
//! its last vertex.
//!
//! The hull is taken over every operating point on the rows judged, so it picks the luckiest of many: on 945
//! RouterBench queries a sweep of all points is 0.001 to 0.002 above a grid of 50 prices of money, and 0.005 above
//! prices chosen on other queries. [`Spread`] has the standard error, and the figure with prices that were chosen on
//! one half of the queries and judged on the other.
//!
//! *Deviation from the released code* (which divides by `c_max`, begins at the router's first point and
//! extends to the largest cost among the routers compared): with the range of the single models the figure
//! of one policy does not depend on which others are in the table.

use super::bootstrap::spread;
use super::hull::area;
use super::lanes::Lane;
use super::{JudgeOptions, SingleModel, Sources, upper_hull};
use rand::seq::SliceRandom as _;
use routewright_data::rng;

/// Resamples of the bootstrap of AIQ, which draws a hull in each.
const ROUNDS: usize = 200;

/// Mean cost of the cheapest and of the dearest single model; `None` when fewer than two prices differ.
pub fn cost_range(singles: &[SingleModel]) -> Option<(f64, f64)> {
    range(singles.iter().filter_map(|single| single.cost_usd))
}

fn range(costs: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let (least, greatest) =
        costs.fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), c| (lo.min(c), hi.max(c)));
    (least < greatest).then_some((least, greatest))
}

/// AIQ of a policy that reaches `points` (cost in US dollars, score), given the single models.
///
/// `None` where costs are missing or all single models cost the same, or `points` is empty.
pub fn aiq(points: &[(f64, f64)], singles: &[SingleModel]) -> Option<f64> {
    aiq_among(points, &plane(singles))
}

/// Cost and score of the single models that have a cost.
fn plane(singles: &[SingleModel]) -> Vec<(f64, f64)> {
    singles.iter().filter_map(|single| Some((single.cost_usd?, single.score))).collect()
}

fn aiq_among(points: &[(f64, f64)], singles: &[(f64, f64)]) -> Option<f64> {
    let start = Start::of(singles)?;
    if points.is_empty() {
        return None;
    }
    let mut all = points.to_vec();
    all.push(start.point);
    let vertices: Vec<(f64, f64)> = upper_hull(&all).into_iter().map(|i| all[i]).collect();
    Some(start.height(&vertices))
}

/// The cheapest single model, and the cost of the dearest.
struct Start {
    point: (f64, f64),
    greatest: f64,
}

impl Start {
    fn of(singles: &[(f64, f64)]) -> Option<Self> {
        let (least, greatest) = range(singles.iter().map(|single| single.0))?;
        let cheapest = singles.iter().filter(|single| single.0 == least);
        let score = cheapest.map(|single| single.1).fold(f64::NEG_INFINITY, f64::max);
        Some(Self { point: (least, score), greatest })
    }

    /// Mean height of the line through `vertices`.
    fn height(&self, vertices: &[(f64, f64)]) -> f64 {
        area(vertices, self.point.0, self.greatest) / (self.greatest - self.point.0)
    }
}

/// How sure an AIQ is.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Spread {
    /// Bootstrap standard error, a hull drawn in every resample.
    pub(super) se: Option<f64>,
    /// AIQ of the prices of money that are the hull of one half of the queries, judged on the other half; the
    /// mean of both ways.
    pub(super) held_out: Option<f64>,
}

impl Spread {
    /// The spread of a policy with the values of `lanes`, on the queries that are `kept`.
    pub(super) fn of(
        lanes: &[Lane],
        singles: &[Lane],
        kept: &[bool],
        sources: &Sources,
        options: &JudgeOptions,
    ) -> Self {
        let points = |lanes: &[Lane], weights: &[f64]| -> Vec<(f64, f64)> {
            lanes.iter().filter_map(|lane| lane.mean(weights)).collect()
        };
        let rounds = options.bootstrap_rounds.min(ROUNDS);
        let se = spread(kept, sources, options, rounds, |weights| {
            aiq_among(&points(lanes, weights), &points(singles, weights))
        });
        let mut order: Vec<usize> = (0..kept.len()).filter(|query| kept[*query]).collect();
        order.shuffle(&mut rng::stream(options.seed, "halves"));
        let mut halves = [vec![false; kept.len()], vec![false; kept.len()]];
        order.iter().enumerate().for_each(|(at, query)| halves[at % 2][*query] = true);
        let [a, b] = halves.map(|half| sources.weights(&half, options.average));
        let judge = |chosen_on: &[f64], judged_on: &[f64]| -> Option<f64> {
            let mut all = points(lanes, chosen_on);
            if all.len() != lanes.len() {
                return None;
            }
            all.push(Start::of(&points(singles, chosen_on))?.point);
            let vertices = upper_hull(&all);
            let chosen = vertices.iter().filter_map(|at| lanes.get(*at));
            let start = Start::of(&points(singles, judged_on))?;
            let mut line: Vec<(f64, f64)> = chosen.filter_map(|lane| lane.mean(judged_on)).collect();
            line.push(start.point);
            line.sort_by(|a, b| a.0.total_cmp(&b.0));
            Some(start.height(&line))
        };
        let held_out = judge(&a, &b).zip(judge(&b, &a)).map(|(first, second)| f64::midpoint(first, second));
        Self { se, held_out }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::fixtures::near;

    fn single(cost: f64, score: f64) -> SingleModel {
        SingleModel { model: format!("m{cost}"), score, cost_usd: Some(cost) }
    }

    #[test]
    fn the_area_runs_from_the_cheapest_to_the_dearest_single_model() {
        let singles = [single(1.0, 0.2), single(2.0, 0.6), single(5.0, 0.65)];
        // (1, 0.2), (2.5, 0.64), (4, 0.7), flat to 5: (1.5 * 0.42 + 1.5 * 0.67 + 0.7) / 4
        assert!(near(aiq(&[(4.0, 0.7), (2.5, 0.64)], &singles).unwrap(), 0.58375));
        // The singles alone: (1 * 0.4 + 3 * 0.625) / 4
        let alone: Vec<(f64, f64)> = singles.iter().map(|s| (s.cost_usd.unwrap(), s.score)).collect();
        assert!(near(aiq(&alone, &singles).unwrap(), 0.56875));
    }

    /// `x` costs 1 and scores 0, `y` costs 3 and is right on half of the queries, in turn.
    #[test]
    fn the_spread_of_one_line_is_that_of_its_height() {
        let n = 400;
        let lane = |cost: f64, scores: Vec<f64>| Lane { lambda: None, costs: vec![cost; n], scores };
        let right: Vec<f64> = (0..n).map(|i| (i % 2) as f64).collect();
        let singles = [lane(1.0, vec![0.0; n]), lane(3.0, right.clone())];
        let options = JudgeOptions { bootstrap_rounds: 1000, ..JudgeOptions::default() };
        let sources = Sources::single(n);
        let found = Spread::of(&[lane(3.0, right)], &singles, &vec![true; n], &sources, &options);
        // AIQ is half of the mean of y, whose standard error is 0.5 / 20.
        let se = found.se.unwrap();
        assert!((se - 0.0125).abs() < 0.0025, "{se}");
        assert!((found.held_out.unwrap() - 0.25).abs() < 1e-9, "{found:?}");
    }

    /// Ten policies of the same price that guess: the best of them on the queries judged is luck.
    #[test]
    fn prices_chosen_on_other_queries_know_no_luck() {
        let n = 200;
        let mut rng = rng::stream(3, "luck");
        let mut lane = |cost: f64| {
            let scores =
                (0..n).map(|_| f64::from(u8::from(rand::RngExt::random_bool(&mut rng, 0.5)))).collect();
            Lane { lambda: None, costs: vec![cost; n], scores }
        };
        let lanes: Vec<Lane> = (0..40).map(|_| lane(1.5)).collect();
        let singles = [Lane { scores: vec![0.0; n], ..lane(1.0) }, lane(2.0)];
        let sources = Sources::single(n);
        let options = JudgeOptions { bootstrap_rounds: 0, ..JudgeOptions::default() };
        let found = Spread::of(&lanes, &singles, &vec![true; n], &sources, &options);
        let weights = sources.weights(&vec![true; n], options.average);
        let points = |lanes: &[Lane]| lanes.iter().filter_map(|l| l.mean(&weights)).collect::<Vec<_>>();
        let lucky = aiq_among(&points(&lanes), &points(&singles)).unwrap();
        // The truth is a rise to 0.5 at 1.5, flat after: 0.375.
        assert!(lucky > 0.41, "{lucky}");
        let held_out = found.held_out.unwrap();
        assert!((held_out - 0.375).abs() < 0.06, "{held_out}");
        assert!(found.se.is_none());
    }

    #[test]
    fn without_two_prices_there_is_no_area() {
        assert_eq!(aiq(&[(1.0, 1.0)], &[single(1.0, 0.2), single(1.0, 0.3)]), None);
        assert_eq!(aiq(&[], &[single(1.0, 0.2), single(2.0, 0.3)]), None);
    }
}
