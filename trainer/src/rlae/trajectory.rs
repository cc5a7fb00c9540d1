//! Trajectories: spans in order, the reward at the end, and what each span was worth.

use super::actor::Played;

/// One answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Trajectory {
    pub(super) spans: Vec<Played>,
    pub(super) reward: f32,
}

/// Advantages and returns of the spans of a trajectory from their values (arXiv 1506.02438):
/// `A_t = sum_k (gamma lambda)^k delta_t+k`, `R_t = A_t + V_t`; nothing comes after the end.
pub(super) fn advantages(values: &[f32], reward: f32, gamma: f32, lambda: f32) -> (Vec<f32>, Vec<f32>) {
    let n = values.len();
    let mut advantages = vec![0.0; n];
    let mut later = 0.0;
    for t in (0..n).rev() {
        let (now, next) = if t + 1 == n { (reward, 0.0) } else { (0.0, values[t + 1]) };
        let delta = now + gamma * next - values[t];
        later = delta + gamma * lambda * later;
        advantages[t] = later;
    }
    let returns = advantages.iter().zip(values).map(|(a, v)| a + v).collect();
    (advantages, returns)
}

/// Moves numbers to mean 0 and standard deviation 1.
pub(super) fn standardize(values: &mut [f32]) {
    let n = values.len().max(1) as f32;
    let mean = values.iter().sum::<f32>() / n;
    let sd = (values.iter().map(|v| (v - mean) * (v - mean)).sum::<f32>() / n).sqrt().max(1e-6);
    values.iter_mut().for_each(|v| *v = (*v - mean) / sd);
}
