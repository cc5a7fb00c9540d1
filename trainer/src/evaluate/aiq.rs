//! AIQ, average improvement in quality (RouterBench, arXiv 2403.12031). Unit: score; higher is better.
//!
//! Convention: the mean height of the policy's non-decreasing concave hull between the mean cost of the
//! cheapest and of the dearest single model, `area / (c_max - c_min)` as in the paper. The hull begins at
//! the point of the cheapest single model (which every router can imitate) and runs flat to the right of
//! its last vertex.
//!
//! *Deviation from the released code* (which divides by `c_max`, begins at the router's first point and
//! extends to the largest cost among the routers compared): with the range of the single models the figure
//! of one policy does not depend on which others are in the table.

use super::hull::area;
use super::{SingleModel, upper_hull};

/// Mean cost of the cheapest and of the dearest single model; `None` when fewer than two prices differ.
pub fn cost_range(singles: &[SingleModel]) -> Option<(f64, f64)> {
    let costs = || singles.iter().filter_map(|single| single.cost_usd);
    let (least, greatest) =
        costs().fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), c| (lo.min(c), hi.max(c)));
    (least < greatest).then_some((least, greatest))
}

/// AIQ of a policy that reaches `points` (cost in US dollars, score), given the single models.
///
/// `None` where costs are missing or all single models cost the same, or `points` is empty.
pub fn aiq(points: &[(f64, f64)], singles: &[SingleModel]) -> Option<f64> {
    let (least, greatest) = cost_range(singles)?;
    if points.is_empty() {
        return None;
    }
    let cheapest = singles.iter().filter(|single| single.cost_usd == Some(least));
    let cheapest = cheapest.map(|single| single.score).fold(f64::NEG_INFINITY, f64::max);
    let mut all = points.to_vec();
    all.push((least, cheapest));
    let vertices: Vec<(f64, f64)> = upper_hull(&all).into_iter().map(|i| all[i]).collect();
    Some(area(&vertices, least, greatest) / (greatest - least))
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

    #[test]
    fn without_two_prices_there_is_no_area() {
        assert_eq!(aiq(&[(1.0, 1.0)], &[single(1.0, 0.2), single(1.0, 0.3)]), None);
        assert_eq!(aiq(&[], &[single(1.0, 0.2), single(2.0, 0.3)]), None);
    }
}
