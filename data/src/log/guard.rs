//! Keeps a Parquet decoder that panics on damaged bytes from ending the process: the panic becomes an error.

use super::LogError;
use parquet::file::metadata::ParquetMetaData;
use std::any::Any;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::Once;

thread_local! {
    /// Whether this thread is decoding, so that a panic is an error of the file and not of the program.
    static DECODING: Cell<bool> = const { Cell::new(false) };
}

static HOOK: Once = Once::new();

/// Runs a step of the decoder on the file `path`; what it reports, or a panic of it, is an error of that file.
pub(super) fn guarded<T, E: ToString>(
    path: &Path,
    step: impl FnOnce() -> Result<T, E>,
) -> Result<T, LogError> {
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !DECODING.get() {
                before(info);
            }
        }));
    });
    let outer = DECODING.replace(true);
    let result = panic::catch_unwind(AssertUnwindSafe(step));
    DECODING.set(outer);
    match result {
        Ok(result) => result.map_err(|error| LogError::not_parquet(path, explained(&error.to_string()))),
        Err(panicked) => {
            let reason = format!("it is damaged: the decoder stopped with `{}`", message(&*panicked));
            Err(LogError::not_parquet(path, reason))
        }
    }
}

fn message(panicked: &(dyn Any + Send)) -> &str {
    let text = panicked.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panicked.downcast_ref::<&str>().copied()).unwrap_or("no message")
}

/// An error of the decoder, with what can be done about it.
fn explained(error: &str) -> String {
    let is_codec = error.contains("Disabled feature") || error.to_lowercase().contains("codec");
    let rewrite = "; its compression is not read: write it with zstd, snappy, gzip, lz4 or none, e.g. with \
                   pandas `to_parquet(.., compression=\"zstd\")`";
    if is_codec { format!("{error}{rewrite}") } else { error.to_owned() }
}

/// Checks that the columns of every row group lie within the file, which the decoder takes for granted.
pub(super) fn check_extents(path: &Path, metadata: &ParquetMetaData, n_bytes: u64) -> Result<(), LogError> {
    for (number, group) in metadata.row_groups().iter().enumerate() {
        let wrong = |what: String| {
            LogError::not_parquet(path, format!("it is damaged: row group {}: {what}", number + 1))
        };
        if group.num_rows() < 0 {
            return Err(wrong(format!("number of rows is `{}`, expected 0 or more", group.num_rows())));
        }
        for column in group.columns() {
            let start = column.dictionary_page_offset().unwrap_or_else(|| column.data_page_offset());
            let length = column.compressed_size();
            let end = u64::try_from(start).ok().zip(u64::try_from(length).ok());
            let end = end.and_then(|(start, length)| start.checked_add(length));
            if end.is_none_or(|end| end > n_bytes) {
                let name = column.column_path().string();
                return Err(wrong(format!(
                    "column `{name}` starts at byte `{start}` and is `{length}` bytes long, expected a place \
                     within the {n_bytes} bytes of the file"
                )));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_the_decoder_is_an_error_that_names_the_file() {
        let path = Path::new("a.parquet");
        let stop =
            |panics: bool| if panics { panic!("index {} out of range", 7) } else { Ok::<_, String>(3) };
        assert_eq!(guarded(path, || stop(false)).unwrap(), 3);
        let error = guarded(path, || stop(true)).unwrap_err().to_string();
        assert!(error.contains("a.parquet") && error.contains("index 7 out of range"), "{error}");
        let error = guarded(path, || Err::<(), _>("Disabled feature at compile time: brotli")).unwrap_err();
        assert!(error.to_string().contains("write it with zstd"), "{error}");
        assert!(!DECODING.get());
    }
}
