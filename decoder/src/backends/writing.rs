//! Writing on token by token, for sessions that give the next token: sampling, stop strings, the cut.

use crate::backend::{BackendError, Draft, Session, Stop, Written};
use crate::distribution::Distribution;
use crate::vocabulary::Role;
use rand::{Rng, RngExt as _};

/// Writes as [`Session::write`] says, by [`Session::next`] and [`Session::feed`].
///
/// # Errors
/// If the session fails or is cancelled.
pub fn write(
    session: &mut dyn Session,
    draft: &Draft,
    stop: &Stop,
    rng: &mut dyn Rng,
) -> Result<Written, BackendError> {
    let mut written = Written { log_prob: Some(0.0), ..Written::default() };
    let start = session.ids().len();
    let mut boundaries = Vec::new();
    while written.tokens < draft.tokens && !stop.is_late() {
        if stop.is_cancelled() {
            return Err(BackendError::Cancelled);
        }
        let next = said(session.next()?, session);
        let id = pick(&next, draft.temperature, draft.top_p, rng);
        let p = next.log_prob(id).unwrap_or(f32::NEG_INFINITY);
        written.log_prob = written.log_prob.map(|sum| sum + f64::from(p));
        written.tokens += 1;
        if session.tokenizer().vocabulary().role(id) == Role::End {
            written.ended = true;
            break;
        }
        boundaries.push((written.text.len(), session.ids().len()));
        match session.feed(&[id]) {
            // What was written before is there to be used.
            Err(error) if error.is_full() && written.tokens > 1 => {
                written.tokens -= 1;
                written.log_prob = written.log_prob.map(|sum| sum - f64::from(p));
                break;
            }
            fed => fed?,
        }
        written.text.extend_from_slice(session.tokenizer().vocabulary().bytes(id));
        if let Some(cut) = first_of(&written.text, &draft.stop) {
            // Read stays what lies wholly before the cut.
            let whole = boundaries.iter().rfind(|(length, _)| *length <= cut).map_or(start, |(_, ids)| *ids);
            written.text.truncate(cut);
            session.rollback(whole)?;
            written.ended = true;
            break;
        }
    }
    Ok(written)
}

/// The distribution without the tokens that are neither text nor an end; as it was where nothing would be left.
pub fn said(next: Distribution, session: &dyn Session) -> Distribution {
    let vocabulary = session.tokenizer().vocabulary();
    next.clone().retain(|id| matches!(vocabulary.role(id), Role::Text | Role::End)).unwrap_or(next)
}

/// One token: the most probable at temperature 0, otherwise drawn from the tempered distribution cut to `top_p`.
pub fn pick(next: &Distribution, temperature: f32, top_p: f32, rng: &mut dyn Rng) -> u32 {
    if temperature <= 0.0 {
        return next.best().0;
    }
    let entries = next.top(usize::MAX);
    let highest = entries.first().map_or(0.0, |(_, p)| *p);
    let mut weights: Vec<f64> =
        entries.iter().map(|(_, p)| f64::from((p - highest) / temperature).exp()).collect();
    let all: f64 = weights.iter().sum();
    let mut kept = 0.0;
    let n = weights.iter().take_while(|w| {
        let within = kept < f64::from(top_p) * all;
        kept += **w;
        within
    });
    let n = n.count().max(1);
    weights.truncate(n);
    let mut at = rng.random::<f64>() * weights.iter().sum::<f64>();
    for ((id, _), weight) in entries.iter().zip(&weights) {
        at -= weight;
        if at < 0.0 {
            return *id;
        }
    }
    entries[n - 1].0
}

/// Where the first of the stop strings begins in a text.
pub fn first_of(text: &[u8], stops: &[Vec<u8>]) -> Option<usize> {
    let starts = |stop: &Vec<u8>| {
        (!stop.is_empty()).then(|| text.windows(stop.len()).position(|window| window == stop)).flatten()
    };
    stops.iter().filter_map(starts).min()
}
