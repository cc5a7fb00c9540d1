//! The pair log in memory: which of two answers to a query was preferred.

use crate::Query;
use crate::log::{LoadOptions, LogBatch, LogError, LogReader, QueryRows, RowKeys};
use crate::log::{QUERY_COLUMNS, QueryColumns, required};
use crate::schema;
use crate::suggest::near_names;
pub use judges::{Judge, Judges, JudgesError};
use std::collections::{BTreeMap, HashSet};
use std::path::Path;

mod judges;

/// The side a judge preferred.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Winner {
    /// The first answer.
    A,
    /// The second answer.
    B,
    /// Neither.
    Tie,
}

impl Winner {
    /// The word the log uses: `a`, `b` or `tie`.
    pub fn word(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
            Self::Tie => "tie",
        }
    }

    /// The side a word of the log names.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::A, Self::B, Self::Tie].into_iter().find(|winner| winner.word() == word)
    }

    /// What the first answer earned: 1, 0, or 0.5 for a tie.
    pub fn share_of_a(self) -> f32 {
        match self {
            Self::A => 1.0,
            Self::B => 0.0,
            Self::Tie => 0.5,
        }
    }
}

/// One judgement.
#[derive(Debug, Clone, PartialEq)]
pub struct Pair {
    /// Row of [`PairTable::queries`].
    pub query: usize,
    /// Position in [`PairTable::models`] of the first answer's model.
    pub model_a: usize,
    /// Position in [`PairTable::models`] of the second answer's model.
    pub model_b: usize,
    /// The preferred side.
    pub winner: Winner,
    /// Who judged, where the log says so.
    pub judge: Option<String>,
    /// How much the judgement counts, above 0: the log's weight, or 1, times what [`PairTable::judged_by`] says.
    pub weight: f32,
    /// Characters of the two answers, where asked for and logged.
    pub lengths: Option<[u32; 2]>,
}

/// Queries, models and judgements between them.
#[derive(Debug, Clone, PartialEq)]
pub struct PairTable {
    /// In order of first appearance.
    pub queries: Vec<Query>,
    /// Sorted by name.
    pub models: Vec<String>,
    /// In the order of the log.
    pub pairs: Vec<Pair>,
}

type Key = (usize, String, String, Option<String>);

#[derive(Debug)]
struct Loading {
    queries: QueryRows,
    wanted_models: Option<HashSet<String>>,
    models_seen: HashSet<String>,
    /// Keys of all rows, of the split asked for or not: a log that repeats one is not learned from.
    keys: RowKeys,
    pairs: Vec<(Key, Winner, f32, Option<[u32; 2]>)>,
}

impl PairTable {
    /// Reads a pair log: a Parquet file or a directory of them.
    ///
    /// With `options.models`, only judgements between two of them. `options.vector_column` is not read.
    ///
    /// # Errors
    /// If the log cannot be read, lacks a column, or holds a row that is not valid (the row is named); if the
    /// split or a model asked for does not exist.
    pub fn load(path: &Path, options: &LoadOptions) -> Result<Self, LogError> {
        Self::read(path, options, &[])
    }

    /// The same with the lengths of the answers, where the log has their texts.
    ///
    /// # Errors
    /// Those of [`PairTable::load`].
    pub fn load_with_lengths(path: &Path, options: &LoadOptions) -> Result<Self, LogError> {
        Self::read(path, options, &["response_a", "response_b"])
    }

    fn read(path: &Path, options: &LoadOptions, texts: &[&str]) -> Result<Self, LogError> {
        let mut columns = QUERY_COLUMNS.to_vec();
        columns.extend(["model_a", "model_b", "winner", "judge", "weight"]);
        columns.extend(texts);
        let reader = LogReader::open(path, &schema::PAIR, &columns)?;
        let mut loading = Loading {
            queries: QueryRows::new(path, &reader, options.split.as_deref())?,
            wanted_models: options.models.as_ref().map(|models| models.iter().cloned().collect()),
            models_seen: HashSet::new(),
            keys: RowKeys::default(),
            pairs: Vec::new(),
        };
        for batch in reader {
            loading.add(&batch?)?;
        }
        loading.finish(path)
    }
}

impl Loading {
    fn add(&mut self, batch: &LogBatch) -> Result<(), LogError> {
        let query = QueryColumns::new(batch);
        let [a, b, winner, judge] = ["model_a", "model_b", "winner", "judge"].map(|name| batch.text(name));
        let texts = ["response_a", "response_b"].map(|name| batch.text(name));
        let weight = batch.number("weight");
        for row in 0..batch.n_rows() {
            let a = required(batch, a, "model_a", row)?;
            let b = required(batch, b, "model_b", row)?;
            if a == b {
                let reason = format!("`model_a` and `model_b` are both `{a}`, expected two models");
                return Err(batch.error(row, reason));
            }
            let word = required(batch, winner, "winner", row)?;
            let Some(winner) = Winner::from_word(word) else {
                return Err(
                    batch.error(row, format!("winner `{word}` is not known; expected `a`, `b` or `tie`"))
                );
            };
            for model in [a, b] {
                if !self.models_seen.contains(model) {
                    self.models_seen.insert(model.to_owned());
                }
            }
            let judge = judge.and_then(|c| c.get(row)).map(str::to_owned);
            let id = required(batch, query.id, "query_id", row)?;
            let who = judge.as_ref().map_or_else(String::new, |judge| format!("\0{judge}"));
            if !self.keys.insert(id, &format!("{a}\0{b}{who}")) {
                let reason = format!("query `{id}`, `{a}`, `{b}` and this judge have a row already");
                return Err(batch.error(row, format!("{reason}; expected one row each")));
            }
            let weight = weight.as_ref().and_then(|c| c.get(row)).unwrap_or(1.0) as f32;
            if !(weight.is_finite() && weight >= 0.0) {
                let reason =
                    format!("weight `{weight}` is not valid; expected a finite number >= 0, or null");
                return Err(batch.error(row, reason));
            }
            let keep = weight > 0.0;
            let keep = keep && self.wanted_models.as_ref().is_none_or(|m| m.contains(a) && m.contains(b));
            let Some(number) = self.queries.add(batch, &query, row, keep)? else { continue };
            let length = |text: Option<crate::log::TextColumn<'_>>| {
                text.and_then(|c| c.get(row)).map(|text| text.chars().count() as u32)
            };
            let lengths = length(texts[0]).zip(length(texts[1])).map(|(a, b)| [a, b]);
            self.pairs.push(((number, a.to_owned(), b.to_owned(), judge), winner, weight, lengths));
        }
        Ok(())
    }

    fn finish(self, path: &Path) -> Result<PairTable, LogError> {
        let wanted = self.wanted_models.unwrap_or_default();
        let mut unknown: Vec<&String> = wanted.iter().filter(|m| !self.models_seen.contains(*m)).collect();
        unknown.sort();
        if let Some(model) = unknown.first() {
            let mut known: Vec<&str> = self.models_seen.iter().map(String::as_str).collect();
            known.sort_unstable();
            let (path, hint) = (path.display().to_string(), near_names(model, known));
            return Err(LogError::UnknownModel { path, model: (*model).clone(), hint });
        }
        let queries = self.queries.finish(path)?;
        let named = self.pairs.iter().flat_map(|((_, a, b, _), ..)| [a.clone(), b.clone()]);
        let mut numbers: BTreeMap<String, usize> = named.chain(wanted).map(|model| (model, 0)).collect();
        numbers.values_mut().enumerate().for_each(|(number, value)| *value = number);
        let pair = |((query, a, b, judge), winner, weight, lengths): (Key, Winner, f32, Option<[u32; 2]>)| {
            Pair { query, model_a: numbers[&a], model_b: numbers[&b], winner, judge, weight, lengths }
        };
        let pairs = self.pairs.into_iter().map(pair).collect();
        Ok(PairTable { queries, models: numbers.into_keys().collect(), pairs })
    }
}

#[cfg(test)]
mod tests;
