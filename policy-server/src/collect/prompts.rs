//! The prompts of a collection: JSON lines, read and checked whole before anything is asked.

use super::error::CollectError;
use super::rule::Rule;
use routewright_data::QueryText;
use routewright_data::files;
use routewright_data::query_text::{self, Conversation};
use serde_json::{Map, Value, json};
use std::collections::HashSet;
use std::path::Path;

/// Bytes of the file at most.
const BYTES_MAX: u64 = 4 << 30;
/// Options that a query can have, A to J.
const OPTIONS_MAX: usize = 10;

/// One query: what the models are asked, and what is right.
#[derive(Debug, Clone)]
pub(super) struct Query {
    pub(super) id: String,
    pub(super) source: Option<String>,
    pub(super) split: Option<String>,
    /// The text of the query in the log.
    pub(super) text: String,
    /// The turns as they are sent.
    pub(super) messages: Vec<Value>,
    /// Parts of the turns that are not text.
    pub(super) n_media: usize,
    /// What is right; its meaning is the rule's.
    pub(super) gold: Option<Value>,
    pub(super) rule: Option<Rule>,
    /// Options of a multiple-choice query.
    pub(super) n_options: Option<usize>,
}

/// Every query of a file, and the rule that made texts of their turns; `None` where all are plain texts.
#[derive(Debug)]
pub(super) struct Prompts {
    pub(super) queries: Vec<Query>,
    pub(super) query_text: Option<QueryText>,
}

impl Prompts {
    /// Reads the prompts. `rule` scores those that name none.
    ///
    /// # Errors
    /// If a line is no query, repeats an id, or has no gold answer of the kind its rule reads.
    pub(super) fn read(path: &Path, rule: Option<&Rule>) -> Result<Self, CollectError> {
        let bytes = files::read_up_to(path, BYTES_MAX)?;
        let fail = |line: usize, reason: String| CollectError::Prompt {
            path: path.display().to_string(),
            line: line + 1,
            reason,
        };
        let mut ids = HashSet::new();
        let (mut queries, mut has_turns) = (Vec::new(), false);
        for (at, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            if line.trim_ascii().is_empty() {
                continue;
            }
            let fields: Map<String, Value> = serde_json::from_slice(line)
                .map_err(|error| fail(at, format!("it is no JSON object ({error}), expected one a line")))?;
            has_turns |= fields.get("messages").is_some_and(|turns| !turns.is_null());
            let query = query(&fields, rule).map_err(|reason| fail(at, reason))?;
            if !ids.insert(query.id.clone()) {
                return Err(fail(at, format!("id `{}` is that of an earlier line", query.id)));
            }
            queries.push(query);
        }
        if queries.is_empty() {
            let shown = path.display();
            return Err(CollectError::Options(format!("`{shown}` has no prompts, expected one a line")));
        }
        Ok(Self { queries, query_text: has_turns.then(QueryText::default) })
    }
}

fn query(fields: &Map<String, Value>, rule: Option<&Rule>) -> Result<Query, String> {
    let id = first(fields, &["id", "query_id"]).ok_or("`id` is missing, expected a text or a number")?;
    let id =
        plain(id).filter(|id| !id.is_empty()).ok_or("`id` is not a text or a number that is not empty")?;
    let (messages, text) = turns(fields)?;
    let own = match first(fields, &["score", "rule"]) {
        Some(Value::String(name)) => Some(name.parse::<Rule>()?),
        Some(other) => return Err(format!("`score` is `{other}`, expected the name of a rule")),
        None => None,
    };
    let rule = own.or_else(|| rule.cloned());
    let gold = first(fields, &["gold", "reference"]).cloned();
    if let Some(rule) = &rule {
        rule.check_gold(gold.as_ref()).map_err(|reason| format!("query `{id}` {reason}"))?;
    }
    let n_options = match fields.get("options") {
        None | Some(Value::Null) => None,
        Some(Value::Array(options)) => Some(options.len()),
        Some(value) => Some(value.as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or_default()),
    };
    if let Some(n) = n_options.filter(|n| !(2..=OPTIONS_MAX).contains(n)) {
        return Err(format!("`options` are `{n}`, expected a number from 2 to {OPTIONS_MAX}, or a list"));
    }
    let name = |key: &str| match fields.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => plain(value).map(Some).ok_or_else(|| format!("`{key}` is `{value}`, expected a text")),
    };
    let n_media = messages.iter().map(media).sum();
    Ok(Query {
        id,
        source: name("source")?,
        split: name("split")?,
        text,
        messages,
        n_media,
        gold,
        rule,
        n_options,
    })
}

/// The turns to send, and the text of the query in the log.
fn turns(fields: &Map<String, Value>) -> Result<(Vec<Value>, String), String> {
    let given = (first(fields, &["messages"]), first(fields, &["prompt"]));
    let (messages, conversation) = match given {
        (Some(_), Some(_)) => return Err("has both `prompt` and `messages`, expected one of them".to_owned()),
        (Some(Value::Array(turns)), None) => {
            let read = query_text::stored(&Value::Array(turns.clone()));
            let read = read.map_err(|error| format!("`messages`: {error}"))?;
            (turns.clone(), read.ok_or("`messages` has no turns, expected at least one")?)
        }
        (None, Some(Value::String(text))) => {
            (vec![json!({ "role": "user", "content": text })], Conversation::of_text(text.clone()))
        }
        (Some(other), None) => return Err(format!("`messages` is `{other}`, expected a list of turns")),
        (None, Some(other)) => return Err(format!("`prompt` is `{other}`, expected a text")),
        (None, None) => return Err("has neither `prompt` nor `messages`, expected one of them".to_owned()),
    };
    let text = QueryText::default().text(&conversation).filter(|text| !text.trim().is_empty());
    Ok((messages, text.ok_or("has no text of a user, expected some")?))
}

/// Parts of a turn that are not text.
fn media(turn: &Value) -> usize {
    let parts = turn["content"].as_array().map(Vec::as_slice).unwrap_or_default();
    parts.iter().filter(|part| part["type"].as_str().is_some_and(|kind| kind != "text")).count()
}

fn first<'a>(fields: &'a Map<String, Value>, names: &[&str]) -> Option<&'a Value> {
    names.iter().find_map(|name| fields.get(*name)).filter(|value| !value.is_null())
}

/// A text, or a number or truth value as it is written.
pub(super) fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, rule: Option<&str>) -> Result<Prompts, CollectError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Prompts::read(file.path(), rule.map(|rule| rule.parse().unwrap()).as_ref())
    }

    #[test]
    fn texts_and_turns_are_read() {
        let prompts = read(
            "{\"id\": 7, \"prompt\": \"2+2?\", \"gold\": 4, \"source\": \"sums\", \"extra\": [1]}\n\n\
             {\"query_id\": \"b\", \"messages\": [{\"role\": \"system\", \"content\": \"Be brief.\"}, \
             {\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": \"Hi\"}, {\"type\": \"image_url\"}]}], \
             \"options\": [\"x\", \"y\"]}\n",
            None,
        )
        .unwrap();
        let [a, b] = &prompts.queries[..] else { panic!() };
        assert_eq!((a.id.as_str(), a.text.as_str(), a.source.as_deref()), ("7", "2+2?", Some("sums")));
        assert_eq!(a.messages, [json!({"role": "user", "content": "2+2?"})]);
        assert_eq!((b.text.as_str(), b.messages.len(), b.n_media, b.n_options), ("Hi", 2, 1, Some(2)));
        assert_eq!(prompts.query_text, Some(QueryText::Users));
    }

    #[test]
    fn every_refusal_names_the_line_and_what_is_accepted() {
        for (text, rule, says) in [
            ("", None, "has no prompts"),
            ("[1]", None, "line 1"),
            ("{\"id\":\"a\",\"prompt\":\"x\"}\n{\"id\":\"a\",\"prompt\":\"y\"}", None, "line 2"),
            ("{\"prompt\":\"x\"}", None, "`id` is missing"),
            ("{\"id\":\"\",\"prompt\":\"x\"}", None, "`id` is not"),
            ("{\"id\":1}", None, "neither `prompt` nor `messages`"),
            ("{\"id\":1,\"prompt\":\" \"}", None, "no text of a user"),
            ("{\"id\":1,\"prompt\":3}", None, "`prompt` is `3`"),
            ("{\"id\":1,\"messages\":[]}", None, "no text of a user"),
            ("{\"id\":1,\"prompt\":\"x\",\"messages\":[1]}", None, "both"),
            ("{\"id\":1,\"prompt\":\"x\"}", Some("number"), "query `1` has no gold answer"),
            ("{\"id\":1,\"prompt\":\"x\",\"gold\":\"none\"}", Some("number"), "`none`"),
            ("{\"id\":1,\"prompt\":\"x\",\"score\":\"numbr\"}", None, "`numbr`"),
            ("{\"id\":1,\"prompt\":\"x\",\"options\":1}", None, "`options` are `1`"),
        ] {
            let error = read(text, rule).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
