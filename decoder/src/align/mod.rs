//! From what each member says in its own vocabulary to masses over units all of them share. One file a family.
//!
//! A unit is a byte string, or the end of the answer (unit 0). The mass of a member over units is at most 1: what
//! its list was cut off before, or what has no unit, is missing from it.

pub mod bytes;
mod min_edit;
mod nearest;
mod projection;
mod relative;
mod rows;
mod same;
mod top_union;
mod union;

pub use min_edit::MinEdit;
pub use projection::{Projection, Rows, Side};
pub use relative::{Relative, RelativeOnDemand, anchors};
pub use same::Same;
pub use top_union::TopUnion;
pub use union::{Space, Union};

use crate::backend::BackendError;
use crate::distribution::Distribution;
use crate::mass::best;
use crate::member::Member;
use std::borrow::Cow;
use std::fmt::Debug;

/// Unit 0: the end of the answer.
pub const END: usize = 0;

/// Masses of all members over the units of one step.
#[derive(Debug, Clone)]
pub struct Aligned<'a> {
    /// Bytes of each unit; those of unit 0 are not used.
    pub units: Cow<'a, [Box<[u8]>]>,
    /// Mass of every unit by member; `None` where the member takes no part.
    pub mass: Vec<Option<Vec<f32>>>,
    /// What members whose lists are cut off give the units that they do not list; empty where all list everything.
    pub unlisted: Vec<Unlisted<'a>>,
}

/// What a member gives the units that its list was cut off before.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unlisted<'a> {
    /// Mass of one such unit.
    pub mass: f32,
    /// The units that are tokens of the member; all where `None`.
    pub has: Option<&'a [bool]>,
}

impl Unlisted<'_> {
    /// Mass of a unit that is not listed.
    pub fn of(&self, unit: usize) -> f32 {
        let has = self.has.is_none_or(|has| has.get(unit).copied().unwrap_or(false));
        if has { self.mass } else { 0.0 }
    }
}

/// A way to bring distributions into one space.
pub trait Align: Send + Sync + Debug {
    /// Masses of the members' distributions; `members` and `told` have one entry a member.
    ///
    /// # Errors
    /// If a member has to be asked again and fails.
    fn align<'a>(
        &'a self,
        members: &mut [Option<Member>],
        told: &[Option<Distribution>],
    ) -> Result<Aligned<'a>, BackendError>;
}

impl<'a> Aligned<'a> {
    /// Masses of members that list everything, or of which nothing is known beyond their lists.
    pub fn listed(units: Cow<'a, [Box<[u8]>]>, mass: Vec<Option<Vec<f32>>>) -> Self {
        Self { units, mass, unlisted: Vec::new() }
    }

    /// Number of units.
    pub fn len(&self) -> usize {
        self.units.len()
    }

    /// Whether there is no unit but the end.
    pub fn is_empty(&self) -> bool {
        self.units.len() <= 1
    }

    /// The unit a member alone would choose; the first of equal ones, `None` where it gives no unit any mass.
    pub fn best(&self, member: usize) -> Option<usize> {
        self.mass.get(member)?.as_ref().and_then(|mass| best(mass))
    }
}

/// The member's own token for a unit: of several the one it finds most probable.
pub fn own(member: &Member, told: &Distribution, unit: &[u8]) -> Option<u32> {
    let ids = member.vocabulary().ids(unit);
    let p = |id: &u32| told.log_prob(*id).unwrap_or(f32::NEG_INFINITY);
    // The first of equal ones.
    ids.iter().copied().rev().max_by(|a, b| p(a).total_cmp(&p(b)))
}
