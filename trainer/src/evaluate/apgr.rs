//! PGR, APGR and CPT of two arms (RouteLLM, arXiv 2406.18665). Units: fractions; APGR higher is better
//! (random mixing 0.5), CPT lower is better.
//!
//! The share of strong calls sweeps from 0 to 1 in the order of the predicted lead of the strong arm.
//! `PGR = (s - s_weak) / (s_strong - s_weak)`; APGR is the area under PGR over the share, by trapezoids;
//! `CPT(q)` is the least share at which PGR reaches `q`.
//!
//! *Deviations from the released code:* (1) every distinct threshold is a point instead of ten quantile
//! bins; queries of equal lead are one step, which the trapezoid crosses as random mixing would; (2) the
//! code interpolates CPT as if PGR were monotone, here its running maximum is interpolated.

use super::bootstrap::spread;
use super::{Average, JudgeOptions, Sources};
use crate::methods::baselines::means::column_means;
use routewright_data::OutcomeTable;
use routewright_policy::Prediction;
use serde::{Deserialize, Serialize};

/// The two-arm figures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Apgr {
    /// The arm of the better average score on train.
    pub strong: String,
    /// The other arm.
    pub weak: String,
    /// Area under PGR over the share of strong calls.
    pub apgr: f64,
    /// Bootstrap standard error of `apgr`, queries resampled.
    #[serde(default)]
    pub apgr_se: Option<f64>,
    /// Share of strong calls that recovers 20 % of the gap.
    pub cpt_20: f64,
    /// Share of strong calls that recovers 50 % of the gap.
    pub cpt_50: f64,
    /// Share of strong calls that recovers 80 % of the gap.
    pub cpt_80: f64,
}

/// PGR over the share of strong calls, from (0, 0) to (1, 1).
#[derive(Debug, Clone, PartialEq)]
pub struct PgrCurve {
    points: Vec<(f64, f64)>,
}

impl PgrCurve {
    /// Points (share of strong calls, PGR), the share strictly rising.
    pub fn points(&self) -> &[(f64, f64)] {
        &self.points
    }

    /// Area by trapezoids.
    pub fn apgr(&self) -> f64 {
        self.points.windows(2).map(|p| (p[1].0 - p[0].0) * (p[0].1 + p[1].1) / 2.0).sum()
    }

    /// Least share at which the running maximum of PGR, interpolated, reaches `pgr` in `[0, 1]`.
    pub fn cpt(&self, pgr: f64) -> f64 {
        let mut reached = (0.0, 0.0);
        for &(share, value) in &self.points {
            if value >= pgr {
                let (from, low) = reached;
                return if value > low { from + (share - from) * (pgr - low) / (value - low) } else { share };
            }
            // A dip keeps the height reached before it, so the next rise starts from there.
            reached = (share, value.max(reached.1));
        }
        1.0
    }
}

/// Resamples of the bootstrap of APGR.
const ROUNDS: usize = 400;

/// The queries that have both scores, those of the greatest predicted lead of the strong arm first.
struct Leads {
    /// (lead, query, gain of calling the strong arm)
    order: Vec<(f64, usize, f64)>,
}

impl Leads {
    fn of(prediction: &Prediction, table: &OutcomeTable, strong: usize, weak: usize) -> Self {
        let lead = |query: usize| {
            let row = prediction.row(query);
            f64::from(row.score[strong]) - f64::from(row.score[weak])
        };
        let known = |query: usize| {
            let (strong, weak) = (table.score.get(query, strong)?, table.score.get(query, weak)?);
            Some((lead(query), query, f64::from(strong) - f64::from(weak)))
        };
        let mut order: Vec<(f64, usize, f64)> = (0..table.n_queries()).filter_map(known).collect();
        order.sort_by(|a, b| b.0.total_cmp(&a.0));
        Self { order }
    }

    fn kept(&self, n_queries: usize) -> Vec<bool> {
        let mut kept = vec![false; n_queries];
        self.order.iter().for_each(|(_, query, _)| kept[*query] = true);
        kept
    }

    /// The curve under weights of the queries that sum to 1; `None` where the strong arm is not better.
    fn curve(&self, weights: &[f64]) -> Option<PgrCurve> {
        let total: f64 = self.order.iter().map(|(_, query, gain)| gain * weights[*query]).sum();
        if total <= 0.0 {
            return None;
        }
        let (mut share, mut recovered) = (0.0, 0.0);
        let mut points = vec![(0.0, 0.0)];
        for tied in self.order.chunk_by(|a, b| a.0 == b.0) {
            for &(_, query, gain) in tied {
                share += weights[query];
                recovered += weights[query] * gain;
            }
            points.push((share, recovered / total));
        }
        if let Some(last) = points.last_mut() {
            *last = (1.0, 1.0);
        }
        Some(PgrCurve { points })
    }
}

/// The PGR curve of calling arm `strong` (column) instead of `weak` in the order of the predicted lead.
///
/// Queries without both scores are left out. `None` when none is left or `strong` is not better on them.
/// Under a macro average the share of strong calls is that of the re-weighted traffic.
pub fn pgr_curve(
    prediction: &Prediction,
    table: &OutcomeTable,
    strong: usize,
    weak: usize,
    average: Average,
) -> Option<PgrCurve> {
    let leads = Leads::of(prediction, table, strong, weak);
    leads.curve(&Sources::of(table).weights(&leads.kept(table.n_queries()), average))
}

/// The two-arm figures, the strong arm being the better one on `train` (on `table` where there is none) under
/// the average asked for.
///
/// `None` unless there are exactly two arms and the strong one is the better one on `table` too.
pub fn apgr(
    prediction: &Prediction,
    table: &OutcomeTable,
    train: Option<&OutcomeTable>,
    options: &JudgeOptions,
) -> Option<Apgr> {
    if table.n_arms() != 2 {
        return None;
    }
    let known = train.unwrap_or(table);
    let means = column_means(&known.score, &Sources::of(known), options.average);
    let (strong, weak) = if means[1]? > means[0]? { (1, 0) } else { (0, 1) };
    let (leads, sources) = (Leads::of(prediction, table, strong, weak), Sources::of(table));
    let kept = leads.kept(table.n_queries());
    let curve = leads.curve(&sources.weights(&kept, options.average))?;
    let rounds = options.bootstrap_rounds.min(ROUNDS);
    let of = |weights: &[f64]| Some(leads.curve(weights)?.apgr());
    Some(Apgr {
        strong: table.models[strong].clone(),
        weak: table.models[weak].clone(),
        apgr: curve.apgr(),
        apgr_se: spread(&kept, &sources, options, rounds, of),
        cpt_20: curve.cpt(0.2),
        cpt_50: curve.cpt(0.5),
        cpt_80: curve.cpt(0.8),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::fixtures::{near, prediction, table};

    #[test]
    fn figures_worked_out_by_hand() {
        // x is weak, y strong; leads 0.9, 0.5, 0.5, 0.1; gains 1, 0, 1, 0, so the gap is 0.5.
        let scores = [0.0, 1.0, 1.0, 1.0, 0.0, 1.0, 0.0, 0.0];
        let table = table(&["a"; 4], &scores, &[f32::NAN; 8]);
        let prediction = prediction(2, &[0.0, 0.9, 0.0, 0.5, 0.25, 0.75, 0.0, 0.1], &[f32::NAN; 8]);
        let curve = pgr_curve(&prediction, &table, 1, 0, Average::Micro).unwrap();
        assert_eq!(curve.points(), [(0.0, 0.0), (0.25, 0.5), (0.75, 1.0), (1.0, 1.0)]);
        let found = apgr(&prediction, &table, None, &JudgeOptions::default()).unwrap();
        assert_eq!((found.strong.as_str(), found.weak.as_str()), ("y", "x"));
        // 0.25 * 0.25 + 0.5 * 0.75 + 0.25 * 1
        assert!(near(found.apgr, 0.6875) && found.apgr_se.unwrap() > 0.05, "{found:?}");
        // 0.25 * 0.2 / 0.5; at the point; 0.25 + 0.5 * (0.8 - 0.5) / 0.5
        assert!(near(found.cpt_20, 0.1) && near(found.cpt_50, 0.25) && near(found.cpt_80, 0.55), "{found:?}");
    }

    /// Leads without order over gains of 0 and 1 in turn: numpy 2.4.6 (stable argsort, `trapezoid`, 4000
    /// resamples).
    #[test]
    fn the_error_of_apgr_is_that_of_resampled_queries() {
        let n = 400;
        let scores: Vec<f32> = (0..n).flat_map(|i| [0.0, (i % 2) as f32]).collect();
        let table = table(&vec!["a"; n], &scores, &vec![f32::NAN; 2 * n]);
        let leads: Vec<f32> = (0..n).flat_map(|i| [0.0, ((i * 7919) % 401) as f32]).collect();
        let found =
            apgr(&prediction(2, &leads, &vec![f32::NAN; 2 * n]), &table, None, &JudgeOptions::default());
        let found = found.unwrap();
        assert!((found.apgr - 0.461_662_5).abs() < 1e-7, "{found:?}");
        assert!((found.apgr_se.unwrap() / APGR_SE - 1.0).abs() < 0.15, "{found:?}");
    }

    const APGR_SE: f64 = 0.014_594;

    #[test]
    fn no_opinion_is_random_mixing() {
        let table = table(&["a"; 2], &[0.0, 1.0, 0.0, 0.0], &[f32::NAN; 4]);
        let flat = prediction(2, &[0.5; 4], &[f32::NAN; 4]);
        let found = apgr(&flat, &table, None, &JudgeOptions::default()).unwrap();
        assert!(near(found.apgr, 0.5) && near(found.cpt_80, 0.8), "{found:?}");
    }

    #[test]
    fn a_dip_does_not_undo_what_was_reached() {
        let curve = PgrCurve { points: vec![(0.0, 0.0), (0.2, 0.3), (0.4, 0.1), (0.6, 0.5), (1.0, 1.0)] };
        assert!(near(curve.cpt(0.2), 0.2 * 0.2 / 0.3));
        // From (0.4, running maximum 0.3) to (0.6, 0.5), half way.
        assert!(near(curve.cpt(0.4), 0.5), "{}", curve.cpt(0.4));
    }

    #[test]
    fn arms_of_equal_worth_have_no_gap() {
        let table = table(&["a"; 2], &[1.0, 0.0, 0.0, 1.0], &[f32::NAN; 4]);
        assert_eq!(
            apgr(&prediction(2, &[0.5; 4], &[f32::NAN; 4]), &table, None, &JudgeOptions::default()),
            None
        );
    }
}
