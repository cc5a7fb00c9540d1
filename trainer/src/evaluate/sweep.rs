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
    push(2.0 * greatest, &cost, &score);
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
