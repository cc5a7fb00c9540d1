//! SentencePiece BPE: merge the adjacent pair whose joined piece has the highest score, until none is left.

use super::Vocabulary;

/// Scores of the pieces, by id.
#[derive(Debug, Clone)]
pub(super) struct Scores {
    /// One an id.
    pub(super) scores: Vec<f32>,
    /// Id of byte 0 of the 256 byte pieces, where there are any.
    pub(super) byte_base: Option<u32>,
    /// Id of what cannot be said.
    pub(super) unknown: u32,
}

impl Scores {
    /// Ids of `text`, of which invalid UTF-8 becomes byte pieces.
    pub(super) fn encode(&self, vocabulary: &Vocabulary, text: &[u8]) -> Vec<u32> {
        let mut ids = self.characters(vocabulary, text);
        loop {
            let mut best: Option<(f32, usize, u32)> = None;
            for at in 1..ids.len() {
                let joined = [vocabulary.bytes(ids[at - 1]), vocabulary.bytes(ids[at])].concat();
                for id in vocabulary.ids(&joined) {
                    let score = self.scores[*id as usize];
                    if best.is_none_or(|(highest, ..)| score > highest) {
                        best = Some((score, at, *id));
                    }
                }
            }
            let Some((_, at, id)) = best else { return ids };
            ids[at - 1] = id;
            ids.remove(at);
        }
    }

    fn characters(&self, vocabulary: &Vocabulary, text: &[u8]) -> Vec<u32> {
        let mut ids = Vec::new();
        for chunk in text.utf8_chunks() {
            for character in chunk.valid().chars() {
                let mut buffer = [0; 4];
                let bytes = character.encode_utf8(&mut buffer).as_bytes();
                let own = vocabulary.ids(bytes).iter().find(|id| !self.is_byte(**id));
                match own {
                    Some(id) => ids.push(*id),
                    None => bytes.iter().for_each(|byte| ids.push(self.byte(*byte))),
                }
            }
            chunk.invalid().iter().for_each(|byte| ids.push(self.byte(*byte)));
        }
        ids
    }

    fn is_byte(&self, id: u32) -> bool {
        self.byte_base.is_some_and(|base| (base..base + 256).contains(&id))
    }

    fn byte(&self, byte: u8) -> u32 {
        self.byte_base.map_or(self.unknown, |base| base + u32::from(byte))
    }
}
