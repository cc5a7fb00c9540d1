//! How much of the answers is right: by fixed weights, and by an oracle that knows whose segment it is.

use crate::skills;
use routewright_data::log::TaskRow;
use routewright_decoder::align::{Space, Union};
use routewright_decoder::backend::Backend;
use routewright_decoder::fuse::{Fuser, answer};
use routewright_decoder::generation::{Ask, FuseError, Generation};
use routewright_decoder::pool::Pool;
use routewright_decoder::token::TokenLoop;
use routewright_decoder::vocabulary::Vocabulary;
use routewright_decoder::weigh::{Fixed, View, Weigh, Weigher, Weights};
use std::collections::BTreeMap;
use std::sync::Arc;

/// All weight on the expert whose skill the segment needs.
#[derive(Debug, Clone, Copy)]
pub struct Oracle;

impl Weigh for Oracle {
    fn start(&self, _generation: &mut Generation<'_>) -> Result<Box<dyn Weigher>, FuseError> {
        Ok(Box::new(*self))
    }
}

impl Weigher for Oracle {
    fn weigh(&mut self, view: &View<'_>) -> Result<Weights, FuseError> {
        let segment = view.text.iter().filter(|byte| **byte == b'\n').count();
        let prompt = String::from_utf8_lossy(view.prompt);
        let name = prompt.split(';').nth(segment).and_then(|asked| asked.split(' ').next());
        let expert = name.and_then(skills::find).map_or(0, |skill| skill.expert);
        Ok(Weights::plain((0..2).map(|at| f32::from(u8::from(at == expert))).collect()))
    }
}

/// Right lines of all, by skill.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Score(BTreeMap<String, (usize, usize)>);

impl Score {
    /// Counts the lines of an answer; a line is right where it is that of the reference at the same place.
    pub fn add(&mut self, task: &TaskRow, answer: &str) {
        let mut given = answer.lines();
        for (skill, line) in task.skills.iter().zip(task.reference.lines()) {
            let (right, all) = self.0.entry(skill.clone()).or_default();
            *right += usize::from(given.next() == Some(line));
            *all += 1;
        }
    }

    /// Share of all lines.
    pub fn share(&self) -> f64 {
        let (right, all) = self.0.values().fold((0, 0), |(a, b), (right, all)| (a + right, b + all));
        right as f64 / all.max(1) as f64
    }

    /// Share of the lines of every skill.
    pub fn by_skill(&self) -> impl Iterator<Item = (&str, f64)> {
        self.0.iter().map(|(skill, (right, all))| (skill.as_str(), *right as f64 / (*all).max(1) as f64))
    }
}

/// Answers to `tasks` by probabilities added with the weights of `weigh`, counted.
///
/// # Errors
/// If a model fails.
pub fn score(
    backends: &[Arc<dyn Backend>],
    weigh: Box<dyn Weigh>,
    tasks: &[TaskRow],
) -> Result<Score, FuseError> {
    let vocabularies: Vec<&Vocabulary> =
        backends.iter().filter_map(|backend| backend.tokenizer().map(|known| known.vocabulary())).collect();
    let align = Box::new(Union::new(Space::union(&vocabularies)));
    let fuser = Linear(TokenLoop { align, pool: Pool::Linear, weigh });
    let mut score = Score::default();
    for task in tasks {
        let mut ask = Ask::new(task.prompt.as_bytes());
        ask.limits.steps = 120;
        score.add(task, &answer(&fuser, backends, ask, Box::new(|_| {}))?.text);
    }
    Ok(score)
}

/// The same with weights that stay: `first` for the first expert.
///
/// # Errors
/// If a model fails.
pub fn fixed(backends: &[Arc<dyn Backend>], first: f32, tasks: &[TaskRow]) -> Result<Score, FuseError> {
    score(backends, Box::new(Fixed(vec![first, 1.0 - first])), tasks)
}

#[derive(Debug)]
struct Linear(TokenLoop);

impl Fuser for Linear {
    fn fuse(&self, generation: &mut Generation<'_>) -> Result<(), FuseError> {
        self.0.run(generation)
    }
}
