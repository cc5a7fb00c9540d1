//! Tokens of one vocabulary as the most similar of another: the identical byte string, else the one of least edit
//! distance (MinED, as PackLLM uses it, arXiv 2404.11531).
//!
//! The first member is the reference: its tokens are the units. Another member's mass of a unit is that of the
//! token it is mapped to, so one token may count for several units, and masses are scaled to 1 again.

use super::nearest::Nearest;
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
            let nearest = Nearest::new(vocabulary);
            space.units().par_iter().map(|unit| mapped(unit, vocabulary, &nearest)).collect()
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

/// The id of the token of these bytes, else of the one most like them.
fn mapped(unit: &[u8], vocabulary: &Vocabulary, nearest: &Nearest<'_>) -> u32 {
    vocabulary.ids(unit).first().copied().unwrap_or_else(|| nearest.of(unit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::Role;

    fn vocabulary(tokens: &[&str]) -> Vocabulary {
        let text = tokens.iter().map(|token| (token.as_bytes().to_vec(), Role::Text));
        Vocabulary::new(text.chain([(Vec::new(), Role::End)]))
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
