//! Span weights on two published models of unlike vocabularies, beside rivals: what RLAE (arXiv 2506.00439) is worth
//! where nothing was made for it.
//!
//! The models answer once: for every prompt everything that a few weights of the members lead to, span by span, and the
//! answers of the rivals ([`answers`]). What is learned is learned and judged by replay of that log, fold by fold.

pub mod answers;
pub mod kept;
pub mod learn;
pub mod questions;
pub mod replay;
pub mod report;
pub mod table;

use answers::{MODELS, Pair, Rivals, Routed, Row};
use anyhow::Context as _;
use questions::{FOLDS, Question, questions};
use routewright_data::log::TokenRow;
use routewright_decoder::backend::Backend;
use routewright_decoder::backends;
use routewright_decoder::token::citer::Citer;
use routewright_trainer::methods;
use routewright_trainer::rlae::Agents;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The two models of a folder; needs the feature `candle` of the decoder.
///
/// # Errors
/// If one cannot be opened.
pub fn open(models: &Path) -> anyhow::Result<Pair> {
    let open = |(name, file): (&str, &str)| -> anyhow::Result<Arc<dyn Backend>> {
        let member = json!({ "name": name, "backend": "candle", "model": file });
        backends::open(&serde_json::from_value(member)?, models).with_context(|| {
            format!("`{name}` cannot be opened; `.ci/models` fetches it, and the build needs `candle`")
        })
    };
    Pair::new([open(MODELS[0])?, open(MODELS[1])?])
}

/// A log of `folder`.
fn log(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.jsonl"))
}

/// The trees of the first `n` questions, those that `folder` does not have yet.
///
/// # Errors
/// If a model fails or the log cannot be written.
pub fn trees(pair: &Pair, folder: &Path, n: usize, say: &dyn Fn(&str)) -> anyhow::Result<()> {
    answers::add::<Row>(&log(folder, "trees"), &questions(n, false), say, |question| pair.row(question))
}

/// What the rivals make of the first `n` questions, those that `folder` does not have yet.
///
/// # Errors
/// If a model fails or the log cannot be written.
pub fn rivals(pair: &Pair, folder: &Path, n: usize, say: &dyn Fn(&str)) -> anyhow::Result<()> {
    let bytes = pair.byte_mixture()?;
    let make = |question: &Question| pair.rivals(question, &bytes);
    answers::add::<Rivals>(&log(folder, "rivals"), &questions(n, false), say, make)
}

/// What routers of tokens make of the prompts whose rivals `folder` has: one a seed and fold, learned of the labels of
/// the other folds.
///
/// # Errors
/// If a router cannot be learned, a model fails or the log cannot be written.
pub fn routed(pair: &Pair, folder: &Path, say: &dyn Fn(&str)) -> anyhow::Result<()> {
    let labelled: Vec<Rivals> = answers::read(&log(folder, "rivals"))?;
    let n = labelled.len();
    for fold in 0..FOLDS {
        let routers = routers(&labelled, fold, pair, folder)?;
        let own: Vec<Question> =
            questions(n, false).into_iter().filter(|question| question.fold == fold).collect();
        answers::add::<Routed>(&log(folder, "routed"), &own, say, |question| {
            let seeds =
                routers.iter().map(|router| pair.fused(question, router)).collect::<anyhow::Result<_>>()?;
            pair.forget();
            Ok(Routed { id: question.id.clone(), seeds })
        })?;
    }
    Ok(())
}

/// Routers of tokens for a fold, one a seed.
fn routers(labelled: &[Rivals], fold: usize, pair: &Pair, folder: &Path) -> anyhow::Result<Vec<Citer>> {
    let mut rows = Vec::new();
    for rivals in labelled.iter().filter(|rivals| rivals.fold != fold) {
        for (step, (state, scores)) in rivals.labels.iter().enumerate() {
            rows.extend(MODELS.iter().zip(scores).map(|((model, _), score)| TokenRow {
                query_id: format!("{}#{step}", rivals.id),
                split: Some("train".to_owned()),
                source: None,
                prompt: rivals.id.clone(),
                model: (*model).to_owned(),
                score: Some(*score),
                features: state.clone(),
            }));
        }
    }
    let method = methods::find("mlp")?;
    let one = |seed: u64| {
        let (prepared, fitted) = learn::fit(&rows, folder, method.name, &json!({}), seed)?;
        Ok(Citer::with_policy(prepared.policy(method, fitted, seed)?, 0.5, true, pair.backends())?)
    };
    (0..learn::SEEDS).map(one).collect()
}

/// Learns from what `folder` has, and says what it is worth.
///
/// # Errors
/// If a log cannot be read or nothing can be learned of it.
pub fn report(folder: &Path, say: &dyn Fn(&str)) -> anyhow::Result<String> {
    let rows: Vec<Row> = answers::read(&log(folder, "trees"))?;
    let rivals: Vec<Rivals> = answers::read(&log(folder, "rivals"))?;
    let routed: Vec<Routed> = answers::read(&log(folder, "routed"))?;
    let rows: Vec<&Row> = rows.iter().collect();
    let encoders = learn::encoders(&rows)?;
    let mut lines = vec![learn::best_static(&rows)?, learn::supervised(&rows, &encoders, folder, say)?];
    for agents in [Agents::One, Agents::Joint] {
        lines.push(learn::reinforced(&rows, &encoders, agents, say)?);
    }
    report::tables(&rows, &rivals, &routed, &lines)
}

/// All of it: trees of `n` prompts, rivals on the first `n_rivals`, then the tables.
///
/// # Errors
/// As the parts.
pub fn run(
    models: &Path,
    folder: &Path,
    [n, n_rivals]: [usize; 2],
    say: &dyn Fn(&str),
) -> anyhow::Result<String> {
    let pair = open(models)?;
    trees(&pair, folder, n, say)?;
    rivals(&pair, folder, n_rivals, say)?;
    routed(&pair, folder, say)?;
    report(folder, say)
}
