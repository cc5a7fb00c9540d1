//! Why a selector cannot be calibrated.

use routewright_data::stats::Thin;
use routewright_policy::artifact::{Goal, Saving};
use routewright_policy::selectors::SelectorError;

/// Why a target cannot be met.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CalibrateError {
    /// There is nothing to calibrate on.
    #[error("cannot calibrate: there is no {what}")]
    Empty {
        /// What is missing.
        what: &'static str,
    },
    /// The target is out of range.
    #[error("cannot calibrate to {what} `{target}`, expected {expected}")]
    Target {
        /// What was asked for.
        what: &'static str,
        /// The target.
        target: f64,
        /// What would be accepted.
        expected: &'static str,
    },
    /// Too few queries have several scores.
    #[error("cannot calibrate: {0}")]
    Thin(Thin),
    /// The best model has no price, so that nothing can be saved against it.
    #[error(
        "cannot calibrate: the log has no `cost_usd` of `{model}`, the best single model, or it costs nothing; \
         expected its cost on the queries it answered"
    )]
    Unpriced {
        /// The best single model.
        model: String,
    },
    /// The price of money cannot steer the policy.
    #[error("cannot calibrate `{name}`: {reason}")]
    Policy {
        /// Method, or policy.
        name: String,
        /// Why, and what would be accepted.
        reason: &'static str,
    },
    /// No price of money meets the goal.
    #[error(transparent)]
    OutOfReach(#[from] Box<OutOfReach>),
    /// The selector cannot be built for these arms.
    #[error(transparent)]
    Selector(#[from] SelectorError),
}

/// A goal that no price of money meets, and the nearest that one does.
#[derive(Debug, Clone, PartialEq, thiserror::Error, serde::Serialize)]
#[error("cannot {goal}: {}", self.reason())]
pub struct OutOfReach {
    /// What was asked for.
    pub goal: Goal,
    /// The nearest operating point; `None` where no price of money saves anything that can be measured.
    pub nearest: Option<Saving>,
    /// A goal of the same kind that the nearest point meets.
    pub reachable: Goal,
    /// The best single model, where no other model costs less.
    pub cheapest: Option<String>,
}

impl OutOfReach {
    fn reason(&self) -> String {
        let always = self.cheapest.as_ref().map(|model| {
            format!("`{model}` scores best and costs least, so that calling it always is best and nothing can be saved")
        });
        let nearest = self.nearest.as_ref().map(|nearest| match self.flags().as_str() {
            "" => format!("the nearest that can be had {nearest}"),
            flags => format!("the nearest that can be had {nearest}; `{flags}` would reach it"),
        });
        let parts: Vec<String> = [always, nearest].into_iter().flatten().collect();
        if parts.is_empty() { "no price of money saves anything".to_owned() } else { parts.join("; ") }
    }

    /// Options that ask for what can be had.
    fn flags(&self) -> String {
        let save = self.reachable.save.map(|share| format!("--save {:.0}%", 100.0 * share));
        let loss = self.reachable.max_loss.map(|loss| format!("--max-loss {loss:.4}"));
        let budget = self.reachable.budget_usd.map(|usd| format!("--budget {usd:.3e}"));
        let flags: Vec<String> = [save, loss, budget].into_iter().flatten().collect();
        flags.join(" ")
    }
}
