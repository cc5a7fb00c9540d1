//! Sections `[models.NAME]` of `server.toml`: the models that the server calls itself, one section an arm.

use crate::dialect::bill::per_million;
use crate::settings::network::{Network, is_public};
use crate::settings::{ConfigError, Secret};
use routewright_data::names;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

/// How the server of a model is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelDialect {
    /// `/chat/completions`, `/completions`, `/responses` and `/embeddings` under the base URL; `Authorization: Bearer`.
    #[default]
    Openai,
    /// `/messages` under the base URL; `x-api-key`.
    Anthropic,
}

/// What a request may need that not every model can.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Capability {
    /// Calls of tools.
    Tools,
    /// An answer that follows a JSON schema.
    JsonSchema,
    /// Images among the turns.
    Images,
    /// Sound among the turns.
    Audio,
    /// Files among the turns.
    Files,
    /// Log-probabilities of tokens.
    Logprobs,
    /// Several choices in one reply.
    N,
    /// Tools that its vendor runs, such as a search.
    VendorTools,
}

/// Section `[models.NAME]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// Where its API begins, such as `https://api.openai.com/v1`.
    #[serde(default)]
    pub base_url: String,
    /// In place of an address: the fused model of this server that answers, a section `[fusions.NAME]`.
    #[serde(default)]
    pub fusion: Option<String>,
    /// How it is spoken to.
    #[serde(default)]
    pub dialect: ModelDialect,
    /// The name of the environment variable with its key, as `env::NAME`.
    #[serde(default)]
    pub key: Option<String>,
    /// The key itself.
    #[serde(skip)]
    pub secret: Option<Secret>,
    /// What its server calls it; `None` means the name of the section.
    #[serde(default)]
    pub model: Option<String>,
    /// List price per million input tokens, US dollars.
    #[serde(default)]
    pub input_usd_per_mtok: Option<f64>,
    /// List price per million input tokens read from the provider's cache; `None` means that of input.
    #[serde(default)]
    pub cached_input_usd_per_mtok: Option<f64>,
    /// List price per million input tokens written to the provider's cache; `None` means that of input.
    #[serde(default)]
    pub cache_write_usd_per_mtok: Option<f64>,
    /// List price per million output tokens, US dollars.
    #[serde(default)]
    pub output_usd_per_mtok: Option<f64>,
    /// Longest prompt and answer together, tokens; `None` checks nothing.
    #[serde(default)]
    pub context_tokens: Option<u64>,
    /// What it can beside text. `None` says nothing of it: a policy sends it plain text only, a request that names the
    /// model goes to it whatever it needs.
    #[serde(default)]
    pub capabilities: Option<Vec<Capability>>,
    /// Most calls at the same time.
    #[serde(default = "concurrent_max")]
    pub concurrent_max: usize,
    /// Time to connect, TLS included, milliseconds.
    #[serde(default = "connect_timeout_ms")]
    pub connect_timeout_ms: u64,
    /// Time from the request to the first byte of the answer, milliseconds.
    #[serde(default = "first_byte_timeout_ms")]
    pub first_byte_timeout_ms: u64,
    /// Time between two pieces of an answer, milliseconds.
    #[serde(default = "idle_timeout_ms")]
    pub idle_timeout_ms: u64,
    /// Time of a whole call, milliseconds.
    #[serde(default = "timeout_ms")]
    pub timeout_ms: u64,
    /// Longest answer, bytes.
    #[serde(default = "answer_bytes_max")]
    pub answer_bytes_max: usize,
    /// Networks beside the public internet that its host may resolve to.
    #[serde(default)]
    pub networks: Vec<String>,
    /// PEM file of certificates that its server's may be signed by, beside the public ones.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Headers that every request to it carries, such as `http-referer`.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
}

fn concurrent_max() -> usize {
    256
}

fn connect_timeout_ms() -> u64 {
    5_000
}

fn first_byte_timeout_ms() -> u64 {
    60_000
}

fn idle_timeout_ms() -> u64 {
    60_000
}

fn timeout_ms() -> u64 {
    600_000
}

fn answer_bytes_max() -> usize {
    64 << 20
}

/// Where the API of a model begins, in its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BaseUrl {
    pub(crate) is_tls: bool,
    /// Name or address, without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Begins with a slash and does not end with one; empty where there is none.
    pub(crate) path: String,
}

const URL_RULE: &str = "`https://HOST[:PORT][/PATH]`, or `http://` for a server within `networks`";
/// What a fused model's name begins with.
pub(crate) const FUSION_PREFIX: &str = "fusion/";
/// Dearest list price that is believed, US dollars for a million tokens.
const PRICE_MAX: u64 = 1_000_000;
/// Most calls at the same time that are believed.
const CONCURRENT_MAX: usize = 1 << 20;
/// Headers that belong to the connection, to the credential, or to the server itself.
const RESERVED: [&str; 22] = [
    "accept",
    "accept-encoding",
    "api-key",
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "x-api-key",
    "x-goog-api-key",
];

impl BaseUrl {
    /// Reads the text of an address.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let (is_tls, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => return None,
        };
        // User names, queries and fragments have no place here, and nothing may end the line of a request.
        if rest.bytes().any(|byte| !byte.is_ascii_graphic() || b"?#@\\\"<>".contains(&byte)) {
            return None;
        }
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let (host, port) = match authority.strip_prefix('[') {
            Some(inner) => {
                let (host, after) = inner.split_once(']')?;
                host.parse::<std::net::Ipv6Addr>().ok()?;
                (host, if after.is_empty() { None } else { Some(after.strip_prefix(':')?) })
            }
            None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
        };
        let port =
            port.map_or(Some(if is_tls { 443 } else { 80 }), |port| port.parse().ok().filter(|p| *p > 0))?;
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if host.is_empty() || !(host.contains(':') || host.chars().all(is_name)) {
            return None;
        }
        let path = path.trim_end_matches('/').to_owned();
        Some(Self { is_tls, host: host.to_ascii_lowercase(), port, path })
    }

    /// That of what is reached without a network.
    fn within_process() -> Self {
        Self { is_tls: false, host: "localhost".to_owned(), port: 80, path: String::new() }
    }

    /// The address that the URL itself spells out; `localhost` is that of this machine.
    pub(crate) fn literal(&self) -> Option<IpAddr> {
        if self.host == "localhost" {
            return Some(IpAddr::from([127, 0, 0, 1]));
        }
        self.host.parse().ok()
    }

    /// Value of the header `host`.
    pub(crate) fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match (self.is_tls, self.port) {
            (true, 443) | (false, 80) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }
}

impl ModelConfig {
    /// A model at an address with every setting at its default.
    pub fn at(base_url: impl Into<String>) -> Self {
        Self {
            base_url: base_url.into(),
            fusion: None,
            dialect: ModelDialect::default(),
            key: None,
            secret: None,
            model: None,
            input_usd_per_mtok: None,
            cached_input_usd_per_mtok: None,
            cache_write_usd_per_mtok: None,
            output_usd_per_mtok: None,
            context_tokens: None,
            capabilities: None,
            concurrent_max: concurrent_max(),
            connect_timeout_ms: connect_timeout_ms(),
            first_byte_timeout_ms: first_byte_timeout_ms(),
            idle_timeout_ms: idle_timeout_ms(),
            timeout_ms: timeout_ms(),
            answer_bytes_max: answer_bytes_max(),
            networks: Vec::new(),
            ca_file: None,
            headers: BTreeMap::new(),
        }
    }

    /// A fused model of this server with every setting at its default.
    pub fn fused(fusion: impl Into<String>) -> Self {
        Self { fusion: Some(fusion.into()), ..Self::at("") }
    }

    /// Where its API begins; `None` where `base_url` is no address.
    pub(crate) fn url(&self) -> Option<BaseUrl> {
        match self.fusion {
            Some(_) => Some(BaseUrl::within_process()),
            None => BaseUrl::read(&self.base_url),
        }
    }

    /// What its server calls it, `name` being that of the section.
    pub(crate) fn model_of(&self, name: &str) -> String {
        match &self.fusion {
            Some(fusion) => format!("{FUSION_PREFIX}{fusion}"),
            None => self.model.as_deref().unwrap_or(name).to_owned(),
        }
    }

    /// The networks beside the public internet that its host may resolve to.
    pub(crate) fn allowed_networks(&self) -> Vec<Network> {
        self.networks.iter().filter_map(|text| text.parse().ok()).collect()
    }

    /// Whether it can what a request needs, where that is known.
    pub(crate) fn can(&self, capability: Capability) -> Option<bool> {
        self.capabilities.as_ref().map(|all| all.contains(&capability))
    }

    /// Refuses what no type can.
    ///
    /// # Errors
    /// If a value is not accepted; the key is named.
    pub(crate) fn check(&self, name: &str) -> Result<(), ConfigError> {
        let refuse = |key: &str, value: String, expected: &str| {
            Err(ConfigError::Value {
                key: format!("models.{name}.{key}"),
                value,
                expected: expected.to_owned(),
            })
        };
        if let Err(why) = names::check(name) {
            let (key, value) = ("models".to_owned(), name.escape_debug().to_string());
            return Err(ConfigError::Value { key, value, expected: format!("another name: it {why}") });
        }
        let is_own = name.strip_prefix(FUSION_PREFIX).is_some_and(|own| self.fusion.as_deref() == Some(own));
        if !is_own && ["routewright/", "router-", FUSION_PREFIX].iter().any(|prefix| name.starts_with(prefix))
        {
            let expected = "a name that does not begin as those of policies do, nor, but for that of its `fusion`, of \
                            fused models";
            let (key, value, expected) = ("models".to_owned(), name.to_owned(), expected.to_owned());
            return Err(ConfigError::Value { key, value, expected });
        }
        if self.fusion.is_some() {
            self.check_fused(name)?;
            return self.check_numbers(name);
        }
        let Some(url) = BaseUrl::read(&self.base_url) else {
            // A password may stand in it.
            let shown = if self.base_url.contains('@') { "(hidden)" } else { &self.base_url };
            return refuse("base_url", shown.to_owned(), URL_RULE);
        };
        if let Some(wrong) = self.networks.iter().find(|text| text.parse::<Network>().is_err()) {
            return refuse(
                "networks",
                wrong.clone(),
                "networks such as `10.0.0.0/8`, `fd00::/8`, or addresses",
            );
        }
        let is_near = url.literal().is_some_and(|address| !is_public(address)) || !self.networks.is_empty();
        if !url.is_tls && self.secret.is_some() && !is_near {
            let expected = "`https://`: over `http://` a key is sent within `networks` only";
            return refuse("base_url", self.base_url.clone(), expected);
        }
        if self.model.as_deref().is_some_and(|model| model.is_empty() || model.chars().any(char::is_control))
        {
            return refuse(
                "model",
                self.model.clone().unwrap_or_default(),
                "the name its server knows it by",
            );
        }
        self.check_numbers(name)?;
        let is_token = |text: &str| {
            !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        };
        let is_taken = |key: &str| RESERVED.contains(&key) || key.starts_with("x-router-");
        let lower = |key: &str| key.to_ascii_lowercase();
        if let Some(key) = self.headers.keys().find(|key| !is_token(key) || is_taken(&lower(key))) {
            return refuse("headers", key.clone(), "names of headers that the server does not set itself");
        }
        let is_text = |text: &str| text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
        match self.headers.iter().find(|(_, value)| !is_text(value)) {
            Some((key, _)) => refuse(&format!("headers.{key}"), "(hidden)".to_owned(), "printable ASCII"),
            None => Ok(()),
        }
    }

    /// A fused model is reached without a network and writes text.
    fn check_fused(&self, name: &str) -> Result<(), ConfigError> {
        let others = [
            ("base_url", !self.base_url.is_empty()),
            ("dialect", self.dialect != ModelDialect::default()),
            ("key", self.key.is_some()),
            ("model", self.model.is_some()),
            ("capabilities", self.capabilities.as_ref().is_some_and(|all| !all.is_empty())),
            ("networks", !self.networks.is_empty()),
            ("ca_file", self.ca_file.is_some()),
            ("headers", !self.headers.is_empty()),
        ];
        match others.iter().find(|(_, is_set)| *is_set) {
            Some((key, _)) => Err(ConfigError::Value {
                key: format!("models.{name}.{key}"),
                value: "(given)".to_owned(),
                expected:
                    "no such key beside `fusion`: a fused model of this server writes text and has no address"
                        .to_owned(),
            }),
            None => Ok(()),
        }
    }

    fn check_numbers(&self, name: &str) -> Result<(), ConfigError> {
        let refuse = |key: &str, value: String, expected: String| {
            Err(ConfigError::Value { key: format!("models.{name}.{key}"), value, expected })
        };
        for (key, price) in [
            ("input_usd_per_mtok", self.input_usd_per_mtok),
            ("cached_input_usd_per_mtok", self.cached_input_usd_per_mtok),
            ("cache_write_usd_per_mtok", self.cache_write_usd_per_mtok),
            ("output_usd_per_mtok", self.output_usd_per_mtok),
        ] {
            if let Some(price) = price.filter(|price| per_million(&price.to_string()).is_err()) {
                let expected = format!("US dollars in [0, {PRICE_MAX}] with at most six decimals");
                return refuse(key, price.to_string(), expected);
            }
        }
        if self.input_usd_per_mtok.is_some() != self.output_usd_per_mtok.is_some() {
            let expected = "both `input_usd_per_mtok` and `output_usd_per_mtok`, or neither".to_owned();
            return refuse("input_usd_per_mtok", "alone".to_owned(), expected);
        }
        for (key, value) in [
            ("connect_timeout_ms", self.connect_timeout_ms),
            ("first_byte_timeout_ms", self.first_byte_timeout_ms),
            ("idle_timeout_ms", self.idle_timeout_ms),
            ("timeout_ms", self.timeout_ms),
            ("answer_bytes_max", self.answer_bytes_max as u64),
            ("context_tokens", self.context_tokens.unwrap_or(1)),
        ] {
            if value == 0 {
                return refuse(key, "0".to_owned(), "a number of at least 1".to_owned());
            }
        }
        match self.concurrent_max {
            1..=CONCURRENT_MAX => Ok(()),
            n => refuse("concurrent_max", n.to_string(), format!("a number from 1 to {CONCURRENT_MAX}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> ModelConfig {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn addresses_are_read_into_their_parts() {
        let url = |text: &str| BaseUrl::read(text).map(|url| (url.is_tls, url.host, url.port, url.path));
        let parts = |tls, host: &str, port, path: &str| Some((tls, host.to_owned(), port, path.to_owned()));
        assert_eq!(url("https://API.openai.com/v1/"), parts(true, "api.openai.com", 443, "/v1"));
        assert_eq!(url("http://localhost:8080"), parts(false, "localhost", 8080, ""));
        assert_eq!(url("http://[::1]:9/a/b"), parts(false, "::1", 9, "/a/b"));
        for wrong in [
            "",
            "api.openai.com",
            "ftp://a",
            "https://",
            "https://a:0",
            "https://a:99999",
            "https://u:p@a",
            "https://a?q",
            "https://a#f",
            "https://a b",
            "https://a\r\nx: y",
            "http://[::1",
            "http://[::1]9",
            "http://[a]",
            "https:///v1",
        ] {
            assert_eq!(BaseUrl::read(wrong), None, "{wrong}");
        }
        assert_eq!(BaseUrl::read("https://a/v1").unwrap().authority(), "a");
        assert_eq!(BaseUrl::read("http://[::1]:9").unwrap().authority(), "[::1]:9");
    }

    #[test]
    fn every_refusal_names_the_key_and_what_is_accepted() {
        let base = "base_url = 'https://a.b/v1'\n";
        for (text, says) in [
            ("base_url = 'a.b'".to_owned(), "`models.m.base_url` is `a.b`, expected `https://HOST"),
            ("base_url = 'https://me:pass@a.b'".to_owned(), "`models.m.base_url` is `(hidden)`"),
            (format!("{base}networks = ['ten']"), "`models.m.networks` is `ten`"),
            (
                format!("{base}input_usd_per_mtok = -1.0\noutput_usd_per_mtok = 1.0"),
                "`-1`, expected US dollars",
            ),
            (
                format!("{base}input_usd_per_mtok = nan\noutput_usd_per_mtok = 1.0"),
                "`NaN`, expected US dollars",
            ),
            (format!("{base}output_usd_per_mtok = 1.0"), "or neither"),
            (format!("{base}timeout_ms = 0"), "`models.m.timeout_ms` is `0`"),
            (
                format!("{base}concurrent_max = 0"),
                "`models.m.concurrent_max` is `0`, expected a number from 1",
            ),
            (format!("{base}model = ''"), "`models.m.model`"),
            (format!("{base}headers = {{ Authorization = 'x' }}"), "does not set itself"),
            (format!("{base}headers = {{ 'x-router-a' = 'x' }}"), "does not set itself"),
            (format!("{base}headers = {{ 'a b' = 'x' }}"), "does not set itself"),
            (format!("{base}headers = {{ 'x-a' = \"s3cret\\n\" }}"), "`(hidden)`, expected printable"),
        ] {
            let error = read(&text).check("m").unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
            assert!(!error.contains("pass") && !error.contains("s3cret"), "{error}");
        }
        for name in ["routewright/x", "router-x", "fusion/x", "", "a\nb"] {
            assert!(read(base).check(name).is_err(), "{name:?}");
        }
        read(base).check("openai/gpt-4o").unwrap();
    }

    #[test]
    fn a_key_goes_over_plain_http_only_to_named_networks() {
        let with = |url: &str, networks: &str| {
            let mut config = read(&format!("base_url = '{url}'\nnetworks = {networks}"));
            config.secret = Some(Secret::new("k"));
            config.check("m")
        };
        assert!(with("http://api.example.com/v1", "[]").unwrap_err().to_string().contains("`https://`"));
        assert!(with("http://8.8.8.8/v1", "[]").is_err());
        for (url, networks) in [
            ("https://api.example.com/v1", "[]"),
            ("http://127.0.0.1:8000/v1", "[]"),
            ("http://localhost:8000/v1", "[]"),
            ("http://vllm:8000/v1", "['10.0.0.0/8']"),
        ] {
            with(url, networks).unwrap();
        }
    }
}
