//! A forest of binary trees over the features: the mean of the leaves a vector falls into, the same for every arm.

use super::{CostModel, FormRow};
use crate::{Batch, FormState, LoadError, PredictError, Prediction, Predictor, check_batch};
use routewright_data::Tensors;
use serde::{Deserialize, Serialize};

pub(super) const ROW: FormRow = FormRow {
    name: "forest",
    version: 1,
    title: "the mean of binary trees over the features, the same for every arm",
    load: Forest::load,
};

/// Nodes that a number of 32 bits counts exactly.
const NODES_MAX: usize = 1 << 24;

/// A node: a split, or a leaf.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Node {
    /// Goes on to `below` where the feature is at most the threshold, else to `above`; both lie behind this node.
    Split {
        /// Place of the feature.
        feature: usize,
        /// Greatest value that goes to `below`.
        threshold: f32,
        /// Node of smaller values.
        below: usize,
        /// Node of greater values.
        above: usize,
    },
    /// The end.
    Leaf {
        /// What it predicts.
        value: f32,
    },
}

/// Trees, node by node.
#[derive(Debug, Clone, PartialEq)]
pub struct Forest {
    dim: usize,
    nodes: Vec<Node>,
    /// First node of each tree.
    roots: Vec<usize>,
    cost: CostModel,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    dim: usize,
    roots: Vec<usize>,
    nodes: usize,
}

impl Forest {
    /// A forest over features of width `dim`.
    ///
    /// # Errors
    /// If there is no tree, a node goes to none behind it, reads a feature that is none, or has a number that is not
    /// finite.
    pub fn new(dim: usize, nodes: Vec<Node>, roots: Vec<usize>, cost: CostModel) -> Result<Self, String> {
        let n = nodes.len();
        if roots.is_empty() || n > NODES_MAX || roots.iter().any(|root| *root >= n) {
            return Err(format!("it has {} trees of {n} nodes, expected roots among its nodes", roots.len()));
        }
        for (at, node) in nodes.iter().enumerate() {
            let is_sound = match *node {
                Node::Split { feature, threshold, below, above } => {
                    let is_behind = |next: usize| next > at && next < n;
                    feature < dim && threshold.is_finite() && is_behind(below) && is_behind(above)
                }
                Node::Leaf { value } => value.is_finite(),
            };
            if !is_sound {
                return Err(format!("node {at} is {node:?}, expected finite numbers and nodes behind it"));
            }
        }
        Ok(Self { dim, nodes, roots, cost })
    }

    /// Mean of the leaves that a vector falls into.
    pub fn value(&self, x: &[f32]) -> f32 {
        let leaf = |root: &usize| {
            let mut at = *root;
            loop {
                match self.nodes[at] {
                    Node::Split { feature, threshold, below, above } => {
                        at = if x[feature] <= threshold { below } else { above };
                    }
                    Node::Leaf { value } => return f64::from(value),
                }
            }
        };
        (self.roots.iter().map(leaf).sum::<f64>() / self.roots.len() as f64) as f32
    }

    fn load(mut state: FormState, n_arms: usize) -> Result<Box<dyn Predictor>, LoadError> {
        let refuse = |reason: String| LoadError::Config { form: ROW.name, reason };
        let Config { dim, roots, nodes } = super::config(ROW.name, state.config)?;
        if nodes > NODES_MAX {
            return Err(refuse(format!("it has {nodes} nodes, expected at most {NODES_MAX}")));
        }
        // Of each node: feature, or -1 of a leaf; threshold or value; the next nodes.
        let rows = state.tensors.take_f32("nodes", &[nodes, 4])?;
        let node = |row: &[f32]| {
            let place = |value: f32| if value >= 0.0 { value as usize } else { usize::MAX };
            match row[0] < 0.0 {
                true => Node::Leaf { value: row[1] },
                false => Node::Split {
                    feature: place(row[0]),
                    threshold: row[1],
                    below: place(row[2]),
                    above: place(row[3]),
                },
            }
        };
        let nodes = rows.chunks_exact(4).map(node).collect();
        let cost = CostModel::restore(&mut state.tensors, n_arms)?;
        Ok(Box::new(Self::new(dim, nodes, roots, cost).map_err(refuse)?))
    }
}

impl Predictor for Forest {
    fn form(&self) -> &'static str {
        ROW.name
    }

    fn n_arms(&self) -> usize {
        self.cost.mean_usd().len()
    }

    fn dim(&self) -> Option<usize> {
        Some(self.dim)
    }

    fn predict(&self, batch: &Batch<'_>) -> Result<Prediction, PredictError> {
        check_batch(batch, self.dim)?;
        let n_arms = self.n_arms();
        let values = (0..batch.n_queries()).map(|row| self.value(batch.features.row(row)));
        Ok(Prediction {
            n_arms,
            score: values.flat_map(|value| std::iter::repeat_n(value, n_arms)).collect(),
            score_se: None,
            cost_usd: self.cost.predict(batch.features),
            neighborhoods: None,
            members: None,
            n_updates: 0,
        })
    }

    fn state(&self) -> FormState {
        let row = |node: &Node| match *node {
            Node::Split { feature, threshold, below, above } => {
                [feature as f32, threshold, below as f32, above as f32]
            }
            Node::Leaf { value } => [-1.0, value, 0.0, 0.0],
        };
        let mut tensors = Tensors::new();
        let rows = self.nodes.iter().flat_map(row).collect();
        tensors.insert_f32("nodes", &[self.nodes.len(), 4], rows);
        self.cost.store(&mut tensors);
        let config = Config { dim: self.dim, roots: self.roots.clone(), nodes: self.nodes.len() };
        FormState { config: serde_json::to_value(config).unwrap_or_default(), tensors }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use routewright_data::FeatureMatrix;

    fn cost() -> CostModel {
        CostModel::constant(vec![1.0, 2.0])
    }

    fn forest() -> Forest {
        let split = |feature, threshold, below, above| Node::Split { feature, threshold, below, above };
        let leaf = |value| Node::Leaf { value };
        let nodes =
            vec![split(1, 0.5, 1, 2), leaf(0.0), split(0, -1.0, 3, 4), leaf(0.5), leaf(1.0), leaf(0.2)];
        Forest::new(2, nodes, vec![0, 5], cost()).unwrap()
    }

    #[test]
    fn a_vector_falls_into_a_leaf_of_each_tree_and_the_form_survives_its_state() {
        let x = FeatureMatrix::from_vec(3, 2, vec![0.0, 0.5, -1.0, 0.6, 0.0, 0.6]);
        let found = forest().predict(&Batch::of(&x)).unwrap();
        assert_eq!(found.score, [0.1, 0.1, 0.35, 0.35, 0.6, 0.6]);
        let again = crate::forms::load(ROW.name, ROW.version, forest().state(), 2).unwrap();
        assert_eq!(again.predict(&Batch::of(&x)).unwrap(), found);
    }

    #[test]
    fn what_is_no_forest_is_refused() {
        let says =
            |node: Node| Forest::new(2, vec![node, Node::Leaf { value: 0.0 }], vec![0], cost()).unwrap_err();
        let split = |feature, threshold, below| Node::Split { feature, threshold, below, above: 1 };
        // A circle, no such feature, no number, behind the end.
        for node in [split(0, 0.0, 0), split(2, 0.0, 1), split(0, f32::NAN, 1), split(0, 0.0, 2)] {
            assert!(says(node).contains("node 0"), "{node:?}");
        }
        assert!(says(Node::Leaf { value: f32::INFINITY }).contains("node 0"));
        assert!(Forest::new(2, Vec::new(), Vec::new(), cost()).unwrap_err().contains("0 trees"));
        let mut state = forest().state();
        state.config["nodes"] = 7.into();
        assert!(crate::forms::load(ROW.name, ROW.version, state, 2).is_err());
    }
}
