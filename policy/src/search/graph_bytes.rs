//! The bytes of an approximate index.
//!
//! Little endian: the magic; `dim`, `rows`, `m`, `ef_search`, entry row and number of rows on upper layers as
//! u32; the mean row, row scales and half squares as f32; the codes, `dim` bytes a row; the link counts of
//! layer 0 as u16 and its links as u32; for each row on upper layers its number, its layer count and, for each
//! layer, the link count and the links, as u32. Nothing may follow.
//!
//! Loading checks every length and number, so damaged bytes give an error or at worst a poor graph, never a
//! panic; telling that bytes are damaged is left to the checksum of the artifact that holds them.

use super::approximate::ApproximateIndex;
use super::codes::{MAX_DIM, MAX_MAGNITUDE};
use super::error::{SearchError, check_dim};
use super::graph::Graph;
use super::row_codes::RowCodes;

const MAGIC: &[u8; 8] = b"rw-hnsw1";

/// Largest layer count that loading accepts for a row; building makes at most 16.
const MAX_LAYERS: u32 = 64;

impl ApproximateIndex {
    /// The whole index; the same index gives the same bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let (codes, graph) = (&self.codes, &self.graph);
        let mut bytes = MAGIC.to_vec();
        let number = |bytes: &mut Vec<u8>, value: usize| bytes.extend((value as u32).to_le_bytes());
        for value in
            [codes.dim, self.len(), graph.m, self.ef_search(), graph.entry as usize, graph.upper.len()]
        {
            number(&mut bytes, value);
        }
        for value in codes.center.iter().chain(&codes.scales).chain(&codes.half_squares) {
            bytes.extend(value.to_le_bytes());
        }
        for row in 0..self.len() as u32 {
            bytes.extend(codes.row(row).iter().flat_map(|line| line.0).take(codes.dim));
        }
        bytes.extend(graph.base_len.iter().flat_map(|count| count.to_le_bytes()));
        for row in 0..self.len() as u32 {
            bytes.extend(graph.links(row, 0).iter().flat_map(|link| link.to_le_bytes()));
        }
        for (&row, layers) in &graph.upper {
            number(&mut bytes, row as usize);
            number(&mut bytes, layers.len());
            for links in layers {
                number(&mut bytes, links.len());
                bytes.extend(links.iter().flat_map(|link| link.to_le_bytes()));
            }
        }
        bytes
    }

    /// Reads an index written by [`to_bytes`](Self::to_bytes).
    ///
    /// # Errors
    /// [`SearchError::Graph`] for bytes that are not a whole index.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SearchError> {
        let mut reader = Reader { left: bytes, length: bytes.len() };
        if reader.take(MAGIC.len())? != MAGIC {
            return Err(damaged("the bytes do not start with `rw-hnsw1`".to_owned()));
        }
        let mut header = [0u32; 6];
        for value in &mut header {
            *value = reader.number()?;
        }
        let [dim, rows, m, ef_search, entry, uppers] = header;
        check_dim(dim as usize, MAX_DIM)?;
        if !(2..=256).contains(&m) || ef_search == 0 || (entry >= rows && rows > 0) {
            return Err(damaged(format!(
                "m `{m}`, ef_search `{ef_search}` or entry row `{entry}` is out of range"
            )));
        }
        let codes = reader.codes(dim as usize, rows as usize)?;
        let mut graph = Graph { m: m as usize, entry, ..Graph::default() };
        reader.base_links(&mut graph, rows)?;
        for _ in 0..uppers {
            let (row, layers) = (reader.below(rows, "row")?, reader.below(MAX_LAYERS + 1, "layer count")?);
            let links = (0..layers).map(|_| {
                let count = reader.below(m + 1, "link count")?;
                reader.links(count, rows)
            });
            graph.upper.insert(row, links.collect::<Result<_, _>>()?);
        }
        if !reader.left.is_empty() {
            return Err(damaged(format!("`{}` bytes follow the index", reader.left.len())));
        }
        Ok(Self { codes, graph, ef_search: ef_search as usize })
    }
}

fn damaged(message: String) -> SearchError {
    SearchError::Graph { attempt: "load", message }
}

struct Reader<'a> {
    left: &'a [u8],
    length: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], SearchError> {
        let Some((taken, left)) = self.left.split_at_checked(count) else {
            let at = self.length - self.left.len();
            return Err(damaged(format!("`{count}` bytes needed at byte `{at}` of `{}`", self.length)));
        };
        self.left = left;
        Ok(taken)
    }

    fn array<const SIZE: usize>(&mut self, count: usize) -> Result<&'a [[u8; SIZE]], SearchError> {
        Ok(self.take(count.saturating_mul(SIZE))?.as_chunks().0)
    }

    fn number(&mut self) -> Result<u32, SearchError> {
        Ok(self.array::<4>(1)?.first().map_or(0, |bytes| u32::from_le_bytes(*bytes)))
    }

    fn below(&mut self, limit: u32, what: &str) -> Result<u32, SearchError> {
        let value = self.number()?;
        if value < limit {
            return Ok(value);
        }
        Err(damaged(format!("{what} `{value}` where less than `{limit}` is possible")))
    }

    fn floats(&mut self, count: usize) -> Result<Vec<f32>, SearchError> {
        let values: Vec<f32> = self.array(count)?.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        match values.iter().find(|value| !(value.abs() <= MAX_MAGNITUDE)) {
            Some(value) => Err(damaged(format!("value `{value}` among the row numbers"))),
            None => Ok(values),
        }
    }

    fn codes(&mut self, dim: usize, rows: usize) -> Result<RowCodes, SearchError> {
        let mut codes = RowCodes::empty(dim, self.floats(dim)?);
        let (scales, half_squares) = (self.floats(rows)?, self.floats(rows)?);
        let bytes = self.take(rows.saturating_mul(dim))?;
        for ((row, scale), half_square) in bytes.chunks_exact(dim).zip(scales).zip(half_squares) {
            codes.push(row, scale, half_square);
        }
        Ok(codes)
    }

    fn links(&mut self, count: u32, rows: u32) -> Result<Vec<u32>, SearchError> {
        let links: Vec<u32> =
            self.array(count as usize)?.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect();
        match links.iter().find(|&&link| link >= rows) {
            Some(link) => Err(damaged(format!("link to row `{link}` of `{rows}`"))),
            None => Ok(links),
        }
    }

    fn base_links(&mut self, graph: &mut Graph, rows: u32) -> Result<(), SearchError> {
        graph.base_len = self.array(rows as usize)?.iter().map(|bytes| u16::from_le_bytes(*bytes)).collect();
        graph.base = vec![0; rows as usize * 2 * graph.m];
        for (&count, slots) in graph.base_len.iter().zip(graph.base.chunks_exact_mut(2 * graph.m)) {
            if usize::from(count) > slots.len() {
                return Err(damaged(format!("`{count}` links where at most `{}` are possible", slots.len())));
            }
            slots[..usize::from(count)].copy_from_slice(&self.links(u32::from(count), rows)?);
        }
        Ok(())
    }
}
