//! Tokens that stand for their text wherever it occurs, whatever the rest of the vocabulary would make of it.

use super::Vocabulary;
use super::atoms::Joints;
use std::collections::BTreeMap;

/// Such tokens by their first byte, longest first.
#[derive(Debug, Clone, Default)]
pub(super) struct Literals {
    tokens: BTreeMap<u8, Vec<(Vec<u8>, u32)>>,
    joints: Joints,
}

impl Literals {
    /// The tokens of these ids.
    pub(super) fn new(vocabulary: &Vocabulary, ids: &[u32]) -> Self {
        let mut tokens: BTreeMap<u8, Vec<(Vec<u8>, u32)>> = BTreeMap::new();
        for id in ids {
            let bytes = vocabulary.bytes(*id).to_vec();
            if let Some(first) = bytes.first() {
                tokens.entry(*first).or_default().push((bytes, *id));
            }
        }
        tokens.values_mut().for_each(|list| list.sort_by_key(|(bytes, id)| (usize::MAX - bytes.len(), *id)));
        let texts = ids.iter().map(|id| (vocabulary.bytes(*id).to_vec(), super::Role::Text));
        Self { tokens, joints: Joints::of(&Vocabulary::new(texts)) }
    }

    /// Whether none of them holds `left` followed by `right`.
    pub(super) fn part(&self, left: char, right: char) -> bool {
        self.joints.part(left, right)
    }

    /// Ids of a text, of which `encode` encodes what lies between the tokens.
    pub(super) fn encode(&self, text: &[u8], encode: impl Fn(&[u8]) -> Vec<u32>) -> Vec<u32> {
        if self.tokens.is_empty() {
            return encode(text);
        }
        let mut ids = Vec::new();
        let (mut start, mut at) = (0, 0);
        while at < text.len() {
            let here = self.tokens.get(&text[at]).into_iter().flatten();
            match here.into_iter().find(|(bytes, _)| text[at..].starts_with(bytes)) {
                Some((bytes, id)) => {
                    ids.extend(encode(&text[start..at]));
                    ids.push(*id);
                    at += bytes.len();
                    start = at;
                }
                None => at += 1,
            }
        }
        ids.extend(encode(&text[start..]));
        ids
    }
}
