//! Figures of real logs against an independent computation; skipped where the logs are not at hand.
//!
//! Reference figures: numpy 2.4.6 on the same files (means, a hull by cross products, `numpy.trapezoid`).

use super::{Average, Baseline, JudgeOptions, Judged, Judging};
use routewright_data::{LoadOptions, OutcomeTable};

/// Train and test rows of a log beside the repository.
fn splits(log: &str) -> Option<(OutcomeTable, OutcomeTable)> {
    let path = routewright_data::testing::shared(&format!("data/{log}"))?;
    let load = |split| OutcomeTable::load(&path, &LoadOptions::split(split)).unwrap();
    Some((load("train"), load("test")))
}

fn score(baseline: &Option<Baseline>) -> Option<f64> {
    baseline.as_ref().and_then(|baseline| baseline.figures.score)
}

fn judged(train: &OutcomeTable, test: &OutcomeTable, average: Average) -> Judged {
    let options = JudgeOptions { average, ..JudgeOptions::default() };
    Judging::new("log", "test", Some(train), test, &options).unwrap().finish()
}

#[test]
fn routerbench_agrees_with_numpy() {
    let Some((train, test)) = splits("routerbench_small.parquet") else { return };
    let close = |a: Option<f64>, b: f64| assert!((a.unwrap() - b).abs() < 1e-6, "{a:?} {b}");
    let micro = judged(&train, &test, Average::Micro);
    close(micro.singles_aiq, 0.822_626_708_8);
    close(score(&micro.baselines.oracle), 0.975_661_375_7);
    close(score(&micro.baselines.random), 0.685_906_685_9);
    close(score(&micro.baselines.best_single), 0.879_365_079_4);
    close(micro.baselines.best_single.as_ref().and_then(|b| b.figures.cost_usd), 0.005_003_365_1);
    let source_mean = judged(&train, &test, Average::Macro);
    close(source_mean.singles_aiq, 0.776_140_134_3);
    close(score(&source_mean.baselines.oracle), 0.951_038_091_2);
}

#[test]
fn routerdc_agrees_with_numpy() {
    let Some((train, test)) = splits("routerdc.parquet") else { return };
    let close = |a: Option<f64>, b: f64| assert!((a.unwrap() - b).abs() < 5e-5, "{a:?} {b}");
    let micro = judged(&train, &test, Average::Micro);
    let best = micro.baselines.best_single.unwrap();
    assert_eq!(best.model.as_deref(), Some("meta-math/MetaMath-Mistral-7B"));
    close(best.figures.score_micro, 0.5472);
    close(best.figures.score_macro, 0.5028);
    let found = judged(&train, &test, Average::Macro);
    // The best of the train means over sources, not over queries.
    let best = found.baselines.best_single.unwrap();
    assert_eq!(best.model.as_deref(), Some("cognitivecomputations/dolphin-2.9-llama3-8b"));
    close(best.figures.score, 0.5456);
    let source = found.baselines.source_best.unwrap();
    close(source.figures.score_micro, 0.6023);
    close(source.figures.score, 0.5867);
    assert!(found.baselines.cheapest.is_none() && found.singles_aiq.is_none());
}
