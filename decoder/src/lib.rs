//! Many models, one answer: fusion of tokens, spans, processes and responses.
//!
//! Empty on purpose: its content comes with the fusion methods. The crate stands here so that the arrows of
//! the workspace (see ARCHITECTURE.md) are in place before the code is.
