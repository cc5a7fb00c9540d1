//! Spend against its target under feedback as production sends it, beside ParetoBandit's paced router.
//!
//! Ten arms over a 450-fold span of prices, scores that grow with the price and differ by task; a bill is the
//! expected price times log-normal noise of mean 1, and runs a tenth above it. Both sides pace LinUCB with alpha
//! 0.3 on the same contexts. The figure is the distance of spend from its target, per cent of the target; where the
//! same bandit without a target spends less, from what that spends: no price makes anybody spend more. Every
//! round is a stream of its own. Bills that never come are not known to either side, so the figure has their noise.

use super::Settings;
use super::measure::Rounds;
use super::npy;
use super::peer::Script;
use super::report::{Report, Target};
use rand::RngExt;
use rand_distr::StandardNormal;
use routewright_data::rng;
use routewright_policy::forms::{BayesianRidge, CostModel, RidgeShape};
use routewright_policy::online::{Experience, Forgetting, Learner};
use routewright_policy::pacing::{Pacer, PacerSettings};
use routewright_policy::selectors::{Ucb, net_scores};
use routewright_policy::{PredictionRow, Selector};
use std::path::Path;

const SCRIPT: Script =
    Script { peer: "ParetoBandit", file: "pacing.py", text: include_str!("peers/pacing.py") };

const N_ARMS: usize = 10;
const DIM: usize = 16;
const ROUNDS: usize = 6000;
const LATE: usize = 200;
const SPAN: f32 = 450.0;
/// US dollars per million tokens of the cheapest arm, as the peer is configured.
const CHEAPEST: f32 = 0.1;
/// Targets, in prices of the cheapest arm.
const TARGETS: [f32; 2] = [5.0, 40.0];
/// A target that nothing reaches.
const UNLIMITED: f32 = 1e6;
const SCENARIOS: [&str; 6] = ["clean", "missing", "late", "duplicated", "restart", "all"];

/// The stream both sides play.
struct Stream {
    contexts: Vec<f32>,
    scores: Vec<f32>,
    noise: Vec<f32>,
    prices: Vec<f32>,
}

impl Stream {
    fn draw(number: u64) -> Self {
        let mut rng = rng::stream(21 + 1000 * number, "bench pacing");
        let skill: Vec<f32> = (0..N_ARMS * DIM).map(|_| rng.sample(StandardNormal)).collect();
        let rank = |arm: usize| arm as f32 / (N_ARMS - 1) as f32;
        let prices = (0..N_ARMS).map(|arm| CHEAPEST * SPAN.powf(rank(arm))).collect();
        let mut out = Self { contexts: Vec::new(), scores: Vec::new(), noise: Vec::new(), prices };
        for _ in 0..ROUNDS {
            let mut x: Vec<f32> = (0..DIM).map(|_| rng.sample(StandardNormal)).collect();
            let norm = x.iter().map(|x| x * x).sum::<f32>().sqrt();
            x.iter_mut().for_each(|x| *x /= norm);
            for arm in 0..N_ARMS {
                let own: f32 = x.iter().zip(&skill[arm * DIM..]).map(|(x, s)| x * s).sum();
                let p = 1.0 / (1.0 + (-(own + 2.0 * rank(arm) - 0.5)).exp());
                out.scores.push(f32::from(u8::from(rng.random::<f32>() < p)));
                let z: f32 = rng.sample(StandardNormal);
                out.noise.push(1.1 * (0.5 * z - 0.125).exp());
            }
            out.contexts.extend(x);
        }
        out
    }

    fn write(&self, dir: &Path, number: usize) -> anyhow::Result<()> {
        let files = [
            ("x", &self.contexts, DIM),
            ("u", &self.scores, N_ARMS),
            ("n", &self.noise, N_ARMS),
            ("p", &self.prices, N_ARMS),
        ];
        for (letter, values, width) in files {
            npy::write(&dir.join(format!("pacing_{letter}{number}.npy")), values, width)?;
        }
        Ok(())
    }

    /// Mean spend of a call.
    fn play(&self, scenario: &str, target: f32) -> anyhow::Result<f64> {
        let shape = RidgeShape {
            dim: DIM,
            intercept: false,
            precision: 1.0,
            noise: 1.0,
            forgetting: Forgetting::default(),
            shared: None,
        };
        let cost = CostModel::constant(self.prices.clone());
        let mut learner = BayesianRidge::new(shape, Vec::new(), cost)?;
        let mut pacer = Pacer::new(PacerSettings::target(f64::from(target)), N_ARMS);
        let (selector, mut rng) = (Ucb { alpha: 0.3 }, rng::stream(22, "bench pacing feedback"));
        let is = |what: &str| scenario == what || scenario == "all";
        let mut called = Vec::with_capacity(ROUNDS);
        let mut told = [false; ROUNDS];
        let mut spent = 0.0;
        for round in 0..ROUNDS {
            let (mut score, mut se) = ([0.0; N_ARMS], [0.0; N_ARMS]);
            learner.predict_into(&self.contexts[round * DIM..(round + 1) * DIM], None, &mut score, &mut se);
            let n_updates = learner.n_updates();
            let row = PredictionRow {
                score: &score,
                score_se: Some(&se),
                cost_usd: &self.prices,
                members: None,
                n_updates,
            };
            let (net, eligible) = net_scores(&row, &[true; N_ARMS], pacer.lambda());
            let distribution = selector.distribution(&PredictionRow { score: &net, ..row }, &eligible);
            let arm = distribution.iter().position(|p| *p > 0.0).unwrap_or(0);
            pacer.decided(arm, f64::from(self.prices[arm]));
            spent += f64::from(self.prices[arm] * self.noise[round * N_ARMS + arm]);
            called.push(arm);
            let lost = is("missing") && rng.random::<f32>() >= 0.3;
            let of = if is("late") { round.checked_sub(LATE) } else { Some(round) };
            for _ in 0..if is("duplicated") { 2 } else { 1 } {
                // A report is dropped where its key is known, as the store does.
                if let Some(of) = of.filter(|of| !lost && !told[*of]) {
                    told[of] = true;
                    self.tell(of, called[of], &mut learner, &mut pacer)?;
                }
            }
            if is("restart") && round == ROUNDS / 2 {
                pacer = serde_json::from_str(&serde_json::to_string(&pacer)?)?;
            }
        }
        Ok(spent / ROUNDS as f64)
    }

    fn tell(
        &self,
        of: usize,
        arm: usize,
        learner: &mut BayesianRidge,
        pacer: &mut Pacer,
    ) -> anyhow::Result<()> {
        let cell = of * N_ARMS + arm;
        let price = f64::from(self.prices[arm]);
        pacer.billed(arm, price, f64::from(self.prices[arm] * self.noise[cell]));
        let features = &self.contexts[of * DIM..(of + 1) * DIM];
        let (reward, time) = (f64::from(self.scores[cell]), of as u64);
        learner.learn(&Experience { features, source: None, arm, rival: None, reward, weight: 1.0, time })?;
        Ok(())
    }
}

/// Plays every scenario at every target.
pub(super) fn run(settings: &Settings, report: &mut Report) -> anyhow::Result<()> {
    let dir = settings.interpreters.work().to_owned();
    let streams: Vec<Stream> = (0..settings.rounds as u64).map(Stream::draw).collect();
    for (number, stream) in streams.iter().enumerate() {
        stream.write(&dir, number)?;
    }
    let mut peer = settings.interpreters.start(SCRIPT, &[&dir], report);
    let off = |ratio: f64| 100.0 * (ratio - 1.0).abs();
    for relative in TARGETS {
        let target = relative * CHEAPEST;
        for scenario in SCENARIOS {
            super::output::tell(&format!("pacing: {scenario}, target {relative}"));
            let mut figures = Rounds::default();
            for (number, stream) in streams.iter().enumerate() {
                let request = format!("{scenario} {target} {number}");
                let theirs = peer.figure(&request, "spend_over_target", report);
                let due = f64::from(target).min(stream.play(scenario, UNLIMITED)?);
                figures.push(off(stream.play(scenario, target)? / due), theirs.map(off));
            }
            let what = format!("spend off target, {scenario}, {relative}x the cheapest, vs ParetoBandit");
            report.row(what, "%", &figures, Some(Target::OursAtMost(1.0)));
        }
    }
    Ok(())
}
