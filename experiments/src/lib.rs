//! Recorded experiments: see `README.md` and `record/` beside this crate's manifest.
//!
//! Every figure names the command that made it; the commands are those of the `routewright` binary, so there
//! is no second runner here. The trained mixtures of the decoder will bring code.
