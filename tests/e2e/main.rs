//! The real binary, from the outside: one test program, a module a concern.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod artifacts;
mod bad_input;
mod bench;
mod logs;
mod real_logs;
mod run;
mod train_serve;
