//! One vocabulary for all: ids are units as they are.

use super::{Align, Aligned};
use crate::align::union::Space;
use crate::backend::BackendError;
use crate::distribution::Distribution;
use crate::member::Member;
use crate::vocabulary::Vocabulary;
use std::borrow::Cow;

/// Aligns members of one vocabulary; refuses others when it is made.
#[derive(Debug, Clone)]
pub struct Same {
    space: Space,
}

impl Same {
    /// Members that all cut text by these vocabularies.
    ///
    /// # Errors
    /// Which vocabulary differs from the first, and at which id.
    pub fn new(vocabularies: &[&Vocabulary]) -> Result<Self, String> {
        let Some((first, others)) = vocabularies.split_first() else {
            return Err("there is no member".to_owned());
        };
        for (at, other) in others.iter().enumerate() {
            if first.len() != other.len() {
                let (a, b) = (first.len(), other.len());
                return Err(format!("member 1 has {a} tokens and member {} has {b}", at + 2));
            }
            let ids = 0..u32::try_from(first.len()).unwrap_or(u32::MAX);
            let same = |id: &u32| first.bytes(*id) == other.bytes(*id) && first.role(*id) == other.role(*id);
            if let Some(id) = ids.into_iter().find(|id| !same(id)) {
                return Err(format!("token {id} of member {} is another than that of member 1", at + 2));
            }
        }
        Ok(Self { space: Space::union(&[first]) })
    }

    /// The units.
    pub fn space(&self) -> &Space {
        &self.space
    }

    /// Masses of the members' distributions.
    pub fn project(&self, told: &[Option<Distribution>]) -> Vec<Option<Vec<f32>>> {
        told.iter().map(|told| told.as_ref().map(|told| self.space.project(0, told))).collect()
    }
}

impl Align for Same {
    fn align<'a>(
        &'a self,
        _members: &mut [Option<Member>],
        told: &[Option<Distribution>],
    ) -> Result<Aligned<'a>, BackendError> {
        Ok(Aligned {
            units: Cow::Borrowed(self.space.units()),
            mass: self.project(told),
            unlisted: self.space.unlisted(told, |_| 0),
        })
    }
}
