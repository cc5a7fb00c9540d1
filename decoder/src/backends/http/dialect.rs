//! What a kind of server is asked and how it answers, as data: `dialects.toml`.

use routewright_data::suggest::near_names;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// One kind of server. Places are JSON pointers.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dialect {
    /// What it is, in one line.
    pub title: String,
    /// Where requests go, after the URL of the server.
    pub path: String,
    /// Place of a prompt as text.
    pub text: Option<String>,
    /// Place of a prompt as token ids.
    pub ids: Option<String>,
    /// Prompts are messages.
    pub messages: Option<Messages>,
    /// Place of the model's name.
    pub model: Option<String>,
    /// Place of the number of tokens to write.
    pub max_tokens: String,
    /// Place of the temperature.
    pub temperature: String,
    /// Place of the share of probability sampled from.
    pub top_p: String,
    /// Place of the stop strings.
    pub stop: String,
    /// Stop strings it takes at most.
    pub stops: Option<usize>,
    /// Place of the seed.
    pub seed: Option<String>,
    /// A temperature of 0 and a `top_p` of 1 are left out.
    #[serde(default)]
    pub leaves_out_defaults: bool,
    /// What every request has.
    #[serde(default)]
    pub fixed: Map<String, Value>,
    /// What every request has so that the server's own defaults (top-k, penalties) change no probability.
    #[serde(default)]
    pub neutral: Map<String, Value>,
    /// What a request to sample has.
    #[serde(default)]
    pub sampling: Map<String, Value>,
    /// Tokens can be shown as marked ids.
    pub id_mark: Option<Mark>,
    /// It can stream.
    pub stream: Option<Stream>,
    /// It can list candidates.
    pub top: Option<Top>,
    /// Place of the text it wrote.
    pub written: String,
    /// Why it ended.
    pub finish: Finish,
    /// Candidates for the first token it wrote.
    pub next: Option<Rows>,
    /// The tokens it wrote.
    pub wrote: Option<Rows>,
    /// It can score a prompt.
    pub score: Option<Score>,
    /// The tokens of the prompt.
    pub prompt: Option<Rows>,
    /// Replies of other versions or settings of the server, which cannot be read.
    #[serde(default)]
    pub unlike: Vec<Unlike>,
}

/// Tokens shown as ids, such as `token_id:7`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    /// Text before the id.
    pub prefix: String,
    /// What a request for marks has; they are asked for where the tokenizer is declared.
    #[serde(default)]
    pub ask: Map<String, Value>,
}

/// A shape of replies that is recognised to be refused with its name.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unlike {
    /// A place that only such replies have.
    pub at: String,
    /// What it is and what would be accepted.
    pub is: String,
}

/// Prompts as messages.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Messages {
    /// Place of the messages.
    pub at: String,
    /// What a request has where an answer is to be continued.
    #[serde(default)]
    pub continued: Map<String, Value>,
    /// What the message has that is to be continued.
    #[serde(default)]
    pub prefix: Map<String, Value>,
}

/// A stream of events, which have the places of a whole reply but where another is given.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stream {
    /// Place of the switch.
    pub ask: String,
    /// Place of the text of an event.
    pub written: Option<String>,
}

/// Candidates.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Top {
    /// Place of their number.
    pub ask: String,
    /// Their number at most.
    pub most: u32,
    /// What a request for them has.
    #[serde(default)]
    pub with: Map<String, Value>,
}

/// Why a server ended.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finish {
    /// Place of the reason.
    pub at: String,
    /// Reasons that mean that the model ended its answer, or that a stop string came.
    pub ended: Vec<String>,
}

/// Scoring of a prompt.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Score {
    /// What a request for it has.
    pub ask: Map<String, Value>,
    /// How the server must be started to score.
    pub start: Option<String>,
    /// The first token of a text has no log-probability, also where a beginning-of-text token comes before it.
    #[serde(default)]
    pub first_unknown: bool,
    /// Place of the number of tokens of the prompt, where scores are those of one token later unless a
    /// beginning-of-text token, which is not among the rows, is counted there.
    pub late_unless: Option<String>,
}

/// Tokens with their log-probabilities: an array, or an object by token.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rows {
    /// Place of the rows.
    pub at: String,
    /// Place of an id within a row.
    pub id: Option<String>,
    /// Place of a token's text within a row.
    pub token: Option<String>,
    /// Place of a token's bytes within a row.
    pub bytes: Option<String>,
    /// Place of another array that has the log-probabilities.
    pub log_probs: Option<String>,
    /// Place of the log-probability within a row of that, or of this.
    pub log_prob: String,
}

/// Every dialect of `dialects.toml`.
static ALL: LazyLock<Result<BTreeMap<String, Dialect>, String>> =
    LazyLock::new(|| parse(include_str!("dialects.toml")));

impl Dialect {
    /// The dialect of a name.
    ///
    /// # Errors
    /// If there is none; near names are offered.
    pub fn find(name: &str) -> Result<&'static Self, String> {
        let all = ALL.as_ref().map_err(Clone::clone)?;
        let names = || near_names(name, all.keys().map(String::as_str));
        all.get(name).ok_or_else(|| format!("there is no dialect `{name}`; {}", names()))
    }

    /// Text before an id that is shown for a token.
    pub fn mark(&self) -> Option<&str> {
        self.id_mark.as_ref().map(|mark| mark.prefix.as_str())
    }

    /// Every dialect with its name.
    pub fn all() -> impl Iterator<Item = (&'static str, &'static Self)> {
        ALL.iter().flatten().map(|(name, dialect)| (name.as_str(), dialect))
    }
}

fn parse(text: &str) -> Result<BTreeMap<String, Dialect>, String> {
    let tables: BTreeMap<String, Map<String, Value>> =
        toml::from_str(text).map_err(|error| error.to_string())?;
    let full = |(name, own): (&String, &Map<String, Value>)| {
        let mut table = match own.get("like").and_then(Value::as_str) {
            Some(like) => {
                tables.get(like).cloned().ok_or(format!("{name} is like `{like}`, which there is not"))?
            }
            None => Map::new(),
        };
        table.extend(own.clone());
        table.remove("like");
        for part in table.remove("without").iter().filter_map(Value::as_array).flatten() {
            table.remove(part.as_str().unwrap_or_default());
        }
        let dialect =
            serde_json::from_value(Value::Object(table)).map_err(|error| format!("{name}: {error}"))?;
        Ok((name.clone(), dialect))
    };
    tables.iter().map(full).collect()
}

/// Puts `value` at a place, making the objects around it.
pub(super) fn put(body: &mut Value, at: &str, value: Value) {
    let mut place = body;
    for part in at.split('/').skip(1) {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        place = &mut place[part];
    }
    *place = value;
}

/// Adds fields, those of objects within objects one by one.
pub(super) fn merge(body: &mut Value, fields: &Map<String, Value>) {
    for (name, value) in fields {
        match (&mut body[name.as_str()], value) {
            (inner @ Value::Object(_), Value::Object(fields)) => merge(inner, fields),
            (place, value) => *place = value.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_dialect_is_whole() {
        let all = ALL.as_ref().unwrap();
        assert_eq!(all.len(), 10);
        for (name, dialect) in all {
            assert_eq!(dialect.next.is_some(), dialect.top.is_some(), "{name}");
            assert_eq!(dialect.prompt.is_some(), dialect.score.is_some(), "{name}");
            assert!(dialect.text.is_some() != dialect.messages.is_some(), "{name}");
        }
    }

    #[test]
    fn an_unknown_name_is_told_the_nearest() {
        let error = Dialect::find("vlm").unwrap_err();
        assert!(error.contains("`vlm`") && error.contains("vllm"), "{error}");
    }

    #[test]
    fn places_are_made_and_objects_are_joined() {
        let mut body = json!({"parameters": {"details": true}});
        put(&mut body, "/parameters/stop", json!(["a"]));
        let fields = json!({"parameters": {"details": false, "k": 1}, "x": null});
        merge(&mut body, fields.as_object().unwrap());
        assert_eq!(body, json!({"parameters": {"details": false, "k": 1, "stop": ["a"]}, "x": null}));
    }
}
