//! Yardsticks on real pair logs against an independent computation; skipped where the logs are not at hand.
//!
//! Reference figures: Newton's method in numpy 2.4.6 on the same files with the same prior, ties half a win of either.

use super::yardsticks::{Yardstick, forecast};
use super::{PairScore, judge};
use routewright_data::{Judge, Judges, LoadOptions, PairTable};

/// Accuracy and log-loss of each yardstick, fitted on train and judged on test.
fn figures(log: &str, judges: &[&str]) -> Option<Vec<[f64; 2]>> {
    let path = routewright_data::testing::shared(&format!("data/{log}"))?;
    let judges: Vec<Judge> = judges.iter().map(|name| name.parse().unwrap()).collect();
    let judges = Judges::only(&judges).unwrap();
    let load = |split| {
        PairTable::load_with_lengths(&path, &LoadOptions::split(split)).unwrap().judged_by(&judges).unwrap()
    };
    let (train, test) = (load("train"), load("test"));
    let of = |yardstick: Yardstick| {
        let forecast = forecast(yardstick, &train, &test).unwrap().unwrap();
        let PairScore { accuracy, log_loss, .. } = judge::judge(yardstick.name(), &forecast, &test, None);
        [accuracy.unwrap().mean, log_loss.unwrap().mean]
    };
    Some(Yardstick::ALL.map(of).to_vec())
}

fn assert_near(found: &[[f64; 2]], want: &[[f64; 2]]) {
    for (found, want) in found.iter().flatten().zip(want.iter().flatten()) {
        assert!((found - want).abs() < 1e-5, "{found} is not {want}");
    }
}

#[test]
fn pandalm_agrees_with_numpy() {
    let Some(found) = figures("pandalm_pairs.parquet", &["human_majority"]) else { return };
    let want = [[0.635_627_53, 0.639_120_09], [0.668_016_19, 0.613_924_50], [0.716_599_19, 0.554_345_08]];
    assert_near(&found, &want);
}

#[test]
fn vicuna80_agrees_with_numpy() {
    let Some(found) = figures("vicuna80_pairs.parquet", &[]) else { return };
    let want = [[0.841_772_15, 0.378_619_01], [0.727_848_10, 0.541_403_76], [0.851_265_82, 0.396_842_45]];
    assert_near(&found, &want);
}
