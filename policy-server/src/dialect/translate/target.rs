//! What a translation has to know of the arm that a request goes to.

/// What becomes of a system turn behind the first turn of the user, for dialects whose system comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LateSystem {
    /// The request is refused: moved to the front, it would mean something else.
    #[default]
    Refuse,
    /// The model takes turns of role `system`.
    Role,
    /// It becomes text of the user, within `<system>`.
    Tagged,
}

/// How a model takes the effort of its thinking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Effort {
    /// Not at all.
    #[default]
    None,
    /// By name: `output_config.effort`, `reasoning_effort`.
    Named,
    /// By a budget of tokens: `thinking.budget_tokens`.
    Budget,
}

/// The arm that a request is translated for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its name at the server.
    pub model: String,
    /// Tokens of output where the request does not say and the dialect asks for it.
    pub max_tokens: u64,
    /// Tokens of output at most.
    pub max_output: u64,
    /// System turns that come late.
    pub late_system: LateSystem,
    /// Effort of thinking.
    pub effort: Effort,
    /// Whether thinking of earlier turns is of its vendor, so that it can be given back.
    pub same_family: bool,
    /// Whether it takes images by address.
    pub image_urls: bool,
    /// Chat: whether the system turn has the role `developer`.
    pub developer_role: bool,
    /// Chat: whether the limit of output is spelled `max_tokens`.
    pub old_max_tokens: bool,
    /// Chat: whether it takes `reasoning_content` of earlier turns.
    pub takes_reasoning: bool,
    /// Whether what would be dropped is refused.
    pub strict: bool,
}

impl Default for Target {
    fn default() -> Self {
        Self {
            model: String::new(),
            max_tokens: 4096,
            max_output: u64::MAX,
            late_system: LateSystem::default(),
            effort: Effort::default(),
            same_family: false,
            image_urls: true,
            developer_role: false,
            old_max_tokens: false,
            takes_reasoning: false,
            strict: false,
        }
    }
}
