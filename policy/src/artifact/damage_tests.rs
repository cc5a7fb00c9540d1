//! Whatever an artifact holds, loading it gives a policy that decides, or an error: never a panic.
//!
//! The damage is done where a digest does not see it: the files are rewritten, the manifest with them, as one who can
//! write the folder could.

use super::{Manifest, RouterDraft, load, safetensors_codec, save};
use crate::forms::*;
use crate::online::Forgetting;
use crate::{Arm, Predictor, Price, Request, SelectorSpec};
use routewright_data::features::{Column, FeatureInput};
use routewright_data::{FeatureMatrix, Tensor, TensorData, Tensors};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

const DIM: usize = 2;

fn arms() -> Vec<Arm> {
    let arm = |model: &str| Arm {
        model: model.to_owned(),
        price: Price { mean_cost_usd: Some(0.01), ..Price::default() },
        ..Arm::default()
    };
    vec![arm("a"), arm("b")]
}

fn cost() -> CostModel {
    CostModel::log_linear(vec![0.01, 0.02], DIM, vec![0.0; 6], vec![0.001, 0.1, 0.001, 0.1])
}

fn draft(predictor: Box<dyn Predictor>) -> RouterDraft {
    RouterDraft {
        name: "p".to_owned(),
        method: "test".to_owned(),
        seed: 0,
        arms: arms(),
        featurizer: Arc::new(Column::new("vector", DIM)),
        predictor,
        selector: SelectorSpec::named("argmax"),
        params: json!({}),
        data: super::DataRecord::default(),
        query_text: routewright_data::QueryText::default(),
        metrics: BTreeMap::new(),
    }
}

/// Forms of every kind of state: tables, rows, sums, centroids.
fn forms() -> Vec<Box<dyn Predictor>> {
    let features = || FeatureMatrix::from_vec(2, DIM, vec![1.0, 0.0, 0.0, 1.0]);
    let tables = ClusterTables {
        score: vec![0.5; 4],
        score_se: vec![0.1; 4],
        cost_usd: vec![f32::NAN, 0.1, 0.1, 0.1],
    };
    let rule = Rule::Beta { a: 1.0, b: 1.0 };
    let ridge = RidgeShape {
        dim: DIM,
        intercept: true,
        precision: 1.0,
        shared: Some(1.0),
        noise: 0.5,
        forgetting: Forgetting::default(),
    };
    vec![
        Box::new(Constant::new(vec![0.5, 0.6], vec!["s".into()], vec![0.1, 0.2], cost())),
        Box::new(Clusters::new(Mixing { top: 2, sharpness: 2.0 }, 2, features(), tables)),
        Box::new(Linear::new(DIM, Link::Logistic, vec![0.1; 6], cost())),
        Box::new(ValueTable::new(
            rule,
            Cell::Centroids { dim: DIM, values: vec![1.0, 0.0, 0.0, 1.0] },
            cost(),
        )),
        Box::new(ValueTable::new(rule, Cell::Sources(vec!["s".into()]), cost())),
        Box::new(BayesianRidge::new(ridge, vec![0.1; 6], cost()).unwrap()),
    ]
}

/// Rewrites a file of an artifact, and the manifest so that its digests are right.
fn rewrite(dir: &Path, edit_manifest: &dyn Fn(&mut Value), edit: &dyn Fn(&Tensors) -> Tensors) {
    let path = dir.join("predictor.safetensors");
    let tensors = safetensors_codec::decode(&std::fs::read(&path).unwrap()).unwrap();
    let bytes = safetensors_codec::encode(&edit(&tensors)).unwrap();
    std::fs::write(&path, &bytes).unwrap();
    let path = dir.join("manifest.json");
    let mut manifest: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let record = json!({ "bytes": bytes.len(), "blake3": blake3::hash(&bytes).to_hex().to_string() });
    manifest["files"]["predictor.safetensors"] = record;
    edit_manifest(&mut manifest);
    std::fs::write(&path, manifest.to_string()).unwrap();
}

/// Loads and decides; what is refused is refused with words.
fn survives(dir: &Path, what: &str) -> bool {
    match load(dir) {
        Ok(policy) => {
            for (text, vector) in [("", [0.0, 0.0]), ("x", [0.6, 0.8])] {
                let input = FeatureInput { text, vector: Some(&vector) };
                if let Err(error) = policy.decide(&Request { input, ..Request::default() }) {
                    assert!(!error.to_string().is_empty(), "{what}");
                }
            }
            true
        }
        Err(error) => {
            assert!(!error.to_string().is_empty(), "{what}");
            false
        }
    }
}

/// The tensor with another shape; values are repeated or cut to fit.
fn reshaped(tensor: &Tensor, shape: Vec<usize>) -> Tensor {
    fn fill<T: Clone>(values: &[T], n: usize) -> Vec<T> {
        values.iter().cycle().take(if values.is_empty() { 0 } else { n }).cloned().collect()
    }
    let n = shape.iter().product();
    let data = match &tensor.data {
        TensorData::F32(v) => TensorData::F32(fill(v, n)),
        TensorData::F16(v) => TensorData::F16(fill(v, n)),
        TensorData::I8(v) => TensorData::I8(fill(v, n)),
        TensorData::U8(v) => TensorData::U8(fill(v, n)),
        TensorData::U32(v) => TensorData::U32(fill(v, n)),
    };
    Tensor { shape, data }
}

fn with(tensors: &Tensors, name: &str, tensor: Tensor) -> Tensors {
    let mut out = tensors.clone();
    out.insert(name, tensor);
    out
}

#[test]
fn every_tensor_of_every_shape_loads_or_is_refused() {
    let root = tempfile::tempdir().unwrap();
    for (at, predictor) in forms().into_iter().enumerate() {
        let dir = root.path().join(at.to_string());
        save(&draft(predictor), &dir).unwrap();
        assert!(survives(&dir, "as it was made"));
        let path = dir.join("predictor.safetensors");
        let whole = safetensors_codec::decode(&std::fs::read(path).unwrap()).unwrap();
        for (name, tensor) in whole.iter() {
            let shape = tensor.shape.clone();
            let mut shapes = vec![vec![], vec![1], vec![0], vec![0, 0], vec![1, 1, 1]];
            for axis in 0..shape.len() {
                for size in [0, 1, shape[axis] + 1, 2 * shape[axis]] {
                    shapes.push(
                        shape.iter().enumerate().map(|(i, n)| if i == axis { size } else { *n }).collect(),
                    );
                }
            }
            for other in shapes.into_iter().filter(|other| *other != shape) {
                let what = format!("form {at}, tensor `{name}` of shape {other:?}");
                let damaged = reshaped(tensor, other);
                if damaged.shape.iter().product::<usize>() > 0
                    && matches!(&damaged.data, TensorData::F32(v) if v.is_empty())
                {
                    continue;
                }
                rewrite(&dir, &|_| {}, &|_| with(&whole, name, damaged.clone()));
                survives(&dir, &what);
            }
            for value in [f32::MAX, f32::MIN, 1e30, f32::NAN, f32::INFINITY] {
                let TensorData::F32(values) = &tensor.data else { continue };
                let data = TensorData::F32(vec![value; values.len()]);
                rewrite(&dir, &|_| {}, &|_| {
                    with(&whole, name, Tensor { shape: shape.clone(), data: data.clone() })
                });
                survives(&dir, &format!("form {at}, tensor `{name}` of {value}"));
            }
        }
        rewrite(&dir, &|_| {}, &|_| whole.clone());
        assert!(survives(&dir, "put back"));
    }
}

#[test]
fn a_scalar_tensor_of_centroids_is_refused_by_its_shape() {
    let dir = tempfile::tempdir().unwrap();
    let table = forms().remove(3);
    save(&draft(table), &dir.path().join("p")).unwrap();
    let scalar = Tensor { shape: Vec::new(), data: TensorData::F32(vec![1.0]) };
    rewrite(&dir.path().join("p"), &|_| {}, &|all| with(all, "centroids", scalar.clone()));
    let error = load(&dir.path().join("p")).unwrap_err();
    let said = std::error::Error::source(&error).unwrap().to_string();
    assert!(said.contains("`centroids` has shape []"), "{said}");
}

#[test]
fn numbers_that_no_configuration_has_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let beta = |a: f64, b: f64| json!({ "beta": { "a": a, "b": b } });
    let rules = [
        beta(0.0, 0.0),
        beta(-1.0, -1.0),
        json!({"step": {"alpha": 0.0, "start": 0.0}}),
        json!({"reward_inaction": {"rate": 1.0}}),
        json!({"mean": {"prior_mean": 0.5, "prior_weight": 0.0, "noise": 0.5}}),
    ];
    let dir = root.path().join("p");
    save(&draft(forms().remove(4)), &dir).unwrap();
    for rule in rules {
        rewrite(&dir, &|manifest| manifest["form"]["config"]["rule"] = rule.clone(), &Tensors::clone);
        let error = load(&dir).unwrap_err();
        let said = std::error::Error::source(&error).unwrap().to_string();
        assert!(said.contains("of its rule is"), "{rule}: {said}");
    }
    let linear = root.path().join("linear");
    save(&draft(forms().remove(2)), &linear).unwrap();
    for size in [u64::MAX, 1 << 40, 3] {
        rewrite(&linear, &|manifest| manifest["form"]["config"]["dim"] = json!(size), &Tensors::clone);
        assert!(!survives(&linear, "a great width"), "{size}");
    }
}

#[test]
fn arms_are_checked_when_they_are_written_and_when_they_are_read() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("p");
    save(&draft(forms().remove(0)), &dir).unwrap();
    let edits: [(&str, Value, &str); 7] = [
        ("/arms/1/model", json!("a"), "`a` is listed twice"),
        ("/arms/1/model", json!(""), "is empty"),
        ("/arms/1/model", json!("a\u{0}b"), "U+0000"),
        ("/arms/0/model", json!("x".repeat(300)), "300 bytes"),
        ("/arms/0/price/mean_cost_usd", json!(-1e300), "`mean_cost_usd` of `a` is `-1"),
        ("/arms/0/mean_latency_ms", json!(1e300), "`mean_latency_ms` of `a`"),
        ("/arms/0/tags", json!(["eu", "x\ny"]), "U+000A"),
    ];
    let whole = std::fs::read(dir.join("manifest.json")).unwrap();
    for (pointer, value, says) in edits {
        let mut manifest: Value = serde_json::from_slice(&whole).unwrap();
        match manifest.pointer_mut(pointer) {
            Some(place) => *place = value.clone(),
            None => {
                let (parent, key) = pointer.rsplit_once('/').unwrap();
                manifest.pointer_mut(parent).unwrap()[key] = value.clone();
            }
        }
        std::fs::write(dir.join("manifest.json"), manifest.to_string()).unwrap();
        let error = load(&dir).unwrap_err().to_string();
        assert!(error.contains(says), "{pointer}: {error}");
        // The same arms cannot be written in the first place.
        let read: Manifest = serde_json::from_value(manifest).unwrap();
        let other = RouterDraft { arms: read.arms, ..draft(forms().remove(0)) };
        assert!(save(&other, &root.path().join("new")).unwrap_err().to_string().contains(says));
        assert!(!root.path().join("new").exists());
    }
}
