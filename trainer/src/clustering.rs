//! Seeded k-means on unit vectors.

use rand::RngExt;
use rayon::prelude::*;
use routewright_data::{FeatureMatrix, rng};

/// Spherical k-means (k-means++ seeding on cosine distance, centers of unit norm).
///
/// Returns centers `(k, dim)` and the cluster of each row. `k` is clamped to the number of rows; a cluster
/// that loses all its rows keeps its center. Deterministic for a seed.
pub fn kmeans(features: &FeatureMatrix, k: usize, iterations: usize, seed: u64) -> (Vec<f32>, Vec<u32>) {
    let k = k.clamp(1, features.n_rows().max(1));
    let mut centers = seed_centers(features, k, seed);
    let mut assignment = assign(features, &centers);
    for _ in 0..iterations {
        update_centers(features, &assignment, &mut centers);
        let next = assign(features, &centers);
        if next == assignment {
            break;
        }
        assignment = next;
    }
    (centers, assignment)
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// k-means++: each next center is a row drawn with probability proportional to its distance.
fn seed_centers(features: &FeatureMatrix, k: usize, seed: u64) -> Vec<f32> {
    let mut generator = rng::stream(seed, "kmeans");
    let first = generator.random_range(0..features.n_rows());
    let mut centers = features.row(first).to_vec();
    let distance = |row: usize, center: &[f32]| f64::from((1.0 - cosine(features.row(row), center)).max(0.0));
    let mut nearest: Vec<f64> = (0..features.n_rows()).map(|row| distance(row, &centers)).collect();
    while centers.len() < k * features.dim() {
        let total: f64 = nearest.iter().sum();
        let mut remaining = generator.random::<f64>() * total;
        let drawn = nearest.iter().position(|d| {
            remaining -= d;
            remaining < 0.0
        });
        let center =
            features.row(drawn.unwrap_or_else(|| generator.random_range(0..features.n_rows()))).to_vec();
        for (row, d) in nearest.iter_mut().enumerate() {
            *d = d.min(distance(row, &center));
        }
        centers.extend(center);
    }
    centers
}

fn assign(features: &FeatureMatrix, centers: &[f32]) -> Vec<u32> {
    (0..features.n_rows())
        .into_par_iter()
        .map(|row| {
            let x = features.row(row);
            let similarities = centers.chunks_exact(features.dim()).map(|center| cosine(x, center));
            let best = similarities
                .enumerate()
                .fold((0, f32::NEG_INFINITY), |best, (c, s)| if s > best.1 { (c, s) } else { best });
            best.0 as u32
        })
        .collect()
}

fn update_centers(features: &FeatureMatrix, assignment: &[u32], centers: &mut [f32]) {
    let dim = features.dim();
    let mut sums = vec![0.0_f64; centers.len()];
    for (row, cluster) in assignment.iter().enumerate() {
        let start = *cluster as usize * dim;
        for (sum, x) in sums[start..start + dim].iter_mut().zip(features.row(row)) {
            *sum += f64::from(*x);
        }
    }
    for (center, sum) in centers.chunks_exact_mut(dim).zip(sums.chunks_exact(dim)) {
        let norm = sum.iter().map(|s| s * s).sum::<f64>().sqrt();
        if norm > 1e-12 {
            center.iter_mut().zip(sum).for_each(|(c, s)| *c = (s / norm) as f32);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_three_directions() {
        let angles = [0.0_f32, 0.05, -0.05, 2.0, 2.05, 1.95, 4.0, 4.05, 3.95];
        let values = angles.iter().flat_map(|a| [a.cos(), a.sin()]).collect();
        let features = FeatureMatrix::from_vec(9, 2, values);
        let (centers, assignment) = kmeans(&features, 3, 50, 1);
        for group in assignment.chunks(3) {
            assert!(group.iter().all(|c| *c == group[0]), "{assignment:?}");
        }
        let first = assignment[0] as usize;
        assert!((centers[first * 2] - 1.0).abs() < 1e-3, "{centers:?}");
        assert_eq!(kmeans(&features, 3, 50, 1), (centers, assignment));
        assert_eq!(kmeans(&features, 99, 5, 1).0.len(), 18);
    }
}
