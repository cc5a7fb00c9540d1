//! Adam with decoupled decay (Loshchilov and Hutter, arXiv 1711.05101) on plain vectors of weights.

/// Decay of the mean and of the square of gradients, and what keeps steps finite.
const DECAYS: (f32, f32, f32) = (0.9, 0.999, 1e-8);

/// What undoes that both moments start at 0, in step `step` from 1.
pub(super) fn corrections(step: i32) -> (f32, f32) {
    let (first, second, _) = DECAYS;
    (1.0 / (1.0 - first.powi(step)), 1.0 / (1.0 - second.powi(step)))
}

/// Adam on one vector of weights.
#[derive(Debug)]
pub(super) struct Moments {
    mean: Vec<f32>,
    square: Vec<f32>,
}

impl Moments {
    pub(super) fn new(n: usize) -> Self {
        Self { mean: vec![0.0; n], square: vec![0.0; n] }
    }

    /// One step; `corrections` undo that both moments start at 0.
    pub(super) fn step(
        &mut self,
        weights: &mut [f32],
        gradient: &[f32],
        rate: f32,
        decay: f32,
        corrections: (f32, f32),
    ) {
        let (first, second, least) = DECAYS;
        let moments = self.mean.iter_mut().zip(&mut self.square);
        for ((weight, g), (mean, square)) in weights.iter_mut().zip(gradient).zip(moments) {
            *mean = first * *mean + (1.0 - first) * g;
            *square = second * *square + (1.0 - second) * g * g;
            let direction = *mean * corrections.0 / ((*square * corrections.1).sqrt() + least);
            *weight -= rate * (direction + decay * *weight);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_step_is_the_rate_whatever_the_size_of_the_gradient() {
        let mut moments = Moments::new(2);
        let mut weights = [1.0, -2.0];
        moments.step(&mut weights, &[1e-3, -50.0], 0.1, 0.0, corrections(1));
        assert!((weights[0] - 0.9).abs() < 1e-4 && (weights[1] + 1.9).abs() < 1e-4, "{weights:?}");
        moments.step(&mut weights, &[0.0, 0.0], 0.1, 0.5, corrections(2));
        // The moments carry on by 0.9 (1 - 0.9) / (1 - 0.81) over sqrt(0.999 (1 - 0.999) / (1 - 0.998001)), and decay
        // takes 5 %.
        let carried = 0.1 * (0.09 / 0.19) / (0.000_999_f32 / 0.001_999).sqrt();
        assert!((weights[0] - (0.9 - carried - 0.045)).abs() < 1e-3, "{weights:?}");
    }
}
