//! What needs no features of the query: strengths of the models, the longer answer, and both.
//!
//! Bradley-Terry: `P(a beats b) = sigmoid(s_a - s_b)`, each judgement weighted, a tie half a win of either, with
//! `s ~ N(0, 1 / PRIOR)`; the mode by Newton's method. `longer` has one coefficient on `ln(1 + characters of a) -
//! ln(1 + characters of b)`, `both` all of them. A router that does not beat `both` has learned nothing of the query.

use super::judge::Forecast;
use super::logistic::{self, Observation, product};
use routewright_data::linalg::LinalgError;
use routewright_data::{Pair, PairTable};

/// Precision of a strength a priori: a hundredth of an observation.
const PRIOR: f64 = 0.01;

/// What a yardstick looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Yardstick {
    /// Which models answered.
    Strengths,
    /// How long the answers are.
    Longer,
    /// Both.
    Both,
}

impl Yardstick {
    /// All of them, in the order of a table.
    pub const ALL: [Self; 3] = [Self::Strengths, Self::Longer, Self::Both];

    /// Name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Strengths => "bradley-terry",
            Self::Longer => "longer",
            Self::Both => "bradley-terry+longer",
        }
    }

    fn x(self, pair: &Pair, columns: &[Option<usize>], n: usize) -> Option<Vec<f64>> {
        let mut x = Vec::with_capacity(n + 1);
        if self != Self::Longer {
            x.resize(n, 0.0);
            // A model that train does not know has strength 0, the mean.
            columns[pair.model_a].into_iter().for_each(|at| x[at] += 1.0);
            columns[pair.model_b].into_iter().for_each(|at| x[at] -= 1.0);
        }
        if self != Self::Strengths {
            let [a, b] = pair.lengths?.map(|n| f64::from(n).ln_1p());
            x.push(a - b);
        }
        Some(x)
    }
}

/// Strengths of the models of `train` in log-odds, mean 0.
///
/// # Errors
/// If the system cannot be solved.
pub fn strengths(train: &PairTable) -> Result<Vec<f64>, LinalgError> {
    let columns: Vec<Option<usize>> = (0..train.models.len()).map(Some).collect();
    let mut theta = fit(Yardstick::Strengths, train, &columns)?;
    let mean = theta.iter().sum::<f64>() / theta.len().max(1) as f64;
    theta.iter_mut().for_each(|t| *t -= mean);
    Ok(theta)
}

/// What a yardstick fitted on `train` says of the judgements of `test`; `None` where the log lacks the answers it
/// reads.
///
/// # Errors
/// If the system cannot be solved.
pub fn forecast(
    yardstick: Yardstick,
    train: &PairTable,
    test: &PairTable,
) -> Result<Option<Forecast>, LinalgError> {
    let of_train: Vec<Option<usize>> = (0..train.models.len()).map(Some).collect();
    let needs_lengths = yardstick != Yardstick::Strengths;
    if needs_lengths && train.pairs.iter().chain(&test.pairs).any(|pair| pair.lengths.is_none()) {
        return Ok(None);
    }
    let theta = fit(yardstick, train, &of_train)?;
    let column = |model: &String| train.models.iter().position(|known| known == model);
    let columns: Vec<Option<usize>> = test.models.iter().map(column).collect();
    let n = train.models.len();
    let margin = |pair: &Pair| yardstick.x(pair, &columns, n).map_or(0.0, |x| product(&theta, &x));
    let margins: Vec<f64> = test.pairs.iter().map(margin).collect();
    Ok(Some(Forecast { margins: margins.clone(), logits: Some(margins) }))
}

fn fit(yardstick: Yardstick, train: &PairTable, columns: &[Option<usize>]) -> Result<Vec<f64>, LinalgError> {
    let n = train.models.len();
    let observation = |pair: &Pair| {
        let (y, weight) = (f64::from(pair.winner.share_of_a()), f64::from(pair.weight));
        Some(Observation { x: yardstick.x(pair, columns, n)?, y, weight })
    };
    let observations: Vec<Observation> = train.pairs.iter().filter_map(observation).collect();
    let k = match yardstick {
        Yardstick::Strengths => n,
        Yardstick::Longer => 1,
        Yardstick::Both => n + 1,
    };
    logistic::fit(&observations, &vec![PRIOR; k])
}
