//! The row a form is registered by.

use crate::{FormState, LoadError, Predictor};

/// A registered form: how artifacts of it are restored.
#[derive(Debug, Clone, Copy)]
pub struct FormRow {
    /// Name stored in the manifest.
    pub name: &'static str,
    /// Newest layout of its state this build writes and reads.
    pub version: u32,
    /// What it computes, in one line.
    pub title: &'static str,
    /// Restores a predictor over `n_arms` arms from its state.
    pub load: fn(FormState, usize) -> Result<Box<dyn Predictor>, LoadError>,
}

/// Reads the configuration of a form, naming the form in the error.
pub(crate) fn config<T: serde::de::DeserializeOwned>(
    form: &'static str,
    value: serde_json::Value,
) -> Result<T, LoadError> {
    serde_json::from_value(value).map_err(|error| LoadError::Config { form, reason: error.to_string() })
}
