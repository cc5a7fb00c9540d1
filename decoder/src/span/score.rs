//! What members think of texts: log-probability a byte, so that no tokenizer is at an advantage.

use super::Span;
use crate::generation::{FuseError, Generation};

/// Nats a byte that are the least: a member to whom a text is impossible speaks against it, but is no veto.
const FLOOR: f64 = -50.0;

/// By proposal, what each member thinks of it, nats a byte; `NaN` where it did not say. The end of an answer counts
/// as a byte. Nobody is asked where there is one text only.
pub(super) type Scores = Vec<Vec<f32>>;

/// Asks every member about every distinct proposal.
///
/// # Errors
/// If a member fails and failing is not allowed, or none is left.
pub(super) fn score(generation: &mut Generation<'_>, spans: &[Option<Span>]) -> Result<Scores, FuseError> {
    let mut distinct: Vec<&Span> = Vec::new();
    for span in spans.iter().flatten() {
        if !distinct.iter().any(|other| other.is_same(span)) {
            distinct.push(span);
        }
    }
    if distinct.len() < 2 {
        return Ok(vec![Vec::new(); spans.len()]);
    }
    let asked = generation.ask(|_, member| {
        let score = |span: &&Span| {
            if !span.ends {
                return Ok(per_byte(member.score(&span.text)?, span.text.len()));
            }
            // A member that knows no end says what it thinks of the text.
            Ok(match member.score_end(&span.text)? {
                Some(score) => per_byte(score, span.symbols()),
                None if span.text.is_empty() => f32::NAN,
                None => per_byte(member.score(&span.text)?, span.text.len()),
            })
        };
        distinct.iter().map(score).collect::<Result<Vec<f32>, _>>()
    })?;
    let of = |span: &Option<Span>| {
        let at = span.as_ref().and_then(|span| distinct.iter().position(|other| other.is_same(span)));
        let judges = asked.iter().map(|told| at.zip(told.as_ref()).map_or(f32::NAN, |(at, told)| told[at]));
        at.map_or(Vec::new(), |_| judges.collect())
    };
    Ok(spans.iter().map(of).collect())
}

fn per_byte(score: f64, n: usize) -> f32 {
    (score / n.max(1) as f64).max(FLOOR) as f32
}

/// Mean of what was said; `None` where nothing was.
pub(super) fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (n, sum) = values.fold((0.0, 0.0), |(n, sum), value| (n + 1.0, sum + value));
    (n > 0.0).then_some(sum / n)
}
