//! Learned span weights beside weights that stay: five seeds of every kind of agent on tasks that mix skills.

use crate::judge::fixed;
use routewright_data::features::{FeatureInput, Featurizer as _, Sight, StateFeatures};
use routewright_data::log::TaskRow;
use routewright_data::tasks::Reward;
use routewright_decoder::backend::Backend;
use routewright_decoder::environment::TaskEnvironment;
use routewright_policy::env::{Choice, Chooser, Environment as _, SpanRule, State};
use routewright_policy::forms::Simplex;
use routewright_trainer::progress::Progress;
use routewright_trainer::rlae::{Agents, Curve, Params, train};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

/// Seeds of every kind of agent.
pub const SEEDS: u64 = 5;
/// Rounds of play; every answer of 128 in a round is played once.
const ROUNDS: u64 = 15;
/// Steps of the grid of weights that stay.
const GRID: usize = 20;

/// Tasks to learn on, to choose on, and to judge on.
#[derive(Debug, Clone)]
pub struct Lists {
    /// To learn on.
    pub train: Vec<TaskRow>,
    /// To choose on.
    pub valid: Vec<TaskRow>,
    /// To judge on: orders of skills as in `train`.
    pub test: Vec<TaskRow>,
    /// To judge on: orders of skills that are not in `train`.
    pub orders: Vec<TaskRow>,
}

/// Mean share of right lines on the two lists that judge, with standard errors over tasks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Worth {
    /// On `test`.
    pub test: f64,
    /// On `orders`.
    pub orders: f64,
}

/// One kind of agent: every seed.
#[derive(Debug, Clone)]
pub struct Line {
    /// What it is called.
    pub name: &'static str,
    /// What each seed is worth.
    pub worths: Vec<Worth>,
    /// How each seed learned.
    pub curves: Vec<Curve>,
}

/// The kinds that are compared.
pub fn kinds() -> [(&'static str, Params); 4] {
    let span = SpanRule { units: 40, marks: vec!["\n".to_owned()] };
    let base = Params { span, rounds: ROUNDS, every: 3, ..Params::default() };
    [
        ("PPO, one network", base.clone()),
        ("MAPPO, joint", Params { agents: Agents::Joint, ..base.clone() }),
        ("MAPPO, independent", Params { agents: Agents::Independent, ..base.clone() }),
        ("PPO, question only", Params { sight: Sight::Prompt, ..base }),
    ]
}

/// Says what the policy says, nothing explored.
struct Center<'a>(&'a Simplex, &'a StateFeatures);

impl Chooser for Center<'_> {
    fn choose(&mut self, state: &State<'_>) -> Result<Choice, String> {
        let features =
            self.1.featurize(&[FeatureInput::from(&*state.to_text())]).map_err(|e| e.to_string())?;
        let weights = self.0.over_weights(features.row(0)).center();
        Ok(Choice { weights, log_density: None })
    }
}

/// Learns and judges one kind of agent.
///
/// # Errors
/// If a model fails.
pub fn line(
    name: &'static str,
    params: &Params,
    ensemble: &Path,
    lists: &Lists,
    progress: &dyn Progress,
) -> anyhow::Result<Line> {
    let all: Vec<TaskRow> =
        [&lists.train, &lists.valid, &lists.test, &lists.orders].into_iter().flatten().cloned().collect();
    let mut ends = Vec::new();
    let mut end = 0;
    for list in [&lists.train, &lists.valid, &lists.test, &lists.orders] {
        let start = end;
        end += list.len();
        ends.push((start..end).collect::<Vec<usize>>());
    }
    let environment = TaskEnvironment::open(ensemble, Some(params.span.clone()), all, Reward::Lines)?;
    let featurizer = params.featurizer()?;
    let mut line = Line { name, worths: Vec::new(), curves: Vec::new() };
    for seed in 0..SEEDS {
        let learned = train(params, &environment, [&ends[0], &ends[1]], seed, progress, None)?;
        let mean = |tasks: &[usize]| -> anyhow::Result<f64> {
            let mut sum = 0.0;
            for task in tasks {
                let outcome = environment.play(*task, 0, &mut Center(&learned.form, &featurizer));
                sum += f64::from(outcome.map_err(anyhow::Error::msg)?.reward);
            }
            Ok(sum / tasks.len().max(1) as f64)
        };
        line.worths.push(Worth { test: mean(&ends[2])?, orders: mean(&ends[3])? });
        line.curves.push(learned.curve);
    }
    Ok(line)
}

/// Weights that stay: each member alone, and the best of a grid by the validation tasks.
///
/// # Errors
/// If a model fails.
pub fn stays(backends: &[Arc<dyn Backend>], lists: &Lists) -> anyhow::Result<Vec<(String, Worth, [f64; 2])>> {
    let mean =
        |first: f32, tasks: &[TaskRow]| -> anyhow::Result<f64> { Ok(fixed(backends, first, tasks)?.share()) };
    let mut best = (0.0_f32, f64::NEG_INFINITY);
    for step in 0..=GRID {
        let first = step as f32 / GRID as f32;
        let worth = mean(first, &lists.valid)?;
        if worth > best.1 {
            best = (first, worth);
        }
    }
    let mut rows = Vec::new();
    let rows_of =
        [(1.0, format!("{} alone", backends[0].name())), (0.0, format!("{} alone", backends[1].name()))];
    for (first, name) in rows_of.into_iter().chain([(best.0, format!("best static, {:.2}", best.0))]) {
        let worth = Worth { test: mean(first, &lists.test)?, orders: mean(first, &lists.orders)? };
        // Lines are right or wrong.
        let error = |worth: f64, tasks: &[TaskRow]| {
            let lines: usize = tasks.iter().map(|task| task.skills.len()).sum();
            (worth * (1.0 - worth) / lines.max(1) as f64).sqrt()
        };
        rows.push((name, worth, [error(worth.test, &lists.test), error(worth.orders, &lists.orders)]));
    }
    Ok(rows)
}

/// Mean over seeds and its standard error.
fn mean(values: &[f64]) -> (f64, f64) {
    let n = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
    (mean, (variance / n).sqrt())
}

/// The table and the curves, as Markdown.
pub fn report(stays: &[(String, Worth, [f64; 2])], lines: &[Line]) -> String {
    let mut text = "| weights | test | unseen orders |\n|---|---|---|\n".to_owned();
    for (name, worth, errors) in stays {
        let (test, orders) = (worth.test, worth.orders);
        let _ = writeln!(text, "| {name} | {test:.4} ± {:.4} | {orders:.4} ± {:.4} |", errors[0], errors[1]);
    }
    for line in lines {
        let (test, test_se) = mean(&line.worths.iter().map(|w| w.test).collect::<Vec<f64>>());
        let (orders, orders_se) = mean(&line.worths.iter().map(|w| w.orders).collect::<Vec<f64>>());
        let _ = writeln!(
            text,
            "| {} ({} seeds) | {test:.4} ± {test_se:.4} | {orders:.4} ± {orders_se:.4} |",
            line.name,
            line.worths.len()
        );
    }
    text.push_str("\nReward on the validation tasks, mean over seeds, by answers played:\n\n| answers |");
    for line in lines {
        let _ = write!(text, " {} |", line.name);
    }
    let _ = writeln!(text, "\n|---|{}", "---|".repeat(lines.len()));
    let n_points = lines.iter().flat_map(|line| &line.curves).map(Vec::len).min().unwrap_or(0);
    for at in 0..n_points {
        let _ = write!(text, "| {} |", lines[0].curves[0][at].episodes);
        for line in lines {
            let points: Vec<f64> = line.curves.iter().map(|curve| f64::from(curve[at].valid)).collect();
            let _ = write!(text, " {:.4} |", mean(&points).0);
        }
        text.push('\n');
    }
    text
}
