//! `assign`: a batch within a budget, by a policy trained on a log.

use crate::run::{json, ok, run};
use std::fs;

#[test]
fn a_batch_keeps_its_budget_and_more_money_buys_more() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    ok(dir, &["data", "simulate", "--queries", "600", "--seed", "3", "--out", "log.parquet"]);
    ok(dir, &["train", "ridge", "--log", "log.parquet", "--dim", "32", "--out", "policy"]);
    let prompts: String = (0..200)
        .map(|i| format!("{{\"id\": {i}, \"prompt\": \"Solve equation {i} with {} unknowns.\"}}\n", i % 7))
        .collect();
    fs::write(dir.join("prompts.jsonl"), prompts).unwrap();
    let assign = |extra: &[&str]| {
        let start = ["assign", "prompts.jsonl", "--policy", "policy", "--out", "choices.jsonl"];
        json(dir, &[&start[..], extra].concat())
    };
    let number = |value: &serde_json::Value, key: &str| value[key].as_f64().unwrap();
    let all = assign(&["--budget-usd", "1000"]);
    let cheap = assign(&["--rule", "threshold", "--least", "-1"]);
    let (least, most) = (number(&cheap, "cost_usd"), number(&all, "cost_usd"));
    assert!(least < most, "{cheap} {all}");
    let mut before = 0.0;
    for part in [0.05, 0.4, 0.8] {
        let budget = (least + part * (most - least)).to_string();
        let best = assign(&["--budget-usd", &budget]);
        let greedy = assign(&["--budget-usd", &budget, "--rule", "greedy"]);
        for found in [&best, &greedy] {
            assert!(number(found, "cost_usd") <= budget.parse::<f64>().unwrap() * (1.0 + 1e-9), "{found}");
        }
        let (score, bound) = (number(&best, "expected_score"), number(&best, "bound"));
        assert!(score >= number(&greedy, "expected_score") && score > before, "{best} {greedy}");
        assert!(score <= bound + 1e-6 && bound - score < 0.5, "{best}");
        before = score;
    }
    let choices = fs::read_to_string(dir.join("choices.jsonl")).unwrap();
    assert_eq!((choices.lines().count(), choices.contains("\"id\":199")), (200, true));
    let refused = |extra: &[&str]| {
        let start = ["assign", "prompts.jsonl", "--policy", "policy", "--out", "choices.jsonl"];
        run(dir, &[&start[..], extra].concat()).stderr
    };
    assert!(refused(&["--budget-usd", "0"]).contains("the cheapest arms of the batch cost"));
    assert!(refused(&["--rule", "threshold"]).contains("--least"));
    fs::write(dir.join("prompts.jsonl"), "{\"id\": 1}\n").unwrap();
    assert!(refused(&["--budget-usd", "1"]).contains("line 1 of `prompts.jsonl`"));
}
