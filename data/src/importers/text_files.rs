//! Opens a text file, compressed or not, past its byte order mark; says so where it is no UTF-8 text at all.

use super::{ImportError, Place};
use crate::files;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

/// First bytes of what is often named as a text and is none, with what to do.
const STRANGERS: [(&[u8], &str); 7] = [
    (b"\xff\xfe", "it is UTF-16, expected UTF-8; convert it, e.g. with `iconv -f UTF-16 -t UTF-8`"),
    (b"\xfe\xff", "it is UTF-16, expected UTF-8; convert it, e.g. with `iconv -f UTF-16 -t UTF-8`"),
    (b"PAR1", "it is a Parquet file; give it a name that ends in .parquet"),
    (b"PK\x03\x04", "it is a zip archive or a workbook, expected a text; unpack it or save it as CSV"),
    (b"\x1f\x8b", "it is compressed by gzip; give it a name that ends in .gz"),
    (b"\x28\xb5\x2f\xfd", "it is compressed by zstd; give it a name that ends in .zst"),
    (b"SQLite format 3", "it is a SQLite database, expected a text; export its table as CSV"),
];
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A file's name in lower case without the ending of its compression, `.gz` or `.zst`.
pub(super) fn plain_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let plain = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst"));
    plain.map(str::to_owned).unwrap_or(name)
}

/// The text of a file, from behind its byte order mark.
pub(super) fn open(path: &Path) -> Result<Box<dyn BufRead + Send>, ImportError> {
    let failed = |reason: String| ImportError::Unreadable { file: path.to_path_buf(), reason };
    let file = files::open(path)?;
    let ending = path.extension().unwrap_or_default().to_ascii_lowercase();
    let text: Box<dyn Read + Send> = match ending.to_str() {
        Some("gz") => Box::new(flate2::read::MultiGzDecoder::new(BufReader::new(file))),
        Some("zst") => Box::new(zstd::Decoder::new(file).map_err(|e| failed(e.to_string()))?),
        _ => Box::new(file),
    };
    let mut text = BufReader::new(text);
    let start = text.fill_buf().map_err(|e| failed(e.to_string()))?;
    if let Some((_, reason)) = STRANGERS.iter().find(|(first, _)| start.starts_with(first)) {
        return Err(failed((*reason).to_owned()));
    }
    if start.starts_with(BYTE_ORDER_MARK) {
        text.consume(BYTE_ORDER_MARK.len());
    }
    Ok(Box::new(text))
}

/// An error of the JSON parser, with what JSON has not where that is what it found.
pub(super) fn json_error(file: &Arc<Path>, line: u64, error: &serde_json::Error) -> ImportError {
    let place = Place { file: Arc::clone(file), unit: "line", number: line };
    let hint = if error.is_syntax() && error.to_string().starts_with("expected value") {
        "; JSON has no `NaN`, `Infinity`, `None` or single quotes: write `null` where a value is unknown"
    } else {
        ""
    };
    place.error(format!("not valid JSON: {error}{hint}"))
}
