//! What a translation could not carry over: said to the caller, or refused.

use std::fmt;

/// Fields named at most; what is beyond is counted in the last.
const NOTES_MAX: usize = 64;

/// A field that was left out or changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// Its path in the body that came, as `messages[2].name`.
    pub field: String,
    /// Why, or what became of it.
    pub why: &'static str,
}

/// Why a body cannot be said in the other dialect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The path of the field.
    pub field: String,
    /// What is wrong with it and what would be accepted.
    pub reason: String,
    /// Whether the body is wrong in every dialect (status 400); else another model may take it (422 if none does).
    pub is_invalid: bool,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` {}", self.field, self.reason)
    }
}

impl std::error::Error for Refused {}

/// A field this dialect cannot say.
pub(super) fn unfit(field: impl Into<String>, reason: impl Into<String>) -> Refused {
    Refused { field: field.into(), reason: reason.into(), is_invalid: false }
}

/// A field that is wrong.
pub(super) fn invalid(field: impl Into<String>, reason: impl Into<String>) -> Refused {
    Refused { field: field.into(), reason: reason.into(), is_invalid: true }
}

/// Collects what is dropped.
#[derive(Debug, Default)]
pub(super) struct Notes {
    dropped: Vec<Dropped>,
    /// Every drop is a refusal.
    is_strict: bool,
}

impl Notes {
    pub(super) fn new(is_strict: bool) -> Self {
        Self { dropped: Vec::new(), is_strict }
    }

    /// A field is left out or changed.
    pub(super) fn drop(&mut self, field: impl Into<String>, why: &'static str) -> Result<(), Refused> {
        let field = field.into();
        if self.is_strict {
            return Err(unfit(field, format!("cannot be translated ({why}), and translation is strict")));
        }
        let is_known = self.dropped.iter().any(|dropped| dropped.field == field);
        if !is_known && self.dropped.len() < NOTES_MAX {
            self.dropped.push(Dropped { field, why });
        } else if !is_known && self.dropped.len() == NOTES_MAX {
            self.dropped.push(Dropped { field: "...".to_owned(), why: "more fields than are named" });
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Vec<Dropped> {
        self.dropped
    }
}
