//! The identity of the paper's estimate and the medoid; a world whose right answers are alike; public logs of texts.

use super::*;
use crate::evaluate::Average;
use crate::method::Device;
use crate::progress::Silent;
use crate::train::{FeatureChoice, Prepared, RunOptions};
use rand::RngExt as _;
use routewright_data::rng;
use routewright_data::synthetic::{Settings, World};
use serde_json::{Value, json};

/// The paper's estimate: of each triple, averaged over all pairs of other models.
fn by_triples(distances: &[f64], m: usize, i: usize) -> f64 {
    let at = |a: usize, b: usize| distances[a * m + b];
    let others: Vec<usize> = (0..m).filter(|j| *j != i).collect();
    let mut sum = (0.0, 0.0);
    for (n, j) in others.iter().enumerate() {
        for k in &others[n + 1..] {
            sum = (sum.0 + (at(i, *j) + at(i, *k) - at(*j, *k)) / 2.0, sum.1 + 1.0);
        }
    }
    sum.0 / sum.1
}

#[test]
fn the_greatest_theta_has_the_least_sum_of_distances() {
    let mut rng = rng::stream(1, "smoothie");
    for round in 0..500 {
        let (m, d) = (3 + round % 6, 8);
        let vectors: Vec<Vec<f32>> =
            (0..m).map(|_| (0..d).map(|_| rng.random_range(-1.0..1.0)).collect()).collect();
        let distances: Vec<f64> =
            (0..m * m).map(|at| squared_distance(&vectors[at / m], &vectors[at % m])).collect();
        let found = theta(&distances, m, d);
        for (i, theta) in found.iter().enumerate() {
            let delta = by_triples(&distances, m, i);
            if delta > 0.0 {
                assert!((theta - d as f64 / (2.0 * delta)).abs() < 1e-6 * theta, "{theta} {delta}");
            } else {
                assert!(theta.is_nan());
            }
        }
        if found.iter().all(|theta| theta.is_finite()) {
            let near: Vec<f64> = (0..m).map(|i| -distances[i * m..(i + 1) * m].iter().sum::<f64>()).collect();
            assert_eq!(Log::strongest(&found), Log::strongest(&near));
        }
    }
    assert!(theta(&[0.0, 1.0, 1.0, 0.0], 2, 4).iter().all(|theta| theta.is_nan()), "two models say nothing");
}

fn fit(params: Value) -> Fitted {
    let settings = Settings { n_arms: 5, missing: 0.2, drift: 0.0, ..Settings::default() };
    let world = World::new(settings, 3).answered(400, 1);
    let models = world.table.models.clone();
    let choice = FeatureChoice::default();
    let prepared = Prepared::new(world.table, &choice, 1).unwrap().with_answers(&world.answers, &models);
    let average = Average::Micro;
    let run = RunOptions { average, seed: 1, device: Device::Cpu, progress: &Silent, checkpoint: None };
    prepared.fit(&ROW, &params, &run).unwrap()
}

#[test]
fn it_asks_all_or_one_and_says_what_it_is_worth() {
    let local = fit(json!({}));
    assert_eq!(local.metrics["calls"], 5.0);
    assert_eq!(local.metrics.keys().filter(|name| name.starts_with("theta:")).count(), 5);
    let global = fit(json!({ "scope": "global" }));
    assert_eq!(global.metrics["calls"], 1.0);
    let three = fit(json!({ "strongest": 3, "likeness": "token-f1" }));
    assert_eq!(three.metrics["calls"], 3.0);
    let smooth = fit(json!({ "k": 5 }));
    let names: Vec<&str> = smooth.program.as_ref().unwrap().parts().iter().map(|part| part.name).collect();
    assert_eq!(names, ["scorer", "texts", "prior"]);
}
