//! A conversation that is to be answered: who said what.

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Message {
    /// Who said it: `system`, `user` or `assistant`; others as a model's template knows them.
    pub role: String,
    /// What was said.
    pub content: String,
}

impl Message {
    /// Something a user said.
    pub fn user(content: &str) -> Self {
        Self { role: "user".to_owned(), content: content.to_owned() }
    }
}

/// A conversation as plain text, which is what models without a template read: contents, a line break between them.
pub fn joined(chat: &[Message]) -> String {
    chat.iter().map(|message| message.content.as_str()).collect::<Vec<_>>().join("\n")
}
