//! Figures as four benchmarks publish them, beside our own.
//!
//! | figure | of | definition |
//! |---|---|---|
//! | `mu` | RouterEval (arXiv 2503.10657) | mean score of the models chosen |
//! | `v_b` | RouterEval | `mu` over the mean score of the best single model on the rows judged |
//! | `v_r` | RouterEval | `mu` over the score of a reference model, which the caller names |
//! | `e_p_bits` | RouterEval | [`super::score_entropy_bits`] |
//! | `aiq` | RouterBench (arXiv 2403.12031) | [`super::aiq()`], the paper's `area / (c_max - c_min)` |
//! | `aiq_released` | RouterBench's code | [`aiq_released`], `area / c_max` |
//! | `arena_score` | RouterArena (arXiv 2510.00202) | [`arena_score`] |
//! | `mean_rank`, `top_3` | MixInstruct (arXiv 2306.02561) | [`Ranks`], GPT-Rank of ChatGPT's comparisons |

use super::decisions::Decisions;
use super::hull::area;
use super::{Evaluation, Judged, upper_hull};
use routewright_data::OutcomeTable;
use serde::{Deserialize, Serialize};

/// Weight of cost, and the dearest and cheapest router of the scale, US dollars for 1,000 queries.
const BETA: f64 = 0.1;
const COST_MAX: f64 = 200.0;
const COST_MIN: f64 = 0.0044;
/// Rank up to which an answer is among the best of MixInstruct.
const TOP: usize = 3;

/// RouterArena's score of an accuracy in `[0, 1]` and a cost in US dollars for 1,000 queries: with
/// `C = (log2 c_max - log2 c) / (log2 c_max - log2 c_min)`, `(1 + b) A C / (b A + C)`, `b = 0.1`, `c_max = 200`,
/// `c_min = 0.0044`. Above `c_max` it is negative, as published; `None` for a cost of 0.
pub fn arena_score(accuracy: f64, usd_per_1k: f64) -> Option<f64> {
    let c = (COST_MAX.log2() - usd_per_1k.log2()) / (COST_MAX.log2() - COST_MIN.log2());
    let score = (1.0 + BETA) * accuracy * c / (BETA * accuracy + c);
    score.is_finite().then_some(score)
}

/// Where the answers that a policy chooses stand among those of all arms of the query.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Ranks {
    /// Mean rank, 1 the best: by `soft_score` where the log has one, else by `score`; equal answers share the better
    /// rank.
    pub mean_rank: f64,
    /// Share of the queries whose chosen answer is among the three best.
    pub top_3: f64,
}

impl Ranks {
    /// The ranks of the expected choices; `None` where no query has a value of a chosen arm.
    pub fn of(decisions: &Decisions, table: &OutcomeTable) -> Option<Self> {
        let cells = table.soft_score.as_ref().unwrap_or(&table.score);
        let (mut n, mut rank_sum, mut top_sum) = (0_usize, 0.0, 0.0);
        for query in 0..table.n_queries() {
            let (row, mass) = (cells.row(query), decisions.row(query));
            let known = || (0..row.len()).filter(|arm| !row[*arm].is_nan());
            let total: f64 = known().map(|arm| f64::from(mass[arm])).sum();
            if total <= 0.0 {
                continue;
            }
            n += 1;
            for arm in known() {
                let share = f64::from(mass[arm]) / total;
                let rank = 1 + known().filter(|other| row[*other] > row[arm]).count();
                rank_sum += share * rank as f64;
                top_sum += share * f64::from(u8::from(rank <= TOP));
            }
        }
        (n > 0).then(|| Self { mean_rank: rank_sum / n as f64, top_3: top_sum / n as f64 })
    }
}

/// AIQ as RouterBench's released code has it, of operating points (cost in US dollars, score) and the greatest cost of
/// all routers compared: the area under the hull from its first point, flat to that cost, over that cost.
/// `None` without points or where nothing costs anything.
pub fn aiq_released(points: &[(f64, f64)], cost_max: f64) -> Option<f64> {
    let vertices: Vec<(f64, f64)> = upper_hull(points).into_iter().map(|at| points[at]).collect();
    let first = vertices.first()?.0;
    (cost_max > 0.0).then(|| area(&vertices, first, cost_max) / cost_max)
}

/// The published figures of one policy; a figure is `None` where the log does not show it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the table of this module explains each")]
pub struct BenchmarkFigures {
    pub policy: String,
    pub mu: Option<f64>,
    pub v_b: Option<f64>,
    pub v_r: Option<f64>,
    pub e_p_bits: Option<f64>,
    pub aiq: Option<f64>,
    pub aiq_released: Option<f64>,
    pub arena_score: Option<f64>,
    pub mean_rank: Option<f64>,
    pub top_3: Option<f64>,
}

impl BenchmarkFigures {
    /// The figures of every policy of a document just made; `reference` is the score that `v_r` is relative to.
    pub fn each(judged: &Judged, reference: Option<f64>) -> Vec<Self> {
        let costs = judged.policies.iter().flat_map(|policy| &policy.points).map(|point| point.cost_usd);
        let cost_max = costs.fold(0.0, f64::max);
        let best = judged.singles.iter().map(|single| single.score).fold(f64::NAN, f64::max);
        judged.policies.iter().map(|policy| Self::of(policy, best, reference, cost_max)).collect()
    }

    fn of(policy: &Evaluation, best_single: f64, reference: Option<f64>, cost_max: f64) -> Self {
        let figures = &policy.figures;
        let over = |other: f64| figures.score.filter(|_| other > 0.0).map(|score| score / other);
        let points: Vec<(f64, f64)> = policy.points.iter().map(|p| (p.cost_usd, p.score)).collect();
        let arena = figures.score_micro.zip(figures.cost_usd_micro);
        Self {
            policy: policy.name().to_owned(),
            mu: figures.score,
            v_b: over(best_single),
            v_r: reference.and_then(over),
            e_p_bits: policy.score_entropy_bits,
            aiq: policy.aiq,
            aiq_released: aiq_released(&points, cost_max),
            arena_score: arena.and_then(|(score, usd)| arena_score(score, usd * 1000.0)),
            mean_rank: policy.ranks.map(|ranks| ranks.mean_rank),
            top_3: policy.ranks.map(|ranks| ranks.top_3),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::fixtures::{near, prediction, table};
    use crate::evaluate::{Contender, JudgeOptions, Judging, judge};
    use routewright_data::Cells;
    use routewright_policy::selectors::Argmax;

    /// By the formula in Python's floats.
    #[test]
    fn the_arena_score_has_its_published_scale() {
        let near = |accuracy, cost, expected: f64| {
            let found = arena_score(accuracy, cost).unwrap();
            assert!((found - expected).abs() < 5e-7, "{found}");
        };
        near(0.7, 1.0, 0.674_439_4);
        // At the cheapest cost C is 1: 1.1 * 0.7 / 1.07.
        near(0.7, 0.0044, 0.719_626);
        // GPT-5 on the leaderboard: score 64.32; accuracy 73.96 % and cost 10.02 USD as we recall them.
        assert_eq!(format!("{:.4}", arena_score(0.7396, 10.02).unwrap()), "0.6432");
        assert_eq!(arena_score(0.7, 200.0), Some(0.0));
        assert_eq!((arena_score(0.7, 0.0), arena_score(0.0, 200.0)), (None, None));
    }

    #[test]
    fn ranks_share_ties_and_skip_what_is_missing() {
        let mut table = table(&["a", "a"], &[0.0; 8], &[0.0; 8]);
        // Ranks 1, 3, 1, 4 and 1, -, 2, 3.
        let soft = vec![0.9, 0.5, 0.9, 0.1, 1.0, f32::NAN, 0.5, 0.0];
        table.soft_score = Some(Cells::from_vec(2, 4, soft));
        let ranks = |arms: &[usize]| Ranks::of(&Decisions::deterministic(arms, 4), &table);
        assert_eq!(ranks(&[1, 3]), Some(Ranks { mean_rank: 3.0, top_3: 1.0 }));
        assert_eq!(ranks(&[3, 2]), Some(Ranks { mean_rank: 3.0, top_3: 0.5 }));
        assert_eq!(
            ranks(&[2, 1]),
            Some(Ranks { mean_rank: 1.0, top_3: 1.0 }),
            "an uncovered query is left out"
        );
        // Uniform: (1 + 3 + 1 + 4) / 4 and (1 + 2 + 3) / 3.
        let found = Ranks::of(&Decisions::uniform(2, 4), &table).unwrap();
        assert!(
            near(found.mean_rank, (2.25 + 2.0) / 2.0) && near(found.top_3, (0.75 + 1.0) / 2.0),
            "{found:?}"
        );
    }

    /// Points (1, 0.2), (2, 0.6), (4, 0.4), another router up to 5: the hull is 0.2 at 1, 0.6 at 2 and flat to 5.
    /// Area 0.4 + 3 * 0.6 = 2.2, over 5.
    #[test]
    fn the_released_aiq_is_over_the_greatest_cost() {
        let points = [(1.0, 0.2), (2.0, 0.6), (4.0, 0.4)];
        assert!(near(aiq_released(&points, 5.0).unwrap(), 0.44));
        assert_eq!((aiq_released(&[], 5.0), aiq_released(&points, 0.0)), (None, None));
    }

    #[test]
    fn a_small_document_has_every_figure() {
        // Arms x and y on two queries: the policy takes y, then x, both right; singles score 0.5 and 0.75.
        let table = table(&["a"; 2], &[0.0, 1.0, 1.0, 0.5], &[0.001, 0.003, 0.001, 0.003]);
        let guess = prediction(2, &[0.0, 3.0_f32.ln(), 3.0_f32.ln(), 0.0], &[0.001, 0.003, 0.001, 0.003]);
        let options = JudgeOptions::default();
        let mut judging = Judging::new("log", "test", Some(&table), &table, &options).unwrap();
        judging.add(judge(&Contender::new("knn", &guess, &Argmax), &table, Some(&table), &options).unwrap());
        let found = &BenchmarkFigures::each(&judging.finish(), Some(0.8))[0];
        assert_eq!((found.mu, found.mean_rank, found.top_3), (Some(1.0), Some(1.0), Some(1.0)));
        assert!(near(found.v_b.unwrap(), 4.0 / 3.0) && near(found.v_r.unwrap(), 1.25), "{found:?}");
        // p = (1/4, 3/4), as in `entropy.rs`.
        assert!((found.e_p_bits.unwrap() - 0.811_278_124_459).abs() < 1e-6);
        // Costs are 32-bit floats.
        assert!(near(found.arena_score.unwrap(), arena_score(1.0, 2.0).unwrap()), "{found:?}");
        assert!(found.aiq.is_some() && found.aiq_released.is_some());
    }
}
