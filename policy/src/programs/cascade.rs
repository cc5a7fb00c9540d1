//! A cascade: call arms in a fixed order until a scorer is content with the answer in hand.
//!
//! The program has several *strategies*, each an order of arms and a threshold for each but the last, with the score
//! and the price they had on queries that chose none of them. One is the default; the objective of a request chooses
//! another, as lambda chooses an arm of a router: the greatest `quality * score - cost * cost_usd`.
//!
//! Part `scorer` reads query and answer as one text (`data::features::QueryAnswer`) and predicts, for each arm, the
//! score of that text as an answer of that arm. With `confidence`, a list of features of what the model said of its
//! certainty (`data::answers::confidence`), it reads these instead, as a vector, and nothing of the text; an answer
//! that lacks one of them is never good enough. An answer is returned at once where its score is at least the threshold
//! of its stage; the last stage has none. A stage whose arm the request excludes, or that no longer fits budget and
//! deadline, is skipped; a failed call passes on to the next stage. Where nothing is left, the answer of the last stage
//! that answered is returned, or, where the order was cut short, the one of the best score.

use super::{ProgramError, ProgramRow, ProgramState, config, constant_router, objective, only_part};
use crate::program::{
    Action, Answer, AnswerNeed, Bounds, Call, Episode, Estimate, Part, Program, Reply, Step, StepError,
    StepReason,
};
use crate::{Arm, DecideError, PredictError, Request, Router};
use routewright_data::answers::confidence;
use routewright_data::features::{FeatureInput, QueryAnswer};
use routewright_data::suggest::near_names;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub(super) const ROW: ProgramRow = ProgramRow {
    name: "cascade",
    version: 2,
    title: "calls arms in a fixed order until a scorer is content with the answer",
    load: Cascade::load,
    example: |arms| {
        let order: Vec<&str> = arms.iter().map(|arm| arm.model.as_str()).collect();
        // The answers of all arms but the last are found wanting.
        let scores = (0..arms.len()).map(|arm| if arm + 1 == arms.len() { 0.9 } else { 0.4 }).collect();
        let strategies = json!([
            { "order": order[..1], "thresholds": [], "score": 0.4, "cost_usd": 0.001 },
            { "order": order, "thresholds": vec![0.5; arms.len() - 1], "score": 0.8, "cost_usd": 0.1 },
        ]);
        ProgramState {
            config: json!({ "strategies": strategies, "default": 1 }),
            parts: [(SCORER.to_owned(), constant_router(scores, arms))].into(),
            ..ProgramState::default()
        }
    },
};

/// Name of its part.
const SCORER: &str = "scorer";
/// Most strategies, and most stages of one.
const SIZE_MAX: usize = 256;

/// An order of arms with thresholds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Strategy {
    /// Models in the order they are called, at least one, each once.
    pub order: Vec<String>,
    /// Least score at which the answer of a stage is returned, for each stage but the last.
    pub thresholds: Vec<f32>,
    /// Mean score on queries that chose no strategy.
    pub score: f64,
    /// Mean price of an episode on them, US dollars.
    pub cost_usd: f64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    strategies: Vec<Strategy>,
    default: usize,
    /// Features of an answer's confidence that the scorer reads; the texts where empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    confidence: Vec<String>,
}

/// The program of this module.
#[derive(Debug)]
pub struct Cascade {
    config: Config,
    /// Arms of each strategy, by index.
    orders: Vec<Vec<usize>>,
    /// Places of the features of `confidence`.
    columns: Vec<usize>,
    scorer: Router,
}

impl Cascade {
    /// A cascade over `arms` with the strategy `default` unless a request has an objective.
    ///
    /// # Errors
    /// If a strategy names no arm, an unknown one or one twice, or its numbers are not valid.
    pub fn new(
        strategies: Vec<Strategy>,
        default: usize,
        scorer: Router,
        arms: &[Arm],
    ) -> Result<Self, ProgramError> {
        Self::of(Config { strategies, default, confidence: Vec::new() }, scorer, arms)
            .map_err(|reason| ProgramError::Config { program: ROW.name, reason })
    }

    /// The same with a scorer that reads these features of what a model said of its certainty, in this order, as the
    /// vector of its input.
    ///
    /// # Errors
    /// If a feature is unknown, or the scorer reads no vector of that width.
    pub fn reading_confidence(self, names: Vec<String>, arms: &[Arm]) -> Result<Self, ProgramError> {
        Self::of(Config { confidence: names, ..self.config }, self.scorer, arms)
            .map_err(|reason| ProgramError::Config { program: ROW.name, reason })
    }

    fn load(state: ProgramState, arms: &[Arm]) -> Result<Box<dyn Program>, ProgramError> {
        let scorer = only_part(ROW.name, SCORER, state.parts)?;
        let program = Self::of(config(ROW.name, state.config)?, scorer, arms);
        Ok(Box::new(program.map_err(|reason| ProgramError::Config { program: ROW.name, reason })?))
    }

    fn of(config: Config, scorer: Router, arms: &[Arm]) -> Result<Self, String> {
        let n = config.strategies.len();
        if n == 0 || n > SIZE_MAX {
            return Err(format!("it has {n} strategies, expected 1 to {SIZE_MAX}"));
        }
        if config.default >= n {
            return Err(format!("`default` is `{}`, expected one of its {n} strategies", config.default));
        }
        let orders = config.strategies.iter().map(|strategy| order(strategy, arms));
        let columns = columns(&config.confidence, &scorer)?;
        Ok(Self { orders: orders.collect::<Result<_, _>>()?, columns, config, scorer })
    }

    /// The strategies, in the order of the configuration.
    pub fn strategies(&self) -> &[Strategy] {
        &self.config.strategies
    }

    /// The strategy that a request is served by.
    fn strategy(&self, request: &Request<'_>) -> usize {
        let points: Vec<(f64, f64)> =
            self.config.strategies.iter().map(|one| (one.score, one.cost_usd)).collect();
        objective::chosen(&points, self.config.default, request)
    }

    /// Predicted score of an answer; `None` where the scorer cannot read it.
    fn score(&self, request: &Request<'_>, answer: &Answer) -> Result<Option<f32>, DecideError> {
        let (text, vector);
        let input = if self.columns.is_empty() {
            text = QueryAnswer::join(request.input.text, &answer.text);
            FeatureInput { text: &text, vector: request.input.vector }
        } else {
            let features = answer.confidence_features();
            vector = self.columns.iter().map(|at| features[*at]).collect::<Vec<f32>>();
            if vector.iter().any(|value| !value.is_finite()) {
                return Ok(None);
            }
            FeatureInput { text: "", vector: Some(&vector) }
        };
        let asked = Request { input, source: request.source, ..Request::default() };
        let prediction = self.scorer.predict(std::slice::from_ref(&asked))?;
        let arm = answer.arm.unwrap_or(usize::MAX);
        let score = prediction.score.get(arm).copied().unwrap_or(f32::NAN);
        if score.is_finite() {
            return Ok(Some(score));
        }
        Err(PredictError::Search(format!("the score of an answer of arm {arm} is `{score}`")).into())
    }

    /// The best of the answers in hand by the scorer; the later of equals.
    fn best(&self, episode: &Episode<'_>) -> Result<Reply, DecideError> {
        let mut best: Option<(usize, f32)> = None;
        for (at, answer) in episode.answers.iter().enumerate().filter(|(_, answer)| answer.is_ok()) {
            let score = self.score(episode.request, answer)?.unwrap_or(f32::NEG_INFINITY);
            if best.is_none_or(|(_, most)| score >= most) {
                best = Some((at, score));
            }
        }
        Ok(best.map_or(Reply::Abstain, |(at, _)| Reply::Answer(at)))
    }
}

fn order(strategy: &Strategy, arms: &[Arm]) -> Result<Vec<usize>, String> {
    let Strategy { order, thresholds, score, cost_usd } = strategy;
    if order.is_empty() || order.len() > SIZE_MAX || thresholds.len() + 1 != order.len() {
        let (n, found) = (order.len(), thresholds.len());
        return Err(format!("a strategy has {n} models and {found} thresholds, expected one fewer"));
    }
    let numbers = thresholds.iter().map(|t| f64::from(*t)).chain([*score, *cost_usd]);
    if let Some(number) = numbers.into_iter().find(|number| !number.is_finite()) {
        return Err(format!("a strategy has the number `{number}`, expected a finite one"));
    }
    let mut found = Vec::with_capacity(order.len());
    for model in order {
        let at = arms.iter().position(|arm| arm.model == *model);
        let at = at.ok_or_else(|| format!("a strategy calls `{model}`, which is no arm of the policy"))?;
        if found.contains(&at) {
            return Err(format!("a strategy calls `{model}` twice, expected each model once"));
        }
        found.push(at);
    }
    Ok(found)
}

/// Places of the features named.
fn columns(names: &[String], scorer: &Router) -> Result<Vec<usize>, String> {
    let known = confidence::feature_names();
    let place = |name: &String| {
        let hint = || near_names(name, known.iter().map(String::as_str));
        known.iter().position(|one| one == name).ok_or_else(|| {
            format!("`confidence` names `{name}`, which is no feature of an answer; {}", hint())
        })
    };
    let columns: Vec<usize> = names.iter().map(place).collect::<Result<_, _>>()?;
    let (width, n) = (scorer.featurizer.dim(), columns.len());
    if n > 0 && (!scorer.featurizer.reads_vector() || width != n) {
        return Err(format!(
            "`confidence` names {n} features, but the scorer reads `{width}`; expected a vector of {n}"
        ));
    }
    Ok(columns)
}

impl Program for Cascade {
    fn name(&self) -> &'static str {
        ROW.name
    }

    fn needs(&self) -> &'static [AnswerNeed] {
        let reads = |prefix: &str| self.config.confidence.iter().any(|name| name.starts_with(prefix));
        match (reads("logprob"), reads("option")) {
            (true, true) => &[AnswerNeed::Logprobs, AnswerNeed::OptionProbs],
            (true, false) => &[AnswerNeed::Logprobs],
            (false, true) => &[AnswerNeed::OptionProbs],
            (false, false) => &[],
        }
    }

    fn bounds(&self) -> Bounds {
        let stages = self.orders.iter().map(Vec::len).max().unwrap_or(0) as u32;
        Bounds { steps: stages + 1, calls: stages }
    }

    fn next(&self, episode: &Episode<'_>) -> Result<Step, StepError> {
        let at = self.strategy(episode.request);
        let (strategy, order) = (&self.config.strategies[at], &self.orders[at]);
        let stage_of = |answer: &Answer| order.iter().position(|arm| Some(*arm) == answer.arm);
        let last = episode.answers.last();
        let stage = last.and_then(stage_of);
        let is_open = |stage: &usize| episode.affords(&order[*stage..=*stage], 1);
        let open: Vec<usize> = (stage.map_or(0, |stage| stage + 1)..order.len()).filter(is_open).collect();
        if let (Some(answer), Some(stage)) = (last.filter(|answer| answer.is_ok()), stage) {
            let threshold = strategy.thresholds.get(stage);
            let reply = Action::Return(Reply::Answer(episode.answers.len() - 1));
            match threshold {
                None => return Ok(Step::sure(reply, StepReason::Exhausted)),
                Some(threshold) => {
                    if self.score(episode.request, answer)?.is_some_and(|score| score >= *threshold) {
                        return Ok(Step::sure(reply, StepReason::Accepted));
                    }
                }
            }
        }
        let Some(next) = open.first() else {
            let limit = stage.is_none_or(|stage| stage + 1 < order.len());
            let reason = if limit { StepReason::Limit } else { StepReason::Failed };
            return Ok(Step::sure(Action::Return(self.best(episode)?), reason));
        };
        let reason = match last {
            None => StepReason::Start,
            Some(answer) if answer.is_ok() => StepReason::Escalated,
            Some(_) => StepReason::Failed,
        };
        let arm = order[*next];
        let estimate = Estimate { score: None, cost_usd: episode.arms[arm].price.mean_cost_usd };
        let step = Step::call(vec![Call::arm(arm)], reason);
        Ok(Step { estimates: vec![estimate], certain: *next + 1 == order.len(), ..step })
    }

    fn parts(&self) -> Vec<Part<'_>> {
        vec![Part { name: SCORER, router: &self.scorer }]
    }

    fn config(&self) -> Value {
        json!(self.config)
    }

    fn lambdas(&self) -> Vec<f64> {
        super::breakpoints(self.config.strategies.iter().map(|one| (one.cost_usd, one.score)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::Objective;
    use crate::program::{Budget, Machine};
    use crate::{Policy, Price};

    fn arms() -> Vec<Arm> {
        let arm = |(model, usd): (&str, f64)| Arm {
            model: model.to_owned(),
            price: Price { mean_cost_usd: Some(usd), ..Price::default() },
            ..Arm::default()
        };
        [("a", 1.0), ("b", 2.0), ("c", 4.0)].map(arm).to_vec()
    }

    fn strategy(order: &[&str], thresholds: &[f32], score: f64, cost_usd: f64) -> Strategy {
        let order = order.iter().map(|model| (*model).to_owned()).collect();
        Strategy { order, thresholds: thresholds.to_vec(), score, cost_usd }
    }

    fn policy(default: usize) -> Policy {
        let strategies = vec![
            strategy(&["a"], &[], 0.4, 1.0),
            strategy(&["a", "c"], &[0.5], 0.8, 3.0),
            strategy(&["a", "b", "c"], &[0.5, 0.6], 0.9, 5.0),
        ];
        // Every answer of `a` scores 0.4, of `b` 0.6, of `c` 0.1.
        let scorer = constant_router(vec![0.4, 0.6, 0.1], &arms());
        let program = Box::new(Cascade::new(strategies, default, scorer, &arms()).unwrap());
        Policy { manifest: Default::default(), digest: String::new(), arms: arms(), program }
    }

    /// Models called, and the reply, where the calls named fail.
    fn run(policy: &Policy, request: Request<'_>, budget: Budget, failing: &[usize]) -> (Vec<usize>, Reply) {
        let mut machine = Machine::new(policy, request, budget);
        let mut step = machine.start().unwrap();
        while let Action::Call(calls) = &step.action {
            let arm = calls[0].arm_index();
            let failed = failing.contains(&arm.unwrap()).then(|| "no".to_owned());
            let call = machine.first_pending();
            step = machine.supply(vec![Answer { call, arm, failed, ..Answer::default() }]).unwrap();
        }
        let called = machine.calls().iter().filter_map(Call::arm_index).collect();
        let Action::Return(reply) = step.action else { panic!("it ended") };
        (called, reply)
    }

    #[test]
    fn it_escalates_until_the_scorer_is_content() {
        let none = Budget::default();
        let request = Request::default;
        // 0.4 < 0.5, then 0.6 >= 0.6.
        assert_eq!(run(&policy(2), request(), none, &[]), (vec![0, 1], Reply::Answer(1)));
        assert_eq!(run(&policy(1), request(), none, &[]), (vec![0, 2], Reply::Answer(1)));
        assert_eq!(run(&policy(0), request(), none, &[]), (vec![0], Reply::Answer(0)));
        // A failed call passes on; the answers before it are kept for the end.
        assert_eq!(run(&policy(2), request(), none, &[0, 1]), (vec![0, 1, 2], Reply::Answer(2)));
        assert_eq!(run(&policy(1), request(), none, &[2]), (vec![0, 2], Reply::Answer(0)));
        assert_eq!(run(&policy(1), request(), none, &[0, 2]), (vec![0, 2], Reply::Abstain));
        // 1 + 4 is over 4.5: the stage is skipped, and the answer in hand is returned.
        let budget = Budget { usd: Some(4.5), deadline_ms: None };
        assert_eq!(run(&policy(1), request(), budget, &[]), (vec![0], Reply::Answer(0)));
        assert_eq!(run(&policy(2), request(), budget, &[1]), (vec![0, 1], Reply::Answer(0)));
    }

    #[test]
    fn the_objective_of_a_request_chooses_the_strategy() {
        let called = |quality: f64, cost: f64| {
            let objective = Some(Objective { quality, cost, latency: 0.0 });
            run(&policy(0), Request { objective, ..Request::default() }, Budget::default(), &[]).0
        };
        // Strategy 1 over 0 below (0.8 - 0.4) / 2 = 0.2 a dollar, 2 over 1 below (0.9 - 0.8) / 2 = 0.05.
        assert_eq!((called(1.0, 0.3), called(1.0, 0.1)), (vec![0], vec![0, 2]));
        assert_eq!((called(1.0, 0.04), called(1.0, 0.0)), (vec![0, 1], vec![0, 1]));
        let price = Request { price: 0.3, ..Request::default() };
        assert_eq!(run(&policy(1), price, Budget::default(), &[]).0, vec![0]);
        let lambdas = policy(0).program.lambdas();
        assert_eq!(lambdas.len(), 3, "{lambdas:?}");
        assert!(
            lambdas[0] > 0.2 && lambdas[1] < 0.2 && lambdas[1] > 0.05 && lambdas[2] < 0.05,
            "{lambdas:?}"
        );
    }

    #[test]
    fn what_is_no_cascade_is_refused() {
        let scorer = || constant_router(vec![0.5; 3], &arms());
        let says = |strategies: Vec<Strategy>, default: usize| {
            Cascade::new(strategies, default, scorer(), &arms()).unwrap_err().to_string()
        };
        let fine = || strategy(&["a"], &[], 0.5, 1.0);
        assert!(says(Vec::new(), 0).contains("0 strategies"));
        assert!(says(vec![fine()], 1).contains("`default` is `1`"));
        assert!(says(vec![strategy(&["a", "d"], &[0.5], 0.5, 1.0)], 0).contains("`d`, which is no arm"));
        assert!(says(vec![strategy(&["a", "a"], &[0.5], 0.5, 1.0)], 0).contains("`a` twice"));
        assert!(says(vec![strategy(&["a", "b"], &[], 0.5, 1.0)], 0).contains("2 models and 0 thresholds"));
        assert!(says(vec![strategy(&["a", "b"], &[f32::NAN], 0.5, 1.0)], 0).contains("`NaN`"));
    }

    #[test]
    fn a_scorer_of_confidence_keeps_what_it_can_read() {
        use crate::forms::{CostModel, Linear, Link};
        use crate::program::Confidence;
        use routewright_data::features::Column;
        let scorer = |width: usize| Router {
            featurizer: std::sync::Arc::new(Column::new("confidence", width)),
            predictor: Box::new(Linear::new(
                width,
                Link::Identity,
                [vec![1.0; width], vec![0.0]].concat().repeat(3),
                CostModel::constant(vec![f32::NAN; 3]),
            )),
            selector: Box::new(crate::selectors::Argmax),
        };
        let of = |names: &[&str], width: usize| {
            let strategies = vec![strategy(&["a", "c"], &[-0.5], 0.8, 3.0)];
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            Cascade::new(strategies, 0, scorer(width), &arms()).unwrap().reading_confidence(names, &arms())
        };
        let program = Box::new(of(&["logprob_mean"], 1).unwrap());
        assert_eq!(program.needs(), [AnswerNeed::Logprobs]);
        let policy = Policy { manifest: Default::default(), digest: String::new(), arms: arms(), program };
        let calls = |mean: Option<f32>| {
            let mut machine = Machine::new(&policy, Request::default(), Budget::default());
            machine.start().unwrap();
            let confidence = Some(Confidence { logprob_mean: mean, ..Confidence::default() });
            let answer = Answer { arm: Some(0), confidence, ..Answer::default() };
            machine.supply(vec![answer]).unwrap().reason
        };
        assert_eq!((calls(Some(-0.4)), calls(Some(-0.6))), (StepReason::Accepted, StepReason::Escalated));
        assert_eq!(
            (calls(None), calls(Some(f32::NEG_INFINITY))),
            (StepReason::Escalated, StepReason::Escalated)
        );
        let says = |names: &[&str], width: usize| of(names, width).unwrap_err().to_string();
        assert!(says(&["logprob_meen"], 1).contains("did you mean `logprob_mean`"));
        assert!(says(&["logprob_mean"], 2).contains("expected a vector of 1"));
    }
}
