//! The figures of one row of a table: what a policy or a yardstick scores and costs on the queries that count.
//!
//! Every figure of a row is taken on the same queries, and with several seeds it is the mean over them.

use super::bootstrap::{over_seeds, seed_sd};
use super::{Average, JudgeOptions, PairedDifference, QueryOutcomes, Sources};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Scores, costs and differences of one row. Scores are in `[0, 1]`, costs in US dollars a call. A figure is
/// `None` where the log does not show it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Figures {
    /// Average expected score under the average asked for.
    pub score: Option<f64>,
    /// Standard error of `score`: queries resampled, with the spread of the seeds where there are several.
    pub score_se: Option<f64>,
    /// Standard deviation of the score over seeds, where there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed_sd: Option<f64>,
    /// Score of each seed, where several were fitted; `score` is their mean.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seed_scores: Vec<f64>,
    /// Average cost under the same average.
    pub cost_usd: Option<f64>,
    /// Average time from the first call to the reply, milliseconds.
    #[serde(default)]
    pub latency_ms: Option<f64>,
    /// Average number of answers asked for.
    #[serde(default)]
    pub calls: Option<f64>,
    /// Mean score over queries.
    pub score_micro: Option<f64>,
    /// Mean score over sources.
    pub score_macro: Option<f64>,
    /// Mean cost over queries.
    pub cost_usd_micro: Option<f64>,
    /// Mean cost over sources.
    pub cost_usd_macro: Option<f64>,
    /// Mean score of each source that has a query.
    #[serde(default)]
    pub by_source: BTreeMap<String, f64>,
    /// Score minus that of the best single model on the same queries.
    #[serde(default)]
    pub vs_best_single: Option<PairedDifference>,
    /// Score minus that of the best model of each source on the same queries.
    #[serde(default)]
    pub vs_source_best: Option<PairedDifference>,
    /// Share of the cost of the best single model that is saved, on the same queries; negative where it costs
    /// more.
    #[serde(default)]
    pub saving: Option<f64>,
    /// Standard error of `saving`: queries resampled, with the spread of the seeds where there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saving_se: Option<f64>,
    /// `V_B`: score over that of the best single model, on the same queries (RouterEval, arXiv 2503.10657); above
    /// 1 routing pays.
    #[serde(default)]
    pub ratio_to_best_single: Option<f64>,
    /// Queries that some seed leaves uncovered: no arm the policy gave mass was observed.
    pub n_uncovered: usize,
}

/// What rows are compared with.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Yardsticks<'a> {
    pub(super) best_single: Option<&'a QueryOutcomes>,
    pub(super) source_best: Option<&'a QueryOutcomes>,
}

impl Figures {
    /// The figures of `runs`, one a seed, whose values are those of the queries that count.
    pub(super) fn of(runs: &[QueryOutcomes], sources: &Sources, options: &JudgeOptions) -> Self {
        let scores: Vec<Vec<f64>> = runs.iter().map(|run| run.scores.clone()).collect();
        let mean = |values: fn(&QueryOutcomes) -> &[f64], average: Average| {
            let of = |run: &QueryOutcomes| sources.mean(values(run), average);
            mean_of(runs.iter().map(of))
        };
        let (score, score_se) =
            over_seeds(&scores, sources, options).map_or((None, None), |(mean, se)| (Some(mean), se));
        let each: Vec<f64> = scores.iter().filter_map(|run| sources.mean(run, options.average)).collect();
        let score_of: fn(&QueryOutcomes) -> &[f64] = |run| &run.scores;
        let cost_of: fn(&QueryOutcomes) -> &[f64] = |run| &run.costs;
        Self {
            score,
            score_se,
            seed_sd: seed_sd(&each),
            seed_scores: if each.len() > 1 { each } else { Vec::new() },
            cost_usd: mean(cost_of, options.average),
            latency_ms: mean(|run| &run.latencies_ms, options.average),
            calls: mean(|run| &run.calls, options.average),
            score_micro: mean(score_of, Average::Micro),
            score_macro: mean(score_of, Average::Macro),
            cost_usd_micro: mean(cost_of, Average::Micro),
            cost_usd_macro: mean(cost_of, Average::Macro),
            by_source: by_source(&scores, sources),
            n_uncovered: n_uncovered(runs),
            ..Self::default()
        }
    }

    /// Fills in the differences to the yardsticks, all on the queries that count.
    pub(super) fn compare(
        &mut self,
        runs: &[QueryOutcomes],
        yardsticks: Yardsticks<'_>,
        sources: &Sources,
        options: &JudgeOptions,
    ) {
        self.vs_best_single =
            yardsticks.best_single.and_then(|other| difference(runs, other, sources, options));
        self.vs_source_best =
            yardsticks.source_best.and_then(|other| difference(runs, other, sources, options));
        let Some(best) = yardsticks.best_single else { return };
        let ratio = |values: fn(&QueryOutcomes) -> &[f64]| {
            let of = |run: &QueryOutcomes| {
                let (own, other) = on_both(values(run), values(best));
                let other = sources.mean(&other, options.average).filter(|mean| *mean > 0.0)?;
                Some(sources.mean(&own, options.average)? / other)
            };
            mean_of(runs.iter().map(of))
        };
        self.saving = ratio(|run| &run.costs).map(|ratio| 1.0 - ratio);
        self.saving_se = self.saving.and_then(|saving| saving_se(runs, best, 1.0 - saving, sources, options));
        self.ratio_to_best_single = ratio(|run| &run.scores);
    }
}

/// Queries without a score in some run.
pub(super) fn n_uncovered(runs: &[QueryOutcomes]) -> usize {
    let n = runs.first().map_or(0, |run| run.scores.len());
    (0..n).filter(|query| runs.iter().any(|run| run.scores[*query].is_nan())).count()
}

/// The mean where every value exists.
pub(super) fn mean_of(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let values: Vec<f64> = values.collect::<Option<_>>()?;
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

fn difference(
    runs: &[QueryOutcomes],
    other: &QueryOutcomes,
    sources: &Sources,
    options: &JudgeOptions,
) -> Option<PairedDifference> {
    let minus = |run: &QueryOutcomes| run.scores.iter().zip(&other.scores).map(|(a, b)| a - b).collect();
    let differences: Vec<Vec<f64>> = runs.iter().map(minus).collect();
    let (difference, standard_error) = over_seeds(&differences, sources, options)?;
    let covered = |query: &usize| differences.iter().all(|run| !run[*query].is_nan());
    let n_queries = (0..other.scores.len()).filter(covered).count();
    Some(PairedDifference { difference, standard_error: standard_error?, n_queries })
}

/// Standard error of the ratio of mean costs, by its linearization about `ratio`.
fn saving_se(
    runs: &[QueryOutcomes],
    best: &QueryOutcomes,
    ratio: f64,
    sources: &Sources,
    options: &JudgeOptions,
) -> Option<f64> {
    let linear = |run: &QueryOutcomes| {
        let (own, other) = on_both(&run.costs, &best.costs);
        let mean = sources.mean(&other, options.average).filter(|mean| *mean > 0.0)?;
        Some(own.iter().zip(&other).map(|(own, other)| ratio + (own - ratio * other) / mean).collect())
    };
    let runs: Vec<Vec<f64>> = runs.iter().map(linear).collect::<Option<_>>()?;
    over_seeds(&runs, sources, options)?.1
}

/// Both where both have a value.
fn on_both(first: &[f64], second: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let both = |(a, b): (&f64, &f64)| if (a + b).is_nan() { (f64::NAN, f64::NAN) } else { (*a, *b) };
    first.iter().zip(second).map(both).unzip()
}

fn by_source(runs: &[Vec<f64>], sources: &Sources) -> BTreeMap<String, f64> {
    let means: Vec<Vec<Option<f64>>> = runs.iter().map(|run| sources.means(run)).collect();
    let of =
        |(at, name): (usize, &String)| Some((name.clone(), mean_of(means.iter().map(|means| means[at]))?));
    sources.names().iter().enumerate().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::fixtures::near;

    fn run(scores: &[f64], costs: &[f64]) -> QueryOutcomes {
        QueryOutcomes::new(scores.to_vec(), costs.to_vec())
    }

    #[test]
    fn a_row_of_two_seeds_is_their_mean_in_every_figure() {
        let sources = Sources::single(2);
        let options = JudgeOptions::default();
        let runs = [run(&[1.0, 0.5], &[1.0, 1.0]), run(&[0.5, 0.5], &[3.0, 1.0])];
        let best = run(&[0.5, 0.25], &[4.0, 4.0]);
        let mut found = Figures::of(&runs, &sources, &options);
        let yardsticks = Yardsticks { best_single: Some(&best), source_best: None };
        found.compare(&runs, yardsticks, &sources, &options);
        assert_eq!((found.score, found.cost_usd), (Some(0.625), Some(1.5)));
        assert_eq!(found.seed_scores, [0.75, 0.5]);
        assert!(near(found.seed_sd.unwrap(), 0.125 * 2.0_f64.sqrt()));
        // The first seed alone says 0.375.
        assert_eq!(found.vs_best_single.unwrap().difference, 0.25);
        // (1 - 1/4 + 1 - 2/4) / 2, and (2 + 4/3) / 2
        assert!(near(found.saving.unwrap(), 0.625) && near(found.ratio_to_best_single.unwrap(), 5.0 / 3.0));
        assert!(found.vs_source_best.is_none());
    }

    #[test]
    fn a_difference_is_over_queries_both_cover() {
        let sources = Sources::single(3);
        let options = JudgeOptions::default();
        let runs = [run(&[1.0, 0.5, f64::NAN], &[1.0, f64::NAN, 1.0])];
        let best = run(&[f64::NAN, 0.25, 0.5], &[2.0, 2.0, 2.0]);
        let mut found = Figures::of(&runs, &sources, &options);
        found.compare(
            &runs,
            Yardsticks { best_single: Some(&best), source_best: Some(&best) },
            &sources,
            &options,
        );
        assert_eq!(found.vs_best_single.map(|d| (d.difference, d.n_queries)), Some((0.25, 1)));
        assert_eq!((found.vs_source_best, found.saving), (found.vs_best_single, Some(0.5)));
        assert_eq!((found.ratio_to_best_single, found.n_uncovered), (Some(2.0), 1));
    }
}
