//! The real binary, from the outside: one test program, a module a concern.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]
#![expect(clippy::print_stdout, reason = "a test shows its figures")]

mod answers;
mod artifacts;
mod assign;
#[cfg(unix)]
mod bad_feedback;
mod bad_input;
mod bench;
mod cascades;
mod collect;
mod command_line;
#[cfg(unix)]
mod crash;
mod crowds;
mod evidence;
#[cfg(unix)]
mod from_store;
mod frozen;
mod fuse_demo;
mod gateway_log;
#[cfg(unix)]
mod learning;
mod logs;
mod ope;
mod pair_logs;
#[cfg(unix)]
#[path = "../../policy-server/src/ledger/postgres/database.rs"]
mod postgres;
#[cfg(unix)]
mod promotion;
mod query_text;
mod real_logs;
#[cfg(unix)]
mod rlae;
mod run;
mod saving;
#[cfg(unix)]
mod serve_command;
#[cfg(unix)]
mod serving;
#[cfg(unix)]
mod stepping;
mod store;
mod token_routing;
mod train_serve;
mod votes;
