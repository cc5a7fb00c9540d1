//! Tokens of one vocabulary as the most similar of another: the identical byte string, else the one of least edit
//! distance (MinED, as PackLLM uses it, arXiv 2404.11531).
//!
//! The first member is the reference: its tokens are the units. Another member's mass of a unit is that of the
//! token it is mapped to, so one token may count for several units, and masses are scaled to 1 again.

use super::bytes::Trie;
use super::union::Space;
use super::{Align, Aligned, END, Unlisted};
use crate::backend::BackendError;
use crate::distribution::Distribution;
use crate::mass::scaled;
use crate::member::Member;
use crate::vocabulary::Vocabulary;
use rayon::prelude::*;
use std::borrow::Cow;

/// Units of the reference, and for every member the ids they are mapped to.
#[derive(Debug, Clone)]
pub struct MinEdit {
    space: Space,
    reference: usize,
    /// By member and unit; none for the reference.
    maps: Vec<Vec<u32>>,
}

impl MinEdit {
    /// Maps all vocabularies to that of `reference`.
    pub fn new(vocabularies: &[&Vocabulary], reference: usize) -> Self {
        let space = Space::union(&[vocabularies[reference]]);
        let map = |(which, vocabulary): (usize, &&Vocabulary)| {
            if which == reference {
                return Vec::new();
            }
            let trie = Trie::new(vocabulary);
            space.units().par_iter().map(|unit| nearest(unit, vocabulary, &trie)).collect()
        };
        let maps = vocabularies.iter().enumerate().map(map).collect();
        Self { space, reference, maps }
    }

    /// The mass `told` of member `which` gives every unit, as the mapped tokens have it, not scaled.
    pub fn gather(&self, which: usize, told: &Distribution, vocabulary: &Vocabulary) -> Vec<f32> {
        if which == self.reference {
            return self.space.project(0, told);
        }
        let p = |id: u32| told.log_prob(id).map_or(0.0, f32::exp);
        let mut mass: Vec<f32> = self.maps[which].iter().map(|id| p(*id)).collect();
        mass[END] = vocabulary.ends().iter().map(|id| p(*id)).sum();
        mass
    }

    /// The ids of a text of the reference as those of member `which`, one by one.
    pub fn translate(&self, which: usize, ids: &[u32], reference: &Vocabulary) -> Vec<u32> {
        if which == self.reference {
            return ids.to_vec();
        }
        let unit = |id: &u32| self.space.find(reference.bytes(*id)).unwrap_or(END);
        ids.iter().map(|id| self.maps[which][unit(id)]).collect()
    }

    /// The units.
    pub fn space(&self) -> &Space {
        &self.space
    }
}

impl Align for std::sync::Arc<MinEdit> {
    fn align<'a>(
        &'a self,
        members: &mut [Option<Member>],
        told: &[Option<Distribution>],
    ) -> Result<Aligned<'a>, BackendError> {
        let mut unlisted = vec![Unlisted::default(); told.len()];
        let mass = members.iter().zip(told).enumerate().map(|(which, (member, told))| {
            let (told, vocabulary) = (told.as_ref()?, member.as_ref()?.vocabulary());
            let mass = self.gather(which, told, vocabulary);
            unlisted[which].mass = told.unlisted(vocabulary.len());
            if which == self.reference {
                return Some(mass);
            }
            unlisted[which].mass /= mass.iter().sum::<f32>().max(f32::MIN_POSITIVE);
            scaled(mass)
        });
        let mass = mass.collect();
        Ok(Aligned { units: Cow::Borrowed(self.space.units()), mass, unlisted })
    }
}

/// The id of the token most like `unit`; of equally near ones the first in the order of their bytes.
fn nearest(unit: &[u8], vocabulary: &Vocabulary, trie: &Trie) -> u32 {
    if let Some(id) = vocabulary.ids(unit).first() {
        return *id;
    }
    // A token is known to be within the furthest bound. Narrow bounds leave most of the tree out, and the first one
    // that finds a token finds the nearest.
    let furthest = within(unit, vocabulary);
    for bound in 1..=furthest {
        let mut rows: Vec<usize> = (0..=unit.len()).collect();
        let mut search = Search { unit, trie, distance: bound.saturating_add(1), id: None };
        search.descend(0, &mut rows, 0);
        match search.id {
            Some(id) => return id,
            // Nothing of the unit is a token: any token may be the nearest, and one search tells.
            None if furthest == usize::MAX => break,
            None => {}
        }
    }
    let mut rows: Vec<usize> = (0..=unit.len()).collect();
    let mut search = Search { unit, trie, distance: usize::MAX, id: None };
    search.descend(0, &mut rows, 0);
    search.id.unwrap_or(0)
}

/// A distance within which there is a token: the longest one that begins `unit` at its start, behind its first byte or
/// behind the second, the rest left out.
fn within(unit: &[u8], vocabulary: &Vocabulary) -> usize {
    let ends = |from: usize| {
        let rest = unit.get(from..)?;
        let longest = (1..=rest.len()).rev().find(|n| !vocabulary.ids(&rest[..*n]).is_empty())?;
        Some(unit.len() - longest)
    };
    (0..3).filter_map(ends).min().unwrap_or(usize::MAX)
}

/// Walks the tree with one row of the table of edit distances a node, leaving out what cannot get nearer.
struct Search<'a> {
    unit: &'a [u8],
    trie: &'a Trie,
    distance: usize,
    id: Option<u32>,
}

impl Search<'_> {
    /// `rows` has a row for every node above, the last at `above`.
    fn descend(&mut self, node: u32, rows: &mut Vec<usize>, above: usize) {
        let trie = self.trie;
        let own = above + self.unit.len() + 1;
        rows.resize(rows.len().max(own + self.unit.len() + 1), 0);
        for child in trie.children(node) {
            let byte = trie.byte(child);
            rows[own] = rows[above] + 1;
            let mut least = rows[own];
            for (at, unit) in self.unit.iter().enumerate() {
                let changed = rows[above + at] + usize::from(*unit != byte);
                let here = changed.min(rows[above + at + 1] + 1).min(rows[own + at] + 1);
                rows[own + at + 1] = here;
                least = least.min(here);
            }
            let here = rows[own + self.unit.len()];
            if let Some(id) = trie.tokens(child).first().filter(|_| here < self.distance) {
                (self.distance, self.id) = (here, Some(*id));
            }
            if least < self.distance {
                self.descend(child, rows, own);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::Role;
    use routewright_data::rng;

    fn vocabulary(tokens: &[&str]) -> Vocabulary {
        let text = tokens.iter().map(|token| (token.as_bytes().to_vec(), Role::Text));
        Vocabulary::new(text.chain([(Vec::new(), Role::End)]))
    }

    fn distance(a: &[u8], b: &[u8]) -> usize {
        let mut row: Vec<usize> = (0..=b.len()).collect();
        for (i, x) in a.iter().enumerate() {
            let mut before = row[0];
            row[0] = i + 1;
            for (j, y) in b.iter().enumerate() {
                let next = (before + usize::from(x != y)).min(row[j] + 1).min(row[j + 1] + 1);
                before = std::mem::replace(&mut row[j + 1], next);
            }
        }
        row[b.len()]
    }

    #[test]
    fn the_nearest_token_is_as_near_as_any() {
        use rand::RngExt as _;
        let mut rng = rng::stream(1, "words");
        let mut word = || -> String {
            let n = rng.random_range(1..7);
            (0..n).map(|_| char::from(b'a' + rng.random_range(0..4_u8))).collect()
        };
        let words: Vec<String> = (0..60).map(|_| word()).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let vocabulary = vocabulary(&words);
        let trie = Trie::new(&vocabulary);
        for _ in 0..200 {
            let unit = word();
            let found =
                distance(unit.as_bytes(), vocabulary.bytes(nearest(unit.as_bytes(), &vocabulary, &trie)));
            let least = words.iter().map(|other| distance(unit.as_bytes(), other.as_bytes())).min();
            assert_eq!(Some(found), least, "{unit}");
        }
    }

    #[test]
    fn a_token_counts_for_every_unit_it_is_the_nearest_of() {
        let (a, b) = (vocabulary(&["walk", "walks", "x"]), vocabulary(&["walk", "y"]));
        let aligned = MinEdit::new(&[&a, &b], 0);
        let told = Distribution::from_logits([0.5_f32, 0.3, 0.2].map(f32::ln).to_vec()).unwrap();
        let mass = aligned.gather(1, &told, &b);
        for (mass, expected) in mass.iter().zip([0.2, 0.5, 0.5, 0.3]) {
            assert!((mass - expected).abs() < 1e-6, "{mass} {expected}");
        }
        assert_eq!(aligned.translate(1, &[1, 2], &a), [0, 1]);
    }
}
