//! Two-dimensional f32 arrays in numpy's file format, versions 1 to 3: how data reach a peer.
//!
//! The format: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>.

use anyhow::{Context, bail};
use std::path::Path;

/// The header ends at a multiple of it.
const ALIGNMENT: usize = 64;
const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// Reads a little-endian f32 array of shape `(n, dim)`: its values row by row, and `dim`.
///
/// # Errors
/// If the file cannot be read or holds anything else.
pub(super) fn read(path: &Path) -> anyhow::Result<(Vec<f32>, usize)> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    parse(&bytes).with_context(|| format!("cannot read `{}` as an array of f32 rows", path.display()))
}

fn parse(bytes: &[u8]) -> anyhow::Result<(Vec<f32>, usize)> {
    let at = |i: usize| bytes.get(i).copied().map(usize::from).context("the file is cut off");
    if !bytes.starts_with(MAGIC) {
        bail!("it is no npy file");
    }
    // The length of the header has two bytes in version 1, four later on.
    let (length, start) = match at(6)? {
        1 => (at(8)? | at(9)? << 8, 10),
        _ => (at(8)? | at(9)? << 8 | at(10)? << 16 | at(11)? << 24, 12),
    };
    let header = bytes.get(start..start + length).context("the file is cut off")?;
    let header = std::str::from_utf8(header).context("its header is not text")?;
    if !header.contains("'<f4'") || header.contains("'fortran_order': True") {
        bail!("its header is `{}`, expected '<f4' values in C order", header.trim());
    }
    let shape = header.split_once("'shape': (").and_then(|(_, rest)| rest.split_once(')'));
    let shape: Vec<usize> = shape
        .map(|(shape, _)| shape.split(',').filter_map(|n| n.trim().parse().ok()).collect())
        .unwrap_or_default();
    let &[n, dim] = shape.as_slice() else {
        bail!("its shape is `{shape:?}`, expected (rows, width)");
    };
    let (values, rest) = bytes[start + length..].as_chunks::<4>();
    if dim == 0 || n.checked_mul(dim) != Some(values.len()) || !rest.is_empty() {
        bail!("it holds {} values, expected {n} rows of {dim}", values.len());
    }
    Ok((values.iter().map(|value| f32::from_le_bytes(*value)).collect(), dim))
}

/// Writes `values`, shape `(n, dim)` row-major. The file is one of a temporary folder, so nothing is renamed.
///
/// # Errors
/// If the file cannot be written.
pub(super) fn write(path: &Path, values: &[f32], dim: usize) -> anyhow::Result<()> {
    let n = values.len() / dim;
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({n}, {dim}), }}");
    // Ten bytes stand before the header, a line break ends it.
    while (10 + header.len() + 1) % ALIGNMENT != 0 {
        header.push(' ');
    }
    header.push('\n');
    let mut bytes = Vec::with_capacity(10 + header.len() + 4 * values.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&[1, 0]);
    bytes.extend_from_slice(&(header.len() as u16).to_le_bytes());
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    std::fs::write(path, bytes).with_context(|| format!("cannot write `{}`", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_aligned() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.npy");
        let values = [1.0, -2.5, 0.0, 4.0, 5.0, f32::MIN_POSITIVE];
        write(&path, &values, 3).unwrap();
        assert_eq!(read(&path).unwrap(), (values.to_vec(), 3));
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!((bytes.len() - 24) % ALIGNMENT, 0);
        assert!(parse(&bytes[..bytes.len() - 1]).is_err());
        assert!(parse(&bytes[..40]).is_err());
    }

    #[test]
    fn what_is_no_array_of_f32_rows_is_refused() {
        let file = |header: &str| {
            let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
            bytes.extend_from_slice(&(header.len() as u16).to_le_bytes());
            bytes.extend_from_slice(header.as_bytes());
            bytes.extend_from_slice(&[0; 16]);
            bytes
        };
        let good = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }";
        assert_eq!(parse(&file(good)).unwrap(), (vec![0.0; 4], 2));
        for (from, to) in [("<f4", "<f8"), ("False", "True"), ("(2, 2)", "(4,)"), ("(2, 2)", "(3, 2)")] {
            assert!(parse(&file(&good.replace(from, to))).is_err(), "{to}");
        }
        assert!(parse(b"PAR1").is_err());
    }
}
