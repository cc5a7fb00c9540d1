//! Which of several points of a curve a request is served by.

use crate::Request;

/// Number of the point (score, US dollars) of the greatest `quality * score - cost * cost_usd` by the objective of the
/// request; by its price the same among points no dearer than the default, and the default where it has neither.
pub(super) fn chosen(points: &[(f64, f64)], default: usize, request: &Request<'_>) -> usize {
    let (quality, cost) = match request.objective {
        Some(objective) => (objective.quality, objective.cost),
        None if request.price > 0.0 => (1.0, request.price),
        None => return default,
    };
    // A price beside the default never asks for a dearer one.
    let is_open = |at: &usize| request.objective.is_some() || points[*at].1 <= points[default].1;
    let value = |at: usize| quality * points[at].0 - cost * points[at].1;
    let cheaper =
        |a: &usize, b: &usize| value(*a).total_cmp(&value(*b)).then(points[*b].1.total_cmp(&points[*a].1));
    (0..points.len()).filter(is_open).max_by(cheaper).unwrap_or(default)
}
