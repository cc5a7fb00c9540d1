//! Decisions as VowpalWabbit logs them: one JSON event a line (`dsjson`), in and out.
//!
//! | key of an event | here |
//! |---|---|
//! | `EventId`, `Timestamp` | decision id and time; both are made where they are missing, and counted |
//! | `a`, `p` (or `_p`) | action numbers from 1, the chosen one first, and their probabilities |
//! | `_label_Action`, `_labelIndex`, `_label_probability` | the chosen action from 1 and from 0, its probability |
//! | `_label_cost` | minus the reward; an event without it has no feedback |
//! | `pdrop` | probability that the event was dropped: `pass_probability` is 1 minus it; 1 leaves it out, counted |
//! | `c` | context: `c._multi[i]` describes action `i + 1`, the rest is shared |
//! | `_skipLearn` | the event was not activated: it is left out and counted |
//! | `routewright` | what the others have no place for; VowpalWabbit ignores it |
//!
//! Models are named by field `m.model` of their action, or `action-N`; the prompt is `c.q._text`, the source
//! `c.s.source`, the features `c.x`; `--map` names other fields of them for `model`, `prompt`, `source`.
//!
//! Probabilities that sum to 1 within the rounding of their digits are divided by their sum, and counted.
//!
//! VowpalWabbit tells keys apart by length and prefix and passes over those it does not know, misspelled ones
//! with them. Here a key that resembles a known one is refused; other strangers are passed over.
//! Slates (`_outcomes`) and continuous actions (`pdf`) are refused.

use super::record::Record;
use super::sink::hash_of;
use super::times::format_time;
use super::{ImportError, ImportOptions, ImportSummary, Importer, records};
use crate::decisions::{DecisionReader, Outcomes, RewardRule, Rewarded, check};
use crate::files;
use crate::log::{DecisionRow, FeedbackRow, LogError, RowWriter, WriteOptions};
use crate::suggest::near_names;
use serde_json::{Map, Value, json};
use std::collections::HashSet;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

pub(super) const ROW: Importer = Importer {
    name: "dsjson",
    title: "events of VowpalWabbit: EventId, a, p, _label_cost, c; writes a folder, feedback beside",
    log: "decision log",
    run,
};

/// Keys of an event that are known, whether read or not.
const KNOWN: [&str; 19] = [
    "_label_cost",
    "_label_probability",
    "_label_Action",
    "_labelIndex",
    "_skipLearn",
    "_original_label_cost",
    "_ba",
    "_p",
    "EventId",
    "Timestamp",
    "Version",
    "VWState",
    "DeferredAction",
    "a",
    "c",
    "p",
    "o",
    "pdrop",
    OWN,
];
const REFUSED: [&str; 3] = ["_outcomes", "pdf", "_slots"];
/// What other tools have no place for.
const OWN: &str = "routewright";
/// Kind of the feedback an event carries.
const KIND: &str = "score";
/// What stands for a digest that an event does not have.
const NO_DIGEST: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Writes the events of `inputs` as logs `decisions.parquet` and `feedback.parquet` in folder `out`.
fn run(inputs: &[PathBuf], out: &Path, options: &ImportOptions) -> Result<ImportSummary, ImportError> {
    let mut summary = ImportSummary::default();
    let (mut made, mut ids) = (Made::default(), HashSet::new());
    let mut decisions = RowWriter::create(&out.join("decisions.parquet"), WriteOptions::default())?;
    let mut feedback = RowWriter::create(&out.join("feedback.parquet"), WriteOptions::default())?;
    records::for_each(inputs, &mut |record| {
        summary.records += 1;
        check_keys(&record)?;
        if record.fields.get("_skipLearn").and_then(Value::as_bool) == Some(true) {
            summary.skip("that were not activated (`_skipLearn`)");
            return Ok(());
        }
        if number(&record, "pdrop")? == Some(1.0) {
            summary.skip("with `pdrop` 1, which are never kept and cannot be weighed");
            return Ok(());
        }
        let row = decision(&record, options, &mut made, &mut summary)?;
        check(&row).map_err(|reason| record.error(format!("event `{}`: {reason}", row.decision_id)))?;
        if !ids.insert(hash_of(&[&row.decision_id])) {
            let reason = "is in an earlier record already, expected one record each";
            return Err(record.error(format!("event `{}` {reason}", row.decision_id)));
        }
        if let Some(outcome) = outcome(&record, &row)? {
            feedback.push(outcome)?;
        }
        decisions.push(row)?;
        Ok(())
    })?;
    summary.rows = decisions.n_rows();
    if summary.rows == 0 {
        let skipped: Vec<String> =
            summary.skipped.iter().map(|(reason, n)| format!("{n} {reason}")).collect();
        let why = if skipped.is_empty() {
            "no events".to_owned()
        } else {
            format!("left out: {}", skipped.join(", "))
        };
        return Err(ImportError::Options(format!("nothing to import: {why}")));
    }
    summary.filled.insert("feedback", feedback.n_rows());
    feedback.finish()?;
    decisions.finish()?;
    Ok(summary)
}

fn check_keys(record: &Record) -> Result<(), ImportError> {
    for key in record.fields.keys() {
        if REFUSED.contains(&key.as_str()) {
            let reason =
                format!("key `{key}` is of slates or continuous actions, expected one choice an event");
            return Err(record.error(reason));
        }
        if KNOWN.contains(&key.as_str()) {
            continue;
        }
        let hint = near_names(key, KNOWN);
        if hint.starts_with("did you mean") {
            return Err(record.error(format!("key `{key}` is not known; {hint}")));
        }
    }
    Ok(())
}

/// A list of numbers under the first of `names` that is there.
fn numbers(record: &Record, names: &[&str]) -> Result<Vec<f64>, ImportError> {
    let expected = || record.error(format!("`{}` is missing, expected a list of numbers", names[0]));
    let found = names.iter().find_map(|name| record.fields.get(*name)).ok_or_else(expected)?;
    let list: Option<Vec<f64>> = found.as_array().and_then(|items| items.iter().map(Value::as_f64).collect());
    list.ok_or_else(|| record.error(format!("`{}` is `{found}`, expected a list of numbers", names[0])))
}

fn number(record: &Record, name: &str) -> Result<Option<f64>, ImportError> {
    match record.fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value
            .as_f64()
            .map(Some)
            .ok_or_else(|| record.error(format!("`{name}` is `{value}`, expected a number"))),
    }
}

/// The value at a path of names and positions with dots.
fn at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(value, |value, part| match value {
        Value::Object(fields) => fields.get(part),
        Value::Array(items) => items.get(part.parse::<usize>().ok()?),
        _ => None,
    })
}

/// What is made for events that lack it.
#[derive(Debug, Default)]
struct Made {
    last_ms: Option<i64>,
}

impl Made {
    /// The event's id; else one made of its text and its place among the records.
    fn id(&self, record: &Record, summary: &mut ImportSummary) -> String {
        match record.fields.get("EventId") {
            Some(Value::String(id)) if !id.is_empty() => return id.clone(),
            Some(Value::Number(id)) => return id.to_string(),
            _ => {}
        }
        summary.change("without `EventId`: ids were made");
        let mut hasher = blake3::Hasher::new();
        hasher.update(&summary.records.to_le_bytes());
        hasher.update(Value::Object(record.fields.clone()).to_string().as_bytes());
        format!("e-{}", &hasher.finalize().to_hex()[..16])
    }

    /// The event's time; else a millisecond after the event before it.
    fn time(&mut self, record: &Record, summary: &mut ImportSummary) -> Result<i64, ImportError> {
        let time = match record.time("Timestamp")? {
            Some(time) => time,
            None => {
                summary.change("without `Timestamp`: times were made, a millisecond after the event before");
                self.last_ms.map_or(0, |last| last + 1)
            }
        };
        self.last_ms = Some(time);
        Ok(time)
    }
}

/// Divides probabilities by their sum where it is 1 within the rounding of their digits; what they were divided by.
fn normalise(propensities: &mut [f64]) -> Option<f64> {
    let total: f64 = propensities.iter().sum();
    let digits = propensities.iter().map(|p| places(*p)).max().unwrap_or(0);
    let rounding = 0.5 * 10_f64.powi(-digits) * propensities.len() as f64;
    let off = (total - 1.0).abs();
    // Numbers of one digit are rounded too coarsely to be told from wrong ones; below 1e-6 nothing is gained.
    if digits < 2 || off <= 1e-6 || off > rounding * (1.0 + 1e-9) {
        return None;
    }
    propensities.iter_mut().for_each(|p| *p /= total);
    Some(total)
}

/// Decimal places of a number as it is written shortest.
fn places(number: f64) -> i32 {
    let text = number.to_string();
    text.split_once('.').map_or(0, |(_, places)| places.len() as i32)
}

fn decision(
    record: &Record,
    options: &ImportOptions,
    made: &mut Made,
    summary: &mut ImportSummary,
) -> Result<DecisionRow, ImportError> {
    let path =
        |name: &str, default: &'static str| options.map.get(name).map_or(default, String::as_str).to_owned();
    let context = record.fields.get("c").unwrap_or(&Value::Null);
    let own = record.fields.get(OWN).unwrap_or(&Value::Null);
    let text = |value: Option<&Value>| {
        value.and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let id = made.id(record, summary);
    let time = made.time(record, summary)?;
    let actions = numbers(record, &["a"])?;
    let mut propensities = numbers(record, &["p", "_p"])?;
    if actions.iter().any(|a| *a < 1.0 || a.fract() != 0.0) || actions.len() != propensities.len() {
        let (n, m) = (actions.len(), propensities.len());
        let reason = format!("`a` has {n} entries and `p` {m}, expected as many, and actions from 1");
        return Err(record.error(reason));
    }
    let chosen = chosen(record, &actions)?;
    let model_path = path("model", "m.model");
    let name = |action: f64| {
        let described = at(context, "_multi").and_then(|list| list.get(action as usize - 1));
        text(described.and_then(|action| at(action, &model_path)))
            .unwrap_or_else(|| format!("action-{action}"))
    };
    let at_chosen = actions.iter().position(|a| *a == chosen);
    let rounded = at_chosen.map(|at| propensities[at]);
    let total = normalise(&mut propensities);
    if total.is_some() {
        summary.change("with rounded probabilities: divided by their sum");
    }
    let listed = at_chosen.map(|at| propensities[at]);
    // The label's own probability is rounded as the list is; where they agree, the list's is the better one.
    let labelled = number(record, "_label_probability")?;
    let agrees = total.is_some() && labelled.zip(rounded).is_some_and(|(a, b)| (a - b).abs() <= 1e-6 * b);
    let propensity = if agrees { listed } else { labelled.or(listed) };
    let pass = number(record, "pdrop")?.map(|dropped| (1.0 - dropped) as f32);
    let features = at(context, "x").and_then(Value::as_array);
    let features = features.and_then(|x| x.iter().map(|v| v.as_f64().map(|v| v as f32)).collect());
    Ok(DecisionRow {
        decision_id: id,
        timestamp_ms: time,
        policy: text(own.get("policy")).map_or_else(|| "dsjson".into(), Into::into),
        policy_version: text(own.get("policy_version")).map_or_else(|| "unknown".into(), Into::into),
        policy_digest: text(own.get("policy_digest")).map_or_else(|| NO_DIGEST.into(), Into::into),
        featurizer_digest: text(own.get("featurizer_digest")),
        candidates: actions.iter().map(|action| name(*action)).collect(),
        propensities: propensities.iter().map(|p| *p as f32).collect(),
        model: name(chosen),
        propensity: propensity.unwrap_or(f64::NAN),
        pass_probability: pass.filter(|pass| *pass < 1.0),
        seed: own.get("seed").and_then(Value::as_u64).unwrap_or_default(),
        source: text(at(context, &path("source", "s.source"))).or_else(|| options.source.clone()),
        prompt: text(at(context, &path("prompt", "q._text"))),
        features,
        objective: object(own.get("objective")),
        constraints: object(own.get("constraints")),
        ..DecisionRow::default()
    })
}

/// An object as text.
fn object(value: Option<&Value>) -> Option<String> {
    value.filter(|value| value.is_object()).map(Value::to_string)
}

/// Text as an object.
fn parsed(text: &Option<String>) -> Option<Value> {
    text.as_ref().and_then(|text| serde_json::from_str(text).ok())
}

/// The chosen action, from 1: what the label says, else the first of `a`.
fn chosen(record: &Record, actions: &[f64]) -> Result<f64, ImportError> {
    let label = number(record, "_label_Action")?;
    let index = number(record, "_labelIndex")?.map(|index| index + 1.0);
    if let (Some(label), Some(index)) = (label, index)
        && label != index
    {
        let reason =
            format!("`_label_Action` is `{label}`, but `_labelIndex` says `{index}`, counted from 1");
        return Err(record.error(reason));
    }
    let chosen = label.or(index).or(actions.first().copied());
    match chosen {
        Some(chosen) if actions.contains(&chosen) => Ok(chosen),
        _ => Err(record.error(format!("the chosen action `{}` is not in `a`", chosen.unwrap_or(f64::NAN)))),
    }
}

fn outcome(record: &Record, row: &DecisionRow) -> Result<Option<FeedbackRow>, ImportError> {
    let Some(cost) = number(record, "_label_cost")? else { return Ok(None) };
    let own = record.fields.get(OWN);
    let cost_usd = own.and_then(|own| own.get("cost_usd")).and_then(Value::as_f64);
    if let Some(cost) = cost_usd.filter(|cost| *cost < 0.0) {
        return Err(record.error(format!("`{OWN}.cost_usd` is `{cost}`, expected a number of at least 0")));
    }
    Ok(Some(FeedbackRow {
        outcome_id: format!("{}-label", row.decision_id),
        decision_id: row.decision_id.clone(),
        timestamp_ms: row.timestamp_ms,
        kind: KIND.to_owned(),
        // 0 - x, so that a cost of 0 is a reward of 0 and not of minus 0.
        value: Some(0.0 - cost),
        cost_usd,
        latency_ms: None,
    }))
}

/// Writes a decision log as events, one a line, each with the reward that `rule` makes of its outcome; returns
/// their number.
///
/// # Errors
/// If the log cannot be read, holds a row that is not valid, or the file cannot be written.
pub fn write_dsjson(
    decisions: &Path,
    outcomes: &Outcomes,
    rule: &RewardRule,
    out: &Path,
) -> Result<u64, LogError> {
    let mut file = BufWriter::new(files::temporary_beside(out)?);
    let mut n = 0;
    for rows in DecisionReader::open(decisions)? {
        for row in rows? {
            let reward = match rule.apply(&row, outcomes) {
                Rewarded::Reward(reward) => Some(reward),
                Rewarded::NoFeedback | Rewarded::NoCost => None,
            };
            let event = event(&row, reward, outcomes.cost_usd(&row.decision_id));
            writeln!(file, "{event}").map_err(|error| LogError::write(out, error))?;
            n += 1;
        }
    }
    let file = file.into_inner().map_err(|error| LogError::write(out, error))?;
    files::publish(file, out)?;
    Ok(n)
}

/// The number with the fewest digits that is read back as `x`, as text in half the length.
fn shortest(x: f32) -> f64 {
    let short = x.to_string().parse().unwrap_or(f64::NAN);
    if short as f32 == x { short } else { f64::from(x) }
}

fn event(row: &DecisionRow, reward: Option<f64>, cost_usd: Option<f64>) -> Value {
    let chosen = row.chosen().unwrap_or_default();
    // The chosen action first, as VowpalWabbit has it.
    let mut order: Vec<usize> = (0..row.candidates.len()).collect();
    order.swap(0, chosen);
    let mut context = Map::new();
    if let Some(prompt) = &row.prompt {
        context.insert("q".to_owned(), json!({ "_text": prompt }));
    }
    if let Some(source) = &row.source {
        context.insert("s".to_owned(), json!({ "source": source }));
    }
    if let Some(features) = &row.features {
        let features: Vec<f64> = features.iter().map(|x| shortest(*x)).collect();
        context.insert("x".to_owned(), json!(features));
    }
    let actions: Vec<Value> = row.candidates.iter().map(|model| json!({ "m": { "model": model } })).collect();
    context.insert("_multi".to_owned(), actions.into());
    let mut event = Map::new();
    let mut set = |key: &str, value: Value| event.insert(key.to_owned(), value);
    if let Some(reward) = reward {
        set("_label_cost", json!(0.0 - reward));
    }
    set("_label_probability", json!(row.propensity));
    set("_label_Action", json!(chosen + 1));
    set("_labelIndex", json!(chosen));
    set("Timestamp", format_time(row.timestamp_ms).map_or_else(|| json!(row.timestamp_ms), Value::from));
    set("EventId", json!(row.decision_id));
    set("a", order.iter().map(|at| at + 1).collect::<Vec<_>>().into());
    set("p", order.iter().map(|at| f64::from(row.propensities[*at])).collect::<Vec<_>>().into());
    if let Some(pass) = row.pass_probability {
        set("pdrop", json!(1.0 - f64::from(pass)));
    }
    set("c", context.into());
    set(
        OWN,
        json!({
            "policy": *row.policy, "policy_version": *row.policy_version, "policy_digest": *row.policy_digest,
            "featurizer_digest": row.featurizer_digest, "seed": row.seed, "cost_usd": cost_usd,
            "objective": parsed(&row.objective), "constraints": parsed(&row.constraints),
        }),
    );
    event.into()
}

#[cfg(test)]
mod tests;
