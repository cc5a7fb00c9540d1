//! Random forests (Breiman 2001): trees grown on resampled rows, each split the best of a few features drawn.
//!
//! A split has the least sum of squared errors, which of labels 0 and 1 is twice the Gini impurity. Thresholds lie
//! half way between neighbouring values. All randomness is that of the seed, tree by tree.

use super::losses::Rows;
use rand::RngExt as _;
use rand::seq::index;
use rayon::prelude::*;
use routewright_data::rng::{self, Rng};
use routewright_policy::forms::{CostModel, Forest, Node};

/// How a forest is grown.
#[derive(Debug, Clone, Copy)]
pub(super) struct Growth {
    /// Trees, at least 1.
    pub(super) trees: usize,
    /// Least rows of a leaf, at least 1.
    pub(super) leaf: usize,
    pub(super) seed: u64,
}

/// A forest over all candidates, for every arm alike.
///
/// # Errors
/// If there is no row.
pub(super) fn grow(rows: &Rows, growth: &Growth, n_arms: usize) -> Result<Forest, String> {
    if rows.targets.is_empty() {
        return Err("no answer has a score".to_owned());
    }
    let tree = |tree: usize| {
        let mut rng = rng::stream(growth.seed, &format!("tree {tree}"));
        let n = rows.targets.len();
        let drawn = (0..n).map(|_| rng.random_range(0..n) as u32).collect();
        let mut nodes = Vec::new();
        Grower { rows, leaf: growth.leaf, rng }.add(drawn, &mut nodes);
        nodes
    };
    let trees: Vec<Vec<Node>> = (0..growth.trees).into_par_iter().map(tree).collect();
    let (mut nodes, mut roots) = (Vec::new(), Vec::new());
    for tree in trees {
        let root = nodes.len();
        roots.push(root);
        nodes.extend(tree.into_iter().map(|node| match node {
            Node::Split { feature, threshold, below, above } => {
                Node::Split { feature, threshold, below: below + root, above: above + root }
            }
            Node::Leaf { value } => Node::Leaf { value },
        }));
    }
    Forest::new(rows.dim, nodes, roots, CostModel::constant(vec![f32::NAN; n_arms]))
}

struct Grower<'a> {
    rows: &'a Rows,
    leaf: usize,
    rng: Rng,
}

/// The best split of some rows.
struct Split {
    feature: usize,
    threshold: f32,
    error: f64,
}

impl Grower<'_> {
    /// Grows a tree, from an explicit list of what is left to do: trees may be deep.
    fn add(&mut self, drawn: Vec<u32>, nodes: &mut Vec<Node>) {
        nodes.push(Node::Leaf { value: 0.0 });
        let mut left = vec![(0_usize, drawn)];
        while let Some((at, rows)) = left.pop() {
            let mean = self.mean(&rows);
            let Some(split) = self.best(&rows) else {
                nodes[at] = Node::Leaf { value: mean as f32 };
                continue;
            };
            let is_below = |row: &u32| self.x(*row, split.feature) <= split.threshold;
            let (below, above): (Vec<u32>, Vec<u32>) = rows.into_iter().partition(is_below);
            let next = nodes.len();
            nodes.extend([Node::Leaf { value: 0.0 }; 2]);
            let Split { feature, threshold, .. } = split;
            nodes[at] = Node::Split { feature, threshold, below: next, above: next + 1 };
            left.push((next, below));
            left.push((next + 1, above));
        }
    }

    fn x(&self, row: u32, feature: usize) -> f32 {
        self.rows.features[row as usize * self.rows.dim + feature] as f32
    }

    fn y(&self, row: u32) -> f64 {
        self.rows.targets[row as usize]
    }

    fn mean(&self, rows: &[u32]) -> f64 {
        rows.iter().map(|row| self.y(*row)).sum::<f64>() / rows.len().max(1) as f64
    }

    /// The best split among features drawn, as many as the square root of all, and on as long as none of them splits;
    /// `None` where nothing does.
    fn best(&mut self, rows: &[u32]) -> Option<Split> {
        let first = self.y(*rows.first()?);
        if rows.len() < 2 * self.leaf || rows.iter().all(|row| self.y(*row) == first) {
            return None;
        }
        let dim = self.rows.dim;
        let enough = ((dim as f64).sqrt().round() as usize).max(1);
        let order = index::sample(&mut self.rng, dim, dim);
        let mut best: Option<Split> = None;
        for (tried, feature) in order.iter().enumerate() {
            if tried >= enough && best.is_some() {
                break;
            }
            let found = self.split(rows, feature);
            if let Some(found) = found.filter(|f| best.as_ref().is_none_or(|best| f.error < best.error)) {
                best = Some(found);
            }
        }
        best
    }

    /// The best threshold of one feature.
    fn split(&self, rows: &[u32], feature: usize) -> Option<Split> {
        let mut sorted: Vec<(f32, f64)> =
            rows.iter().map(|row| (self.x(*row, feature), self.y(*row))).collect();
        sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
        let n = sorted.len();
        let all: f64 = sorted.iter().map(|(_, y)| y).sum();
        let mut below = 0.0;
        let mut best: Option<(f64, usize)> = None;
        for at in 1..n {
            below += sorted[at - 1].1;
            if sorted[at].0 <= sorted[at - 1].0 || at < self.leaf || n - at < self.leaf {
                continue;
            }
            let (few, many) = (at as f64, (n - at) as f64);
            // The sum of squared errors less what all splits have in common.
            let error = -(below * below / few + (all - below) * (all - below) / many);
            if best.is_none_or(|(least, _)| error < least) {
                best = Some((error, at));
            }
        }
        let (error, at) = best?;
        let (low, high) = (sorted[at - 1].0, sorted[at].0);
        // Half way may round to the greater of two neighbours.
        let middle = f32::midpoint(low, high);
        Some(Split { feature, threshold: if middle < high { middle } else { low }, error })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forest_learns_a_square_that_no_line_separates() {
        let mut rng = rng::stream(1, "square");
        let features: Vec<f64> = (0..1200).map(|_| f64::from(rng.random_range(0.0..1.0_f32))).collect();
        let is_in = |x: &[f64]| f64::from(u8::from((x[0] > 0.5) != (x[1] > 0.5)));
        let targets: Vec<f64> = features.chunks_exact(2).map(is_in).collect();
        let rows = Rows { features, dim: 2, targets, starts: vec![0, 600] };
        let growth = Growth { trees: 30, leaf: 2, seed: 1 };
        let found = grow(&rows, &growth, 1).unwrap();
        // Unknown prices equal nothing.
        assert_eq!(format!("{found:?}"), format!("{:?}", grow(&rows, &growth, 1).unwrap()));
        for (x, y) in [([0.2, 0.2], 0.0), ([0.8, 0.8], 0.0), ([0.2, 0.8], 1.0), ([0.8, 0.2], 1.0)] {
            assert!((f64::from(found.value(&x.map(|x: f64| x as f32))) - y).abs() < 0.15, "{x:?}");
        }
        assert!(grow(&Rows::default(), &growth, 1).unwrap_err().contains("no answer"));
    }

    #[test]
    fn a_tree_that_sees_all_splits_half_way() {
        let rows = Rows {
            features: vec![0.0, 1.0, 3.0, 4.0],
            dim: 1,
            targets: vec![0.0, 0.0, 1.0, 1.0],
            starts: vec![],
        };
        let grower = Grower { rows: &rows, leaf: 1, rng: rng::stream(1, "t") };
        let split = grower.split(&[0, 1, 2, 3], 0).unwrap();
        // 0, 0 | 1, 1: -(0 + 4 / 2).
        assert_eq!((split.threshold, split.error), (2.0, -2.0));
        assert!(Grower { leaf: 3, ..grower }.split(&[0, 1, 2, 3], 0).is_none());
    }
}
