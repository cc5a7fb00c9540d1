//! Off-policy estimators beside the Open Bandit Pipeline: seven estimators with intervals from 100 bootstrap
//! samples on one log, from the distributions and the reward model's values to the figures.
//!
//! Both sides read the same f32 arrays and compute in f64; that their values agree is checked in every round.

use super::measure::{Rounds, cpu_seconds};
use super::peer::Script;
use super::report::{Report, Target};
use super::{Settings, npy};
use rand::RngExt as _;
use routewright_data::rng;
use routewright_trainer::ope::{Estimate, EstimateOptions, Round, Sample, Tuned, estimate, select};
use std::path::Path;

const SCRIPT: Script =
    Script { peer: "Open Bandit Pipeline", file: "ope.py", text: include_str!("peers/ope.py") };
const ESTIMATORS: &str = "ips,snips,dm,dr,sndr,switch-dr,dros";
const N_ARMS: usize = 8;
const BOOTSTRAP: usize = 100;
/// `tau` and `lambda`, as the script has them.
const PARAMETER: f64 = 10.0;

/// A log of `n` rounds: distributions and model values `(n, N_ARMS)`, the rest one a round.
#[derive(Debug)]
struct Log {
    target: Vec<f32>,
    q: Vec<f32>,
    action: Vec<f32>,
    reward: Vec<f32>,
    propensity: Vec<f32>,
}

/// Measures both sides.
///
/// # Errors
/// If the arrays cannot be written, or our estimators fail.
pub(super) fn run(settings: &Settings, report: &mut Report) -> anyhow::Result<()> {
    let n = settings.decisions;
    super::output::tell(&format!("ope: {n} rounds of {N_ARMS} arms"));
    let log = Log::draw(n);
    let folder = settings.interpreters.work().join("ope");
    log.write(&folder)?;
    let mut peer = settings.interpreters.start(SCRIPT, &[&folder], report);
    let mut figures = Rounds::default();
    let (mut difference, mut peak) = (None, None);
    for _ in 0..settings.rounds {
        let mut ours = Vec::new();
        let spent = cpu_seconds(|| {
            ours = log.estimate()?;
            Ok(())
        })?;
        let answer = peer.ask(&BOOTSTRAP.to_string(), report);
        figures.push(spent, answer.as_ref().and_then(|answer| answer["s"].as_f64()));
        if let Some(answer) = answer {
            difference = farthest(&ours, &answer["values"]);
            peak = answer["peak_mb"].as_f64();
        }
    }
    let what = format!("ope, {n} rounds, 7 estimators, {BOOTSTRAP} bootstrap samples, vs obp");
    report.row(what, "s", &figures, Some(Target::RatioAtMost(1.0)));
    if let (Some(difference), Some(peak)) = (difference, peak) {
        report.note(format!("ope: values differ from obp's by at most {difference:.1e}"));
        let ours = own_peak_mb().map_or_else(|| "unknown".to_owned(), |mb| format!("{mb:.0} MB"));
        report.note(format!(
            "ope: most memory held: this process {ours} (with all it has measured), obp {peak:.0} MB"
        ));
    }
    Ok(())
}

/// Greatest difference of a value; `None` where one is missing.
fn farthest(ours: &[Estimate], theirs: &serde_json::Value) -> Option<f64> {
    let differences: Option<Vec<f64>> =
        ours.iter().map(|e| Some((e.value? - theirs[e.estimator].as_f64()?).abs())).collect();
    differences?.into_iter().reduce(f64::max)
}

/// Most memory this process has held, megabytes (2^20 bytes); Linux only.
fn own_peak_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM"))?;
    Some(line.split_whitespace().nth(1)?.parse::<f64>().ok()? / 1024.0)
}

impl Log {
    fn draw(n: usize) -> Self {
        let mut rng = rng::stream(1, "bench ope");
        let cells = n * N_ARMS;
        let mut log = Self {
            target: Vec::with_capacity(cells),
            q: (0..cells).map(|_| rng.random()).collect(),
            action: Vec::with_capacity(n),
            reward: Vec::with_capacity(n),
            propensity: Vec::with_capacity(n),
        };
        for row in 0..n {
            // The target is sharper than the logging policy, which explores a tenth of the time.
            let raw: [f64; N_ARMS] = std::array::from_fn(|_| rng.random());
            let share = |power: f64| {
                let weights = raw.map(|x| (power * x).exp());
                let total: f64 = weights.iter().sum();
                weights.map(|w| w / total)
            };
            let logging = share(2.0).map(|p| 0.9 * p + 0.1 / N_ARMS as f64);
            let mut left: f64 = rng.random();
            let below = logging.iter().take_while(|p| {
                left -= **p;
                left >= 0.0
            });
            let action = below.count().min(N_ARMS - 1);
            let model = f64::from(log.q[row * N_ARMS + action]);
            log.target.extend(share(6.0).map(|p| p as f32));
            log.action.push(action as f32);
            log.propensity.push(logging[action] as f32);
            log.reward.push(f32::from(u8::from(rng.random_bool(0.3 + 0.6 * raw[action] * model))));
        }
        log
    }

    fn write(&self, folder: &Path) -> anyhow::Result<()> {
        std::fs::create_dir_all(folder)?;
        let columns = [("action", &self.action), ("reward", &self.reward), ("propensity", &self.propensity)];
        for (name, values) in columns {
            npy::write(&folder.join(format!("{name}.npy")), values, 1)?;
        }
        npy::write(&folder.join("target.npy"), &self.target, N_ARMS)?;
        npy::write(&folder.join("q.npy"), &self.q, N_ARMS)
    }

    /// From the arrays to the figures.
    fn estimate(&self) -> anyhow::Result<Vec<Estimate>> {
        let rows = self.target.chunks_exact(N_ARMS).zip(self.q.chunks_exact(N_ARMS));
        let rounds: Vec<Round> = rows
            .enumerate()
            .map(|(at, (target, q))| {
                let action = self.action[at] as usize;
                Round {
                    mass: 1.0,
                    importance: f64::from(target[action]) / f64::from(self.propensity[at]),
                    reward: f64::from(self.reward[at]),
                    q_logged: f64::from(q[action]),
                    q_target: target.iter().zip(q).map(|(p, q)| f64::from(*p) * f64::from(*q)).sum(),
                    ..Round::default()
                }
            })
            .collect();
        let sample = Sample { target: &rounds, ..Sample::default() };
        let [clip, tau, lambda] = [Tuned::Auto, Tuned::Fixed(PARAMETER), Tuned::Fixed(PARAMETER)];
        let options = EstimateOptions { bootstrap: BOOTSTRAP, seed: 1, clip, tau, lambda };
        Ok(estimate(&sample, &select(ESTIMATORS)?, &options)?.1)
    }
}
