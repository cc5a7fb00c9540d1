//! A log from nothing: prompts asked of models, answers scored by rules.
//!
//! [`collect`] reads the prompts and the table of models whole, makes the calls that its journal does not have yet,
//! then writes the log of all that the journal holds under its name, whole or not at all. Killed at any instant and
//! run again, it asks nothing twice but the calls that were under way, and loses no answer. Scores are made from the
//! journal each time, so that another rule asks nothing again.
//!
//! | file | what it does |
//! |---|---|
//! | `prompts`, `members` | what is asked, and of whom |
//! | `job`, `variants` | the requests, each with its key |
//! | `run`, `call`, `local` | calls and tries; `pace` and `purse` hold them back, `journal` keeps them |
//! | `rule`, `code`, `sandbox` | scores of answers |
//! | `rows` | the log |

mod call;
mod code;
mod error;
mod job;
mod journal;
mod local;
mod members;
mod pace;
mod prompts;
mod purse;
mod reply;
mod rows;
mod rule;
mod run;
mod sandbox;
mod variants;

pub use error::CollectError;
pub use rows::ModelSummary;
pub use run::{Heard, Progress, Stopped};
pub use sandbox::{CodeLimits, Isolation};

use job::{Asks, Checked, Job};
use journal::{Came, Journal};
use members::Member;
use pace::Pace;
use prompts::{Prompts, Query};
use purse::Purse;
use routewright_data::files;
use rows::Scoring;
use rule::Rule;
use run::{Jobs, Run};
use sandbox::Sandbox;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use variants::Variant;

/// Nano-USD of a dollar.
const NANO: f64 = 1e9;
/// Samples of a query at most.
const SAMPLES_MAX: u32 = 10_000;
/// Bytes of a template at most.
const TEMPLATE_BYTES_MAX: u64 = 1 << 20;

/// What is collected, and how.
#[derive(Debug, Clone)]
pub struct CollectOptions {
    /// JSON lines of prompts.
    pub prompts: PathBuf,
    /// TOML file of sections `[models.NAME]`.
    pub models: PathBuf,
    /// Names of the sections that answer; empty means all.
    pub only: Vec<String>,
    /// Log to write, a Parquet file; the journal lies beside it.
    pub out: PathBuf,
    /// Answers of each model to a query, at least 1.
    pub samples: u32,
    /// Rule of scoring of prompts that name none.
    pub score: Option<String>,
    /// Times that each answer is checked by its own model.
    pub verify: u32,
    /// File of prompt templates; `None` asks every query as it is.
    pub variants: Option<PathBuf>,
    /// File of the judge's prompt; `None` is a built-in one.
    pub judge_prompt: Option<PathBuf>,
    /// File of the prompt of self-verification; `None` is a built-in one.
    pub verify_prompt: Option<PathBuf>,
    /// Most that all calls may cost, those of earlier runs included, US dollars.
    pub budget_usd: Option<f64>,
    /// Tries of a call, at least 1.
    pub attempts: u32,
    /// Failed calls in a row after which a model is asked no more, at least 1.
    pub give_up: u32,
    /// Whether calls that failed in an earlier run are made again.
    pub retry_failed: bool,
    /// Whether log-probabilities are asked for.
    pub logprobs: bool,
    /// Seed of the seeds that are sent; `None` sends none.
    pub seed: Option<u64>,
    /// The interpreter of the rule `code`.
    pub python: PathBuf,
    /// What the code of an answer may use.
    pub code: CodeLimits,
}

impl CollectOptions {
    /// The defaults for prompts, a table of models and a log.
    pub fn new(prompts: impl Into<PathBuf>, models: impl Into<PathBuf>, out: impl Into<PathBuf>) -> Self {
        Self {
            prompts: prompts.into(),
            models: models.into(),
            only: Vec::new(),
            out: out.into(),
            samples: 1,
            score: None,
            verify: 0,
            variants: None,
            judge_prompt: None,
            verify_prompt: None,
            budget_usd: None,
            attempts: 5,
            give_up: 10,
            retry_failed: false,
            logprobs: false,
            seed: None,
            python: "python3".into(),
            code: CodeLimits::default(),
        }
    }
}

/// What a collection has come to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CollectSummary {
    /// Rows of the log; no log is written where there is none.
    pub rows: u64,
    /// Queries asked.
    pub queries: usize,
    /// Answers of each model to a query.
    pub samples: u32,
    /// What became of each model.
    pub models: Vec<ModelSummary>,
    /// US dollars spent, by earlier runs and on judges and verifications too; an upper bound where calls broke off.
    pub spent_usd: f64,
    /// The budget.
    pub budget_usd: Option<f64>,
    /// Why the collection is not whole, where it was stopped.
    pub stopped: Option<Stopped>,
    /// How code was kept from the machine, where any was run.
    pub isolation: Option<Isolation>,
    /// Lines of the journal that could not be read.
    pub damaged_lines: u64,
}

/// Collects: asks what the journal does not have, then writes the log. `environment` finds the keys that the table of
/// models names; `interrupt`, raised by another thread, ends it early.
///
/// # Errors
/// If an input is not accepted, or a file cannot be read or written. Calls that fail are rows, not errors.
pub async fn collect(
    options: &CollectOptions,
    environment: &(dyn Fn(&str) -> Option<String> + Sync),
    heard: Heard,
    interrupt: Arc<AtomicBool>,
) -> Result<CollectSummary, CollectError> {
    check(options)?;
    let rule = options.score.as_deref().map(str::parse::<Rule>).transpose().map_err(CollectError::Options)?;
    let prompts = Arc::new(Prompts::read(&options.prompts, rule.as_ref())?);
    let members = members::load(&options.models, environment)?;
    let answering = answering(options, &members)?;
    check_judges(&prompts, &members)?;
    if options.budget_usd.is_some()
        && let Some(member) = unpriced(&members, &answering, &prompts)
    {
        return Err(CollectError::Options(format!(
            "cannot keep a budget: model `{}` has no prices, expected `input_usd_per_mtok` and `output_usd_per_mtok`",
            member.name
        )));
    }
    let asks = asks(options, &members)?;
    let sandbox = sandbox(options, &prompts, &asks)?;
    let journal = Journal::open(&Journal::beside(&options.out))?;
    let (spent, damaged_lines) = (journal.spent, journal.n_damaged);
    // Rounded down: the budget is never exceeded.
    let limit = options.budget_usd.map(|usd| (usd * NANO) as u64);
    let per_query: u64 = answering.iter().map(|at| u64::from(asks.n_samples(&members[*at]))).sum();
    let total = per_query * prompts.queries.len() as u64;
    let run = Arc::new(Run {
        paces: members.iter().map(|m| Pace::new(m.asking.requests_per_minute, options.give_up)).collect(),
        members,
        journal,
        purse: Purse::new(limit, spent),
        attempts: options.attempts,
        retry_failed: options.retry_failed,
        interrupt,
        is_broke: AtomicBool::new(false),
        progress: Mutex::new(Progress { total, nano_usd: spent, ..Progress::default() }),
        heard,
    });
    let plan = Plan { prompts, asks, answering, verify: options.verify };
    plan.play(&run).await?;
    let scored: Vec<Member> = plan.answering.iter().map(|at| run.members[*at].clone()).collect();
    let scoring = Scoring {
        members: &run.members,
        asks: &plan.asks,
        journal: &run.journal,
        sandbox: sandbox.as_ref(),
        n_verify: options.verify,
    };
    let (rows, mut models) = scoring.write(&plan.prompts, &scored, &options.out)?;
    for (summary, at) in models.iter_mut().zip(&plan.answering) {
        summary.given_up = run.paces[*at].is_given_up();
    }
    Ok(CollectSummary {
        rows,
        queries: plan.prompts.queries.len(),
        samples: options.samples,
        models,
        spent_usd: run.purse.spent() as f64 / NANO,
        budget_usd: options.budget_usd,
        stopped: run.stopped(),
        isolation: sandbox.map(|sandbox| sandbox.isolation),
        damaged_lines,
    })
}

/// The calls of a collection.
struct Plan {
    prompts: Arc<Prompts>,
    asks: Asks,
    /// The models that answer, by number.
    answering: Vec<usize>,
    verify: u32,
}

impl Plan {
    /// Answers first; then what is asked about them.
    async fn play(&self, run: &Arc<Run>) -> Result<(), CollectError> {
        let (prompts, asks) = (Arc::clone(&self.prompts), self.asks.clone());
        let (answering, shared) = (self.answering.clone(), Arc::clone(run));
        let jobs: Jobs = Arc::new(move |member, at| {
            let by = &shared.members[member];
            let samples = asks.n_samples(by) as usize;
            let query = prompts.queries.get(at / samples).filter(|_| answering.contains(&member))?;
            let sample = u32::try_from(at % samples).unwrap_or_default();
            Some(Ok(Some(asks.answer(by, query, sample))))
        });
        run.play(&jobs).await?;
        let has_judges = self.prompts.queries.iter().any(|query| matches!(query.rule, Some(Rule::Judge(_))));
        if has_judges || self.verify > 0 {
            self.expect_checks(run)?;
            run.play(&self.checks(run)).await?;
        }
        Ok(())
    }

    /// Every model and sample that answers a query.
    fn cells(&self, run: &Run) -> Vec<(usize, u32)> {
        let of = |at: &usize| {
            let (at, n) = (*at, self.asks.n_samples(&run.members[*at]));
            (0..n).map(move |sample| (at, sample))
        };
        self.answering.iter().flat_map(of).collect()
    }

    /// For each model, the checks of every answer of every query that it may be asked for.
    fn checks(&self, run: &Arc<Run>) -> Jobs {
        let (prompts, asks, cells) = (Arc::clone(&self.prompts), self.asks.clone(), self.cells(run));
        let (verify, shared) = (self.verify as usize, Arc::clone(run));
        let per_answer = verify + 1;
        Arc::new(move |checker, at| {
            let (cell, number) = (at / per_answer, at % per_answer);
            let query = prompts.queries.get(cell / cells.len())?;
            let (member, sample) = cells[cell % cells.len()];
            let answer = Answer { query, member, sample };
            Some(check_of(&shared, &asks, checker, answer, number, verify))
        })
    }

    /// Adds the checks to what there is to do.
    fn expect_checks(&self, run: &Arc<Run>) -> Result<(), CollectError> {
        let mut n = 0_u64;
        for query in &self.prompts.queries {
            for (member, sample) in self.cells(run) {
                let key = self.asks.answer(&run.members[member], query, sample).key;
                if run.journal.ended(&key) == Some(false) {
                    let judges = u64::from(matches!(query.rule, Some(Rule::Judge(_))));
                    n += judges + u64::from(self.verify);
                }
            }
        }
        run.progress.lock().unwrap_or_else(std::sync::PoisonError::into_inner).total += n;
        Ok(())
    }
}

/// An answer that may be checked.
#[derive(Clone, Copy)]
struct Answer<'a> {
    query: &'a Query,
    member: usize,
    sample: u32,
}

/// The check of an answer by a model: the first `verify` numbers are those by itself, the last is the judge's.
fn check_of(
    run: &Run,
    asks: &Asks,
    checker: usize,
    answer: Answer<'_>,
    number: usize,
    verify: usize,
) -> Result<Option<Job>, CollectError> {
    let Answer { query, member, sample } = answer;
    let by = &run.members[checker];
    let is_judge = number == verify && matches!(&query.rule, Some(Rule::Judge(name)) if *name == by.name);
    let is_own = number < verify && checker == member;
    if !is_judge && !is_own {
        return Ok(None);
    }
    let model = run.members[member].name.as_str();
    let key = asks.answer(&run.members[member], query, sample).key;
    let Some(Came::Reply(reply)) = run.journal.came(&key)? else { return Ok(None) };
    let checked = Checked { query, model, sample, text: &reply.text };
    let number = u32::try_from(number).unwrap_or_default();
    Ok(Some(if is_judge { asks.judge(by, checked) } else { asks.verify(by, checked, number) }))
}

fn check(options: &CollectOptions) -> Result<(), CollectError> {
    let refuse = |text: String| Err(CollectError::Options(text));
    if !(1..=SAMPLES_MAX).contains(&options.samples) {
        return refuse(format!(
            "samples are `{}`, expected a number from 1 to {SAMPLES_MAX}",
            options.samples
        ));
    }
    if options.attempts == 0 || options.give_up == 0 {
        return refuse("attempts or failures in a row are `0`, expected at least 1 of each".to_owned());
    }
    if options.verify > SAMPLES_MAX {
        return refuse(format!("verifications are `{}`, expected at most {SAMPLES_MAX}", options.verify));
    }
    if let Some(usd) = options.budget_usd.filter(|usd| !(usd.is_finite() && (0.0..=1e9).contains(usd))) {
        return refuse(format!("budget is `{usd}`, expected US dollars from 0 to 1000000000"));
    }
    if options.out.is_dir() {
        return refuse(format!("`{}` is a folder, expected a file to write", options.out.display()));
    }
    Ok(())
}

/// The models that answer.
fn answering(options: &CollectOptions, members: &[Member]) -> Result<Vec<usize>, CollectError> {
    if options.only.is_empty() {
        return Ok((0..members.len()).collect());
    }
    let find = |name: &String| {
        let names =
            || members.iter().map(|member| format!("`{}`", member.name)).collect::<Vec<_>>().join(", ");
        members.iter().position(|member| member.name == *name).ok_or_else(|| {
            CollectError::Options(format!("no model `{name}` in the table, which has {}", names()))
        })
    };
    let mut found = options.only.iter().map(find).collect::<Result<Vec<_>, _>>()?;
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

fn check_judges(prompts: &Prompts, members: &[Member]) -> Result<(), CollectError> {
    for query in &prompts.queries {
        if let Some(Rule::Judge(name)) = &query.rule
            && !members.iter().any(|member| member.name == *name)
        {
            return Err(CollectError::Options(format!(
                "the rule of query `{}` names the judge `{name}`, expected a model of the table",
                query.id
            )));
        }
    }
    Ok(())
}

/// A model that answers or judges at a price that is not known.
fn unpriced<'a>(members: &'a [Member], answering: &[usize], prompts: &Prompts) -> Option<&'a Member> {
    let judges = |name: &str| {
        prompts.queries.iter().any(|query| matches!(&query.rule, Some(Rule::Judge(judge)) if judge == name))
    };
    let is_asked = |at: usize| answering.contains(&at) || judges(&members[at].name);
    (0..members.len()).find(|at| members[*at].is_unpriced() && is_asked(*at)).map(|at| &members[at])
}

/// The sandbox, where a rule runs code.
fn sandbox(
    options: &CollectOptions,
    prompts: &Prompts,
    asks: &Asks,
) -> Result<Option<Sandbox>, CollectError> {
    let has_rule = prompts.queries.iter().any(|query| matches!(query.rule, Some(Rule::Code)));
    if !has_rule && !asks.variants.iter().any(|variant| variant.run) {
        return Ok(None);
    }
    Sandbox::find(&options.python, options.code).map(Some).map_err(CollectError::Options)
}

fn asks(options: &CollectOptions, members: &[Member]) -> Result<Asks, CollectError> {
    let template = |file: Option<&Path>, built_in: &str| -> Result<String, CollectError> {
        let Some(file) = file else { return Ok(built_in.to_owned()) };
        let text = String::from_utf8(files::read_up_to(file, TEMPLATE_BYTES_MAX)?);
        let text = text.map_err(|_| CollectError::Options(format!("`{}` is not UTF-8", file.display())))?;
        if !text.contains("{answer}") {
            let expected = "expected a place `{answer}`, beside `{query}` and `{gold}`";
            return Err(CollectError::Options(format!(
                "prompt `{}` shows no answer, {expected}",
                file.display()
            )));
        }
        Ok(text)
    };
    Ok(Asks {
        seed: options.seed,
        logprobs: options.logprobs,
        samples: options.samples,
        variants: match &options.variants {
            Some(file) => Variant::load(file, members)?,
            None => Vec::new(),
        },
        judge_template: template(options.judge_prompt.as_deref(), job::JUDGE)?,
        verify_template: template(options.verify_prompt.as_deref(), job::VERIFY)?,
    })
}
