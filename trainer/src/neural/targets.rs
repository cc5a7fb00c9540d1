//! What a batch is judged by, with every random choice already made.

use rand::RngExt;
use rand::seq::SliceRandom;
use routewright_data::Cells;
use routewright_data::rng::Rng;
use serde::{Deserialize, Serialize};

/// Which reading of RouterDC is followed where the paper and its released code differ.
///
/// | | `paper` | `released` |
/// |---|---|---|
/// | negatives of the sample-LLM loss | score below 0.5 | score at most 0.5 |
/// | temperature of the sample-sample loss | as the sample-LLM loss | none |
/// | positive of the sample-sample loss | another query of the cluster | may be the anchor itself |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Variant {
    /// As printed.
    #[default]
    Paper,
    /// As in the repository.
    Released,
}

/// Settings of the two contrastive losses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Contrast {
    /// Paper or released code.
    pub variant: Variant,
    /// `K+`: best arms taken as positives.
    pub positives: usize,
    /// `K-`: worst arms taken as negatives.
    pub negatives: usize,
    /// `T`: similarities are divided by it.
    pub temperature: f32,
    /// `H`: queries of other clusters held against each anchor.
    pub outsiders: usize,
    /// `lambda`: weight of the sample-sample loss.
    pub cluster_weight: f32,
}

/// How predicted scores are held against logged ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScoreLoss {
    /// Squared error.
    #[default]
    Mse,
    /// Binary cross-entropy, soft labels allowed.
    Bce,
}

/// Positives, negatives and cluster mates of a batch of `n` queries.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ContrastTargets {
    /// `K+`.
    pub n_positives: usize,
    /// `K-`.
    pub n_negatives: usize,
    /// Arms `(n, K+)`, best first.
    pub positives: Vec<u32>,
    /// 1 where the positive counts, 0 where its score is 0 or there is none; `(n, K+)`.
    pub positive_weight: Vec<f32>,
    /// Arms `(n, K-)`, worst first.
    pub negatives: Vec<u32>,
    /// 1 where the negative counts, 0 where it is too good or there is none; `(n, K-)`.
    pub negative_weight: Vec<f32>,
    /// `T` of the sample-LLM loss.
    pub temperature: f32,
    /// The sample-sample loss, where asked for.
    pub cluster: Option<ClusterTargets>,
}

/// Cluster mates of a batch of `n` queries.
#[derive(Debug, Clone, PartialEq)]
pub struct ClusterTargets {
    /// `H`.
    pub n_outsiders: usize,
    /// Positions in the batch `(n, 1 + H)`: a mate, then outsiders.
    pub members: Vec<u32>,
    /// 1 where the anchor counts, 0 where it lacks a mate or outsiders; `(n,)`.
    pub weight: Vec<f32>,
    /// Similarities are divided by it.
    pub temperature: f32,
    /// `lambda`.
    pub scale: f32,
}

/// A judgement between two outputs of a batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Duel {
    /// Position of the first arm among the outputs `(n, n_arms)`.
    pub a: u32,
    /// Position of the second.
    pub b: u32,
    /// What the first earned, in `[0, 1]`.
    pub share: f32,
    /// How much it counts, at least 0.
    pub weight: f32,
}

/// What a batch is judged by.
#[derive(Debug, Clone, PartialEq)]
pub enum Targets {
    /// The losses of RouterDC on cosines.
    Contrast(ContrastTargets),
    /// Scores `(n, n_arms)`, `NaN` where missing, under a loss.
    Scores(Vec<f32>, ScoreLoss),
    /// Distributions over arms `(n, n_arms)`, `NaN` where an arm was not observed: the Kullback-Leibler divergence
    /// from the softmax of the outputs over the arms observed.
    Distribution(Vec<f32>),
    /// Scores `(n, n_arms)`, `NaN` where missing; every two arms of different score are a preference.
    Preferences(Vec<f32>),
    /// Judged duels between two arms of a query, weighted, ties between.
    Duels(Vec<Duel>),
    /// The gradient of the loss with respect to the outputs `(n, n_arms)`, worked out by the caller: what
    /// policy gradients need, whose loss the network does not know. The loss returned is 0.
    Gradient(Vec<f32>),
}

impl Contrast {
    /// Chooses positives, negatives and cluster mates for the queries `rows` of `labels`.
    ///
    /// Equal scores are ordered at random. An arm is never positive and negative at once: where a query
    /// has fewer than `K+ + K-` scored arms, the positives are at most all but one and the negatives the
    /// worst of the rest.
    pub fn targets(
        &self,
        labels: &Cells,
        rows: &[usize],
        clusters: Option<&[u32]>,
        rng: &mut Rng,
    ) -> ContrastTargets {
        let (n_positives, n_negatives) =
            (self.positives.min(labels.n_cols()), self.negatives.min(labels.n_cols()));
        let mut targets = ContrastTargets {
            n_positives,
            n_negatives,
            temperature: self.temperature,
            ..ContrastTargets::default()
        };
        for &row in rows {
            let scores = labels.row(row);
            let mut order: Vec<usize> = (0..scores.len()).filter(|&a| !scores[a].is_nan()).collect();
            order.shuffle(rng);
            order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
            let n_best = n_positives.min(order.len().saturating_sub(1));
            let (best, rest) = order.split_at(n_best);
            for i in 0..n_positives {
                let arm = best.get(i).copied();
                targets.positives.push(arm.unwrap_or(0) as u32);
                targets.positive_weight.push(f32::from(arm.is_some_and(|a| scores[a] > 0.0)));
            }
            for i in 0..n_negatives {
                let arm = rest.iter().rev().nth(i).copied();
                targets.negatives.push(arm.unwrap_or(0) as u32);
                targets.negative_weight.push(f32::from(arm.is_some_and(|a| self.is_negative(scores[a]))));
            }
        }
        if self.cluster_weight > 0.0 {
            targets.cluster = clusters.map(|clusters| self.mates(clusters, rows, rng));
        }
        targets
    }

    fn is_negative(&self, score: f32) -> bool {
        match self.variant {
            Variant::Paper => score < 0.5,
            Variant::Released => score <= 0.5,
        }
    }

    fn mates(&self, clusters: &[u32], rows: &[usize], rng: &mut Rng) -> ClusterTargets {
        let h = self.outsiders;
        let mut members = Vec::with_capacity(rows.len() * (1 + h));
        let mut weight = Vec::with_capacity(rows.len());
        let (mut inside, mut outside) = (Vec::new(), Vec::new());
        for (at, &row) in rows.iter().enumerate() {
            inside.clear();
            outside.clear();
            for (other, &other_row) in rows.iter().enumerate() {
                if clusters[other_row] != clusters[row] {
                    outside.push(other as u32);
                } else if other != at || self.variant == Variant::Released {
                    inside.push(other as u32);
                }
            }
            if inside.is_empty() || outside.len() < h {
                members.extend(std::iter::repeat_n(at as u32, 1 + h));
                weight.push(0.0);
                continue;
            }
            members.push(inside[rng.random_range(0..inside.len())]);
            let (chosen, _) = outside.partial_shuffle(rng, h);
            members.extend_from_slice(chosen);
            weight.push(1.0);
        }
        let temperature = match self.variant {
            Variant::Paper => self.temperature,
            Variant::Released => 1.0,
        };
        ClusterTargets { n_outsiders: h, members, weight, temperature, scale: self.cluster_weight }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use routewright_data::rng::stream;

    const CONTRAST: Contrast = Contrast {
        variant: Variant::Paper,
        positives: 2,
        negatives: 2,
        temperature: 1.0,
        outsiders: 1,
        cluster_weight: 1.0,
    };

    #[test]
    fn best_and_worst_arms_are_chosen_and_holes_left_out() {
        let labels = Cells::from_vec(
            3,
            4,
            vec![
                0.9,
                0.2,
                0.5,
                0.0, //
                f32::NAN,
                0.7,
                0.1,
                f32::NAN, //
                0.0,
                0.0,
                0.0,
                0.0,
            ],
        );
        let t = CONTRAST.targets(&labels, &[0, 1, 2], None, &mut stream(1, "t"));
        assert_eq!(
            (&t.positives[..4], &t.positive_weight[..4]),
            (&[0, 2, 1, 0][..], &[1.0, 1.0, 1.0, 0.0][..])
        );
        assert_eq!((&t.negatives[..2], &t.negative_weight[..4]), (&[3, 1][..], &[1.0, 1.0, 1.0, 0.0][..]));
        assert_eq!(t.negatives[2], 2);
        // nothing was answered right: no positive counts
        assert_eq!(&t.positive_weight[4..], &[0.0, 0.0]);
        let released = Contrast { variant: Variant::Released, negatives: 2, positives: 1, ..CONTRAST };
        let half = Cells::from_vec(1, 2, vec![1.0, 0.5]);
        let weight = |c: Contrast| c.targets(&half, &[0], None, &mut stream(1, "t")).negative_weight[0];
        assert_eq!((weight(released), weight(CONTRAST)), (1.0, 0.0));
    }

    #[test]
    fn mates_share_the_cluster_and_outsiders_do_not() {
        let labels = Cells::from_vec(5, 2, vec![1.0; 10]);
        let clusters = [0, 0, 1, 1, 2];
        let rows = [0, 1, 2, 3, 4];
        let t = CONTRAST.targets(&labels, &rows, Some(&clusters), &mut stream(2, "t")).cluster.unwrap();
        assert_eq!(t.weight, [1.0, 1.0, 1.0, 1.0, 0.0]); // the last has no mate
        for at in 0..4 {
            let [mate, outsider] = [t.members[at * 2] as usize, t.members[at * 2 + 1] as usize];
            assert!(mate != at && clusters[mate] == clusters[at] && clusters[outsider] != clusters[at]);
        }
    }
}
