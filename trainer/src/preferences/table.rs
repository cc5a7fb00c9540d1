//! A pair log as a train table, alone or behind the rows of an outcome log.

use super::{Comparison, Comparisons};
use routewright_data::{Cells, OutcomeTable, PairTable, Query};

/// A train table and the judgements of its queries.
#[derive(Debug, Clone, PartialEq)]
pub struct Joined {
    /// Rows to learn from.
    pub table: OutcomeTable,
    /// Judgements between its arms.
    pub comparisons: Comparisons,
}

/// The pair log alone: a score is the share of its comparisons that an arm won on a query.
pub fn of_pairs(pairs: PairTable) -> Joined {
    let models = pairs.models.clone();
    let comparisons = comparisons(&pairs, 0, |model| model);
    let score = comparisons.win_shares(models.len());
    let table = blank(pairs.queries, models, score);
    Joined { table, comparisons }
}

/// The rows of an outcome log, then those of the pair log, which have no scores: judgements say nothing of a scale
/// that outcomes have. Arms are those of either; arms with neither a score nor a judgement are left out.
pub fn with_log(log: OutcomeTable, pairs: &PairTable) -> Joined {
    let observed = |arm: &usize| log.score.column_mean(*arm).is_some();
    let log = log.select_arms(&(0..log.n_arms()).filter(observed).collect::<Vec<_>>());
    let mut models: Vec<String> = log.models.iter().chain(&pairs.models).cloned().collect();
    models.sort();
    models.dedup();
    let of_log: Vec<Option<usize>> =
        models.iter().map(|model| log.models.iter().position(|known| known == model)).collect();
    let n = log.n_queries() + pairs.queries.len();
    let widen = |cells: &Cells| {
        let mut out = Cells::missing(n, models.len());
        for row in 0..log.n_queries() {
            for (arm, from) in of_log.iter().enumerate() {
                if let Some(value) = from.and_then(|from| cells.get(row, from)) {
                    out.set(row, arm, value);
                }
            }
        }
        out
    };
    let column = |model: usize| models.iter().position(|known| *known == pairs.models[model]).unwrap_or(0);
    let comparisons = comparisons(pairs, log.n_queries(), column);
    let mut queries = log.queries.clone();
    queries.extend(pairs.queries.iter().cloned());
    let table = OutcomeTable {
        soft_score: log.soft_score.as_ref().map(widen),
        cost_usd: widen(&log.cost_usd),
        latency_ms: log.latency_ms.as_ref().map(widen),
        ..blank(queries, models.clone(), widen(&log.score))
    };
    Joined { table, comparisons }
}

fn comparisons(pairs: &PairTable, first: usize, column: impl Fn(usize) -> usize) -> Comparisons {
    let comparison = |pair: &routewright_data::Pair| Comparison {
        row: first + pair.query,
        a: column(pair.model_a),
        b: column(pair.model_b),
        share: pair.winner.share_of_a(),
        weight: pair.weight,
    };
    Comparisons::new(first + pairs.queries.len(), pairs.pairs.iter().map(comparison).collect())
}

fn blank(queries: Vec<Query>, models: Vec<String>, score: Cells) -> OutcomeTable {
    let cost_usd = Cells::missing(queries.len(), models.len());
    OutcomeTable { queries, models, score, soft_score: None, cost_usd, latency_ms: None, vectors: None }
}
