//! Tokens of a model by id.

use std::collections::HashMap;

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It stands for its bytes.
    Text,
    /// The model ends its answer with it.
    End,
    /// Put before a text; never part of an answer.
    Begin,
    /// Everything else that stands for no text: unknown, padding, control and unused tokens.
    Control,
}

/// Tokens of a model by id.
#[derive(Debug, Clone, Default)]
pub struct Vocabulary {
    tokens: Vec<(Box<[u8]>, Role)>,
    ids: HashMap<Box<[u8]>, Vec<u32>>,
    ends: Vec<u32>,
    longest: usize,
}

impl Vocabulary {
    /// A vocabulary from the bytes and role of every id; bytes of tokens that are not text are dropped.
    pub fn new(tokens: impl IntoIterator<Item = (Vec<u8>, Role)>) -> Self {
        let mut vocabulary = Self::default();
        for (bytes, role) in tokens {
            vocabulary.push(bytes, role);
        }
        vocabulary
    }

    /// Appends a token and returns its id. Text without bytes is a control token.
    pub fn push(&mut self, bytes: Vec<u8>, role: Role) -> u32 {
        let id = u32::try_from(self.tokens.len()).unwrap_or(u32::MAX);
        let role = if role == Role::Text && bytes.is_empty() { Role::Control } else { role };
        let bytes = if role == Role::Text { bytes.into_boxed_slice() } else { Box::default() };
        match role {
            Role::Text => {
                self.longest = self.longest.max(bytes.len());
                self.ids.entry(bytes.clone()).or_default().push(id);
            }
            Role::End => self.ends.push(id),
            Role::Begin | Role::Control => {}
        }
        self.tokens.push((bytes, role));
        id
    }

    /// Number of ids.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there are no ids.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// The bytes a token stands for; none for a special or unknown id.
    pub fn bytes(&self, id: u32) -> &[u8] {
        self.tokens.get(id as usize).map_or(&[], |(bytes, _)| bytes)
    }

    /// What a token is for; an unknown id is a control token.
    pub fn role(&self, id: u32) -> Role {
        self.tokens.get(id as usize).map_or(Role::Control, |(_, role)| *role)
    }

    /// The ids that stand for exactly these bytes, lowest first.
    pub fn ids(&self, bytes: &[u8]) -> &[u32] {
        self.ids.get(bytes).map_or(&[], Vec::as_slice)
    }

    /// The ids that end an answer.
    pub fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// Ids that make up a text, the longest token first at every place; bytes no token begins with are left out.
    pub fn greedy(&self, text: &[u8]) -> Vec<u32> {
        let mut ids = Vec::new();
        let mut at = 0;
        while at < text.len() {
            let longest = self.longest.min(text.len() - at);
            let found = (1..=longest).rev().find_map(|n| Some((self.ids(&text[at..at + n]).first()?, n)));
            ids.extend(found.map(|(id, _)| *id));
            at += found.map_or(1, |(_, n)| n);
        }
        ids
    }

    /// Length of the longest token in bytes.
    pub fn longest(&self) -> usize {
        self.longest
    }
}
