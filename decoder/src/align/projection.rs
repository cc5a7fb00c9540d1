//! Tokens of one model as mixes of tokens of another, by their output embeddings in a shared space (EVA,
//! arXiv 2404.09492).
//!
//! Tokens that are the same bytes in both vocabularies are pairs. Embeddings are scaled to length 1, centred, and
//! scaled again; the orthogonal map that brings the pairs nearest (Procrustes) takes one model's to the other's. A
//! token's likeness to another is CSLS: twice the cosine less each one's greatest cosine to the other side. Of every
//! token the `n` most alike are kept, those below `least` left out, weights in proportion to cosines.
//!
//! Deviations: 1. rows are scaled to sum to 1, so that mass stays mass; the released filter is not. 2. A token that
//! is in both vocabularies stands for itself alone. 3. The variance truncation of the paper is not done.

use super::rows::{products, to_unit, with_products};
use crate::backend::Embeddings;
use crate::distribution::Distribution;
use crate::vocabulary::{Role, Vocabulary};
use rayon::prelude::*;
use routewright_data::linalg::eigh_descending;

/// What of every token of one model goes to which token of another, row by row.
#[derive(Debug, Clone)]
pub struct Projection {
    rows: Vec<Vec<(u32, f32)>>,
    n_to: usize,
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
    /// From the tokens of `from` to those of `to`.
    ///
    /// # Errors
    /// What keeps the spaces apart: no common token, or numbers that are not finite.
    pub fn new(from: Side<'_>, to: Side<'_>, n: usize, least: f32) -> Result<Self, String> {
        let (x, y) = (normed(from.embeddings), normed(to.embeddings));
        let (dim_x, dim_y) = (from.embeddings.dim, to.embeddings.dim);
        let pairs = pairs(from.vocabulary, to.vocabulary);
        if pairs.is_empty() {
            return Err("the vocabularies have no token in common".to_owned());
        }
        let map = procrustes(&x, dim_x, &y, dim_y, &pairs)?;
        let texts = |vocabulary: &Vocabulary| -> Vec<u32> {
            let ids = 0..u32::try_from(vocabulary.len()).unwrap_or(u32::MAX);
            ids.filter(|id| vocabulary.role(*id) == Role::Text).collect()
        };
        let (ids_x, ids_y) = (texts(from.vocabulary), texts(to.vocabulary));
        let mut x = carried(&picked(&x, dim_x, &ids_x), &map, dim_x, dim_y);
        to_unit(&mut x, dim_y);
        let y = picked(&y, dim_y, &ids_y);
        let nearest = nearest(&y, &x, dim_y);
        let same = |id: u32| to.vocabulary.ids(from.vocabulary.bytes(id)).first().copied();
        let mut rows = vec![Vec::new(); from.vocabulary.len()];
        let (shared, others): (Vec<u32>, Vec<u32>) = ids_x.iter().partition(|id| same(**id).is_some());
        for id in shared {
            rows[id as usize] = same(id).map(|same| vec![(same, 1.0)]).unwrap_or_default();
        }
        let place = |id: &u32| ids_x.binary_search(id).ok().and_then(|at| u32::try_from(at).ok());
        let places: Vec<u32> = others.iter().filter_map(place).collect();
        let x = picked(&x, dim_y, &places);
        let mixed = with_products(&x, &y, dim_y, |_, cosines| alike(cosines, &nearest, &ids_y, n, least));
        for (id, row) in others.into_iter().zip(mixed) {
            rows[id as usize] = row;
        }
        Ok(Self { rows, n_to: to.vocabulary.len() })
    }

    /// Masses over the ids of the other vocabulary.
    pub fn project(&self, told: &Distribution) -> Vec<f32> {
        let mut mass = vec![0.0; self.n_to];
        let mut add = |id: usize, p: f32| {
            if let Some(row) = self.rows.get(id) {
                row.iter().for_each(|(to, share)| mass[*to as usize] += p * share);
            }
        };
        match told {
            Distribution::Full(all) => {
                all.iter().enumerate().filter(|(_, p)| **p > -40.0).for_each(|(id, p)| add(id, p.exp()))
            }
            Distribution::Top { entries, .. } => {
                entries.iter().for_each(|(id, p)| add(*id as usize, p.exp()));
            }
        }
        mass
    }
}

/// The `n` most alike by CSLS, weights in proportion to cosines.
fn alike(cosines: &[f32], nearest: &[f32], ids: &[u32], n: usize, least: f32) -> Vec<(u32, f32)> {
    let own = cosines.iter().copied().fold(-1.0, f32::max);
    let mut scored: Vec<(f32, usize)> =
        cosines.iter().zip(nearest).enumerate().map(|(at, (c, most))| (2.0 * c - own - most, at)).collect();
    let order = |a: &(f32, usize), b: &(f32, usize)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
    if n < scored.len() && n > 0 {
        scored.select_nth_unstable_by(n - 1, order);
    }
    scored.truncate(n);
    scored.sort_by(order);
    let mut row: Vec<(u32, f32)> = scored
        .iter()
        .map(|(_, at)| (ids[*at], cosines[*at]))
        .filter(|(_, cosine)| *cosine > 0.0 && *cosine >= least)
        .collect();
    let sum: f32 = row.iter().map(|(_, cosine)| cosine).sum();
    row.iter_mut().for_each(|(_, cosine)| *cosine /= sum);
    row
}

/// Ids that stand for the same bytes on both sides.
fn pairs(from: &Vocabulary, to: &Vocabulary) -> Vec<(usize, usize)> {
    let ids = 0..u32::try_from(from.len()).unwrap_or(u32::MAX);
    let pair = |id: u32| {
        let bytes = from.bytes(id);
        let other = (!bytes.is_empty()).then(|| to.ids(bytes).first()).flatten()?;
        Some((id as usize, *other as usize))
    };
    ids.filter_map(pair).collect()
}

/// Rows of the output projection of length 1, centred, of length 1 again.
fn normed(embeddings: Embeddings<'_>) -> Vec<f32> {
    let dim = embeddings.dim;
    let mut rows = embeddings.output.to_vec();
    to_unit(&mut rows, dim);
    let n = (rows.len() / dim).max(1) as f32;
    let mut mean = vec![0.0; dim];
    for row in rows.chunks_exact(dim) {
        mean.iter_mut().zip(row).for_each(|(mean, x)| *mean += x / n);
    }
    for row in rows.chunks_exact_mut(dim) {
        row.iter_mut().zip(&mean).for_each(|(x, mean)| *x -= mean);
    }
    to_unit(&mut rows, dim);
    rows
}

/// Some rows.
fn picked(rows: &[f32], dim: usize, which: &[u32]) -> Vec<f32> {
    which.iter().flat_map(|at| &rows[*at as usize * dim..][..dim]).copied().collect()
}

/// Rows times the map `(dim_x, dim_y)`.
fn carried(rows: &[f32], map: &[f64], dim_x: usize, dim_y: usize) -> Vec<f32> {
    let mut turned = vec![0.0_f32; map.len()];
    for (i, row) in map.chunks_exact(dim_y).enumerate() {
        row.iter().enumerate().for_each(|(j, value)| turned[j * dim_x + i] = *value as f32);
    }
    let blocks = rows.par_chunks(super::rows::BLOCK * dim_x);
    blocks.flat_map_iter(|rows| products(rows, &turned, dim_x)).collect()
}

/// Of every row of `y` its greatest cosine to a row of `x`; all of length 1.
fn nearest(y: &[f32], x: &[f32], dim: usize) -> Vec<f32> {
    with_products(y, x, dim, |_, cosines| cosines.iter().copied().fold(-1.0, f32::max))
}

/// `W (dim_x, dim_y)` with orthonormal rows or columns that makes `sum |x W - y|^2` over the pairs least: `U V'` of
/// the singular vectors of `sum x' y`.
fn procrustes(
    x: &[f32],
    dim_x: usize,
    y: &[f32],
    dim_y: usize,
    pairs: &[(usize, usize)],
) -> Result<Vec<f64>, String> {
    let mut m = vec![0.0_f64; dim_x * dim_y];
    m.par_chunks_exact_mut(dim_y).enumerate().for_each(|(row, m)| {
        for (a, b) in pairs {
            let (a, b) = (f64::from(x[a * dim_x + row]), &y[b * dim_y..][..dim_y]);
            m.iter_mut().zip(b).for_each(|(m, b)| *m += a * f64::from(*b));
        }
    });
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
    Ok(map)
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
        let projection = Projection::new(side(&a, &x), side(&b, &y), 1, 0.0).unwrap();
        for (id, row) in projection.rows.iter().enumerate() {
            assert_eq!(row.len(), 1);
            assert_eq!(row[0].0 as usize, id);
        }
        let told = Distribution::from_logits(vec![0.0; n]).unwrap();
        assert!((projection.project(&told).iter().sum::<f32>() - 1.0).abs() < 1e-5);
    }

    #[test]
    fn vocabularies_without_a_common_token_are_refused() {
        let vocabulary = |word: &str| Vocabulary::new([(word.as_bytes().to_vec(), Role::Text)]);
        let (a, b) = (vocabulary("a"), vocabulary("b"));
        let embeddings = Embeddings { input: &[1.0], output: &[1.0], dim: 1 };
        let side = |vocabulary| Side { vocabulary, embeddings };
        assert!(Projection::new(side(&a), side(&b), 1, 0.0).unwrap_err().contains("no token in common"));
    }
}
