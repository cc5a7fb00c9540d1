//! `routewright bench [fit|knn|step|bandit|pacing|route|feedback|ingest|ope|fusion|all]`: our processor time beside a
//! named peer's, measured in one run.
//!
//! Rounds of both sides alternate; every figure is the median of its rounds and a ratio the median of the
//! rounds' ratios. Time is that of the processor, not of the clock on the wall, so that a busy machine
//! disturbs little; its load is printed all the same. A peer is a Python script shipped with the binary
//! (`peers/`); without an interpreter that can run it our column is alone and the skip is reported loudly.
//!
//! Exit code 1 says that a target was missed.

mod bandit;
mod feedback;
mod fit;
mod fusion;
mod ingest;
mod knn;
mod load;
mod measure;
mod npy;
mod ope;
mod pacing;
mod peer;
mod policies;
mod report;
mod route;
mod settings;
mod step;

use settings::Settings;

use super::output;
use anyhow::Context;
use clap::{Args, ValueEnum};
use peer::Interpreters;
use report::Report;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `bench`.
#[derive(Debug, Args)]
pub(crate) struct BenchCommand {
    /// What to measure.
    #[arg(value_enum, default_value_t = What::All)]
    what: What,
    /// Python with the packages of a peer (scikit-learn; faiss, hnswlib, numpy; torch; paretobandit, mabwiser,
    /// vowpalwabbit; obp; scipy and, where it is there, torch for `fusion`); may be given several times, the first
    /// that can run a peer is taken
    #[arg(long, value_name = "PY")]
    python: Vec<PathBuf>,
    /// Folder whose `fit.py`, `knn.py`, `step.py`, `bandit.py`, `ingest.py`, `ope.py` or `fusion.py` is run in
    /// place of the script shipped
    #[arg(long, value_name = "DIR", requires = "python")]
    peers: Option<PathBuf>,
    /// Folder with `ref.npy` and `ann_queries.npy`, f32 rows of unit norm [default: generated]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Folder with `llama-spm.gguf` and `gpt-2.gguf`, whose vocabularies `fusion` unites [default: generated]
    #[arg(long, value_name = "DIR")]
    vocabularies: Option<PathBuf>,
    /// Rounds of each side
    #[arg(long, value_name = "N", default_value = "5")]
    rounds: NonZeroUsize,
    /// Rows searched by `knn` and by the k nearest neighbors of `route`
    #[arg(long, value_name = "N", default_value = "36000")]
    rows: NonZeroUsize,
    /// Logged rounds that `ope` estimates from, and `ingest` reads (at most 200,000)
    #[arg(long, value_name = "N", default_value = "1000000")]
    decisions: NonZeroUsize,
    /// Serve the bare echo that `route` is held against, until killed
    #[arg(long, hide = true)]
    echo: bool,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// The default features, beside scikit-learn's TF-IDF and truncated SVD.
    Fit,
    /// Nearest neighbors, beside faiss flat, NumPy and hnswlib.
    Knn,
    /// A RouterDC training step, beside PyTorch.
    Step,
    /// Rounds of a linear bandit, beside ParetoBandit, MABWiser, Vowpal Wabbit (regret) and a NumPy loop.
    Bandit,
    /// Spend against its target under missing, late and repeated feedback, beside ParetoBandit.
    Pacing,
    /// `POST /v1/route`, over a bare axum echo; Linux only.
    Route,
    /// Durable feedback a second, and what the store adds to the latency of a decision.
    Feedback,
    /// Logged decisions and rewards read and joined, beside Vowpal Wabbit reading dsjson.
    Ingest,
    /// Off-policy estimators, beside the Open Bandit Pipeline.
    Ope,
    /// A step of fusion, beside sparse products as in GaC.
    Fusion,
    /// All of them.
    All,
}

impl BenchCommand {
    /// Measures, then prints the table.
    ///
    /// # Errors
    /// If our own side fails; a peer that fails is skipped.
    pub(crate) fn run(self, json: bool) -> anyhow::Result<ExitCode> {
        if self.echo {
            return route::echo();
        }
        let work = tempfile::tempdir().context("cannot make a temporary folder for the peers' scripts")?;
        let settings = Settings {
            interpreters: Interpreters::new(self.python, self.peers, work.path().to_owned()),
            data: self.data,
            vocabularies: self.vocabularies,
            rounds: self.rounds.get(),
            rows: self.rows.get(),
            decisions: self.decisions.get(),
        };
        let mut report = Report::start(settings.rounds);
        let wanted = |what| self.what == what || self.what == What::All;
        if wanted(What::Fit) {
            fit::run(&settings, &mut report)?;
        }
        if wanted(What::Knn) {
            knn::run(&settings, &mut report)?;
        }
        if wanted(What::Step) {
            step::run(&settings, &mut report);
        }
        if wanted(What::Bandit) {
            bandit::run(&settings, &mut report)?;
        }
        if wanted(What::Pacing) {
            pacing::run(&settings, &mut report)?;
        }
        if wanted(What::Route) {
            route::run(&settings, &mut report)?;
        }
        if wanted(What::Feedback) {
            feedback::run(&settings, &mut report)?;
        }
        if wanted(What::Ingest) {
            ingest::run(&settings, &mut report)?;
        }
        if wanted(What::Ope) {
            ope::run(&settings, &mut report)?;
        }
        if wanted(What::Fusion) {
            fusion::run(&settings, &mut report)?;
        }
        report.finish();
        if json {
            output::say_json(&report)?;
        } else {
            output::say(&report.text());
        }
        Ok(if report.missed() { ExitCode::from(1) } else { ExitCode::SUCCESS })
    }
}
