//! Artifacts of policies: manifest, tensors of predictor and featurizer, keys of the training rows. Digests are made to
//! fit most often, as one who can write the folder could; what loads must decide.

use crate::bytes::{self, Kind, Segments};
use crate::harness::{Parts, Target, Verdict, attack, refused};
use crate::json::Json;
use crate::random::{Rng, below, one_in, pick};
use crate::scratch::Scratch;
use routewright_data::features::{FeatureInput, LexicalSettings};
use routewright_data::synthetic::{Settings, World};
use routewright_policy::{Constraints, Decision, Objective, Policy, Request, artifact};
use routewright_trainer::evaluate::Average;
use routewright_trainer::method::{Device, MethodRow, Need};
use routewright_trainer::methods;
use routewright_trainer::progress::Silent;
use routewright_trainer::train::{BaseFeatures, FeatureChoice, Prepared, RunOptions, SOURCE_WEIGHT};
use serde_json::{Map, Value, json};

/// Keys and words that manifests and headers of tensors know.
const NAMES: [&str; 63] = [
    "dual",
    "subjects",
    "unsure",
    "argmax",
    "uniform",
    "softmax",
    "epsilon-greedy",
    "thompson",
    "mixture",
    "votes",
    "utility",
    "budget",
    "cover",
    "squarecb",
    "regcb",
    "threshold",
    "ucb",
    "priced",
    "proportional",
    "cheapest-within",
    "constant",
    "linear",
    "neighbors",
    "clusters",
    "neural",
    "factor",
    "table",
    "posterior",
    "duels",
    "ensemble",
    "identities",
    "preference",
    "simplex",
    "neural-linear",
    "form",
    "config",
    "settings",
    "selector",
    "featurizer",
    "name",
    "dim",
    "arms",
    "model",
    "price",
    "mean_cost_usd",
    "mean_latency_ms",
    "tags",
    "lambda",
    "temperature",
    "epsilon",
    "k",
    "engine",
    "approximate",
    "exact",
    "query_text",
    "promise",
    "files",
    "data",
    "dtype",
    "F32",
    "shape",
    "data_offsets",
    "weights",
];

const MANIFEST: &str = "manifest.json";
const TENSORS: [&str; 2] = ["predictor.safetensors", "featurizer.safetensors"];
const ROWS: &str = "training-rows.bin";

/// Parameters with which a fit takes milliseconds.
fn quick(row: &MethodRow) -> Value {
    let defaults = (row.defaults)();
    let small = [
        ("steps", json!(4)),
        ("every", json!(2)),
        ("restarts", json!(1)),
        ("clusters", json!([3])),
        ("irt_steps", json!(4)),
        ("warm_steps", json!(4)),
        ("ppo_steps", json!(2)),
        ("entropy", json!([0.03])),
    ];
    // A method may have one number where another has a grid.
    let fits = |(key, value): &(&str, Value)| {
        defaults.get(key).is_some_and(|default| default.is_array() == value.is_array())
    };
    small.into_iter().filter(fits).map(|(key, value)| (key.to_owned(), value)).collect::<Map<_, _>>().into()
}

/// An artifact of every method that can learn from a log.
pub(crate) fn wholes(scratch: &Scratch) -> Vec<Parts> {
    let settings = Settings { n_arms: 3, ..Settings::default() };
    let (table, _, _) = World::new(settings, 5).table(24);
    let lexical = LexicalSettings { dim: 4, ..LexicalSettings::default() };
    let choice = FeatureChoice { base: BaseFeatures::Lexical(lexical), source_weight: SOURCE_WEIGHT };
    let prepared = Prepared::new(table, &choice, 1).unwrap();
    let run = RunOptions {
        average: Average::Micro,
        seed: 3,
        device: Device::Cpu,
        progress: &Silent,
        checkpoint: None,
    };
    let mut wholes = Vec::new();
    for row in methods::ALL.iter().filter(|row| !row.needs.contains(&Need::Outcomes)) {
        // Programs of several steps are fitted on recorded answers, which this world has none of.
        let fitted = prepared.fit(row, &quick(row), &run).ok().filter(|fitted| fitted.program.is_none());
        let Some(fitted) = fitted else { continue };
        let path = scratch.path(row.name);
        artifact::save(&prepared.draft(row.name, row, fitted, "train", 1), &path).unwrap();
        let file = |name: &str| (name.to_owned(), std::fs::read(path.join(name)).unwrap());
        wholes.push([MANIFEST, TENSORS[0], TENSORS[1], ROWS].map(file).to_vec());
    }
    assert!(wholes.len() > 15, "{} methods could be fitted", wholes.len());
    wholes
}

/// A safetensors file with another header, other numbers, or other bytes.
pub(crate) fn damaged_tensors(file: &[u8], rng: &mut Rng) -> Vec<u8> {
    let Some((length, rest)) = file.split_first_chunk::<8>() else { return file.to_vec() };
    let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let mut data = data.to_vec();
    let header: Value = serde_json::from_slice(header).unwrap();
    let header = match below(rng, 4) {
        0 => Json::damaged(&header, &NAMES, rng),
        1 => reshaped(header, rng),
        2 => {
            let extremes = [f32::NAN, f32::INFINITY, f32::MAX, f32::MIN, -0.0, 1e-45, 1e30, -1.0, 1.0, 0.0];
            for _ in 0..1 + below(rng, 8) {
                let n = data.len() / 4;
                let at = 4 * below(rng, n);
                let all = if one_in(rng, 4) { n } else { 1 };
                let value = pick(rng, &extremes).to_le_bytes();
                data[at..].chunks_exact_mut(4).take(all).for_each(|chunk| chunk.copy_from_slice(&value));
            }
            header.to_string().into_bytes()
        }
        _ => {
            bytes::damage(&mut data, rng);
            header.to_string().into_bytes()
        }
    };
    let length = match one_in(rng, 30) {
        true => *pick(rng, &[0, 1, u64::MAX, 1 << 32, header.len() as u64 + 1]),
        false => header.len() as u64,
    };
    [&length.to_le_bytes()[..], &header, &data].concat()
}

/// A header in which a tensor has another shape of as many numbers, or another type.
fn reshaped(mut header: Value, rng: &mut Rng) -> Vec<u8> {
    let names: Vec<String> = header.as_object().unwrap().keys().cloned().collect();
    if names.is_empty() {
        return header.to_string().into_bytes();
    }
    let tensor = &mut header[pick(rng, &names).as_str()];
    let shape: Vec<u64> =
        tensor["shape"].as_array().into_iter().flatten().filter_map(Value::as_u64).collect();
    let n: u64 = shape.iter().product();
    tensor["shape"] = match below(rng, 6) {
        0 => json!([n]),
        1 => json!([n, 1]),
        2 => json!([1, n]),
        3 => json!([0, n]),
        4 => json!(shape.iter().rev().collect::<Vec<_>>()),
        _ => json!([1, n, 1]),
    };
    if one_in(rng, 4) {
        tensor["dtype"] = json!(pick(rng, &["F32", "U32", "I32", "F16", "I8", "U8", "F64", "BOOL"]));
    }
    header.to_string().into_bytes()
}

fn damaged_rows(file: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut segments = Segments::default();
    segments.push(Kind::Payload, &file[..8]);
    segments.push(Kind::Length, &file[8..16]);
    segments.push(Kind::Length, &file[16..24]);
    file[24..].chunks(8).for_each(|key| segments.push(Kind::Number, key));
    segments.damaged(rng)
}

/// Makes the digests of a manifest those of the files.
pub(crate) fn signed(manifest: &mut Value, parts: &Parts) {
    let Some(listed) = manifest.get_mut("files").and_then(Value::as_object_mut) else { return };
    for (name, bytes) in parts.iter().filter(|(name, _)| name != MANIFEST) {
        if let Some(record) = listed.get_mut(name) {
            *record = json!({"bytes": bytes.len(), "blake3": blake3::hash(bytes).to_hex().to_string()});
        }
    }
    let weights =
        |file: &str| parts.iter().find(|(name, _)| name == file).map_or(&[][..], |(_, bytes)| bytes);
    sign_featurizer(&mut manifest["featurizer"], weights(TENSORS[1]));
    let Some(routers) = manifest.get_mut("parts").and_then(Value::as_object_mut) else { return };
    for (name, router) in routers.iter_mut().filter(|(_, router)| router.is_object()) {
        sign_featurizer(&mut router["featurizer"], weights(&format!("{name}.{}", TENSORS[1])));
    }
}

/// Makes the digest of a featurizer that of its record and its weights.
fn sign_featurizer(record: &mut Value, weights: &[u8]) {
    let mut hasher = blake3::Hasher::new();
    hasher.update(record["name"].as_str().unwrap_or_default().as_bytes());
    hasher.update(&record["dim"].as_u64().unwrap_or_default().to_le_bytes());
    hasher.update(record["settings"].to_string().as_bytes());
    hasher.update(weights);
    if record.is_object() {
        record["digest"] = hasher.finalize().to_hex().to_string().into();
    }
}

struct Artifacts {
    scratch: Scratch,
    wholes: Vec<Parts>,
}

impl Artifacts {
    fn decided(policy: &Policy, parts: &Parts) -> Result<(), String> {
        let featurizer = match policy.router() {
            Ok(router) => &router.featurizer,
            // A program of several steps decides by its machine.
            Err(error) => return refused(&error, parts).map(|_| ()),
        };
        let dim = if featurizer.reads_vector() { featurizer.dim().min(1 << 16) } else { 0 };
        let vector: Vec<f32> = (0..dim).map(|at| at as f32 * 0.25 - 1.0).collect();
        let objective = Objective { quality: 1.0, cost: 20.0, latency: 0.1 };
        let constraints = Constraints { max_cost_usd: Some(0.01), ..Constraints::default() };
        let requests = [
            Request::default(),
            Request { source: Some("code"), objective: Some(objective), seed: 7, ..Request::default() },
            Request { constraints, price: 3.0, seed: u64::MAX, ..Request::default() },
        ];
        for (text, request) in ["", "sort a list of words", "\u{e9}\0 \u{1f600}"].into_iter().zip(requests) {
            let input = FeatureInput { text, vector: Some(&vector).filter(|_| dim > 0).map(Vec::as_slice) };
            match policy.decide(&Request { input, ..request }) {
                Ok(decision) => is_sound(&decision)?,
                Err(error) => drop(refused(&error, parts)?),
            }
        }
        Ok(())
    }
}

/// Checks the law of a decision.
pub(crate) fn is_sound(decision: &Decision) -> Result<(), String> {
    let sum: f64 = decision.candidates.iter().map(|candidate| f64::from(candidate.propensity)).sum();
    let chosen = decision.candidates.get(decision.arm).ok_or("no arm was chosen")?;
    let finite = decision.candidates.iter().all(|candidate| {
        // An infinite standard error says that nothing is known.
        let se = candidate.score_se.is_none_or(|se| se >= 0.0);
        candidate.score.is_finite() && se && candidate.cost_usd.is_none_or(f32::is_finite)
    });
    let allowed = |p: f32| (0.0..=1.000_001).contains(&p);
    let is_law =
        (sum - 1.0).abs() < 1e-5 && decision.candidates.iter().all(|candidate| allowed(candidate.propensity));
    match is_law && finite && chosen.propensity > 0.0 && chosen.excluded_by.is_none() {
        true => Ok(()),
        false => Err(format!("a decision is {decision:?}")),
    }
}

impl Target for Artifacts {
    const NAME: &'static str = "artifact";
    const CASES: u64 = 3000;
    const MEMORY: usize = 16 << 20;

    fn input(&mut self, rng: &mut Rng) -> Parts {
        let mut parts = pick(rng, &self.wholes).clone();
        let mut manifest: Value = serde_json::from_slice(&parts[0].1).unwrap();
        let what = below(rng, 8);
        match what {
            0 | 1 => parts[1].1 = damaged_tensors(&parts[1].1, rng),
            2 => parts[2].1 = damaged_tensors(&parts[2].1, rng),
            3 => parts[3].1 = damaged_rows(&parts[3].1, rng),
            4 => drop(parts.remove(1 + below(rng, 3))),
            _ => {}
        }
        if what >= 5 {
            // What the form, the featurizer and the selector are made with is most worth damaging.
            let place =
                *pick(rng, &["/form", "/form/config", "/featurizer", "/selector", "/arms", "/data", ""]);
            let target = manifest.pointer_mut(place).unwrap();
            let damaged = Json::damaged(target, &NAMES, rng);
            // What serde cannot hold goes in as it is written.
            match serde_json::from_slice(&damaged) {
                Ok(value) => *target = value,
                Err(_) => {
                    let mut text = manifest.to_string().into_bytes();
                    bytes::damage(&mut text, rng);
                    parts[0].1 = text;
                    return parts;
                }
            }
        }
        if !one_in(rng, 20) {
            signed(&mut manifest, &parts);
        }
        parts[0].1 = manifest.to_string().into_bytes();
        parts
    }

    fn feed(&mut self, parts: &Parts) -> Result<Verdict, String> {
        let path = self.scratch.path("policy");
        for name in [MANIFEST, TENSORS[0], TENSORS[1], ROWS] {
            // What an earlier case left is not this one's.
            let _none = std::fs::remove_file(path.join(name));
        }
        self.scratch.write_all("policy", parts);
        match artifact::load(&path) {
            Ok(policy) => Self::decided(&policy, parts).map(|()| Verdict::Accepted),
            Err(error) => refused(&error, parts),
        }
    }
}

#[test]
fn artifacts_of_policies() {
    let scratch = Scratch::new();
    let wholes = wholes(&scratch);
    attack(Artifacts { scratch, wholes });
}
