//! Members nobody agrees with do not count (EVA's filter, arXiv 2404.09492).
//!
//! A member takes part if the unit it finds most probable is among the `n` most probable of at least one other member.
//! Those that take part count as their weights say; where none does, all do.

use super::{View, Weigh, Weigher, Weights};
use crate::generation::{FuseError, Generation};

/// The filter around fixed weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Agreement {
    /// How far down another member's list the unit may stand.
    pub n: usize,
    /// Weights of those that take part.
    pub weights: Vec<f32>,
}

impl Weigh for Agreement {
    fn start(&self, generation: &mut Generation<'_>) -> Result<Box<dyn Weigher>, FuseError> {
        generation.keeps_weights(&self.weights);
        Ok(Box::new(self.clone()))
    }
}

impl Weigher for Agreement {
    fn weigh(&mut self, view: &View<'_>) -> Result<Weights, FuseError> {
        let mass = &view.aligned.mass;
        let agrees = |member: usize| {
            let Some(best) = view.aligned.best(member) else { return false };
            mass.iter().enumerate().any(|(other, mass)| {
                let rank = |mass: &Vec<f32>| mass.iter().filter(|p| **p > mass[best]).count();
                other != member && mass.as_ref().is_some_and(|mass| mass[best] > 0.0 && rank(mass) < self.n)
            })
        };
        let kept: Vec<bool> = (0..mass.len()).map(agrees).collect();
        if !kept.contains(&true) {
            return Ok(Weights::plain(self.weights.clone()));
        }
        let weights = self.weights.iter().zip(kept).map(|(weight, kept)| if kept { *weight } else { 0.0 });
        Ok(Weights::plain(weights.collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::align::Aligned;
    use std::borrow::Cow;

    fn weights(n: usize, mass: Vec<Option<Vec<f32>>>) -> Vec<f32> {
        let units = vec![Box::default(); 3];
        let aligned = Aligned::listed(Cow::Owned(units), mass);
        let view = View { step: 0, prompt: b"", text: b"", told: &[], aligned: &aligned };
        Agreement { n, weights: vec![0.5, 0.3, 0.2] }.weigh(&view).unwrap().values
    }

    #[test]
    fn who_stands_alone_does_not_count() {
        let (a, b, c) = (vec![0.6, 0.3, 0.1], vec![0.5, 0.4, 0.1], vec![0.1, 0.1, 0.8]);
        let all = || vec![Some(a.clone()), Some(b.clone()), Some(c.clone())];
        assert_eq!(weights(1, all()), [0.5, 0.3, 0.0]);
        assert_eq!(weights(3, all()), [0.5, 0.3, 0.2]);
        assert_eq!(weights(1, vec![Some(a.clone()), None, Some(c)]), [0.5, 0.3, 0.2]);
    }
}
