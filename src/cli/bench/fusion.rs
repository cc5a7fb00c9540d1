//! Fusion of tokens: a step beside sparse products as in GaC, the union of two vocabularies, two
//! members beside the slower one alone, and going back in a text beside reading it again.
//!
//! Distributions are full and drawn at random. The models are random Llamas of one tokenizer, so that a unit is one
//! token of both and what is measured is the machinery, not how well two vocabularies fit. Tokens a second are by
//! the clock on the wall, since members work side by side.

use super::Settings;
use super::measure::{Rounds, cpu_seconds};
use super::peer::{Peer, Script};
use super::report::{Report, Target};
use anyhow::{Context, anyhow};
use rand::{Rng, RngExt};
use routewright_data::rng;
use routewright_decoder::align::{Align, Space, Union};
use routewright_decoder::backend::{Backend, Stop};
use routewright_decoder::backends::llama2c::{Llama2c, Shape, Weights};
use routewright_decoder::distribution::Distribution;
use routewright_decoder::fuse::{answer, find};
use routewright_decoder::generation::Ask;
use routewright_decoder::pick::Pick;
use routewright_decoder::pool::Pool;
use routewright_decoder::vocabulary::{Role, Tokenizer, Vocabulary, llama2c};
use serde_json::json;
use std::hint::black_box;
use std::path::Path;
use std::sync::{Arc, Barrier};
use std::time::Instant;

const SCRIPT: Script =
    Script { peer: "GaC's sparse products", file: "fusion.py", text: include_str!("peers/fusion.py") };

/// Tokens of generated vocabularies, those of Llama-2 and GPT-2, and how many of them are the same.
const SIZES: [usize; 2] = [32_000, 50_257];
const SHARED: usize = 16_000;
/// Tokens of each of two larger vocabularies.
const LARGE: usize = 50_000;
/// Steps a round, ours and the peer's.
const STEPS: (usize, usize) = (200, 50);
/// Units an answer has, and tokens a text has that is gone back in.
const UNITS: usize = 60;
const TOKENS: usize = 500;
/// Tokens that are read again after going back.
const TAIL: usize = 8;

/// Measures all four.
///
/// # Errors
/// If a vocabulary given cannot be read or a model fails.
pub(super) fn run(settings: &Settings, report: &mut Report) -> anyhow::Result<()> {
    let mut peer = settings.interpreters.start(SCRIPT, &[], report);
    super::output::tell("fusion: a step over the union of two vocabularies");
    let [a, b] = match &settings.vocabularies {
        Some(folder) => read(folder)?,
        None => generated(SIZES, SHARED),
    };
    pooling(&[&a, &b], settings.rounds, &mut peer, report)?;
    super::output::tell("fusion: the union of two vocabularies of 50,000");
    let [a, b] = generated([LARGE, LARGE], SHARED);
    let mut building = Rounds::default();
    for _ in 0..settings.rounds {
        let spent = cpu_seconds(|| {
            black_box(Space::union(&[&a, &b]));
            Ok(())
        })?;
        building.push(1000.0 * spent, None);
    }
    report.row("fusion, union of 50k + 50k".to_owned(), "ms", &building, Some(Target::OursAtMost(100.0)));
    let models = models(settings.interpreters.work())?;
    super::output::tell("fusion: two members, and each alone");
    together(&models, settings.rounds, report)?;
    super::output::tell("fusion: going back in a text");
    going_back(&models[0], settings.rounds, report)
}

fn read(folder: &Path) -> anyhow::Result<[Vocabulary; 2]> {
    let open = |name: &str| Ok::<_, anyhow::Error>(Tokenizer::open(&folder.join(name))?.vocabulary().clone());
    Ok([open("llama-spm.gguf")?, open("gpt-2.gguf")?])
}

/// Random byte strings; the first `shared` of both are the same.
fn generated(sizes: [usize; 2], shared: usize) -> [Vocabulary; 2] {
    let words = |name: &str, n: usize| {
        let mut rng = rng::stream(1, name);
        let mut word = move |_| {
            let n = rng.random_range(2..10);
            ((0..n).map(|_| rng.random_range(b'a'..=b'z')).collect::<Vec<u8>>(), Role::Text)
        };
        (0..n).map(&mut word).collect::<Vec<_>>()
    };
    ["first", "second"].map(|name| {
        let n = if name == "first" { sizes[0] } else { sizes[1] };
        Vocabulary::new(words("shared", shared).into_iter().chain(words(name, n - shared)))
    })
}

fn told(n: usize, rng: &mut impl Rng) -> anyhow::Result<Distribution> {
    Ok(Distribution::from_logits((0..n).map(|_| 10.0 * rng.random::<f32>()).collect())?)
}

fn pooling(
    vocabularies: &[&Vocabulary; 2],
    rounds: usize,
    peer: &mut Peer,
    report: &mut Report,
) -> anyhow::Result<()> {
    let space = Space::union(vocabularies);
    let sizes = [space.units().len(), vocabularies[0].len(), vocabularies[1].len()];
    let union = Union::new(space);
    let mut rng = rng::stream(2, "bench distributions");
    let told = [Some(told(vocabularies[0].len(), &mut rng)?), Some(told(vocabularies[1].len(), &mut rng)?)];
    let mut figures = [Rounds::default(), Rounds::default(), Rounds::default()];
    for _ in 0..rounds {
        let spent = cpu_seconds(|| {
            for _ in 0..STEPS.0 {
                let aligned = union.align(&mut [], &told)?;
                let pooled = Pool::Linear.pool(&aligned.mass, &[0.5, 0.5]).context("no mass")?;
                black_box(Pick::default().pick(&pooled, &mut rng));
            }
            Ok(())
        })?;
        let ours = 1000.0 * spent / STEPS.0 as f64;
        for (kind, figures) in ["gac", "torch", "scipy"].iter().zip(&mut figures) {
            let [union, a, b] = sizes;
            let theirs = peer.figure(&format!("{kind} {} {union} {a} {b}", STEPS.1), "ms", report);
            figures.push(ours, theirs);
        }
    }
    let what = format!("fusion, a step over {} + {} tokens", sizes[1], sizes[2]);
    report.row(what.clone(), "ms", &figures[0], Some(Target::OursAtMost(1.0)));
    report.row(
        format!("{what}, vs the product of GaC's code"),
        "ms",
        &figures[0],
        Some(Target::RatioAtMost(0.05)),
    );
    report.row(format!("{what}, vs a sorted matrix"), "ms", &figures[1], None);
    report.row(format!("{what}, vs compressed rows"), "ms", &figures[2], None);
    Ok(())
}

/// Two random models of one tokenizer.
fn models(folder: &Path) -> anyhow::Result<[Arc<dyn Backend>; 2]> {
    let pieces: Vec<Vec<u8>> = (0..2000_u32).map(|at| format!(" w{at}").into_bytes()).collect();
    let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
    let path = folder.join("tokenizer.bin");
    std::fs::write(&path, llama2c::write(&pieces)).context("cannot write a tokenizer")?;
    let tokenizer = Arc::new(Tokenizer::open(&path)?);
    let vocabulary = tokenizer.vocabulary().len();
    // 10 MB of weights each: two larger ones drive each other out of a cache that holds one, which is then what is
    // measured.
    let shape = Shape { dim: 192, hidden: 512, layers: 4, heads: 8, kv_heads: 4, vocabulary, context: 1024 };
    let model = |name: &str| -> anyhow::Result<Arc<dyn Backend>> {
        let weights = Weights::random(shape, &mut rng::stream(3, name));
        Ok(Arc::new(Llama2c::new(name, weights, tokenizer.clone())?))
    };
    Ok([model("first")?, model("second")?])
}

/// Two members that answer together, beside the slower one alone and beside both alone at the same time: what two
/// processors of this machine leave each other of their caches, memory and clock no fusion can give back.
fn together(models: &[Arc<dyn Backend>; 2], rounds: usize, report: &mut Report) -> anyhow::Result<()> {
    let rate = |backends: &[Arc<dyn Backend>]| -> anyhow::Result<f64> {
        let fuser = find("gac")?.build(&json!({}), backends)?;
        let mut ask = Ask::new(b"once upon a time");
        ask.limits.steps = UNITS;
        let start = Instant::now();
        let answer = answer(&*fuser, backends, ask, Box::new(|_| {}))?;
        Ok(answer.trace.steps().len() as f64 / start.elapsed().as_secs_f64())
    };
    let (mut over_alone, mut over_both) = (Rounds::default(), Rounds::default());
    for _ in 0..rounds {
        let alone = rate(&models[..1])?.min(rate(&models[1..])?);
        let start = Barrier::new(2);
        let both = each_at_once(models, |model| {
            start.wait();
            // Twice, so that neither has the machine to itself for long at the end.
            Ok(rate(model)?.min(rate(model)?))
        })?;
        let fused = rate(models)?;
        over_alone.push(fused, Some(alone));
        over_both.push(fused, Some(both));
    }
    let what = |peer: &str| format!("fusion, tokens a second of two members, vs {peer}");
    let least = Some(Target::RatioAtLeast(0.9));
    report.row(what("the slower of both alone at the same time"), "/s", &over_both, least);
    report.row(what("the slower alone, the machine its own"), "/s", &over_alone, None);
    Ok(())
}

/// The least of what `rate` finds for each model, both at the same time.
fn each_at_once(
    models: &[Arc<dyn Backend>; 2],
    rate: impl Fn(&[Arc<dyn Backend>]) -> anyhow::Result<f64> + Sync,
) -> anyhow::Result<f64> {
    std::thread::scope(|scope| {
        let other = scope.spawn(|| rate(&models[1..]));
        let own = rate(&models[..1])?;
        let other = other.join().map_err(|_| anyhow!("a thread that asked a model panicked"))??;
        Ok(own.min(other))
    })
}

fn going_back(model: &Arc<dyn Backend>, rounds: usize, report: &mut Report) -> anyhow::Result<()> {
    let first = 3 + 256;
    let ids: Vec<u32> = (0..TOKENS as u32).map(|at| first + at).collect();
    let mut session = model.open(b"", &Stop::default())?;
    session.feed(&ids)?;
    let keep = session.ids().len() - TAIL;
    let mut figures = Rounds::default();
    for _ in 0..rounds {
        let ours = cpu_seconds(|| {
            session.rollback(keep)?;
            session.feed(&ids[TOKENS - TAIL..])?;
            session.next()?;
            Ok(())
        })?;
        let again = cpu_seconds(|| {
            let mut session = model.open(b"", &Stop::default())?;
            session.feed(&ids)?;
            session.next()?;
            Ok(())
        })?;
        figures.push(1000.0 * ours, Some(1000.0 * again));
    }
    let what = format!("fusion, {TAIL} of {TOKENS} tokens anew, vs reading all again");
    report.row(what, "ms", &figures, Some(Target::RatioAtMost(0.2)));
    Ok(())
}
