//! Tasks answered by members with weights, as an environment for the trainer: one answer a play, written once.

use crate::backend::Backend;
use crate::ensemble::{Ensemble, EnsembleError};
use crate::fuse::{System as _, finished, unfit};
use crate::generation::Generation;
use crate::token::rlae::{Meeting, Params, Rlae};
use crate::weigh::SpanWeights;
use routewright_data::log::TaskRow;
use routewright_data::tasks::Reward;
use routewright_policy::env::{Chooser, Environment, Outcome, SpanRule};
use std::path::Path;
use std::sync::Arc;

/// Members, tasks and the spans weights are chosen for.
#[derive(Debug)]
pub struct TaskEnvironment {
    ensemble: Ensemble,
    meeting: Meeting,
    rule: SpanRule,
    tasks: Vec<TaskRow>,
    reward: Reward,
}

impl TaskEnvironment {
    /// The members and limits of an ensemble file, whatever its system; where they meet and where spans end as the
    /// file's parameters of `rlae` say, where it is its system.
    ///
    /// # Errors
    /// If the file, a model or a parameter is not as it must be.
    pub fn open(
        path: &Path,
        rule: Option<SpanRule>,
        tasks: Vec<TaskRow>,
        reward: Reward,
    ) -> Result<Self, EnsembleError> {
        let mut file = crate::ensemble::EnsembleFile::read(path)?;
        let mut params = Params::default();
        if file.system == Rlae::NAME {
            let given = serde_json::Value::Object(file.params.clone());
            params = serde_json::from_value(given).map_err(|error| unfit::<Rlae>(&error.to_string()))?;
            // The policy is what is to be learned.
            file.params.remove("policy");
        } else {
            file.system = Rlae::NAME.to_owned();
            file.params.clear();
        }
        file.params.insert("explore".to_owned(), true.into());
        let ensemble = Ensemble::load(file, path.parent().unwrap_or(Path::new("")))?;
        let meeting = Meeting::new(params.meet, params.beam, ensemble.backends())?;
        Ok(Self { ensemble, meeting, rule: rule.or(params.span).unwrap_or_default(), tasks, reward })
    }

    /// Where spans end.
    pub fn rule(&self) -> &SpanRule {
        &self.rule
    }

    /// The tasks.
    pub fn tasks(&self) -> &[TaskRow] {
        &self.tasks
    }

    /// The models.
    pub fn backends(&self) -> &[Arc<dyn Backend>] {
        self.ensemble.backends()
    }
}

impl Environment for TaskEnvironment {
    fn members(&self) -> Vec<String> {
        self.ensemble.backends().iter().map(|backend| backend.name().to_owned()).collect()
    }

    fn n_tasks(&self) -> usize {
        self.tasks.len()
    }

    fn play(&self, task: usize, seed: u64, chooser: &mut dyn Chooser) -> Result<Outcome, String> {
        let Some(task) = self.tasks.get(task) else {
            return Err(format!("there is no task {task}; there are {}", self.tasks.len()));
        };
        let mut ask = self.ensemble.ask(task.prompt.as_bytes());
        ask.seed = seed;
        let fail = |error: crate::generation::FuseError| format!("task `{}`: {error}", task.task_id);
        let backends = self.ensemble.backends();
        let mut generation = Generation::open_alone(backends, ask, Box::new(|_| {})).map_err(fail)?;
        let mut weigher = SpanWeights::new(self.rule.clone(), Box::new(chooser));
        finished(self.meeting.run(&mut generation, &mut weigher)).map_err(fail)?;
        let answer = generation.close();
        Ok(Outcome { reward: self.reward.of(task, &answer.text), calls: answer.calls })
    }
}
