//! The assignment of a hundred thousand queries to twenty arms, timed and written out for a solver to check.

#![expect(clippy::print_stdout, reason = "a measurement shows its figures")]

use rand::RngExt as _;
use routewright_data::rng;
use routewright_policy::assignment::{Batch, within_budget};
use std::fs;
use std::path::PathBuf;
use std::time::Instant;

const QUERIES: usize = 100_000;
const ARMS: usize = 20;

/// `ROUTEWRIGHT_ASSIGNMENT=DIR cargo test -p routewright-policy --test assignment -- --ignored --nocapture` writes
/// `score.f32` and `cost.f32` (little-endian, row-major) beside the figures that it prints.
#[test]
#[ignore = "a measurement, recorded in experiments/record"]
fn a_hundred_thousand_queries_of_twenty_arms() {
    let mut rng = rng::stream(7, "assignment");
    let (mut score, mut cost_usd) = (Vec::new(), Vec::new());
    for _ in 0..QUERIES {
        let (ease, length) = (rng.random::<f32>(), 0.2 + rng.random::<f32>());
        for arm in 0..ARMS {
            let level = (arm + 1) as f32 / ARMS as f32;
            score.push((ease + level * rng.random::<f32>()).min(1.0));
            cost_usd.push(0.001 * length * level * level);
        }
    }
    let batch = Batch { n_arms: ARMS, score: &score, cost_usd: &cost_usd };
    let free = within_budget(&batch, f64::MAX).unwrap().cost_usd;
    for share in [0.1, 0.3, 0.7] {
        let started = Instant::now();
        let found = within_budget(&batch, share * free).unwrap();
        let seconds = started.elapsed().as_secs_f64();
        let bound = found.bound.unwrap();
        assert!(bound - found.score < 1e-3 * bound && found.cost_usd <= share * free);
        println!(
            "budget {:.9} score {:.6} bound {bound:.6} gap {:.2e} spent {:.9} in {seconds:.3} s",
            share * free,
            found.score,
            (bound - found.score) / bound,
            found.cost_usd,
        );
    }
    if let Some(folder) = std::env::var_os("ROUTEWRIGHT_ASSIGNMENT").map(PathBuf::from) {
        let bytes = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
        fs::write(folder.join("score.f32"), bytes(&score)).unwrap();
        fs::write(folder.join("cost.f32"), bytes(&cost_usd)).unwrap();
    }
}
