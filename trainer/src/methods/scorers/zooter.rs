//! ZOOTER (arXiv 2311.08692): the rewards of all arms are distilled into one network over queries.
//!
//! Rewards are normalised over the log, `r = (score - mean) / deviation`, and made a distribution over arms,
//! `q_i = softmax(r_i / temperature)`. Rewards are noisy, so each distribution is smoothed by the mean of the queries
//! with the same tag (tag-based label enhancement): `q'_i = beta q_i + (1 - beta) mean_{j in tag(i)} q_j`.
//! The network learns `min KL(q' || softmax(z(x)))`; the arm of the greatest output is chosen.
//!
//! # Deviations from the paper
//! 1. The network is dense layers on the features of the policy; the paper fine-tunes mDeBERTa-v3-base.
//! 2. Rewards are the scores of the log (`labels = "soft"`: its graded signal); the paper asks a reward model.
//! 3. A tag is the source of the query. Without sources, or with `tags = "clusters"`, it is the query's k-means
//!    cluster; the paper tags queries by a language model (InsTag) and a query may have several tags.
//! 4. The mean of a tag is taken over all queries of train, those of the slice on which the number of steps is chosen
//!    included: one query in the mean of its tag.
//! 5. Where an arm was not tried, the distributions and their means are over the arms that were.
//! 6. Outputs are logits; one increasing line, fitted on a slice of train, maps them to the scale of the log.

use super::labels::{Labels, distributions, normalized};
use crate::clustering::kmeans;
use crate::evaluate::Tuning;
use crate::method::{Family, FitContext, FitError, Fitted, Method, MethodRow, Need};
use crate::methods::costs;
use crate::neural::{
    Checkpoint, Criterion, HeadShape, LayerShape, Network, Recipe, Targets, Trained, Training, fit,
};
use routewright_data::Cells;
use routewright_data::dense::Activation;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub(in crate::methods) const ROW: MethodRow = MethodRow::of::<Zooter>(
    "rewards of all arms distilled into one network, smoothed by tag",
    Some("2311.08692"),
    Family::Before,
    &[Need::Features],
)
.on_device();

/// Rounds of k-means, at most.
const CLUSTER_ITERATIONS: usize = 25;

/// The method of this file.
#[derive(Debug)]
pub(in crate::methods) struct Zooter;

/// What tags a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Tags {
    /// Its source, or its cluster where the log has no sources.
    Source,
    /// Its cluster.
    Clusters,
}

/// Hyper-parameters; a list is a grid from which slices of train pick one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::methods) struct Params {
    /// Weights of a query's own distribution to try, each in [0, 1]; the rest is that of its tag.
    beta: Vec<f32>,
    /// Divides the normalised rewards, above 0.
    temperature: f32,
    /// `source` or `clusters`.
    tags: Tags,
    /// Number of clusters where they are the tags, at least 1.
    n_clusters: usize,
    /// `score` or `soft`.
    labels: Labels,
    /// Widths of the hidden layers.
    hidden: Vec<usize>,
    /// Standard deviation of the noise added to features in training.
    noise: f32,
    /// How long, how fast, on what.
    #[serde(flatten)]
    training: Training,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            beta: vec![0.3],
            temperature: 1.0,
            tags: Tags::Source,
            n_clusters: 16,
            labels: Labels::Score,
            hidden: vec![128],
            noise: 0.1,
            training: Training {
                steps: 2000,
                every: 200,
                patience: 4,
                batch: 64,
                rate: 1e-3,
                weight_decay: 0.01,
                per_source: 0,
                folds: 5,
                valid_share: 0.15,
                refit: true,
            },
        }
    }
}

impl Params {
    fn check(&self) -> Result<(), FitError> {
        let error = |reason: String| Err(FitError::Params { method: Zooter::NAME, reason });
        if self.beta.is_empty() || !self.beta.iter().all(|beta| (0.0..=1.0).contains(beta)) {
            return error(format!("`beta` is `{:?}`, expected at least one number in [0, 1]", self.beta));
        }
        if !(self.temperature >= 0.01 && self.temperature.is_finite()) {
            return error(format!("`temperature` is `{}`, expected at least 0.01", self.temperature));
        }
        if self.n_clusters == 0 {
            return error("`n_clusters` is `0`, expected at least 1".to_owned());
        }
        Ok(())
    }
}

impl Method for Zooter {
    const NAME: &'static str = "zooter";
    type Params = Params;

    fn fit(params: &Params, context: &FitContext<'_>) -> Result<Fitted, FitError> {
        params.check()?;
        let own = distributions(&rewards(params.labels.of(context)), 1.0 / params.temperature);
        let tags = tags(params, context);
        let mut best: Option<(f32, Trained, Network)> = None;
        let mut settings = 0;
        for &beta in &params.beta {
            let smoothed = smooth(&own, &tags, beta);
            let (trained, network) = train(params, beta, &smoothed, context)?;
            settings += trained.tried.candidates;
            if best.as_ref().is_none_or(|(_, best, _)| trained.validation > best.validation) {
                best = Some((beta, trained, network));
            }
        }
        let Some((beta, trained, network)) = best else {
            let reason = "`beta` is empty, expected at least one number in [0, 1]".to_owned();
            return Err(FitError::Params { method: Self::NAME, reason });
        };
        let cost = costs::fit(Self::NAME, context)?;
        let predictor = network.predictor(&trained.parameters, trained.calibration, cost);
        let mut fitted = Fitted::new(predictor, &Params { beta: vec![beta], ..params.clone() });
        trained.record(&mut fitted, "validation_score", trained.validation);
        let slices = trained.tried.slices;
        fitted.tuning = Some(Tuning { candidates: settings, slices }).filter(|_| settings > 1);
        Ok(fitted)
    }
}

/// Trains the network towards `targets` `(n_queries, n_arms)`.
fn train(
    params: &Params,
    beta: f32,
    targets: &Cells,
    context: &FitContext<'_>,
) -> Result<(Trained, Network), FitError> {
    let layer = |&width: &usize| LayerShape { width, activation: Activation::Gelu, bias: true };
    let network = Network {
        dim: context.features.dim(),
        layers: params.hidden.iter().map(layer).collect(),
        head: HeadShape::Linear(Activation::Identity),
        n_arms: context.train.n_arms(),
    };
    // Settings of a grid do not go on from each other's checkpoints.
    let folder = context.checkpoint.map(|folder| folder.join(format!("beta-{beta}")));
    let own = FitContext { checkpoint: folder.as_deref(), ..*context };
    let recipe = Recipe {
        method: Zooter::NAME,
        network: network.clone(),
        front: None,
        training: params.training,
        criterion: Criterion::Choice,
        judged: &context.train.score,
        noise: params.noise * root_mean_square(context.features.values()),
        targets: &|rows, _| Targets::Distribution(targets.select_rows(rows).values().to_vec()),
        checkpoint: Checkpoint::new(Zooter::NAME, &Params { beta: vec![beta], ..params.clone() }, &own),
    };
    Ok((fit(&recipe, &own)?, network))
}

/// Labels less their mean over their standard deviation, both over the whole log; all 0 where they do not differ.
fn rewards(labels: &Cells) -> Cells {
    let known = || labels.values().iter().filter(|label| !label.is_nan()).map(|label| f64::from(*label));
    let n = labels.n_present().max(1) as f64;
    let mean = known().sum::<f64>() / n;
    let deviation = (known().map(|label| (label - mean).powi(2)).sum::<f64>() / n).sqrt();
    let unit = if deviation > 1e-9 { deviation } else { f64::INFINITY };
    let reward = |label: &f32| ((f64::from(*label) - mean) / unit) as f32;
    Cells::from_vec(labels.n_rows(), labels.n_cols(), labels.values().iter().map(reward).collect())
}

/// The tag of each query, as a number.
fn tags(params: &Params, context: &FitContext<'_>) -> Vec<u32> {
    let sources = context.train.sources();
    if params.tags == Tags::Source && sources.iter().any(Option::is_some) {
        let mut numbers = BTreeMap::new();
        let number = |source| {
            let next = numbers.len() as u32;
            *numbers.entry(source).or_insert(next)
        };
        return sources.into_iter().map(number).collect();
    }
    kmeans(context.features, params.n_clusters, CLUSTER_ITERATIONS, context.seed).1
}

/// `beta` of a query's own distribution and the rest of the mean distribution of its tag.
fn smooth(own: &Cells, tags: &[u32], beta: f32) -> Cells {
    let n_arms = own.n_cols();
    let n_tags = tags.iter().max().map_or(0, |tag| *tag as usize + 1);
    let mut sums = vec![(0.0_f32, 0.0_f32); n_tags * n_arms];
    for (row, tag) in tags.iter().enumerate() {
        let sums = &mut sums[*tag as usize * n_arms..][..n_arms];
        for ((sum, n), q) in sums.iter_mut().zip(own.row(row)).filter(|(_, q)| !q.is_nan()) {
            *sum += q;
            *n += 1.0;
        }
    }
    let of_row = |(row, tag): (usize, &u32)| {
        let means = &sums[*tag as usize * n_arms..][..n_arms];
        // A missing cell of the query stays missing, whatever is known of its tag.
        let mixed =
            own.row(row).iter().zip(means).map(|(q, (sum, n))| beta * q + (1.0 - beta) * sum / n.max(1.0));
        normalized(&mixed.collect::<Vec<f32>>())
    };
    Cells::from_vec(own.n_rows(), n_arms, tags.iter().enumerate().flat_map(of_row).collect())
}

fn root_mean_square(values: &[f32]) -> f32 {
    (values.iter().map(|v| v * v).sum::<f32>() / values.len().max(1) as f32).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rewards_have_mean_0_and_deviation_1_and_equal_ones_are_0() {
        let found = rewards(&Cells::from_vec(2, 2, vec![1.0, 0.0, f32::NAN, 1.0]));
        // mean 2/3, deviation sqrt(2)/3
        let want = [1.0 / 2.0_f32.sqrt(), -(2.0_f32.sqrt()), f32::NAN, 1.0 / 2.0_f32.sqrt()];
        let near = |(a, b): (&f32, &f32)| (a.is_nan() && b.is_nan()) || (a - b).abs() < 1e-5;
        assert!(found.values().iter().zip(&want).all(near), "{found:?}");
        assert_eq!(rewards(&Cells::from_vec(1, 2, vec![0.5, 0.5])).values(), [0.0, 0.0]);
    }

    #[test]
    fn smoothing_leans_on_the_tag_and_keeps_holes() {
        let nan = f32::NAN;
        let own = Cells::from_vec(3, 3, vec![0.8, 0.2, nan, 0.4, 0.4, 0.2, 0.1, 0.9, 0.0]);
        let found = smooth(&own, &[0, 0, 1], 0.25);
        // Means of tag 0: 0.6, 0.3, 0.2. Row 0: 0.65 and 0.275 over 0.925.
        let row = found.row(0);
        assert!((row[0] - 0.65 / 0.925).abs() < 1e-6 && row[2].is_nan(), "{row:?}");
        // Row 1: 0.55, 0.325, 0.2 over 1.075.
        assert!((found.row(1)[1] - 0.325 / 1.075).abs() < 1e-6);
        // Alone with its tag it is its own mean.
        assert_eq!(found.row(2), [0.1, 0.9, 0.0]);
    }
}
