use super::*;
use crate::evaluate::Average;
use crate::method::Device;
use crate::progress::Silent;
use routewright_data::features::{Column, Featurizer};
use routewright_data::{Cells, Query};
use std::sync::Arc;

/// Two arms, each right on half of the queries; `flipped` rows say the opposite.
fn table(n: usize, flipped: &[usize]) -> (OutcomeTable, FeatureMatrix) {
    let side = |row: usize| row.is_multiple_of(2);
    let score = |row: usize, arm: usize| f32::from((side(row) == (arm == 0)) != flipped.contains(&row));
    let table = OutcomeTable {
        queries: (0..n).map(|i| Query { prompt: format!("prompt {i}"), ..Query::default() }).collect(),
        models: ["left", "right"].map(str::to_owned).to_vec(),
        score: Cells::from_vec(n, 2, (0..n).flat_map(|row| [score(row, 0), score(row, 1)]).collect()),
        soft_score: None,
        cost_usd: Cells::from_vec(n, 2, (0..n).flat_map(|row| [0.001 + row as f32 * 1e-6, 0.002]).collect()),
        latency_ms: None,
        vectors: None,
    };
    let x = (0..n).flat_map(|row| [if side(row) { 1.0 } else { -1.0 }, (row as f32 * 0.37).sin()]).collect();
    (table, FeatureMatrix::from_vec(n, 2, x))
}

#[test]
fn nothing_the_slice_is_judged_with_was_learned_from_it() {
    let params = Params { irt_steps: 200, warm_steps: 200, ppo_steps: 20, ..Params::default() };
    let featurizer: Arc<dyn Featurizer> = Arc::new(Column::new("vector", 2));
    let slice = validation::slice(&table(120, &[]).0, 7, params.valid_share);
    assert!(slice.valid.len() > 5 && slice.fit.len() > 60);
    // What is learned of the rest when the scores of the slice are told as they are, or as the opposite.
    let learned = |flipped: &[usize]| {
        let (table, features) = table(120, flipped);
        let context = FitContext {
            train: &table,
            pairs: None,
            answers: None,
            features: &features,
            featurizer: &featurizer,
            average: Average::Micro,
            seed: 7,
            device: Device::Cpu,
            progress: &Silent,
            checkpoint: None,
        };
        let log = Log { table: table.clone(), params: &params, context: &context };
        let mut irt = log.identities(&slice.fit);
        let strengths = irt.strengths(&features, &slice.fit);
        let world = log.world(&slice.fit, &strengths, &[0.001, 0.002]).unwrap();
        let near_ones = world.neighbors.iter().all(|near| *near < slice.fit.len());
        assert!(near_ones && world.table.n_queries() == slice.fit.len());
        (irt.identities, world.calibrated, world.neighbors, log.choose_steps().unwrap())
    };
    let (straight, opposite) = (learned(&[]), learned(&slice.valid));
    assert_eq!((straight.0, straight.1, straight.2), (opposite.0, opposite.1, opposite.2));
    // On a slice that says the opposite, what was learned is worth little; on one that agrees, much.
    let ((_, worth, imitation), (_, against, _)) = (straight.3, opposite.3);
    assert!(worth >= imitation && worth > against + 0.3, "{worth} (imitation {imitation}), {against}");
}
