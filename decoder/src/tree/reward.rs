//! What a chain of steps is worth before it is finished: process rewards.

use super::arithmetic::equations;
use crate::backend::BackendError;
use crate::generation::{FuseError, Generation};
use crate::member::Member;
use std::fmt::Debug;

/// Says what a chain of steps is worth; shared by all answers.
pub trait ProcessReward: Send + Sync + Debug {
    /// What an answer that begins with `chain` is worth, in [0, 1]; `ends` says that it is the whole answer.
    ///
    /// # Errors
    /// If a member that is asked fails and failing is not allowed, or none is left.
    fn reward(&self, generation: &mut Generation<'_>, chain: &[u8], ends: bool) -> Result<f64, FuseError>;
}

/// Process rewards by name.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Reward {
    /// How probable a member finds one verdict rather than another after the chain.
    Verdict(Verdict),
    /// How probable the members find the chain: the mean of `exp` of the mean log-probability of a byte.
    Likelihood,
    /// The share of its equations that are right; 0 where it has none.
    Arithmetic,
}

impl Default for Reward {
    fn default() -> Self {
        Self::Verdict(Verdict::default())
    }
}

/// A verdict and how it is asked for.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Verdict {
    /// Name of the member that judges; all do where empty, and their mean counts.
    pub judge: String,
    /// Text between the chain and the verdict.
    pub question: String,
    /// The verdict that is wished for.
    pub yes: String,
    /// The other one.
    pub no: String,
}

impl Default for Verdict {
    fn default() -> Self {
        let [question, yes, no] = ["\nIs this right?", " Yes", " No"].map(str::to_owned);
        Self { judge: String::new(), question, yes, no }
    }
}

impl Reward {
    /// The process reward of this name.
    pub fn open(self) -> Box<dyn ProcessReward> {
        match self {
            Self::Verdict(verdict) => Box::new(verdict),
            Self::Likelihood => Box::new(Likelihood),
            Self::Arithmetic => Box::new(Arithmetic),
        }
    }

    /// Whether members are asked for log-probabilities of texts.
    pub fn scores(&self) -> bool {
        !matches!(self, Self::Arithmetic)
    }
}

impl ProcessReward for Verdict {
    fn reward(&self, generation: &mut Generation<'_>, chain: &[u8], _ends: bool) -> Result<f64, FuseError> {
        let ahead = [chain, self.question.as_bytes()].concat();
        let names = generation.names().to_vec();
        let judges = |at: usize| self.judge.is_empty() || names[at] == self.judge;
        let told = generation.ask_some(judges, |_, member| {
            unless_full(member.after(&ahead, |member| {
                let (yes, no) = (member.score(self.yes.as_bytes())?, member.score(self.no.as_bytes())?);
                Ok(1.0 / (1.0 + (no - yes).exp()))
            }))
        })?;
        if told.iter().all(Option::is_none) {
            let reason = format!("its judge `{}` was dropped", self.judge);
            return Err(FuseError::Nothing { at: generation.text().len(), reason });
        }
        Ok(mean(&told))
    }
}

#[derive(Debug)]
struct Likelihood;

impl ProcessReward for Likelihood {
    fn reward(&self, generation: &mut Generation<'_>, chain: &[u8], ends: bool) -> Result<f64, FuseError> {
        let likelihood = |member: &mut Member| {
            let whole = if ends { member.score_end(chain)? } else { None };
            let n = chain.len() + usize::from(whole.is_some());
            let score = whole.map_or_else(|| member.score(chain), Ok)?;
            Ok((score / n.max(1) as f64).exp())
        };
        let told = generation.ask(|_, member| unless_full(likelihood(member)))?;
        Ok(mean(&told))
    }
}

#[derive(Debug)]
struct Arithmetic;

impl ProcessReward for Arithmetic {
    fn reward(&self, _generation: &mut Generation<'_>, chain: &[u8], _ends: bool) -> Result<f64, FuseError> {
        let (n, right) = equations(&String::from_utf8_lossy(chain));
        Ok(right as f64 / n.max(1) as f64)
    }
}

/// `NaN` from a judge that cannot read so much: it has no opinion, and is no member less.
fn unless_full(told: Result<f64, BackendError>) -> Result<f64, BackendError> {
    match told {
        Err(error) if error.is_full() => Ok(f64::NAN),
        told => told,
    }
}

fn mean(told: &[Option<f64>]) -> f64 {
    let n = told.iter().flatten().filter(|value| !value.is_nan()).count().max(1);
    told.iter().flatten().filter(|value| value.is_finite()).sum::<f64>() / n as f64
}
