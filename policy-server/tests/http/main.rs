//! The server over real HTTP: every test spawns one on port 0 and speaks to it through a socket.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panicking")]

mod arms;
mod auth;
mod batch;
mod budgets;
mod cache;
mod client;
mod connections;
mod deadline;
mod defaults;
mod drift;
mod errors;
mod feedback;
mod fusion;
mod gate;
mod gateway;
mod gateway_apis;
mod gateway_faults;
mod gateway_fusion;
mod gateway_llama_cpp;
mod gateway_programs;
mod gateway_tls;
mod key_limits;
mod learner;
mod ledger;
mod limits;
mod openapi;
mod origin;
mod pacing;
mod policies;
#[cfg(feature = "postgres")]
#[path = "../../src/ledger/postgres/database.rs"]
mod postgres;
mod query_text;
mod registry;
mod reload;
mod route;
mod server;
mod shutdown;
mod step;
mod trust;
mod upstream;
