//! Samples of one or several models a question, as MoT (arXiv 2310.03094) and ModelSwitch (arXiv 2504.00762) publish
//! them.
//!
//! - MoT: `question`, `answer`, and the lists `generated` and `results`. `GPT3_result/date_pot1_t=0.4.json` is source
//!   `date`, model `GPT3`, variant `pot1_t=0.4`; several files of one model are variants of the same queries, and their
//!   samples are numbered on.
//! - ModelSwitch: `question`, `solution`, and the lists `MODEL_sampling` and `MODEL_ans_list` of each model; a file of
//!   one model has `step_sampling` and `ans_list`, and its name is the model's.
//!
//! `score` is 1 where the short answer equals the gold one: numbers as MoT compares them, rounded to the fewer decimals
//! of the two, other texts without case and outer marks. A sample without a short answer scores 0.

use super::mapping::Mapping;
use super::messages::parsed;
use super::record::Record;
use super::sink::{Sink, hash_of};
use super::{ImportError, ImportOptions, ImportSummary, Importer, records};
use crate::answers::normalize::Normalizer;
use crate::log::OutcomeRow;
use crate::schema;
use serde_json::Value;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

pub(super) const ROW: Importer = Importer {
    name: "samples",
    title: "samples a question: MoT's generated and results, ModelSwitch's MODEL_sampling and MODEL_ans_list",
    log: "outcome log",
    run,
};

/// Ends of the names of ModelSwitch's lists.
const TEXTS: &str = "_sampling";
const ANSWERS: &str = "_ans_list";

/// The samples of one model in a record.
#[derive(Debug)]
struct Samples {
    model: String,
    variant: Option<String>,
    texts: Vec<Value>,
    answers: Vec<Value>,
}

/// Whether two short answers are the same.
fn is_same(a: &str, b: &str) -> bool {
    let number = |text: &str| text.trim().replace(',', "").parse::<f64>().ok().filter(|n| n.is_finite());
    let decimals = |text: &str| text.trim().split_once('.').map_or(0, |(_, after)| after.len().min(12));
    if let (Some(x), Some(y)) = (number(a), number(b)) {
        let scale = 10_f64.powi(i32::try_from(decimals(a).min(decimals(b))).unwrap_or(12));
        return (x * scale).round() == (y * scale).round();
    }
    let form = |text: &str| Normalizer::named("string").ok().and_then(|rule| rule.form(text));
    form(a).is_some() && form(a) == form(b)
}

/// A short answer: a text, a number; `None` for what a failed program left.
fn short(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}

fn list(record: &Record, name: &str) -> Vec<Value> {
    match record.value(name).map(|value| parsed(&value).into_owned()) {
        Some(Value::Array(items)) => items,
        Some(Value::Null) | None => Vec::new(),
        Some(one) => vec![one],
    }
}

/// Model, source and variant as the place of a MoT file says: `GPT3_result/date_pot1.json`.
fn placed(path: &Path) -> (String, Option<String>, Option<String>) {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let folder = path.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned();
    let model = folder.strip_suffix("_result").unwrap_or(&folder).to_owned();
    match stem.split_once('_') {
        Some((source, variant)) => (model, Some(source.to_owned()), Some(variant.to_owned())),
        None => (model, Some(stem), None),
    }
}

/// Every model's samples of a record, and its source.
fn read(record: &Record) -> Result<(Vec<Samples>, Option<String>), ImportError> {
    if record.value("generated").is_some() {
        let (model, source, variant) = placed(&record.place.file);
        if model.is_empty() {
            return Err(record
                .error("the file lies in no folder, expected one named as its model, e.g. `GPT3_result`"));
        }
        let (texts, answers) = (list(record, "generated"), list(record, "results"));
        return Ok((vec![Samples { model, variant, texts, answers }], source));
    }
    let models = record.names().filter_map(|name| name.strip_suffix(ANSWERS));
    let several: Vec<Samples> = models
        .map(|model| Samples {
            model: model.to_owned(),
            variant: None,
            texts: list(record, &format!("{model}{TEXTS}")),
            answers: list(record, &format!("{model}{ANSWERS}")),
        })
        .collect();
    if !several.is_empty() {
        return Ok((several, None));
    }
    if record.value("ans_list").is_none() {
        let expected =
            "`generated` and `results` (MoT), or `MODEL_sampling` and `MODEL_ans_list` (ModelSwitch)";
        return Err(record.error(format!("it has no samples, expected lists {expected}")));
    }
    let model = record.place.file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let (texts, answers) = (list(record, "step_sampling"), list(record, "ans_list"));
    Ok((vec![Samples { model, variant: None, texts, answers }], None))
}

fn run(inputs: &[PathBuf], out: &Path, options: &ImportOptions) -> Result<ImportSummary, ImportError> {
    let mut mapping = Mapping::new(options, &schema::OUTCOME)?;
    let mut sink = Sink::<OutcomeRow>::create(out, options)?;
    // Samples that each query and model has so far.
    let mut counts: HashMap<u64, i32> = HashMap::new();
    records::for_each(inputs, &mut |record| {
        sink.summary.records += 1;
        mapping.see(&record);
        let prompt = record.required_text(mapping.field("prompt", "question"))?;
        let gold = [mapping.field("reference", "answer"), "solution"].into_iter();
        let gold = gold.filter_map(|name| short(record.value(name)?.as_ref())).next();
        let (all, source) = read(&record)?;
        let query_id = format!("p-{}", &blake3::hash(prompt.as_bytes()).to_hex()[..16]);
        for samples in all {
            let n = samples.answers.len().max(samples.texts.len());
            let next = counts.entry(hash_of(&[&query_id, &samples.model])).or_default();
            for at in 0..n {
                let answer = samples.answers.get(at).and_then(short);
                let is_right = |gold: &String| answer.as_ref().is_some_and(|answer| is_same(answer, gold));
                let row = OutcomeRow {
                    query_id: query_id.clone(),
                    split: record.text(mapping.field("split", "split"))?,
                    source: source.clone(),
                    prompt: prompt.clone(),
                    model: samples.model.clone(),
                    sample: Some(*next),
                    variant: samples.variant.clone(),
                    score: gold.as_ref().map(|gold| {
                        let score = if is_right(gold) { options.score_max } else { options.score_min };
                        score as f32
                    }),
                    response: samples.texts.get(at).and_then(short),
                    answer,
                    reference: gold.clone(),
                    ..OutcomeRow::default()
                };
                sink.push(&record, row)?;
                *next += 1;
            }
        }
        Ok(())
    })?;
    mapping.check()?;
    sink.finish(inputs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_rounded_to_the_fewer_decimals() {
        assert!(is_same("3.14159", "3.14") && is_same("1,000", "1000.0") && is_same("2.6", "3"));
        assert!(!is_same("3.14", "3.16") && !is_same("", "") && !is_same("05/01/2021", "05/02/2021"));
        assert!(is_same("Yes.", "yes"));
    }
}
