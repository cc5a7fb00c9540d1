//! The union of the members' `k` most probable tokens (UniTE, arXiv 2410.03777, section 3).
//!
//! Per step: the byte strings of every member's `k` best tokens; a member that does not have a string among them
//! is asked for its probability, or for that of the first token of the string where it has no such token. Every
//! member is then scaled to 1 over the union (the paper's softmax over the chosen logits).
//!
//! Deviations: 1. a first token that stands for another string of the union counts for that one only; the released
//! code gives the string a logit of 0, which can beat real ones. 2. Where a list was cut off before a token, the
//! token has no mass: it has at most that of the last one listed. 3. End of answer is a unit like any other.

use super::{Align, Aligned, END};
use crate::backend::BackendError;
use crate::distribution::Distribution;
use crate::member::Member;
use crate::vocabulary::Role;
use std::borrow::Cow;
use std::collections::BTreeSet;

/// Aligns on the `k` best of every member.
#[derive(Debug, Clone, Copy)]
pub struct TopUnion {
    /// Tokens of each member.
    pub k: usize,
}

impl Align for TopUnion {
    fn align<'a>(
        &'a self,
        members: &mut [Option<Member>],
        told: &[Option<Distribution>],
    ) -> Result<Aligned<'a>, BackendError> {
        let mut strings: BTreeSet<&[u8]> = BTreeSet::new();
        for (member, told) in members.iter().zip(told) {
            let (Some(member), Some(told)) = (member, told) else { continue };
            let vocabulary = member.vocabulary();
            let top = told.top(self.k).into_iter().map(|(id, _)| id);
            strings.extend(top.map(|id| vocabulary.bytes(id)).filter(|bytes| !bytes.is_empty()));
        }
        let mut units: Vec<Box<[u8]>> = vec![Box::default()];
        units.extend(strings.iter().map(|bytes| Box::from(*bytes)));
        let mass = members.iter().zip(told).map(|(member, told)| {
            let (member, told) = (member.as_ref()?, told.as_ref()?);
            Some(masses(member, told, &units))
        });
        let mass = mass.collect();
        Ok(Aligned::listed(Cow::Owned(units), mass))
    }
}

/// Masses of one member over `units`, scaled to sum to 1.
fn masses(member: &Member, told: &Distribution, units: &[Box<[u8]>]) -> Vec<f32> {
    let vocabulary = member.vocabulary();
    let p = |id: u32| told.log_prob(id).map_or(0.0, f32::exp);
    let mut mass: Vec<f32> =
        units.iter().map(|unit| vocabulary.ids(unit).iter().map(|id| p(*id)).sum()).collect();
    mass[END] = vocabulary.ends().iter().map(|id| p(*id)).sum();
    for (unit, mass) in units.iter().zip(&mut mass).skip(1) {
        if !vocabulary.ids(unit).is_empty() {
            continue;
        }
        let change = member.tokenizer().extend(member.text_ids(), unit);
        let first = change.push.first().filter(|id| vocabulary.role(**id) == Role::Text);
        if let Some(id) = first.filter(|_| change.keep == member.text_ids().len()) {
            // Counted for the string it stands for, if that is a unit.
            if units.binary_search_by(|other| (**other).cmp(vocabulary.bytes(*id))).is_err() {
                *mass = p(*id);
            }
        }
    }
    let sum: f32 = mass.iter().sum();
    if sum > 0.0 {
        mass.iter_mut().for_each(|mass| *mass /= sum);
    }
    mass
}
