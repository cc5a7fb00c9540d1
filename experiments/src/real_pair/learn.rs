//! What is learned of the other folds: the best static weight, a supervised router, span weights by reinforcement.
//! Every choice between settings is made on prompts of the other folds that were held out.

use super::answers::{GRID, Row};
use super::questions::FOLDS;
use super::replay::{Encoder, Frozen, Replay, nearest, state, walk};
use anyhow::Context as _;
use routewright_data::log::{RowWriter, TokenRow, WriteOptions};
use routewright_data::{FeatureMatrix, LoadOptions, OutcomeTable};
use routewright_policy::Batch;
use routewright_policy::forms::Simplex;
use routewright_trainer::evaluate::Average;
use routewright_trainer::method::Fitted;
use routewright_trainer::progress::Silent;
use routewright_trainer::rlae::{Agents, Params, train_reading};
use routewright_trainer::train::{BaseFeatures, FeatureChoice, Prepared, RunOptions};
use routewright_trainer::{Device, methods};
use serde_json::{Value, json};
use std::path::Path;

/// Seeds of what is drawn by chance.
pub const SEEDS: u64 = 5;
/// One prompt of so many is held out to choose settings on.
const HELD_OUT: usize = 4;
/// Principal axes a member that are tried.
const AXES: [usize; 2] = [8, 32];
/// Widths of the hidden state of each member.
pub const WIDTHS: [usize; 2] = [576, 640];
/// Rounds of play.
const ROUNDS: u64 = 60;

/// Whether a filling is right, and how often the members were asked.
pub type Outcome = (bool, [u64; 2]);
/// Of every prompt.
pub type Outcomes = Vec<Outcome>;

/// A way to fill blanks: outcomes of every seed.
#[derive(Debug, Clone)]
pub struct Line {
    /// What it is called.
    pub name: String,
    /// Settings that were chosen, fold by fold.
    pub settings: Vec<String>,
    /// One a seed.
    pub seeds: Vec<Outcomes>,
}

/// The rows of a fold and of the others.
pub fn parted<'a>(rows: &[&'a Row], fold: usize) -> (Vec<&'a Row>, Vec<&'a Row>) {
    rows.iter().copied().partition(|row| row.fold == fold)
}

/// What reads the states of each fold, fitted on the others.
///
/// # Errors
/// If a fold has no others.
pub fn encoders(rows: &[&Row]) -> anyhow::Result<Vec<Encoder>> {
    (0..FOLDS).map(|fold| Encoder::fit(&parted(rows, fold).1, WIDTHS, AXES[AXES.len() - 1])).collect()
}

/// What one place of the grid for all spans makes of a row.
///
/// # Errors
/// If the tree has a gap.
pub fn stays(row: &Row, at: usize) -> anyhow::Result<Outcome> {
    let end = walk(row, 0, |_| Ok(at)).map_err(anyhow::Error::msg)?;
    // A member without weight is not asked.
    let asked = |member: usize| if GRID[at] == [0.0, 1.0][member] { 0 } else { end.asked };
    Ok((end.right, [asked(0), asked(1)]))
}

/// Number of right fillings.
fn n_right(rows: &[&Row], of: impl Fn(&Row) -> anyhow::Result<bool>) -> anyhow::Result<usize> {
    let mut n = 0;
    for row in rows {
        n += usize::from(of(row)?);
    }
    Ok(n)
}

/// The static weight that is best on the other folds.
///
/// # Errors
/// If a tree has a gap.
pub fn best_static(rows: &[&Row]) -> anyhow::Result<Line> {
    let mut outcomes = Vec::new();
    let mut settings = Vec::new();
    let mut chosen = Vec::new();
    for fold in 0..FOLDS {
        let (_, others) = parted(rows, fold);
        let mut best = (0, 0);
        for at in 0..GRID.len() {
            let n = n_right(&others, |row| Ok(stays(row, at)?.0))?;
            if n > best.0 {
                best = (n, at);
            }
        }
        chosen.push(best.1);
        settings.push(format!("{}", GRID[best.1]));
    }
    for row in rows {
        outcomes.push(stays(row, chosen[row.fold])?);
    }
    Ok(Line { name: "best static weights".to_owned(), settings, seeds: vec![outcomes] })
}

/// A policy of one of the product's methods over the places of the grid.
struct Router<'a> {
    fitted: Fitted,
    frozen: &'a Frozen,
}

impl Router<'_> {
    fn end(&self, row: &Row) -> anyhow::Result<Outcome> {
        let end = walk(row, 0, |spot| {
            let features = self.frozen.of(&state(row, spot))?;
            let features = FeatureMatrix::from_vec(1, features.len(), features.to_vec());
            let told = self.fitted.predictor.predict(&Batch::of(&features)).map_err(|e| e.to_string())?;
            // Of equal ones the first.
            let best = (0..GRID.len()).rev().max_by(|a, b| told.score[*a].total_cmp(&told.score[*b]));
            Ok(best.unwrap_or(0))
        });
        let end = end.map_err(anyhow::Error::msg)?;
        Ok((end.right, [end.asked; 2]))
    }
}

/// An outcome log of places: whether the filling is right if a weight is chosen there and stays.
fn outcomes(rows: &[&Row], frozen: &Frozen) -> anyhow::Result<Vec<TokenRow>> {
    let mut log = Vec::new();
    for row in rows {
        for (from, spot) in row.places.iter().enumerate() {
            let features = frozen.of(&state(row, spot)).map_err(anyhow::Error::msg)?;
            for (at, weight) in GRID.iter().enumerate() {
                let end = walk(row, from, |_| Ok(at)).map_err(anyhow::Error::msg)?;
                log.push(TokenRow {
                    query_id: format!("{}#{from}", row.id),
                    split: Some("train".to_owned()),
                    source: None,
                    prompt: format!("{}{}", row.stem, spot.text),
                    model: format!("w{weight:.2}"),
                    score: Some(f32::from(u8::from(end.right))),
                    features: features.to_vec(),
                });
            }
        }
    }
    Ok(log)
}

/// Fits a method of the product on a log of vectors.
///
/// # Errors
/// If the log cannot be written or the method refuses it.
pub fn fit(
    log: &[TokenRow],
    folder: &Path,
    method: &str,
    params: &Value,
    seed: u64,
) -> anyhow::Result<(Prepared, Fitted)> {
    let path = folder.join("vectors.parquet");
    let mut writer = RowWriter::create(&path, WriteOptions::default())?;
    log.iter().try_for_each(|row| writer.push(row.clone()))?;
    writer.finish()?;
    let options = LoadOptions { vector_column: Some("features".to_owned()), ..LoadOptions::split("train") };
    let table = OutcomeTable::load(&path, &options)?;
    let choice = FeatureChoice { base: BaseFeatures::Column("features".to_owned()), source_weight: 0.0 };
    let prepared = Prepared::new(table, &choice, seed)?;
    let run = RunOptions {
        average: Average::Micro,
        seed,
        device: Device::Cpu,
        progress: &Silent,
        checkpoint: None,
    };
    let fitted = prepared.fit(methods::find(method)?, params, &run)?;
    Ok((prepared, fitted))
}

/// Rows to learn from and rows held out.
fn halves<'a>(rows: &[&'a Row]) -> (Vec<&'a Row>, Vec<&'a Row>) {
    let (held, rest): (Vec<_>, Vec<_>) =
        rows.iter().copied().enumerate().partition(|(at, _)| at % HELD_OUT == 0);
    let plain = |of: Vec<(usize, &'a Row)>| of.into_iter().map(|(_, row)| row).collect();
    (plain(rest), plain(held))
}

/// A router that learned of every place which weights are right from there on.
///
/// # Errors
/// If a fit fails.
pub fn supervised(
    rows: &[&Row],
    encoders: &[Encoder],
    folder: &Path,
    say: &dyn Fn(&str),
) -> anyhow::Result<Line> {
    let mut found: Vec<Option<Outcome>> = vec![None; rows.len()];
    let mut settings = Vec::new();
    for (fold, encoder) in encoders.iter().enumerate() {
        let (_, others) = parted(rows, fold);
        let (learn, held) = halves(&others);
        let mut best: Option<(usize, usize, &str)> = None;
        for axes in AXES {
            let frozen = Frozen::new(encoder, rows, axes);
            let log = outcomes(&learn, &frozen)?;
            for method in ["ridge", "logistic"] {
                let (_, fitted) = fit(&log, folder, method, &json!({}), 0)?;
                let router = Router { fitted, frozen: &frozen };
                let n = n_right(&held, |row| Ok(router.end(row)?.0))?;
                if best.is_none_or(|(most, ..)| n > most) {
                    best = Some((n, axes, method));
                }
            }
        }
        let (n, axes, method) = best.context("nothing was fitted")?;
        say(&format!("router, fold {fold}: {method}, {axes} axes, {n} of {} held out", held.len()));
        let frozen = Frozen::new(encoder, rows, axes);
        let (_, fitted) = fit(&outcomes(&others, &frozen)?, folder, method, &json!({}), 0)?;
        let router = Router { fitted, frozen: &frozen };
        for (row, found) in rows.iter().zip(&mut found).filter(|(row, _)| row.fold == fold) {
            *found = Some(router.end(row)?);
        }
        settings.push(format!("{method}, {axes} axes"));
    }
    let outcomes = found.into_iter().collect::<Option<Outcomes>>().context("a prompt is in no fold")?;
    Ok(Line { name: "supervised router".to_owned(), settings, seeds: vec![outcomes] })
}

/// What the center of a learned distribution makes of a row.
fn acted(form: &Simplex, frozen: &Frozen, row: &Row) -> anyhow::Result<Outcome> {
    let end = walk(row, 0, |spot| Ok(nearest(form.over_weights(frozen.of(&state(row, spot))?).center()[0])));
    let end = end.map_err(anyhow::Error::msg)?;
    Ok((end.right, [end.asked; 2]))
}

/// Span weights learned by reinforcement, by replay of the other folds.
///
/// # Errors
/// If learning fails.
pub fn reinforced(
    rows: &[&Row],
    encoders: &[Encoder],
    agents: Agents,
    say: &dyn Fn(&str),
) -> anyhow::Result<Line> {
    let n_seeds = usize::try_from(SEEDS)?;
    let mut found: Vec<Vec<Option<Outcome>>> = vec![vec![None; rows.len()]; n_seeds];
    let mut settings = Vec::new();
    for (fold, encoder) in encoders.iter().enumerate() {
        let (_, others) = parted(rows, fold);
        let (learn, held) = halves(&others);
        let lists = [(0..learn.len()).collect::<Vec<_>>(), (learn.len()..others.len()).collect()];
        let replay = Replay([learn, held].concat());
        let train = |params: &Params, frozen: &Frozen, seed: u64| {
            let learned =
                train_reading(params, frozen, &replay, [&lists[0], &lists[1]], seed, &Silent, None)?;
            let valid = learned.curve.iter().map(|point| point.valid).fold(0.0, f32::max);
            anyhow::Ok((valid, learned.form))
        };
        let mut best: Option<(f32, usize, Params)> = None;
        for axes in AXES {
            let frozen = Frozen::new(encoder, rows, axes);
            for hidden in [vec![], vec![32]] {
                let params = Params { agents, hidden, rounds: ROUNDS, ..Params::default() };
                let (valid, _) = train(&params, &frozen, 0)?;
                if best.as_ref().is_none_or(|(most, ..)| valid > *most) {
                    best = Some((valid, axes, params));
                }
            }
        }
        let (valid, axes, params) = best.context("nothing was learned")?;
        settings.push(format!("{axes} axes, hidden {:?}", params.hidden));
        say(&format!("{agents:?}, fold {fold}: {}, {valid:.4} held out", settings[fold]));
        let frozen = Frozen::new(encoder, rows, axes);
        for (seed, found) in found.iter_mut().enumerate() {
            let (_, form) = train(&params, &frozen, seed as u64)?;
            for (row, found) in rows.iter().zip(found).filter(|(row, _)| row.fold == fold) {
                *found = Some(acted(&form, &frozen, row)?);
            }
        }
    }
    let seeds = found.into_iter().map(|seed| seed.into_iter().collect::<Option<Outcomes>>());
    let seeds = seeds.collect::<Option<Vec<_>>>().context("a prompt is in no fold")?;
    Ok(Line { name: format!("RLAE, {}", name(agents)), settings, seeds })
}

fn name(agents: Agents) -> &'static str {
    match agents {
        Agents::One => "PPO",
        Agents::Joint => "MAPPO, joint",
        Agents::Independent => "MAPPO, independent",
    }
}
