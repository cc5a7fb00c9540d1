//! A panel: several models answer at the same time, one of them judges the answers and writes the reply.
//!
//! Program `fuse`. The `size` best models are asked; where fewer than `quorum` answer, others are asked once. Where at
//! least the share `agreed` of the answers says the same it is returned as it is; else the fuser, the best model unless
//! another is named, is given the answers, the most trusted first, with the template `prompt` of the artifact.
//! Mixture-of-Agents (arXiv 2406.04692) with one layer and a way out where nothing is to be decided.
//!
//! # Deviations from the paper
//! 1. One layer of proposers; the paper stacks three.
//! 2. Answers that agree are not fused.
//! 3. Proposers and their order are learned on the log; the paper chooses them by hand.
//! 4. Several samples of one model (self-fusion) are not asked for: a member is called once.
//! 5. A log has no fused texts: what the fuser brings is not judged there, see the page.

use super::fusing::{self, PROMPT};
use super::log::{Asked, Log};
use crate::method::{Family, FitContext, FitError, Fitted, Method, MethodRow, Reads};
use crate::methods::votes::weights::Accuracies;
use routewright_policy::programs::{Fusion, select::Selection};
use serde::{Deserialize, Serialize};

pub(in crate::methods) const ROW: MethodRow = MethodRow::of::<Panel>(
    "several models answer at the same time; one judges the answers and writes the reply",
    Some("2406.04692"),
    Family::After,
    &[],
)
.reading(&[Reads::Outcomes, Reads::Answers]);

/// The method of this file.
#[derive(Debug)]
pub(in crate::methods) struct Panel;

/// Parameters.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::methods) struct Params {
    /// Models that may be asked; all where empty.
    members: Vec<String>,
    /// Rule that makes equal answers equal texts, see `data::answers::normalize`.
    normalize: String,
    /// Models asked first, the best of train; at least 1.
    size: usize,
    /// Answers below which others are asked, once.
    quorum: usize,
    /// Share of the answers that must say the same for it to be returned as it is; all where above 1.
    agreed: f64,
    /// Answers shown to the fuser, at least 1.
    keep: usize,
    /// Model that writes the reply; the best of train where empty.
    fuser: String,
    /// Template with the slots `{query}` and `{answers}`.
    prompt: String,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            members: Vec::new(),
            normalize: "exact".to_owned(),
            size: 3,
            quorum: 2,
            agreed: 1.0,
            keep: 3,
            fuser: String::new(),
            prompt: PROMPT.to_owned(),
        }
    }
}

impl Method for Panel {
    const NAME: &'static str = "panel";
    type Params = Params;

    fn fit(params: &Params, context: &FitContext<'_>) -> Result<Fitted, FitError> {
        if params.size == 0 || params.agreed.is_nan() || params.agreed <= 0.0 {
            let reason = "`size` needs at least 1, `agreed` a number above 0".to_owned();
            return Err(FitError::Params { method: Self::NAME, reason });
        }
        let asked = Asked {
            method: Self::NAME,
            key: "members",
            models: &params.members,
            normalize: &params.normalize,
        };
        let log = Log::read(&asked, context)?;
        let rows: Vec<usize> = (0..log.n_queries()).collect();
        let accuracies = Accuracies::fit(&log.votes, &rows);
        let strengths = &accuracies.overall;
        let mut order: Vec<usize> = (0..log.models.len()).collect();
        order.sort_by(|a, b| strengths[*b].total_cmp(&strengths[*a]).then(a.cmp(b)));
        order.truncate(params.size);
        order.sort_unstable();
        let fuser = fusing::fuser(&params.fuser, &log, &accuracies, context, Self::NAME)?;
        let chosen = Params { fuser: fuser.clone(), ..params.clone() };
        let fusion = Fusion {
            selection: Selection { asked: Some(order), ..fusing::ranking(&log, &accuracies) },
            keep: params.keep,
            fuser,
            quorum: params.quorum,
            agreed: (params.agreed <= 1.0).then_some(params.agreed),
        };
        fusing::fitted(fusion, &params.prompt, &log, context, &chosen, Self::NAME)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::Average;
    use crate::method::Device;
    use crate::progress::Silent;
    use crate::rollout::{Line, ReplayWorld, ScriptedWorld, episode, rollout};
    use crate::train::{FeatureChoice, Prepared, RunOptions};
    use routewright_data::synthetic::{Settings, World};
    use routewright_policy::program::{Budget, Prompt, Reply, StepReason};
    use routewright_policy::{Policy, Request};
    use serde_json::{Value, json};

    fn world() -> (Prepared, routewright_data::synthetic::AnsweredWorld) {
        let settings = Settings { n_arms: 4, missing: 0.0, drift: 0.0, ..Settings::default() };
        let world = World::new(settings, 3).answered(300, 1);
        let (table, models) = (world.table.clone(), world.table.models.clone());
        let prepared = Prepared::new(table, &FeatureChoice::default(), 1).unwrap();
        (prepared.with_answers(&world.answers, &models), world)
    }

    fn policy(prepared: &Prepared, params: Value) -> Result<Policy, FitError> {
        let average = Average::Micro;
        let run = RunOptions { average, seed: 1, device: Device::Cpu, progress: &Silent, checkpoint: None };
        let fitted = prepared.fit(&ROW, &params, &run)?;
        Ok(prepared.policy(&ROW, fitted, 1).unwrap())
    }

    #[test]
    fn answers_that_differ_go_to_the_fuser_with_the_template() {
        let (prepared, world) = world();
        let models = &world.table.models;
        let policy =
            policy(&prepared, json!({ "fuser": models[0], "size": 4, "prompt": "Q {query} A {answers}" }));
        let policy = policy.unwrap();
        let line = |model: &String, answer: &str| Line {
            model: model.clone(),
            text: format!("It is {answer}."),
            answer: Some(answer.to_owned()),
            ..Line::default()
        };
        let play = |answers: [&str; 4]| {
            let mut lines: Vec<Line> =
                models.iter().zip(answers).map(|(model, answer)| line(model, answer)).collect();
            // What the fuser says to the template.
            lines.push(Line { prompt: Some("fuse".to_owned()), ..line(&models[0], "7") });
            let script = ScriptedWorld::new(lines, &policy.arms);
            episode(&policy, Request::default(), Budget::default(), &script, 0).unwrap()
        };
        let fused = play(["4", "5", "4", "6"]).unwrap();
        assert_eq!((fused.answers.len(), fused.reply()), (5, Some(&Reply::Answer(4))));
        assert_eq!(fused.steps[1].reason, StepReason::Fuse);
        let Prompt::Template { slots, .. } = &fused.calls[4].prompt else { panic!("no template") };
        assert!(slots["answers"].contains("It is 4.") && slots["answers"].contains("It is 6."), "{slots:?}");
        let agreed = play(["4"; 4]).unwrap();
        assert_eq!(agreed.answers.len(), 4);
        // On the log the queries that are fused are not covered, and the others are.
        let replay = ReplayWorld::new(&world.table.queries, models, &world.answers, &policy.arms);
        let (outcomes, _) = rollout(&policy, &world.table, &replay, None, &[1]).unwrap();
        let known = outcomes.scores.iter().filter(|score| !score.is_nan()).count();
        assert!(known > 0 && known < 300, "{known} of 300 are covered");
    }

    #[test]
    fn parameters_that_make_no_panel_are_refused_in_words() {
        let (prepared, _) = world();
        let says = |params: Value| policy(&prepared, params).unwrap_err().to_string();
        assert!(says(json!({ "fuser": "nope" })).contains("`fuser` is `nope`"));
        assert!(says(json!({ "prompt": "{query}" })).contains("`{answers}`"));
        assert!(says(json!({ "keep": 0 })).contains("`keep` is `0`"));
        assert!(says(json!({ "size": 0 })).contains("`size`"));
    }
}
