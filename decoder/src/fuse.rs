//! The systems of fusion there are, and how one of them writes an answer.

use crate::backend::Backend;
use crate::generation::{Answer, Ask, FuseError, Generation, Listener};
use crate::span;
pub use crate::system::{Fuser, Grain, MemberNeed, System, SystemRow};
pub(crate) use crate::system::{unfit, vocabularies, weights};
use crate::token;
use crate::tree;
use routewright_data::suggest::near_names;
use std::sync::Arc;

/// Every system.
pub static ALL: &[SystemRow] = &[
    SystemRow::of::<token::gac::Gac>(),
    SystemRow::of::<token::deepen::Deepen>(),
    SystemRow::of::<token::eva::Eva>(),
    SystemRow::of::<token::unite::Unite>(),
    SystemRow::of::<token::packllm::PackLlm>(),
    SystemRow::of::<token::purify::Purify>(),
    SystemRow::of::<token::speculative::Speculative>(),
    SystemRow::of::<token::byte_mixture::ByteMixture>(),
    SystemRow::of::<token::agreement::Agreement>(),
    SystemRow::of::<token::rlae::Rlae>(),
    SystemRow::of::<token::citer::Citer>(),
    SystemRow::of::<token::expert_token::ExpertToken>(),
    SystemRow::of::<span::cool_fusion::CoolFusion>(),
    SystemRow::of::<span::sweetspan::SweetSpan>(),
    SystemRow::of::<span::specfuse::SpecFuse>(),
    SystemRow::of::<tree::le_mcts::LeMcts>(),
];

/// The row of a name.
///
/// # Errors
/// If there is no such system; near names are offered.
pub fn find(name: &str) -> Result<&'static SystemRow, FuseError> {
    ALL.iter().find(|row| row.name == name).ok_or_else(|| FuseError::Unfit {
        fuser: name.to_owned(),
        reason: near_names(name, ALL.iter().map(|row| row.name)),
    })
}

/// Writes one answer.
///
/// # Errors
/// If no member is left, none may fail and one does, the caller has gone, or nothing can be said.
pub fn answer(
    fuser: &dyn Fuser,
    backends: &[Arc<dyn Backend>],
    ask: Ask,
    listener: Listener<'_>,
) -> Result<Answer, FuseError> {
    let mut generation = Generation::open(backends, ask, listener)?;
    finished(fuser.fuse(&mut generation))?;
    Ok(generation.close())
}

/// What became of writing: an answer that fills the context of a member is one.
pub(crate) fn finished(written: Result<(), FuseError>) -> Result<(), FuseError> {
    match written {
        Err(FuseError::Full(_)) => Ok(()),
        written => written,
    }
}
