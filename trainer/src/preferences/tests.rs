use super::yardsticks::{Yardstick, forecast, strengths};
use super::*;
use crate::evaluate::Average;
use crate::method::{Device, FitError};
use crate::methods;
use crate::progress::Silent;
use crate::train::{BaseFeatures, FeatureChoice, Prepared, RunOptions, feature_inputs};
use rand::RngExt as _;
use routewright_data::features::LexicalSettings;
use routewright_data::{Cells, OutcomeTable, Pair, PairTable, Query, Winner, rng};
use serde_json::json;

fn pair(query: usize, a: usize, b: usize, winner: Winner) -> Pair {
    Pair { query, model_a: a, model_b: b, winner, judge: None, weight: 1.0, lengths: None }
}

fn table(n_queries: usize, models: &[&str], pairs: Vec<Pair>) -> PairTable {
    let query = |i: usize| Query { id: i.to_string(), prompt: format!("prompt {i}"), ..Query::default() };
    PairTable {
        queries: (0..n_queries).map(query).collect(),
        models: models.iter().map(|m| (*m).to_owned()).collect(),
        pairs,
    }
}

/// Two models: of n judgements w won and t tied; without a prior the difference is ln((w + t/2) / (n - w - t/2)).
#[test]
fn strengths_are_the_log_odds_of_wins_with_a_tie_half_a_win() {
    let mut pairs: Vec<Pair> = (0..700).map(|i| pair(i, 0, 1, Winner::A)).collect();
    pairs.extend((700..900).map(|i| pair(i, 1, 0, Winner::A)));
    pairs.extend((900..1000).map(|i| pair(i, 0, 1, Winner::Tie)));
    let found = strengths(&table(1000, &["a", "b"], pairs.clone())).unwrap();
    let want = (750.0_f64 / 250.0).ln();
    assert!((found[0] - found[1] - want).abs() < 1e-4 && (found[0] + found[1]).abs() < 1e-12, "{found:?}");
    // A judge of weight 3 counts as three; the ties of the light judge hardly move it.
    pairs.iter_mut().filter(|p| p.model_a == 1).for_each(|p| p.weight = 3.0);
    pairs.iter_mut().filter(|p| p.winner == Winner::Tie).for_each(|p| p.weight = 1e-6);
    let found = strengths(&table(1000, &["a", "b"], pairs)).unwrap();
    assert!((found[0] - found[1] - (700.0_f64 / 600.0).ln()).abs() < 1e-3, "{found:?}");
}

#[test]
fn a_model_that_never_lost_has_a_finite_strength() {
    let found =
        strengths(&table(50, &["a", "b"], (0..50).map(|i| pair(i, 0, 1, Winner::A)).collect())).unwrap();
    assert!(found[0].is_finite() && found[0] > 1.0, "{found:?}");
}

#[test]
fn accuracy_is_by_prompt_and_ties_stand_apart() {
    let mut test = table(
        4,
        &["a", "b"],
        vec![
            pair(0, 0, 1, Winner::A),
            pair(0, 1, 0, Winner::B),
            pair(1, 0, 1, Winner::B),
            pair(2, 0, 1, Winner::Tie),
            pair(3, 0, 1, Winner::A),
        ],
    );
    let margins = vec![1.0, -1.0, 1.0, 2.0, 0.0];
    let forecast = Forecast { margins: margins.clone(), logits: Some(vec![3.0_f64.ln(); 5]) };
    let score = judge::judge("by hand", &forecast, &test, None);
    // Decided: hit, hit, miss, half. Prompts' sums of residuals from 0.625: 0.75, -0.625, -0.125.
    let accuracy = score.accuracy.unwrap();
    assert!((accuracy.mean - 0.625).abs() < 1e-12);
    let se = ((0.75_f64.powi(2) + 0.625_f64.powi(2) + 0.125_f64.powi(2)) * 3.0 / 2.0).sqrt() / 4.0;
    assert!((accuracy.se - se).abs() < 1e-12, "{accuracy:?}");
    // P(a) = 3/4: two wins of the first side cost ln(4/3), two losses ln 4; the tie costs half of each.
    let want = ((4.0_f64 / 3.0).ln() + 4.0_f64.ln()) / 2.0;
    assert!((score.log_loss.unwrap().mean - want).abs() < 1e-12);
    assert!((score.tie_log_loss.unwrap().mean - want).abs() < 1e-12);
    assert!(score.tie_log_loss.unwrap().se.is_nan(), "one prompt has no spread");
    // Against a forecast that is right everywhere it is 0.375 behind.
    let right = Forecast { margins: vec![1.0, -1.0, -1.0, 0.0, 1.0], logits: None };
    let lead = judge::judge("x", &forecast, &test, Some(&right)).lead.unwrap();
    assert!((lead.mean + 0.375).abs() < 1e-12);
    assert!(judge::judge("x", &right, &test, None).log_loss.is_none());
    test.pairs.retain(|p| p.winner == Winner::Tie);
    let ties = Forecast { margins: vec![1.0], logits: Some(vec![0.0]) };
    assert!(judge::judge("ties", &ties, &test, None).accuracy.is_none());
}

#[test]
fn length_is_a_yardstick_where_answers_are_logged() {
    let mut pairs: Vec<Pair> = (0..40).map(|i| pair(i, i % 2, 1 - i % 2, Winner::A)).collect();
    let (train, test) = (table(40, &["a", "b"], pairs.clone()), table(40, &["a", "b"], pairs.clone()));
    assert_eq!(forecast(Yardstick::Both, &train, &test).unwrap(), None);
    pairs.iter_mut().for_each(|p| p.lengths = Some([200, 100]));
    let with = table(40, &["a", "b"], pairs);
    let longer = forecast(Yardstick::Longer, &with, &with).unwrap().unwrap();
    assert!(longer.margins.iter().all(|m| *m > 1.0), "the longer answer always won: {longer:?}");
    // A model unknown in train has strength 0.
    let other = table(1, &["c", "d"], vec![pair(0, 0, 1, Winner::A)]);
    assert_eq!(forecast(Yardstick::Strengths, &with, &other).unwrap().unwrap().margins, [0.0]);
}

#[test]
fn a_pair_log_stands_behind_the_rows_of_an_outcome_log_without_scores() {
    let query = |id: &str| Query { id: id.to_owned(), prompt: id.to_owned(), ..Query::default() };
    let log = OutcomeTable {
        queries: vec![query("x"), query("y")],
        models: ["b", "never", "z"].map(str::to_owned).to_vec(),
        score: Cells::from_vec(2, 3, vec![1.0, f32::NAN, 0.0, 0.5, f32::NAN, 0.25]),
        soft_score: None,
        cost_usd: Cells::from_vec(2, 3, vec![0.1, 0.2, 0.3, 0.4, 0.5, 0.6]),
        latency_ms: None,
        vectors: None,
    };
    let pairs = table(1, &["a", "b"], vec![pair(0, 1, 0, Winner::A), pair(0, 1, 0, Winner::Tie)]);
    let Joined { table: joined, comparisons } = with_log(log, &pairs);
    assert_eq!(joined.models, ["a", "b", "z"]);
    assert_eq!(
        (joined.n_queries(), joined.score.get(0, 1), joined.score.get(1, 2)),
        (3, Some(1.0), Some(0.25))
    );
    assert_eq!((joined.score.row_mean(2), joined.cost_usd.get(1, 1)), (None, Some(0.4)));
    let read: Vec<_> = comparisons.of(2).iter().map(|c| (c.row, c.a, c.b, c.share)).collect();
    assert_eq!(read, [(2, 1, 0, 1.0), (2, 1, 0, 0.5)]);
    assert!(comparisons.of(0).is_empty());
    // Shares of the query: b won 1.5 of 2.
    let shares = comparisons.win_shares(3);
    assert_eq!((shares.get(2, 1), shares.get(2, 0), shares.get(2, 2)), (Some(0.75), Some(0.25), None));
    let kept = comparisons.select_rows(&[2, 0]);
    assert_eq!((kept.of(0)[0].a, kept.of(0)[0].b, kept.of(1).len()), (1, 0, 0));
}

/// Two kinds of prompts, three models: `sums` wins on sums, `poems` on poems, `poor` loses to both; a fifth of the
/// judgements are ties, and a liar of small weight always says the opposite.
fn world(n: usize, seed: u64) -> PairTable {
    let mut rng = rng::stream(seed, "pairs");
    let subjects = ["river", "stone", "cloud", "horse", "clock", "bread", "glass", "violin"];
    let (mut queries, mut pairs) = (Vec::new(), Vec::new());
    for i in 0..n {
        let (subject, k) = (subjects[rng.random_range(0..subjects.len())], rng.random_range(10..99));
        let is_sum = rng.random_bool(0.5);
        let prompt = match is_sum {
            true => format!("What is the sum of {k} and {i}, counted in pieces of {subject}?"),
            false => format!("Write a short poem with rhymes about a {subject}, line {k} of {i}."),
        };
        queries.push(Query { id: i.to_string(), prompt, ..Query::default() });
        // Models sorted by name: poems, poor, sums.
        let worth = if is_sum { [1, 0, 2] } else { [2, 0, 1] };
        let a = rng.random_range(0..3);
        let b = (a + rng.random_range(1..3)) % 3;
        let right = if worth[a] > worth[b] { Winner::A } else { Winner::B };
        let winner = if rng.random_bool(0.2) { Winner::Tie } else { right };
        pairs.push(pair(i, a, b, winner));
        let wrong = if right == Winner::A { Winner::B } else { Winner::A };
        pairs.push(Pair { weight: 0.05, judge: Some("liar".to_owned()), ..pair(i, a, b, wrong) });
    }
    let models = ["poems", "poor", "sums"].map(str::to_owned).to_vec();
    PairTable { queries, models, pairs }
}

fn choice() -> FeatureChoice {
    let lexical = LexicalSettings { dim: 24, ..LexicalSettings::default() };
    FeatureChoice { base: BaseFeatures::Lexical(lexical), source_weight: 0.0 }
}

fn quick(name: &str) -> serde_json::Value {
    match name {
        "routellm-mf" | "routerdc" => {
            json!({"steps": 600, "every": 150, "folds": 0, "rate": 0.01, "per_source": 0})
        }
        _ => json!({}),
    }
}

#[test]
fn every_method_that_reads_pairs_learns_from_them_what_strengths_cannot_know() {
    let (train, test) = (world(500, 1), world(200, 2));
    let methods: Vec<_> = methods::reading_pairs().map(|row| (row, quick(row.name))).collect();
    assert_eq!(methods.len(), 6);
    let options =
        PairsOptions { features: choice(), average: Average::Micro, seed: 1, folds: 2, device: Device::Cpu };
    let mut honest = test;
    honest.pairs.retain(|p| p.judge.is_none());
    let (compared, _, fitted) = compare_pairs(&train, &honest, &methods, &options, &Silent).unwrap();
    assert!(compared.refused.is_empty(), "{:?}", compared.refused);
    assert_eq!((fitted.len(), compared.rows[0].name.as_str()), (6, "bradley-terry"));
    // Between `sums` and `poems` strengths are a coin: about 5/6 is all they reach.
    let strengths = compared.rows[0].accuracy.unwrap().mean;
    assert!(strengths < 0.9, "{strengths}");
    for row in &compared.rows[1..] {
        let (accuracy, log_loss) = (row.accuracy.unwrap().mean, row.log_loss.unwrap().mean);
        assert!(
            accuracy > 0.95,
            "{}: {accuracy} against strengths {strengths}\n{}",
            row.name,
            compared.text()
        );
        assert!(log_loss < compared.rows[0].log_loss.unwrap().mean, "{}\n{}", row.name, compared.text());
    }
    let text = compared.text();
    assert!(text.contains("routellm-mf") && text.contains("ties of 200 prompts"), "{text}");
}

#[test]
fn a_policy_learns_from_an_outcome_log_and_a_pair_log_together() {
    // The log knows two of the models, on sums only; that `poems` is good at poems only the judges know.
    let pairs = world(400, 3);
    let rows: Vec<usize> = (0..400).filter(|i| pairs.queries[*i].prompt.starts_with("What")).collect();
    let scores = rows.iter().flat_map(|_| [0.2, 0.9]).collect();
    let log = OutcomeTable {
        queries: rows.iter().map(|row| pairs.queries[*row].clone()).collect(),
        models: ["poor", "sums"].map(str::to_owned).to_vec(),
        score: Cells::from_vec(rows.len(), 2, scores),
        soft_score: None,
        cost_usd: Cells::from_vec(rows.len(), 2, [0.001, 0.002].repeat(rows.len())),
        latency_ms: None,
        vectors: None,
    };
    let prepared = Prepared::with_pairs(with_log(log, &pairs), &choice(), 1).unwrap();
    let run = RunOptions {
        average: Average::Micro,
        seed: 1,
        device: Device::Cpu,
        progress: &Silent,
        checkpoint: None,
    };
    let test = of_pairs(world(100, 4)).table;
    let features = prepared.featurizer.featurize(&feature_inputs(&test)).unwrap();
    for row in methods::reading_pairs() {
        let fitted = prepared.fit(row, &quick(row.name), &run).unwrap();
        let prediction = prepared.predict(&fitted, &test, &features).unwrap();
        let poems: Vec<usize> = (0..100).filter(|i| test.queries[*i].prompt.starts_with("Write")).collect();
        let beats = |i: &&usize| prediction.score[**i * 3] > prediction.score[**i * 3 + 1];
        let share = poems.iter().filter(beats).count() as f64 / poems.len() as f64;
        assert!(share > 0.9, "{}: poems over poor on {share} of poems", row.name);
        assert!(prediction.score.iter().all(|s| s.is_finite()), "{}", row.name);
    }
    let error = prepared.fit(methods::find("ridge").unwrap(), &json!({}), &run).unwrap_err();
    assert!(matches!(error, FitError::Pairs { .. }));
    let text = error.to_string();
    assert!(
        text.contains("`ridge`") && methods::reading_pairs().all(|row| text.contains(row.name)),
        "{text}"
    );
    // Judgements are part of what a policy was trained on.
    let mut without = prepared.select_rows(&(0..prepared.train.n_queries()).collect::<Vec<_>>());
    without.pairs = None;
    let row = methods::find("fgts-cdb").unwrap();
    let digest = |of: &Prepared| {
        let fitted = prepared.fit(row, &json!({}), &run).unwrap();
        of.draft("x", row, fitted, "train", 1).data.digest
    };
    assert_ne!(digest(&prepared), digest(&without));
}
