//! Cascade routing: after every answer all sets of further calls are weighed anew.
//!
//! Part `before` predicts score and price of every arm from the query, part `after` the score of an answer from query
//! and answer as one text (`data::features::QueryAnswer`). [`Beliefs`] makes estimates of both and of how far the
//! answers agree; [`lookahead`] says which arm is next, or that the best answer in hand is returned. Routing and
//! cascades are its special cases (`options`).
//!
//! `lambda`, the score that a US dollar is worth, is that of the objective of the request, or else the policy's own; a
//! price beside it never lowers it. Where sets are tied the dearest is taken with probability `gamma`. Arms that the
//! request excludes or that do not fit budget and deadline are no options. A failed call counts as a score of 0.

use super::tally::Reading;
use super::{ProgramError, ProgramRow, ProgramState, config, constant_router};
use crate::lookahead::{self, Beliefs, Choice, Draws, Estimates, Heard, Options, Outlook};
use crate::program::{
    Action, AnswerNeed, Bounds, Call, Episode, Estimate, Part, Program, Reply, Step, StepError, StepReason,
};
use crate::{Arm, DecideError, Request, Router};
use rand::RngExt as _;
use routewright_data::answers::normalize::Normalizer;
use routewright_data::features::{FeatureInput, QueryAnswer};
use routewright_data::rng;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub(super) const ROW: ProgramRow = ProgramRow {
    name: "cascade-routing",
    version: 1,
    title: "weighs all sets of further calls after every answer",
    load: CascadeRouting::load,
    example: |arms| {
        let n = arms.len();
        let covariance: Vec<f64> = (0..n * n).map(|at| if at / n == at % n { 0.04 } else { 0.01 }).collect();
        let link = [1.0, 0.5, 0.5, -0.5, 0.0, 0.0];
        let beliefs = json!({ "link": link, "strengths": vec![0.6; n], "covariance": covariance });
        let config = json!({
            "beliefs": beliefs, "lambda": 1.0, "gamma": 0.5, "depth": n, "options": "full", "answers": "exact",
            "reads": "short", "points": [{ "lambda": 1.0, "score": 0.8, "cost_usd": 0.01 }],
        });
        let scores: Vec<f32> = (0..n).map(|arm| 0.5 + 0.15 * arm as f32).collect();
        let parts = [
            (BEFORE.to_owned(), constant_router(scores, arms)),
            (AFTER.to_owned(), constant_router(vec![0.5; n], arms)),
        ];
        ProgramState { config, parts: parts.into(), ..ProgramState::default() }
    },
};

/// Names of its parts.
const BEFORE: &str = "before";
const AFTER: &str = "after";
/// Score that a US dollar is worth to who wants nothing but to save.
const LAMBDA_MAX: f64 = 1e12;
/// Most points of the curve.
const SIZE_MAX: usize = 256;

/// A price of money, and what the policy did at it on other queries.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LambdaPoint {
    /// Score that a US dollar is worth, at least 0.
    pub lambda: f64,
    /// Mean score.
    pub score: f64,
    /// Mean price of an episode, US dollars.
    pub cost_usd: f64,
}

/// What the program is restored from, beside its parts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CascadeRoutingConfig {
    /// What is believed after answers.
    pub beliefs: Beliefs,
    /// Score that a US dollar is worth without an objective, at least 0.
    pub lambda: f64,
    /// Probability of the dearest of tied sets, in [0, 1].
    pub gamma: f64,
    /// Most calls of an episode, at least 1.
    pub depth: usize,
    /// Which sets are weighed.
    pub options: Options,
    /// Rule that makes equal answers equal texts, by name.
    pub answers: String,
    /// What of an answer the rule reads.
    pub reads: Reading,
    /// What it did at other prices of money.
    pub points: Vec<LambdaPoint>,
}

/// The program of this module.
#[derive(Debug)]
pub struct CascadeRouting {
    config: CascadeRoutingConfig,
    rule: &'static Normalizer,
    before: Router,
    after: Router,
    draws: Draws,
}

impl CascadeRouting {
    /// A program over `arms`; `before` predicts from a query, `after` from a query and an answer.
    ///
    /// # Errors
    /// If a number is missing, not finite or out of range.
    pub fn new(
        config: CascadeRoutingConfig,
        before: Router,
        after: Router,
        arms: &[Arm],
    ) -> Result<Self, ProgramError> {
        let invalid = |reason| ProgramError::Config { program: ROW.name, reason };
        config.beliefs.check(arms.len()).map_err(invalid)?;
        let CascadeRoutingConfig { lambda, gamma, depth, .. } = config;
        let numbers = config.points.iter().flat_map(|point| [point.lambda, point.score, point.cost_usd]);
        if let Some(number) = numbers.chain([lambda]).find(|number| !number.is_finite() || *number < 0.0) {
            return Err(invalid(format!(
                "`lambda` or a point has `{number}`, expected numbers of at least 0"
            )));
        }
        if !(0.0..=1.0).contains(&gamma) || depth == 0 || depth > SIZE_MAX || config.points.len() > SIZE_MAX {
            let reason = format!(
                "`gamma` is `{gamma}`, `depth` is `{depth}`, with {} points; expected a probability, 1 to {SIZE_MAX}, \
                 and at most {SIZE_MAX}",
                config.points.len()
            );
            return Err(invalid(reason));
        }
        let rule = Normalizer::named(&config.answers).map_err(invalid)?;
        Ok(Self { rule, before, after, draws: Draws::new(arms.len()), config })
    }

    fn load(mut state: ProgramState, arms: &[Arm]) -> Result<Box<dyn Program>, ProgramError> {
        let found = state.parts.keys().cloned().collect::<Vec<_>>().join(", ");
        let parts = (state.parts.remove(BEFORE), state.parts.remove(AFTER));
        let (Some(before), Some(after), true) = (parts.0, parts.1, state.parts.is_empty()) else {
            return Err(ProgramError::Parts { program: ROW.name, found, expected: "after, before" });
        };
        Ok(Box::new(Self::new(config(ROW.name, state.config)?, before, after, arms)?))
    }

    /// Score that a US dollar is worth to a request.
    fn lambda(&self, request: &Request<'_>) -> f64 {
        match request.objective {
            Some(objective) if objective.quality > 0.0 => {
                (objective.cost / objective.quality).min(LAMBDA_MAX)
            }
            Some(_) => LAMBDA_MAX,
            None => self.config.lambda.max(request.price),
        }
    }

    /// Estimates of every arm, and its price.
    fn estimates(&self, episode: &Episode<'_>) -> Result<(Estimates, Vec<f64>), DecideError> {
        let request = episode.request;
        let source = request.source;
        let prediction =
            self.before.predict(&[Request { input: request.input, source, ..Request::default() }])?;
        let n = episode.arms.len();
        let before: Vec<f64> =
            (0..n).map(|arm| prediction.score.get(arm).map_or(0.0, |s| f64::from(*s))).collect();
        let price = |arm: usize| {
            let predicted =
                prediction.cost_usd.get(arm).map(|usd| f64::from(*usd)).filter(|usd| usd.is_finite());
            predicted.or(episode.arms[arm].price.mean_cost_usd).unwrap_or(0.0)
        };
        let forms: Vec<Option<String>> =
            episode.answers.iter().map(|answer| self.config.reads.of(self.rule, answer)).collect();
        let mut heard = vec![Heard::Nothing; n];
        for (at, answer) in episode.answers.iter().enumerate() {
            let Some(arm) = answer.arm.filter(|arm| *arm < n) else { continue };
            heard[arm] = Heard::Failure;
            if answer.is_ok() {
                let text = QueryAnswer::join(request.input.text, &answer.text);
                let input = FeatureInput { text: &text, vector: request.input.vector };
                let said = self.after.predict(&[Request { input, source, ..Request::default() }])?;
                let score = said.score.get(arm).map_or(0.5, |score| f64::from(*score));
                heard[arm] = Heard::Answer(score, forms[at].as_deref());
            }
        }
        Ok((self.config.beliefs.estimates(&before, &heard), (0..n).map(price).collect()))
    }

    /// The arm that is called next, `None` to end.
    fn choose(&self, episode: &Episode<'_>, estimates: &Estimates, costs: &[f64]) -> Choice {
        let n = episode.arms.len();
        let called: Vec<bool> =
            (0..n).map(|arm| episode.answers.iter().any(|answer| answer.arm == Some(arm))).collect();
        // What failed is not asked again, and nothing is in hand where nothing was answered.
        let has_answer = episode.answers.iter().any(|answer| answer.is_ok());
        let open: Vec<bool> = (0..n).map(|arm| !called[arm] && episode.affords(&[arm], 1)).collect();
        let counted: Vec<bool> = called.iter().map(|called| *called && has_answer).collect();
        let covariance = Some(&estimates.covariance[..]);
        // A cascade goes by mean prices, whatever is expected of the query.
        let usd = |arm: usize| episode.arms[arm].price.mean_cost_usd.unwrap_or(f64::INFINITY);
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by(|a, b| usd(*a).total_cmp(&usd(*b)).then(a.cmp(b)));
        let (scores, order) = (&estimates.scores[..], Some(&order[..]));
        let outlook = Outlook { scores, costs, called: &counted, open: &open, order, covariance };
        let room = self.config.depth.saturating_sub(episode.answers.len());
        if room == 0 {
            return Choice { cheap: None, dear: None };
        }
        let n_counted = counted.iter().filter(|counted| **counted).count();
        lookahead::next(
            &outlook,
            self.lambda(episode.request),
            self.config.options,
            n_counted + room,
            &self.draws,
        )
    }

    /// The best answer in hand, the later of equals.
    fn best(episode: &Episode<'_>, estimates: &Estimates) -> Reply {
        let score =
            |at: &usize| episode.answers[*at].arm.map_or(f64::NEG_INFINITY, |arm| estimates.scores[arm]);
        let answered = (0..episode.answers.len()).filter(|at| episode.answers[*at].is_ok());
        answered.max_by(|a, b| score(a).total_cmp(&score(b))).map_or(Reply::Abstain, Reply::Answer)
    }
}

impl Program for CascadeRouting {
    fn name(&self) -> &'static str {
        ROW.name
    }

    fn needs(&self) -> &'static [AnswerNeed] {
        self.config.reads.needs()
    }

    fn bounds(&self) -> Bounds {
        let depth = self.config.depth as u32;
        Bounds { steps: depth + 1, calls: depth }
    }

    fn next(&self, episode: &Episode<'_>) -> Result<Step, StepError> {
        let (estimates, costs) = self.estimates(episode)?;
        let Choice { cheap, dear } = self.choose(episode, &estimates, &costs);
        let action = |next: Option<usize>| match next {
            Some(arm) => Action::Call(vec![Call::arm(arm)]),
            None => Action::Return(Self::best(episode, &estimates)),
        };
        let gamma = self.config.gamma;
        let draw: f64 = if cheap == dear { 1.0 } else { rng::stream(episode.seed(), "tie").random() };
        let chosen = if draw < gamma { dear } else { cheap };
        let last = episode.answers.last();
        let reason = match (chosen, last) {
            (Some(_), None) => StepReason::Start,
            (Some(_), Some(answer)) if answer.is_ok() => StepReason::Escalated,
            (Some(_), Some(_)) => StepReason::Failed,
            (None, None) => StepReason::Limit,
            (None, Some(_)) if episode.answers.len() >= self.config.depth => StepReason::Exhausted,
            (None, Some(_)) => StepReason::Accepted,
        };
        let mut step = Step::sure(action(chosen), reason);
        if cheap != dear && gamma > 0.0 && gamma < 1.0 {
            step.alternatives = vec![(action(cheap), 1.0 - gamma as f32), (action(dear), gamma as f32)];
        }
        if let Some(arm) = chosen {
            let cost_usd = episode.arms[arm].price.mean_cost_usd;
            step.estimates = vec![Estimate { score: Some(estimates.scores[arm] as f32), cost_usd }];
        }
        Ok(step)
    }

    fn parts(&self) -> Vec<Part<'_>> {
        vec![Part { name: BEFORE, router: &self.before }, Part { name: AFTER, router: &self.after }]
    }

    fn config(&self) -> Value {
        json!(self.config)
    }

    fn lambdas(&self) -> Vec<f64> {
        let mut lambdas: Vec<f64> = self.config.points.iter().map(|point| point.lambda).collect();
        lambdas.sort_by(|a, b| b.total_cmp(a));
        lambdas
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::Objective;
    use crate::program::{Answer, Budget, Machine};
    use crate::{Policy, Price};

    fn arms() -> Vec<Arm> {
        let arm = |(model, usd): (&str, f64)| Arm {
            model: model.to_owned(),
            price: Price { mean_cost_usd: Some(usd), ..Price::default() },
            ..Arm::default()
        };
        [("a", 0.001), ("b", 0.002), ("c", 0.02)].map(arm).to_vec()
    }

    fn config() -> CascadeRoutingConfig {
        let variance = |at: usize| if at / 3 == at % 3 { 0.04 } else { 0.0 };
        CascadeRoutingConfig {
            beliefs: Beliefs {
                // The estimate after an answer is what the scorer says, moved by who agrees.
                link: [1.0, 0.0, 1.0, -1.0, 0.0, 0.0],
                strengths: vec![0.6, 0.7, 0.9],
                covariance: (0..9).map(variance).collect(),
            },
            lambda: 5.0,
            gamma: 0.0,
            depth: 3,
            options: Options::Full,
            answers: "exact".to_owned(),
            reads: Reading::Text,
            points: Vec::new(),
        }
    }

    fn policy(config: CascadeRoutingConfig, after: [f32; 3]) -> Policy {
        let before = constant_router(vec![0.6, 0.7, 0.9], &arms());
        let after = constant_router(after.to_vec(), &arms());
        let program = Box::new(CascadeRouting::new(config, before, after, &arms()).unwrap());
        Policy { manifest: Default::default(), digest: String::new(), arms: arms(), program }
    }

    fn run(policy: &Policy, request: Request<'_>, texts: [Option<&str>; 3]) -> (Vec<usize>, Step) {
        let mut machine = Machine::new(policy, request, Budget::default());
        let mut step = machine.start().unwrap();
        while let Action::Call(calls) = &step.action {
            let arm = calls[0].arm_index().unwrap();
            let answer = Answer {
                call: machine.first_pending(),
                arm: Some(arm),
                text: texts[arm].unwrap_or_default().to_owned(),
                failed: texts[arm].is_none().then(|| "no".to_owned()),
                ..Answer::default()
            };
            step = machine.supply(vec![answer]).unwrap();
        }
        (machine.calls().iter().filter_map(Call::arm_index).collect(), step)
    }

    #[test]
    fn it_calls_while_a_further_answer_is_worth_its_price() {
        let request = Request::default;
        // A cheap answer that is doubted is followed up, one that is trusted is kept.
        let doubted = run(&policy(config(), [0.2, 0.2, 0.9]), request(), [Some("4"), Some("5"), Some("6")]);
        assert_eq!(doubted.0.last(), Some(&2), "{doubted:?}");
        let trusted =
            run(&policy(config(), [0.98, 0.98, 0.98]), request(), [Some("4"), Some("5"), Some("6")]);
        assert_eq!((trusted.0.len(), trusted.1.reason), (1, StepReason::Accepted), "{trusted:?}");
        // Where nothing but money counts one call is made, the cheapest.
        let objective = Some(Objective { quality: 0.0, cost: 1.0, latency: 0.0 });
        let saved = run(&policy(config(), [0.2; 3]), Request { objective, ..request() }, [Some("4"); 3]);
        assert_eq!(saved.0, [0]);
        // Where money is no object everything is asked; depth limits it.
        let objective = Some(Objective { quality: 1.0, cost: 0.0, latency: 0.0 });
        let free = run(&policy(config(), [0.5; 3]), Request { objective, ..request() }, [Some("4"); 3]);
        assert_eq!(free.0.len(), 3);
        let two = CascadeRoutingConfig { depth: 2, ..config() };
        let free = run(&policy(two, [0.5; 3]), Request { objective, ..request() }, [Some("4"); 3]);
        assert_eq!((free.0.len(), free.1.reason), (2, StepReason::Exhausted));
        // Every call fails.
        let failed = run(&policy(config(), [0.5; 3]), request(), [None; 3]);
        assert_eq!((failed.0.len(), failed.1.action), (3, Action::Return(Reply::Abstain)));
    }

    #[test]
    fn tied_sets_are_drawn_with_gamma() {
        // 0.5 - 250 * 0.001 = 0.75 - 250 * 0.002, routing only.
        let tied = |gamma: f64, seed: u64| {
            let config = CascadeRoutingConfig { gamma, lambda: 250.0, options: Options::Single, ..config() };
            let before = constant_router(vec![0.5, 0.75, 0.1], &arms());
            let after = constant_router(vec![0.5; 3], &arms());
            let program = Box::new(CascadeRouting::new(config, before, after, &arms()).unwrap());
            let policy =
                Policy { manifest: Default::default(), digest: String::new(), arms: arms(), program };
            let step = Machine::new(&policy, Request { seed, ..Request::default() }, Budget::default())
                .start()
                .unwrap();
            (step.action.clone(), step.propensity())
        };
        let call = |arm| Action::Call(vec![Call::arm(arm)]);
        assert_eq!((tied(0.0, 1), tied(1.0, 1)), ((call(0), 1.0), (call(1), 1.0)));
        let found: Vec<_> = (0..200).map(|seed| tied(0.25, seed)).collect();
        let dear = found.iter().filter(|(action, p)| *action == call(1) && *p == 0.25).count();
        assert!((25..=75).contains(&dear), "{dear}");
    }

    #[test]
    fn what_is_no_cascade_routing_is_refused() {
        let says = |edit: fn(&mut CascadeRoutingConfig)| {
            let mut config = config();
            edit(&mut config);
            let part = || constant_router(vec![0.5; 3], &arms());
            CascadeRouting::new(config, part(), part(), &arms()).unwrap_err().to_string()
        };
        assert!(says(|c| c.lambda = -1.0).contains("`-1`"));
        assert!(says(|c| c.gamma = 1.5).contains("`gamma` is `1.5`"));
        assert!(says(|c| c.depth = 0).contains("`depth` is `0`"));
        assert!(says(|c| c.beliefs.strengths.truncate(1)).contains("1 strengths"));
        assert!(says(|c| c.answers = "exat".to_owned()).contains("did you mean `exact`"));
    }
}
