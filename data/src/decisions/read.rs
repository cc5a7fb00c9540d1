//! Streams a decision log, every row checked.

use super::key::{Key, KeySet};
use crate::log::{
    DecisionRow, LogBatch, LogError, LogReader, NumberColumn, TextColumn, TextListColumn, TimeColumn,
    VectorColumn, required,
};
use crate::schema;
use std::path::Path;
use std::sync::Arc;

/// How far the probabilities of a row may be from the sum 1, and the chosen one from its place in the list.
const TOLERANCE: f64 = 1e-3;

/// Rows given at once, few enough to be used while they lie in the cache.
const ROWS: usize = 1024;
/// Ids there is room for at first, whatever a file says of its length.
const ROOM_MAX: usize = 1 << 20;

/// A decision log being read: an iterator of batches of rows, decisions and the first steps of episodes.
#[derive(Debug)]
pub struct DecisionReader {
    log: LogReader,
    /// What is read, and the next row of it.
    batch: Option<(LogBatch, usize)>,
    seen: KeySet,
    before: Before,
    n_later_steps: u64,
}

/// What a row mostly has in common with the next, held once.
#[derive(Debug, Clone, Default)]
struct Before {
    candidates: Arc<[String]>,
    policy: Arc<str>,
    policy_version: Arc<str>,
    policy_digest: Arc<str>,
}

impl DecisionReader {
    /// Opens a decision log: a Parquet file or a directory of them.
    ///
    /// # Errors
    /// If a file is not whole Parquet, lacks a required column or has one of a wrong type; if it is empty.
    pub fn open(path: &Path) -> Result<Self, LogError> {
        let columns: Vec<&str> = schema::DECISION.columns.iter().map(|column| column.name).collect();
        let log = LogReader::open(path, &schema::DECISION, &columns)?;
        let room = usize::try_from(log.n_rows()).unwrap_or(ROOM_MAX).min(ROOM_MAX);
        let seen = KeySet::with_capacity_and_hasher(room, Default::default());
        Ok(Self { log, batch: None, seen, before: Before::default(), n_later_steps: 0 })
    }

    /// Rows of all files together.
    pub fn n_rows(&self) -> u64 {
        self.log.n_rows()
    }

    /// Rows read so far that continue an episode. They are checked and left out: what was decided in them depends on
    /// answers that the log does not hold.
    pub fn n_later_steps(&self) -> u64 {
        self.n_later_steps
    }

    /// The next rows, all in one batch of the file.
    fn next_rows(&mut self) -> Result<Option<Vec<DecisionRow>>, LogError> {
        let (batch, at) = match self.batch.take() {
            Some(batch) => batch,
            None => match self.log.next() {
                Some(batch) => (batch?, 0),
                None => return Ok(None),
            },
        };
        let n = ROWS.min(batch.n_rows() - at);
        let rows = self.rows(&batch.slice(at, n))?;
        if at + n < batch.n_rows() {
            self.batch = Some((batch, at + n));
        }
        Ok(Some(rows))
    }

    fn rows(&mut self, batch: &LogBatch) -> Result<Vec<DecisionRow>, LogError> {
        let columns = Columns::new(batch);
        let mut rows = Vec::with_capacity(batch.n_rows());
        for at in 0..batch.n_rows() {
            let row = columns.row(batch, at, &self.before)?;
            let same = Arc::ptr_eq(&self.before.candidates, &row.candidates);
            let names = if same { Ok(()) } else { check_names(&row.candidates) };
            if let Err(reason) = names.and_then(|()| check_row(&row)) {
                return Err(batch.error(at, format!("decision `{}`: {reason}", row.decision_id)));
            }
            if !self.seen.insert(Key::of(&row.decision_id)) {
                let id = &row.decision_id;
                let reason = format!("decision `{id}` is in an earlier row already; expected one row each");
                return Err(batch.error(at, reason));
            }
            self.before.follow(&row);
            if row.is_later_step() {
                self.n_later_steps += 1;
            } else {
                rows.push(row);
            }
        }
        Ok(rows)
    }
}

impl Before {
    /// Takes what is new in a row.
    fn follow(&mut self, row: &DecisionRow) {
        fn take<T: ?Sized>(old: &mut Arc<T>, new: &Arc<T>) {
            if !Arc::ptr_eq(old, new) {
                *old = Arc::clone(new);
            }
        }
        take(&mut self.candidates, &row.candidates);
        take(&mut self.policy, &row.policy);
        take(&mut self.policy_version, &row.policy_version);
        take(&mut self.policy_digest, &row.policy_digest);
    }
}

impl Iterator for DecisionReader {
    type Item = Result<Vec<DecisionRow>, LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_rows().transpose()
    }
}

/// The columns of one batch.
struct Columns<'a> {
    texts: [Option<TextColumn<'a>>; 13],
    timestamp_ms: Option<TimeColumn>,
    candidates: Option<TextListColumn<'a>>,
    lists: [Option<VectorColumn<'a>>; 4],
    propensity: Option<NumberColumn>,
    pass_probability: Option<NumberColumn>,
    /// Read as a time because that keeps all 64 bits.
    seed: Option<TimeColumn>,
    step: Option<NumberColumn>,
}

impl<'a> Columns<'a> {
    fn new(batch: &'a LogBatch) -> Self {
        let texts = [
            "decision_id",
            "policy",
            "policy_version",
            "policy_digest",
            "model",
            "featurizer_digest",
            "source",
            "prompt",
            "objective",
            "constraints",
            "query_text",
            "session",
            "episode_id",
        ];
        let lists = ["propensities", "predicted_score", "predicted_cost_usd", "features"];
        Self {
            texts: texts.map(|name| batch.text(name)),
            timestamp_ms: batch.time("timestamp_ms"),
            candidates: batch.text_list("candidates"),
            lists: lists.map(|name| batch.vector(name)),
            propensity: batch.number("propensity"),
            pass_probability: batch.number("pass_probability"),
            seed: batch.time("seed"),
            step: batch.number("step"),
        }
    }

    /// A row, which shares with the row before what is the same.
    fn row(&self, batch: &LogBatch, at: usize, before: &Before) -> Result<DecisionRow, LogError> {
        let [id, policy, version, digest, model, rest @ ..] = self.texts;
        let [featurizer_digest, source, prompt, objective, constraints, query_text, session, episode_id] =
            rest;
        let text = |column, name| Ok::<_, LogError>(required(batch, column, name, at)?.to_owned());
        let shared = |column, name, before: &Arc<str>| {
            let text = required(batch, column, name, at)?;
            Ok::<_, LogError>(if text == &**before { Arc::clone(before) } else { text.into() })
        };
        let some = |column: Option<TextColumn<'_>>| column.and_then(|c| c.get(at)).map(str::to_owned);
        let null =
            |name: &str, expected: &str| batch.error(at, format!("`{name}` is null, expected {expected}"));
        let [propensities, scores, costs, features] = self.lists.map(|list| list.and_then(|c| c.get(at)));
        let candidates = self.candidates.and_then(|c| c.shared(at, &before.candidates));
        let propensity = self.propensity.as_ref().and_then(|c| c.get(at));
        let time = self.timestamp_ms.as_ref().and_then(|c| c.get(at));
        let seed = self.seed.as_ref().and_then(|c| c.get(at));
        Ok(DecisionRow {
            decision_id: text(id, "decision_id")?,
            timestamp_ms: time.ok_or_else(|| null("timestamp_ms", "a time"))?,
            policy: shared(policy, "policy", &before.policy)?,
            policy_version: shared(version, "policy_version", &before.policy_version)?,
            policy_digest: shared(digest, "policy_digest", &before.policy_digest)?,
            featurizer_digest: some(featurizer_digest),
            candidates: candidates.ok_or_else(|| null("candidates", "a list of models"))?,
            propensities: propensities.ok_or_else(|| null("propensities", "a list of numbers"))?,
            model: text(model, "model")?,
            propensity: propensity.ok_or_else(|| null("propensity", "a number in (0, 1]"))?,
            pass_probability: self.pass_probability.as_ref().and_then(|c| c.get(at)).map(|p| p as f32),
            seed: seed.ok_or_else(|| null("seed", "a whole number"))? as u64,
            predicted_score: scores,
            predicted_cost_usd: costs,
            source: some(source),
            prompt: some(prompt),
            features,
            objective: some(objective),
            constraints: some(constraints),
            query_text: some(query_text),
            session: some(session),
            episode_id: some(episode_id),
            step: self.step.as_ref().and_then(|c| c.get(at)).map(|step| step as i32),
        })
    }
}

/// What is wrong with a row, in words.
pub(crate) fn check(row: &DecisionRow) -> Result<(), String> {
    check_names(&row.candidates)?;
    check_row(row)
}

fn check_names(candidates: &[String]) -> Result<(), String> {
    let mut names: Vec<&String> = candidates.iter().collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(twice) => Err(format!("`candidates` names `{}` twice, expected each model once", twice[0])),
        None => Ok(()),
    }
}

/// What is wrong with a row besides that a model may stand twice.
fn check_row(row: &DecisionRow) -> Result<(), String> {
    for (name, text) in [("objective", &row.objective), ("constraints", &row.constraints)] {
        let is_object = |text: &String| serde_json::from_str::<serde_json::Map<_, _>>(text).is_ok();
        if let Some(text) = text.as_ref().filter(|text| !is_object(text)) {
            return Err(format!("`{name}` is `{text}`, expected a JSON object"));
        }
    }
    let n = row.candidates.len();
    if n == 0 {
        return Err("`candidates` is empty, expected at least one model".to_owned());
    }
    let lists = [
        ("propensities", Some(row.propensities.len())),
        ("predicted_score", row.predicted_score.as_ref().map(Vec::len)),
        ("predicted_cost_usd", row.predicted_cost_usd.as_ref().map(Vec::len)),
    ];
    if let Some((name, Some(found))) = lists.into_iter().find(|(_, len)| len.is_some_and(|len| len != n)) {
        return Err(format!("`{name}` has `{found}` entries, expected one for each of the {n} candidates"));
    }
    // NaN fails these tests too.
    if let Some(bad) = row.propensities.iter().find(|p| !(0.0..=1.0).contains(*p)) {
        return Err(format!("`propensities` holds `{bad}`, expected numbers in [0, 1]"));
    }
    let total: f64 = row.propensities.iter().map(|p| f64::from(*p)).sum();
    if (total - 1.0).abs() > TOLERANCE {
        return Err(format!("`propensities` sum to `{total}`, expected 1"));
    }
    if let Some(bad) = row.features.iter().flatten().find(|x| !x.is_finite()) {
        return Err(format!("`features` holds `{bad}`, expected finite numbers"));
    }
    let p = row.propensity;
    if !(p > 0.0 && p <= 1.0) {
        return Err(format!("`propensity` is `{p}`, expected a number in (0, 1]"));
    }
    let Some(chosen) = row.chosen() else {
        return Err(format!("the chosen model `{}` is none of the candidates", row.model));
    };
    let listed = row.propensities[chosen];
    if (f64::from(listed) - p).abs() > TOLERANCE * p {
        return Err(format!("`propensity` is `{p}`, but `propensities` says `{listed}` for `{}`", row.model));
    }
    match row.pass_probability {
        Some(pass) if !(pass > 0.0 && pass <= 1.0) => {
            Err(format!("`pass_probability` is `{pass}`, expected a number in (0, 1]"))
        }
        _ => Ok(()),
    }
}
