//! Logs on disk: reading in batches of bounded size, writing whole files, checking row by row.

mod arrays;
mod check_batch;
mod complaints;
mod decision_rows;
mod error;
mod fusion_rows;
mod guard;
mod hashes;
mod keys;
mod load;
mod queries;
mod reader;
mod rows;
mod storage;
mod task_rows;
mod token_rows;
mod unify;
mod validate;
mod writer;

pub use arrays::{NumberColumn, TextColumn, TextListColumn, TimeColumn, VectorColumn};
pub(crate) use arrays::{decimal, decimal_of_digits};
pub use complaints::{Complaint, Severity};
pub use decision_rows::{DecisionRow, FeedbackRow, ReportRow};
pub use error::{LogError, RowAt};
pub use fusion_rows::FusionRow;
pub(crate) use keys::{KeyColumns, RowKeys, query_hash, sample_of};
pub use load::LoadOptions;
pub(crate) use load::{Range, number, repeated};
pub(crate) use queries::{QUERY_COLUMNS, QueryColumns, QueryRows, required};
pub use reader::{LogBatch, LogReader, parts, query_text_of, schema_of};
pub use rows::{LogRow, OutcomeRow, PairRow, RowWriter};
pub use task_rows::TaskRow;
pub use token_rows::TokenRow;
pub(crate) use unify::{common_schema, in_schema};
pub use validate::{ValidateOptions, Validation, validate};
pub use writer::{LogWriter, WriteOptions};

#[cfg(test)]
mod storage_tests;
