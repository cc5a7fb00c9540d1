//! An answer as rows of the fusion log.

use crate::generation::Answer;
use crate::trace::Step;
use routewright_data::log::FusionRow;

/// Columns beside the trace in a log.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Note {
    /// Key of the answer.
    pub answer_id: String,
    /// Name of the system.
    pub system: String,
    /// When it was asked for, ms since 1970.
    pub timestamp_ms: Option<i64>,
    /// What it was worth, in [0, 1].
    pub reward: Option<f32>,
}

/// One row a step.
pub fn rows(answer: &Answer, note: &Note) -> Vec<FusionRow> {
    let models: Vec<String> = answer.trace.members().iter().map(|member| member.name.clone()).collect();
    let mut rows: Vec<FusionRow> =
        answer.trace.steps().iter().enumerate().map(|(at, step)| row(at, step, &models, note)).collect();
    if let Some(first) = rows.first_mut() {
        first.prompt = Some(String::from_utf8_lossy(answer.trace.prompt()).into_owned());
        // The bytes as they were committed, so that `start` fits them, without the stop string that ended them.
        let mut bytes: Vec<u8> = answer.trace.steps().iter().flat_map(|step| step.text.clone()).collect();
        bytes.truncate(bytes.len().saturating_sub(answer.unsaid));
        first.answer = Some(String::from_utf8_lossy(&bytes).into_owned());
        first.reward = note.reward;
    }
    rows
}

fn row(at: usize, step: &Step, models: &[String], note: &Note) -> FusionRow {
    let whole = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
    let list = |values: &[f32]| (values.len() == models.len()).then(|| values.to_vec());
    let lossy = |text: &[u8]| String::from_utf8_lossy(text).into_owned();
    let agree = step.agree.iter().zip(models).filter(|(agrees, _)| **agrees);
    FusionRow {
        answer_id: note.answer_id.clone(),
        step: whole(at),
        timestamp_ms: note.timestamp_ms,
        system: note.system.clone(),
        start: whole(step.at),
        text: lossy(&step.text),
        models: models.to_vec(),
        weights: list(&step.weights),
        probabilities: list(&step.probabilities),
        fused: step.fused,
        agree: agree.map(|(_, model)| model.clone()).collect(),
        winner: step.winner.and_then(|member| models.get(member).cloned()),
        span: step.span.map(whole),
        proposers: step.proposals.iter().filter_map(|p| models.get(p.member).cloned()).collect(),
        proposals: step.proposals.iter().map(|proposal| lossy(&proposal.text)).collect(),
        merits: step.proposals.iter().map(|proposal| proposal.merit).collect(),
        log_density: step.log_density,
        calls: i64::try_from(step.calls).ok(),
        micros: i64::try_from(step.micros).ok(),
        ..FusionRow::default()
    }
}
