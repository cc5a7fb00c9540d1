//! The price of money that saves what was asked for.
//!
//! The `utility` selector takes `score - lambda * cost_usd`; every lambda is an operating point, measured against the
//! best single model on the same queries. Margins, since a point is chosen by the figures it is reported with:
//!
//! * `save`, `budget_usd`: 3 % of the money allowed is kept in reserve;
//! * `max_loss`: the difference minus 1.645 standard errors (a one-sided 95 % bound) is within the loss allowed.
//!
//! Money alone is met at the least lambda; a loss alone at the point that saves most. Figures of two real logs are in
//! experiments/record/2026-11-30-saving.md.

use super::{Always, CalibrateError, OutOfReach};
use crate::evaluate::{Average, COMMON_SHARE_MIN, Decisions, sweep, thin};
use routewright_data::OutcomeTable;
use routewright_data::stats::Coverage;
use routewright_policy::artifact::{Goal, Saving};
use routewright_policy::selectors::Utility;
use routewright_policy::{Prediction, Selector, SelectorSpec};

/// Share of the money allowed that is kept in reserve.
const RESERVE: f64 = 0.03;
/// Standard errors below the measured difference that must still be within the loss allowed.
const LOSS_Z: f64 = 1.645;
/// Prices of money measured.
const PRICES_MAX: usize = 400;
/// Share of the queries on which score and cost of the choice and of the best single model must be known.
const COVERED_MIN: f64 = COMMON_SHARE_MIN;
/// Saving below which there is nothing to promise.
const SAVING_MIN: f64 = 0.01;

/// A price of money and what it is worth on the queries it was chosen on.
#[derive(Debug, Clone, PartialEq)]
pub struct Priced {
    /// Score given up to save one US dollar.
    pub lambda: f64,
    /// What the policy saves at that price.
    pub expected: Saving,
}

impl Priced {
    /// The selector, to be stored in an artifact.
    pub fn selector(&self) -> SelectorSpec {
        Utility { lambda: self.lambda }.spec()
    }
}

/// Refuses goals that nothing could meet, whatever the log.
///
/// # Errors
/// If no goal is set or a value is out of its range.
pub fn check(goal: &Goal) -> Result<(), CalibrateError> {
    if *goal == Goal::default() {
        return Err(CalibrateError::Empty { what: "goal, expected a saving, a loss or a budget" });
    }
    let ranges = [
        ("a saving of", goal.save, 1.0, "a share above 0 and below 1"),
        (
            "a loss of",
            goal.max_loss,
            f64::INFINITY,
            "a score above 0; a loss of exactly 0 cannot be measured",
        ),
        ("a budget of", goal.budget_usd, f64::INFINITY, "US dollars a query above 0"),
    ];
    for (what, target, below, expected) in ranges {
        if let Some(target) = target.filter(|target| !(*target > 0.0 && *target < below)) {
            return Err(CalibrateError::Target { what, target, expected });
        }
    }
    Ok(())
}

/// The price of money at which `prediction` meets `goal` on the outcomes of `table`.
///
/// `prediction` has the shape of `table` and was made without its outcomes.
///
/// # Errors
/// If the goal is out of range, the log does not show what is saved, or no price meets the goal; the nearest point is
/// named then.
pub fn price(
    prediction: &Prediction,
    table: &OutcomeTable,
    goal: &Goal,
    average: Average,
) -> Result<Priced, CalibrateError> {
    check(goal)?;
    if let Some(thin) = Coverage::of(table).thin() {
        return Err(CalibrateError::Thin(thin));
    }
    if !table.has_costs() {
        return Err(CalibrateError::Empty {
            what: "`cost_usd` in the log, expected the cost of every answer",
        });
    }
    let best = Always::best(table, average).ok_or(CalibrateError::Empty { what: "score" })?;
    if best.cost_usd.is_none_or(|usd| usd <= 0.0) {
        return Err(CalibrateError::Unpriced { model: best.model });
    }
    let points = points(prediction, table, &best, average);
    let mut met = points.iter().filter(|point| is_met(goal, &point.expected));
    let is_loss_alone = goal.save.is_none() && goal.budget_usd.is_none();
    // Points come in order of falling lambda: the last of equals has the least.
    let chosen = if is_loss_alone {
        met.filter(|point| point.expected.saving >= SAVING_MIN)
            .max_by(|a, b| a.expected.saving.total_cmp(&b.expected.saving))
    } else {
        met.next_back()
    };
    let chosen = chosen.cloned();
    chosen.ok_or_else(|| CalibrateError::OutOfReach(Box::new(out_of_reach(goal, &points, &best))))
}

/// Every operating point that enough queries are covered at, in order of falling lambda.
fn points(prediction: &Prediction, table: &OutcomeTable, best: &Always, average: Average) -> Vec<Priced> {
    let curve = thin(&sweep(prediction, table, average), PRICES_MAX);
    let covered = |saving: &Saving| saving.n_queries as f64 >= COVERED_MIN * table.n_queries() as f64;
    let point = |lambda: f64| {
        let decisions = Decisions::of(prediction, &Utility { lambda });
        let expected = best.saving(&decisions, table, average).filter(covered)?;
        Some(Priced { lambda, expected })
    };
    curve.iter().filter_map(|at| at.lambda).filter_map(point).collect()
}

/// The difference that is exceeded with 95 % confidence.
fn lower_bound(saving: &Saving) -> f64 {
    saving.difference - LOSS_Z * saving.standard_error
}

/// Whether the money asked for is saved, with the reserve.
fn saves(goal: &Goal, saving: &Saving) -> bool {
    let share = goal.save.is_none_or(|save| 1.0 - saving.saving <= (1.0 - save) * (1.0 - RESERVE));
    share && goal.budget_usd.is_none_or(|usd| saving.cost_usd <= usd * (1.0 - RESERVE))
}

fn is_met(goal: &Goal, saving: &Saving) -> bool {
    saves(goal, saving) && goal.max_loss.is_none_or(|loss| lower_bound(saving) >= -loss)
}

/// The nearest point: of those that save what was asked for, the one that surely loses least; else the one that saves
/// most.
fn out_of_reach(goal: &Goal, points: &[Priced], best: &Always) -> OutOfReach {
    let pays = |point: &&Priced| point.expected.saving >= SAVING_MIN;
    let saving = || points.iter().filter(pays).filter(|point| saves(goal, &point.expected));
    let least_loss = saving().max_by(|a, b| lower_bound(&a.expected).total_cmp(&lower_bound(&b.expected)));
    let most = || points.iter().filter(pays).max_by(|a, b| a.expected.saving.total_cmp(&b.expected.saving));
    let nearest = least_loss.or_else(most).map(|point| point.expected.clone());
    let reachable = nearest.as_ref().map_or_else(Goal::default, |nearest| Goal {
        // Rounded to what a person would type, on the side that is reached.
        save: goal.save.and_then(|save| {
            let most = 1.0 - (1.0 - nearest.saving) / (1.0 - RESERVE);
            let whole = (100.0 * most.min(save) + 1e-9).floor() / 100.0;
            (whole > 0.0).then_some(whole)
        }),
        max_loss: goal.max_loss.map(|loss| loss.max((-1e4 * lower_bound(nearest)).ceil() / 1e4)),
        budget_usd: goal.budget_usd.map(|usd| usd.max(1.001 * nearest.cost_usd / (1.0 - RESERVE))),
    });
    let cheapest = best.is_cheapest.then(|| best.model.clone());
    OutOfReach { goal: *goal, nearest, reachable, cheapest }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::fixtures::{prediction, table};

    /// 100 queries: `x` costs 1, `y` 10; `y` is right always, `x` on the first 60, which the prediction knows but for
    /// the last ten of them. Its lead falls query by query.
    fn world() -> (Prediction, OutcomeTable) {
        let (mut score, mut guess) = (Vec::new(), Vec::new());
        for query in 0..100_u8 {
            score.extend([if query < 60 { 1.0 } else { 0.0 }, 1.0]);
            guess.extend([if query < 50 { 0.9 } else { 0.4 } - f32::from(query) / 1000.0, 1.0]);
        }
        let costs: Vec<f32> = (0..100).flat_map(|_| [1.0, 10.0]).collect();
        (prediction(2, &guess, &costs), table(&vec!["a"; 100], &score, &costs))
    }

    fn found(goal: Goal) -> Result<Priced, CalibrateError> {
        let (guess, outcomes) = world();
        price(&guess, &outcomes, &goal, Average::Micro)
    }

    fn save(share: f64) -> Goal {
        Goal { save: Some(share), ..Goal::default() }
    }

    #[test]
    fn a_saving_is_met_with_its_reserve_and_no_more() {
        // Each query moved to `x` saves 0.9 %; 40 % with the reserve is 41.8 %: 47 queries save 42.3 %.
        let point = found(save(0.4)).unwrap();
        assert!((point.expected.saving - 0.423).abs() < 1e-9, "{point:?}");
        assert_eq!((point.expected.difference, point.expected.n_queries), (0.0, 100));
        let (guess, outcomes) = world();
        let decisions = Decisions::of(&guess, &Utility { lambda: point.lambda });
        let best = Always::best(&outcomes, Average::Micro).unwrap();
        assert_eq!(best.saving(&decisions, &outcomes, Average::Micro), Some(point.expected));
    }

    #[test]
    fn a_loss_is_met_at_its_lower_bound_where_most_is_saved() {
        // 60 queries on `x` lose nothing and save 54 %; each further one loses a point. With k lost of 100 the bound is
        // k/100 + 1.645 sqrt(k/100 (1 - k/100) / 99): 0.026 for 1, 0.043 for 2, 0.058 for 3.
        let loss = |max_loss| found(Goal { max_loss: Some(max_loss), ..Goal::default() }).unwrap().expected;
        assert!((loss(0.01).saving - 0.54).abs() < 1e-9, "{:?}", loss(0.01));
        assert!((loss(0.05).saving - 0.558).abs() < 1e-9, "{:?}", loss(0.05));
        assert!((loss(0.05).difference + 0.02).abs() < 1e-9);
    }

    #[test]
    fn a_budget_is_met_with_its_reserve() {
        let point = found(Goal { budget_usd: Some(5.0), ..Goal::default() }).unwrap();
        // At most 4.85: (10 - 4.85) / 9 = 57.2 %: 58 queries on `x`.
        assert!((point.expected.cost_usd - 4.78).abs() < 1e-9, "{point:?}");
    }

    #[test]
    fn what_cannot_be_had_names_the_nearest() {
        let Err(CalibrateError::OutOfReach(error)) = found(save(0.95)) else { panic!("reached") };
        let nearest = error.nearest.clone().unwrap();
        assert!((nearest.saving - 0.9).abs() < 1e-9 && (nearest.difference + 0.4).abs() < 1e-9);
        assert_eq!(error.reachable.save, Some(0.89));
        assert!(found(error.reachable).is_ok());
        let text = error.to_string();
        assert!(
            text.starts_with("cannot save 95 %: the nearest that can be had saves 90 % at -40.0"),
            "{text}"
        );
        assert!(text.ends_with("`--save 89%` would reach it"), "{text}");
        // Both at once: the saving can be had, at a greater loss.
        let both = Goal { max_loss: Some(0.01), ..save(0.6) };
        let Err(CalibrateError::OutOfReach(error)) = found(both) else { panic!("reached") };
        assert!(error.nearest.as_ref().is_some_and(|nearest| nearest.saving > 0.6));
        assert!(found(error.reachable).is_ok(), "{error:?}");
        let Err(CalibrateError::OutOfReach(error)) = found(Goal { budget_usd: Some(0.5), ..Goal::default() })
        else {
            panic!("reached")
        };
        assert!(found(error.reachable).is_ok(), "{error:?}");
    }

    #[test]
    fn a_best_model_that_is_cheapest_is_named() {
        let costs: Vec<f32> = (0..100).flat_map(|_| [10.0, 1.0]).collect();
        let (guess, outcomes) = world();
        let guess = Prediction { cost_usd: costs.clone(), ..guess };
        let outcomes = table(&vec!["a"; 100], outcomes.score.values(), &costs);
        let error = price(&guess, &outcomes, &save(0.1), Average::Micro).unwrap_err().to_string();
        assert!(error.contains("`y` scores best and costs least"), "{error}");
    }

    #[test]
    fn logs_that_cannot_tell_are_refused_with_the_reason() {
        let (guess, outcomes) = world();
        let refused = |table: &OutcomeTable| price(&guess, table, &save(0.4), Average::Micro).unwrap_err();
        let mut gateway = outcomes.clone();
        for query in 0..100 {
            gateway.score.set(query, query % 2, f32::NAN);
        }
        assert!(refused(&gateway).to_string().contains("a log of decisions"), "{}", refused(&gateway));
        let mut free = outcomes.clone();
        free.cost_usd = routewright_data::Cells::missing(100, 2);
        assert!(refused(&free).to_string().contains("no `cost_usd`"));
        let mut unpriced = outcomes.clone();
        (0..100).for_each(|query| unpriced.cost_usd.set(query, 1, f32::NAN));
        assert!(refused(&unpriced).to_string().contains("no `cost_usd` of `y`"));
        for goal in [save(0.0), save(1.0), save(f64::NAN), Goal::default()] {
            assert!(price(&guess, &outcomes, &goal, Average::Micro).is_err(), "{goal:?}");
        }
        // Some missing cells are no obstacle.
        let mut holed = outcomes.clone();
        (0..100).step_by(5).for_each(|query| holed.cost_usd.set(query, 0, f32::NAN));
        assert!(price(&guess, &holed, &save(0.3), Average::Micro).is_ok());
    }
}
