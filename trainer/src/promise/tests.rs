use super::*;
use rand::RngExt as _;
use routewright_data::rng;

/// Rows whose confidence `u` is uniform; a kept answer is lost where the reference is right and it is not, with
/// probability `0.2 (1 - u)^2`. A setting keeps the answers with `u >= t`: its expected loss is `0.2 (1 - t)^3 / 3`.
fn losses(rows: &[(f64, bool)], threshold: f64) -> Losses {
    Losses::of(rows.iter().map(|(u, is_lost)| f64::from(u8::from(*u >= threshold && *is_lost))))
}

fn expected(threshold: f64) -> f64 {
    0.2 * (1.0 - threshold).powi(3) / 3.0
}

fn draw(n: usize, seed: u64) -> Vec<(f64, bool)> {
    let mut rng = rng::stream(seed, "promise test");
    (0..n)
        .map(|_| {
            let u: f64 = rng.random();
            (u, rng.random::<f64>() < 0.2 * (1.0 - u).powi(2))
        })
        .collect()
}

/// Thresholds, strict to loose.
fn sequence() -> impl Iterator<Item = f64> {
    (1..=40).map(|k| 1.0 - f64::from(k) / 40.0)
}

#[test]
fn it_holds_in_at_least_95_of_100_redraws_and_the_plug_in_does_not() {
    let promise = Promise { max_drop: 0.02, confidence: 0.95 };
    let (mut held, mut plug_in_held, mut share) = (0, 0, 0.0);
    for seed in 0..200 {
        let rows = draw(1000, seed);
        let kept = promise.keep(sequence().map(|t| losses(&rows, t))).unwrap();
        let threshold = sequence().nth(kept.at).unwrap();
        assert!(kept.bound <= promise.max_drop + 1e-9 && kept.loss <= kept.bound, "{kept:?}");
        held += usize::from(expected(threshold) <= promise.max_drop);
        share += (1.0 - threshold) / 200.0;
        let plug_in = sequence().filter(|t| losses(&rows, *t).mean() <= promise.max_drop).last().unwrap();
        plug_in_held += usize::from(expected(plug_in) <= promise.max_drop);
    }
    assert!(held >= 190, "{held} of 200");
    assert!(plug_in_held < 150, "{plug_in_held} of 200");
    // The loosest that keeps it keeps 1 - t = 0.3^(1/3) = 0.67 of the answers.
    assert!(share > 0.45 && share < 0.67, "{share}");
}

#[test]
fn what_the_rows_cannot_carry_is_refused_with_what_they_can() {
    let promise = Promise { max_drop: 0.01, confidence: 0.95 };
    assert_eq!(promise.rows_needed(), 299);
    assert_eq!(Promise { confidence: 0.9, ..promise }.rows_needed(), 230);
    let error = promise.keep([Losses::none(120)]).unwrap_err();
    // 1 - 0.05^(1/120) = 0.02466.
    assert!(
        error.to_string().contains("at least 299 rows") && error.to_string().contains("0.025"),
        "{error}"
    );
    let error = promise.keep([Losses::of((0..1000).map(|at| f64::from(u8::from(at < 9))))]).unwrap_err();
    assert!(matches!(error, Refusal::TooLossy { n_rows: 1000, .. }), "{error}");
    assert!(error.to_string().contains("0.0090"), "{error}");
    assert!(promise.keep([]).is_err());
    // A loose setting that is better by luck is not reached over one that is refused.
    let lossy = Losses::of((0..1000).map(|at| f64::from(u8::from(at < 90))));
    let kept = promise.keep([Losses::none(1000), lossy, Losses::none(1000)]).unwrap();
    assert_eq!(kept.at, 0);
    for (max_drop, confidence) in [(0.0, 0.9), (1.0, 0.9), (0.1, 1.0), (f64::NAN, 0.5)] {
        assert!(Promise { max_drop, confidence }.check().is_err());
    }
}
