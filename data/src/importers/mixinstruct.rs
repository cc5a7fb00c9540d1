//! MixInstruct (LLM-Blender, arXiv 2306.02561): an instruction with the answers of several models, each with the values
//! of text metrics, and, on its test set, ChatGPT's comparisons of all pairs.
//!
//! `score` is the metric `bertscore`; `--map score=bartscore --score-min -10 --score-max 0` takes another one. Where
//! the record has comparisons, `soft_score` is `(n - rank) / (n - 1)` for `n` candidates, so that GPT-Rank, the paper's
//! mean rank of a model, is `n - (n - 1) mean(soft_score)`.

use super::mapping::Mapping;
use super::messages::parsed;
use super::record::Record;
use super::sink::Sink;
use super::{ImportError, ImportOptions, ImportSummary, Importer, records};
use crate::log::OutcomeRow;
use crate::schema;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

pub(super) const ROW: Importer = Importer {
    name: "mixinstruct",
    title: "MixInstruct's JSON lines: instruction, input, output, candidates with scores, cmp_results",
    log: "outcome log",
    run,
};

/// An instruction and the answers to it.
#[derive(Debug)]
pub(super) struct Instruction {
    pub(super) id: String,
    pub(super) source: Option<String>,
    pub(super) prompt: String,
    pub(super) candidates: Vec<Candidate>,
    /// ChatGPT's verdicts by pair of models, where there are some.
    pub(super) comparisons: Option<Map<String, Value>>,
}

/// One model's answer.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) model: String,
    pub(super) text: Option<String>,
    /// Values of the metrics.
    scores: Map<String, Value>,
}

impl Instruction {
    pub(super) fn read(record: &Record) -> Result<Self, ImportError> {
        let id = record.text("id")?.unwrap_or_default();
        let source = id.rsplit_once('/').map(|(source, _)| source.to_owned());
        let parts = [record.text("instruction")?, record.text("input")?];
        let parts: Vec<String> = parts.into_iter().flatten().filter(|part| !part.trim().is_empty()).collect();
        let prompt = parts.join("\n");
        let list = record.value("candidates").map(|value| parsed(&value).into_owned());
        let Some(Value::Array(list)) = list else {
            return Err(record.error("`candidates` is missing, expected a list of the models' answers"));
        };
        let candidates = list.iter().map(|item| candidate(record, item)).collect::<Result<Vec<_>, _>>()?;
        let comparisons = record.value("cmp_results").map(|value| parsed(&value).into_owned());
        let comparisons = match comparisons {
            Some(Value::Object(map)) if !map.is_empty() => Some(map),
            _ => None,
        };
        Ok(Self { id, source, prompt, candidates, comparisons })
    }

    /// The two models of a comparison, by number.
    pub(super) fn pair(&self, record: &Record, key: &str) -> Result<(usize, usize), ImportError> {
        let at = |name: &str| self.candidates.iter().position(|candidate| candidate.model == name.trim());
        let found = key.split_once(',').and_then(|(a, b)| Some((at(a)?, at(b)?)));
        found.ok_or_else(|| {
            record.error(format!("`cmp_results` compares `{key}`, expected two models of `candidates`"))
        })
    }

    /// Rank of each candidate by the comparisons, 1 the best, as the authors' code has it: by the sum of wins less
    /// losses; ties count neither, equal sums share the better rank. `None` without comparisons.
    fn ranks(&self, record: &Record) -> Result<Option<Vec<usize>>, ImportError> {
        let Some(comparisons) = &self.comparisons else { return Ok(None) };
        let mut sums = vec![0_i32; self.candidates.len()];
        for (key, verdict) in comparisons {
            let (a, b) = self.pair(record, key)?;
            let side = side(record, key, verdict)?;
            sums[a] += side;
            sums[b] -= side;
        }
        Ok(Some(sums.iter().map(|sum| 1 + sums.iter().filter(|other| *other > sum).count()).collect()))
    }
}

/// 1 where the first of two answers is better, -1 where the second is, 0 for a tie.
pub(super) fn side(record: &Record, key: &str, verdict: &Value) -> Result<i32, ImportError> {
    match verdict.as_str().map(str::to_lowercase).as_deref() {
        Some("a is better") => Ok(1),
        Some("b is better") => Ok(-1),
        Some("same good" | "same bad") => Ok(0),
        _ => {
            let expected = "`A is better`, `B is better`, `Same good` or `Same bad`";
            Err(record.error(format!("`cmp_results` says `{verdict}` of `{key}`, expected {expected}")))
        }
    }
}

fn candidate(record: &Record, item: &Value) -> Result<Candidate, ImportError> {
    let text = |name: &str| item.get(name).and_then(Value::as_str).map(str::to_owned);
    let model = text("model").filter(|model| !model.is_empty());
    let model = model.ok_or_else(|| record.error("a candidate has no `model`, expected the name of one"))?;
    let scores = match item.get("scores").map(|scores| parsed(scores).into_owned()) {
        Some(Value::Object(scores)) => scores,
        _ => Map::new(),
    };
    Ok(Candidate { model, text: text("text"), scores })
}

fn run(inputs: &[PathBuf], out: &Path, options: &ImportOptions) -> Result<ImportSummary, ImportError> {
    let mut mapping = Mapping::new(options, &schema::OUTCOME)?;
    let mut sink = Sink::<OutcomeRow>::create(out, options)?;
    records::for_each(inputs, &mut |record| {
        sink.summary.records += 1;
        mapping.see(&record);
        let asked = Instruction::read(&record)?;
        if asked.prompt.is_empty() {
            sink.skip("without an instruction");
            return Ok(());
        }
        let ranks = asked.ranks(&record)?;
        let n = asked.candidates.len();
        for (at, candidate) in asked.candidates.iter().enumerate() {
            let metrics = Record { fields: candidate.scores.clone(), place: record.place.clone() };
            mapping.see(&metrics);
            // A rank is of no metric's range: it is scaled back by the sink.
            let span = options.score_max - options.score_min;
            let soft = ranks.as_ref().filter(|_| n > 1).map(|ranks| (n - ranks[at]) as f64 / (n - 1) as f64);
            let soft = soft.map(|share| (options.score_min + share * span) as f32);
            let soft_score = match mapping.maps("soft_score") {
                true => mapping.score(&metrics, mapping.field("soft_score", ""))?,
                false => soft,
            };
            let row = OutcomeRow {
                query_id: asked.id.clone(),
                split: record.text(mapping.field("split", "split"))?,
                source: asked.source.clone(),
                prompt: asked.prompt.clone(),
                model: candidate.model.clone(),
                score: mapping.score(&metrics, mapping.field("score", "bertscore"))?,
                soft_score,
                response: candidate.text.clone(),
                reference: record.text(mapping.field("reference", "output"))?,
                ..OutcomeRow::default()
            };
            sink.push(&record, row)?;
        }
        Ok(())
    })?;
    mapping.check()?;
    sink.finish(inputs)
}
