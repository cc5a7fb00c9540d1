//! The tokens of a vocabulary as a tree of bytes, laid out depth first.
//!
//! The subtree of node `n` is `n..end[n]`; node 0 is the root. One pass from the last node to the first sums the
//! probabilities of all tokens below every node.

use crate::distribution::Distribution;
use crate::vocabulary::{Role, Vocabulary};

/// A tree of tokens.
#[derive(Debug, Clone)]
pub struct Trie {
    byte: Vec<u8>,
    parent: Vec<u32>,
    end: Vec<u32>,
    /// Tokens that end at a node: `tokens[first[n]..first[n + 1]]`.
    first: Vec<u32>,
    tokens: Vec<u32>,
    /// Node a token ends at; the root for tokens that are no text.
    node: Vec<u32>,
    ends: Vec<u32>,
}

/// What a distribution says of every node.
#[derive(Debug, Clone)]
pub struct Masses {
    told: Distribution,
    below: Vec<f32>,
    end: f32,
    unlisted: f32,
}

impl Trie {
    /// The tree of all text tokens.
    pub fn new(vocabulary: &Vocabulary) -> Self {
        let ids = 0..u32::try_from(vocabulary.len()).unwrap_or(u32::MAX);
        let mut words: Vec<(&[u8], u32)> = ids
            .filter(|id| vocabulary.role(*id) == Role::Text)
            .map(|id| (vocabulary.bytes(id), id))
            .collect();
        words.sort_unstable();
        let mut trie = Self {
            byte: vec![0],
            parent: vec![0],
            end: Vec::new(),
            first: vec![0],
            tokens: Vec::new(),
            node: vec![0; vocabulary.len()],
            ends: vocabulary.ends().to_vec(),
        };
        // The nodes from the root to the word before; sorted words share a beginning of it.
        let mut path: Vec<u32> = vec![0];
        let mut before: &[u8] = &[];
        for (word, id) in words {
            let shared = before.iter().zip(word).take_while(|(a, b)| a == b).count();
            path.truncate(shared + 1);
            for byte in &word[shared..] {
                let parent = path[path.len() - 1];
                path.push(trie.push(*byte, parent));
            }
            trie.node[id as usize] = path[path.len() - 1];
            trie.tokens.push(id);
            before = word;
        }
        trie.close();
        trie
    }

    fn push(&mut self, byte: u8, parent: u32) -> u32 {
        self.byte.push(byte);
        self.parent.push(parent);
        index(self.byte.len() - 1)
    }

    /// Subtree ends and token ranges, once all nodes are there.
    fn close(&mut self) {
        let n = self.byte.len();
        self.end = (1..=n).map(index).collect();
        for node in (1..n).rev() {
            let parent = self.parent[node] as usize;
            self.end[parent] = self.end[parent].max(self.end[node]);
        }
        let mut counts = vec![0; n + 1];
        self.tokens.iter().for_each(|id| counts[self.node[*id as usize] as usize + 1] += 1);
        for node in 0..n {
            counts[node + 1] += counts[node];
        }
        self.first = counts;
        // Words are sorted and nodes laid out in their order, so the tokens stand in the order of their nodes.
    }

    /// Number of nodes.
    pub fn len(&self) -> usize {
        self.byte.len()
    }

    /// Whether there is no token.
    pub fn is_empty(&self) -> bool {
        self.byte.len() <= 1
    }

    /// The child of a node along a byte.
    pub fn child(&self, node: u32, byte: u8) -> Option<u32> {
        self.children(node).find(|child| self.byte[*child as usize] == byte)
    }

    /// The children of a node, by byte.
    pub fn children(&self, node: u32) -> impl Iterator<Item = u32> + '_ {
        let end = self.end[node as usize];
        let mut next = node + 1;
        std::iter::from_fn(move || {
            (next < end).then(|| {
                let child = next;
                next = self.end[child as usize];
                child
            })
        })
    }

    /// The byte that leads to a node.
    pub fn byte(&self, node: u32) -> u8 {
        self.byte[node as usize]
    }

    /// The tokens whose bytes end at a node.
    pub fn tokens(&self, node: u32) -> &[u32] {
        let node = node as usize;
        &self.tokens[self.first[node] as usize..self.first[node + 1] as usize]
    }

    /// The mass of every node.
    pub fn masses(&self, told: Distribution) -> Masses {
        let mut below = vec![0.0; self.byte.len()];
        let p = |id: u32| told.log_prob(id).map_or(0.0, f32::exp);
        match &told {
            Distribution::Full(all) => {
                for (id, node) in self.node.iter().enumerate() {
                    below[*node as usize] += all.get(id).map_or(0.0, |p| p.exp());
                }
            }
            Distribution::Top { entries, .. } => {
                for (id, p) in entries {
                    if let Some(node) = self.node.get(*id as usize) {
                        below[*node as usize] += p.exp();
                    }
                }
            }
        }
        // Nothing ends at the root: what was put there is no text.
        below[0] = 0.0;
        for node in (1..below.len()).rev() {
            below[self.parent[node] as usize] += below[node];
        }
        let end = self.ends.iter().map(|id| p(*id)).sum();
        let unlisted = told.unlisted(self.node.len());
        Masses { told, below, end, unlisted }
    }
}

impl Masses {
    /// Probability of all tokens through a node.
    pub fn below(&self, node: u32) -> f32 {
        self.below[node as usize]
    }

    /// Natural log-probability of one token; negative infinity where it is not known.
    pub fn token(&self, id: u32) -> f32 {
        self.told.log_prob(id).unwrap_or(f32::NEG_INFINITY)
    }

    /// Probability of the end of the answer.
    pub fn end(&self) -> f32 {
        self.end
    }

    /// Probability of one token that the list lacks; 0 where it lacks none.
    pub fn unlisted(&self) -> f32 {
        self.unlisted
    }
}

fn index(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masses_are_sums_over_all_tokens_with_that_beginning() {
        let words = ["b", "ab", "a", "abc", "b", "ac"];
        let text = words.iter().map(|word| (word.as_bytes().to_vec(), Role::Text));
        let vocabulary = Vocabulary::new(text.chain([(Vec::new(), Role::End), (Vec::new(), Role::Control)]));
        let trie = Trie::new(&vocabulary);
        assert_eq!(trie.len(), 6);
        let p = [0.05_f32, 0.1, 0.15, 0.2, 0.25, 0.05, 0.15, 0.05];
        let masses = trie.masses(Distribution::from_logits(p.map(f32::ln).to_vec()).unwrap());
        let at = |text: &[u8]| text.iter().fold(0, |node, byte| trie.child(node, *byte).unwrap());
        for (text, mass) in [("a", 0.5), ("ab", 0.3), ("abc", 0.2), ("ac", 0.05), ("b", 0.3)] {
            assert!((masses.below(at(text.as_bytes())) - mass).abs() < 1e-6, "{text}");
        }
        assert!((masses.end() - 0.15).abs() < 1e-6);
        assert_eq!(trie.tokens(at(b"b")), [0, 4]);
        assert_eq!(trie.tokens(at(b"abc")), [3]);
        assert!(trie.tokens(0).is_empty() && trie.child(0, b'c').is_none());
        let bytes: Vec<u8> = trie.children(at(b"a")).map(|child| trie.byte(child)).collect();
        assert_eq!(bytes, b"bc");
    }
}
