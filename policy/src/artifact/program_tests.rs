//! Artifacts of format 2: the round trip of every program, and what is refused.

use super::{ArtifactError, DataRecord, FORMAT, Manifest, ProgramDraft, load, recalibrate, verify};
use crate::program::{Action, Answer, Budget, Machine};
use crate::programs::{self, Cascade, Strategy};
use crate::selectors::Argmax;
use crate::{Arm, Policy, Price, Request, Router, SelectorSpec, forms};
use routewright_data::QueryText;
use routewright_data::features::{Column, FeatureInput};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn arms() -> Vec<Arm> {
    let arm = |(model, usd): (&str, f64)| Arm {
        model: model.to_owned(),
        price: Price { mean_cost_usd: Some(usd), ..Price::default() },
        mean_latency_ms: Some(10.0),
        ..Arm::default()
    };
    [("a", 0.01), ("b", 0.1)].map(arm).to_vec()
}

fn draft(program: Box<dyn crate::program::Program>) -> ProgramDraft {
    ProgramDraft {
        name: "p".to_owned(),
        method: "test".to_owned(),
        seed: 0,
        arms: arms(),
        program,
        query_text: QueryText::default(),
        params: json!({}),
        data: DataRecord::default(),
        metrics: BTreeMap::new(),
    }
}

/// A cascade whose scorer reads two numbers: the answer of `a` is good enough where the first is great.
fn cascade() -> ProgramDraft {
    let cost = forms::CostModel::constant(vec![0.01, 0.1]);
    let weights = vec![4.0, 0.0, 0.0, 0.0, 0.0, 0.0];
    let scorer = Router {
        featurizer: Arc::new(Column::new("vector", 2)),
        predictor: Box::new(forms::Linear::new(2, forms::Link::Logistic, weights, cost)),
        selector: Box::new(Argmax),
    };
    let order = vec!["a".to_owned(), "b".to_owned()];
    let strategy = Strategy { order, thresholds: vec![0.9], score: 0.8, cost_usd: 0.05 };
    draft(Box::new(Cascade::new(vec![strategy], 0, scorer, &arms()).unwrap()))
}

/// Arms called for a query with this vector.
fn called(policy: &Policy, vector: &[f32]) -> Vec<usize> {
    let input = FeatureInput { text: "q", vector: Some(vector) };
    let mut machine = Machine::new(policy, Request { input, ..Request::default() }, Budget::default());
    let mut step = machine.start().unwrap();
    while let Action::Call(calls) = &step.action {
        let first = machine.first_pending();
        let answers = calls.iter().enumerate().flat_map(|(at, call)| {
            let answer = Answer { call: first + at, arm: call.arm_index(), ..Answer::default() };
            (0..call.samples).map(move |sample| Answer { sample, ..answer.clone() })
        });
        let answers = answers.collect();
        step = machine.supply(answers).unwrap();
    }
    machine.calls().iter().filter_map(crate::program::Call::arm_index).collect()
}

fn saved(root: &Path) -> (PathBuf, Manifest) {
    let path = root.join("p");
    let manifest = cascade().save(&path).unwrap();
    (path, manifest)
}

#[test]
fn every_program_survives_the_disk() {
    let root = tempfile::tempdir().unwrap();
    for row in programs::ALL {
        let program = || programs::load(row.name, row.version, (row.example)(&arms()), &arms()).unwrap();
        let path = root.path().join(row.name);
        let manifest = draft(program()).save(&path).unwrap();
        let (loaded, memory) = (load(&path).unwrap(), draft(program()).into_policy().unwrap());
        assert_eq!(
            (loaded.digest.as_str(), manifest.format),
            (memory.digest.as_str(), FORMAT),
            "{}",
            row.name
        );
        assert_eq!(loaded.program.config(), memory.program.config(), "{}", row.name);
        assert_eq!(called(&loaded, &[]), called(&memory, &[]), "{}", row.name);
        let names = |policy: &Policy| -> Vec<String> {
            policy.program.parts().iter().map(|part| part.name.to_owned()).collect()
        };
        assert_eq!(names(&loaded), names(&memory));
    }
}

#[test]
fn a_part_is_read_back_bit_for_bit() {
    let root = tempfile::tempdir().unwrap();
    let (path, manifest) = saved(root.path());
    let files: Vec<&str> = manifest.files.keys().map(String::as_str).collect();
    assert_eq!(files, ["scorer.featurizer.safetensors", "scorer.predictor.safetensors"]);
    let (loaded, memory) = (load(&path).unwrap(), cascade().into_policy().unwrap());
    assert_eq!(verify(&path).unwrap(), manifest);
    for (vector, expected) in [([1.0, 0.0], vec![0]), ([0.0, 1.0], vec![0, 1])] {
        assert_eq!((called(&loaded, &vector), called(&memory, &vector)), (expected.clone(), expected));
    }
    assert!(loaded.decide(&Request::default()).unwrap_err().to_string().contains("several steps"));
}

#[test]
fn what_is_damaged_or_does_not_belong_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let (path, _) = saved(root.path());
    let whole = std::fs::read(path.join("manifest.json")).unwrap();
    let strategy = "/program/config/strategies/0";
    let edits: Vec<(String, Value, &str)> = vec![
        ("/format".into(), json!(1), "missing field `form`"),
        ("/format".into(), json!(3), "artifact format 3"),
        ("/program".into(), Value::Null, "missing field `program`"),
        ("/selector".into(), json!({ "name": "argmax" }), "beside `parts`"),
        ("/parts".into(), json!({}), "cannot load the program"),
        ("/program/name".into(), json!("cascad"), "cannot load the program"),
        ("/program/version".into(), json!(99), "cannot load the program"),
        ("/program/config/default".into(), json!(1), "cannot load the program"),
        (format!("{strategy}/order/1"), json!("z"), "cannot load the program"),
        (format!("{strategy}/thresholds"), json!([]), "cannot load the program"),
        ("/parts/scorer/form/name".into(), json!("liner"), "cannot load the predictor"),
        ("/parts/scorer/form/config/dim".into(), json!(3), "cannot load the predictor"),
        ("/parts/scorer/featurizer/dim".into(), json!(3), "its digest is not the one"),
        ("/parts/scorer/selector/name".into(), json!("argmin"), "cannot load the selector"),
        ("/prompts".into(), json!({ "verify": "../verify.txt" }), "is in file `../verify.txt`"),
        ("/prompts".into(), json!({ "verify": "verify.prompt.txt" }), "does not list it"),
        ("/prompts".into(), json!({ "../x": "../x.prompt.txt" }), "`../x`"),
    ];
    for (pointer, value, says) in edits {
        let mut manifest: Value = serde_json::from_slice(&whole).unwrap();
        match manifest.pointer_mut(&pointer) {
            Some(place) => *place = value.clone(),
            None => manifest[pointer.trim_start_matches('/')] = value.clone(),
        }
        std::fs::write(path.join("manifest.json"), manifest.to_string()).unwrap();
        let error = load(&path).unwrap_err().to_string();
        assert!(error.contains(says), "{pointer} = {value}: {error}");
    }
    std::fs::write(path.join("manifest.json"), &whole).unwrap();
    for file in ["scorer.featurizer.safetensors", "scorer.predictor.safetensors"] {
        let bytes = std::fs::read(path.join(file)).unwrap();
        let mut damaged = bytes.clone();
        *damaged.last_mut().unwrap() ^= 1;
        std::fs::write(path.join(file), damaged).unwrap();
        assert!(matches!(load(&path), Err(ArtifactError::Damaged { .. })), "{file}");
        std::fs::remove_file(path.join(file)).unwrap();
        assert!(load(&path).unwrap_err().to_string().contains("is missing"), "{file}");
        std::fs::write(path.join(file), bytes).unwrap();
    }
    load(&path).unwrap();
}

#[test]
fn a_program_is_not_calibrated_by_a_selector() {
    let root = tempfile::tempdir().unwrap();
    let (path, _) = saved(root.path());
    let expected = json!({
        "against": "b", "saving": 0.2, "saving_se": 0.1, "difference": 0.0, "standard_error": 0.1, "cost_usd": 0.1,
        "n_queries": 9,
    });
    let promise = json!({ "save": 0.1, "lambda": 1.0, "average": "micro", "split": "train",
        "expected": expected });
    let promise: super::Promise = serde_json::from_value(promise).unwrap();
    let to = root.path().join("q");
    let error = recalibrate(&path, &to, SelectorSpec::named("argmax"), promise).unwrap_err().to_string();
    assert!(error.contains("`cascade`, expected a policy of one step") && !to.exists(), "{error}");
}
