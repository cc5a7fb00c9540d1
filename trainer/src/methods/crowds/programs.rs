//! Makes programs `select` of what methods learn.

use super::log::Log;
use crate::method::{FitContext, FitError, Fitted};
use crate::methods::baselines::means;
use crate::train::arms;
use routewright_data::features::Column;
use routewright_policy::Router;
use routewright_policy::forms::{CostModel, Linear, Link};
use routewright_policy::programs::select::{Grouping, Judges, Select, Selection, Skills};
use routewright_policy::selectors::Argmax;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A selection with its routers.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) selection: Selection,
    pub(super) judges: Judges,
}

impl Made {
    /// The fit, with the calls of a query and their mean price among its metrics.
    ///
    /// # Errors
    /// If the program refuses what was made.
    pub(super) fn fitted(
        self,
        log: &Log<'_>,
        context: &FitContext<'_>,
        params: &impl Serialize,
        method: &'static str,
    ) -> Result<Fitted, FitError> {
        let all = arms(context.train);
        let calls = self.calls_by_member(log);
        let program = Select::new(self.selection, self.judges, &all)
            .map_err(|error| FitError::Numeric { method, reason: error.to_string() })?;
        let mut fitted = Fitted::steps(Box::new(program), all.len(), params);
        let price = |(model, calls): (&String, &f64)| {
            let arm = all.iter().find(|arm| arm.model == *model)?;
            Some(calls * arm.price.mean_cost_usd?)
        };
        let cost: Option<f64> = calls.iter().map(price).sum();
        fitted.metrics.insert("calls".to_owned(), calls.values().sum());
        fitted.metrics.extend(cost.map(|usd| ("cost_usd".to_owned(), usd)));
        Ok(fitted)
    }

    /// Mean calls of a query of the log to each member that is ever called.
    fn calls_by_member(&self, log: &Log<'_>) -> BTreeMap<String, f64> {
        let members = &self.selection.members;
        let all: Vec<usize> = (0..members.len()).collect();
        let mut calls = BTreeMap::new();
        for query in log.queries {
            let task = query.source.as_ref().and_then(|task| self.selection.asked_by_task.get(task));
            let asked = task.or(self.selection.asked.as_ref()).unwrap_or(&all);
            for member in asked {
                *calls.entry(members[*member].clone()).or_insert(0.0) += 1.0;
            }
        }
        calls.values_mut().for_each(|calls| *calls /= log.queries.len().max(1) as f64);
        calls
    }
}

/// A selection without blocks and skills.
pub(super) fn selection(log: &Log<'_>, members: Vec<String>, grouping: Grouping) -> Selection {
    Selection {
        members,
        asked: None,
        asked_by_task: BTreeMap::new(),
        answers: log.rule.name.to_owned(),
        reads: log.reads,
        grouping,
        skills: Skills::default(),
        blocks: Vec::new(),
        least: None,
    }
}

/// Calls the best single member alone.
pub(super) fn alone(log: &Log<'_>, context: &FitContext<'_>) -> Made {
    let best = means::best_single(&context.train.select_arms(&log.arms), context.average).unwrap_or(0);
    let score = context.train.score.column_mean(log.arms[best]).unwrap_or_default();
    only(log, best, score, context.train.n_arms())
}

/// Calls one member alone.
pub(super) fn only(log: &Log<'_>, member: usize, score: f64, n_arms: usize) -> Made {
    let skills = level(1, score);
    let members = vec![log.models[member].clone()];
    let selection = Selection { skills, ..selection(log, members, Grouping::Apart) };
    Made { selection, judges: linear("candidate", &[score], Link::Identity, n_arms).into() }
}

/// Skills of members that are all as good.
pub(super) fn level(n: usize, score: f64) -> Skills {
    Skills { overall: vec![score; n], tasks: BTreeMap::new(), collision: 1.0, collisions: BTreeMap::new() }
}

/// One linear function of a vector, the intercept last, for every arm.
pub(super) fn linear(column: &str, weights: &[f64], link: Link, n_arms: usize) -> Router {
    let dim = weights.len() - 1;
    let one: Vec<f32> = weights.iter().map(|weight| *weight as f32).collect();
    let cost = CostModel::constant(vec![f32::NAN; n_arms]);
    Router {
        featurizer: Arc::new(Column::new(column, dim)),
        predictor: Box::new(Linear::new(dim, link, one.repeat(n_arms), cost)),
        selector: Box::new(Argmax),
    }
}
