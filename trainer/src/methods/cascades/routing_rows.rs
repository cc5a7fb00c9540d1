//! What `cascade-routing` learns from a log: estimators, beliefs, and rows on which its rule is played.

use super::cascade_routing::{CascadeRouting, Params};
use super::chain;
use super::logistic_scorer::{self, Answered, Penalties};
use super::text_scorer;
use crate::method::{FitContext, FitError, Method};
use crate::methods::neighbors::knn;
use crate::methods::scorers::ridge;
use crate::methods::votes::weights::reading;
use crate::validation::Folds;
use rand::seq::SliceRandom as _;
use routewright_data::answers::AnswerTable;
use routewright_data::answers::normalize::Normalizer;
use routewright_data::{FeatureMatrix, rng};
use routewright_policy::lookahead::{self, Beliefs, Draws, Heard, NUMBERS, Outlook};
use routewright_policy::programs::{
    CascadeRouting as Program, CascadeRoutingConfig, LambdaPoint, ProgramError, Reading,
};
use routewright_policy::selectors::Argmax;
use routewright_policy::{Arm, Batch, Predictor, Router};
use serde_json::json;
use std::sync::Arc;

/// Parts that the queries are dealt into before the slices are put together.
const PARTS: usize = 20;
/// Orders of arms tried on each query when beliefs are learned.
const ORDERS: usize = 4;
/// Penalty of the weights of beliefs.
const LINK_PENALTY: f64 = 1.0;

/// How a rule is played.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setting {
    /// Score that a US dollar is worth.
    pub(super) lambda: f64,
    /// Whether the dearest of tied sets is taken.
    pub(super) is_dear: bool,
}

/// What is learned.
pub(super) struct Learned {
    before: Box<dyn Predictor>,
    after: Router,
    pub(super) beliefs: Beliefs,
    /// The arm of the best mean on the first two slices.
    pub(super) reference: usize,
    /// Rows that chose nothing so far.
    pub(super) judged: Table,
    rule: &'static Normalizer,
    reads: Reading,
}

/// Outcomes of rows, with what the estimators say of them; everything has shape `(rows, n_arms)`.
pub(super) struct Table {
    n_arms: usize,
    scores: Vec<f64>,
    costs: Vec<f64>,
    before: Vec<f64>,
    expected_usd: Vec<f64>,
    after: Vec<f64>,
    forms: Vec<Option<String>>,
    /// Arms by rising mean price.
    order: Vec<usize>,
}

/// Fits estimators and beliefs.
///
/// # Errors
/// If the log has too few answered queries.
pub(super) fn learn(params: &Params, context: &FitContext<'_>) -> Result<Learned, FitError> {
    let method = CascadeRouting::NAME;
    let fault = |reason: String| FitError::Log { method, reason };
    let rule = Normalizer::named(&params.normalize).map_err(|reason| FitError::Params { method, reason })?;
    let answers =
        context.answers.ok_or_else(|| fault("it has no answers, expected a column `response`".to_owned()))?;
    let rows = chain::complete_rows(context, |row, arm| text_scorer::text_of(answers, row, arm).is_some());
    let [first, second, third] = slices(params, context, &rows)?;
    let n_arms = context.train.n_arms();
    let train = context.train.select_rows(&first);
    let features = context.features.select_rows(&first);
    let own = FitContext { train: &train, features: &features, answers: None, pairs: None, ..*context };
    let settings = if params.before == "knn" { json!({ "k": [40], "power": [5.0] }) } else { json!({}) };
    let row = if params.before == "knn" { knn::ROW } else { ridge::ROW };
    let before = (row.fit)(&settings, &own)?.predictor;
    let featurizer = text_scorer::featurizer(method, context, answers, &first)?;
    let learned = text_scorer::answered(method, context, answers, &featurizer, &first)?;
    let penalties = Penalties { shared: params.shared_penalty, own: params.own_penalty };
    let weights = logistic_scorer::fit(&learned, n_arms, penalties, method)?;
    let reads = reading(answers);
    let table = |rows: &[usize]| -> Result<Table, FitError> {
        let answered = text_scorer::answered(method, context, answers, &featurizer, rows)?;
        let after = logistic_scorer::predict(&weights, &answered);
        Table::of(context, answers, rows, &*before, after, (rule, reads))
    };
    let (learned, judged) = (table(&second)?, table(&third)?);
    let seen: Vec<usize> = first.iter().chain(&second).copied().collect();
    let reference = chain::table(context, &seen, Vec::new()).best_arm();
    let beliefs = learned.beliefs(params.depth, context.seed)?;
    let after = text_scorer::router(featurizer, weights, n_arms);
    Ok(Learned { before, after, beliefs, reference, judged, rule, reads })
}

fn slices(params: &Params, context: &FitContext<'_>, rows: &[usize]) -> Result<[Vec<usize>; 3], FitError> {
    let folds = Folds::new(context.train, context.seed, PARTS);
    let total: f64 = params.slices.iter().sum();
    let ends = [params.slices[0] / total, (params.slices[0] + params.slices[1]) / total];
    let slice_of = |row: &usize| {
        let at = (folds.of(*row) as f64 + 0.5) / PARTS as f64;
        ends.iter().filter(|end| at >= **end).count()
    };
    let slices: [Vec<usize>; 3] =
        std::array::from_fn(|slice| rows.iter().copied().filter(|row| slice_of(row) == slice).collect());
    if slices.iter().any(|slice| slice.len() < 2) {
        let n = rows.len();
        let reason =
            format!("{n} queries have score, price and answer of every model, too few for three slices");
        return Err(FitError::Log { method: CascadeRouting::NAME, reason });
    }
    Ok(slices)
}

impl Learned {
    /// The program at a price of money and a probability of the dearest of tied sets.
    pub(super) fn program(
        self,
        params: &Params,
        context: &FitContext<'_>,
        (lambda, gamma): (f64, f64),
        points: Vec<(f64, f64, f64)>,
        arms: &[Arm],
    ) -> Result<Program, ProgramError> {
        let point = |(lambda, score, cost_usd): (f64, f64, f64)| LambdaPoint { lambda, score, cost_usd };
        let config = CascadeRoutingConfig {
            beliefs: self.beliefs,
            lambda,
            gamma,
            depth: params.depth.min(arms.len()),
            options: params.options,
            answers: self.rule.name.to_owned(),
            reads: self.reads,
            points: points.into_iter().map(point).collect(),
        };
        let featurizer = Arc::clone(context.featurizer);
        let before = Router { featurizer, predictor: self.before, selector: Box::new(Argmax) };
        Program::new(config, before, self.after, arms)
    }
}

impl Table {
    fn of(
        context: &FitContext<'_>,
        answers: &AnswerTable,
        rows: &[usize],
        before: &dyn Predictor,
        after: Vec<f32>,
        (rule, reads): (&Normalizer, Reading),
    ) -> Result<Self, FitError> {
        let (train, n_arms) = (context.train, context.train.n_arms());
        let features = context.features.select_rows(rows);
        let sources: Vec<Option<&str>> =
            rows.iter().map(|row| train.queries[*row].source.as_deref()).collect();
        let found = before
            .predict(&Batch { sources: &sources, ..Batch::of(&features) })
            .map_err(|error| FitError::Numeric { method: CascadeRouting::NAME, reason: error.to_string() })?;
        let cells = || rows.iter().flat_map(|row| (0..n_arms).map(move |arm| (*row, arm)));
        let means: Vec<f64> = (0..n_arms).map(|arm| train.cost_usd.column_mean(arm).unwrap_or(0.0)).collect();
        let usd = |arm: usize| train.cost_usd.column_mean(arm).unwrap_or(f64::INFINITY);
        let mut order: Vec<usize> = (0..n_arms).collect();
        order.sort_by(|a, b| usd(*a).total_cmp(&usd(*b)).then(a.cmp(b)));
        let expected = |(at, usd): (usize, &f32)| {
            if usd.is_finite() { f64::from(*usd) } else { means[at % n_arms] }
        };
        let form = |(row, arm): (usize, usize)| {
            let answer = answers.samples(row, arm).next()?;
            reads.form(rule, answer.answer, answer.text)
        };
        Ok(Self {
            n_arms,
            scores: cells()
                .map(|(row, arm)| f64::from(train.score.get(row, arm).unwrap_or_default()))
                .collect(),
            costs: cells()
                .map(|(row, arm)| f64::from(train.cost_usd.get(row, arm).unwrap_or_default()))
                .collect(),
            before: found.score.iter().map(|score| f64::from(*score)).collect(),
            expected_usd: found.cost_usd.iter().enumerate().map(expected).collect(),
            after: after.into_iter().map(f64::from).collect(),
            forms: cells().map(form).collect(),
            order,
        })
    }

    fn n(&self) -> usize {
        self.scores.len() / self.n_arms.max(1)
    }

    pub(super) fn score(&self, row: usize, arm: usize) -> f64 {
        self.scores[row * self.n_arms + arm]
    }

    fn of_row<'a>(&self, values: &'a [f64], row: usize) -> &'a [f64] {
        &values[row * self.n_arms..(row + 1) * self.n_arms]
    }

    fn heard(&self, row: usize, arm: usize) -> Heard<'_> {
        let at = row * self.n_arms + arm;
        Heard::Answer(self.after[at], self.forms[at].as_deref())
    }

    /// The arm of the best mean, with its mean score and price.
    pub(super) fn best_single(&self) -> (usize, (f64, f64)) {
        let mean = |values: &[f64], arm: usize| {
            values.iter().skip(arm).step_by(self.n_arms).sum::<f64>() / self.n().max(1) as f64
        };
        let means: Vec<(f64, f64)> =
            (0..self.n_arms).map(|arm| (mean(&self.scores, arm), mean(&self.costs, arm))).collect();
        let better = |a: &usize, b: &usize| means[*a].0.total_cmp(&means[*b].0).then(b.cmp(a));
        let best = (0..self.n_arms).max_by(better).unwrap_or(0);
        (best, means[best])
    }

    /// How answers are believed: logistic regression on the numbers of answers among random sets of others; and how
    /// estimates move.
    fn beliefs(&self, depth: usize, seed: u64) -> Result<Beliefs, FitError> {
        let n = self.n_arms;
        let strengths: Vec<f64> = (0..n)
            .map(|arm| self.scores.iter().skip(arm).step_by(n).sum::<f64>() / self.n().max(1) as f64)
            .collect();
        let mut beliefs = Beliefs { link: [0.0; NUMBERS], strengths, covariance: vec![0.0; n * n] };
        let mut rng = rng::stream(seed, "cascade routing orders");
        let (mut xs, mut ys) = (Vec::new(), Vec::new());
        for row in 0..self.n() {
            for _ in 0..ORDERS {
                let mut order: Vec<usize> = (0..n).collect();
                order.shuffle(&mut rng);
                let mut heard = vec![Heard::Nothing; n];
                for &arm in order.iter().take(depth) {
                    heard[arm] = self.heard(row, arm);
                    for &one in order.iter().take(depth) {
                        if let Some(numbers) = beliefs.numbers(one, self.of_row(&self.before, row), &heard) {
                            // The constant is the intercept of the regression.
                            xs.extend(numbers[..NUMBERS - 1].iter().map(|x| *x as f32));
                            ys.push(self.score(row, one));
                        }
                    }
                }
            }
        }
        let rows = Answered {
            features: FeatureMatrix::from_vec(ys.len(), NUMBERS - 1, xs),
            arms: vec![0; ys.len()],
            scores: ys,
        };
        let penalties = Penalties { shared: LINK_PENALTY, own: f64::MAX.sqrt() };
        let link = logistic_scorer::fit(&rows, 1, penalties, CascadeRouting::NAME)?;
        beliefs.link.iter_mut().zip(&link).for_each(|(to, from)| *to = f64::from(*from));
        beliefs.covariance = self.covariance(&beliefs);
        Ok(beliefs)
    }

    /// Covariance over rows of what the first answer of each arm changes of its estimate.
    fn covariance(&self, beliefs: &Beliefs) -> Vec<f64> {
        let n = self.n_arms;
        let mut sums = vec![0.0; n * n];
        let mut means = vec![0.0; n];
        for row in 0..self.n() {
            let before = self.of_row(&self.before, row);
            let change = |arm: usize| {
                let mut heard = vec![Heard::Nothing; n];
                heard[arm] = self.heard(row, arm);
                beliefs.numbers(arm, before, &heard).map_or(0.0, |x| beliefs.after(&x) - before[arm])
            };
            let changes: Vec<f64> = (0..n).map(change).collect();
            for i in 0..n {
                means[i] += changes[i];
                (0..n).for_each(|j| sums[i * n + j] += changes[i] * changes[j]);
            }
        }
        let rows = self.n().max(1) as f64;
        (0..n * n).map(|at| sums[at] / rows - means[at / n] * means[at % n] / (rows * rows)).collect()
    }

    /// Prices of money from where only the cheapest is called to where money is no object, falling.
    pub(super) fn lambdas(&self, n: usize) -> Vec<f64> {
        let (_, (_, usd)) = self.best_single();
        let unit = 1.0 / usd.max(1e-12);
        let step = |at: usize| unit * 100.0 * (1e-4_f64).powf(at as f64 / (n - 2).max(1) as f64);
        (0..n - 1).map(step).chain([0.0]).collect()
    }

    /// Score and price of every row.
    pub(super) fn play(&self, beliefs: &Beliefs, setting: Setting, params: &Params) -> Vec<(f64, f64)> {
        use rayon::prelude::*;
        let draws = Draws::new(self.n_arms);
        (0..self.n())
            .into_par_iter()
            .map(|row| self.play_row(row, beliefs, setting, params, &draws))
            .collect()
    }

    fn play_row(
        &self,
        row: usize,
        beliefs: &Beliefs,
        setting: Setting,
        params: &Params,
        draws: &Draws,
    ) -> (f64, f64) {
        let n = self.n_arms;
        let before = self.of_row(&self.before, row);
        let mut heard = vec![Heard::Nothing; n];
        let mut cost = 0.0;
        loop {
            let estimates = beliefs.estimates(before, &heard);
            let called: Vec<bool> = heard.iter().map(|one| *one != Heard::Nothing).collect();
            let open: Vec<bool> = called.iter().map(|called| !called).collect();
            let n_called = called.iter().filter(|called| **called).count();
            let outlook = Outlook {
                scores: &estimates.scores,
                costs: self.of_row(&self.expected_usd, row),
                called: &called,
                open: &open,
                order: Some(&self.order),
                covariance: Some(&estimates.covariance),
            };
            let choice = if n_called < params.depth {
                let found = lookahead::next(&outlook, setting.lambda, params.options, params.depth, draws);
                if setting.is_dear { found.dear } else { found.cheap }
            } else {
                None
            };
            let Some(arm) = choice else {
                let answered = (0..n).filter(|arm| called[*arm]);
                let best = answered.max_by(|a, b| estimates.scores[*a].total_cmp(&estimates.scores[*b]));
                return (best.map_or(0.0, |arm| self.score(row, arm)), cost);
            };
            heard[arm] = self.heard(row, arm);
            cost += self.costs[row * n + arm];
        }
    }
}
