//! ModelSwitch (arXiv 2504.00762): sample one model several times, and switch to the next while the samples disagree.
//!
//! Program `switch`: the models in order, `samples` each; the first whose samples agree ends it, and the reply is a
//! vote over all samples, each model's weighted by its entropy and by a weight of its own, found by trying all small
//! integers on train.
//!
//! # Deviations from the paper and its code (JianhaoChen-nju/ModelSwitch)
//! 1. Counts are divided by the samples of the model: with unequal numbers of samples the code's pooled counts let
//!    a weak model outvote a strong one.
//! 2. The published runner ends with an unweighted pooled vote; the weighting is that of its analysis script.
//! 3. External weights are searched on all of train, in 1 to 4 for every model; the code searches a dev split.
//! 4. Models that are not named are the most accurate ones on train, in that order or, with `order = "price"`, the
//!    cheapest first.

use super::weights::reading;
use crate::evaluate::Tuning;
use crate::method::{Family, FitContext, FitError, Fitted, Method, MethodRow, Reads};
use crate::train::arms;
use routewright_data::answers::AnswerTable;
use routewright_data::answers::normalize::Normalizer;
use routewright_data::suggest::near_names;
use routewright_policy::programs::{Sampled, Stage, Stages, Switch, winners};
use serde::{Deserialize, Serialize};

pub(in crate::methods) const ROW: MethodRow = MethodRow::of::<ModelSwitch>(
    "samples a model and switches to the next while the samples disagree; votes by entropy",
    Some("2504.00762"),
    Family::After,
    &[],
)
.reading(&[Reads::Outcomes, Reads::Answers]);

/// Greatest external weight that is tried.
const WEIGHT_MAX: u32 = 4;
/// Most models, so that all weights can be tried.
const MODELS_MAX: usize = 4;

/// The method of this file.
#[derive(Debug)]
pub(in crate::methods) struct ModelSwitch;

/// In which order models are sampled that the user does not name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Order {
    /// The most accurate first.
    Accuracy,
    /// The cheapest first.
    Price,
}

/// Parameters.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::methods) struct Params {
    /// Models in the order they are sampled, at most 4; chosen on train where empty.
    models: Vec<String>,
    /// Models that are chosen, in [1, 4].
    stages: usize,
    /// Order of the models that are chosen.
    order: Order,
    /// Samples of each model, at least 1.
    samples: u32,
    /// Least share of the most frequent answer that ends it, in (0, 1].
    agreement: f64,
    /// Whether external weights from 1 to 4 are searched on train; else they are 1.
    search_weights: bool,
    /// Rule that makes equal answers equal texts, see `data::answers::normalize`.
    normalize: String,
    /// Temperature asked for when it is served; the host's where there is none.
    temperature: Option<f32>,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            models: Vec::new(),
            stages: 2,
            order: Order::Accuracy,
            samples: 5,
            agreement: 1.0,
            search_weights: true,
            normalize: "exact".to_owned(),
            temperature: None,
        }
    }
}

/// Form, score and price of one sample.
type Sample = (Option<String>, Option<f32>, Option<f64>);

/// What an episode on train came to.
#[derive(Debug, Clone, Copy)]
struct Outcome {
    score: f64,
    calls: f64,
    cost_usd: Option<f64>,
    /// 1 where a second model was sampled, else 0; a mean is their share.
    switched: f64,
}

fn refused(reason: String) -> FitError {
    FitError::Params { method: ModelSwitch::NAME, reason }
}

fn fault(reason: String) -> FitError {
    FitError::Log { method: ModelSwitch::NAME, reason }
}

/// The arms to sample, in order.
fn order(params: &Params, context: &FitContext<'_>) -> Result<Vec<usize>, FitError> {
    let known = &context.train.models;
    let find = |model: &String| {
        known.iter().position(|name| name == model).ok_or_else(|| {
            let hint = near_names(model, known.iter().map(String::as_str));
            refused(format!("`models` names `{model}`, which is no model of the log; {hint}"))
        })
    };
    let named: Vec<usize> = params.models.iter().map(find).collect::<Result<_, _>>()?;
    let n = if named.is_empty() { params.stages } else { named.len() };
    if !(1..=MODELS_MAX).contains(&n) {
        return Err(refused(format!("`{n}` models are sampled, expected 1 to {MODELS_MAX}")));
    }
    if !named.is_empty() {
        return Ok(named);
    }
    let mean = |arm: &usize| context.train.score.column_mean(*arm).unwrap_or(0.0);
    let mut best: Vec<usize> = (0..known.len()).collect();
    best.sort_by(|a, b| mean(b).total_cmp(&mean(a)).then(a.cmp(b)));
    best.truncate(n);
    if params.order == Order::Price {
        let price = |arm: &usize| context.train.cost_usd.column_mean(*arm);
        if best.iter().any(|arm| price(arm).is_none()) {
            return Err(fault("a model has no price, which `order` = `price` needs".to_owned()));
        }
        best.sort_by(|a, b| price(a).unwrap_or(0.0).total_cmp(&price(b).unwrap_or(0.0)).then(a.cmp(b)));
    }
    Ok(best)
}

/// The samples of each arm to the queries that have enough of every arm.
fn samples(answers: &AnswerTable, order: &[usize], n: u32, rule: &Normalizer) -> Vec<Vec<Vec<Sample>>> {
    let reads = reading(answers);
    let of_arm = |query: usize, arm: usize| -> Vec<Sample> {
        let rows = answers.samples(query, arm).take(n as usize);
        rows.map(|row| (reads.form(rule, row.answer, row.text), row.score, row.cost_usd)).collect()
    };
    let queries = (0..answers.n_queries()).map(|query| order.iter().map(|arm| of_arm(query, *arm)).collect());
    queries.filter(|arms: &Vec<Vec<Sample>>| arms.iter().all(|samples| samples.len() == n as usize)).collect()
}

/// Plays one query; `None` where the score of the answer chosen is not known.
fn play(query: &[Vec<Sample>], config: &Stages, weights: &[f64]) -> Option<Outcome> {
    let mut sampled = Sampled::new();
    for samples in query {
        sampled.push(samples.iter().map(|(form, ..)| form.as_deref()).collect());
        if sampled.last().is_some_and(|forms| config.agree(forms)) {
            break;
        }
    }
    let used: Vec<&Sample> = query[..sampled.len()].iter().flatten().collect();
    let mut found = winners(&Stages::ballots(&sampled, weights));
    if found.is_empty() {
        found.push(0);
    }
    let scores: Vec<f64> = found.iter().map(|at| used[*at].1.map(f64::from)).collect::<Option<_>>()?;
    Some(Outcome {
        score: scores.iter().sum::<f64>() / scores.len() as f64,
        calls: used.len() as f64,
        cost_usd: used.iter().map(|(.., cost)| *cost).sum(),
        switched: f64::from(u8::from(sampled.len() > 1)),
    })
}

/// Mean of the outcomes with these weights.
fn mean_of(queries: &[Vec<Vec<Sample>>], config: &Stages, weights: &[f64]) -> Option<Outcome> {
    let played: Vec<Outcome> = queries.iter().filter_map(|query| play(query, config, weights)).collect();
    let n = played.len() as f64;
    let mean = |value: fn(&Outcome) -> f64| played.iter().map(value).sum::<f64>() / n;
    let costs: Option<f64> = played.iter().map(|outcome| outcome.cost_usd).sum();
    (!played.is_empty()).then(|| Outcome {
        score: mean(|outcome| outcome.score),
        calls: mean(|outcome| outcome.calls),
        cost_usd: costs.map(|usd| usd / n),
        switched: mean(|outcome| outcome.switched),
    })
}

/// All weights from 1 to [`WEIGHT_MAX`] for `n` models, those of the least sum first.
fn all_weights(n: usize) -> Vec<Vec<f64>> {
    let base = WEIGHT_MAX as usize;
    let digit = |number: usize, place: usize| 1 + number / base.pow(place as u32) % base;
    let mut all: Vec<Vec<usize>> =
        (0..base.pow(n as u32)).map(|number| (0..n).map(|place| digit(number, place)).collect()).collect();
    all.sort_by_key(|weights| weights.iter().sum::<usize>());
    all.into_iter().map(|weights| weights.into_iter().map(|weight| weight as f64).collect()).collect()
}

impl Method for ModelSwitch {
    const NAME: &'static str = "modelswitch";
    type Params = Params;

    fn fit(params: &Params, context: &FitContext<'_>) -> Result<Fitted, FitError> {
        let rule = Normalizer::named(&params.normalize).map_err(refused)?;
        let order = order(params, context)?;
        let answers = context
            .answers
            .ok_or_else(|| fault("it has no answers, expected a column `answer` or `response`".to_owned()))?;
        let names: Vec<String> = order.iter().map(|arm| context.train.models[*arm].clone()).collect();
        let stage = |model: &String| Stage { model: model.clone(), samples: params.samples, weight: 1.0 };
        let mut config = Stages {
            stages: names.iter().map(stage).collect(),
            agreement: params.agreement,
            answers: rule.name.to_owned(),
            reads: reading(answers),
            temperature: params.temperature,
        };
        let all = arms(context.train);
        let program =
            |config: &Stages| Switch::new(config.clone(), &all).map_err(|error| refused(error.to_string()));
        program(&config)?;
        let queries = samples(answers, &order, params.samples, rule);
        if queries.is_empty() {
            let most = order.iter().map(|arm| {
                (0..answers.n_queries()).map(|query| answers.samples(query, *arm).len()).max().unwrap_or(0)
            });
            let reason = format!(
                "no query has `{}` samples of each of {}; a query has at most {} of one of them, see `samples`",
                params.samples,
                names.join(", "),
                most.min().unwrap_or(0)
            );
            return Err(fault(reason));
        }
        let tried =
            if params.search_weights { all_weights(order.len()) } else { vec![vec![1.0; order.len()]] };
        let mut best: Option<(Outcome, &Vec<f64>)> = None;
        for weights in &tried {
            let Some(outcome) = mean_of(&queries, &config, weights) else { continue };
            if best.is_none_or(|(known, _)| outcome.score > known.score + 1e-12) {
                best = Some((outcome, weights));
            }
        }
        let (outcome, weights) =
            best.ok_or_else(|| fault("no answer that it chooses has a score".to_owned()))?;
        config.stages.iter_mut().zip(weights).for_each(|(stage, weight)| stage.weight = *weight);
        let chosen = Params { models: names, stages: order.len(), ..params.clone() };
        let mut fitted = Fitted::steps(Box::new(program(&config)?), all.len(), &chosen);
        let metrics =
            [("train_score", outcome.score), ("calls", outcome.calls), ("switched", outcome.switched)];
        fitted.metrics = metrics.map(|(name, value)| (name.to_owned(), value)).into();
        fitted.metrics.extend(outcome.cost_usd.map(|usd| ("cost_usd".to_owned(), usd)));
        fitted.tuning = Some(Tuning { candidates: tried.len(), slices: 1 });
        Ok(fitted)
    }
}

#[cfg(test)]
mod tests;
