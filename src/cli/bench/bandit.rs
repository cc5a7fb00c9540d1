//! LinUCB beside linear bandits of other packages: rounds of selecting and updating in a second of processor
//! time, and the regret on the same streams.
//!
//! A query is a point around one of 64 tasks, its context a random linear image of it with noise, of unit
//! norm; an arm's expected utility is a logistic function of the point, less a price. 11 arms, alpha 0.3,
//! precision 1, every utility of every arm known to the bench and that of the called arm to the bandit.

use super::Settings;
use super::measure::{Rounds, cpu_seconds};
use super::npy;
use super::peer::{Peer, Script};
use super::report::{Report, Target};
use rand::RngExt;
use rand_distr::StandardNormal;
use routewright_data::rng;
use routewright_policy::forms::{BayesianRidge, CostModel, RidgeShape};
use routewright_policy::online::{Experience, Forgetting, Learner};
use routewright_policy::selectors::Ucb;
use routewright_policy::{PredictionRow, Selector};
use routewright_trainer::simulate::Mean;
use std::path::Path;

const SCRIPT: Script =
    Script { peer: "linear bandits", file: "bandit.py", text: include_str!("peers/bandit.py") };

/// The same script held to a package; without it this peer alone is skipped.
const VOWPAL: Script = Script { peer: "Vowpal Wabbit", ..SCRIPT };

const N_ARMS: usize = 11;
const N_TASKS: usize = 64;
const LATENT: usize = 32;
const ALPHA: f64 = 0.3;
/// Streams the regret is a mean over.
const SEEDS: usize = 20;
/// Name of a peer, its request, and least ratio of our rate to its.
type Rival = (&'static str, &'static str, Option<f64>);
/// Width, rounds of a stream, and what we are held to.
const SHAPES: [(usize, usize, &[Rival]); 2] = [
    (
        32,
        6000,
        &[
            ("ParetoBandit", "paretobandit", Some(25.0)),
            ("a NumPy loop", "numpy", Some(6.0)),
            ("MABWiser in batches of 64", "mabwiser", None),
        ],
    ),
    (384, 1000, &[("ParetoBandit", "paretobandit", Some(5.0)), ("a NumPy loop", "numpy", None)]),
];

/// What Vowpal Wabbit's speed is taken of: C++, but its Python binding hands it every round as text.
const COMPILED: Rival = ("Vowpal Wabbit squarecb (C++, rounds as text)", "vw-squarecb", None);

/// Explorers of Vowpal Wabbit that the regret at the least width is compared with: name and the peer's request.
const EXPLORERS: [Rival; 7] = [
    ("Vowpal Wabbit squarecb", "vw-squarecb", None),
    ("Vowpal Wabbit regcb", "vw-regcb", None),
    ("Vowpal Wabbit first", "vw-first", None),
    ("Vowpal Wabbit bag", "vw-bag", None),
    ("Vowpal Wabbit softmax", "vw-softmax", None),
    ("Vowpal Wabbit epsilon", "vw-epsilon", None),
    ("Vowpal Wabbit cover", "vw-cover", None),
];

/// Streams of one width, one after another.
struct Streams {
    width: usize,
    rounds: usize,
    contexts: Vec<f32>,
    drawn: Vec<f32>,
    expected: Vec<f32>,
}

impl Streams {
    fn draw(width: usize, rounds: usize) -> Self {
        let mut rng = rng::stream(11, "bench bandit");
        let mut normals = |n: usize, scale: f32| -> Vec<f32> {
            (0..n).map(|_| scale * rng.sample::<f32, _>(StandardNormal)).collect()
        };
        let (tasks, skill) = (normals(N_TASKS * LATENT, 1.0), normals(N_ARMS * LATENT, 0.45));
        let lift = normals(LATENT * width, 1.0 / (LATENT as f32).sqrt());
        let n = rounds * SEEDS;
        let mut out = Self { width, rounds, contexts: Vec::new(), drawn: Vec::new(), expected: Vec::new() };
        let mut rng = rng::stream(12, "bench bandit rounds");
        for _ in 0..n {
            let task = rng.random_range(0..N_TASKS);
            let mut normal = |scale: f32| scale * rng.sample::<f32, _>(StandardNormal);
            let point: Vec<f32> =
                tasks[task * LATENT..][..LATENT].iter().map(|center| center + normal(0.6)).collect();
            let image = |column: usize| -> f32 {
                point.iter().enumerate().map(|(i, z)| z * lift[i * width + column]).sum()
            };
            let mut context: Vec<f32> = (0..width).map(|column| image(column) + normal(0.25)).collect();
            let norm = context.iter().map(|x| x * x).sum::<f32>().sqrt();
            context.iter_mut().for_each(|x| *x /= norm);
            out.contexts.extend(context);
            for arm in 0..N_ARMS {
                let rank = arm as f32 / (N_ARMS - 1) as f32;
                let z: f32 = point.iter().zip(&skill[arm * LATENT..]).map(|(z, s)| z * s).sum();
                let mean = 1.0 / (1.0 + (0.9 - 2.2 * rank - z).exp());
                // 450-fold prices, the dearest worth a tenth of a right answer.
                let price = 0.1 * 450.0_f32.powf(rank - 1.0);
                out.expected.push(mean - price);
                out.drawn.push(f32::from(u8::from(rng.random::<f32>() < mean)) - price);
            }
        }
        out
    }

    fn write(&self, dir: &Path) -> anyhow::Result<()> {
        for (letter, values, width) in
            [("x", &self.contexts, self.width), ("u", &self.drawn, N_ARMS), ("m", &self.expected, N_ARMS)]
        {
            npy::write(&dir.join(format!("{letter}_{}.npy", self.width)), values, width)?;
        }
        Ok(())
    }

    /// Plays stream `seed`; the regret a round.
    fn play(&self, seed: usize) -> anyhow::Result<f64> {
        let shape = RidgeShape {
            dim: self.width,
            intercept: false,
            precision: 1.0,
            noise: 1.0,
            forgetting: Forgetting::default(),
            shared: None,
        };
        let cost = vec![f32::NAN; N_ARMS];
        let mut learner = BayesianRidge::new(shape, Vec::new(), CostModel::constant(cost.clone()))?;
        let (selector, eligible) = (Ucb { alpha: ALPHA }, [true; N_ARMS]);
        let (mut score, mut se) = ([0.0; N_ARMS], [0.0; N_ARMS]);
        let mut regret = 0.0;
        for round in 0..self.rounds {
            let at = seed * self.rounds + round;
            let features = &self.contexts[at * self.width..(at + 1) * self.width];
            learner.predict_into(features, None, &mut score, &mut se);
            let n_updates = learner.n_updates();
            let row = PredictionRow {
                score: &score,
                score_se: Some(&se),
                cost_usd: &cost,
                members: None,
                n_updates,
            };
            let distribution = selector.distribution(&row, &eligible);
            let arm = distribution.iter().position(|p| *p > 0.0).unwrap_or(0);
            let (drawn, expected) = (&self.drawn[at * N_ARMS..], &self.expected[at * N_ARMS..][..N_ARMS]);
            let reward = f64::from(drawn[arm]);
            let time = round as u64;
            learner.learn(&Experience {
                features,
                source: None,
                arm,
                rival: None,
                reward,
                weight: 1.0,
                time,
            })?;
            regret += f64::from(expected.iter().copied().fold(f32::NEG_INFINITY, f32::max) - expected[arm]);
        }
        Ok(regret / self.rounds as f64)
    }
}

/// Measures both widths.
pub(super) fn run(settings: &Settings, report: &mut Report) -> anyhow::Result<()> {
    let dir = settings.interpreters.work().to_owned();
    let mut peer = settings.interpreters.start(SCRIPT, &[&dir], report);
    let mut vowpal = settings.interpreters.start(VOWPAL, &[&dir, Path::new("vowpalwabbit")], report);
    for (width, rounds, rivals) in SHAPES {
        super::output::tell(&format!("bandit: {width} dimensions"));
        let streams = Streams::draw(width, rounds);
        streams.write(&dir)?;
        speed(&streams, rivals, settings.rounds, &mut peer, report)?;
        speed(&streams, &[COMPILED], settings.rounds, &mut vowpal, report)?;
        regret(&streams, rivals, &mut peer, report)?;
        regret(&streams, &EXPLORERS, &mut vowpal, report)?;
    }
    Ok(())
}

fn speed(
    streams: &Streams,
    rivals: &[Rival],
    rounds: usize,
    peer: &mut Peer,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut figures = vec![Rounds::default(); rivals.len()];
    for round in 0..rounds {
        let seed = round % SEEDS;
        let spent = cpu_seconds(|| streams.play(seed).map(|_| ()))?;
        let ours = streams.rounds as f64 / spent;
        for ((_, kind, _), figures) in rivals.iter().zip(&mut figures) {
            let request = streams.request(kind, seed);
            figures.push(ours, peer.figure(&request, "rounds_per_cpu_s", report));
        }
    }
    for ((name, _, least), figures) in rivals.iter().zip(&figures) {
        let what = format!("linucb, {} dimensions, vs {name}", streams.width);
        report.row(what, "/s", figures, least.map(Target::RatioAtLeast));
    }
    Ok(())
}

/// The regret on every stream; the peers are slow at many dimensions, so only the narrow one is compared. Streams
/// differ more than bandits, so the difference on the same streams is printed with its standard error.
fn regret(streams: &Streams, rivals: &[Rival], peer: &mut Peer, report: &mut Report) -> anyhow::Result<()> {
    if streams.width > LATENT {
        return Ok(());
    }
    let played = (0..SEEDS).map(|seed| streams.play(seed)).collect::<anyhow::Result<Vec<f64>>>()?;
    for (name, kind, _) in rivals {
        let (mut figures, mut differences) = (Rounds::default(), Vec::new());
        for (seed, ours) in played.iter().enumerate() {
            let theirs = peer.figure(&streams.request(kind, seed), "regret", report);
            figures.push(*ours, theirs);
            differences.extend(theirs.map(|theirs| ours - theirs));
        }
        let Mean { mean, se } = Mean::of(&differences);
        if let Some(se) = se {
            report.note(format!("linucb, regret a round less that of {name}: {mean:+.4} ± {se:.4}"));
        }
        report.row(format!("linucb, regret a round over {SEEDS} streams, vs {name}"), "", &figures, None);
    }
    Ok(())
}

impl Streams {
    fn request(&self, kind: &str, seed: usize) -> String {
        format!("{kind} {} {} {}", self.width, seed * self.rounds, self.rounds)
    }
}
