//! Every operating point a prediction reaches as the price of money sweeps from free to infinite.
//!
//! For one query, the arms that `score - lambda * cost` chooses as lambda falls are the vertices of the
//! upper hull of its (predicted cost, predicted score) points, left to right. So the whole sweep needs no
//! grid: the breakpoints of all queries are sorted and walked once, in O(n log n) for n breakpoints, and
//! every distinct point is visited. The choice at each lambda is the one the `utility` selector makes.

use super::decisions::expected;
use super::sources::Running;
use super::{Average, Sources, upper_hull};
use routewright_data::OutcomeTable;
use routewright_policy::selectors::Argmax;
use routewright_policy::{Prediction, PredictionRow, Selector};
use serde::{Deserialize, Serialize};

/// What a policy costs and scores at one price of money.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct OperatingPoint {
    /// Score per US dollar at which the `utility` selector gives this point; `None` for a policy without it.
    pub lambda: Option<f64>,
    /// Average cost, US dollars a call.
    pub cost_usd: f64,
    /// Average score.
    pub score: f64,
}

/// Realised operating points on the logged outcomes of `table`, in order of falling lambda (so of rising
/// predicted cost); empty where prediction or log lack costs.
///
/// Missing cells are treated as in [`super::query_scores`]; `prediction` must have the shape of `table`.
pub fn sweep(prediction: &Prediction, table: &OutcomeTable, average: Average) -> Vec<OperatingPoint> {
    let realise = |query: usize, mass: &[f32]| {
        (expected(mass, table.cost_usd.row(query)), expected(mass, table.score.row(query)))
    };
    walk(prediction, &Sources::of(table), average, &realise)
}

/// Operating points the prediction itself expects: mean predicted cost and score, each query counted once.
pub fn sweep_predicted(prediction: &Prediction) -> Vec<OperatingPoint> {
    let realise = |query: usize, mass: &[f32]| {
        let row = prediction.row(query);
        (expected(mass, row.cost_usd), expected(mass, row.score))
    };
    let sources = Sources::single(prediction.n_queries());
    walk(prediction, &sources, Average::Micro, &realise)
}

/// The prediction of one who knows every outcome: logged scores and costs. Missing scores become
/// negative infinity, so that they are never chosen.
pub fn oracle_prediction(table: &OutcomeTable) -> Prediction {
    let known = |score: &f32| if score.is_nan() { f32::NEG_INFINITY } else { *score };
    Prediction {
        n_arms: table.n_arms(),
        score: table.score.values().iter().map(known).collect(),
        score_se: None,
        cost_usd: table.cost_usd.values().to_vec(),
        neighborhoods: None,
        members: None,
        n_updates: 0,
    }
}

/// At most about `n_max` points: the vertices of the hull and others evenly spaced in order.
pub fn thin(points: &[OperatingPoint], n_max: usize) -> Vec<OperatingPoint> {
    if points.len() <= n_max {
        return points.to_vec();
    }
    let plane: Vec<(f64, f64)> = points.iter().map(|p| (p.cost_usd, p.score)).collect();
    let mut kept = upper_hull(&plane);
    let free = n_max.saturating_sub(kept.len()).max(2);
    kept.extend((0..free).map(|i| i * (points.len() - 1) / (free - 1)));
    kept.sort_unstable();
    kept.dedup();
    kept.into_iter().map(|i| points[i]).collect()
}

/// A choice one query makes over a range of lambda, and what it is worth.
struct Step {
    /// Lambda below which it is made; infinite for the cheapest.
    below: f64,
    cost: f64,
    score: f64,
}

type Realise<'a> = dyn Fn(usize, &[f32]) -> (f64, f64) + 'a;

/// The choices of one query from the cheapest arm to the one of the greatest score.
fn steps(row: &PredictionRow<'_>, query: usize, realise: &Realise<'_>) -> Vec<Step> {
    let points: Vec<(f64, f64)> =
        row.cost_usd.iter().zip(row.score).map(|(&cost, &score)| (cost.into(), score.into())).collect();
    let vertices = upper_hull(&points);
    if vertices.is_empty() {
        // Not one price is known: money cannot matter, whatever lambda is.
        let mass = Argmax.distribution(row, &vec![true; points.len()]);
        let (cost, score) = realise(query, &mass);
        return vec![Step { below: f64::INFINITY, cost, score }];
    }
    let mut steps = Vec::with_capacity(vertices.len());
    for (i, &vertex) in vertices.iter().enumerate() {
        let (cost, score) = points[vertex];
        let below = match i.checked_sub(1).map(|previous| points[vertices[previous]]) {
            Some((previous_cost, previous_score)) => (score - previous_score) / (cost - previous_cost),
            None => f64::INFINITY,
        };
        // Arms of equal prediction share the mass, as in the selector.
        let mass: Vec<f32> = points.iter().map(|p| if *p == points[vertex] { 1.0 } else { 0.0 }).collect();
        let (cost, score) = realise(query, &mass);
        steps.push(Step { below, cost, score });
    }
    steps
}

fn walk(
    prediction: &Prediction,
    sources: &Sources,
    average: Average,
    realise: &Realise<'_>,
) -> Vec<OperatingPoint> {
    let n_sources = sources.names().len();
    let (mut cost, mut score) = (Running::new(n_sources), Running::new(n_sources));
    // (lambda, query, the values left, the values taken)
    let mut moves: Vec<(f64, usize, [f64; 2], [f64; 2])> = Vec::new();
    for query in 0..prediction.n_queries() {
        let steps = steps(&prediction.row(query), query, realise);
        if let Some(first) = steps.first() {
            cost.add(sources.of_query(query), first.cost);
            score.add(sources.of_query(query), first.score);
        }
        let step = |pair: &[Step]| {
            (pair[1].below, query, [pair[0].cost, pair[0].score], [pair[1].cost, pair[1].score])
        };
        moves.extend(steps.windows(2).map(step));
    }
    moves.sort_by(|a, b| b.0.total_cmp(&a.0));
    let unpriced = prediction.cost_usd.iter().any(|cost| cost.is_nan());
    let mut points = Vec::new();
    let mut push = |lambda: f64, cost: &Running, score: &Running| {
        if let (Some(cost_usd), Some(score)) = (cost.mean(average), score.mean(average)) {
            points.push(OperatingPoint { lambda: Some(lambda), cost_usd, score });
        }
    };
    let greatest = moves.first().map_or(0.0, |first| first.0);
    let none = if unpriced { 1.0 } else { 0.0 };
    push(if greatest > 0.0 { 2.0 * greatest } else { none }, &cost, &score);
    for (i, (lambda, query, left, taken)) in moves.iter().enumerate() {
        let source = sources.of_query(*query);
        cost.remove(source, left[0]);
        cost.add(source, taken[0]);
        score.remove(source, left[1]);
        score.add(source, taken[1]);
        let next = moves.get(i + 1).map_or(0.0, |next| next.0);
        if next < *lambda {
            // Between two breakpoints, so that rounding does not decide which side a query is on.
            let between = if next > 0.0 { (lambda * next).sqrt() } else { lambda / 2.0 };
            // At 0 an arm of unknown price could be chosen; without one it is the natural end.
            let last = i + 1 == moves.len() && !unpriced;
            push(if last { 0.0 } else { between }, &cost, &score);
        }
    }
    if unpriced {
        points.extend(free_point(prediction, sources, average, realise));
    }
    points
}

/// The point at lambda 0, which is not the limit when an arm of unknown price may then be chosen.
fn free_point(
    prediction: &Prediction,
    sources: &Sources,
    average: Average,
    realise: &Realise<'_>,
) -> Option<OperatingPoint> {
    let eligible = vec![true; prediction.n_arms];
    let value = |query: usize| realise(query, &Argmax.distribution(&prediction.row(query), &eligible));
    let (costs, scores): (Vec<f64>, Vec<f64>) = (0..prediction.n_queries()).map(value).unzip();
    let (cost_usd, score) = (sources.mean(&costs, average)?, sources.mean(&scores, average)?);
    Some(OperatingPoint { lambda: Some(0.0), cost_usd, score })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::fixtures::{near, prediction, table};
    use crate::evaluate::{Decisions, query_costs, query_scores};
    use rand::RngExt;
    use routewright_policy::selectors::Utility;

    #[test]
    fn every_operating_point_is_visited_once() {
        // Breakpoints: (0.8 - 0.2) / 2 = 0.3 for the first query, (0.6 - 0.5) / 1 = 0.1 for the second.
        let prediction = prediction(2, &[0.2, 0.8, 0.5, 0.6], &[1.0, 3.0, 1.0, 2.0]);
        let table = table(&["a", "a"], &[0.0, 1.0, 1.0, 0.0], &[1.0, 3.0, 1.0, 2.0]);
        let points = sweep(&prediction, &table, Average::Micro);
        let plane: Vec<(f64, f64)> = points.iter().map(|p| (p.cost_usd, p.score)).collect();
        assert_eq!(plane, [(1.0, 0.5), (2.0, 1.0), (2.5, 0.5)]);
        let lambda: Vec<f64> = points.iter().map(|p| p.lambda.unwrap()).collect();
        assert!((lambda[0] - 0.6).abs() < 1e-6 && (lambda[1] - 0.03_f64.sqrt()).abs() < 1e-6, "{lambda:?}");
        assert_eq!(lambda[2], 0.0);
    }

    #[test]
    fn each_point_is_what_the_utility_selector_reaches_at_its_lambda() {
        let mut rng = routewright_data::rng::stream(5, "sweep test");
        let (n, n_arms) = (60, 4);
        // Coarse values, so that ties occur; a tenth of the cells is missing.
        let mut values = |holes: f64| -> Vec<f32> {
            let value = |_| (rng.random_range(1..9) as f32 / 8.0, rng.random::<f64>());
            (0..n * n_arms).map(value).map(|(v, u)| if u < holes { f32::NAN } else { v }).collect()
        };
        for unpriced in [0.0, 0.1, 0.6] {
            let prediction = prediction(n_arms, &values(0.0), &values(unpriced));
            let sources: Vec<&str> = (0..n).map(|i| ["a", "b", "c"][i % 7 % 3]).collect();
            let table = table(&sources, &values(0.1), &values(0.1));
            let by_source = Sources::of(&table);
            for average in [Average::Micro, Average::Macro] {
                let points = sweep(&prediction, &table, average);
                assert!(points.len() > 5, "{}", points.len());
                for point in points {
                    let selector = Utility { lambda: point.lambda.unwrap() };
                    let decisions = Decisions::of(&prediction, &selector);
                    let score = by_source.mean(&query_scores(&decisions, &table), average).unwrap();
                    let cost = by_source.mean(&query_costs(&decisions, &table), average).unwrap();
                    assert!(
                        near(score, point.score) && near(cost, point.cost_usd),
                        "{point:?} {score} {cost}"
                    );
                }
            }
        }
    }

    #[test]
    fn no_costs_no_curve() {
        let flat = prediction(2, &[0.2, 0.8], &[f32::NAN; 2]);
        assert!(sweep(&flat, &table(&["a"], &[0.0, 1.0], &[f32::NAN; 2]), Average::Micro).is_empty());
    }

    #[test]
    fn thinning_keeps_the_ends_and_the_hull() {
        let point = |i: usize| OperatingPoint {
            lambda: None,
            cost_usd: i as f64,
            score: if i == 500 { 2.0 } else { i as f64 / 1000.0 },
        };
        let points: Vec<OperatingPoint> = (0..1001).map(point).collect();
        let thinned = thin(&points, 50);
        assert!(thinned.len() <= 50 && thinned.contains(&points[500]), "{}", thinned.len());
        assert_eq!((thinned[0], *thinned.last().unwrap()), (points[0], points[1000]));
    }
}
