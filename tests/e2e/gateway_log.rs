//! A gateway's log: one model a prompt, no propensities, harder prompts sent to the stronger model.

use crate::evidence::write;
use crate::logs::real;
use crate::run::{ok, run};
use rand::RngExt as _;
use routewright_data::log::{LoadOptions, OutcomeRow};
use routewright_data::{OutcomeTable, rng};
use serde_json::Value;
use std::path::Path;

/// One query with the score of each model.
struct Asked {
    source: String,
    prompt: String,
    scores: Vec<(String, f32)>,
}

fn rows(id: usize, asked: &Asked, kept: impl Fn(&str) -> bool) -> Vec<OutcomeRow> {
    let kept = asked.scores.iter().filter(|(model, _)| kept(model));
    let row = |(model, score): &(String, f32)| OutcomeRow {
        query_id: id.to_string(),
        source: Some(asked.source.clone()),
        prompt: asked.prompt.clone(),
        model: model.clone(),
        score: Some(*score),
        ..OutcomeRow::default()
    };
    kept.map(row).collect()
}

/// Ten kinds of task of rising difficulty; `strong` is right 10 points more often than `weak` in each.
fn simulated(n: usize) -> Vec<Asked> {
    let mut rng = rng::stream(21, "gateway log test");
    (0..n)
        .map(|i| {
            let kind = i % 10;
            let base = 0.88 - 0.08 * kind as f64;
            let mut score = |p: f64| f32::from(u8::from(rng.random_bool(p)));
            let scores = vec![("strong".to_owned(), score(base + 0.1)), ("weak".to_owned(), score(base))];
            let source = format!("kind{kind}");
            Asked { prompt: format!("{source} question {i} of its sort"), source, scores }
        })
        .collect()
}

/// Sends a query to `strong` the more often, the harder its source: 90 % for the hardest to 50 % for the easiest.
fn cut(asked: &[Asked], strong: &str, at: &Path) {
    let mean = |source: &str| {
        let of = asked.iter().filter(|a| a.source == source).flat_map(|a| &a.scores);
        let (n, sum) = of.fold((0.0, 0.0), |(n, sum), (_, score)| (n + 1.0, sum + f64::from(*score)));
        sum / n
    };
    let mut sources: Vec<(f64, &str)> = Vec::new();
    for a in asked {
        if !sources.iter().any(|(_, source)| *source == a.source) {
            sources.push((mean(&a.source), &a.source));
        }
    }
    sources.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut rng = rng::stream(22, "gateway log cut");
    let one = |(i, asked): (usize, &Asked)| {
        let rank = sources.iter().position(|(_, source)| *source == asked.source).unwrap();
        let share = 0.9 - 0.4 * rank as f64 / (sources.len().max(2) - 1) as f64;
        let others: Vec<&String> =
            asked.scores.iter().map(|(model, _)| model).filter(|model| *model != strong).collect();
        let chosen = match rng.random::<f64>() {
            p if p < share || others.is_empty() => strong,
            _ => others[rng.random_range(0..others.len())],
        };
        rows(i, asked, |model| model == chosen)
    };
    let rows: Vec<OutcomeRow> = asked.iter().enumerate().flat_map(one).collect();
    write(&at.join("gateway.parquet"), rows);
}

/// A policy that always takes one model, learned elsewhere.
pub(crate) fn constant(at: &Path, model: &str, models: &[String]) {
    let asked = Asked {
        source: "s".to_owned(),
        prompt: "anything at all".to_owned(),
        scores: models.iter().map(|m| (m.clone(), f32::from(u8::from(m == model)))).collect(),
    };
    let rows = (0..4).flat_map(|i| rows(i, &asked, |_| true));
    write(&at.join("one.parquet"), rows.map(|row| OutcomeRow { split: Some("train".to_owned()), ..row }));
    ok(at, &["train", "best-single", "--log", "one.parquet", "--out", &folder(model)]);
}

/// Folder of the policy that always takes a model.
fn folder(model: &str) -> String {
    model.replace('/', "-")
}

fn mean(asked: &[Asked], model: &str) -> f64 {
    let scores = asked.iter().flat_map(|a| &a.scores).filter(|(m, _)| m == model);
    let (n, sum) = scores.fold((0.0, 0.0), |(n, sum), (_, score)| (n + 1.0, sum + f64::from(*score)));
    sum / n
}

/// The mean score of a model on the rows of the cut log.
fn naive(at: &Path, model: &str) -> f64 {
    let table = OutcomeTable::load(&at.join("gateway.parquet"), &LoadOptions::default()).unwrap();
    let column = table.models.iter().position(|m| m == model).unwrap();
    table.score.column_mean(column).unwrap()
}

fn judge(at: &Path, policy: &str, baseline: &str) -> Value {
    let logs = ["--log", "logged/decisions.parquet", "--feedback", "logged/feedback.parquet"];
    let ran = run(
        at,
        &[&["ope", "--policy", &folder(policy), "--baseline", &folder(baseline), "--json"], &logs[..]]
            .concat(),
    );
    serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{}{}", ran.stdout, ran.stderr))
}

fn claims_a_gain(found: &Value) -> bool {
    found["verdict"]["is_trusted"] == true && found["lower_bound"].as_f64().is_some_and(|bound| bound > 0.0)
}

#[test]
fn no_gain_is_claimed_where_the_full_outcomes_show_a_loss() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let asked = simulated(4000);
    cut(&asked, "strong", at);
    let truth = mean(&asked, "weak") - mean(&asked, "strong");
    let seems = naive(at, "weak") - naive(at, "strong");
    assert!(truth < -0.07 && seems > truth + 0.05, "confounding is visible: {truth} seems {seems}");

    let told =
        ok(at, &["data", "log-decisions", "--estimate", "--log", "gateway.parquet", "--out", "logged"])
            .stdout;
    assert!(told.contains("p where chosen") && told.contains("held out"), "{told}");
    let models = ["strong", "weak"].map(str::to_owned);
    models.iter().for_each(|model| constant(at, model, &models));
    let found = judge(at, "weak", "strong");
    assert_eq!(found["headline"], "snips");
    assert!(!claims_a_gain(&found), "{found}");
    let snips = found["estimates"].as_array().unwrap().iter().find(|e| e["estimator"] == "snips").unwrap();
    let gain = &snips["vs_baseline"];
    let (low, high) = (gain["interval"][0].as_f64().unwrap(), gain["interval"][1].as_f64().unwrap());
    assert!(low < truth && truth < high, "{low}..{high} for {truth}");
    assert!(
        (gain["difference"].as_f64().unwrap() - truth).abs() < (seems - truth).abs(),
        "{gain} for {truth}"
    );
    // It does not just refuse: what is better is found to be so.
    let found = judge(at, "strong", "weak");
    assert!(claims_a_gain(&found), "{} {}", found["verdict"], found["lower_bound"]);
    assert!(found["verdict"]["warnings"].to_string().contains("were estimated"));

    // Nothing is promoted on propensities that nobody logged.
    ok(at, &["policy", "promote", "--registry", "slot", "--policy", "weak", "--to", "active"]);
    let logs = ["--log", "logged/decisions.parquet", "--feedback", "logged/feedback.parquet"];
    let promote = ["policy", "promote", "--registry", "slot", "--policy", "strong", "--to", "active"];
    let ran = run(at, &[&promote[..], &logs].concat());
    assert!(
        ran.code == 1 && ran.stdout.contains("propensities of 4000 of 4000 rounds were estimated"),
        "{}",
        ran.stdout
    );
    // A policy learned from such a log is warned about.
    let learn = [
        "train",
        "ridge",
        "--decisions",
        "logged/decisions.parquet",
        "--feedback",
        "logged/feedback.parquet",
    ];
    let ran = run(at, &[&learn[..], &["--dim", "8", "--out", "ridge"]].concat());
    assert!(
        ran.code == 0 && ran.stderr.contains("warning: propensities of this log were estimated"),
        "{}",
        ran.stderr
    );
    // A log with every model a query needs no estimate.
    let full: Vec<OutcomeRow> =
        asked.iter().take(50).enumerate().flat_map(|(i, a)| rows(i, a, |_| true)).collect();
    write(&at.join("full.parquet"), full);
    let ran = run(at, &["data", "log-decisions", "--estimate", "--log", "full.parquet", "--out", "x"]);
    assert!(ran.code == 2 && ran.stderr.contains("exactly one model"), "{}", ran.stderr);
}

/// The same on a real log: 70 % gpt-4, harder sources more often; every other model is judged against it.
#[test]
fn no_gain_is_claimed_on_routerbench_where_there_is_a_loss() {
    let Some(path) = real("routerbench_small.parquet") else { return };
    let table = OutcomeTable::load(&path, &LoadOptions::default()).unwrap();
    let best =
        |a: &usize, b: &usize| table.score.column_mean(*a).partial_cmp(&table.score.column_mean(*b)).unwrap();
    let strong = table.models[(0..table.n_arms()).max_by(best).unwrap()].clone();
    let asked: Vec<Asked> = (0..table.n_queries())
        .map(|row| {
            let scores = table.models.iter().enumerate();
            let scores = scores.filter_map(|(arm, m)| Some((m.clone(), table.score.get(row, arm)?)));
            let query = &table.queries[row];
            Asked {
                source: query.source.clone().unwrap_or_default(),
                prompt: query.prompt.clone(),
                scores: scores.collect(),
            }
        })
        .collect();
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    cut(&asked, &strong, at);
    ok(at, &["data", "log-decisions", "--estimate", "--log", "gateway.parquet", "--out", "logged"]);
    for model in &table.models {
        constant(at, model, &table.models);
    }
    for model in table.models.iter().filter(|model| **model != strong) {
        let truth = mean(&asked, model) - mean(&asked, &strong);
        let found = judge(at, model, &strong);
        println!(
            "{model}: truth {truth:+.4}, bound {}, {}",
            found["lower_bound"], found["verdict"]["is_trusted"]
        );
        assert!(truth > 0.0 || !claims_a_gain(&found), "{model}: truth {truth}, {}", found["lower_bound"]);
    }
}
