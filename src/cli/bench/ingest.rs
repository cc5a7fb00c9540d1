//! Logged decisions and their rewards, read, checked and joined, beside Vowpal Wabbit reading the same events as
//! dsjson.
//!
//! Ours once from the two Parquet logs that a server writes, which is what `ope` and `train --decisions` read, and
//! once from the same dsjson file, which is an import: reading and writing the logs. Only the last is like for like
//! and judged: both sides parse the same text and learn nothing. The Parquet rows show what a store of columns saves.

use super::measure::{Rounds, cpu_seconds};
use super::peer::Script;
use super::report::{Report, Target};
use super::{Settings, output};
use anyhow::{Context, ensure};
use rand::RngExt as _;
use routewright_data::decisions::{Combine, DecisionReader, Outcomes, RewardRule, Rewarded};
use routewright_data::importers::{self, ImportOptions, write_dsjson};
use routewright_data::log::{DecisionRow, FeedbackRow, RowWriter, WriteOptions};
use routewright_data::rng;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const SCRIPT: Script =
    Script { peer: "Vowpal Wabbit", file: "ingest.py", text: include_str!("peers/ingest.py") };
const N_ARMS: usize = 8;
/// Numbers that describe a request.
const DIM: usize = 32;
/// Events at most: as text they are some 1,200 bytes each.
const MOST: usize = 200_000;
const WORDS: [&str; 12] = [
    "sum", "proof", "rhyme", "river", "court", "cell", "vector", "tax", "verb", "orbit", "sorted", "theorem",
];

/// The same events three ways.
struct Logs {
    decisions: PathBuf,
    feedback: PathBuf,
    dsjson: PathBuf,
    n: usize,
}

/// Measures both sides.
///
/// # Errors
/// If the logs cannot be written or read.
pub(super) fn run(settings: &Settings, report: &mut Report) -> anyhow::Result<()> {
    let n = settings.decisions.min(MOST);
    output::tell(&format!("ingest: {n} decisions among {N_ARMS} models, {DIM} features each"));
    let folder = settings.interpreters.work().join("ingest");
    let logs = Logs::write(&folder, n)?;
    let mut peer = settings.interpreters.start(SCRIPT, &[&folder], report);
    let (mut read, mut bare, mut imported) = (Rounds::default(), Rounds::default(), Rounds::default());
    for _ in 0..settings.rounds {
        let spent = cpu_seconds(|| logs.read())?;
        let import = cpu_seconds(|| logs.import(&folder.join("imported")))?;
        let [learning, reading] =
            ["learn", "read"].map(|how| peer.ask(how, report).and_then(|answer| answer["s"].as_f64()));
        let rate = |s: f64| n as f64 / s;
        read.push(rate(spent), learning.map(rate));
        bare.push(rate(spent), reading.map(rate));
        imported.push(rate(import), reading.map(rate));
    }
    let what = |ours: &str, theirs: &str| format!("ingest, {n} decisions {ours}, vs vw {theirs}");
    let (joined, text) = ("and feedback from logs, joined", "from dsjson to logs");
    let unit = "events/cpu s";
    report.row(what(text, "reading dsjson with -t"), unit, &imported, Some(Target::RatioAtLeast(1.0)));
    report.row(what(joined, "reading dsjson with -t"), unit, &bare, None);
    report.row(what(joined, "learning from dsjson"), unit, &read, None);
    Ok(())
}

impl Logs {
    fn write(folder: &Path, n: usize) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create `{}`", folder.display()))?;
        let path = |name: &str| folder.join(name);
        let (decisions, feedback) = (path("decisions.parquet"), path("feedback.parquet"));
        let mut rng = rng::stream(1, "bench ingest");
        let mut decided = RowWriter::create(&decisions, WriteOptions::default())?;
        let mut heard = RowWriter::create(&feedback, WriteOptions::default())?;
        let models: Arc<[String]> = (0..N_ARMS).map(|arm| format!("model-{arm}")).collect();
        for at in 0..n {
            let weights: [f32; N_ARMS] = std::array::from_fn(|_| 0.05 + rng.random::<f32>());
            let total: f32 = weights.iter().sum();
            let propensities: Vec<f32> = weights.iter().map(|w| w / total).collect();
            let chosen = rng.random_range(0..N_ARMS);
            let words: Vec<&str> = (0..8).map(|_| WORDS[rng.random_range(0..WORDS.len())]).collect();
            let row = DecisionRow {
                decision_id: format!("dec_{at:032x}"),
                timestamp_ms: 1_764_000_000_000 + at as i64,
                policy: "main".into(),
                policy_version: "3".into(),
                policy_digest: "0".repeat(64).into(),
                candidates: Arc::clone(&models),
                propensity: f64::from(propensities[chosen]),
                propensities,
                model: models[chosen].clone(),
                seed: rng.random::<u32>().into(),
                source: Some(["math", "prose", "law"][at % 3].to_owned()),
                prompt: Some(words.join(" ")),
                features: Some((0..DIM).map(|_| rng.random::<f32>() - 0.5).collect()),
                ..DecisionRow::default()
            };
            heard.push(FeedbackRow {
                outcome_id: format!("out_{at:032x}"),
                decision_id: row.decision_id.clone(),
                timestamp_ms: row.timestamp_ms + 5000,
                kind: "score".to_owned(),
                value: Some(rng.random()),
                cost_usd: Some(0.001),
                latency_ms: None,
            })?;
            decided.push(row)?;
        }
        decided.finish()?;
        heard.finish()?;
        let dsjson = path("events.dsjson");
        let outcomes = Outcomes::load(&feedback, "score", Combine::default())?;
        let rule = RewardRule { default: None, cost_weight: 0.0 };
        write_dsjson(&decisions, &outcomes, &rule, &dsjson)?;
        Ok(Self { decisions, feedback, dsjson, n })
    }

    /// Every decision, checked, with its reward.
    fn read(&self) -> anyhow::Result<()> {
        let outcomes = Outcomes::load(&self.feedback, "score", Combine::default())?;
        let rule = RewardRule { default: None, cost_weight: 0.0 };
        let mut rewarded = 0;
        for rows in DecisionReader::open(&self.decisions)? {
            let has_reward = |row: &&DecisionRow| matches!(rule.apply(row, &outcomes), Rewarded::Reward(_));
            rewarded += rows?.iter().filter(has_reward).count();
        }
        ensure!(rewarded == self.n, "{rewarded} of {} decisions have a reward", self.n);
        Ok(())
    }

    fn import(&self, out: &Path) -> anyhow::Result<()> {
        let inputs = std::slice::from_ref(&self.dsjson);
        let summary = importers::import("dsjson", inputs, out, &ImportOptions::default())?;
        ensure!(summary.rows == self.n as u64, "{} of {} events were imported", summary.rows, self.n);
        Ok(())
    }
}
