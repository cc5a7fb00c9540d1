//! Logs on disk: reading in batches of bounded size, writing whole files, checking row by row.

mod arrays;
mod error;
mod load;
mod queries;
mod reader;
mod rows;
mod writer;

pub use arrays::{NumberColumn, TextColumn, TimeColumn, VectorColumn};
pub use error::{LogError, RowAt};
pub use load::LoadOptions;
pub(crate) use queries::{QUERY_COLUMNS, QueryColumns, QueryRows, required};
pub use reader::{LogBatch, LogReader, parts};
pub use rows::{LogRow, OutcomeRow, PairRow, RowWriter};
pub use writer::{LogWriter, WriteOptions};
