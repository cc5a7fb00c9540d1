//! Tokens of one model as mixes of tokens of another, by their output embeddings in a shared space (EVA,
//! arXiv 2404.09492).
//!
//! Tokens that are the same bytes in both vocabularies are pairs. Embeddings are scaled to length 1, centred, and
//! scaled again; the orthogonal map that brings the pairs nearest (Procrustes) takes one model's to the other's. A
//! token's likeness to another is CSLS: twice the cosine less each one's greatest cosine to the other side. Of every
//! token the `n` most alike are kept, those below `least` left out, weights in proportion to cosines.
//!
//! Deviations: 1. rows are scaled to sum to 1, so that mass stays mass; the released filter is not. 2. A token that
//! is in both vocabularies stands for itself alone. 3. The variance truncation of the paper is not done. 4. A row is
//! made when its token is first told, and the greatest cosine of a token of `to` is taken over at most 1,024 tokens
//! of `from`, evenly spread over their ids: all pairs of 262,144 and 49,152 tokens are 7e12 multiplications.

use super::rows::{products, to_unit, with_products};
use crate::backend::Embeddings;
use crate::distribution::Distribution;
use crate::vocabulary::{Role, Vocabulary};
use rayon::prelude::*;
use routewright_data::linalg::eigh_descending;
use routewright_data::product::{View, product};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Tokens of `from` at most that greatest cosines are taken over.
const SAMPLE: usize = 1024;

/// Row of the output embedding of a token of `from`.
pub type Rows = Box<dyn Fn(u32) -> Vec<f32> + Send + Sync>;

/// A token of `to` and its share.
type Row = Vec<(u32, f32)>;

/// What of every token of one model goes to which token of another; made row by row.
pub struct Projection {
    rows: Rows,
    /// Mean of the rows of `from` of length 1.
    mean: Vec<f32>,
    /// The map, `(dim_to, dim_from)`.
    map: Vec<f32>,
    /// Ids of the text tokens of `to`, their embeddings `(n, dim_to)` and greatest cosines to the other side.
    ids: Vec<u32>,
    to: Vec<f32>,
    nearest: Vec<f32>,
    n_to: usize,
    /// Entries of a row, and the cosine below which there is none.
    n: usize,
    least: f32,
    made: Mutex<HashMap<u32, Row>>,
}

impl std::fmt::Debug for Projection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Projection").field("n_to", &self.n_to).field("n", &self.n).finish_non_exhaustive()
    }
}

/// One side of a projection.
#[derive(Debug, Clone, Copy)]
pub struct Side<'a> {
    /// Tokens.
    pub vocabulary: &'a Vocabulary,
    /// Their embeddings.
    pub embeddings: Embeddings<'a>,
}

impl Projection {
    /// From the tokens of `from` to those of `to`; `rows` gives the rows of `from` later on.
    ///
    /// # Errors
    /// What keeps the spaces apart: no common token, or numbers that are not finite.
    pub fn new(from: Side<'_>, to: Side<'_>, n: usize, least: f32, rows: Rows) -> Result<Self, String> {
        let (dim_x, dim_y) = (from.embeddings.dim, to.embeddings.dim);
        let pairs = pairs(from.vocabulary, to.vocabulary);
        if pairs.is_empty() {
            return Err("the vocabularies have no token in common".to_owned());
        }
        let texts = |vocabulary: &Vocabulary| -> Vec<u32> {
            let ids = 0..u32::try_from(vocabulary.len()).unwrap_or(u32::MAX);
            ids.filter(|id| vocabulary.role(*id) == Role::Text).collect()
        };
        let mean = mean(from.embeddings);
        let x = |ids: &[u32]| centred(picked(from.embeddings.output, dim_x, ids), &mean);
        let of_to = self::mean(to.embeddings);
        let y = |ids: &[u32]| centred(picked(to.embeddings.output, dim_y, ids), &of_to);
        let (ours, theirs): (Vec<u32>, Vec<u32>) = pairs.into_iter().unzip();
        let map = procrustes(&x(&ours), dim_x, &y(&theirs), dim_y)?;
        let (ids_x, ids) = (texts(from.vocabulary), texts(to.vocabulary));
        let n_sample = ids_x.len().min(SAMPLE);
        let sample: Vec<u32> = (0..n_sample).map(|at| ids_x[at * ids_x.len() / n_sample]).collect();
        let (sample, y) = (carried(&x(&sample), &map, dim_x), y(&ids));
        let nearest = nearest(&y, &sample, dim_y);
        // A token that is in both vocabularies stands for itself, one without text for nothing.
        let known = |id: u32| match from.vocabulary.role(id) {
            Role::Text => Some((id, vec![(*to.vocabulary.ids(from.vocabulary.bytes(id)).first()?, 1.0)])),
            _ => Some((id, Vec::new())),
        };
        let made = (0..from.vocabulary.len()).filter_map(|id| known(u32::try_from(id).ok()?)).collect();
        let made = Mutex::new(made);
        Ok(Self { rows, mean, map, ids, to: y, nearest, n_to: to.vocabulary.len(), n, least, made })
    }

    /// Masses over the ids of the other vocabulary.
    pub fn project(&self, told: &Distribution) -> Vec<f32> {
        let told: Vec<(u32, f32)> = match told {
            Distribution::Full(all) => (0..).zip(all.iter().copied()).filter(|(_, p)| *p > -40.0).collect(),
            Distribution::Top { entries, .. } => entries.clone(),
        };
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let missing: Vec<u32> = told.iter().map(|(id, _)| *id).filter(|id| !made.contains_key(id)).collect();
        made.extend(missing.iter().copied().zip(self.mixed(&missing)));
        let mut mass = vec![0.0; self.n_to];
        for (id, p) in told {
            let row = made.get(&id).into_iter().flatten();
            row.for_each(|(to, share)| mass[*to as usize] += p.exp() * share);
        }
        mass
    }

    /// Rows of tokens that the other vocabulary does not have.
    fn mixed(&self, ids: &[u32]) -> Vec<Row> {
        let (dim_x, dim_y) = (self.mean.len(), self.map.len() / self.mean.len().max(1));
        let x = centred(ids.iter().flat_map(|id| (self.rows)(*id)).collect(), &self.mean);
        let x = carried(&x, &self.map, dim_x);
        let alike = |_, cosines: &[f32]| alike(cosines, &self.nearest, &self.ids, self.n, self.least);
        with_products(&x, &self.to, dim_y, alike)
    }
}

/// The `n` most alike by CSLS, weights in proportion to cosines.
fn alike(cosines: &[f32], nearest: &[f32], ids: &[u32], n: usize, least: f32) -> Row {
    let own = cosines.iter().copied().fold(-1.0, f32::max);
    let mut scored: Vec<(f32, usize)> =
        cosines.iter().zip(nearest).enumerate().map(|(at, (c, most))| (2.0 * c - own - most, at)).collect();
    let order = |a: &(f32, usize), b: &(f32, usize)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
    if n < scored.len() && n > 0 {
        scored.select_nth_unstable_by(n - 1, order);
    }
    scored.truncate(n);
    scored.sort_by(order);
    let mut row: Row = scored
        .iter()
        .map(|(_, at)| (ids[*at], cosines[*at]))
        .filter(|(_, cosine)| *cosine > 0.0 && *cosine >= least)
        .collect();
    let sum: f32 = row.iter().map(|(_, cosine)| cosine).sum();
    row.iter_mut().for_each(|(_, cosine)| *cosine /= sum);
    row
}

/// Ids that stand for the same bytes on both sides.
fn pairs(from: &Vocabulary, to: &Vocabulary) -> Vec<(u32, u32)> {
    let ids = 0..u32::try_from(from.len()).unwrap_or(u32::MAX);
    let pair = |id: u32| {
        let bytes = from.bytes(id);
        let other = (!bytes.is_empty()).then(|| to.ids(bytes).first()).flatten()?;
        Some((id, *other))
    };
    ids.filter_map(pair).collect()
}

/// Mean of the rows of the output projection, each scaled to length 1.
fn mean(embeddings: Embeddings<'_>) -> Vec<f32> {
    let (dim, rows) = (embeddings.dim.max(1), embeddings.output);
    let zero = || vec![0.0_f64; dim];
    let add = |mut sum: Vec<f64>, row: &[f32]| {
        let length = row.iter().map(|x| x * x).sum::<f32>().sqrt().max(1e-12);
        sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(x / length));
        sum
    };
    // Blocks of a fixed size, added in order: the sum does not depend on how many run at the same time.
    let blocks: Vec<Vec<f64>> =
        rows.par_chunks(4096 * dim).map(|block| block.chunks_exact(dim).fold(zero(), add)).collect();
    let n = (rows.len() / dim).max(1) as f64;
    let column = |at: usize| (blocks.iter().map(|block| block[at]).sum::<f64>() / n) as f32;
    (0..dim).map(column).collect()
}

/// Rows of length 1, centred, of length 1 again.
fn centred(mut rows: Vec<f32>, mean: &[f32]) -> Vec<f32> {
    let dim = mean.len();
    to_unit(&mut rows, dim);
    rows.par_chunks_mut(dim.max(1)).for_each(|row| row.iter_mut().zip(mean).for_each(|(x, mean)| *x -= mean));
    to_unit(&mut rows, dim);
    rows
}

/// Some rows.
fn picked(rows: &[f32], dim: usize, which: &[u32]) -> Vec<f32> {
    which.iter().flat_map(|at| &rows[*at as usize * dim..][..dim]).copied().collect()
}

/// Rows through the map `(dim_y, dim_x)`, of length 1.
fn carried(rows: &[f32], map: &[f32], dim_x: usize) -> Vec<f32> {
    let blocks = rows.par_chunks(super::rows::BLOCK * dim_x.max(1));
    let mut rows: Vec<f32> = blocks.flat_map_iter(|rows| products(rows, map, dim_x)).collect();
    to_unit(&mut rows, map.len() / dim_x.max(1));
    rows
}

/// Of every row of `y` its greatest cosine to a row of `x`; all of length 1.
fn nearest(y: &[f32], x: &[f32], dim: usize) -> Vec<f32> {
    with_products(y, x, dim, |_, cosines| cosines.iter().copied().fold(-1.0, f32::max))
}

/// `W' (dim_y, dim_x)` with orthonormal rows or columns that makes `sum |x W - y|^2` over the pairs, which are rows of
/// the same number, least: `W = U V'` of the singular vectors of `sum x' y`.
fn procrustes(x: &[f32], dim_x: usize, y: &[f32], dim_y: usize) -> Result<Vec<f32>, String> {
    let n = x.len() / dim_x.max(1);
    let mut m = vec![0.0_f32; dim_x * dim_y];
    product(View::new(x, n, dim_x).transposed(), View::new(y, n, dim_y), &mut m, false);
    let m: Vec<f64> = m.into_iter().map(f64::from).collect();
    let mut square = vec![0.0; dim_y * dim_y];
    square.par_chunks_exact_mut(dim_y).enumerate().for_each(|(row, square)| {
        for m in m.chunks_exact(dim_y) {
            square.iter_mut().zip(m).for_each(|(s, b)| *s += m[row] * b);
        }
    });
    let (values, vectors) = eigh_descending(square, dim_y)
        .map_err(|error| format!("the embeddings cannot be mapped: {error}"))?;
    let largest = values.first().copied().unwrap_or(0.0);
    let mut map = vec![0.0; dim_x * dim_y];
    for (k, value) in values.iter().enumerate().take(dim_x.min(dim_y)) {
        // Directions the pairs say nothing of stay unmapped.
        if *value <= 1e-12 * largest {
            break;
        }
        let v: Vec<f64> = (0..dim_y).map(|at| vectors[at * dim_y + k]).collect();
        let singular = value.sqrt();
        for (m, map) in m.chunks_exact(dim_y).zip(map.chunks_exact_mut(dim_y)) {
            let u = m.iter().zip(&v).map(|(m, v)| m * v).sum::<f64>() / singular;
            map.iter_mut().zip(&v).for_each(|(map, v)| *map += u * v);
        }
    }
    let turned = |at: usize| map[at % dim_x * dim_y + at / dim_x] as f32;
    Ok((0..dim_x * dim_y).map(turned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt as _;
    use routewright_data::rng;

    /// A space and the same turned: every token finds itself, also those that are no pair.
    #[test]
    fn a_turned_copy_of_a_space_is_recognised() {
        let (n, dim) = (40, 6);
        let mut rng = rng::stream(3, "space");
        let x: Vec<f32> = (0..n * dim).map(|_| rng.random::<f32>() - 0.5).collect();
        // Two turns in planes.
        let turn = |row: &[f32]| {
            let mut row = row.to_vec();
            for (a, b, angle) in [(0, 3, 0.7_f32), (1, 2, 2.1), (4, 5, -1.3), (2, 4, 0.4)] {
                let (sin, cos) = angle.sin_cos();
                (row[a], row[b]) = (cos * row[a] - sin * row[b], sin * row[a] + cos * row[b]);
            }
            row
        };
        let y: Vec<f32> = x.chunks_exact(dim).flat_map(turn).collect();
        let words = |mark: &str| {
            let word = move |at: usize| if at < 25 { format!("w{at}") } else { format!("{mark}{at}") };
            Vocabulary::new((0..n).map(|at| (word(at).into_bytes(), Role::Text)).collect::<Vec<_>>())
        };
        let (a, b) = (words("a"), words("b"));
        let side =
            |vocabulary, rows| Side { vocabulary, embeddings: Embeddings { input: rows, output: rows, dim } };
        let raw = x.clone();
        let rows: Rows = Box::new(move |id| raw[id as usize * dim..][..dim].to_vec());
        let projection = Projection::new(side(&a, &x), side(&b, &y), 1, 0.0, rows).unwrap();
        // Shared tokens have rows from the start, others once they are told.
        assert_eq!(projection.made.lock().unwrap().len(), 25);
        let told = Distribution::from_logits(vec![0.0; n]).unwrap();
        assert!((projection.project(&told).iter().sum::<f32>() - 1.0).abs() < 1e-5);
        let made = projection.made.lock().unwrap();
        assert_eq!(made.len(), n);
        for (id, row) in made.iter() {
            assert_eq!((row.len(), row[0].0), (1, *id));
        }
    }

    #[test]
    fn vocabularies_without_a_common_token_are_refused() {
        let vocabulary = |word: &str| Vocabulary::new([(word.as_bytes().to_vec(), Role::Text)]);
        let (a, b) = (vocabulary("a"), vocabulary("b"));
        let embeddings = Embeddings { input: &[1.0], output: &[1.0], dim: 1 };
        let side = |vocabulary| Side { vocabulary, embeddings };
        let found = Projection::new(side(&a), side(&b), 1, 0.0, Box::new(|_| vec![1.0]));
        assert!(found.unwrap_err().contains("no token in common"));
    }
}
