//! `routewright fuse --labels`: which member is right at every token of right answers, as a log to train routers on.

use super::output;
use routewright_data::log::{RowWriter, TaskRow, TokenRow, WriteOptions};
use routewright_decoder::ensemble::Ensemble;
use routewright_decoder::generation::Ask;
use routewright_decoder::token::citer::{Label, label};
use routewright_trainer::progress::Progress as _;
use serde::Serialize;
use std::path::Path;
use std::process::ExitCode;

/// How labels are made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct How {
    /// Tokens an answer is finished for where no member is right.
    pub(crate) look_ahead: usize,
    /// States carry hidden states.
    pub(crate) hidden: bool,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Labelled {
    n_tasks: usize,
    n_states: usize,
    n_looked_ahead: usize,
    /// By member, the share of states it is right in.
    right: Vec<f64>,
}

/// Labels every task and writes the log.
pub(crate) fn write(
    ensemble: &Ensemble,
    tasks: &[TaskRow],
    how: How,
    ask: impl Fn(&str) -> Ask,
    path: &Path,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let members: Vec<&str> = ensemble.backends().iter().map(|backend| backend.name()).collect();
    let bars = output::Bars::new("label");
    bars.start("tasks", tasks.len() as u64);
    let mut writer = RowWriter::create(path, WriteOptions::default())?;
    let mut labelled =
        Labelled { n_tasks: tasks.len(), n_states: 0, n_looked_ahead: 0, right: vec![0.0; members.len()] };
    for (at, task) in tasks.iter().enumerate() {
        let reference = task.reference.as_bytes();
        let labels = label(ensemble.backends(), ask(&task.prompt), reference, how.look_ahead, how.hidden)?;
        for (step, label) in labels.iter().enumerate() {
            for row in rows(task, step, label, &members) {
                writer.push(row)?;
            }
            let right = labelled.right.iter_mut().zip(&label.scores);
            right.for_each(|(right, score)| *right += f64::from(score.unwrap_or(0.0)));
        }
        labelled.n_states += labels.len();
        labelled.n_looked_ahead += labels.iter().filter(|label| label.looked_ahead).count();
        bars.step(at as u64 + 1, &format!("{} states", labelled.n_states));
    }
    drop(bars);
    writer.finish()?;
    labelled.right.iter_mut().for_each(|right| *right /= labelled.n_states as f64);
    if json {
        output::say_json(&labelled)?;
    } else {
        let shares = members.iter().zip(&labelled.right).map(|(name, right)| format!("{name} {right:.3}"));
        let (states, ahead) = (labelled.n_states, labelled.n_looked_ahead);
        let shares: Vec<String> = shares.collect();
        output::say(&format!("{states} states, {ahead} looked ahead; right: {}", shares.join(", ")));
    }
    output::tell(&format!("wrote {}", path.display()));
    Ok(ExitCode::SUCCESS)
}

/// One row a member; all are of one query.
fn rows<'a>(
    task: &'a TaskRow,
    step: usize,
    label: &'a Label,
    members: &'a [&str],
) -> impl Iterator<Item = TokenRow> + 'a {
    let before = String::from_utf8_lossy(&task.reference.as_bytes()[..label.at]);
    let prompt = format!("{}{before}", task.prompt);
    members.iter().zip(&label.scores).map(move |(model, score)| TokenRow {
        query_id: format!("{}#{step}", task.task_id),
        split: task.split.clone(),
        source: task.source.clone(),
        prompt: prompt.clone(),
        model: (*model).to_owned(),
        score: *score,
        features: label.state.clone(),
    })
}
