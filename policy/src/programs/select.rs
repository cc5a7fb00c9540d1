//! Selection: call several arms at the same time, score each answer given, return the best.
//!
//! Answers of equal form are one candidate ([`panel`]), or each is one of its own. Blocks make numbers of a candidate
//! ([`blocks`]), and the part `scorer` predicts its score from them, as an answer of the arm that speaks for it: its
//! strongest giver on the task of the request. The best candidate's answer by that giver is returned. Ties go to the
//! stronger giver; where these are equal too, one is drawn.
//!
//! With a least score the policy abstains where the best candidate has less. With a part `gate` the score that counts
//! for this is the gate's, a probability read from four numbers of the best candidate ([`gate_features`]).
//!
//! Members that the request excludes or that do not fit budget and deadline are left out, the strongest being called
//! first. A failed call counts among those asked and for nothing else; where no answer is a candidate, that of the
//! strongest member is returned.

use super::tally::Reading;
use super::{ProgramError, ProgramRow, ProgramState, config, crowd};
use crate::program::{
    Action, Answer, AnswerNeed, Bounds, Episode, Part, Program, Reply, Step, StepError, StepReason,
};
use crate::{Arm, DecideError, PredictError, Request, Router};
use routewright_data::FeatureMatrix;
use routewright_data::answers::normalize::Normalizer;
use routewright_data::features::FeatureInput;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

mod blocks;
mod panel;
mod texts;

pub use blocks::{Block, Seen, features};
pub use panel::{Candidate, Given, Grouping, Panel, Skills, Standing, log_odds};
pub use texts::{log_chars, squared_distance};

pub(super) const ROW: ProgramRow = ProgramRow {
    name: "select",
    version: 1,
    title: "calls several arms at the same time and returns the answer that a scorer finds best",
    load: Select::load,
    example,
};

/// Names of its parts: what scores candidates; and where they are needed, what gives the probability that the best
/// is right, what makes vectors of texts, and what predicts the members' scores on a query.
const SCORER: &str = "scorer";
const GATE: &str = "gate";
const TEXTS: &str = "texts";
const PRIOR: &str = "prior";
/// Most members, and most tasks.
const SIZE_MAX: usize = 4096;
/// Scores closer than this are tied: they round.
const TIE: f32 = 1e-6;
/// Logits of the gate are drawn into this.
const LOGIT: (f64, f64) = (-4.0, 8.0);
/// Numbers that the gate reads.
pub const GATE_DIM: usize = 4;

/// Who is asked, what is a candidate, and what the scorer reads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Selection {
    /// Models that may be asked, each once.
    pub members: Vec<String>,
    /// Members that are asked, by place; all where `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Vec<usize>>,
    /// Members that are asked on a task.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub asked_by_task: BTreeMap<String, Vec<usize>>,
    /// Rule that makes equal answers equal texts, by name.
    pub answers: String,
    /// What of an answer the rule reads.
    pub reads: Reading,
    /// Which answers are one candidate.
    pub grouping: Grouping,
    /// How good the members are.
    pub skills: Skills,
    /// What the scorer reads of a candidate.
    pub blocks: Vec<Block>,
    /// Least score of the best candidate, else the policy abstains; `None` where it never does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub least: Option<f32>,
}

impl Selection {
    /// Numbers that the scorer reads.
    pub fn dim(&self) -> usize {
        self.blocks.iter().map(|block| block.dim(self.members.len())).sum()
    }

    /// Members that are asked on a task.
    fn asked(&self, task: Option<&str>) -> Vec<usize> {
        let own = task.and_then(|task| self.asked_by_task.get(task)).or(self.asked.as_ref());
        own.cloned().unwrap_or_else(|| (0..self.members.len()).collect())
    }

    fn check(&self) -> Result<(), String> {
        let n = self.members.len();
        if n == 0 || n > SIZE_MAX || self.skills.tasks.len() > SIZE_MAX {
            let tasks = self.skills.tasks.len();
            return Err(format!("it has {n} members and {tasks} tasks, expected 1 to {SIZE_MAX} members"));
        }
        for asked in self.asked_by_task.values().chain(&self.asked) {
            let is_twice = |at: usize| asked[..at].contains(&asked[at]);
            if asked.is_empty() || (0..asked.len()).any(|at| asked[at] >= n || is_twice(at)) {
                return Err(format!("it asks the members {asked:?}, expected some of its {n}, each once"));
            }
        }
        if let Some(least) = self.least.filter(|least| !least.is_finite()) {
            return Err(format!("`least` is `{least}`, expected a finite number"));
        }
        self.skills.check(n)?;
        self.blocks.iter().try_for_each(|block| block.check(n))
    }
}

/// The routers of a selection.
#[derive(Debug)]
pub struct Judges {
    /// Scores a candidate from its blocks: reads a vector of [`Selection::dim`] numbers.
    pub scorer: Router,
    /// Gives the probability that the best candidate is right: reads a vector of [`GATE_DIM`] numbers.
    pub gate: Option<Router>,
    /// Makes vectors of answers, where a block reads them; its predictor is not used.
    pub texts: Option<Router>,
    /// Predicts the scores of arms on a query, where a block reads them.
    pub prior: Option<Router>,
}

impl Judges {
    /// The routers of a stored program.
    pub(super) fn of_parts(
        program: &'static str,
        mut parts: BTreeMap<String, Router>,
    ) -> Result<Self, ProgramError> {
        let found = parts.keys().cloned().collect::<Vec<_>>().join(", ");
        let mut take = |name: &str| parts.remove(name);
        let (scorer, gate, texts, prior) = (take(SCORER), take(GATE), take(TEXTS), take(PRIOR));
        match scorer {
            Some(scorer) if parts.is_empty() => Ok(Self { scorer, gate, texts, prior }),
            _ => {
                let expected = "scorer, and of gate, texts and prior what it reads";
                Err(ProgramError::Parts { program, found, expected })
            }
        }
    }
}

impl From<Router> for Judges {
    fn from(scorer: Router) -> Self {
        Self { scorer, gate: None, texts: None, prior: None }
    }
}

/// The program of this module.
#[derive(Debug)]
pub struct Select {
    selection: Selection,
    /// Arm of each member.
    arms: Vec<usize>,
    rule: &'static Normalizer,
    judges: Judges,
}

/// What the gate reads of the best candidate: the log-odds of `share`, its share of the softmax over all candidates;
/// the share of those asked that gave it; the log of the number of candidates; the log-odds of its strongest giver.
pub fn gate_features(panel: &Panel<'_>, standing: &Standing<'_>, best: usize, share: f64) -> [f32; GATE_DIM] {
    let candidate = &panel.candidates[best];
    let share = share.clamp(1e-9, 1.0 - 1e-9);
    [
        (share / (1.0 - share)).ln().clamp(LOGIT.0, LOGIT.1) as f32,
        candidate.givers.len() as f32 / panel.n_asked.max(1) as f32,
        (panel.candidates.len() as f32).ln(),
        log_odds(standing.own[panel.givens[candidate.best].member]) as f32,
    ]
}

/// Share of each score in the softmax over all.
pub fn softmax(scores: &[f32]) -> Vec<f64> {
    let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let raised: Vec<f64> = scores.iter().map(|score| f64::from(score - most).exp()).collect();
    let sum: f64 = raised.iter().sum();
    raised.into_iter().map(|value| value / sum).collect()
}

/// Places of the candidates of the greatest score whose strongest giver is the strongest: one, but where these are
/// equal too.
pub fn best_candidates(panel: &Panel<'_>, scores: &[f32], strengths: &[f64]) -> Vec<usize> {
    let strength = |at: usize| strengths[panel.givens[panel.candidates[at].best].member];
    let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let tied = |at: &usize| scores[*at] >= most - TIE;
    let strongest = (0..scores.len()).filter(tied).map(strength).fold(f64::NEG_INFINITY, f64::max);
    (0..scores.len()).filter(|at| tied(at) && strength(*at) >= strongest).collect()
}

impl Select {
    /// A selection among `arms`.
    ///
    /// # Errors
    /// If the selection is not valid, a member is no arm, or a part is missing or reads another width.
    pub fn new(selection: Selection, judges: Judges, arms: &[Arm]) -> Result<Self, ProgramError> {
        Self::of(selection, judges, arms).map_err(|reason| ProgramError::Config { program: ROW.name, reason })
    }

    fn load(state: ProgramState, arms: &[Arm]) -> Result<Box<dyn Program>, ProgramError> {
        let judges = Judges::of_parts(ROW.name, state.parts)?;
        Ok(Box::new(Self::new(config(ROW.name, state.config)?, judges, arms)?))
    }

    fn of(selection: Selection, judges: Judges, all: &[Arm]) -> Result<Self, String> {
        selection.check()?;
        let arms = crowd::members(&selection.members, all, "is asked")?;
        let rule = Normalizer::named(&selection.answers)?;
        let widths =
            [(SCORER, Some(&judges.scorer), selection.dim()), (GATE, judges.gate.as_ref(), GATE_DIM)];
        for (name, router, dim) in widths {
            if let Some(found) = router.map(|router| router.featurizer.dim()).filter(|found| *found != dim) {
                return Err(format!("part `{name}` reads {found} numbers, expected {dim}"));
            }
        }
        let reads = |of: fn(&Block) -> bool| selection.blocks.iter().any(of);
        let needed = [
            (TEXTS, judges.texts.is_some(), reads(Block::reads_vectors)),
            (PRIOR, judges.prior.is_some(), reads(Block::reads_predicted)),
        ];
        match needed.into_iter().find(|(_, is_there, is_read)| is_there != is_read) {
            Some((name, true, _)) => Err(format!("it has a part `{name}`, which no block reads")),
            Some((name, false, _)) => Err(format!("it has no part `{name}`, which a block reads")),
            None => Ok(Self { selection, arms, rule, judges }),
        }
    }

    /// Who is asked, and how candidates are made.
    pub fn selection(&self) -> &Selection {
        &self.selection
    }

    fn member(&self, answer: &Answer) -> Option<usize> {
        self.arms.iter().position(|arm| Some(*arm) == answer.arm)
    }

    /// Numbers of every candidate by all blocks.
    fn features(&self, request: &Request<'_>, panel: &Panel<'_>) -> Result<FeatureMatrix, DecideError> {
        let vectors = match &self.judges.texts {
            Some(texts) => {
                let inputs: Vec<FeatureInput<'_>> =
                    panel.givens.iter().map(|given| given.text.into()).collect();
                Some(texts.featurizer.featurize(&inputs).map_err(DecideError::from)?)
            }
            None => None,
        };
        let predicted: Option<Vec<f32>> = match &self.judges.prior {
            Some(prior) => {
                let found = prior.predict(std::slice::from_ref(request))?;
                Some(self.arms.iter().map(|arm| found.score[*arm]).collect())
            }
            None => None,
        };
        let standing = self.selection.skills.standing(request.source);
        let seen = Seen { panel, standing, vectors: vectors.as_ref(), predicted: predicted.as_deref() };
        Ok(features(&self.selection.blocks, &seen))
    }

    /// Score of every candidate.
    fn scores(&self, request: &Request<'_>, panel: &Panel<'_>) -> Result<Vec<f32>, DecideError> {
        let rows = self.features(request, panel)?;
        let arm = |at: usize| self.arms[panel.givens[panel.candidates[at].best].member];
        (0..rows.n_rows()).map(|at| value(&self.judges.scorer, rows.row(at), request, arm(at))).collect()
    }

    /// Forms of answers, as the rule reads them.
    fn forms(&self, answers: &[Answer]) -> Vec<Option<String>> {
        answers.iter().map(|answer| self.selection.reads.of(self.rule, answer)).collect()
    }

    /// The candidates among some answers, and the place of each answer that is given.
    fn panel<'a>(
        &self,
        request: &'a Request<'_>,
        answers: &'a [Answer],
        forms: &'a [Option<String>],
    ) -> (Panel<'a>, Vec<usize>) {
        let standing = self.selection.skills.standing(request.source);
        let (mut givens, mut places) = (Vec::new(), Vec::new());
        for (at, answer) in answers.iter().enumerate().filter(|(_, answer)| answer.is_ok()) {
            let Some(member) = self.member(answer) else { continue };
            let said = answer.confidence.as_ref();
            places.push(at);
            givens.push(Given {
                member,
                form: forms[at].as_deref(),
                text: &answer.text,
                logprob_mean: said.and_then(|said| said.logprob_mean),
                option_probs: said.map_or(&[], |said| &said.option_probs),
            });
        }
        let grouping = self.selection.grouping;
        let panel =
            Panel::of(request.input.text, request.source, givens, answers.len(), grouping, standing.own);
        (panel, places)
    }

    /// Places of the answers that speak for the candidates, the best first, and the share of the given answers that the
    /// largest candidate has.
    pub(super) fn ranked(
        &self,
        request: &Request<'_>,
        answers: &[Answer],
    ) -> Result<(Vec<usize>, f64), DecideError> {
        let forms = self.forms(answers);
        let (panel, places) = self.panel(request, answers, &forms);
        let strengths = self.selection.skills.standing(request.source).own;
        let scores = self.scores(request, &panel)?;
        let strength = |at: usize| strengths[panel.givens[panel.candidates[at].best].member];
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_by(|a, b| {
            scores[*b].total_cmp(&scores[*a]).then(strength(*b).total_cmp(&strength(*a))).then(a.cmp(b))
        });
        let share = panel.largest() as f64 / panel.givens.len().max(1) as f64;
        Ok((order.into_iter().map(|at| places[panel.candidates[at].best]).collect(), share))
    }

    /// Arm of each member.
    pub(super) fn arms(&self) -> &[usize] {
        &self.arms
    }

    /// How good each member is on the task of a request.
    pub(super) fn strengths(&self, episode: &Episode<'_>) -> &[f64] {
        self.selection.skills.standing(episode.request.source).own
    }

    /// All members, the strongest first.
    pub(super) fn by_strength(&self, episode: &Episode<'_>) -> Vec<usize> {
        self.sorted((0..self.arms.len()).collect(), episode)
    }

    fn sorted(&self, mut members: Vec<usize>, episode: &Episode<'_>) -> Vec<usize> {
        let strengths = self.strengths(episode);
        members.sort_by(|a, b| strengths[*b].total_cmp(&strengths[*a]).then(a.cmp(b)));
        members
    }

    /// Returns the best of some answers, the first of the episode, or abstains.
    pub(super) fn choose(&self, episode: &Episode<'_>, answers: &[Answer]) -> Result<Step, DecideError> {
        let request = episode.request;
        let standing = self.selection.skills.standing(request.source);
        let forms = self.forms(answers);
        let (panel, places) = self.panel(request, answers, &forms);
        if panel.candidates.is_empty() {
            let strength =
                |answer: &Answer| self.member(answer).map_or(f64::NEG_INFINITY, |at| standing.own[at]);
            let step = crowd::strongest(answers, strength);
            let is_unsure = self.selection.least.is_some() && step.reason == StepReason::Exhausted;
            return Ok(if is_unsure { unsure() } else { step });
        }
        let scores = self.scores(request, &panel)?;
        let found = best_candidates(&panel, &scores, standing.own);
        if let Some(least) = self.selection.least
            && self.believed(request, &panel, &standing, &scores, found[0])? < least
        {
            return Ok(unsure());
        }
        let replies: Vec<usize> = found.iter().map(|at| places[panel.candidates[*at].best]).collect();
        Ok(crowd::drawn(&replies, replies.len() - 1, episode, StepReason::Best))
    }

    /// What is held against the least score: the gate's probability, or the score.
    fn believed(
        &self,
        request: &Request<'_>,
        panel: &Panel<'_>,
        standing: &Standing<'_>,
        scores: &[f32],
        best: usize,
    ) -> Result<f32, DecideError> {
        let Some(gate) = &self.judges.gate else { return Ok(scores[best]) };
        let read = gate_features(panel, standing, best, softmax(scores)[best]);
        value(gate, &read, request, self.arms[panel.givens[panel.candidates[best].best].member])
    }
}

fn unsure() -> Step {
    Step::sure(Action::Return(Reply::Abstain), StepReason::Unsure)
}

/// What a part says of a vector for one arm.
fn value(part: &Router, vector: &[f32], request: &Request<'_>, arm: usize) -> Result<f32, DecideError> {
    let input = FeatureInput { text: "", vector: Some(vector) };
    let asked = Request { input, source: request.source, ..Request::default() };
    let found = part.predict(std::slice::from_ref(&asked))?.score.get(arm).copied().unwrap_or(f32::NAN);
    match found.is_finite() {
        true => Ok(found),
        false => {
            Err(PredictError::Search(format!("the score of an answer of arm {arm} is `{found}`")).into())
        }
    }
}

impl Program for Select {
    fn name(&self) -> &'static str {
        ROW.name
    }

    fn needs(&self) -> &'static [AnswerNeed] {
        match self.selection.grouping {
            Grouping::Equal => self.selection.reads.needs(),
            Grouping::Apart => &[],
        }
    }

    fn bounds(&self) -> Bounds {
        Bounds { steps: 2, calls: self.arms.len() as u32 }
    }

    fn next(&self, episode: &Episode<'_>) -> Result<Step, StepError> {
        if episode.step > 0 {
            return Ok(self.choose(episode, episode.answers)?);
        }
        let order = self.sorted(self.selection.asked(episode.request.source), episode);
        let called = crowd::fitting(episode, &self.arms, &order);
        Ok(crowd::call(episode, &self.arms, &called, self.strengths(episode)))
    }

    fn parts(&self) -> Vec<Part<'_>> {
        let Judges { scorer, gate, texts, prior } = &self.judges;
        let others = [(GATE, gate), (TEXTS, texts), (PRIOR, prior)];
        let others =
            others.into_iter().filter_map(|(name, router)| Some(Part { name, router: router.as_ref()? }));
        std::iter::once(Part { name: SCORER, router: scorer }).chain(others).collect()
    }

    fn config(&self) -> Value {
        serde_json::to_value(&self.selection).unwrap_or_default()
    }
}

/// The answer that most give, the first of the strongest among equals.
pub(super) fn example(arms: &[Arm]) -> ProgramState {
    use crate::forms::{CostModel, Linear, Link};
    let n = arms.len();
    let members: Vec<&str> = arms.iter().map(|arm| arm.model.as_str()).collect();
    let strengths: Vec<f64> = (0..n).map(|arm| 0.5 + 0.1 * arm as f64).collect();
    let skills = json!({ "overall": strengths, "tasks": {}, "collision": 0.5, "collisions": {} });
    let config = json!({
        "members": members, "answers": "exact", "reads": "short", "grouping": "equal", "skills": skills,
        "blocks": [{ "block": "agreement" }],
    });
    let dim = Block::Agreement.dim(n);
    // The share of those asked, for every arm.
    let one = std::iter::once(1.0).chain(std::iter::repeat_n(0.0, dim));
    let weights = std::iter::repeat_n(one, n).flatten().collect();
    let cost = CostModel::constant(vec![f32::NAN; n]);
    let scorer = Router {
        featurizer: std::sync::Arc::new(routewright_data::features::Column::new("candidate", dim)),
        predictor: Box::new(Linear::new(dim, Link::Identity, weights, cost)),
        selector: Box::new(crate::selectors::Argmax),
    };
    ProgramState { config, parts: [(SCORER.to_owned(), scorer)].into(), ..ProgramState::default() }
}

#[cfg(test)]
mod tests;
