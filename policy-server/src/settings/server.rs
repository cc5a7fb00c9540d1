//! `server.toml`, read once and checked; the environment is asked only for secrets named `env::NAME`.

use crate::settings::listen::resolve;
use crate::settings::registry::check_entry;
use crate::settings::{
    ArmSettings, ConfigError, Execution, LearningConfig, Limits, MetricConfig, ModelConfig, NAME_RULE,
    PolicyEntry, Secret, StoreConfig, is_name,
};
use routewright_data::suggest::near_names;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// How the server runs.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Address of the data listener.
    pub listen: SocketAddr,
    /// Address of the admin listener; always loopback.
    pub admin_listen: Option<SocketAddr>,
    /// File of hashed API keys; where it is set, every route but the probes asks for a key.
    pub keys_file: Option<PathBuf>,
    /// Further API keys, from the environment.
    pub api_keys: Vec<Secret>,
    /// Key the admin listener asks for.
    pub admin_key: Option<Secret>,
    /// Whether the admin listener asks for no key: everybody on this machine may change what is served.
    pub admin_open: bool,
    /// Origins, such as `https://app.example.com`, whose pages may call the data listener; `*` means every page.
    pub cors_origins: Vec<String>,
    /// Names, besides those of this machine, under which a keyless data listener on a loopback address is called.
    pub hosts: Vec<String>,
    /// Whether `/metrics` is open although keys are set.
    pub metrics_open: bool,
    /// How often artifacts and the keys file are looked at, milliseconds; 0 turns the watch off.
    pub reload_poll_ms: u64,
    /// Whether every request is logged.
    pub log_requests: bool,
    /// Policy of requests that name none; needed only where several are served.
    pub default_policy: Option<String>,
    /// Policies to serve.
    pub policies: Vec<PolicyEntry>,
    /// Fused models to serve: name and ensemble file.
    pub fusions: BTreeMap<String, PathBuf>,
    /// Models that the server calls itself, by the names of arms.
    pub models: BTreeMap<String, ModelConfig>,
    /// Caps.
    pub limits: Limits,
    /// Where decisions and feedback are logged; without it nothing is.
    pub store: Option<StoreConfig>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            admin_listen: None,
            keys_file: None,
            api_keys: Vec::new(),
            admin_key: None,
            admin_open: false,
            cors_origins: Vec::new(),
            hosts: Vec::new(),
            metrics_open: false,
            reload_poll_ms: 1000,
            log_requests: false,
            default_policy: None,
            policies: Vec::new(),
            fusions: BTreeMap::new(),
            models: BTreeMap::new(),
            limits: Limits::default(),
            store: None,
        }
    }
}

/// The file as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    server: ServerSection,
    #[serde(default)]
    limits: Limits,
    #[serde(default)]
    policies: BTreeMap<String, PolicySection>,
    #[serde(default)]
    fusions: BTreeMap<String, FusionSection>,
    #[serde(default)]
    models: BTreeMap<String, ModelConfig>,
    store: Option<StoreConfig>,
    #[serde(default)]
    metrics: BTreeMap<String, MetricConfig>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ServerSection {
    listen: Option<String>,
    admin_listen: Option<String>,
    keys_file: Option<PathBuf>,
    api_keys: Vec<String>,
    admin_key: Option<String>,
    admin_open: bool,
    cors_origins: Vec<String>,
    hosts: Vec<String>,
    metrics_open: bool,
    reload_poll_ms: Option<u64>,
    log_requests: bool,
    default_policy: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FusionSection {
    ensemble: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicySection {
    path: Option<PathBuf>,
    registry: Option<PathBuf>,
    canary_metric: Option<String>,
    default_arm: Option<String>,
    #[serde(default)]
    execution: Execution,
    learning: Option<LearningConfig>,
    #[serde(default)]
    arms: BTreeMap<String, ArmSettings>,
}

/// A configuration is a page; anything longer is not one.
const CONFIG_BYTES_MAX: u64 = 1 << 20;

impl ServerConfig {
    /// Serves the given artifacts with every setting at its default.
    pub fn for_policies(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        Self { policies: paths.into_iter().map(PolicyEntry::at).collect(), ..Self::default() }
    }

    /// Reads `server.toml`; relative paths are relative to its folder.
    ///
    /// # Errors
    /// If the file cannot be read, has an unknown key, or a value is not accepted.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let bytes = routewright_data::files::read_up_to(path, CONFIG_BYTES_MAX)?;
        let shown = path.display().to_string();
        let syntax = |reason: String| ConfigError::Syntax { path: shown.clone(), reason };
        let text = String::from_utf8(bytes).map_err(|error| syntax(error.to_string()))?;
        let base = path.parent().unwrap_or(Path::new("."));
        let environment = |name: &str| std::env::var(name).ok();
        Self::parse(&text, &shown, base, &environment)
    }

    /// Reads the text of a `server.toml`; `environment` answers `env::NAME`.
    ///
    /// # Errors
    /// As [`ServerConfig::load`].
    pub fn parse(
        text: &str,
        path: &str,
        base: &Path,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let file: File = toml::from_str(text)
            .map_err(|error| ConfigError::Syntax { path: path.to_owned(), reason: syntax(text, &error) })?;
        let server = file.server;
        let secret = |key: &str, value: &String| secret(key, value, environment);
        let defaults = Self::default();
        let policies = file.policies.into_iter().map(|(name, section)| PolicyEntry {
            name: Some(name),
            path: section.path.map_or_else(PathBuf::new, |path| base.join(path)),
            registry: section.registry.map(|dir| base.join(dir)),
            canary_metric: section.canary_metric,
            default_arm: section.default_arm,
            execution: section.execution,
            arms: section.arms,
            learning: section.learning.map(|learning| LearningConfig {
                arms_file: learning.arms_file.map(|file| base.join(file)),
                ..learning
            }),
        });
        let metrics = file.metrics;
        if let (None, Some(name)) = (&file.store, metrics.keys().next()) {
            return Err(ConfigError::Value {
                key: "metrics".to_owned(),
                value: name.clone(),
                expected: "a section [store] that its feedback goes to".to_owned(),
            });
        }
        let store = file.store.map(|store| {
            let url = store.postgres.as_ref().map(|value| secret("store.postgres", value)).transpose()?;
            let in_file = !store.path.as_os_str().is_empty();
            let path = if in_file { base.join(&store.path) } else { PathBuf::new() };
            Ok::<_, ConfigError>(StoreConfig { path, postgres_url: url, ..store }.with_metrics(metrics))
        });
        let store = store.transpose()?;
        let config = Self {
            listen: address("server.listen", server.listen.as_deref())?.unwrap_or(defaults.listen),
            admin_listen: address("server.admin_listen", server.admin_listen.as_deref())?,
            keys_file: server.keys_file.map(|path| base.join(path)),
            api_keys: server
                .api_keys
                .iter()
                .map(|key| secret("server.api_keys", key))
                .collect::<Result<_, _>>()?,
            admin_key: server.admin_key.as_ref().map(|key| secret("server.admin_key", key)).transpose()?,
            admin_open: server.admin_open,
            cors_origins: server.cors_origins,
            hosts: server.hosts,
            metrics_open: server.metrics_open,
            reload_poll_ms: server.reload_poll_ms.unwrap_or(defaults.reload_poll_ms),
            log_requests: server.log_requests,
            default_policy: server.default_policy,
            policies: policies.collect(),
            fusions: file
                .fusions
                .into_iter()
                .map(|(name, section)| (name, base.join(section.ensemble)))
                .collect(),
            models: models(file.models, base, &secret)?,
            limits: file.limits,
            store,
        };
        config.check()?;
        Ok(config)
    }

    /// Checks what no type can: the loopback rule, names, caps.
    ///
    /// # Errors
    /// If a value is not accepted; the key is named.
    pub fn check(&self) -> Result<(), ConfigError> {
        let value = |key: &str, value: String, expected: &str| {
            Err(ConfigError::Value { key: key.to_owned(), value, expected: expected.to_owned() })
        };
        if let Some(admin) = self.admin_listen.filter(|admin| !admin.ip().is_loopback()) {
            return value(
                "server.admin_listen",
                admin.to_string(),
                "a loopback address such as 127.0.0.1:8081",
            );
        }
        if self.admin_listen.is_some() && self.admin_key.is_none() && !self.admin_open {
            return value("server.admin_key", "missing".to_owned(), ADMIN_KEY_RULE);
        }
        if let Some(origin) = self.cors_origins.iter().find(|origin| !is_origin(origin)) {
            return value(
                "server.cors_origins",
                origin.clone(),
                "`*`, or origins as `https://app.example.com`",
            );
        }
        if let Some(name) = self.policies.iter().filter_map(|p| p.name.as_deref()).find(|n| !is_name(n)) {
            return value("policies", name.to_owned(), NAME_RULE);
        }
        for policy in &self.policies {
            if let (Some(_), Some(model)) = (&policy.learning, policy.arms.keys().next()) {
                let key = format!("policies.{}.arms", policy.name.as_deref().unwrap_or("NAME"));
                let expected =
                    "no such section: the arms of a policy that learns are declared in `learning.arms_file`";
                return value(&key, model.clone(), expected);
            }
            if let Some(learning) = &policy.learning {
                learning.check(policy.name.as_deref().unwrap_or("NAME"), self.store.as_ref())?;
            }
        }
        if let Some(name) = self.fusions.keys().find(|name| !is_name(name)) {
            return value("fusions", name.clone(), NAME_RULE);
        }
        self.models.iter().try_for_each(|(name, model)| model.check(name))?;
        let missing = |(name, model): (&String, &ModelConfig)| {
            let fusion = model.fusion.clone().filter(|fusion| !self.fusions.contains_key(fusion))?;
            Some((format!("models.{name}.fusion"), fusion))
        };
        if let Some((key, fusion)) = self.models.iter().find_map(missing) {
            let hint = near_names(&fusion, self.fusions.keys().map(String::as_str));
            return value(&key, fusion, &format!("the name of a section [fusions.NAME]; {hint}"));
        }
        if self.policies.is_empty() && self.fusions.is_empty() && self.models.is_empty() {
            let expected = "at least one section [policies.NAME] with a path, [fusions.NAME] with an ensemble, or \
                            [models.NAME] with a base_url";
            return value("policies", String::new(), expected);
        }
        self.policies.iter().try_for_each(|entry| check_entry(entry, self.store.as_ref()))?;
        self.store.as_ref().map_or(Ok(()), StoreConfig::check)?;
        self.limits.check()
    }
}

/// What an admin listener needs.
const ADMIN_KEY_RULE: &str =
    "`env::NAME`, a key that admin requests send; or `admin_open = true` (`--admin-open`) to ask for none";

/// Whether a browser sends it so: a scheme and a host, no path.
fn is_origin(origin: &str) -> bool {
    let host = origin.split_once("://").map(|(_, host)| host);
    origin == "*" || host.is_some_and(|host| !host.is_empty() && !host.contains(['/', ' ', '*', ',']))
}

/// Where and what the reader complains of, without a value: a secret may stand in the wrong place.
pub(crate) fn syntax(text: &str, error: &toml::de::Error) -> String {
    // `invalid type: string "sk-...", expected a boolean`: what is quoted is a value of the file.
    let message = match error.message().rsplit_once(", expected") {
        Some((found, expected)) if found.starts_with("invalid ") => {
            let kind = found.split(['"', '`']).next().unwrap_or_default();
            format!("{}, expected{expected}", kind.trim_end())
        }
        _ => error.message().to_owned(),
    };
    let Some(before) = error.span().and_then(|span| text.get(..span.start)) else { return message };
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!("line {line}, column {column}: {message}")
}

/// The models with their keys.
fn models(
    sections: BTreeMap<String, ModelConfig>,
    base: &Path,
    secret: &dyn Fn(&str, &String) -> Result<Secret, ConfigError>,
) -> Result<BTreeMap<String, ModelConfig>, ConfigError> {
    let keyed = |(name, section): (String, ModelConfig)| {
        let key =
            section.key.as_ref().map(|value| secret(&format!("models.{name}.key"), value)).transpose()?;
        let ca_file = section.ca_file.as_ref().map(|file| base.join(file));
        Ok((name, ModelConfig { secret: key, ca_file, ..section }))
    };
    sections.into_iter().map(keyed).collect()
}

fn address(key: &str, value: Option<&str>) -> Result<Option<SocketAddr>, ConfigError> {
    let refuse = |reason| ConfigError::Address { key: key.to_owned(), reason };
    value.map(|value| resolve(value).map_err(refuse)).transpose()
}

pub(crate) fn secret(
    key: &str,
    value: &str,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Secret, ConfigError> {
    // The value itself is not repeated: it may be a secret in the wrong place.
    let Some(name) = value.strip_prefix("env::") else {
        return Err(ConfigError::Value {
            key: key.to_owned(),
            value: "(hidden)".to_owned(),
            expected: "the name of an environment variable, as `env::NAME`".to_owned(),
        });
    };
    match environment(name).filter(|secret| !secret.is_empty()) {
        Some(secret) => Ok(Secret::new(secret)),
        None => Err(ConfigError::Environment { key: key.to_owned(), name: name.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ServerConfig, ConfigError> {
        let environment = |name: &str| (name == "RW_KEY").then(|| "s3cret".to_owned());
        ServerConfig::parse(text, "server.toml", Path::new("/base"), &environment)
    }

    #[test]
    fn paths_are_relative_to_the_file_and_secrets_come_from_the_environment() {
        let config = parse(
            "[server]\nlisten = '0.0.0.0:9000'\nadmin_listen = '127.0.0.1:9001'\nadmin_key = 'env::RW_KEY'\n\
             [limits]\nbatch_max = 7\n[policies.main]\npath = 'p'\nexecution = 'worker'",
        )
        .unwrap();
        assert_eq!(config.policies[0].path, Path::new("/base/p"));
        assert_eq!(config.policies[0].execution, Execution::Worker);
        assert_eq!(config.limits.batch_max, 7);
        assert_eq!(config.limits.body_bytes_max, Limits::default().body_bytes_max);
        assert_eq!(config.admin_key.as_ref().unwrap().reveal(), "s3cret");
        assert!(!format!("{config:?}").contains("s3cret"));
        let model = "[models.'openai/gpt']\nbase_url = 'https://a.b/v1'\nkey = 'env::RW_KEY'\ncapabilities = ['tools']";
        let config = parse(model).unwrap();
        let model = &config.models["openai/gpt"];
        assert_eq!(model.secret.as_ref().unwrap().reveal(), "s3cret");
        assert_eq!(model.can(crate::settings::Capability::Tools), Some(true));
        assert!(!format!("{config:?}").contains("s3cret"));
    }

    #[test]
    fn every_refusal_names_the_key_and_what_is_accepted() {
        let policies = "[policies.a]\npath = 'p'\n";
        for (text, expected) in [
            (format!("{policies}[server]\nadmin_listen = '0.0.0.0:1'"), "loopback"),
            (format!("{policies}[server]\nlisten = 'here'"), "server.listen"),
            (
                format!("[store]\npath = 'l'\n{policies}learning = {{}}\n[policies.a.arms.m]\ntags = ['eu']"),
                "`policies.a.arms` is `m`, expected no such section",
            ),
            (format!("{policies}[policies.a.arms.m]\ntag = ['eu']"), "unknown field `tag`"),
            (format!("{policies}[server]\nlisten_address = 'x'"), "unknown field `listen_address`"),
            (format!("{policies}[server]\nadmin_key = 'plain'"), "env::NAME"),
            (format!("{policies}[server]\nadmin_key = 'env::NOPE'"), "`NOPE`, which is not set"),
            (format!("{policies}[limits]\nbatch_max = 0"), "`limits.batch_max` is `0`"),
            (
                format!("{policies}[limits]\nworkers = 100000"),
                "`limits.workers` is `100000`, expected a number from 0",
            ),
            (format!("{policies}[server]\nlisten = 'nowhere'"), "`nowhere` is no address to listen on"),
            (format!("{policies}[server]\nadmin_listen = '127.0.0.1:1'"), "`admin_open = true`"),
            (
                format!("{policies}[server]\ncors_origins = ['https://a.b/c']"),
                "`https://a.b/c`, expected `*`",
            ),
            ("[policies.'a b']\npath = 'p'".to_owned(), "letters, digits"),
            ("[server]\n".to_owned(), "policies"),
            ("[policies]\n".to_owned(), "at least one section"),
            ("[policies.a]\n".to_owned(), "`policies.a.path` is ``, expected"),
            (format!("{policies}registry = 'r'"), "and not both"),
            (
                "[models.m]\nbase_url = 'https://a.b'\nkey = 'plain'".to_owned(),
                "`models.m.key` is `(hidden)`",
            ),
            (
                "[models.m]\nbase_url = 'https://a.b'\nkey = 'env::NOPE'".to_owned(),
                "`NOPE`, which is not set",
            ),
            ("[models.m]\nbase_url = 'https://a.b'\nprice = 1".to_owned(), "unknown field `price`"),
            ("[models.m]\nbase_url = 'a.b'".to_owned(), "`models.m.base_url` is `a.b`"),
            (
                "[policies.a]\nregistry = 'r'\n[store]\npath = 'l'\n[metrics.x]\n[metrics.y]".to_owned(),
                "`policies.a.canary_metric` is ``, expected one of the metrics declared, x, y",
            ),
            (format!("{policies}canary_metric = 'thumb'"), "`policies.a.canary_metric` is `thumb`"),
        ] {
            let error = parse(&text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
            assert!(!error.contains("plain"), "a secret in the wrong place must not be repeated: {error}");
        }
    }

    #[test]
    fn no_complaint_about_the_file_repeats_a_value_of_it() {
        for line in [
            "admin_key = sk-s3cret-4711",
            "admin_key = 's3cret-4711",
            "admin_key = s3cret",
            "metrics_open = 's3cret-4711'",
            "api_keys = 's3cret-4711'",
            "listen = 4711",
            "reload_poll_ms = 's3cret'",
        ] {
            let error = parse(&format!("[server]\nadmin_open = true\n{line}")).unwrap_err().to_string();
            assert!(error.contains("line 3, column"), "{line}: {error}");
            assert!(!error.contains("s3cret") && !error.contains("4711"), "{line}: {error}");
        }
    }

    #[test]
    fn host_names_are_addresses_too_and_the_admin_listener_stays_on_this_machine() {
        let policies = "[policies.a]\npath = 'p'\n";
        let config = parse(&format!("[server]\nlisten = 'localhost:9000'\n{policies}")).unwrap();
        assert!(config.listen.ip().is_loopback() && config.listen.port() == 9000);
        let open = "[server]\nadmin_listen = 'localhost:9001'\nadmin_open = true\n";
        assert!(parse(&format!("{open}{policies}")).unwrap().admin_listen.is_some());
    }
}
