//! Reads a fusion log answer by answer, every row checked.

use crate::log::{FusionRow, LogBatch, LogError, LogReader, NumberColumn, TextColumn, TimeColumn, required};
use crate::schema;
use std::collections::VecDeque;
use std::path::Path;

/// How far the weights of a row may be from the sum 1.
const TOLERANCE: f32 = 1e-3;

/// One answer: its rows, first first, at least one.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The rows.
    pub rows: Vec<FusionRow>,
}

impl Answer {
    /// The prompt, where it was kept.
    pub fn prompt(&self) -> Option<&str> {
        self.rows.first()?.prompt.as_deref()
    }

    /// The text written before row `at`; cut to whole characters, `None` where the answer was not kept.
    pub fn text_before(&self, at: usize) -> Option<&str> {
        let answer = self.rows.first()?.answer.as_deref()?;
        let mut end = usize::try_from(self.rows.get(at)?.start).unwrap_or(0).min(answer.len());
        while !answer.is_char_boundary(end) {
            end -= 1;
        }
        Some(&answer[..end])
    }

    /// What the answer was worth, where that is known.
    pub fn reward(&self) -> Option<f32> {
        self.rows.first()?.reward
    }
}

/// A fusion log being read: an iterator of answers.
#[derive(Debug)]
pub struct FusionReader {
    log: LogReader,
    ready: VecDeque<Answer>,
    open: Vec<FusionRow>,
}

impl FusionReader {
    /// Opens a fusion log: a Parquet file or a directory of them.
    ///
    /// # Errors
    /// If a file is not whole Parquet, lacks a required column or has one of a wrong type; if it is empty.
    pub fn open(path: &Path) -> Result<Self, LogError> {
        let columns: Vec<&str> = schema::FUSION.columns.iter().map(|column| column.name).collect();
        let log = LogReader::open(path, &schema::FUSION, &columns)?;
        Ok(Self { log, ready: VecDeque::new(), open: Vec::new() })
    }

    fn take(&mut self, batch: &LogBatch) -> Result<(), LogError> {
        let columns = Columns::new(batch);
        for at in 0..batch.n_rows() {
            let row = columns.row(batch, at)?;
            check(&row).map_err(|reason| batch.error(at, format!("answer `{}`: {reason}", row.answer_id)))?;
            let follows = self.open.last().is_some_and(|last| last.answer_id == row.answer_id);
            let expected = if follows { self.open.len() } else { 0 };
            if usize::try_from(row.step) != Ok(expected) {
                let (id, step) = (&row.answer_id, row.step);
                let reason = format!("step `{step}` of answer `{id}`, expected step {expected}");
                return Err(batch.error(at, reason));
            }
            if !follows && !self.open.is_empty() {
                self.ready.push_back(Answer { rows: std::mem::take(&mut self.open) });
            }
            self.open.push(row);
        }
        Ok(())
    }
}

impl Iterator for FusionReader {
    type Item = Result<Answer, LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.ready.is_empty() {
            match self.log.next() {
                None if self.open.is_empty() => return None,
                None => return Some(Ok(Answer { rows: std::mem::take(&mut self.open) })),
                Some(Err(error)) => return Some(Err(error)),
                Some(Ok(batch)) => {
                    if let Err(error) = self.take(&batch) {
                        return Some(Err(error));
                    }
                }
            }
        }
        self.ready.pop_front().map(Ok)
    }
}

/// What is wrong with a row, in words.
fn check(row: &FusionRow) -> Result<(), String> {
    let n = row.models.len();
    if n == 0 {
        return Err("`models` is empty, expected at least one".to_owned());
    }
    for (name, list) in [("weights", &row.weights), ("probabilities", &row.probabilities)] {
        if let Some(list) = list.as_ref().filter(|list| list.len() != n) {
            let found = list.len();
            return Err(format!("`{name}` has {found} entries, expected one for each of the {n} models"));
        }
    }
    let proposals = [("proposers", row.proposers.len()), ("merits", row.merits.len())];
    if let Some((name, found)) = proposals.into_iter().find(|(_, found)| *found != row.proposals.len()) {
        let expected = row.proposals.len();
        return Err(format!(
            "`{name}` has {found} entries, expected one for each of the {expected} proposals"
        ));
    }
    let Some(weights) = &row.weights else { return Ok(()) };
    // NaN fails these tests too.
    if let Some(bad) = weights.iter().find(|w| !(0.0..=1.0 + TOLERANCE).contains(*w)) {
        return Err(format!("`weights` holds `{bad}`, expected numbers in [0, 1]"));
    }
    let total: f32 = weights.iter().sum();
    if (total - 1.0).abs() > TOLERANCE {
        return Err(format!("`weights` sum to `{total}`, expected 1"));
    }
    Ok(())
}

/// The columns of one batch.
struct Columns<'a> {
    batch: &'a LogBatch,
    texts: [Option<TextColumn<'a>>; 6],
    numbers: [Option<NumberColumn>; 6],
    times: [Option<TimeColumn>; 3],
}

impl<'a> Columns<'a> {
    fn new(batch: &'a LogBatch) -> Self {
        let texts = ["answer_id", "system", "prompt", "answer", "text", "winner"];
        let numbers = ["step", "start", "reward", "fused", "span", "log_density"];
        Self {
            batch,
            texts: texts.map(|name| batch.text(name)),
            numbers: numbers.map(|name| batch.number(name)),
            // Read as times because that keeps all 64 bits.
            times: ["timestamp_ms", "calls", "micros"].map(|name| batch.time(name)),
        }
    }

    fn row(&self, batch: &LogBatch, at: usize) -> Result<FusionRow, LogError> {
        let [id, system, prompt, answer, unit, winner] = self.texts;
        let text = |column, name| Ok::<_, LogError>(required(batch, column, name, at)?.to_owned());
        let some = |column: Option<TextColumn<'_>>| column.and_then(|c| c.get(at)).map(str::to_owned);
        let [step, start, reward, fused, span, log_density] =
            self.numbers.each_ref().map(|column| column.as_ref().and_then(|c| c.get(at)));
        let whole = |number: Option<f64>, name: &str| match number {
            Some(n) if n >= 0.0 && n <= f64::from(i32::MAX) => Ok(n as i32),
            _ => Err(batch.error(at, format!("`{name}` is `{number:?}`, expected a whole number from 0 on"))),
        };
        let [timestamp_ms, calls, micros] =
            self.times.each_ref().map(|column| column.as_ref().and_then(|c| c.get(at)));
        let list = |name: &str| self.batch.vector(name).and_then(|column| column.get(at));
        let names = |name: &str| self.batch.text_list(name).and_then(|column| column.get(at));
        Ok(FusionRow {
            answer_id: text(id, "answer_id")?,
            step: whole(step, "step")?,
            timestamp_ms,
            system: text(system, "system")?,
            prompt: some(prompt),
            answer: some(answer),
            reward: reward.map(|r| r as f32),
            start: whole(start, "start")?,
            text: unit.and_then(|column| column.get(at)).unwrap_or_default().to_owned(),
            models: names("models").unwrap_or_default(),
            weights: list("weights"),
            probabilities: list("probabilities"),
            fused: fused.map(|p| p as f32),
            agree: names("agree").unwrap_or_default(),
            winner: some(winner),
            span: span.map(|s| s as i32),
            proposers: names("proposers").unwrap_or_default(),
            proposals: names("proposals").unwrap_or_default(),
            merits: list("merits").unwrap_or_default(),
            log_density,
            calls,
            micros,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::RowWriter;

    fn row(answer: &str, step: i32) -> FusionRow {
        FusionRow {
            answer_id: answer.to_owned(),
            step,
            system: "gac".to_owned(),
            prompt: (step == 0).then(|| "ask".to_owned()),
            answer: (step == 0).then(|| "\u{e9}t\u{e9}".to_owned()),
            reward: (step == 0).then_some(0.5),
            start: 2 * step,
            text: "\u{fffd}".to_owned(),
            models: vec!["a".to_owned(), "b".to_owned()],
            weights: Some(vec![0.25, 0.75]),
            probabilities: Some(vec![0.5, f32::NAN]),
            proposers: vec!["b".to_owned()],
            proposals: vec!["et".to_owned()],
            merits: vec![-1.5],
            ..FusionRow::default()
        }
    }

    fn written(rows: Vec<FusionRow>) -> Result<Vec<Answer>, LogError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("traces.parquet");
        let mut writer = RowWriter::create(&path, crate::log::WriteOptions::default()).unwrap();
        for row in rows {
            writer.push(row).unwrap();
        }
        writer.finish().unwrap();
        FusionReader::open(&path)?.collect()
    }

    #[test]
    fn answers_are_read_as_they_were_written() {
        let answers = written(vec![row("x", 0), row("x", 1), row("y", 0)]).unwrap();
        assert_eq!(answers.len(), 2);
        assert_eq!(answers[0].rows.len(), 2);
        assert_eq!((answers[0].prompt(), answers[0].reward()), (Some("ask"), Some(0.5)));
        assert_eq!(answers[0].text_before(1), Some("\u{e9}"));
        assert_eq!(answers[1].rows[0].weights, Some(vec![0.25, 0.75]));
        let FusionRow { proposers, proposals, merits, .. } = &answers[1].rows[0];
        assert_eq!(
            (proposers[0].as_str(), proposals[0].as_str(), merits.as_slice()),
            ("b", "et", &[-1.5][..])
        );
    }

    #[test]
    fn rows_out_of_order_and_bad_weights_are_named() {
        let gap = written(vec![row("x", 0), row("x", 2)]).unwrap_err().to_string();
        assert!(gap.contains("step `2` of answer `x`, expected step 1"), "{gap}");
        let mut bad = row("x", 0);
        bad.weights = Some(vec![0.5, 0.75]);
        let sum = written(vec![bad]).unwrap_err().to_string();
        assert!(sum.contains("`weights` sum to `1.25`"), "{sum}");
        let mut bad = row("x", 0);
        bad.merits.push(0.0);
        let lengths = written(vec![bad]).unwrap_err().to_string();
        assert!(lengths.contains("`merits` has 2 entries, expected one for each of the 1"), "{lengths}");
    }
}
