//! Nearest-neighbor search beside the faster of faiss flat and NumPy (exact) and hnswlib (graph), on the same
//! bytes: rows like those of a sentence encoder, and rows like the default features. Exact search is measured at
//! the numbers of neighbors that `train knn` chooses from, not only at a small one.
//!
//! The graphs are compared at equal recall: hnswlib's time at our recall is interpolated between the two of
//! its `ef` whose recalls enclose ours. Where ours is above all of its recalls, the time of its greatest `ef`
//! stands, which flatters hnswlib; where it is below all, there is no figure.

use super::measure::{Rounds, cpu_seconds};
use super::peer::{Peer, Script};
use super::report::{Report, Target};
use super::{Settings, npy};
use anyhow::{Context, bail};
use rand_distr::{Distribution, StandardNormal};
use routewright_data::rng;
use routewright_policy::search::{ApproximateIndex, ExactIndex, GraphOptions, Neighbor};
use std::path::{Path, PathBuf};

const SCRIPT: Script =
    Script { peer: "faiss, NumPy and hnswlib", file: "knn.py", text: include_str!("peers/knn.py") };

/// Neighbors asked for by default.
const K: usize = 20;
/// Numbers of neighbors that exact search is measured at besides.
const MANY_NEIGHBORS: [usize; 2] = [100, 400];
/// Width of generated vectors, that of a small sentence encoder.
const DIM: usize = 384;
/// Rows and width of a second set: the default features of a log of some thousand queries.
const FEATURES: (usize, usize) = (8000, 136);
/// Generated queries.
const N_QUERIES: usize = 1000;
/// Queries the graphs are searched with.
const GRAPH_QUERIES: usize = 500;
/// Queries a call, and how many are timed.
const BATCHES: [(usize, usize); 3] = [(1, 128), (64, 512), (1000, 1000)];
/// The same for many neighbors.
const SERVED_BATCHES: [(usize, usize); 2] = [(1, 128), (64, 512)];
const OUR_EFS: [usize; 3] = [64, 96, 128];
const PEER_EFS: [usize; 8] = [24, 32, 48, 64, 96, 128, 192, 256];
/// Rows of a second, larger run where the data given have them.
const MANY_ROWS: usize = 100_000;

/// Rows searched and queries, both of width `dim` and unit norm.
#[derive(Debug)]
struct Vectors {
    rows: Vec<f32>,
    queries: Vec<f32>,
    dim: usize,
    /// Folder the peer reads them from.
    folder: PathBuf,
}

/// Measures both engines.
///
/// # Errors
/// If the data given are refused or generated ones cannot be written.
pub(super) fn run(settings: &Settings, report: &mut Report) -> anyhow::Result<()> {
    let work = settings.interpreters.work();
    let vectors = match &settings.data {
        Some(folder) => Vectors::read(folder)?,
        None => Vectors::generate(settings.rows, DIM, &work.join("rows"))?,
    };
    let mut peer = settings.interpreters.start(SCRIPT, &[&vectors.folder], report);
    let n = vectors.rows.len() / vectors.dim;
    let mut sizes = vec![settings.rows.min(n)];
    if n >= MANY_ROWS && settings.rows < MANY_ROWS {
        sizes.push(MANY_ROWS);
    }
    for size in sizes {
        super::output::tell(&format!("knn: {size} rows of {}", vectors.dim));
        let rows = &vectors.rows[..size * vectors.dim];
        let exact = ExactIndex::new(rows.to_vec(), vectors.dim)?;
        flat(&exact, &vectors, settings.rounds, &mut peer, report)?;
        graph(&exact, &vectors, settings.rounds, &mut peer, report)?;
    }
    let (n, dim) = FEATURES;
    super::output::tell(&format!("knn: {n} rows of {dim}"));
    let vectors = Vectors::generate(n, dim, &work.join("features"))?;
    let mut peer = settings.interpreters.start(SCRIPT, &[&vectors.folder], report);
    let exact = ExactIndex::new(vectors.rows.clone(), dim)?;
    flat(&exact, &vectors, settings.rounds, &mut peer, report)
}

fn flat(
    index: &ExactIndex,
    vectors: &Vectors,
    rounds: usize,
    peer: &mut Peer,
    report: &mut Report,
) -> anyhow::Result<()> {
    let (n, dim) = (index.len(), index.dim());
    let few = BATCHES.map(|batch| (K, batch));
    let many = MANY_NEIGHBORS.map(|k| SERVED_BATCHES.map(|batch| (k, batch)));
    for (k, (batch, count)) in few.into_iter().chain(many.into_iter().flatten()) {
        let queries = vectors.queries(count);
        let count = queries.len() / dim;
        let mut figures = Rounds::default();
        let mut each = serde_json::Value::Null;
        for _ in 0..rounds {
            let (us, _) = search(queries, dim, batch, |part| Ok(index.search(part, k)?))?;
            let request = format!("flat {n} {batch} {count} {k}");
            let answer = peer.ask(&request, report).unwrap_or_default();
            figures.push(us, answer["us"].as_f64().filter(|us| *us > 0.0));
            each = answer["each"].clone();
        }
        let what = format!("knn exact, {n} rows of {dim}, k {k}, batch {batch}");
        if !each.is_null() {
            report.note(format!("{what}: us of each peer in the last round: {each}"));
        }
        report.row(what, "us", &figures, Some(Target::RatioAtMost(1.0)));
    }
    let queries = vectors.queries(GRAPH_QUERIES);
    let count = queries.len() / dim;
    if let Some(answer) = peer.ask(&format!("answers {n} {count} {K}"), report) {
        let theirs: Vec<Vec<u32>> = serde_json::from_value(answer["rows"].clone()).unwrap_or_default();
        let share = recall(&index.search(queries, K)?, &theirs);
        report.note(format!("knn exact, {n} rows: {share:.4} of the neighbors of faiss flat are ours too"));
    }
    Ok(())
}

fn graph(
    exact: &ExactIndex,
    vectors: &Vectors,
    rounds: usize,
    peer: &mut Peer,
    report: &mut Report,
) -> anyhow::Result<()> {
    let (n, dim) = (exact.len(), vectors.dim);
    let queries = vectors.queries(GRAPH_QUERIES);
    let count = queries.len() / dim;
    let truth: Vec<Vec<u32>> = exact.search(queries, K)?.iter().map(|found| row_numbers(found)).collect();
    let mut index = ApproximateIndex::new(exact.rows(), dim, GraphOptions::default())?;
    let mut figures = vec![Rounds::default(); OUR_EFS.len()];
    let mut recalls = [0.0; OUR_EFS.len()];
    for _ in 0..rounds {
        let mut ours = [0.0; OUR_EFS.len()];
        for (slot, ef) in OUR_EFS.into_iter().enumerate() {
            index.set_ef_search(ef);
            let once = |part: &[f32]| Ok(index.search_rescored(part, K, exact.rows())?);
            let (us, found) = search(queries, dim, 1, once)?;
            (ours[slot], recalls[slot]) = (us, recall(&found, &truth));
        }
        // All points or none: an incomplete curve would be read wrongly at its end.
        let theirs: Option<Vec<(f64, f64)>> =
            PEER_EFS.iter().map(|ef| point(peer, &format!("graph {n} {ef} {count} {K}"), report)).collect();
        for (slot, figures) in figures.iter_mut().enumerate() {
            let theirs = theirs.as_deref().and_then(|points| at_recall(points, recalls[slot]));
            figures.push(ours[slot], theirs);
        }
    }
    for ((ef, recall), figures) in OUR_EFS.into_iter().zip(recalls).zip(&figures) {
        let what = format!("knn graph, {n} rows, ef {ef}, recall {recall:.4}, vs hnswlib");
        report.row(what, "us", figures, Some(Target::RatioAtMost(1.0)));
    }
    Ok(())
}

/// Recall and time of the peer's graph.
fn point(peer: &mut Peer, request: &str, report: &mut Report) -> Option<(f64, f64)> {
    let answer = peer.ask(request, report)?;
    Some((answer["recall"].as_f64()?, answer["us"].as_f64()?))
}

/// The peer's time at a recall, from its points `(recall, time)` in the order of its effort.
fn at_recall(points: &[(f64, f64)], wanted: f64) -> Option<f64> {
    let (first, last) = (points.first()?, points.last()?);
    if wanted < first.0 {
        return None;
    }
    // The first pair that encloses it: the least effort that gives the recall.
    let pair = points.windows(2).find(|pair| pair[0].0 <= wanted && wanted <= pair[1].0);
    let Some(&[(low, time_low), (high, time_high)]) = pair else { return Some(last.1) };
    if high <= low {
        return Some(time_low);
    }
    Some(time_low + (time_high - time_low) * (wanted - low) / (high - low))
}

/// Processor microseconds a query, and the answers.
fn search(
    queries: &[f32],
    dim: usize,
    batch: usize,
    mut once: impl FnMut(&[f32]) -> anyhow::Result<Vec<Vec<Neighbor>>>,
) -> anyhow::Result<(f64, Vec<Vec<Neighbor>>)> {
    let mut found = Vec::with_capacity(queries.len() / dim);
    let seconds = cpu_seconds(|| {
        for part in queries.chunks(batch * dim) {
            found.extend(once(part)?);
        }
        Ok(())
    })?;
    Ok((seconds * 1e6 / found.len().max(1) as f64, found))
}

fn row_numbers(found: &[Neighbor]) -> Vec<u32> {
    found.iter().map(|neighbor| neighbor.row).collect()
}

/// Share of the wanted rows that were found.
fn recall(found: &[Vec<Neighbor>], wanted: &[Vec<u32>]) -> f64 {
    let hits = |(found, wanted): (&Vec<Neighbor>, &Vec<u32>)| {
        wanted.iter().filter(|row| found.iter().any(|neighbor| neighbor.row == **row)).count()
    };
    let total = wanted.iter().map(Vec::len).sum::<usize>();
    found.iter().zip(wanted).map(hits).sum::<usize>() as f64 / total.max(1) as f64
}

impl Vectors {
    fn read(folder: &Path) -> anyhow::Result<Self> {
        let (rows, dim) = npy::read(&folder.join("ref.npy"))?;
        let (queries, of_queries) = npy::read(&folder.join("ann_queries.npy"))?;
        if of_queries != dim || rows.is_empty() || queries.is_empty() {
            let folder = folder.display();
            bail!("`{folder}` has rows of width `{dim}` and queries of `{of_queries}`, expected one width");
        }
        Ok(Self { rows, queries, dim, folder: folder.to_owned() })
    }

    fn generate(n: usize, dim: usize, folder: &Path) -> anyhow::Result<Self> {
        let mut rows = generate(n + N_QUERIES, dim);
        let queries = rows.split_off(n * dim);
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make the folder `{}`", folder.display()))?;
        npy::write(&folder.join("ref.npy"), &rows, dim)?;
        npy::write(&folder.join("ann_queries.npy"), &queries, dim)?;
        Ok(Self { rows, queries, dim, folder: folder.to_owned() })
    }

    /// The first `count` queries, or all.
    fn queries(&self, count: usize) -> &[f32] {
        &self.queries[..self.queries.len().min(count * self.dim)]
    }
}

/// Unit vectors `(n, dim)` shaped like sentence embeddings: topics and what varies within them in some two
/// dozen directions, and a little noise in all.
fn generate(n: usize, dim: usize) -> Vec<f32> {
    const DIRECTIONS: usize = 24;
    const TOPICS: usize = 200;
    const WITHIN: f32 = 0.6;
    const NOISE: f32 = 0.3;
    let mut rng = rng::stream(1, "bench vectors");
    let mut normal = |n: usize| -> Vec<f32> { (0..n).map(|_| StandardNormal.sample(&mut rng)).collect() };
    let basis = normal(DIRECTIONS * dim);
    let topics = normal(TOPICS * DIRECTIONS);
    let mut out = Vec::with_capacity(n * dim);
    for i in 0..n {
        let topic = &topics[i * 7919 % TOPICS * DIRECTIONS..][..DIRECTIONS];
        let within = normal(DIRECTIONS);
        let mut row: Vec<f32> = normal(dim).iter().map(|x| NOISE * x).collect();
        for ((topic, within), direction) in topic.iter().zip(&within).zip(basis.chunks_exact(dim)) {
            let weight = topic + WITHIN * within;
            row.iter_mut().zip(direction).for_each(|(x, b)| *x += weight * b);
        }
        let norm = row.iter().map(|x| x * x).sum::<f32>().sqrt();
        out.extend(row.iter().map(|x| x / norm));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_at_a_recall_is_interpolated_and_never_made_up() {
        let points = [(0.9, 10.0), (0.95, 20.0), (1.0, 40.0), (1.0, 80.0)];
        assert_eq!(at_recall(&points, 0.95), Some(20.0));
        assert!((at_recall(&points, 0.975).unwrap() - 30.0).abs() < 1e-9);
        assert_eq!(at_recall(&points, 1.0), Some(40.0));
        assert_eq!(at_recall(&points, 0.89), None);
        assert_eq!(at_recall(&points[..2], 0.99), Some(20.0));
        assert_eq!(at_recall(&[], 0.9), None);
    }

    #[test]
    fn generated_vectors_repeat_and_have_unit_norm() {
        let vectors = generate(5, DIM);
        assert_eq!(vectors, generate(5, DIM));
        for row in vectors.chunks_exact(DIM) {
            assert!((row.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-5);
        }
    }

    #[test]
    fn recall_counts_wanted_rows() {
        let found = |rows: &[u32]| rows.iter().map(|&row| Neighbor { row, similarity: 0.0 }).collect();
        assert_eq!(recall(&[found(&[1, 2]), found(&[3, 4])], &[vec![2, 1], vec![4, 9]]), 0.75);
        assert_eq!(recall(&[], &[]), 0.0);
    }
}
