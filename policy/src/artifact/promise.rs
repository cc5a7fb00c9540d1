//! What a calibrated policy promises: what it saves, and at what loss, beside one model that is always called.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What a policy is calibrated to; at least one of the three.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Goal {
    /// Share of the cost of the best single model that is saved at least, in `(0, 1)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub save: Option<f64>,
    /// Mean score lost at most against the best single model, in `(0, 1]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_loss: Option<f64>,
    /// Mean cost of a query at most, US dollars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget_usd: Option<f64>,
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let save = self.save.map(|share| format!("save {}", percent(share)));
        let loss = self.max_loss.map(|loss| format!("lose at most {} points", figure(100.0 * loss)));
        let budget = self.budget_usd.map(|usd| format!("cost at most {usd} USD a query"));
        let parts: Vec<String> = [save, loss, budget].into_iter().flatten().collect();
        f.write_str(&parts.join(" and "))
    }
}

/// Whether a goal is met on other queries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every figure asked for is met.
    Kept,
    /// A figure is missed by at most two standard errors.
    WithinError,
    /// A figure is missed by more than two standard errors.
    Missed,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kept => "kept",
            Self::WithinError => "missed by at most two standard errors",
            Self::Missed => "missed",
        })
    }
}

impl Goal {
    /// Whether `found`, measured on queries the policy was not calibrated on, is what was asked for.
    pub fn verdict(&self, found: &Saving) -> Verdict {
        // Each is how far a figure falls short, and its standard error.
        let share = self.save.map(|save| (save - found.saving, found.saving_se));
        let loss = self.max_loss.map(|loss| (-found.difference - loss, found.standard_error));
        let model_usd = found.cost_usd / (1.0 - found.saving);
        let budget = self.budget_usd.map(|usd| (found.cost_usd - usd, found.saving_se * model_usd));
        let figures = || [share, loss, budget].into_iter().flatten();
        if figures().all(|(short, _)| short <= 0.0) {
            Verdict::Kept
        } else if figures().all(|(short, se)| short <= 2.0 * se) {
            Verdict::WithinError
        } else {
            Verdict::Missed
        }
    }
}

/// A policy beside one model that is always called, on the queries where score and cost of both are known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Saving {
    /// The model that is always called.
    pub against: String,
    /// Share of its mean cost that the policy saves; below 0 the policy costs more.
    pub saving: f64,
    /// Standard error of `saving`.
    pub saving_se: f64,
    /// Mean score of the policy minus that of the model.
    pub difference: f64,
    /// Standard error of `difference`, paired by query.
    pub standard_error: f64,
    /// Mean cost of the policy, US dollars a query.
    pub cost_usd: f64,
    /// Queries measured on.
    pub n_queries: usize,
}

impl fmt::Display for Saving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rounded = (100.0 * self.saving).round();
        let money = match rounded {
            r if r < 0.0 => format!("costs {:.0} % more", -rounded),
            _ => format!("saves {:.0} %", rounded.abs()),
        };
        let tenths = (1000.0 * self.difference).round() / 10.0;
        let sign = if tenths > 0.0 { "+" } else { "" };
        // Minus zero is zero.
        let points = if tenths == 0.0 { 0.0 } else { tenths };
        let (se, model) = (100.0 * self.standard_error, printable(&self.against));
        write!(f, "{money} at {sign}{points:.1} ± {se:.1} points against always `{model}`")
    }
}

/// A goal, the price of money that meets it, and what the policy was measured to save there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Promise {
    /// What was asked for.
    #[serde(flatten)]
    pub goal: Goal,
    /// Score given up to save one US dollar: the `lambda` of the selector.
    pub lambda: f64,
    /// What it is measured to be worth.
    pub expected: Saving,
    /// Average of every figure: `micro` (over queries) or `macro` (over sources).
    pub average: String,
    /// Split it was measured on.
    pub split: String,
    /// Number of folds, where each query was decided by a policy that had not seen it; `None` where the whole split
    /// was not trained on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folds: Option<usize>,
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.expected.fmt(f)
    }
}

impl Promise {
    /// The rows it was measured on.
    pub fn evidence(&self) -> String {
        let (n, split) = (self.expected.n_queries, printable(&self.split));
        match self.folds {
            Some(folds) => {
                format!("{n} queries of split `{split}`, each left out of the fit ({folds} folds)")
            }
            None => format!("{n} queries of split `{split}`, which was not trained on"),
        }
    }
}

/// A share in percent with up to one decimal.
fn percent(share: f64) -> String {
    format!("{} %", figure(100.0 * share))
}

/// Up to two decimals.
fn figure(value: f64) -> String {
    format!("{}", (100.0 * value).round() / 100.0)
}

/// Model names come from logs: a control character could move the cursor.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saving(saving: f64, difference: f64) -> Saving {
        Saving {
            against: "gpt-4".to_owned(),
            saving,
            saving_se: 0.01,
            difference,
            standard_error: 0.0051,
            cost_usd: 0.002,
            n_queries: 100,
        }
    }

    #[test]
    fn a_saving_reads_as_a_sentence() {
        let said = |share, difference| saving(share, difference).to_string();
        assert_eq!(said(0.38, -0.0081), "saves 38 % at -0.8 ± 0.5 points against always `gpt-4`");
        assert_eq!(said(0.002, -0.0001), "saves 0 % at 0.0 ± 0.5 points against always `gpt-4`");
        assert_eq!(said(-0.031, 0.012), "costs 3 % more at +1.2 ± 0.5 points against always `gpt-4`");
        assert_eq!(said(-0.001, 0.0), "saves 0 % at 0.0 ± 0.5 points against always `gpt-4`");
    }

    #[test]
    fn a_goal_is_kept_missed_within_the_error_or_missed() {
        let save = Goal { save: Some(0.4), ..Goal::default() };
        let verdicts = [0.41, 0.385, 0.37].map(|share| save.verdict(&saving(share, -0.5)));
        assert_eq!(verdicts, [Verdict::Kept, Verdict::WithinError, Verdict::Missed]);
        let loss = Goal { max_loss: Some(0.01), ..Goal::default() };
        let verdicts = [-0.01, -0.02, -0.021].map(|loss_by| loss.verdict(&saving(0.5, loss_by)));
        assert_eq!(verdicts, [Verdict::Kept, Verdict::WithinError, Verdict::Missed]);
        // At half the cost of a model of 0.004 dollars, the standard error is 1 % of that.
        let budget = |usd| Goal { budget_usd: Some(usd), ..Goal::default() }.verdict(&saving(0.5, 0.0));
        assert_eq!(
            [budget(0.002), budget(0.00193), budget(0.0019)],
            [Verdict::Kept, Verdict::WithinError, Verdict::Missed]
        );
        let both = Goal { save: Some(0.4), max_loss: Some(0.01), budget_usd: None };
        assert_eq!(both.verdict(&saving(0.41, -0.1)), Verdict::Missed);
    }

    #[test]
    fn a_goal_reads_as_asked() {
        let goal = Goal { save: Some(0.4), max_loss: Some(0.01), budget_usd: None };
        assert_eq!(goal.to_string(), "save 40 % and lose at most 1 points");
        let goal = Goal { budget_usd: Some(0.0005), ..Goal::default() };
        assert_eq!(goal.to_string(), "cost at most 0.0005 USD a query");
    }

    #[test]
    fn the_goal_stands_beside_the_figures() {
        let promise = Promise {
            goal: Goal { save: Some(0.4), ..Goal::default() },
            lambda: 12.5,
            expected: saving(0.41, 0.0),
            average: "micro".to_owned(),
            split: "train".to_owned(),
            folds: Some(5),
        };
        let value = serde_json::to_value(&promise).unwrap();
        assert_eq!((value["save"].as_f64(), value["max_loss"].as_f64()), (Some(0.4), None));
        assert_eq!(serde_json::from_value::<Promise>(value).unwrap(), promise);
        assert_eq!(promise.evidence(), "100 queries of split `train`, each left out of the fit (5 folds)");
    }
}
