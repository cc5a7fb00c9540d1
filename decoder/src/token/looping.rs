//! The loop of token-level fusion: members give distributions, the masses meet in one space, one unit is chosen.

use crate::align::{Align, Aligned, END, own};
use crate::distribution::Distribution;
use crate::generation::{FuseError, Generation, Unit};
use crate::member::Member;
use crate::pool::Pool;
use crate::trace::Step;
use crate::vocabulary::Role;
use crate::weigh::{View, Weigh, Weigher, Weights, among};

/// What is put together to a token-level system.
#[derive(Debug)]
pub struct TokenLoop {
    /// The space the members meet in.
    pub align: Box<dyn Align>,
    /// How masses meet.
    pub pool: Pool,
    /// How much each member counts.
    pub weigh: Box<dyn Weigh>,
}

impl TokenLoop {
    /// Writes the answer.
    ///
    /// # Errors
    /// If no member is left, none may fail and one does, or nothing has any probability.
    pub fn run(&self, generation: &mut Generation<'_>) -> Result<(), FuseError> {
        let mut weigher = self.weigh.start(generation)?;
        self.run_with(generation, &mut *weigher)
    }

    /// Writes the answer with weights from elsewhere.
    ///
    /// # Errors
    /// If no member is left, none may fail and one does, or nothing has any probability.
    pub fn run_with(
        &self,
        generation: &mut Generation<'_>,
        weigher: &mut dyn Weigher,
    ) -> Result<(), FuseError> {
        while !generation.is_over()? {
            let told = generation.next()?;
            let aligned = generation.align(&*self.align, &told)?;
            let view = View {
                step: generation.steps(),
                prompt: generation.prompt(),
                text: generation.text(),
                told: &told,
                aligned: &aligned,
            };
            let weights = weigher.weigh(&view)?;
            choose(self.pool, generation, &told, &aligned, weights)?;
        }
        Ok(())
    }
}

/// Chooses a unit and commits it.
///
/// # Errors
/// If nothing has any probability.
pub(crate) fn choose(
    pool: Pool,
    generation: &mut Generation<'_>,
    told: &[Option<Distribution>],
    aligned: &Aligned<'_>,
    mut weights: Weights,
) -> Result<(), FuseError> {
    let taking_part: Vec<bool> = aligned.mass.iter().map(Option::is_some).collect();
    weights.values = among(&weights.values, &taking_part);
    let fused = pool.of(aligned, &weights.values);
    let unit = fused.as_ref().and_then(|fused| generation.pick(fused));
    let (Some(fused), Some(unit)) = (fused, unit) else {
        let reason = "what the members say has no unit in common space".to_owned();
        return Err(FuseError::Nothing { at: generation.text().len(), reason });
    };
    commit(generation, told, aligned, unit, weights, Some(fused[unit]));
    Ok(())
}

/// Commits a unit with what is known of it.
pub(crate) fn commit(
    generation: &mut Generation<'_>,
    told: &[Option<Distribution>],
    aligned: &Aligned<'_>,
    unit: usize,
    weights: Weights,
    fused: Option<f32>,
) {
    let mass = |mass: &Option<Vec<f32>>| mass.as_ref().map_or(f32::NAN, |mass| mass[unit]);
    let step = Step {
        probabilities: aligned.mass.iter().map(mass).collect(),
        agree: (0..told.len()).map(|member| aligned.best(member) == Some(unit)).collect(),
        weights: weights.values,
        span: weights.span,
        log_density: weights.log_density,
        fused,
        ..Step::default()
    };
    if unit == END {
        return generation.commit(Unit::End, &[], step);
    }
    let bytes = &aligned.units[unit];
    let own: Vec<Option<u32>> = generation
        .members()
        .iter()
        .zip(told)
        .map(|(member, told)| own(member.as_ref()?, told.as_ref()?, bytes))
        .collect();
    generation.commit(Unit::Text(bytes), &own, step);
}

/// Probability of a unit under each member, `NaN` where it is not known, and the members that alone would choose it;
/// `unit` has its bytes, none for the end of the answer.
pub(crate) fn opinions(
    generation: &Generation<'_>,
    told: &[Option<Distribution>],
    unit: &[u8],
) -> (Vec<f32>, Vec<bool>) {
    let opinion = |(member, told): (&Option<Member>, &Option<Distribution>)| {
        let (Some(member), Some(told)) = (member, told) else { return (f32::NAN, false) };
        let vocabulary = member.vocabulary();
        let ids = if unit.is_empty() { vocabulary.ends() } else { vocabulary.ids(unit) };
        let known: Vec<f32> = ids.iter().filter_map(|id| told.log_prob(*id)).map(f32::exp).collect();
        let p = if known.is_empty() { f32::NAN } else { known.iter().sum() };
        (p, ids.contains(&told.best().0))
    };
    generation.members().iter().zip(told).map(opinion).unzip()
}

/// Commits a token that one member says, in its own tokens.
pub(crate) fn say(generation: &mut Generation<'_>, member: usize, id: u32, step: Step) {
    let Some(Some(of)) = generation.members().get(member) else { return };
    let (bytes, role) = (of.vocabulary().bytes(id).to_vec(), of.vocabulary().role(id));
    match role {
        Role::End => generation.commit(Unit::End, &[], Step { winner: Some(member), ..step }),
        _ => generation.commit_written(&bytes, member, &[id], step),
    }
}
