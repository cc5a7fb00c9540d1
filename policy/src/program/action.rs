//! What a policy asks for: calls, or the reply.

use super::Prompt;

/// What a policy does next.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Calls that run at the same time; not empty.
    Call(Vec<Call>),
    /// The end.
    Return(Reply),
}

/// One prompt to one callee.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// Who is called.
    pub callee: Callee,
    /// What is sent.
    pub prompt: Prompt,
    /// Answers drawn, at least 1.
    pub samples: u32,
    /// Longest answer, tokens; `None` leaves it to the host.
    pub max_tokens: Option<u32>,
    /// Temperature of the samples; `None` leaves it to the host.
    pub temperature: Option<f32>,
}

impl Call {
    /// One answer of an arm to the query as it is.
    pub fn arm(arm: usize) -> Self {
        Self {
            callee: Callee::Arm(arm),
            prompt: Prompt::Query,
            samples: 1,
            max_tokens: None,
            temperature: None,
        }
    }

    /// The arm called; `None` for a fused ensemble or a tool.
    pub fn arm_index(&self) -> Option<usize> {
        match self.callee {
            Callee::Arm(arm) => Some(arm),
            Callee::Fusion(_) | Callee::Tool(_) => None,
        }
    }
}

/// Who is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Callee {
    /// Arm of the policy, by index.
    Arm(usize),
    /// Fused ensemble, by name.
    Fusion(String),
    /// Code that the host runs, by name.
    Tool(&'static str),
}

/// How an episode ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// One of the answers, by its place in the episode.
    Answer(usize),
    /// A text of the policy's own.
    Text(String),
    /// No reply: every call failed, or none could be afforded.
    Abstain,
}
