//! One bandit on one stream: decide, call, observe, learn.
//!
//! Every reward counts once, however often it arrives: the host of a bandit keeps the keys of what it heard,
//! as the server does. Bandits on one stream share the random number that draws each decision, so that their
//! difference is not the luck of the draw.

use super::bandit::Bandit;
use super::stream::{Delivery, Stream};
use super::trace::{Trace, Tracer};
use crate::method::FitError;
use rand::RngExt as _;
use routewright_data::rng::{self, Rng};
use routewright_data::{Cells, FeatureMatrix, OutcomeTable};
use routewright_policy::online::{Experience, LearnError, Reward};
use routewright_policy::pacing::{Pacer, PacerSettings};
use routewright_policy::selectors::{self, net_scores};
use routewright_policy::trust::{Report, Trust, TrustSettings};
use routewright_policy::{Arm, PredictionRow, Selector};

/// The log behind a stream.
#[derive(Debug, Clone, Copy)]
pub struct Ground<'a> {
    /// What each arm did on each query; cells may be missing.
    pub table: &'a OutcomeTable,
    /// Features of its queries.
    pub features: &'a FeatureMatrix,
    /// Expected scores where they are known, for the regret; else the logged ones.
    pub expected: Option<&'a Cells>,
    /// The arms.
    pub arms: &'a [Arm],
}

/// How a bandit is run.
#[derive(Debug, Clone, Copy)]
pub struct RunSettings {
    /// What the regret is measured in.
    pub utility: Reward,
    /// Keeps the mean price of a call at a target.
    pub pacing: Option<PacerSettings>,
    /// Weight of rewards from sources that are not trusted, `[0, 1]`.
    pub trust: f64,
    /// Whether trust in each source is learned besides.
    pub learn_trust: bool,
    /// Seed of the draws.
    pub seed: u64,
}

/// Who says what happened, and who says the opposite.
const USER: &str = "user";
const STRANGER: &str = "stranger";

/// What the bandit called, kept until its reward has arrived.
#[derive(Debug, Clone, Copy)]
struct Call {
    arm: usize,
    /// The other arm that was drawn, where the bandit learns from comparisons; it may be the same.
    rival: Option<usize>,
    expected_usd: f64,
    told: bool,
}

/// A run under way.
struct Run<'a> {
    bandit: &'a mut Bandit,
    selector: Box<dyn Selector>,
    ground: Ground<'a>,
    stream: &'a Stream,
    settings: RunSettings,
    sources: Vec<Option<&'a str>>,
    costs: Vec<f32>,
    pacer: Option<Pacer>,
    trust: Option<Trust>,
    calls: Vec<Call>,
    row: Row,
}

/// One entry an arm: what the selector sees.
#[derive(Debug, Default)]
struct Row {
    score: Vec<f32>,
    score_se: Vec<f32>,
    cost_usd: Vec<f32>,
    eligible: Vec<bool>,
}

/// Runs `bandit` over the whole stream; it has learned everything that arrived when this returns.
///
/// # Errors
/// If its selector cannot be built or a lesson is refused.
pub fn run(
    bandit: &mut Bandit,
    ground: Ground<'_>,
    stream: &Stream,
    settings: RunSettings,
) -> Result<Trace, FitError> {
    if bandit.learner.compares() && settings.pacing.is_some() {
        return Err(failed(
            "a bandit that learns from comparisons calls two arms a query and cannot be paced",
        ));
    }
    let selector = selectors::build(&bandit.selector, ground.arms).map_err(failed)?;
    let n_arms = ground.table.n_arms();
    let costs = bandit.cost.predict(ground.features);
    let row = Row {
        score: vec![0.0; n_arms],
        score_se: vec![0.0; n_arms],
        cost_usd: vec![f32::NAN; n_arms],
        eligible: vec![true; n_arms],
    };
    let mut run = Run {
        bandit,
        selector,
        ground,
        stream,
        settings,
        sources: ground.table.sources(),
        costs,
        pacer: settings.pacing.map(|pacing| Pacer::new(pacing, n_arms)),
        trust: settings
            .learn_trust
            .then(|| Trust::new(TrustSettings { learned: true, ..TrustSettings::default() })),
        calls: Vec::with_capacity(stream.rounds.len()),
        row,
    };
    run.all()
}

fn failed(error: impl std::fmt::Display) -> FitError {
    FitError::Numeric { method: "simulate", reason: error.to_string() }
}

impl Run<'_> {
    fn all(&mut self) -> Result<Trace, FitError> {
        let mut draws = rng::stream(self.settings.seed, "simulate draws");
        let mut rivals = rng::stream(self.settings.seed, "simulate rivals");
        let mut tracer = Tracer::new(self.stream, self.settings.pacing.map(|p| p.target_usd));
        let mut deliveries = self.stream.deliveries.iter().peekable();
        for round in 0..self.stream.rounds.len() {
            while let Some(delivery) = deliveries.next_if(|delivery| delivery.at <= round) {
                self.hear(delivery).map_err(failed)?;
            }
            let draw: f32 = draws.random();
            let rival = self.bandit.learner.compares().then(|| rivals.random());
            self.decide(round, draw, rival);
            self.account(round, &mut tracer);
        }
        for delivery in deliveries {
            self.hear(delivery).map_err(failed)?;
        }
        Ok(tracer.finish())
    }

    /// Fills the row of the query and calls an arm, and a rival where there is a draw for one.
    fn decide(&mut self, round: usize, draw: f32, rival: Option<f32>) {
        let at = self.stream.rounds[round];
        let phase = &self.stream.phases[at.phase];
        let n_arms = self.row.score.len();
        let row = &mut self.row;
        let features = self.ground.features.row(at.row);
        let learner = &mut self.bandit.learner;
        learner.predict_into(features, self.sources[at.row], &mut row.score, &mut row.score_se);
        let logged = self.ground.table.score.row(at.row);
        for (arm, score) in logged.iter().enumerate() {
            row.cost_usd[arm] = self.costs[at.row * n_arms + arm] * phase.price[arm] as f32;
            row.eligible[arm] = phase.available[arm] && !score.is_nan();
        }
        if !row.eligible.contains(&true) {
            // Nothing is known of the arms that are left: any of them, and nothing will be learned.
            row.eligible.copy_from_slice(&phase.available);
        }
        let seen = PredictionRow {
            score: &row.score,
            score_se: Some(&row.score_se),
            cost_usd: &row.cost_usd,
            members: learner.deviations(),
            n_updates: learner.n_updates(),
        };
        let distribution = match &self.pacer {
            None => self.selector.distribution(&seen, &row.eligible),
            Some(pacer) => {
                let (score, eligible) = net_scores(&seen, &row.eligible, pacer.lambda());
                self.selector.distribution(&PredictionRow { score: &score, ..seen }, &eligible)
            }
        };
        let arm = drawn(&distribution, draw);
        let expected_usd = f64::from(self.row.cost_usd[arm]);
        if let (Some(pacer), false) = (&mut self.pacer, expected_usd.is_nan()) {
            pacer.decided(arm, expected_usd);
        }
        let rival = rival.map(|draw| drawn(&distribution, draw));
        self.calls.push(Call { arm, rival, expected_usd, told: false });
    }

    /// Score, price and latency of an arm in a round.
    fn outcome(&self, round: usize, arm: usize) -> (Option<f64>, Option<f64>, Option<f64>) {
        let at = self.stream.rounds[round];
        let phase = &self.stream.phases[at.phase];
        let table = self.ground.table;
        let score = table.score.get(at.row, arm).map(|score| f64::from(score) * phase.score[arm]);
        let cost = table.cost_usd.get(at.row, arm).map(f64::from);
        let mean = || self.ground.arms[arm].price.mean_cost_usd;
        let cost = cost.or_else(mean).map(|usd| usd * phase.price[arm]);
        let latency = table.latency_ms.as_ref().and_then(|cells| cells.get(at.row, arm)).map(f64::from);
        (score, cost, latency.or(self.ground.arms[arm].mean_latency_ms))
    }

    fn hear(&mut self, delivery: &Delivery) -> Result<(), LearnError> {
        let Call { arm, rival, expected_usd, told } = self.calls[delivery.of];
        if told {
            return Ok(());
        }
        self.calls[delivery.of].told = true;
        let (score, cost, latency) = self.outcome(delivery.of, arm);
        if let (Some(pacer), Some(billed), false) = (&mut self.pacer, cost, expected_usd.is_nan()) {
            pacer.billed(arm, expected_usd, billed);
        }
        let Some(score) = score else { return Ok(()) };
        let turned = |score: f64| if delivery.poisoned { 1.0 - score } else { score };
        let reward = match rival {
            None => self.bandit.lesson(turned(score), cost, latency),
            // Two answers of one arm say nothing about it.
            Some(rival) if rival == arm => return Ok(()),
            Some(rival) => {
                let (other, other_cost, other_latency) = self.outcome(delivery.of, rival);
                let Some(other) = other else { return Ok(()) };
                let own = self.bandit.lesson(score, cost, latency);
                turned(preferred(own, self.bandit.lesson(other, other_cost, other_latency)))
            }
        };
        let row = self.stream.rounds[delivery.of].row;
        let mut experience = Experience {
            features: self.ground.features.row(row),
            source: self.sources[row],
            arm,
            rival,
            reward,
            weight: if delivery.poisoned { self.settings.trust } else { 1.0 },
            time: delivery.of as u64,
        };
        self.weigh(&mut experience, if delivery.poisoned { STRANGER } else { USER });
        self.bandit.learner.learn(&experience)
    }

    /// Where trust is learned, weighs a report by that in who says so.
    fn weigh(&mut self, experience: &mut Experience<'_>, reporter: &str) {
        let Some(trust) = &mut self.trust else { return };
        let Row { score, score_se, .. } = &mut self.row;
        self.bandit.learner.predict_into(experience.features, experience.source, score, score_se);
        experience.weight = trust.weigh(&Report {
            reporter,
            arm: experience.arm,
            reward: experience.reward,
            expected: f64::from(score[experience.arm]),
            weight: experience.weight,
            now: self.calls.len() as u64,
        });
    }

    /// What the round was worth, beside what it could have been.
    fn account(&mut self, round: usize, tracer: &mut Tracer) {
        let at = self.stream.rounds[round];
        let phase = &self.stream.phases[at.phase];
        let expected = |arm: usize| {
            let known = self.ground.expected.and_then(|cells| cells.get(at.row, arm));
            known.map(|score| f64::from(score) * phase.score[arm])
        };
        let worth = |arm: usize| {
            let (logged, cost, latency) = self.outcome(round, arm);
            let score = expected(arm).or(logged)?;
            Some((self.settings.utility.of(score, cost, latency), score, cost))
        };
        let each = (0..self.row.score.len()).map(|arm| if phase.available[arm] { worth(arm) } else { None });
        let Call { arm, rival, .. } = self.calls[round];
        tracer.round(arm, rival, each);
    }
}

/// The chance that the first of two rewards is preferred, `(1 + one - other) / 2` within `[0, 1]`: the linear link of
/// duels (Ailon, Karnin and Joachims, arXiv 1405.3396). The sign of the difference alone would let the cheaper of two
/// equally good answers win every time, by however little.
pub(crate) fn preferred(one: f64, other: f64) -> f64 {
    f64::midpoint(1.0, one - other).clamp(0.0, 1.0)
}

/// The arm at which the cumulated distribution passes `draw`; rounding never leaves none.
fn drawn(distribution: &[f32], draw: f32) -> usize {
    let mut left = draw;
    let mut last = 0;
    for (arm, &p) in distribution.iter().enumerate().filter(|(_, p)| **p > 0.0) {
        last = arm;
        left -= p;
        if left < 0.0 {
            break;
        }
    }
    last
}

/// Rows `0..n_rows` in a random order, again and again until there are `n_rounds`.
pub fn shuffled(n_rows: usize, n_rounds: usize, seed: u64) -> Vec<usize> {
    let mut rng = rng::stream(seed, "simulate order");
    let mut out = Vec::with_capacity(n_rounds);
    while out.len() < n_rounds && n_rows > 0 {
        let mut rows: Vec<usize> = (0..n_rows).collect();
        shuffle(&mut rows, &mut rng);
        rows.truncate(n_rounds - out.len());
        out.append(&mut rows);
    }
    out
}

fn shuffle(rows: &mut [usize], rng: &mut Rng) {
    for i in (1..rows.len()).rev() {
        rows.swap(i, rng.random_range(0..=i));
    }
}
