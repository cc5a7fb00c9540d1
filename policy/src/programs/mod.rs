//! The shapes of programs. One file a program, one row in [`ALL`]; an artifact names its program by the row's name.

use crate::Arm;
use crate::program::Program;

mod cascade;
mod cascade_routing;
#[cfg(test)]
mod conformance;
mod consistency;
mod crowd;
mod fuse;
mod gate;
mod objective;
mod one_call;
mod row;
pub mod select;
mod switch;
mod tally;
mod verify;
mod vote;

pub use cascade::{Cascade, Strategy};
pub use cascade_routing::{CascadeRouting, CascadeRoutingConfig, LambdaPoint};
pub use consistency::{AgreementRule, Consistency, ConsistencyConfig, SharePoint, Thought, majority};
pub use fuse::{Fuse, Fusion};
pub use gate::{Gate, GateConfig, Gates, Hand, Voters, read_hand};
pub use one_call::OneCall;
pub use row::{Load, ProgramError, ProgramRow, ProgramState};
use row::{breakpoints, config, constant_router, no_parts, only_part};
pub use select::{Select, Selection};
pub use switch::{Sampled, Stage, Stages, Switch};
pub use tally::{Ballot, Reading, winners};
pub use verify::{BinTable, VERIFY, VERIFY_PROMPT, Verify, VerifyConfig, verified};
pub use vote::{Electorate, Vote, Weighting};

/// Every program, in the order of the documentation.
pub static ALL: &[ProgramRow] = &[
    one_call::ROW,
    cascade::ROW,
    vote::ROW,
    switch::ROW,
    select::ROW,
    gate::ROW,
    cascade_routing::ROW,
    verify::ROW,
    consistency::ROW,
    fuse::ROW,
];

/// Row of a program.
///
/// # Errors
/// If this build knows none of that name.
pub fn find(name: &str) -> Result<&'static ProgramRow, ProgramError> {
    ALL.iter().find(|row| row.name == name).ok_or_else(|| {
        let known = ALL.iter().map(|row| row.name).collect::<Vec<_>>().join(", ");
        ProgramError::Unknown { program: name.to_owned(), known }
    })
}

/// Restores a program from its stored state.
///
/// # Errors
/// If the program is unknown, newer than this build, or its state is not valid.
pub fn load(
    name: &str,
    version: u32,
    state: ProgramState,
    arms: &[Arm],
) -> Result<Box<dyn Program>, ProgramError> {
    let row = find(name)?;
    if version > row.version {
        return Err(ProgramError::Newer { program: name.to_owned(), found: version, known: row.version });
    }
    (row.load)(state, arms)
}
