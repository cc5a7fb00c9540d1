//! k-means on features: k-means++ seeding (Arthur and Vassilvitskii 2007), then Lloyd's iterations.

use rand::RngExt;
use rayon::prelude::*;
use routewright_data::{FeatureMatrix, rng};

/// Centers `(k, dim)`, row-major, and the cluster of each row.
///
/// At most `iterations` rounds, fewer once no row moves. Where there are fewer distinct rows than `k`, the
/// surplus centers stay where they were seeded and some are equal. A cluster that loses its last row keeps its
/// center. Deterministic for a seed, whatever the number of threads.
pub fn kmeans(features: &FeatureMatrix, k: usize, iterations: usize, seed: u64) -> (Vec<f32>, Vec<u32>) {
    let (n, dim) = (features.n_rows(), features.dim());
    if n == 0 || k == 0 || dim == 0 {
        return (vec![0.0; k * dim], vec![0; n]);
    }
    let mut centers = seeded_centers(features, k, seed);
    let mut assignment = nearest(features, &centers);
    for _ in 0..iterations {
        move_centers(features, &assignment, &mut centers);
        let next = nearest(features, &centers);
        if next == assignment {
            break;
        }
        assignment = next;
    }
    (centers, assignment)
}

/// Each center is a row drawn with probability proportional to its squared distance from the nearest center
/// so far.
fn seeded_centers(features: &FeatureMatrix, k: usize, seed: u64) -> Vec<f32> {
    let n = features.n_rows();
    let mut rng = rng::stream(seed, "kmeans");
    let mut centers = features.row(rng.random_range(0..n)).to_vec();
    let mut distances = vec![f32::INFINITY; n];
    while centers.len() < k * features.dim() {
        let last = centers[centers.len() - features.dim()..].to_vec();
        distances.par_iter_mut().enumerate().for_each(|(row, d)| {
            *d = d.min(squared_distance(features.row(row), &last));
        });
        let total: f64 = distances.iter().map(|d| f64::from(*d)).sum();
        let mut left = rng.random::<f64>() * total;
        let chosen = distances.iter().position(|d| {
            left -= f64::from(*d);
            left < 0.0 && *d > 0.0
        });
        // All rows stand on a center already (or rounding left a crumb): any row will do.
        let chosen = chosen.unwrap_or_else(|| rng.random_range(0..n));
        centers.extend_from_slice(features.row(chosen));
    }
    centers
}

fn nearest(features: &FeatureMatrix, centers: &[f32]) -> Vec<u32> {
    let dim = features.dim();
    let nearest = |row: usize| {
        let x = features.row(row);
        let mut best = (0, f32::INFINITY);
        for (i, center) in centers.chunks_exact(dim).enumerate() {
            let distance = squared_distance(x, center);
            if distance < best.1 {
                best = (i as u32, distance);
            }
        }
        best.0
    };
    (0..features.n_rows()).into_par_iter().map(nearest).collect()
}

fn move_centers(features: &FeatureMatrix, assignment: &[u32], centers: &mut [f32]) {
    let dim = features.dim();
    let mut sums = vec![0.0_f64; centers.len()];
    let mut counts = vec![0_usize; centers.len() / dim];
    for (row, &cluster) in assignment.iter().enumerate() {
        let cluster = cluster as usize;
        counts[cluster] += 1;
        for (sum, x) in sums[cluster * dim..].iter_mut().zip(features.row(row)) {
            *sum += f64::from(*x);
        }
    }
    for (i, &count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        for (center, sum) in centers[i * dim..(i + 1) * dim].iter_mut().zip(&sums[i * dim..]) {
            *center = (sum / count as f64) as f32;
        }
    }
}

fn squared_distance(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separate_clouds_are_found_and_the_seed_decides() {
        let mut rng = rng::stream(1, "clouds");
        let mut values = Vec::new();
        for row in 0..90 {
            let (x, y) = [(0.0, 0.0), (5.0, 0.0), (0.0, 5.0)][row % 3];
            values.push(x + rng.random_range(-0.5..0.5));
            values.push(y + rng.random_range(-0.5..0.5));
        }
        let features = FeatureMatrix::from_vec(90, 2, values);
        let (centers, assignment) = kmeans(&features, 3, 50, 7);
        assert_eq!((centers.len(), assignment.len()), (6, 90));
        for row in 0..90 {
            assert_eq!(assignment[row], assignment[row % 3], "row {row}");
        }
        assert!(assignment[0] != assignment[1] && assignment[1] != assignment[2]);
        assert_eq!(kmeans(&features, 3, 50, 7), (centers, assignment));
    }

    #[test]
    fn fewer_distinct_rows_than_clusters_are_no_error() {
        let features = FeatureMatrix::from_vec(3, 1, vec![1.0; 3]);
        let (centers, assignment) = kmeans(&features, 2, 10, 1);
        assert_eq!((centers, assignment), (vec![1.0, 1.0], vec![0, 0, 0]));
    }
}
