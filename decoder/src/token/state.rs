//! What a token router sees before a token is written: what the first member says comes next, and how it sees it.

use crate::backend::BackendError;
use crate::distribution::Distribution;
use crate::member::Member;
use crate::vocabulary::Role;

/// Numbers that are made of the distribution; the hidden state of the first member may follow.
pub const WIDTH: usize = 8;

/// The state before a token: the probability of the most probable token, its lead over the second, the probability of
/// the first five together, the entropy in nats, the logarithm of the first, whether that token begins a word,
/// whether it ends the answer, and `ln(1 + step)`. With `hidden` the hidden state of the last position follows.
///
/// # Errors
/// If the member is to show its hidden state and does not.
pub fn state(
    member: &mut Member,
    told: &Distribution,
    step: usize,
    hidden: bool,
) -> Result<Vec<f32>, BackendError> {
    let top = told.top(5);
    let p = |at: usize| top.get(at).map_or(0.0, |(_, p)| p.exp());
    let best = told.best().0;
    let vocabulary = member.vocabulary();
    let mut state = vec![
        p(0),
        p(0) - p(1),
        (0..5).map(p).sum(),
        told.entropy(),
        told.best().1.max(-30.0),
        f32::from(vocabulary.bytes(best).first().is_some_and(u8::is_ascii_whitespace)),
        f32::from(vocabulary.role(best) == Role::End),
        (1.0 + step as f32).ln(),
    ];
    if hidden {
        state.extend(member.hidden()?);
    }
    Ok(state)
}
