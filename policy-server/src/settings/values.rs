//! What every section shares: the error, secrets, the rule of names.

use std::fmt;

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file could not be read.
    #[error(transparent)]
    File(#[from] routewright_data::files::FileError),
    /// The file is not what `server.toml` may hold.
    #[error("cannot read configuration `{path}`: {reason}")]
    Syntax {
        /// The file.
        path: String,
        /// What the reader said, with line and column.
        reason: String,
    },
    /// A value is not accepted.
    #[error("`{key}` is `{value}`, expected {expected}")]
    Value {
        /// Dotted key.
        key: String,
        /// Value given.
        value: String,
        /// What would be accepted.
        expected: String,
    },
    /// An address cannot be listened on.
    #[error("`{key}`: {reason}")]
    Address {
        /// Dotted key.
        key: String,
        /// The value, why, and what would be accepted.
        reason: String,
    },
    /// An environment variable that holds a secret is missing.
    #[error("`{key}` names environment variable `{name}`, which is not set")]
    Environment {
        /// Dotted key.
        key: String,
        /// Variable asked for.
        name: String,
    },
}

/// A secret from the environment; never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The secret itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// What a policy may be called: it stands in URLs, headers and labels.
pub(crate) const NAME_RULE: &str = "1 to 64 letters, digits, `.`, `_` or `-`";

/// Whether a policy may be called so.
pub(crate) fn is_name(name: &str) -> bool {
    let accepted = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !name.is_empty() && name.len() <= 64 && name.chars().all(accepted)
}
