//! `routewright policy promote|rollback|retire|history`: a version goes from candidate to active, on evidence.
//!
//! What gets requests decided (a canary, a new active version) must be better than the active version on logged
//! decisions: the assessment of `routewright ope` must be trusted, and the lower bound of the paired difference above
//! 0. Otherwise it is refused in words, exit code 1, and the audit has a line of it.

use super::ope::Unseen;
use super::{date, output, query_text};
use anyhow::Context;
use clap::Args;
use routewright_data::decisions::RewardRule;
use routewright_policy::{Policy, artifact};
use routewright_policy_server::ledger::{ExportOptions, SqliteStore, export};
use routewright_policy_server::registry::{
    Ask, AuditLine, Grounds, Outcome, Registry, RegistryError, Slot, Target, Verb,
};
use routewright_trainer::ope::{Assessment, Estimate, OpeError, OpeOptions, assess};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Rows of an exported file.
const ROWS_PER_FILE: u64 = 1_000_000;

/// Arguments of `policy promote`.
#[derive(Debug, Args)]
pub(crate) struct PromoteCommand {
    /// Folder of the registry; created if missing.
    #[arg(long, value_name = "DIR")]
    registry: PathBuf,
    /// Folder of the artifact, or the version of one in the registry.
    #[arg(long, value_name = "ARTIFACT")]
    policy: PathBuf,
    /// candidate, shadow, canary:P or active.
    #[arg(long, value_name = "STATE")]
    to: Target,
    /// Decision log the evidence is taken from.
    #[arg(long, value_name = "DECISIONS", requires = "feedback", conflicts_with = "store")]
    log: Option<PathBuf>,
    /// Feedback log.
    #[arg(long, value_name = "FEEDBACK", requires = "log")]
    feedback: Option<PathBuf>,
    /// Store of a server, instead of logs; the server may be running.
    #[arg(long, value_name = "FILE")]
    store: Option<PathBuf>,
    #[command(flatten)]
    evidence: EvidenceArguments,
    /// Promote regardless of the evidence; requires `--reason`.
    #[arg(long, requires = "reason")]
    force: bool,
    /// Why, for the audit.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
}

/// How the evidence is weighed, as in `ope`.
#[derive(Debug, Args)]
struct EvidenceArguments {
    /// Kind of feedback that is the reward; higher must be better.
    #[arg(long, value_name = "KIND", default_value = "score")]
    metric: String,
    /// Score given up to save one US dollar.
    #[arg(long, value_name = "LAMBDA", default_value_t = 0.0)]
    cost_weight: f64,
    /// Value of decisions without feedback, which are skipped otherwise.
    #[arg(long, value_name = "VALUE", allow_negative_numbers = true)]
    default_reward: Option<f64>,
    #[command(flatten)]
    unseen: Unseen,
}

/// Arguments of `policy rollback`.
#[derive(Debug, Args)]
pub(crate) struct RollbackCommand {
    /// Folder of the registry.
    #[arg(long, value_name = "DIR")]
    registry: PathBuf,
    /// Why, for the audit.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
}

/// Arguments of `policy retire`.
#[derive(Debug, Args)]
pub(crate) struct RetireCommand {
    /// Folder of the registry.
    #[arg(long, value_name = "DIR")]
    registry: PathBuf,
    /// Version, at least 12 digits of its digest, or the folder of its artifact.
    #[arg(long, value_name = "VERSION")]
    policy: PathBuf,
    /// Why, for the audit.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
}

/// Arguments of `policy history`.
#[derive(Debug, Args)]
pub(crate) struct HistoryCommand {
    /// Folder of the registry.
    #[arg(long, value_name = "DIR")]
    registry: PathBuf,
}

/// What the logs say of a version.
struct Weighed {
    numbers: Value,
    /// Why it is not enough, in words.
    refusal: Option<String>,
}

impl Weighed {
    /// Logs that say nothing at all.
    fn nothing(why: String) -> Self {
        Self { numbers: json!({ "trusted": false, "refusals": [&why] }), refusal: Some(why) }
    }
}

impl PromoteCommand {
    /// Promotes, or refuses: exit code 1.
    ///
    /// # Errors
    /// If a policy or a log cannot be read, or the registry cannot be written.
    pub(crate) fn run(self, json: bool) -> anyhow::Result<ExitCode> {
        let registry = Registry::at(&self.registry);
        let slot = registry.read()?;
        let (digest, path) = version(&registry, &slot, &self.policy)?;
        let weighed = self.weigh(&registry, &slot, path.as_deref(), &digest)?;
        let (numbers, refusal) = weighed.map_or((None, None), |w| (Some(w.numbers), w.refusal));
        let grounds = match (self.force, numbers) {
            (true, numbers) => Grounds::Forced(numbers),
            (false, Some(numbers)) => Grounds::Evidence(numbers),
            (false, None) => Grounds::Nothing,
        };
        let verb = Verb::Promote { digest, path, to: self.to };
        let ask = Ask { who: who(), verb, reason: self.reason, grounds, revision: Some(slot.revision) };
        match refusal.filter(|_| !self.force) {
            Some(why) => {
                registry.refuse(&ask, &why)?;
                refused(&why, json, Some(&ask.grounds))
            }
            None => apply(&registry, &ask, json),
        }
    }

    /// Weighs the logs where there are any and somebody to compare with.
    fn weigh(
        &self,
        registry: &Registry,
        slot: &Slot,
        path: Option<&Path>,
        digest: &str,
    ) -> anyhow::Result<Option<Weighed>> {
        let Some(active) = slot.active().filter(|active| active.digest != digest) else { return Ok(None) };
        let exported = tempfile::tempdir()?;
        let (log, feedback) = match (&self.log, &self.feedback, &self.store) {
            (Some(log), Some(feedback), _) => (log.clone(), feedback.clone()),
            (_, _, Some(store)) => match from_store(store, exported.path())? {
                Ok(logs) => logs,
                Err(nothing) => return Ok(Some(nothing)),
            },
            _ => return Ok(None),
        };
        let own = match path {
            Some(path) => registry.dir().join(path),
            None => registry.artifact(slot.find(digest).map_err(anyhow::Error::msg)?),
        };
        let (target, baseline) = (artifact::load(&own)?, artifact::load(&registry.artifact(active))?);
        registered(&target, digest)?;
        registered(&baseline, &active.digest)?;
        let arguments = &self.evidence;
        anyhow::ensure!(
            arguments.cost_weight.is_finite() && arguments.cost_weight >= 0.0,
            "`--cost-weight` is `{}`, expected a number of at least 0",
            arguments.cost_weight
        );
        let options = OpeOptions {
            metric: arguments.metric.clone(),
            reward: RewardRule { default: arguments.default_reward, cost_weight: arguments.cost_weight },
            cross_fit: arguments.unseen.folds(),
            unseen: arguments.unseen.unseen,
            ..OpeOptions::default()
        };
        query_text::check(&target, &log)?;
        match assess(&log, &feedback, &target, Some(&baseline), &options) {
            Ok(found) => Ok(Some(judge(&found))),
            Err(nothing @ OpeError::NoRounds { .. }) => Ok(Some(Weighed::nothing(nothing.to_string()))),
            Err(error) => Err(error.into()),
        }
    }
}

/// The file on disk must still be what was registered.
fn registered(policy: &Policy, digest: &str) -> anyhow::Result<()> {
    let found = &policy.digest;
    anyhow::ensure!(found == digest, "the artifact has digest `{found}`, the registry says `{digest}`");
    Ok(())
}

/// Exports a store; returns its decision log and its feedback log, or that it says nothing.
fn from_store(store: &Path, out: &Path) -> anyhow::Result<Result<(PathBuf, PathBuf), Weighed>> {
    let options = ExportOptions { config: None, rows_per_file: ROWS_PER_FILE, now_ms: date::now_ms() };
    let summary = export(&mut SqliteStore::open_existing(store)?, out, &options)?;
    let (decisions, feedback) = (summary.decisions, summary.feedback);
    if decisions == 0 || feedback == 0 {
        let store = store.display();
        let why = format!(
            "store `{store}` holds {decisions} decisions and {feedback} reports, expected some of both"
        );
        return Ok(Err(Weighed::nothing(why)));
    }
    Ok(Ok((out.join("decisions"), out.join("feedback"))))
}

/// Whether an assessment is enough, and what it says in numbers.
fn judge(found: &Assessment) -> Weighed {
    let headline = |estimate: &&Estimate| estimate.estimator == found.headline;
    let gain = found.estimates.iter().find(headline).and_then(|estimate| estimate.vs_baseline);
    let difference = gain.map(|gain| gain.difference);
    let interval = gain.and_then(|gain| gain.interval);
    let numbers = json!({
        "metric": found.metric, "cost_weight": found.cost_weight, "estimator": found.headline,
        "difference": difference, "interval": interval, "lower_bound": found.lower_bound,
        "rounds": found.counts.rounds, "ess": found.overlap.ess, "clusters": found.overlap.clusters,
        "trained_on": found.counts.trained_on, "unseen": found.unseen, "cross_fit": found.cross_fit,
        "estimated": found.counts.estimated,
        "trusted": found.verdict.is_trusted, "refusals": found.verdict.refusals,
        "warnings": found.verdict.warnings,
    });
    let refusal = if !found.verdict.is_trusted {
        Some(format!("the logs say too little: {}", found.verdict.refusals.join("; ")))
    } else if found.counts.estimated > 0 {
        Some(format!(
            "the propensities of {} of {} rounds were estimated: a rule of the gateway that prompt and source do not \
             show could be all of the difference; log decisions with their propensities, or promote a canary by \
             `--force` and watch it",
            found.counts.estimated, found.counts.rounds
        ))
    } else if found.lower_bound.is_some_and(|bound| bound > 0.0) {
        None
    } else {
        let number = |value: Option<f64>| value.map_or_else(|| "unknown".to_owned(), |v| format!("{v:.4}"));
        Some(format!(
            "it is not shown to be better than the active policy: the difference in {} is {} by {}, at least {} and \
             at most {} (95 %) on {} rounds, and the lower bound must be above 0",
            found.metric,
            number(difference),
            found.headline,
            number(interval.map(|[low, _]| low)),
            number(interval.map(|[_, high]| high)),
            found.counts.rounds
        ))
    };
    Weighed { numbers, refusal }
}

impl RollbackCommand {
    /// Retires the canary, or brings the former active version back.
    ///
    /// # Errors
    /// If the registry cannot be read or written.
    pub(crate) fn run(self, json: bool) -> anyhow::Result<ExitCode> {
        let ask = Ask {
            who: who(),
            verb: Verb::Rollback,
            reason: self.reason,
            grounds: Grounds::Nothing,
            revision: None,
        };
        apply(&existing(&self.registry)?, &ask, json)
    }
}

impl RetireCommand {
    /// Retires a version.
    ///
    /// # Errors
    /// If the version is not known, or the registry cannot be read or written.
    pub(crate) fn run(self, json: bool) -> anyhow::Result<ExitCode> {
        let registry = existing(&self.registry)?;
        let (digest, _) = version(&registry, &registry.read()?, &self.policy)?;
        let verb = Verb::Promote { digest, path: None, to: Target::Retired };
        let ask = Ask { who: who(), verb, reason: self.reason, grounds: Grounds::Nothing, revision: None };
        apply(&registry, &ask, json)
    }
}

impl HistoryCommand {
    /// Prints the slot and every line of the audit.
    ///
    /// # Errors
    /// If the registry or its audit cannot be read.
    pub(crate) fn run(self, json: bool) -> anyhow::Result<ExitCode> {
        let registry = existing(&self.registry)?;
        let (slot, history) = (registry.read()?, registry.history()?);
        if json {
            output::say_json(&json!({ "slot": slot, "history": history }))?;
            return Ok(ExitCode::SUCCESS);
        }
        output::say(&describe(&slot));
        for line in &history {
            output::say(&told(line));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The registry in a folder; a mistyped one is not made.
fn existing(dir: &Path) -> anyhow::Result<Registry> {
    anyhow::ensure!(
        dir.is_dir(),
        "`{}` is no folder of a registry; `policy promote` makes one",
        dir.display()
    );
    Ok(Registry::at(dir))
}

/// Digest of what `--policy` names, and where its artifact is if it is a folder.
fn version(registry: &Registry, slot: &Slot, named: &Path) -> anyhow::Result<(String, Option<PathBuf>)> {
    if named.is_dir() {
        let digest = artifact::load(named)?.digest;
        return Ok((digest, Some(kept_path(registry.dir(), named)?)));
    }
    let text = named.to_str().unwrap_or_default();
    let found = slot.find(text).map_err(anyhow::Error::msg);
    let found =
        found.with_context(|| format!("`{}` is not the folder of an artifact either", named.display()))?;
    Ok((found.digest.clone(), None))
}

/// The path as the registry keeps it: relative where the artifact lies within, so that both can move together.
fn kept_path(registry: &Path, artifact: &Path) -> anyhow::Result<PathBuf> {
    let absolute =
        |path: &Path| path.canonicalize().with_context(|| format!("cannot resolve `{}`", path.display()));
    let artifact = absolute(artifact)?;
    if !registry.exists() {
        return Ok(artifact);
    }
    let within = artifact.strip_prefix(absolute(registry)?).map(Path::to_path_buf);
    Ok(within.unwrap_or(artifact))
}

/// Who is named in the audit.
fn who() -> String {
    std::env::var("USER").map_or_else(|_| "cli".to_owned(), |user| format!("cli:{user}"))
}

fn apply(registry: &Registry, ask: &Ask, json: bool) -> anyhow::Result<ExitCode> {
    match registry.apply(ask) {
        Ok(slot) if json => output::say_json(&slot)?,
        Ok(slot) => output::say(&describe(&slot)),
        Err(RegistryError::Refused(why)) => return refused(&why, json, None),
        Err(error) => return Err(error.into()),
    }
    Ok(ExitCode::SUCCESS)
}

fn refused(why: &str, json: bool, grounds: Option<&Grounds>) -> anyhow::Result<ExitCode> {
    let evidence = if let Some(Grounds::Evidence(numbers)) = grounds { numbers.clone() } else { Value::Null };
    if json {
        output::say_json(&json!({ "refused": why, "evidence": evidence }))?;
    } else {
        output::say(&format!("refused: {why}"));
    }
    Ok(ExitCode::from(1))
}

fn describe(slot: &Slot) -> String {
    let line = |entry: &routewright_policy_server::registry::Entry| {
        let share = entry.share.map_or_else(String::new, |share| format!(" of {share}"));
        let reason = if entry.reason.is_empty() { String::new() } else { format!("  {}", entry.reason) };
        format!("{:<12} {}{share}{reason}", entry.version(), entry.state)
    };
    slot.entries.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn told(line: &AuditLine) -> String {
    let version = line.digest.as_deref().map_or("-", |digest| digest.get(..12).unwrap_or(digest));
    let unknown = if line.digest.is_some() { "new" } else { "-" };
    let from = line.from.map_or_else(|| unknown.to_owned(), |state| state.to_string());
    let outcome = match line.outcome {
        Outcome::Done if line.forced => "forced",
        Outcome::Done => "done",
        Outcome::Refused => "refused",
        Outcome::Failed => "failed",
    };
    let why = [line.reason.as_str(), line.refusal.as_str()];
    let why: Vec<&str> = why.into_iter().filter(|text| !text.is_empty()).collect();
    let (at, who, action, to) = (date::at(line.at_ms), &line.who, &line.action, &line.to);
    let told = format!("{at}  {who}  {action} {version} {from} -> {to}: {outcome}  {}", why.join("; "));
    told.trim_end().to_owned()
}
