//! The text of a query: what of a request is routed on.
//!
//! A policy is trained on texts of a log and serves texts of requests; both come from here, so that they are the same
//! bytes. [`read`](read()) and [`stored`] turn a request of any API into a [`Conversation`], and a [`QueryText`]
//! turns that into one text. The importers, the server and `routewright route` have no other way.
//!
//! The rule is named in the log ([`LOG_KEY`]) and in the manifest of an artifact, which serves by its own rule.

mod read;

pub use read::{Dialect, Unreadable, has_turns, read, stored, stored_body};

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Key of the Parquet metadata of a log under which its rule is named.
pub const LOG_KEY: &str = "routewright.query_text";

/// Bytes of a joined text, at most: older turns are left out beyond it. Part of every rule: a change of it needs new
/// names.
pub const JOINED_BYTES_MAX: usize = 16_384;

/// Text between two turns.
const BETWEEN: &str = "\n\n";

/// Which turns of a conversation are the text of its query.
///
/// Turns are joined by an empty line, oldest first. Where that is longer than [`JOINED_BYTES_MAX`], the oldest turns
/// are left out whole; system prompts the rule takes and the newest turn of the user are always kept. A plain text is
/// one turn of the user: every rule gives it back as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QueryText {
    /// All turns of the user.
    #[default]
    Users,
    /// The last turn of the user that has text.
    LastUser,
    /// System prompts and all turns of the user.
    WithSystem,
    /// Every turn: system prompts, user, assistant, tools.
    Full,
}

impl QueryText {
    /// Every rule, in the order of the documentation.
    pub const ALL: [Self; 4] = [Self::Users, Self::LastUser, Self::WithSystem, Self::Full];

    /// The rule of artifacts that name none: what the server did before rules had names.
    pub const UNNAMED: Self = Self::LastUser;

    /// Name on the command line, in logs and manifests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Users => "users",
            Self::LastUser => "last-user",
            Self::WithSystem => "with-system",
            Self::Full => "full",
        }
    }

    /// What it takes, in a few words.
    pub fn title(self) -> &'static str {
        match self {
            Self::Users => "all turns of the user",
            Self::LastUser => "the last turn of the user",
            Self::WithSystem => "the system prompt and all turns of the user",
            Self::Full => "every turn",
        }
    }

    /// The text of a conversation; `None` where no turn of the user has text.
    pub fn text(self, conversation: &Conversation) -> Option<String> {
        let newest = conversation.turns.iter().rposition(|turn| turn.role == Role::User)?;
        if self == Self::LastUser {
            return Some(conversation.turns[newest].text.clone());
        }
        let turns = &conversation.turns;
        let taken: Vec<usize> = (0..turns.len()).filter(|&at| self.takes(turns[at].role)).collect();
        let is_fixed = |at: usize| at == newest || turns[at].role == Role::System;
        let length = |at: usize| turns[at].text.len() + BETWEEN.len();
        let fixed = taken.iter().filter(|&&at| is_fixed(at)).map(|&at| length(at)).sum::<usize>();
        let mut room = (JOINED_BYTES_MAX + BETWEEN.len()).saturating_sub(fixed);
        let mut is_full = false;
        let mut kept: Vec<&str> = Vec::with_capacity(taken.len());
        for &at in taken.iter().rev() {
            if !is_fixed(at) {
                is_full |= length(at) > room;
                if is_full {
                    continue;
                }
                room -= length(at);
            }
            kept.push(&turns[at].text);
        }
        kept.reverse();
        Some(kept.join(BETWEEN))
    }

    fn takes(self, role: Role) -> bool {
        match self {
            Self::Users | Self::LastUser => role == Role::User,
            Self::WithSystem => matches!(role, Role::User | Role::System),
            Self::Full => true,
        }
    }
}

impl fmt::Display for QueryText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for QueryText {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|rule| rule.name() == text).ok_or_else(|| {
            let known: Vec<String> = Self::ALL.iter().map(|rule| format!("`{rule}`")).collect();
            format!("unknown query text `{text}`; known: {}", known.join(", "))
        })
    }
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `system`, `developer`, and system prompts beside the turns.
    System,
    /// `user`, `human`, and turns without a role.
    User,
    /// `assistant` and its other names.
    Assistant,
    /// Results of tools and functions.
    Tool,
    /// Any other role.
    Other,
}

/// One turn with text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// Who speaks.
    pub role: Role,
    /// What was said; not empty.
    pub text: String,
}

/// A request as its turns, whatever API it was made for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Conversation {
    /// Turns that have text, oldest first; system prompts that stood beside the turns come first.
    pub turns: Vec<Turn>,
    /// Whether the user sent something else than text: an image, a sound, a file.
    pub has_media: bool,
}

impl Conversation {
    /// A plain text: one turn of the user.
    pub fn of_text(text: impl Into<String>) -> Self {
        let mut conversation = Self::default();
        conversation.push(Role::User, text.into());
        conversation
    }

    /// The turns before the first answer: what a policy would have seen that decided who answers.
    #[must_use]
    pub fn before_answer(mut self) -> Self {
        if let Some(at) = self.turns.iter().position(|turn| turn.role == Role::Assistant) {
            self.turns.truncate(at);
        }
        self
    }

    fn push(&mut self, role: Role, text: String) {
        if !text.is_empty() {
            self.turns.push(Turn { role, text });
        }
    }
}
