//! What a system of fusion is, and the row it is registered by.

use crate::backend::{Backend, Capabilities, NextTokens};
use crate::generation::{FuseError, Generation};
use crate::vocabulary::Vocabulary;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::sync::Arc;

/// Writes answers with several members; shared by all answers.
pub trait Fuser: Send + Sync + Debug {
    /// Writes one answer.
    ///
    /// # Errors
    /// If no member is left, none may fail and one does, the caller has gone, or nothing can be said.
    fn fuse(&self, generation: &mut Generation<'_>) -> Result<(), FuseError>;
}

/// At which grain a system chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Grain {
    /// Every token.
    Token,
    /// Every few words.
    Span,
    /// Every step of a reasoning.
    Process,
}

/// What a system needs of every member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberNeed {
    /// At least so much of the next-token distribution.
    Next(NextTokens),
    /// A declared tokenizer.
    Tokenizer,
    /// Log-probabilities of given texts.
    Scoring,
    /// Hidden states, of the first member.
    HiddenOfFirst,
    /// Embedding matrices.
    Embeddings,
    /// Sessions that fork and roll back at no cost.
    CheapRollback,
}

impl MemberNeed {
    /// What it is called in tables and errors.
    pub fn text(self) -> String {
        match self {
            Self::Next(NextTokens::Full) => "all next-token probabilities".to_owned(),
            Self::Next(NextTokens::Top(k)) => format!("the {k} most probable next tokens"),
            Self::Next(NextTokens::None) => "text".to_owned(),
            Self::Tokenizer => "a declared tokenizer".to_owned(),
            Self::Scoring => "log-probabilities of given texts".to_owned(),
            Self::HiddenOfFirst => "hidden states of the first member".to_owned(),
            Self::Embeddings => "embedding matrices".to_owned(),
            Self::CheapRollback => "sessions that fork at no cost".to_owned(),
        }
    }

    fn is_met(self, at: usize, backend: &dyn Backend) -> bool {
        let can: Capabilities = backend.capabilities();
        match self {
            Self::Next(next) => can.next >= next,
            Self::Tokenizer => backend.tokenizer().is_some(),
            Self::Scoring => can.scoring,
            Self::HiddenOfFirst => at != 0 || can.hidden,
            Self::Embeddings => can.embeddings,
            Self::CheapRollback => can.cheap_rollback,
        }
    }
}

/// A system of fusion.
pub trait System: Fuser + Sized + 'static {
    /// The paper's own name, kebab-case.
    const NAME: &'static str;
    /// What it does, in one line.
    const TITLE: &'static str;
    /// arXiv id, where there is a paper.
    const PAPER: Option<&'static str>;
    /// At which grain it chooses.
    const GRAIN: Grain;
    /// What it needs of every member; checked before the first token.
    const NEEDS: &'static [MemberNeed];
    /// Its parameters; their `Default` is what the documentation shows.
    type Params: Default + Serialize + DeserializeOwned;

    /// Makes what can be made before there is a prompt.
    ///
    /// # Errors
    /// If a parameter is out of range or the members do not fit.
    fn build(params: Self::Params, backends: &[Arc<dyn Backend>]) -> Result<Self, FuseError>;
}

/// Builds a system of its parameters for members.
type Build = fn(&serde_json::Value, &[Arc<dyn Backend>]) -> Result<Box<dyn Fuser>, FuseError>;

/// A registered system; the only place its name is spelled.
#[derive(Debug, Clone, Copy)]
pub struct SystemRow {
    /// Name on the command line and in ensemble files.
    pub name: &'static str,
    /// What it does, in one line.
    pub title: &'static str,
    /// arXiv id, where there is a paper.
    pub paper: Option<&'static str>,
    /// At which grain it chooses.
    pub level: Grain,
    /// What it needs of every member.
    pub needs: &'static [MemberNeed],
    /// Default parameters, an object.
    pub params: fn() -> serde_json::Value,
    build: Build,
}

impl SystemRow {
    pub(crate) const fn of<S: System>() -> Self {
        Self {
            name: S::NAME,
            title: S::TITLE,
            paper: S::PAPER,
            level: S::GRAIN,
            needs: S::NEEDS,
            params: || serde_json::to_value(S::Params::default()).unwrap_or_default(),
            build: |params, backends| {
                let params = serde_json::from_value(params.clone());
                let params = params.map_err(|error| unfit::<S>(&error.to_string()))?;
                Ok(Box::new(S::build(params, backends)?))
            },
        }
    }

    /// The system for these members.
    ///
    /// # Errors
    /// If a member cannot give what is needed, or a parameter is not known or out of range.
    pub fn build(
        &self,
        params: &serde_json::Value,
        backends: &[Arc<dyn Backend>],
    ) -> Result<Box<dyn Fuser>, FuseError> {
        let fail = |reason| Err(FuseError::Unfit { fuser: self.name.to_owned(), reason });
        if backends.is_empty() {
            return fail("there is no member; at least 1 is accepted".to_owned());
        }
        for (at, backend) in backends.iter().enumerate() {
            if let Some(need) = self.needs.iter().find(|need| !need.is_met(at, &**backend)) {
                return fail(format!("member `{}` does not give {}", backend.name(), need.text()));
            }
        }
        (self.build)(params, backends)
    }
}

/// The error of a system that cannot work with what it was given.
pub(crate) fn unfit<S: System>(reason: &str) -> FuseError {
    FuseError::Unfit { fuser: S::NAME.to_owned(), reason: reason.to_owned() }
}

/// The vocabularies of all members.
pub(crate) fn vocabularies<S: System>(backends: &[Arc<dyn Backend>]) -> Result<Vec<&Vocabulary>, FuseError> {
    backends
        .iter()
        .map(|backend| match backend.tokenizer() {
            Some(tokenizer) => Ok(tokenizer.vocabulary()),
            None => Err(unfit::<S>(&format!("member `{}` declares no tokenizer", backend.name()))),
        })
        .collect()
}

/// Weights as given, or equal ones where none are; checked and scaled to sum to 1.
pub(crate) fn weights<S: System>(
    given: Vec<f32>,
    backends: &[Arc<dyn Backend>],
) -> Result<Vec<f32>, FuseError> {
    let given = if given.is_empty() { vec![1.0; backends.len()] } else { given };
    if given.len() != backends.len() {
        let (given, members) = (given.len(), backends.len());
        return Err(unfit::<S>(&format!("{given} weights are given for {members} members")));
    }
    let sum: f32 = given.iter().sum();
    let bad = given.iter().find(|weight| !(weight.is_finite() && **weight >= 0.0));
    if let Some(weight) = bad {
        return Err(unfit::<S>(&format!("weight `{weight}` is not accepted; numbers of at least 0 are")));
    }
    if sum <= 0.0 {
        return Err(unfit::<S>("all weights are 0; at least one must be above"));
    }
    Ok(given.iter().map(|weight| weight / sum).collect())
}
