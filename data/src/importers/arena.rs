//! Pairwise votes as Chatbot Arena, its Kaggle competition and RouteLLM publish them.
//!
//! The prompt is made of what was said before the first answer and the responses are the first answers: that is what
//! a router sees before it decides. Votes of later turns are of the whole conversation, as published.

use super::mapping::Mapping;
use super::messages::{content, first_of, parsed};
use super::record::Record;
use super::sink::Sink;
use super::{ImportError, ImportOptions, ImportSummary, Importer, records};
use crate::Winner;
use crate::log::PairRow;
use crate::query_text::{self, Conversation};
use crate::schema;
use serde_json::Value;
use std::path::{Path, PathBuf};

pub(super) const ROW: Importer = Importer {
    name: "arena",
    title: "pairwise votes: model_a, model_b, winner (or winner_model_a, ..), prompt or conversation_a",
    log: "pair log",
    run,
};

/// The winner, as a word, as a model's name or as three flags.
fn winner(record: &Record, field: &str, a: &str, b: &str) -> Result<Winner, ImportError> {
    if let Some(word) = record.text(field)? {
        return match word.to_lowercase().as_str() {
            "a" | "model_a" | "winner_model_a" | "left" => Ok(Winner::A),
            "b" | "model_b" | "winner_model_b" | "right" => Ok(Winner::B),
            "tie" | "tie (bothbad)" | "tie_bothbad" | "bothbad" | "both_bad" | "draw" => Ok(Winner::Tie),
            _ if word == a => Ok(Winner::A),
            _ if word == b => Ok(Winner::B),
            _ => {
                let accepted = "`a`, `b`, `tie`, `model_a`, `model_b` or one of the models";
                Err(record.error(format!("{field} `{word}` is not known; expected {accepted}")))
            }
        };
    }
    let sides = [
        (Winner::A, ["winner_model_a", "winner_a"]),
        (Winner::B, ["winner_model_b", "winner_b"]),
        (Winner::Tie, ["winner_tie", "winner_tie"]),
    ];
    let mut set = Vec::new();
    for (side, names) in sides {
        let flag = match record.number(names[0])? {
            Some(flag) => Some(flag),
            None => record.number(names[1])?,
        };
        if flag.is_some_and(|flag| flag > 0.5) {
            set.push(side);
        }
    }
    match set[..] {
        [side] => Ok(side),
        _ => {
            let reason = format!("{} of the winner flags are set and there is no `{field}`", set.len());
            Err(record.error(format!("{reason}; expected one winner")))
        }
    }
}

/// The first answer in a field that holds one text, a list of texts or a conversation.
fn first_answer(record: &Record, name: &str) -> Option<String> {
    let value = record.value(name)?;
    let value = parsed(&value).into_owned();
    match &value {
        Value::String(text) => Some(text.clone()),
        Value::Array(items) if items.first().is_some_and(Value::is_object) => first_of(&value, "assistant"),
        Value::Array(items) => items.first().and_then(content),
        _ => None,
    }
}

/// What was asked before the first answer, in a field that holds one text, a list of texts or a conversation.
fn first_request(record: &Record, name: &str) -> Option<Conversation> {
    let value = record.value(name)?;
    match parsed(&value).as_ref() {
        Value::Array(items) if items.first().is_some_and(Value::is_object) => {
            query_text::stored(&value).ok()?.map(Conversation::before_answer)
        }
        Value::Array(items) => items.first().and_then(content).map(Conversation::of_text),
        Value::String(text) if !text.is_empty() => Some(Conversation::of_text(text.as_str())),
        _ => None,
    }
}

/// How much a judgement counts.
fn weight(record: &Record, field: &str) -> Result<Option<f32>, ImportError> {
    let Some(weight) = record.number(field)? else { return Ok(None) };
    let narrow = weight as f32;
    if narrow.is_finite() && weight >= 0.0 {
        return Ok(Some(narrow));
    }
    Err(record.error(format!("{field} `{weight}` is not valid; expected a finite number >= 0")))
}

fn run(inputs: &[PathBuf], out: &Path, options: &ImportOptions) -> Result<ImportSummary, ImportError> {
    let mut mapping = Mapping::new(options, &schema::PAIR)?;
    let mut sink = Sink::<PairRow>::of_requests(out, options)?;
    records::for_each(inputs, &mut |record| {
        sink.summary.records += 1;
        mapping.see(&record);
        let field = |column: &'static str| mapping.field(column, column);
        let model_a = record.required_text(field("model_a"))?;
        let model_b = record.required_text(field("model_b"))?;
        let winner = winner(&record, field("winner"), &model_a, &model_b)?;
        let prompt = [field("prompt"), "conversation_a", "conversation", "question"]
            .iter()
            .find_map(|name| first_request(&record, name))
            .and_then(|asked| sink.prompt(&asked));
        let Some(prompt) = prompt.filter(|prompt| !prompt.is_empty()) else {
            sink.skip("without a prompt");
            return Ok(());
        };
        let id_field = mapping.field("query_id", "question_id");
        let query_id = match record.text(id_field)? {
            Some(id) => id,
            None => record.text("id")?.unwrap_or_default(),
        };
        let time_field = mapping.field("timestamp_ms", "tstamp");
        let response = |usual: &'static str, other: &str| {
            first_answer(&record, field(usual)).or_else(|| first_answer(&record, other))
        };
        let row = PairRow {
            query_id,
            split: record.text(field("split"))?,
            source: record.text(field("source"))?,
            prompt,
            winner,
            judge: record.text(field("judge"))?,
            weight: weight(&record, field("weight"))?,
            timestamp_ms: record.time(time_field)?,
            response_a: response("response_a", "conversation_a"),
            response_b: response("response_b", "conversation_b"),
            model_a,
            model_b,
        };
        sink.push(&record, row)
    })?;
    mapping.check()?;
    sink.finish(inputs)
}
