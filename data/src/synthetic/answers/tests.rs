use super::super::Settings;
use super::*;
use crate::LoadOptions;
use crate::answers::Agreement;
use crate::log::{ValidateOptions, validate};

#[test]
fn the_log_of_answers_is_sound_repeats_by_seed_and_holds_the_tables() {
    let dir = tempfile::tempdir().unwrap();
    let write = |seed: u64, name: &str| {
        let path = dir.path().join(name);
        let rows = World::new(Settings::default(), seed).write_answers(120, 3, &path).unwrap();
        (rows, path)
    };
    let (rows, path) = write(4, "a.parquet");
    assert_eq!(std::fs::read(&path).unwrap(), std::fs::read(write(4, "b.parquet").1).unwrap());
    assert_ne!(std::fs::read(&path).unwrap(), std::fs::read(write(5, "c.parquet").1).unwrap());
    assert_eq!(validate(&path, &ValidateOptions::default()).unwrap().complaints, []);
    let table = OutcomeTable::load(&path, &LoadOptions::default()).unwrap();
    let answers = AnswerTable::load(&path, &table).unwrap();
    let world = World::new(Settings::default(), 4).answered(120, 3);
    assert_eq!(answers.n_answers() as u64, rows);
    assert_eq!(table.digest(), world.table.digest());
    assert!(answers.iter().eq(world.answers.iter()));
}

#[test]
fn the_first_sample_is_the_outcome_without_answers() {
    let world = World::new(Settings::default(), 9);
    let (plain, _, _) = world.table(200);
    let answered = world.answered(200, 2);
    assert_eq!(answered.table.queries, plain.queries);
    for (query, arm, row) in answered.answers.iter().filter(|(_, _, row)| row.sample == 0) {
        assert_eq!(row.score, plain.score.get(query, arm));
        assert_eq!(row.cost_usd.map(|cost| cost as f32), plain.cost_usd.get(query, arm));
        assert_eq!(row.latency_ms, plain.latency_ms.as_ref().unwrap().get(query, arm));
    }
    assert_eq!(answered.answers.samples(0, 0).len() % 2, 0);
}

#[test]
fn samples_have_the_expected_score_and_the_correlation_that_is_stated() {
    let world = World::new(Settings { missing: 0.0, ..Settings::default() }, 2);
    let n = 3000;
    let (_, expected, _) = world.table(n);
    let answered = world.answered(n, 3);
    for arm in 0..8 {
        let mut sums = [0.0_f64; 4];
        for query in 0..n {
            let scores: Vec<f64> =
                answered.answers.samples(query, arm).map(|row| row.score.unwrap().into()).collect();
            let p = f64::from(expected.row(query)[arm]);
            sums[0] += scores[1] - p;
            sums[1] += (scores[1] - p) * (scores[2] - p);
            sums[2] += p * (1.0 - p);
            sums[3] += scores[2] - f64::from(answered.chance.row(query)[arm]);
        }
        // Five standard errors of a mean of 3,000 draws: 5 * 0.5 / sqrt(3000) = 0.046.
        assert!((sums[0] / n as f64).abs() < 0.046, "arm {arm}: bias {}", sums[0] / n as f64);
        assert!((sums[3] / n as f64).abs() < 0.046, "arm {arm}: bias given r {}", sums[3] / n as f64);
        let correlation = sums[1] / sums[2];
        assert!(
            (correlation - 0.5).abs() < 0.08,
            "arm {arm}: correlation {correlation}, expected 1 / (k + 1)"
        );
    }
}

/// Area under the ROC curve of a value for right answers over wrong ones.
fn auc(values: &[(f32, bool)]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut wrong, mut wins) = (0.0, 0.0);
    for (_, is_right) in &sorted {
        if *is_right { wins += wrong } else { wrong += 1.0 }
    }
    wins / (wrong * (sorted.len() as f64 - wrong))
}

#[test]
fn agreement_log_probabilities_and_checks_tell_right_from_wrong() {
    let answered = World::new(Settings { missing: 0.0, ..Settings::default() }, 6).answered(600, 5);
    let mut signals: [Vec<(f32, bool)>; 4] = [const { Vec::new() }; 4];
    let (mut cut, mut collisions) = (0_usize, [0_usize; 2]);
    for query in 0..600 {
        for arm in 0..8 {
            let rows: Vec<_> = answered.answers.samples(query, arm).collect();
            let forms = Agreement::of(rows.iter().map(|row| row.answer));
            for (at, row) in rows.iter().enumerate() {
                let is_right = row.score == Some(1.0);
                assert_eq!(is_right, row.answer == Some(answered.right[query].as_str()));
                assert_eq!(row.finish == Some("length"), row.answer.is_none());
                cut += usize::from(row.answer.is_none());
                signals[0].push((row.logprob_mean.unwrap(), is_right));
                signals[1].push((row.logprob_min.unwrap(), is_right));
                signals[2].push((row.verifier_rate.unwrap(), is_right));
                signals[3].push((forms.group(at).map_or(0.0, |group| forms.share(group) as f32), is_right));
            }
        }
        // Wrong first answers of two arms to a question without options: how often they are the same.
        let first =
            |arm: usize| answered.answers.get(query, arm, 0).filter(|row| row.score == Some(0.0))?.answer;
        for (a, b) in (0..8).flat_map(|a| (0..a).map(move |b| (a, b))) {
            if let (Some(a), Some(b)) = (first(a), first(b)) {
                let has_options = a.starts_with(char::is_alphabetic);
                collisions[0] += usize::from(!has_options);
                collisions[1] += usize::from(!has_options && a == b);
            }
        }
    }
    let found = signals.map(|values| auc(&values));
    assert!(found.iter().all(|auc| *auc > 0.7 && *auc < 0.99), "{found:?}");
    assert!(cut > 100, "{cut}");
    // Both the tempting one, 0.3^2, and chance meetings; far from 0 and from 1.
    let rate = collisions[1] as f64 / collisions[0] as f64;
    assert!((0.09..0.2).contains(&rate), "{rate}");
}

#[test]
fn options_have_probabilities_and_numbers_have_none() {
    let answered = World::new(Settings::default(), 1).answered(80, 1);
    let (mut with, mut without) = (0, 0);
    for (query, _, row) in answered.answers.iter() {
        let has_options = "ABCD".contains(answered.right[query].as_str());
        match row.option_probs {
            Some(probs) => {
                assert!(has_options && probs.len() == 4 && (probs.iter().sum::<f32>() - 1.0).abs() < 1e-5);
                with += 1;
            }
            None => {
                assert!(!has_options);
                without += 1;
            }
        }
    }
    assert!(with > 100 && without > 100, "{with} {without}");
    let error = World::new(Settings::default(), 1).write_answers(0, 1, Path::new("x")).unwrap_err();
    assert!(error.to_string().contains("expected at least 1 each"), "{error}");
}
