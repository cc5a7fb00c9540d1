//! Runs an experiment: `routewright-experiments experts DIR` trains two experts into `DIR`,
//! `routewright-experiments span-weights DIR [KIND]` learns weights of them by span (all kinds of agents, or those
//! whose names contain `KIND`), and
//! `routewright-experiments union-vs-bytes MODELS` compares two systems on the models of a folder.
//! `routewright-experiments real-pair MODELS FOLDER N RIVALS` fills the blanks of `N` prompts with two published models
//! in every way, with the dear rivals on the first `RIVALS`, learns from that log and prints the tables; begun again it
//! goes on. Its parts are `real-pair-trees`, `real-pair-rivals`, `real-pair-routed` and `real-pair-report`.

use anyhow::bail;
use routewright_data::log::{RowWriter, TaskRow, WriteOptions};
use routewright_data::{files, tasks};
use routewright_decoder::backend::Backend;
use routewright_decoder::backends::llama2c::Llama2c;
use routewright_decoder::ensemble::Ensemble;
use routewright_experiments::contrast;
use routewright_experiments::experts::{FOLDERS, NAMES, Recipe, train};
use routewright_experiments::judge::{Oracle, Score, fixed, score};
use routewright_experiments::mixed_tasks::{self, Split};
use routewright_experiments::real_pair;
use routewright_experiments::span_weights::{self, Lists};
use routewright_trainer::progress::Progress;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// Weights of the first expert that are tried.
const GRID: [f32; 5] = [0.3, 0.4, 0.5, 0.6, 0.7];

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["experts", folder] => experts(Path::new(folder), Recipe::default()),
        ["real-pair-trees", models, folder, n] => {
            real_pair::trees(&real_pair::open(Path::new(models))?, Path::new(folder), n.parse()?, &tell)
        }
        ["real-pair-rivals", models, folder, n] => {
            real_pair::rivals(&real_pair::open(Path::new(models))?, Path::new(folder), n.parse()?, &tell)
        }
        ["real-pair-routed", models, folder] => {
            real_pair::routed(&real_pair::open(Path::new(models))?, Path::new(folder), &tell)
        }
        ["real-pair-report", folder] => {
            Ok(std::io::stdout().write_all(real_pair::report(Path::new(folder), &tell)?.as_bytes())?)
        }
        ["real-pair", models, folder, n, n_rivals] => {
            std::fs::create_dir_all(folder)?;
            let sizes = [n.parse()?, n_rivals.parse()?];
            let tables = real_pair::run(Path::new(models), Path::new(folder), sizes, &tell)?;
            Ok(std::io::stdout().write_all(tables.as_bytes())?)
        }
        ["union-vs-bytes", models] => union_vs_bytes(Path::new(models)),
        ["span-weights", folder] => learn_span_weights(Path::new(folder), ""),
        ["span-weights", folder, kind] => learn_span_weights(Path::new(folder), kind),
        _ => bail!(
            "expected `experts DIR`, `span-weights DIR [KIND]`, `union-vs-bytes MODELS` or \
             `real-pair MODELS DIR N RIVALS`"
        ),
    }
}

/// A line of progress.
fn tell(line: &str) {
    // Progress that cannot be shown stops nothing.
    let _unheard = writeln!(std::io::stderr(), "{line}");
}

fn union_vs_bytes(models: &Path) -> anyhow::Result<()> {
    let open = |(name, model, tokenizer): (&str, &str, &str)| -> anyhow::Result<Arc<dyn Backend>> {
        Ok(Arc::new(Llama2c::open(name, &models.join(model), &models.join(tokenizer))?))
    };
    let backends = [
        ("stories260k", "stories260k/model.bin", "stories260k/tokenizer.bin"),
        ("babyllama105", "babyllama105/model.bin", "babyllama105/tok105.model"),
    ];
    let backends = backends.into_iter().map(open).collect::<anyhow::Result<Vec<_>>>()?;
    Ok(std::io::stdout().write_all(contrast::report(&backends)?.as_bytes())?)
}

fn experts(folder: &Path, recipe: Recipe) -> anyhow::Result<()> {
    for (expert, own) in FOLDERS.iter().enumerate() {
        train(expert, &recipe, &folder.join(own), &Lines::default())?;
    }
    let n = |split| if matches!(split, Split::Train) { 2000 } else { 300 };
    let lists = Split::LISTED.map(|split| (split, mixed_tasks::tasks(recipe.seed, split, n(split))));
    for (split, rows) in &lists {
        let path = folder.join(format!("tasks_{}.parquet", split.name()));
        let mut writer = RowWriter::create(&path, WriteOptions::default())?;
        rows.iter().try_for_each(|row| writer.push(row.clone()))?;
        writer.finish()?;
    }
    files::write_file(&folder.join("ensemble.toml"), ensemble().as_bytes())?;
    let open = |(name, own): (&&str, &&str)| -> anyhow::Result<Arc<dyn Backend>> {
        let own = folder.join(own);
        Ok(Arc::new(Llama2c::open(name, &own.join("model.bin"), &own.join("tokenizer.bin"))?))
    };
    let backends = NAMES.iter().zip(&FOLDERS).map(open).collect::<anyhow::Result<Vec<_>>>()?;
    lists[1..].iter().try_for_each(|(split, tasks)| report(split.name(), &backends, tasks))
}

/// Weights of the experts of `folder`: those that stay, and those that are learned.
/// Learns with every kind of agent whose name contains `kind`.
fn learn_span_weights(folder: &Path, kind: &str) -> anyhow::Result<()> {
    let list = |name: &str| tasks::read(&folder.join(format!("tasks_{name}.parquet")), None);
    let lists = Lists {
        train: list("train")?,
        valid: list("validation")?,
        test: list("test")?,
        orders: list("orders")?,
    };
    let ensemble = folder.join("ensemble.toml");
    let backends = Ensemble::open(&ensemble)?.backends().to_vec();
    let stays = span_weights::stays(&backends, &lists)?;
    let mut lines = Vec::new();
    for (name, params) in span_weights::kinds().into_iter().filter(|(name, _)| name.contains(kind)) {
        lines.push(span_weights::line(name, &params, &ensemble, &lists, &Lines::default())?);
        // What there is so far, should the rest be cut off.
        std::io::stderr().write_all(span_weights::report(&stays, &lines).as_bytes())?;
    }
    Ok(std::io::stdout().write_all(span_weights::report(&stays, &lines).as_bytes())?)
}

fn ensemble() -> String {
    let member = |(name, own): (&&str, &&str)| {
        let files = format!("checkpoint = \"{own}/model.bin\"\ntokenizer = \"{own}/tokenizer.bin\"\n");
        format!("\n[[members]]\nname = \"{name}\"\nbackend = \"llama2c\"\n{files}")
    };
    let members: String = NAMES.iter().zip(&FOLDERS).map(member).collect();
    format!("system = \"gac\"\n\n[limits]\nsteps = 120\n{members}")
}

fn report(split: &str, backends: &[Arc<dyn Backend>], tasks: &[TaskRow]) -> anyhow::Result<()> {
    let say = |what: &str, score: Score| -> anyhow::Result<()> {
        let by_skill: Vec<String> = score.by_skill().map(|(name, s)| format!("{name} {s:.3}")).collect();
        let (share, by_skill) = (score.share(), by_skill.join(", "));
        Ok(writeln!(std::io::stdout(), "{split} {what}: {share:.3} of the lines right ({by_skill})")?)
    };
    say(NAMES[0], fixed(backends, 1.0, tasks)?)?;
    say(NAMES[1], fixed(backends, 0.0, tasks)?)?;
    say("oracle", score(backends, Box::new(Oracle), tasks)?)?;
    for first in GRID {
        say(&format!("weight {first}"), fixed(backends, first, tasks)?)?;
    }
    Ok(())
}

/// A line on stderr now and then, with the time that is left.
#[derive(Debug, Default)]
struct Lines {
    total: OnceLock<(u64, Instant)>,
}

impl Progress for Lines {
    fn start(&self, _phase: &str, total: u64) {
        let _started = self.total.get_or_init(|| (total, Instant::now()));
    }

    fn step(&self, done: u64, note: &str) {
        let Some((total, since)) = self.total.get().filter(|_| done.is_multiple_of(100)) else { return };
        let left = since.elapsed().as_secs_f64() * (*total as f64 / done.max(1) as f64 - 1.0);
        drop(writeln!(std::io::stderr(), "{done}/{total} {note}, {left:.0} s left"));
    }
}
