//! The evaluations of one method with several seeds, as one.

use super::bootstrap::seed_sd;
use super::figures::mean_of;
use super::judge::{CURVE_POINTS_MAX, Validation};
use super::{
    Apgr, ArmShare, Deferral, Evaluation, Figures, JudgeOptions, OperatingPoint, PairedDifference,
    QueryOutcomes, Ranks, Sources, thin,
};
use std::collections::BTreeMap;

impl Evaluation {
    /// The mean of evaluations on the same rows, one a seed, in every figure; `None` without any.
    ///
    /// Figures that are `None` with some seed are `None`. Standard errors of figures other than the score are the
    /// root of the mean variance of the seeds, which share their queries, and of the spread between them.
    pub fn over_seeds(seeds: Vec<Self>, sources: &Sources, options: &JudgeOptions) -> Option<Self> {
        if seeds.len() < 2 {
            return seeds.into_iter().next();
        }
        let mean = |figure: fn(&Self) -> Option<f64>| mean_of(seeds.iter().map(figure));
        let runs: Vec<QueryOutcomes> = seeds.iter().flat_map(|seed| seed.runs.clone()).collect();
        let points = points(&seeds);
        let first = seeds.first()?.clone();
        Some(Self {
            figures: Figures::of(&runs, sources, options),
            aiq: mean(|e| e.aiq),
            aiq_se: error(&seeds, |e| e.aiq, |e| e.aiq_se),
            aiq_held_out: mean(|e| e.aiq_held_out),
            fit_seconds: mean(|e| e.fit_seconds),
            decide_us: mean(|e| e.decide_us),
            shares: shares(&seeds),
            apgr: apgr(&seeds),
            deferral: deferral(&seeds),
            score_entropy_bits: mean(|e| e.score_entropy_bits),
            ranks: ranks(&seeds),
            reads_source: seeds.iter().any(|e| e.reads_source),
            validation: validation(&seeds),
            curve: thin(&points, CURVE_POINTS_MAX),
            points,
            runs,
            ..first
        })
    }
}

fn ranks(seeds: &[Evaluation]) -> Option<Ranks> {
    let mean = |figure: fn(&Ranks) -> f64| mean_of(seeds.iter().map(|seed| seed.ranks.as_ref().map(figure)));
    Some(Ranks { mean_rank: mean(|ranks| ranks.mean_rank)?, top_3: mean(|ranks| ranks.top_3)? })
}

/// Standard error of a mean over seeds.
fn error<T>(seeds: &[T], figure: impl Fn(&T) -> Option<f64>, se: impl Fn(&T) -> Option<f64>) -> Option<f64> {
    let squares = mean_of(seeds.iter().map(|seed| se(seed).map(|se| se * se)))?;
    let figures: Vec<f64> = seeds.iter().map(figure).collect::<Option<_>>()?;
    let between = seed_sd(&figures).map_or(0.0, |sd| sd * sd / figures.len() as f64);
    Some((squares + between).sqrt())
}

/// The mean at each price of money of the first seed.
fn points(seeds: &[Evaluation]) -> Vec<OperatingPoint> {
    let Some(first) = seeds.first() else { return Vec::new() };
    let at = |own: &OperatingPoint| {
        let all: Option<Vec<&OperatingPoint>> =
            seeds.iter().map(|seed| nearest(&seed.points, own.lambda)).collect();
        let all = all?;
        let mean = |value: fn(&OperatingPoint) -> f64| {
            all.iter().map(|point| value(point)).sum::<f64>() / all.len() as f64
        };
        Some(OperatingPoint { lambda: own.lambda, cost_usd: mean(|p| p.cost_usd), score: mean(|p| p.score) })
    };
    thin(&first.points, CURVE_POINTS_MAX).iter().filter_map(at).collect()
}

/// The point whose price of money is nearest to `lambda`, by ratio; points are in order of falling price.
fn nearest(points: &[OperatingPoint], lambda: Option<f64>) -> Option<&OperatingPoint> {
    let Some(lambda) = lambda else { return points.first() };
    let of = |point: &&OperatingPoint| point.lambda.unwrap_or(0.0);
    let after = points.partition_point(|point| of(&point) >= lambda);
    let candidates =
        [after.checked_sub(1), Some(after)].into_iter().flatten().filter_map(|at| points.get(at));
    let distance = |point: &&OperatingPoint| {
        let (a, b) = (of(point), lambda);
        if a == b {
            0.0
        } else if a <= 0.0 || b <= 0.0 {
            f64::INFINITY
        } else {
            (a / b).ln().abs()
        }
    };
    candidates.min_by(|a, b| distance(a).total_cmp(&distance(b)))
}

fn shares(seeds: &[Evaluation]) -> Vec<ArmShare> {
    let mut totals: BTreeMap<&str, f64> = BTreeMap::new();
    for share in seeds.iter().flat_map(|seed| &seed.shares) {
        *totals.entry(&share.model).or_default() += share.share / seeds.len() as f64;
    }
    let mut shares: Vec<ArmShare> =
        totals.into_iter().map(|(model, share)| ArmShare { model: model.to_owned(), share }).collect();
    shares.sort_by(|a, b| b.share.total_cmp(&a.share).then_with(|| a.model.cmp(&b.model)));
    shares
}

fn apgr(seeds: &[Evaluation]) -> Option<Apgr> {
    let all: Vec<&Apgr> = seeds.iter().map(|seed| seed.apgr.as_ref()).collect::<Option<_>>()?;
    let mean = |figure: fn(&Apgr) -> f64| all.iter().map(|a| figure(a)).sum::<f64>() / all.len() as f64;
    Some(Apgr {
        strong: all[0].strong.clone(),
        weak: all[0].weak.clone(),
        apgr: mean(|a| a.apgr),
        apgr_se: error(&all, |a| Some(a.apgr), |a| a.apgr_se),
        cpt_20: mean(|a| a.cpt_20),
        cpt_50: mean(|a| a.cpt_50),
        cpt_80: mean(|a| a.cpt_80),
    })
}

fn deferral(seeds: &[Evaluation]) -> Option<Deferral> {
    let mean = |figure: fn(&Deferral) -> Option<f64>| mean_of(seeds.iter().map(|s| figure(&s.deferral?)));
    Some(Deferral { audc: mean(|d| Some(d.audc))?, qnc: mean(|d| d.qnc), peak: mean(|d| Some(d.peak))? })
}

fn validation(seeds: &[Evaluation]) -> Option<Validation> {
    let all: Vec<Validation> = seeds.iter().map(|seed| seed.validation).collect::<Option<_>>()?;
    let mean = |figure: fn(&Validation) -> Option<f64>| mean_of(all.iter().map(figure));
    let difference = |v: &Validation| v.vs_best_single.map(|d| d.difference);
    let vs_best_single = mean(|v| v.vs_best_single.map(|d| d.difference)).and_then(|mean| {
        let standard_error = error(&all, difference, |v| v.vs_best_single.map(|d| d.standard_error))?;
        let n_queries = all.iter().filter_map(|v| Some(v.vs_best_single?.n_queries)).min()?;
        Some(PairedDifference { difference: mean, standard_error, n_queries })
    });
    Some(Validation {
        score: mean(|v| Some(v.score))?,
        score_se: error(&all, |v| Some(v.score), |v| v.score_se),
        cost_usd: mean(|v| v.cost_usd),
        vs_best_single,
        centred_error: mean(|v| v.centred_error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::fixtures::{near, prediction, table};
    use crate::evaluate::{Contender, judge};
    use routewright_policy::selectors::Argmax;

    /// Seed 1 calls `y` on both queries, seed 2 `x`.
    #[test]
    fn every_figure_is_the_mean_over_seeds() {
        let table = table(&["a", "b"], &[0.0, 1.0, 0.5, 1.0], &[0.1, 0.3, 0.1, 0.3]);
        let options = JudgeOptions::default();
        let guesses = [[0.1, 0.2, 0.1, 0.2], [0.2, 0.1, 0.2, 0.1]].map(|score| {
            let guess = prediction(2, &score, &[0.1, 0.3, 0.1, 0.3]);
            judge(&Contender::new("m", &guess, &Argmax), &table, Some(&table), &options).unwrap()
        });
        let [first, second] = guesses.clone();
        let merged = Evaluation::over_seeds(guesses.to_vec(), &Sources::of(&table), &options).unwrap();
        assert_eq!(merged.figures.score, Some(0.625));
        assert!(near(merged.figures.cost_usd.unwrap(), 0.2));
        assert_eq!(merged.figures.seed_scores, [1.0, 0.25]);
        assert!(merged.shares.iter().all(|share| share.share == 0.5), "{:?}", merged.shares);
        assert!(near(merged.aiq.unwrap(), f64::midpoint(first.aiq.unwrap(), second.aiq.unwrap())));
        let apgr = |e: &Evaluation| e.apgr.as_ref().unwrap().apgr;
        assert!(near(apgr(&merged), f64::midpoint(apgr(&first), apgr(&second))));
        let audc = |e: &Evaluation| e.deferral.unwrap().audc;
        assert!(near(audc(&merged), f64::midpoint(audc(&first), audc(&second))));
        // At the price of nothing: 0.3 with the first seed, 0.1 with the second.
        assert!(near(merged.curve.last().unwrap().cost_usd, 0.2), "{:?}", merged.curve);
        assert_eq!(merged.figures.by_source["a"], 0.5);
    }

    #[test]
    fn one_seed_stays_what_it_is() {
        let table = table(&["a"], &[0.0, 1.0], &[0.1, 0.3]);
        let options = JudgeOptions::default();
        let guess = prediction(2, &[0.1, 0.2], &[0.1, 0.3]);
        let one = judge(&Contender::new("m", &guess, &Argmax), &table, None, &options).unwrap();
        let merged = Evaluation::over_seeds(vec![one.clone()], &Sources::of(&table), &options);
        assert_eq!(merged, Some(one));
        assert_eq!(Evaluation::over_seeds(Vec::new(), &Sources::of(&table), &options), None);
    }
}
