//! Logs on disk: reading in batches of bounded size, writing whole files, checking row by row.

mod arrays;
mod complaints;
mod decision_rows;
mod error;
mod fusion_rows;
mod load;
mod queries;
mod reader;
mod rows;
mod task_rows;
mod token_rows;
mod validate;
mod writer;

pub use arrays::{NumberColumn, TextColumn, TextListColumn, TimeColumn, VectorColumn};
pub use complaints::{Complaint, Severity};
pub use decision_rows::{DecisionRow, FeedbackRow, ReportRow};
pub use error::{LogError, RowAt};
pub use fusion_rows::FusionRow;
pub use load::LoadOptions;
pub(crate) use queries::{QUERY_COLUMNS, QueryColumns, QueryRows, required};
pub use reader::{LogBatch, LogReader, parts, schema_of};
pub use rows::{LogRow, OutcomeRow, PairRow, RowWriter};
pub use task_rows::TaskRow;
pub use token_rows::TokenRow;
pub use validate::{ValidateOptions, Validation, validate};
pub use writer::{LogWriter, WriteOptions};
