//! Weights that stay.

use super::{View, Weigh, Weigher, Weights};
use crate::generation::{FuseError, Generation};

/// The same weights at every step.
#[derive(Debug, Clone, PartialEq)]
pub struct Fixed(pub Vec<f32>);

impl Weigh for Fixed {
    fn start(&self, generation: &mut Generation<'_>) -> Result<Box<dyn Weigher>, FuseError> {
        generation.keeps_weights(&self.0);
        Ok(Box::new(self.clone()))
    }
}

impl Weigher for Fixed {
    fn weigh(&mut self, _view: &View<'_>) -> Result<Weights, FuseError> {
        Ok(Weights::plain(self.0.clone()))
    }
}
