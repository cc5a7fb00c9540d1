//! The document as JSON, the one `--json` prints.

use super::ReportError;
use crate::evaluate::Judged;

/// One JSON document, indented, with a newline at its end.
///
/// # Errors
/// If it cannot be serialised.
pub fn json(judged: &Judged) -> Result<String, ReportError> {
    let mut text =
        serde_json::to_string_pretty(judged).map_err(|e| ReportError::Json { reason: e.to_string() })?;
    text.push('\n');
    Ok(text)
}
