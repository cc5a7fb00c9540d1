//! On a log built to the published marginals of the DATE set, and on logs without samples.

#![expect(clippy::print_stdout, reason = "a test shows its figures")]

use super::*;
use crate::evaluate::Average;
use crate::method::Device;
use crate::methods::find;
use crate::progress::Silent;
use crate::rollout::{ReplayWorld, rollout};
use crate::train::{FeatureChoice, Prepared, RunOptions};
use rand::RngExt as _;
use rand_distr::{Beta, Distribution as _};
use routewright_data::answers::{AnswerRow, AnswerTableBuilder};
use routewright_data::{Cells, OutcomeTable, Query, rng};
use serde_json::json;

fn run() -> RunOptions<'static> {
    RunOptions { average: Average::Micro, seed: 1, device: Device::Cpu, progress: &Silent, checkpoint: None }
}

/// Samples of the weak model a variant, and the price of one sample of each model.
const K: u32 = 10;
const USD: [f64; 2] = [0.001, 0.05];

/// Two chains of thought that err alike, and a program of thought that errs in another way. A variant is right on a
/// query with a chance of its own, which the chains share in part; its wrong answers are mostly one habit. Some queries
/// are traps: the strong model is wrong, and all have one habit. The means are those of GPT-3.5 and GPT-4 on DATE (369
/// queries): majorities 0.656 (chain) and 0.762 (program), GPT-4 0.886.
fn date(n: usize, seed: u64) -> (OutcomeTable, AnswerTable) {
    let mut rng = rng::stream(seed, "date");
    let mut builder = AnswerTableBuilder::new(n, 2);
    let mut means = [Vec::new(), Vec::new()];
    let chance = |mean: f64| Beta::new(0.7 * mean, 0.7 * (1.0 - mean)).unwrap();
    for row in 0..n {
        let is_trap = rng.random::<f64>() < 0.114;
        let [chain, program] = if is_trap { [0.25, 0.25] } else { [0.69, 0.80] };
        let chains = chance(chain).sample(&mut rng);
        let shared: u32 = rng.random_range(0..30);
        let mut sum = 0.0;
        for (at, variant) in ["cot1", "cot2", "pot"].into_iter().enumerate() {
            let r = match at {
                0 => chains,
                1 => f64::midpoint(chains, chance(chain).sample(&mut rng)),
                _ => chance(program).sample(&mut rng),
            };
            // The chains have one habit, the program another but in traps.
            let habit = if at < 2 || is_trap { shared } else { rng.random_range(0..30) };
            for sample in 0..K {
                let is_right = rng.random::<f64>() < r;
                let wrong = if rng.random::<f64>() < 0.75 { habit } else { rng.random_range(0..30) };
                let answer = if is_right { "right".to_owned() } else { format!("wrong {wrong}") };
                let score = f32::from(u8::from(is_right));
                sum += score;
                let number = at as u32 * K + sample;
                let said = AnswerRow {
                    sample: number,
                    variant: Some(variant),
                    answer: Some(&answer),
                    score: Some(score),
                    cost_usd: Some(USD[0]),
                    ..AnswerRow::default()
                };
                builder.push(row, 0, &said);
            }
        }
        let score = f32::from(u8::from(!is_trap));
        let answer = if score > 0.5 { "right" } else { "wrong 99" };
        let said = AnswerRow {
            answer: Some(answer),
            score: Some(score),
            cost_usd: Some(USD[1]),
            ..AnswerRow::default()
        };
        builder.push(row, 1, &said);
        means[0].push(sum / (3 * K) as f32);
        means[1].push(score);
    }
    let query = |at: usize| Query {
        id: format!("q{seed}-{at}"),
        prompt: format!("what day, number {seed} {at}?"),
        ..Query::default()
    };
    let table = OutcomeTable {
        queries: (0..n).map(query).collect(),
        models: ["weak", "strong"].map(str::to_owned).to_vec(),
        score: Cells::from_vec(n, 2, (0..n).flat_map(|row| [means[0][row], means[1][row]]).collect()),
        soft_score: None,
        cost_usd: Cells::from_vec(n, 2, (0..n).flat_map(|_| USD.map(|usd| usd as f32)).collect()),
        latency_ms: None,
        vectors: None,
    };
    (table, builder.finish())
}

fn prepared(n: usize) -> Prepared {
    let (table, answers) = date(n, 1);
    let models = table.models.clone();
    Prepared::new(table, &FeatureChoice::default(), 1).unwrap().with_answers(&answers, &models)
}

/// Score and share passed on of a fixed threshold on other queries, played by the program.
fn played(prepared: &Prepared, variants: &[&str], samples: u32, rule: &str, threshold: f64) -> (f64, f64) {
    let row = find("mot-cascade").unwrap();
    let params = json!({ "variants": variants, "samples": samples, "rule": rule, "thresholds": [threshold] });
    let policy = prepared.policy(row, prepared.fit(row, &params, &run()).unwrap(), 1).unwrap();
    let (test, answers) = date(3000, 2);
    let world = ReplayWorld::new(&test.queries, &test.models, &answers, &policy.arms);
    let (outcomes, _) = rollout(&policy, &test, &world, None, &[1]).unwrap();
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let weak = (variants.len() as u32 * samples) as f64;
    assert!(outcomes.scores.iter().all(|score| score.is_finite()));
    (mean(&outcomes.scores), mean(&outcomes.calls) - weak)
}

#[test]
fn the_tables_of_date_have_their_shape() {
    let prepared = prepared(400);
    // The weak model alone: nothing is passed on at a share of next to nothing.
    let alone = |variant: &str| played(&prepared, &[variant], K, "vote", 0.01).0;
    let (chain, program) = (alone("cot1"), alone("pot"));
    assert!((chain - 0.656).abs() < 0.03 && (program - 0.762).abs() < 0.03, "{chain} {program}");
    let curve = |variants: &[&str], samples: u32| -> Vec<(f64, f64)> {
        [0.5, 0.6, 0.8, 0.9].map(|tau| played(&prepared, variants, samples, "vote", tau)).to_vec()
    };
    let curves = [
        ("CoT-1D", curve(&["cot1"], K)),
        ("CoT-2D", curve(&["cot1", "cot2"], K / 2)),
        ("MoT-2D", curve(&["cot1", "pot"], K / 2)),
    ];
    for (name, curve) in &curves {
        let shown: Vec<String> =
            curve.iter().map(|(score, share)| format!("{score:.3} / {share:.3}")).collect();
        println!("{name}: {}", shown.join(", "));
        // Stricter thresholds pass more on, and score more, up to what the strong model does.
        assert!(curve.windows(2).all(|pair| pair[0].1 < pair[1].1 && pair[0].0 < pair[1].0 + 0.01), "{name}");
    }
    // One prompt is sure of its errors; two kinds of thought catch them, and reach the strong model for half of its
    // calls.
    let [one, two, mixed] = curves.map(|(_, curve)| curve);
    for at in 0..3 {
        assert!(mixed[at].0 > two[at].0 && two[at].0 > one[at].0 - 0.01, "{at}");
    }
    assert!(mixed[0].0 > one[0].0 + 0.03 && mixed[1].0 > one[1].0 + 0.03, "{mixed:?} {one:?}");
    assert!(mixed[3].0 > 0.85 && mixed[3].1 < 0.75, "{mixed:?}");
    let (score, share) = played(&prepared, &["cot1", "pot"], K / 2, "verify", 1.0);
    println!("MoT-2D verify: {score:.3} / {share:.3}");
    assert!(score > 0.8 && share < 0.9, "{score} {share}");
}

#[test]
fn thresholds_are_chosen_and_promised() {
    let prepared = prepared(900);
    let row = find("mot-cascade").unwrap();
    let of = |params: serde_json::Value| prepared.fit(row, &params, &run()).unwrap();
    let fitted = of(json!({ "variants": ["cot1", "pot"], "retain": 0.98 }));
    assert!(
        fitted.metrics["escalated"] < 0.8 && fitted.metrics["slice_score"] > 0.84,
        "{:?}",
        fitted.metrics
    );
    let program = fitted.program.unwrap();
    assert_eq!(program.prompts(), [("cot1", "{query}"), ("pot", "{query}")]);
    assert_eq!(fitted.params["weak"], "weak");
    let promised = of(json!({ "variants": ["cot1", "pot"], "max_drop": 0.08, "confidence": 0.9 }));
    assert!(promised.metrics["promise_bound"] <= 0.08 + 1e-9, "{:?}", promised.metrics);
    let cheap = of(json!({ "budget_usd": 0.03 }));
    assert!(cheap.metrics["slice_cost_usd"] < 0.045, "{:?}", cheap.metrics);
    let texts = json!({ "variants": ["cot1"], "prompts": { "cot1": "{query}\nStep by step:" } });
    assert_eq!(of(texts).program.unwrap().prompts(), [("cot1", "{query}\nStep by step:")]);
}

#[test]
fn logs_and_parameters_without_samples_are_refused() {
    let prepared = prepared(60);
    let row = find("mot-cascade").unwrap();
    let says = |params: serde_json::Value| prepared.fit(row, &params, &run()).unwrap_err().to_string();
    assert!(says(json!({ "samples": 50 })).contains("has `50` samples"));
    assert!(says(json!({ "strong_samples": 2 })).contains("0 queries have"));
    assert!(says(json!({ "variants": ["cot3"] })).contains("`cot3`"));
    assert!(says(json!({ "weak": "nobody" })).contains("`nobody`"));
    assert!(says(json!({ "weak": "strong" })).contains("are both"));
    assert!(says(json!({ "thresholds": [1.5] })).contains("`1.5`"));
    assert!(says(json!({ "thresholds": [] })).contains("is empty"));
    assert!(says(json!({ "rule": "luck" })).contains("`rule`"));
    assert!(says(json!({ "prompts": { "cot1": "no slot" } })).contains("no slot `{query}`"));
    assert!(says(json!({ "normalize": "exat" })).contains("did you mean `exact`"));
}
