//! What a translated reply is given besides what the arm says.

/// Names, times and estimates of a reply.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frame {
    /// The id that the caller sees; None for the arm's own.
    pub id: Option<String>,
    /// The model that the caller sees; None for the name the arm says.
    pub model: Option<String>,
    /// Seconds since 1970.
    pub created: u64,
    /// Streams: whether the caller asked for the usage. Messages have it always.
    pub usage: bool,
    /// Responses: names of the caller's tools with free text, see [`super::custom_tools`].
    pub custom_tools: Vec<String>,
    /// Streams: our estimate of the input, which messages begin with.
    pub input_estimate: u64,
}
