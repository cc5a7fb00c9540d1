//! RouterDC (arXiv 2409.19886): dual contrastive learning of a query encoder and one vector an arm.
//!
//! A query `x` is encoded as `h(x)`, an arm has a vector `k_m`; the arm of the greatest `cos(h(x), k_m)` is
//! chosen. Two losses are summed. *Sample-LLM*: each of the `K+` best arms of a query is drawn to it and the
//! `K-` worst are pushed off. *Sample-sample*: queries of one cluster are drawn together, `H` queries of other
//! clusters pushed off. Formulas and shapes stand in `neural/losses.rs`.
//!
//! Encoders: `head` (dense layers on frozen features), `bag` (a hashed n-gram embedding bag) and `bert` (a
//! checkpoint); the latter two are trained end to end, stored as the featurizers `hashed-bag` and `bert`, and
//! optionally have dense layers on top.
//!
//! # Deviations from the paper
//! 1. The encoder is not mDeBERTa-v3: see above.
//! 2. The raw output is a cosine. For selectors that weigh score against cost it is mapped to the scale of
//!    the log by one increasing line shared by all arms, fitted on the validation slice; the arm of the
//!    greatest score stays the arm of the greatest cosine.
//! 3. Clusters are k-means of the features; the paper reduces them by t-SNE first.
//! 4. The checkpoint is chosen on a validation slice cut from train by prompt hash; the released code takes
//!    the best score on the training files. With `refit` the chosen number of steps is then run on all rows.
//! 5. Equal scores are ordered at random, differently in every step; both leave the order open.
//! 6. An arm is never positive and negative at once (matters with fewer than `K+ + K-` scored arms).
//! 7. Missing outcomes are neither positive nor negative. Labels are what an evaluation counts (`score`);
//!    `labels = "soft"` takes the graded signal, as the paper does.
//!
//! 8. Defaults: `K+` = 1, `K-` = 6, `T` = 0.3, `lambda` = 0.3, up to 2000 steps and noise on the features, chosen
//!    by cross-validation on RouterDC's own train split for the frozen lexical features; the paper has 3, 3, 1, 1
//!    and 1000.
//!
//! 9. With a pair log the arms that won are positives and those that lost negatives; the paper has full outcomes.
//!
//! Where paper and released code differ, `variant` decides: see [`Variant`].

use crate::clustering::kmeans;
use crate::method::{Family, FitContext, FitError, Fitted, Method, MethodRow, Need, Reads};
use crate::methods::baselines::means;
use crate::methods::costs;
use crate::neural::{
    BagRecipe, BagRows, Checkpoint, Contrast, ContrastTargets, Criterion, Front, HeadShape, LayerShape,
    Network, Recipe, Targets, Training, Variant, fit,
};
use crate::preferences::Comparisons;
use routewright_data::dense::Activation;
use routewright_data::features::{BITS_MAX, BagVocabulary, HashedBag};
use routewright_data::rng::Rng;
use routewright_data::{Cells, FeatureMatrix};
use routewright_policy::forms::CostModel;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

pub(in crate::methods) const ROW: MethodRow = MethodRow::of::<RouterDc>(
    "query encoder and arm vectors by dual contrastive learning",
    Some("2409.19886"),
    Family::Before,
    &[Need::Features],
)
.on_device()
.reading(&[Reads::Outcomes, Reads::Pairs]);

/// The method of this file.
#[derive(Debug)]
pub(in crate::methods) struct RouterDc;

/// Rounds of k-means, at most.
const CLUSTER_ITERATIONS: usize = 100;
/// Below it the exponentials of the losses overflow.
const TEMPERATURE_MIN: f32 = 0.03;

/// Which labels are learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Labels {
    /// What an evaluation counts.
    Score,
    /// The graded signal, where the log has one.
    Soft,
}

/// What encodes a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Encoder {
    /// Dense layers on the features.
    Head,
    /// A bag of hashed n-grams trained end to end, dense layers on top.
    Bag,
    /// A BERT checkpoint fine-tuned end to end (cargo feature `bert`), dense layers on top.
    Bert,
}

/// Hyper-parameters.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::methods) struct Params {
    /// `paper` or `released`.
    variant: Variant,
    /// `head`, `bag` or `bert`.
    encoder: Encoder,
    /// Number of buckets of the bag is `2^bag_bits`.
    bag_bits: u32,
    /// Width of the rows of the bag.
    bag_width: usize,
    /// Standard deviation of the rows of the bag at the start; small rows turn fast.
    bag_sd: f32,
    /// Folder of the checkpoint for `bert`.
    bert_dir: String,
    /// Learning rate of the encoder for `bert`; `rate` is that of layers and arm vectors.
    bert_rate: f32,
    /// Tokens of a query for `bert`, at most.
    bert_length: usize,
    /// Widths of the dense layers, GELU between them; the last is the width of the arm vectors. None leaves
    /// the features (or the bag) as they are.
    hidden: Vec<usize>,
    /// `K+`.
    positives: usize,
    /// `K-`.
    negatives: usize,
    /// `H`.
    outsiders: usize,
    /// `T`.
    temperature: f32,
    /// `lambda`: weight of the sample-sample loss.
    cluster_weight: f32,
    /// Number of clusters.
    n_clusters: usize,
    /// `score` or `soft`.
    labels: Labels,
    /// Labels are `score - cost_rate * cost_usd`.
    cost_rate: f32,
    /// Standard deviation of the noise added to features in training.
    noise: f32,
    /// How long, how fast, on what.
    #[serde(flatten)]
    training: Training,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            variant: Variant::Paper,
            encoder: Encoder::Head,
            bag_bits: 15,
            bag_width: 64,
            bag_sd: 0.1,
            bert_dir: String::new(),
            bert_rate: 5e-5,
            bert_length: 128,
            hidden: vec![128],
            positives: 1,
            negatives: 6,
            outsiders: 3,
            temperature: 0.3,
            cluster_weight: 0.3,
            n_clusters: 5,
            labels: Labels::Score,
            cost_rate: 0.0,
            noise: 0.1,
            training: Training {
                steps: 2000,
                every: 500,
                patience: 0,
                batch: 64,
                rate: 1e-3,
                weight_decay: 0.01,
                per_source: 1000,
                folds: 5,
                valid_share: 0.15,
                refit: true,
            },
        }
    }
}

impl Method for RouterDc {
    const NAME: &'static str = "routerdc";
    type Params = Params;

    fn fit(params: &Params, context: &FitContext<'_>) -> Result<Fitted, FitError> {
        check(params)?;
        let bert = super::bert::Tuned::new(params, context)?;
        let network = network(params, context, bert.as_ref());
        let judged = adjusted(&context.train.score, &context.train.cost_usd, params.cost_rate);
        let soft = context.train.soft_score.as_ref().filter(|_| params.labels == Labels::Soft);
        let labels =
            adjusted(soft.unwrap_or(&context.train.score), &context.train.cost_usd, params.cost_rate);
        let (_, clusters) =
            kmeans(&unit_rows(context.features), params.n_clusters, CLUSTER_ITERATIONS, context.seed);
        let contrast = contrast(params);
        let vocabulary = bag_vocabulary(params, context);
        let grams = vocabulary.as_ref().map(|vocabulary| bag_rows(vocabulary, context));
        let front = vocabulary.as_ref().zip(grams.as_ref()).map(|(vocabulary, rows)| {
            Front::Bag(BagRecipe {
                rows,
                n_buckets: vocabulary.n_buckets(),
                sd: params.bag_sd,
                optimizer: params.training.optimizer(),
            })
        });
        let front = front.or_else(|| bert.as_ref().map(super::bert::Tuned::front));
        let recipe = Recipe {
            method: Self::NAME,
            network,
            front,
            training: params.training,
            criterion: Criterion::Choice,
            judged: &judged,
            noise: params.noise,
            targets: &|rows, rng| {
                Targets::Contrast(match context.pairs {
                    Some(pairs) => judged_targets(&contrast, pairs, &labels, rows, &clusters, rng),
                    None => contrast.targets(&labels, rows, Some(&clusters), rng),
                })
            },
            checkpoint: Checkpoint::new(Self::NAME, params, context),
        };
        let trained = fit(&recipe, context)?;
        // A trained encoder replaces the features that prices could be read from.
        let cost = match params.encoder {
            Encoder::Head => costs::fit(Self::NAME, context)?,
            Encoder::Bag | Encoder::Bert => CostModel::constant(means::mean_costs(context.train)),
        };
        let predictor = recipe.network.predictor(&trained.parameters, trained.calibration, cost);
        let mut fitted = Fitted::new(predictor, params);
        if let (Some(vocabulary), Some(table)) = (vocabulary, &trained.bag) {
            fitted.featurizer = Some(Arc::new(HashedBag::new(vocabulary, table)));
        }
        if let Some(bert) = &bert {
            fitted.featurizer = Some(bert.featurizer(&trained)?);
        }
        trained.record(&mut fitted, "validation_score", trained.validation);
        Ok(fitted)
    }
}

fn network(params: &Params, context: &FitContext<'_>, bert: Option<&super::bert::Tuned>) -> Network {
    let last = params.hidden.len().saturating_sub(1);
    let layer = |(i, &width): (usize, &usize)| LayerShape {
        width,
        activation: if i == last { Activation::Identity } else { Activation::Gelu },
        bias: true,
    };
    let dim = match params.encoder {
        Encoder::Head => context.features.dim(),
        Encoder::Bag => params.bag_width,
        Encoder::Bert => bert.map_or(0, super::bert::Tuned::dim),
    };
    Network {
        dim,
        layers: params.hidden.iter().enumerate().map(layer).collect(),
        head: HeadShape::Cosine,
        n_arms: context.train.n_arms(),
    }
}

impl Params {
    /// Folder, learning rate and length of the checkpoint to be tuned, where one is.
    pub(super) fn bert(&self) -> Option<(&str, f32, usize)> {
        (self.encoder == Encoder::Bert).then_some((&self.bert_dir, self.bert_rate, self.bert_length))
    }

    #[cfg(feature = "bert")]
    pub(super) fn weight_decay(&self) -> f32 {
        self.training.weight_decay
    }
}

fn contrast(params: &Params) -> Contrast {
    Contrast {
        variant: params.variant,
        positives: params.positives,
        negatives: params.negatives,
        temperature: params.temperature,
        outsiders: params.outsiders,
        cluster_weight: params.cluster_weight,
    }
}

/// The same where a pair log was given: of the arms compared on a query, those that won at least half are positives,
/// the others negatives; a tie is drawn as a win of either, and a query counts by the weight of its judges.
fn judged_targets(
    contrast: &Contrast,
    pairs: &Comparisons,
    labels: &Cells,
    rows: &[usize],
    clusters: &[u32],
    rng: &mut Rng,
) -> ContrastTargets {
    let drawn = pairs.drawn(labels, rows, rng);
    let own: Vec<u32> = rows.iter().map(|row| clusters[*row]).collect();
    let batch: Vec<usize> = (0..rows.len()).collect();
    let mut targets = contrast.targets(&drawn, &batch, Some(&own), rng);
    let n_positives = targets.n_positives.max(1);
    for (weights, row) in targets.positive_weight.chunks_exact_mut(n_positives).zip(rows) {
        weights.iter_mut().for_each(|weight| *weight *= pairs.weight_of(*row));
    }
    targets
}

fn check(params: &Params) -> Result<(), FitError> {
    let error = |reason: String| Err(FitError::Params { method: RouterDc::NAME, reason });
    if params.positives == 0 || params.negatives == 0 {
        let (p, n) = (params.positives, params.negatives);
        return error(format!("`positives` is `{p}` and `negatives` `{n}`, expected at least 1"));
    }
    if !(params.temperature >= TEMPERATURE_MIN && params.temperature.is_finite()) {
        let t = params.temperature;
        return error(format!("`temperature` is `{t}`, expected at least {TEMPERATURE_MIN}"));
    }
    if params.cluster_weight > 0.0 && (params.n_clusters == 0 || params.outsiders == 0) {
        return error(
            "`n_clusters` and `outsiders` must be at least 1 with `cluster_weight` above 0".to_owned(),
        );
    }
    if params.encoder == Encoder::Bag {
        if !(1..=BITS_MAX).contains(&params.bag_bits) {
            return error(format!("`bag_bits` is `{}`, expected 1 to {BITS_MAX}", params.bag_bits));
        }
        if params.bag_width == 0 || !(params.bag_sd > 0.0 && params.bag_sd.is_finite()) {
            return error("`bag_width` must be at least 1 and `bag_sd` positive".to_owned());
        }
    }
    if !(params.cost_rate >= 0.0 && params.cost_rate.is_finite()) {
        return error(format!("`cost_rate` is `{}`, expected 0 or a positive number", params.cost_rate));
    }
    Ok(())
}

/// `score - rate * cost`; where the cost of a cell is not known, the cell is missing unless `rate` is 0.
fn adjusted(score: &Cells, cost_usd: &Cells, rate: f32) -> Cells {
    if rate == 0.0 {
        return score.clone();
    }
    let values = score.values().iter().zip(cost_usd.values()).map(|(s, c)| s - rate * c).collect();
    Cells::from_vec(score.n_rows(), score.n_cols(), values)
}

/// The features over their lengths, as k-means wants them.
fn unit_rows(features: &FeatureMatrix) -> FeatureMatrix {
    let mut units = features.clone();
    for row in 0..units.n_rows() {
        let norm = units.row(row).iter().map(|x| x * x).sum::<f32>().sqrt();
        if norm > 0.0 {
            units.row_mut(row).iter_mut().for_each(|x| *x /= norm);
        }
    }
    units
}

fn bag_vocabulary(params: &Params, context: &FitContext<'_>) -> Option<BagVocabulary> {
    let texts = || context.train.prompts();
    (params.encoder == Encoder::Bag).then(|| BagVocabulary::fit(&texts(), params.bag_bits))
}

fn bag_rows(vocabulary: &BagVocabulary, context: &FitContext<'_>) -> BagRows {
    let mut rows = BagRows::default();
    context.train.queries.iter().for_each(|query| rows.push(vocabulary.grams(&query.prompt)));
    rows
}
