//! The models of a collection: sections `[models.NAME]`, as the server has them, or members that run in this process.

use super::error::CollectError;
use crate::dialect::bill::{Prices, Tariff, per_million};
use crate::settings::{ConfigError, ModelConfig, Secret, secret, syntax};
use crate::upstream::{Local, Upstream, Upstreams};
use routewright_data::{files, names};
use routewright_decoder::backend::Backend;
use routewright_decoder::backends::{self, MemberFile};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Bytes of the file at most.
const BYTES_MAX: u64 = 1 << 20;
/// Calls of one model at the same time, where its section does not say.
const CONCURRENT: usize = 8;
/// Most tokens of an answer, where its section does not say.
const MAX_TOKENS: u64 = 1024;

/// Table `[models.NAME.collect]`: how a model is asked.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Asking {
    /// Temperature; not sent where it is `None`.
    pub(super) temperature: Option<f64>,
    /// Least probability mass sampled from; not sent where it is `None`.
    pub(super) top_p: Option<f64>,
    /// Most tokens of an answer.
    pub(super) max_tokens: u64,
    /// The field that carries it.
    pub(super) max_tokens_field: String,
    /// A system prompt put before every query.
    pub(super) system: Option<String>,
    /// Calls at the same time.
    pub(super) concurrent: usize,
    /// Calls begun in a minute; `None` is no limit.
    pub(super) requests_per_minute: Option<f64>,
    /// Whether log-probabilities are asked for; `None` follows `--logprobs`.
    pub(super) logprobs: Option<bool>,
    /// Further fields of every request.
    pub(super) body: serde_json::Map<String, serde_json::Value>,
}

impl Default for Asking {
    fn default() -> Self {
        Self {
            temperature: None,
            top_p: None,
            max_tokens: MAX_TOKENS,
            max_tokens_field: "max_tokens".to_owned(),
            system: None,
            concurrent: CONCURRENT,
            requests_per_minute: None,
            logprobs: None,
            body: serde_json::Map::new(),
        }
    }
}

/// How a model is reached.
#[derive(Debug, Clone)]
pub(super) enum Reach {
    Http(Arc<Upstream>),
    Local(Arc<dyn Backend>),
}

/// One model.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) reach: Reach,
    pub(super) asking: Asking,
    /// Its prices; `None` where it has none.
    pub(super) tariff: Option<Tariff>,
}

impl Member {
    /// What its server calls it.
    pub(super) fn model(&self) -> &str {
        match &self.reach {
            Reach::Http(upstream) => upstream.model(),
            Reach::Local(_) => &self.name,
        }
    }
}

/// Prices of a member in this process.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct LocalPrices {
    input_usd_per_mtok: Option<f64>,
    output_usd_per_mtok: Option<f64>,
}

/// Reads the table of models; `environment` finds the keys it names.
///
/// # Errors
/// If the file cannot be read, or a section is not accepted; key and value are named, a secret never is.
pub(super) fn load(
    path: &Path,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<Member>, CollectError> {
    let shown = path.display().to_string();
    let refuse = |reason: String| ConfigError::Syntax { path: shown.clone(), reason };
    let bytes = files::read_up_to(path, BYTES_MAX)?;
    let text = String::from_utf8(bytes).map_err(|_| refuse("it is not UTF-8".to_owned()))?;
    let mut file: toml::Table = toml::from_str(&text).map_err(|error| refuse(syntax(&text, &error)))?;
    let sections = match file.remove("models") {
        Some(toml::Value::Table(sections)) if !sections.is_empty() => sections,
        _ => return Err(refuse("expected at least one section [models.NAME]".to_owned()).into()),
    };
    let folder = path.parent().unwrap_or(Path::new("."));
    let (mut http, mut members) = (BTreeMap::new(), Vec::new());
    for (name, section) in sections {
        let toml::Value::Table(mut section) = section else {
            return Err(refuse(format!("`models.{name}` is no section")).into());
        };
        let key =
            |error: &toml::de::Error, of: &str| refuse(format!("`models.{name}{of}`: {}", syntax("", error)));
        let asking: Asking = match section.remove("collect") {
            Some(asking) => asking.try_into().map_err(|error| key(&error, ".collect"))?,
            None => Asking::default(),
        };
        check(&name, &asking)?;
        if section.contains_key("backend") {
            members.push(local(&name, section, asking, folder)?);
            continue;
        }
        let config: ModelConfig = section.try_into().map_err(|error| key(&error, ""))?;
        if let Some(fusion) = &config.fusion {
            let expected = "a `base_url`: a fused model is of a server, which has an address";
            let (key, value, expected) =
                (format!("models.{name}.fusion"), fusion.clone(), expected.to_owned());
            return Err(ConfigError::Value { key, value, expected }.into());
        }
        let config = keyed(&name, config, folder, environment)?;
        http.insert(name, (config, asking));
    }
    let configs = http.iter().map(|(name, (config, _))| (name.clone(), config.clone())).collect();
    // No model is of this process: those are refused above.
    let nobody = Arc::new(Local::new(axum::Router::new()));
    let upstreams = Upstreams::open(&configs, &nobody)
        .map_err(|(model, reason)| CollectError::Model { model, reason })?;
    for (name, (_, asking)) in http {
        if let Some(upstream) = upstreams.find(&name) {
            let (reach, tariff) = (Reach::Http(Arc::clone(upstream)), upstream.tariff().cloned());
            members.push(Member { name, reach, asking, tariff });
        }
    }
    members.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(members)
}

/// The section with its key and the paths it names.
fn keyed(
    name: &str,
    config: ModelConfig,
    folder: &Path,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<ModelConfig, ConfigError> {
    let key: Option<Secret> = match &config.key {
        Some(value) => Some(secret(&format!("models.{name}.key"), value, environment)?),
        None => None,
    };
    let ca_file = config.ca_file.as_ref().map(|file| folder.join(file));
    let config = ModelConfig { secret: key, ca_file, ..config };
    config.check(name)?;
    Ok(config)
}

/// A member that runs in this process, or a server that the decoder speaks to.
fn local(
    name: &str,
    mut section: toml::Table,
    asking: Asking,
    folder: &Path,
) -> Result<Member, CollectError> {
    let fail = |reason: String| CollectError::Model { model: name.to_owned(), reason };
    if let Err(why) = names::check(name) {
        return Err(fail(format!("its name {why}")));
    }
    let mut prices = toml::Table::new();
    for key in ["input_usd_per_mtok", "output_usd_per_mtok"] {
        prices.extend(section.remove(key).map(|price| (key.to_owned(), price)));
    }
    let prices: LocalPrices = prices.try_into().map_err(|error: toml::de::Error| fail(syntax("", &error)))?;
    let price = |usd: f64| per_million(&usd.to_string()).map_err(|error| fail(error.to_string()));
    let tariff = match (prices.input_usd_per_mtok, prices.output_usd_per_mtok) {
        (Some(input), Some(output)) => Some(Tariff::flat(Prices::of(price(input)?, price(output)?))),
        (None, None) => None,
        _ => {
            return Err(fail(
                "it has one price, expected one of input and one of output, or neither".to_owned(),
            ));
        }
    };
    section.insert("name".to_owned(), toml::Value::String(name.to_owned()));
    let file: MemberFile = section.try_into().map_err(|error: toml::de::Error| fail(syntax("", &error)))?;
    let backend = backends::open(&file, folder).map_err(|error| fail(error.to_string()))?;
    Ok(Member { name: name.to_owned(), reach: Reach::Local(backend), asking, tariff })
}

fn check(name: &str, asking: &Asking) -> Result<(), ConfigError> {
    let refuse = |key: &str, value: String, expected: &str| {
        let key = format!("models.{name}.collect.{key}");
        Err(ConfigError::Value { key, value, expected: expected.to_owned() })
    };
    let within =
        |value: Option<f64>, low: f64, high: f64| value.is_none_or(|value| (low..=high).contains(&value));
    if !within(asking.temperature, 0.0, 100.0) {
        return refuse("temperature", format!("{:?}", asking.temperature), "a number from 0 to 100");
    }
    if !within(asking.top_p, f64::MIN_POSITIVE, 1.0) {
        return refuse("top_p", format!("{:?}", asking.top_p), "a number above 0, at most 1");
    }
    if !within(asking.requests_per_minute, 1e-3, 1e6) {
        let given = format!("{:?}", asking.requests_per_minute);
        return refuse("requests_per_minute", given, "a number from 0.001 to 1000000");
    }
    if !(1..=1 << 24).contains(&asking.max_tokens) {
        return refuse("max_tokens", asking.max_tokens.to_string(), "a number from 1 to 16777216");
    }
    if !(1..=1024).contains(&asking.concurrent) {
        return refuse("concurrent", asking.concurrent.to_string(), "a number from 1 to 1024");
    }
    let own = ["model", "messages", "stream", "n"];
    match asking.body.keys().find(|key| own.contains(&key.as_str())) {
        Some(key) => refuse("body", key.clone(), "fields other than `model`, `messages`, `stream` and `n`"),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Member>, CollectError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        load(file.path(), &|name| (name == "RW_KEY").then(|| "s3cret".to_owned()))
    }

    #[test]
    fn sections_of_the_server_are_read_as_they_are() {
        let members = read(
            "[policies.main]\npath = 'p'\n[models.b]\nbase_url = 'https://a.b/v1'\nkey = 'env::RW_KEY'\nmodel = 'x'\n\
             input_usd_per_mtok = 1.0\noutput_usd_per_mtok = 2.0\n[models.a]\nbase_url = 'http://localhost:1/v1'\n\
             [models.a.collect]\ntemperature = 0.7\nrequests_per_minute = 60\nbody = { top_k = 3 }",
        )
        .unwrap();
        let names: Vec<_> = members.iter().map(|member| (member.name.as_str(), member.model())).collect();
        assert_eq!(names, [("a", "a"), ("b", "x")]);
        assert_eq!((members[0].asking.temperature, members[0].tariff.is_some()), (Some(0.7), false));
        assert_eq!((members[1].asking.max_tokens, members[1].tariff.is_some()), (1024, true));
        assert!(!format!("{members:?}").contains("s3cret"));
    }

    #[test]
    fn every_refusal_names_the_key_and_no_secret() {
        let base = "[models.m]\nbase_url = 'https://a.b/v1'\n";
        for (text, says) in [
            ("", "at least one section"),
            ("models = 3", "at least one section"),
            ("[models.m]\n", "base_url"),
            (&format!("{base}key = 'sk-s3cret'"), "(hidden)"),
            (&format!("{base}key = 'env::NOPE'"), "`NOPE`, which is not set"),
            (&format!("{base}kee = 'sk-s3cret'"), "`kee`"),
            (&format!("{base}[models.m.collect]\ntemperature = -1"), "models.m.collect.temperature"),
            (&format!("{base}[models.m.collect]\nconcurrent = 0"), "models.m.collect.concurrent"),
            (&format!("{base}[models.m.collect]\nrequests_per_minute = nan"), "requests_per_minute"),
            (&format!("{base}[models.m.collect]\nbody = {{ n = 2 }}"), "fields other than"),
            (&format!("{base}[models.m.collect]\nmax_token = 2"), "max_token"),
            ("[models.m]\nfusion = 'two'", "`models.m.fusion` is `two`"),
            ("[models.m]\nbackend = 'lama2c'", "no backend `lama2c`"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
    }
}
