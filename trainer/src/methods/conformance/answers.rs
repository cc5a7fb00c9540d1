//! What every method must do that looks at answers; a new row inherits these tests.

use super::*;
use crate::method::Family;
use crate::rollout::{ReplayWorld, rollout};
use routewright_data::answers::AnswerTable;
use routewright_data::synthetic::AnsweredWorld;

/// Methods that fit a program on answers.
fn reading() -> impl Iterator<Item = &'static MethodRow> {
    ALL.iter().filter(|row| row.family == Family::After && row.reads(Reads::Answers))
}

/// Parameters that fit quickly: samples that the world has, one value of each grid that is slow.
fn params(row: &MethodRow) -> Value {
    let (mut params, defaults) = (quick(row), (row.defaults)());
    for (key, value) in [("samples", json!(2)), ("repeats", json!(1)), ("trees", json!(20))] {
        if defaults.get(key).is_some_and(|default| default.is_array() == value.is_array()) {
            params[key] = value;
        }
    }
    params
}

fn answered(n: usize, missing: f64) -> AnsweredWorld {
    let settings = Settings { n_arms: 4, missing, drift: 0.0, ..Settings::default() };
    World::new(settings, 5).answered(n, 2)
}

fn prepared(table: OutcomeTable, answers: &AnswerTable) -> Prepared {
    let models = table.models.clone();
    prepare(table).with_answers(answers, &models)
}

/// Score and calls of every query of the world.
fn played(policy: &routewright_policy::Policy, world: &AnsweredWorld) -> (Vec<u64>, Vec<f64>) {
    let replay = ReplayWorld::new(&world.table.queries, &world.table.models, &world.answers, &policy.arms);
    let (outcomes, _) = rollout(policy, &world.table, &replay, None, &[1]).unwrap();
    (outcomes.scores.iter().map(|score| score.to_bits()).collect(), outcomes.calls)
}

#[test]
fn programs_survive_the_disk_bit_for_bit_and_one_seed_gives_one_artifact() {
    let world = answered(240, 0.0);
    let prepared = prepared(world.table.clone(), &world.answers);
    let dir = tempfile::tempdir().unwrap();
    for row in reading() {
        let save = |folder: &str| {
            let mut fitted = fit_with(row, &params(row), &prepared).unwrap();
            let path = dir.path().join(format!("{}-{folder}", row.name));
            let about = (fitted.params.clone(), fitted.metrics.clone());
            let program = fitted.program.take().expect(row.name);
            let manifest =
                prepared.program_draft(row.name, row, program, about, "train", 3).save(&path).unwrap();
            (path, manifest)
        };
        let ((path, first), (_, second)) = (save("a"), save("b"));
        assert_eq!(first, second, "{}: two fits with one seed differ", row.name);
        let memory = fit_with(row, &params(row), &prepared).unwrap();
        let memory = prepared.policy(row, memory, 3).unwrap();
        let loaded = artifact::load(&path).unwrap();
        let bits = |policy| {
            let (scores, calls) = played(policy, &world);
            (scores, calls.iter().map(|calls| calls.to_bits()).collect::<Vec<u64>>())
        };
        assert_eq!(bits(&loaded), bits(&memory), "{}", row.name);
        let bounds = f64::from(loaded.program.bounds().calls);
        let (scores, calls) = played(&loaded, &world);
        let known = scores.iter().filter(|bits| !f64::from_bits(**bits).is_nan()).count();
        // A log has no answers to templates.
        let least = if loaded.program.prompts().is_empty() { 200 } else { 0 };
        assert!(known >= least, "{}: {known} of 240 queries are played", row.name);
        assert!(calls.iter().all(|calls| calls.is_nan() || *calls <= bounds), "{}", row.name);
    }
}

#[test]
fn odd_but_honest_logs_of_answers_are_fitted_or_refused_in_words() {
    let world = answered(120, 0.0);
    let gaps = answered(120, 0.5);
    let all: Vec<usize> = (0..120).collect();
    let mut equal = world.table.clone();
    equal.score = Cells::from_vec(120, 4, vec![0.5; 480]);
    let mut no_task = world.table.clone();
    no_task.queries.iter_mut().for_each(|query| query.source = None);
    let odd = [
        ("one arm", world.table.select_arms(&[1]), world.answers.select_arms(&[1])),
        ("one query", world.table.select_rows(&[7]), world.answers.select_rows(&[7])),
        ("half of the cells missing", gaps.table, gaps.answers),
        ("all scores equal", equal, world.answers.clone()),
        ("no task", no_task, world.answers.clone()),
        ("as it is", world.table.select_rows(&all), world.answers.clone()),
    ];
    for (what, table, answers) in odd {
        let prepared = prepared(table, &answers);
        for row in reading() {
            match fit_with(row, &params(row), &prepared) {
                Ok(fitted) => assert!(prepared.policy(row, fitted, 3).is_ok(), "{} on {what}", row.name),
                Err(error @ (FitError::Log { .. } | FitError::Params { .. })) => {
                    assert!(error.to_string().len() > 30, "{} on {what}: {error}", row.name);
                    assert_ne!(what, "as it is", "{}: {error}", row.name);
                }
                Err(error) => panic!("{} on {what}: {error}", row.name),
            }
        }
    }
    let plain = prepare(world.table.clone());
    for row in reading() {
        let error = fit_with(row, &params(row), &plain).unwrap_err().to_string();
        assert!(error.contains("answers"), "{}: {error}", row.name);
        let unknown = fit_with(row, &json!({ "no_such_parameter": 1 }), &plain).unwrap_err().to_string();
        assert!(unknown.contains("no_such_parameter"), "{unknown}");
    }
}
