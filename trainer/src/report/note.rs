//! What a report says of its own making, and why it could not be written.

use routewright_data::files::FileError;

/// What the document does not know of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReportNote {
    /// Heading of the page.
    pub title: String,
    /// When it was made, as it should be printed; this crate reads no clock.
    pub date: String,
    /// The command that made it, where it should be printed.
    pub command: Option<String>,
}

/// Why a report could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// A picture could not be drawn.
    #[error("cannot draw `{picture}`: {reason}")]
    Draw {
        /// Which picture.
        picture: &'static str,
        /// What the drawing library said.
        reason: String,
    },
    /// The document could not be serialised.
    #[error("cannot write the report as JSON: {reason}")]
    Json {
        /// What went wrong.
        reason: String,
    },
    /// A file could not be written.
    #[error(transparent)]
    File(#[from] FileError),
}
