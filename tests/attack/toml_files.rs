//! TOML that operators write: `server.toml`, the keys file, ensemble files, parameters of methods.

use crate::bytes;
use crate::harness::{Parts, Target, Verdict, attack, refused, refused_in};
use crate::random::{Rng, below, one_in, pick, size};
use crate::scratch::Scratch;
use crate::text;
use routewright_data::features::{Column, Featurizer};
use routewright_data::{Cells, FeatureMatrix, OutcomeTable};
use routewright_decoder::ensemble::{Ensemble, EnsembleFile};
use routewright_policy_server::ServerConfig;
use routewright_policy_server::keys::Keys;
use routewright_trainer::evaluate::Average;
use routewright_trainer::method::{Device, FitContext};
use routewright_trainer::methods;
use routewright_trainer::progress::Silent;
use std::path::Path;
use std::sync::Arc;

const SERVER: &str = "[server]\nadmin_open = true\napi_keys = ['env::RW_KEY']\ncors_origins = ['https://a.example']\n\
    hosts = ['a.example']\nmetrics_open = false\nreload_poll_ms = 2000\nlog_requests = true\ndefault_policy = 'main'\n\
    [limits]\nbody_bytes_max = 4194304\nbatch_max = 256\nrequest_timeout_ms = 10000\nworkers = 2\nfusions_max = 4\n\
    queue_max = 4096\nrate_per_second = 100\n\
    [policies.main]\npath = 'p'\nexecution = 'worker'\ndefault_arm = 'small'\n\
    [policies.learner]\npath = 'q'\n[policies.learner.learning]\nmetric = 'score'\nlambda = 2.5\nobservations = 'all'\n\
    target_usd = 0.01\nday_usd = 5.0\nselector = { name = 'thompson', settings = {} }\narms_file = 'arms.toml'\n\
    [policies.learner.learning.keys.team]\nday_usd = 1.0\n[policies.learner.learning.trust]\n\
    [policies.learner.learning.drift]\n\
    [policies.other]\npath = 'o'\n[policies.other.arms.\"m/1\"]\ntags = ['eu']\nlatency_ms = 900.0\n\
    [fusions.two]\nensemble = 'two.toml'\n\
    [models.small]\nbase_url = 'https://api.example/v1'\ndialect = 'openai'\nkey = 'env::RW_KEY'\nmodel = 's-1'\n\
    input_usd_per_mtok = 0.5\ncached_input_usd_per_mtok = 0.1\noutput_usd_per_mtok = 2.0\ncontext_tokens = 128000\n\
    capabilities = ['tools', 'images', 'json_schema']\nconcurrent_max = 64\nconnect_timeout_ms = 500\n\
    first_byte_timeout_ms = 60000\nidle_timeout_ms = 60000\ntimeout_ms = 600000\nanswer_bytes_max = 1000000\n\
    headers = { http-referer = 'https://a.example' }\n\
    [models.\"org/large\"]\nbase_url = 'http://10.0.0.7:8000/v1'\ndialect = 'anthropic'\nnetworks = ['10.0.0.0/8']\n\
    [store]\npath = 'log'\ndurability = 'async'\nqueue_max = 65536\ngroup_max = 4096\nkeep_prompt = true\n\
    retention_days = 30\nreward_window_ms = 86400000\n\
    [metrics.score]\nrange = [0.0, 1.0]\ndirection = 'higher'\ncombine = 'last'\ndefault = 0.5\n\
    [metrics.score.sources]\nuser = 1.0\n";

const ENSEMBLE: &str = "system = 'gac'\nparams = { weights = [0.5, 0.5] }\non_failure = 'drop'\n\
    [limits]\nsteps = 20\nbytes = 4000\ntokens = 0\ncalls = 0\ndeadline_ms = 2000\nstop = [\"\\n\\n\"]\n\
    [pick]\ntemperature = 0.5\ntop_p = 0.9\n\
    [[members]]\nname = 'polite'\nbackend = 'scripted'\nembeddings = true\npieces = ['He', 'llo']\ncontext = 200\n\
    script = [{ after = 'Hello', next = { ', ' = 0.9, '!' = 0.1 } }, { after = '', next = { 'Hello' = 1.0 } }]\n\
    [[members]]\nname = 'terse'\nbackend = 'scripted'\ntop = 3\n\
    script = [{ after = '', next = { '' = 0.75, 'He' = 0.25 } }]\n";

const KEYS: &str = "[[keys]]\nid = '0011223344556677'\nname = 'team'\nsalt = '00'\n\
    hash = 'af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262'\n";

/// Words that stand in those files, to be put where another stood.
const NAMES: [&str; 50] = [
    "models",
    "base_url",
    "dialect",
    "key",
    "networks",
    "capabilities",
    "headers",
    "anthropic",
    "http://[::1]:1/v1",
    "10.0.0.0/33",
    "server",
    "limits",
    "policies",
    "store",
    "metrics",
    "fusions",
    "learning",
    "path",
    "registry",
    "name",
    "selector",
    "settings",
    "trust",
    "drift",
    "keys",
    "arms",
    "range",
    "default",
    "combine",
    "sources",
    "system",
    "params",
    "members",
    "backend",
    "script",
    "next",
    "after",
    "tokenizer",
    "pick",
    "weights",
    "gac",
    "unite",
    "deepen",
    "eva",
    "packllm",
    "cool-fusion",
    "le-mcts",
    "speculative",
    "rlae",
    "purify",
];

/// A value as TOML writes one.
fn value(rng: &mut Rng) -> String {
    match below(rng, 10) {
        0..=3 => text::number(rng),
        4 => (*pick(
            rng,
            &["true", "false", "nan", "-inf", "1979-05-27T07:32:00Z", "0x7fffffffffffffff", "1_000", "''"],
        ))
        .to_owned(),
        5 => format!("[{}]", (0..size(rng)).map(|_| text::number(rng)).collect::<Vec<_>>().join(", ")),
        6 => format!("{{ {} = {} }}", pick(rng, &NAMES), text::number(rng)),
        7 => {
            let depth = *pick(rng, &[3, 50, 79, 80, 81, 127, 128, 500, 20_000]);
            format!("{}{}", "[".repeat(depth), "]".repeat(depth))
        }
        8 => format!("'{}'", pick(rng, &NAMES)),
        _ => format!("{:?}", text::any(rng)),
    }
}

/// Keys, values, lines and bytes of a file damaged.
pub(crate) fn damaged(file: &str, rng: &mut Rng) -> Vec<u8> {
    let mut lines: Vec<String> = file.split('\n').map(str::to_owned).collect();
    for _ in 0..*pick(rng, &[0, 1, 1, 1, 2, 3]) {
        let at = below(rng, lines.len());
        let Some((key, old)) = lines[at].split_once(" = ").map(|(key, old)| (key.to_owned(), old.to_owned()))
        else {
            let name = pick(rng, &NAMES);
            lines[at] =
                (*pick(rng, &[&format!("[{name}]"), &format!("[[{name}]]"), &format!("[{name}.{name}]")]))
                    .clone();
            continue;
        };
        lines[at] = match below(rng, 6) {
            0 => format!("{} = {old}", pick(rng, &NAMES)),
            1 => format!("{key}.{} = {old}", pick(rng, &NAMES)),
            2 => format!("{key} = {old}\n{key} = {}", value(rng)),
            _ => format!("{key} = {}", value(rng)),
        };
    }
    let mut file = lines.join("\n");
    if one_in(rng, 4) {
        file = text::damage_lines(&file, rng);
    }
    if one_in(rng, 20) {
        let depth = *pick(rng, &[100, 5000]);
        file.push_str(&format!(
            "\n{}\n",
            *pick(
                rng,
                &[format!("[{}a]", "a.".repeat(depth)), format!("{}a = 1", "a.".repeat(depth))].each_ref()
            )
        ));
    }
    let mut file = file.into_bytes();
    if one_in(rng, 10) {
        bytes::damage(&mut file, rng);
    }
    file
}

/// Parameters of a method as a TOML file has them.
fn parameters(rng: &mut Rng) -> (String, String) {
    let row = pick(rng, methods::ALL);
    let defaults = (row.defaults)();
    let line = |(key, value): (&String, &serde_json::Value)| match value {
        serde_json::Value::Null => String::new(),
        value => format!("{key} = {value}\n"),
    };
    (row.name.to_owned(), defaults.as_object().into_iter().flatten().map(line).collect())
}

struct Files {
    scratch: Scratch,
    empty: OutcomeTable,
    features: FeatureMatrix,
    featurizer: Arc<dyn Featurizer>,
}

impl Files {
    fn server(text: &[u8], parts: &Parts) -> Result<Verdict, String> {
        // The file is read as text first.
        let Ok(text) = std::str::from_utf8(text) else { return Ok(Verdict::Refused) };
        let environment = |name: &str| (name == "RW_KEY").then(|| "sk-rw-0011223344556677-aa".to_owned());
        match ServerConfig::parse(text, "server.toml", Path::new("/nowhere"), &environment) {
            Ok(config) => match config.check() {
                Ok(()) => Ok(Verdict::Accepted),
                Err(error) => Err(format!("a configuration that was read is refused later: {error}")),
            },
            Err(error) => refused(&error, parts),
        }
    }

    fn ensemble(&self, bytes: &[u8], parts: &Parts) -> Result<Verdict, String> {
        let path = self.scratch.write("ensemble.toml", bytes);
        let ensemble = match Ensemble::open(&path) {
            Ok(ensemble) => ensemble,
            Err(error) => return refused(&error, parts),
        };
        let again =
            EnsembleFile::read(&path).map_err(|error| format!("it is read once and not twice: {error}"))?;
        let n = ensemble.backends().len();
        match n == again.members.len() {
            true => Ok(Verdict::Accepted),
            false => Err(format!("{n} members were opened of {}", again.members.len())),
        }
    }

    fn keys(&self, bytes: &[u8], parts: &Parts) -> Result<Verdict, String> {
        let path = self.scratch.write("keys.toml", bytes);
        match Keys::load(Some(&path), &[]) {
            Ok(keys) if keys.required() && keys.find("sk-rw-0011223344556677-aa").is_none() => {
                Ok(Verdict::Accepted)
            }
            Ok(_) => Err("a key that nobody made is accepted".to_owned()),
            Err(error) => refused(&error, parts),
        }
    }

    /// Parameters are read before the log is looked at; this one is empty, so that nothing is fitted.
    fn parameters(&self, method: &str, bytes: &[u8], parts: &Parts) -> Result<Verdict, String> {
        let Ok(text) = std::str::from_utf8(bytes) else { return Ok(Verdict::Refused) };
        let params: serde_json::Map<String, serde_json::Value> = match toml::from_str(text) {
            Ok(params) => params,
            Err(error) => return refused_in(&error.to_string(), parts),
        };
        let row = methods::find(method).map_err(|error| error.to_string())?;
        let context = FitContext {
            train: &self.empty,
            pairs: None,
            answers: None,
            features: &self.features,
            featurizer: &self.featurizer,
            average: Average::Micro,
            seed: 1,
            device: Device::Cpu,
            progress: &Silent,
            checkpoint: None,
        };
        match (row.fit)(&params.into(), &context) {
            Ok(_) => Err("a method was fitted on nothing".to_owned()),
            Err(error) => {
                let accepted = error.to_string().contains("no scored query");
                refused(&error, parts).map(|verdict| if accepted { Verdict::Accepted } else { verdict })
            }
        }
    }
}

impl Target for Files {
    const NAME: &'static str = "toml";
    const CASES: u64 = 3000;

    fn input(&mut self, rng: &mut Rng) -> Parts {
        let (name, file) = match below(rng, 8) {
            0..=2 if one_in(rng, 300) => {
                ("server.toml".to_owned(), format!("[server]\nlisten = '127.0.0.1:1'\n{}", &SERVER[9..]))
            }
            0..=2 => ("server.toml".to_owned(), SERVER.to_owned()),
            3..=5 => ("ensemble.toml".to_owned(), ENSEMBLE.to_owned()),
            6 => ("keys.toml".to_owned(), KEYS.to_owned()),
            _ => parameters(rng),
        };
        vec![(name, damaged(&file, rng))]
    }

    fn feed(&mut self, parts: &Parts) -> Result<Verdict, String> {
        let (name, bytes) = &parts[0];
        match name.as_str() {
            "server.toml" => Self::server(bytes, parts),
            "ensemble.toml" => self.ensemble(bytes, parts),
            "keys.toml" => self.keys(bytes, parts),
            method => self.parameters(method, bytes, parts),
        }
    }
}

#[test]
fn toml_files() {
    let none = || Cells::missing(0, 2);
    let empty = OutcomeTable {
        queries: Vec::new(),
        models: vec!["a".to_owned(), "b".to_owned()],
        score: none(),
        soft_score: None,
        cost_usd: none(),
        latency_ms: None,
        vectors: None,
    };
    let (features, featurizer) =
        (FeatureMatrix::from_vec(0, 2, Vec::new()), Arc::new(Column::new("vector", 2)));
    attack(Files { scratch: Scratch::new(), empty, features, featurizer });
}
