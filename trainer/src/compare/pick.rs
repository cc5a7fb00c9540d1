//! Which method a user should take who never looks at test, by out-of-fold decisions on train.
//!
//! 1. *Gate.* A method gains if it beats the best single model by more than two standard errors, paired by query.
//! 2. *Best predictor.* Of those that gain and cannot be told apart from the highest score, the one of the least
//!    centred error: observed less predicted scores, both less their mean over the arms of the query. How hard a query
//!    is dominates the raw error, and the highest score of many is luck (measured in
//!    `experiments/record/2026-11-30-quality.md`).
//! 3. *Thrift.* Of those that gain and cannot be told apart from that one, the cheapest.
//! 4. If nothing gains: the cheapest method that cannot be told apart from the best single model, loses neither half
//!    a point nor a standard error, and costs less; else `guarded`, which keeps the best single model without evidence,
//!    where it is compared and loses as little; else the best single model itself.
//!
//! *Cannot be told apart*: a paired difference of at most two standard errors. Forms predict on their own scales, so
//! predictions are scaled by one factor, fitted on the same rows, before errors are compared.

use super::out_of_fold::{LeftOut, OutOfFold};
use crate::evaluate::{
    COMMON_SHARE_MIN, JudgeOptions, PairedDifference, QueryOutcomes, Reason, Rule, Sources,
    paired_difference, standard_error,
};
use crate::method::MethodRow;
use crate::methods;

/// The method that is picked where nothing can be told apart from it.
pub(super) const BEST_SINGLE: &str = "best-single";
/// Standard errors beyond which two scores are told apart.
const GATE: f64 = 2.0;
/// Score a cheaper method may lose and still count as an equal.
const EQUAL_LOSS_MAX: f64 = 0.005;
/// Share of the cost a method must save to count as cheaper.
const SAVING_MIN: f64 = 0.01;

/// What was picked with one seed.
pub(super) struct Pick {
    /// Position of the method; `None` for the best single model.
    pub(super) method: Option<usize>,
    pub(super) reason: Reason,
}

/// The best single model and the methods that can be compared with it.
struct Field<'a> {
    names: Vec<&'a str>,
    found: Vec<Option<&'a OutOfFold>>,
    best_single: &'a QueryOutcomes,
    sources: &'a Sources,
    options: JudgeOptions,
}

/// Picks among `methods`; `None` where the best single model is not observed on half of the rows.
pub(super) fn pick(
    methods: &[(&MethodRow, serde_json::Value)],
    validated: &[Option<OutOfFold>],
    left_out: &LeftOut,
    options: &JudgeOptions,
) -> Option<Pick> {
    let is_covered = |found: &&OutOfFold| covered(&found.run) >= COMMON_SHARE_MIN;
    let field = Field {
        names: methods.iter().map(|(method, _)| method.name).collect(),
        found: validated.iter().map(|found| found.as_ref().filter(is_covered)).collect(),
        best_single: left_out.best_single(),
        sources: left_out.sources(),
        options: *options,
    };
    (covered(field.best_single) >= COMMON_SHARE_MIN).then(|| field.pick()).flatten()
}

/// Share of the queries with a score.
fn covered(run: &QueryOutcomes) -> f64 {
    run.scores.iter().filter(|score| !score.is_nan()).count() as f64 / run.scores.len().max(1) as f64
}

impl Field<'_> {
    fn pick(&self) -> Option<Pick> {
        let gains =
            |at: &usize| self.to_best_single(*at).is_some_and(|d| d.difference > GATE * d.standard_error);
        let gaining: Vec<usize> = (0..self.found.len()).filter(gains).collect();
        if let Some(leader) = self.leader(&gaining) {
            let equals: Vec<usize> = gaining.into_iter().filter(|at| self.is_equal(*at, leader)).collect();
            let cheapest = self.cheapest(&equals, self.cost(leader));
            let rule = if cheapest.is_some() { Rule::CheaperGain } else { Rule::Gain };
            return self.picked(cheapest.unwrap_or(leader), rule);
        }
        let loses_little = |d: PairedDifference| {
            !d.is_beyond(GATE) && d.difference >= -d.standard_error && d.difference >= -EQUAL_LOSS_MAX
        };
        let is_equal = |at: &usize| self.to_best_single(*at).is_some_and(loses_little);
        let equals: Vec<usize> = (0..self.found.len()).filter(is_equal).collect();
        if let Some(at) =
            self.cheapest(&equals, self.sources.mean(&self.best_single.costs, self.options.average))
        {
            return self.picked(at, Rule::CheaperEqual);
        }
        match equals.into_iter().find(|at| self.names[*at] == methods::DEFAULT) {
            Some(at) => self.picked(at, Rule::Guarded),
            None => self.best_single(),
        }
    }

    fn to_best_single(&self, at: usize) -> Option<PairedDifference> {
        self.found[at]?.validation.vs_best_single
    }

    fn cost(&self, at: usize) -> Option<f64> {
        self.found[at]?.validation.cost_usd
    }

    /// The least centred error among those that cannot be told apart from the highest score; without errors the highest
    /// score.
    fn leader(&self, among: &[usize]) -> Option<usize> {
        let gain = |at: usize| self.to_best_single(at).map_or(f64::NEG_INFINITY, |d| d.difference);
        let highest = among.iter().copied().reduce(|a, b| if gain(b) > gain(a) { b } else { a })?;
        let error = |at: usize| self.found[at].and_then(|found| found.validation.centred_error);
        let near = among.iter().copied().filter(|at| self.is_equal(*at, highest));
        let known = near.filter_map(|at| Some((error(at)?, at)));
        Some(known.reduce(|a, b| if b.0 < a.0 { b } else { a }).map_or(highest, |(_, at)| at))
    }

    fn is_equal(&self, a: usize, b: usize) -> bool {
        let (Some(first), Some(second)) = (self.found[a], self.found[b]) else { return false };
        let (first, second) = (&first.run.scores, &second.run.scores);
        a == b
            || paired_difference(first, second, self.sources, &self.options)
                .is_some_and(|d| !d.is_beyond(GATE))
    }

    /// The cheapest that costs noticeably less than `than`; of equal costs the better score.
    fn cheapest(&self, among: &[usize], than: Option<f64>) -> Option<usize> {
        let limit = than? * (1.0 - SAVING_MIN);
        let known = among.iter().filter_map(|at| Some((self.cost(*at)?, *at)));
        let gain = |at: usize| self.to_best_single(at).map_or(f64::NEG_INFINITY, |d| d.difference);
        let better = |a: (f64, usize), b: (f64, usize)| {
            if b.0 < a.0 || b.0 == a.0 && gain(b.1) > gain(a.1) { b } else { a }
        };
        known.filter(|(cost, _)| *cost < limit).reduce(better).map(|(_, at)| at)
    }

    fn names_of(&self, equal: impl Fn(usize) -> bool) -> Vec<String> {
        (0..self.found.len()).filter(|at| equal(*at)).map(|at| self.names[at].to_owned()).collect()
    }

    fn picked(&self, at: usize, rule: Rule) -> Option<Pick> {
        let validation = self.found[at]?.validation;
        let reason = Reason {
            rule,
            score: validation.score,
            score_se: validation.score_se,
            cost_usd: validation.cost_usd,
            vs_best_single: validation.vs_best_single,
            equals: self.names_of(|other| other != at && self.is_equal(other, at)),
        };
        Some(Pick { method: Some(at), reason })
    }

    fn best_single(&self) -> Option<Pick> {
        let QueryOutcomes { scores, costs, .. } = self.best_single;
        let untold = |at: usize| self.to_best_single(at).is_some_and(|d| !d.is_beyond(GATE));
        let reason = Reason {
            rule: Rule::BestSingle,
            score: self.sources.mean(scores, self.options.average)?,
            score_se: standard_error(scores, self.sources, &self.options),
            cost_usd: self.sources.mean(costs, self.options.average),
            vs_best_single: None,
            equals: self.names_of(untold),
        };
        Some(Pick { method: None, reason })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::Validation;

    const N: usize = 400;

    /// Scores of the best single model: 0 and 1 in turn, at 1 dollar.
    fn best_single() -> QueryOutcomes {
        QueryOutcomes::new((0..N).map(|i| (i % 2) as f64).collect(), vec![1.0; N])
    }

    /// The best single model, improved on the first `gained` and spoiled on `lost` of its queries.
    fn found(gained: usize, lost: usize, cost: f64, centred_error: f64) -> OutOfFold {
        let best = best_single();
        let mut scores = best.scores.clone();
        scores.iter_mut().step_by(2).take(gained).for_each(|score| *score = 1.0);
        scores.iter_mut().skip(1).step_by(2).take(lost).for_each(|score| *score = 0.0);
        let run = QueryOutcomes::new(scores, vec![cost; N]);
        let (sources, options) = (Sources::single(N), JudgeOptions::default());
        let validation = Validation {
            score: sources.mean(&run.scores, options.average).unwrap(),
            score_se: standard_error(&run.scores, &sources, &options),
            cost_usd: Some(cost),
            vs_best_single: paired_difference(&run.scores, &best.scores, &sources, &options),
            centred_error: Some(centred_error),
        };
        OutOfFold { run, validation }
    }

    fn picked(all: &[OutOfFold]) -> (Option<usize>, Rule, Vec<String>) {
        picked_of(&["a", "b", "c"], all)
    }

    fn picked_of(names: &[&str], all: &[OutOfFold]) -> (Option<usize>, Rule, Vec<String>) {
        let (best_single, sources) = (best_single(), Sources::single(N));
        let field = Field {
            names: names[..all.len()].to_vec(),
            found: all.iter().map(Some).collect(),
            best_single: &best_single,
            sources: &sources,
            options: JudgeOptions::default(),
        };
        let pick = field.pick().unwrap();
        (pick.method, pick.reason.rule, pick.reason.equals)
    }

    #[test]
    fn of_methods_that_gain_alike_the_best_predictor_is_taken() {
        let all = [found(60, 0, 1.0, 0.3), found(59, 1, 1.0, 0.2), found(2, 2, 1.0, 0.1)];
        assert_eq!(picked(&all), (Some(1), Rule::Gain, vec!["a".to_owned()]));
        // A better predictor that decides worse beyond doubt is not.
        let all = [found(120, 0, 1.0, 0.3), found(60, 0, 1.0, 0.2)];
        assert_eq!(picked(&all).0, Some(0));
    }

    #[test]
    fn the_cheapest_of_those_that_gain_alike_is_taken() {
        let all = [found(60, 0, 1.0, 0.2), found(58, 0, 0.5, 0.3), found(0, 0, 0.1, 0.1)];
        assert_eq!(picked(&all), (Some(1), Rule::CheaperGain, vec!["a".to_owned()]));
    }

    #[test]
    fn without_a_gain_beyond_doubt_the_best_single_model_or_a_cheaper_equal_is_taken() {
        // 12 better and 10 worse are no gain.
        assert_eq!(picked(&[found(12, 10, 1.0, 0.1)]), (None, Rule::BestSingle, vec!["a".to_owned()]));
        assert_eq!(picked(&[found(12, 10, 0.8, 0.1)]).0, Some(0));
        assert_eq!(picked(&[found(12, 10, 0.8, 0.1)]).1, Rule::CheaperEqual);
        // Half as dear, but 20 of 400 worse: no equal.
        assert_eq!(picked(&[found(0, 20, 0.5, 0.1)]), (None, Rule::BestSingle, Vec::new()));
        // Not told apart (1.7 standard errors), yet a loss of more than one of them.
        assert_eq!(picked(&[found(0, 3, 0.5, 0.1)]).1, Rule::BestSingle);
    }

    #[test]
    fn where_nothing_gains_or_saves_the_guarded_method_is_taken_unless_it_loses() {
        let names = ["a", "guarded"];
        let all = [found(12, 10, 1.0, 0.1), found(0, 0, 1.0, 0.3)];
        assert_eq!(picked_of(&names, &all), (Some(1), Rule::Guarded, vec!["a".to_owned()]));
        let losing = [found(12, 10, 1.0, 0.1), found(0, 20, 1.0, 0.3)];
        assert_eq!(picked_of(&names, &losing).1, Rule::BestSingle);
        // What gains, or saves at no loss, goes first.
        assert_eq!(picked_of(&names, &[found(60, 0, 1.0, 0.3), found(0, 0, 1.0, 0.3)]).0, Some(0));
        assert_eq!(picked_of(&names, &[found(12, 10, 0.8, 0.1), found(0, 0, 1.0, 0.3)]).0, Some(0));
    }

    #[test]
    fn nothing_is_picked_where_most_is_uncovered() {
        let mut run = best_single();
        assert!(covered(&run) > 0.99);
        run.scores.iter_mut().take(N / 2 + 1).for_each(|score| *score = f64::NAN);
        assert!(covered(&run) < COMMON_SHARE_MIN);
    }
}
