//! The loop of span-level fusion: propose, judge, take the best.

use super::score::{Scores, score};
use super::{Proposer, Span};
use crate::generation::{FuseError, Generation, Unit};
use crate::trace::{Proposal, Step};

/// What a system makes of the proposals of a round.
#[derive(Debug, Clone, Default)]
pub(super) struct Judged {
    /// Of every proposal, the greatest is taken; `NaN` where nothing is known.
    pub merits: Vec<f64>,
    /// How much each member counted.
    pub weights: Vec<f32>,
}

/// Writes the answer, a span a step. Of equal merits the text its own author thinks most of is taken, then the first.
///
/// # Errors
/// If no member is left, none may fail and one does, or none proposes anything.
pub(super) fn run(
    generation: &mut Generation<'_>,
    proposer: &Proposer,
    mut judge: impl FnMut(&[Option<Span>], &Scores) -> Judged,
) -> Result<(), FuseError> {
    while !generation.is_over()? {
        let spans = proposer.propose(generation)?;
        // Cut short by the deadline, proposals cannot be compared: an early end would win for want of others.
        if generation.stop().is_late() {
            continue;
        }
        if spans.iter().all(Option::is_none) {
            let reason = "no member proposed any text".to_owned();
            return Err(FuseError::Nothing { at: generation.text().len(), reason });
        }
        let scores = score(generation, &spans)?;
        let judged = judge(&spans, &scores);
        take(generation, spans, &scores, judged);
    }
    Ok(())
}

fn take(generation: &mut Generation<'_>, mut spans: Vec<Option<Span>>, scores: &Scores, judged: Judged) {
    let known = |value: Option<f64>| value.filter(|v| !v.is_nan()).unwrap_or(f64::NEG_INFINITY);
    let merit = |at: usize| known(judged.merits.get(at).copied());
    let own = |at: usize| known(scores[at].get(at).map(|own| f64::from(*own)));
    let better = |a: &usize, b: &usize| {
        merit(*a).total_cmp(&merit(*b)).then(own(*a).total_cmp(&own(*b))).then(b.cmp(a))
    };
    let proposed = (0..spans.len()).filter(|at| spans[*at].is_some());
    let Some(winner) = proposed.max_by(better) else { return };
    let proposals = spans.iter().enumerate().filter_map(|(at, span)| {
        let Span { text, ends, .. } = span.clone()?;
        let merit = judged.merits.get(at).map_or(f32::NAN, |merit| *merit as f32);
        Some(Proposal { member: at, text, ends, scores: scores[at].clone(), merit })
    });
    let proposals: Vec<Proposal> = proposals.collect();
    let Some(span) = spans[winner].take() else { return };
    let agrees = |at: usize| at == winner || spans[at].as_ref().is_some_and(|other| other.is_same(&span));
    let step = Step {
        probabilities: scores[winner].iter().map(|s| (s * span.symbols() as f32).exp()).collect(),
        agree: (0..spans.len()).map(agrees).collect(),
        winner: Some(winner),
        weights: judged.weights,
        proposals,
        ..Step::default()
    };
    if span.text.is_empty() {
        return generation.commit(Unit::End, &[], step);
    }
    generation.commit_written(&span.text, winner, &span.ids, step);
    if span.ends {
        generation.commit(Unit::End, &[], Step { winner: Some(winner), ..Step::default() });
    }
}
