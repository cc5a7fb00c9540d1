//! The union of all vocabularies, token by token as byte strings (GaC, arXiv 2406.12585).
//!
//! The space is sorted, so that it is the same in every process. Ids that stand for the same bytes share a unit,
//! ends of answers share unit 0, other special tokens have none. A map is one index an id: a projection is a
//! scatter, no matrix.

use super::{Align, Aligned, END};
use crate::backend::BackendError;
use crate::distribution::Distribution;
use crate::member::Member;
use crate::vocabulary::{Role, Vocabulary};
use routewright_data::dense::exp;
use std::borrow::Cow;

/// No unit.
const NOWHERE: u32 = u32::MAX;

/// Byte strings of several vocabularies.
#[derive(Debug, Clone)]
pub struct Space {
    units: Vec<Box<[u8]>>,
    /// Unit of every id, by vocabulary.
    maps: Vec<Vec<u32>>,
}

impl Space {
    /// The union of `vocabularies`.
    pub fn union(vocabularies: &[&Vocabulary]) -> Self {
        let mut tokens: Vec<(&[u8], u32, u32)> = Vec::new();
        for (which, vocabulary) in vocabularies.iter().enumerate() {
            for id in 0..index(vocabulary.len()) {
                if vocabulary.role(id) == Role::Text {
                    tokens.push((vocabulary.bytes(id), index(which), id));
                }
            }
        }
        tokens.sort_unstable();
        let mut maps: Vec<Vec<u32>> = vocabularies.iter().map(|v| vec![NOWHERE; v.len()]).collect();
        let mut units: Vec<Box<[u8]>> = vec![Box::default()];
        let mut last: Option<&[u8]> = None;
        for (bytes, which, id) in tokens {
            if last != Some(bytes) {
                units.push(bytes.into());
                last = Some(bytes);
            }
            maps[which as usize][id as usize] = index(units.len() - 1);
        }
        for (vocabulary, map) in vocabularies.iter().zip(&mut maps) {
            for id in vocabulary.ends() {
                map[*id as usize] = index(END);
            }
        }
        Self { units, maps }
    }

    /// Bytes of the units; unit 0 is the end.
    pub fn units(&self) -> &[Box<[u8]>] {
        &self.units
    }

    /// Masses over the units of masses over the ids of vocabulary `which`.
    pub fn spread(&self, which: usize, by_id: &[f32]) -> Vec<f32> {
        let mut mass = vec![0.0; self.units.len()];
        for (unit, p) in self.maps[which].iter().zip(by_id) {
            if *unit != NOWHERE {
                mass[*unit as usize] += p;
            }
        }
        mass
    }

    /// Masses over the units of what vocabulary `which` has.
    pub fn project(&self, which: usize, told: &Distribution) -> Vec<f32> {
        let mut mass = vec![0.0; self.units.len()];
        let map = &self.maps[which];
        match told {
            Distribution::Full(all) => {
                for (unit, p) in map.iter().zip(all) {
                    // Below this a token adds nothing to a sum of f32; most ids are.
                    if *unit != NOWHERE && *p > -80.0 {
                        mass[*unit as usize] += exp(*p);
                    }
                }
            }
            Distribution::Top { entries, .. } => {
                for (id, p) in entries {
                    if let Some(unit) = map.get(*id as usize).filter(|unit| **unit != NOWHERE) {
                        mass[*unit as usize] += p.exp();
                    }
                }
            }
        }
        mass
    }
}

/// Aligns in a [`Space`] built once.
#[derive(Debug, Clone)]
pub struct Union {
    space: Space,
}

impl Union {
    /// Members whose vocabularies have this union, in order.
    pub fn new(space: Space) -> Self {
        Self { space }
    }
}

impl Align for Union {
    fn align<'a>(
        &'a self,
        _members: &mut [Option<Member>],
        told: &[Option<Distribution>],
    ) -> Result<Aligned<'a>, BackendError> {
        let mass = told.iter().enumerate();
        let mass = mass.map(|(which, told)| told.as_ref().map(|told| self.space.project(which, told)));
        Ok(Aligned { units: Cow::Borrowed(&self.space.units), mass: mass.collect() })
    }
}

fn index(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(NOWHERE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vocabulary(tokens: &[&str]) -> Vocabulary {
        let text = tokens.iter().map(|token| (token.as_bytes().to_vec(), Role::Text));
        Vocabulary::new(text.chain([(Vec::new(), Role::End), (Vec::new(), Role::Control)]))
    }

    #[test]
    fn ids_of_the_same_bytes_share_a_unit_and_ends_meet() {
        let (a, b) = (vocabulary(&["a", "b", "a"]), vocabulary(&["ab", "b"]));
        let space = Space::union(&[&a, &b]);
        let units: Vec<&[u8]> = space.units().iter().map(|unit| &**unit).collect();
        assert_eq!(units, [&b""[..], b"a", b"ab", b"b"]);
        let told = Distribution::from_logits([0.1_f32, 0.2, 0.3, 0.15, 0.25].map(f32::ln).to_vec()).unwrap();
        let mass = space.project(0, &told);
        for (mass, expected) in mass.iter().zip([0.15, 0.4, 0.0, 0.2]) {
            assert!((mass - expected).abs() < 1e-6, "{mass} {expected}");
        }
        let told = Distribution::from_top(vec![(1, 0.5_f32.ln()), (2, 0.25_f32.ln())]).unwrap();
        let mass = space.project(1, &told);
        assert!((mass[END] - 0.25).abs() < 1e-6 && (mass[3] - 0.5).abs() < 1e-6 && mass[2] == 0.0);
    }
}
