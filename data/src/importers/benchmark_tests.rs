//! Files in the shape of public benchmarks.

use super::*;
use crate::answers::AnswerTable;
use crate::log::{ValidateOptions, validate};
use crate::{LoadOptions, OutcomeTable, PairTable, Winner};
use serde_json::json;
use tempfile::TempDir;

struct Case {
    dir: TempDir,
    options: ImportOptions,
}

impl Case {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), options: ImportOptions::default() }
    }

    fn out(&self) -> PathBuf {
        self.dir.path().join("log.parquet")
    }

    fn write(&self, file: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.dir.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    fn import(&self, importer: &str, inputs: &[PathBuf]) -> Result<ImportSummary, ImportError> {
        import(importer, inputs, &self.out(), &self.options)
    }

    fn refused(&self, importer: &str, file: &str, text: impl AsRef<[u8]>) -> String {
        self.import(importer, &[self.write(file, text)]).unwrap_err().to_string()
    }

    fn table(&self, vector_column: Option<&str>) -> OutcomeTable {
        let found = validate(&self.out(), &ValidateOptions::default()).unwrap();
        assert!(found.is_valid(), "{:?}", found.complaints);
        let options =
            LoadOptions { vector_column: vector_column.map(str::to_owned), ..LoadOptions::default() };
        OutcomeTable::load(&self.out(), &options).unwrap()
    }

    fn answers(&self) -> AnswerTable {
        AnswerTable::load(&self.out(), &self.table(None)).unwrap()
    }
}

fn instruction() -> serde_json::Value {
    let candidate = |model: &str, bert: f64, bart: f64| {
        json!({
            "decoding_method": "top_p_sampling", "model": model, "text": format!("{model} says"),
            "scores": { "logprobs": -0.1, "rougeL": 0.2, "bertscore": bert, "bleurt": -0.4, "bartscore": bart },
        })
    };
    json!({
        "id": "sharegpt/17", "instruction": "Translate", "input": "Bonjour", "output": "Hello",
        "candidates": [candidate("vicuna", 0.75, -2.5), candidate("alpaca", 0.5, -5.0), candidate("mpt", 0.25, -4.0)],
        // Vicuna: 1 win, 1 tie; MPT: 1 win, 1 loss..
        "cmp_results": json!({
            "vicuna,alpaca": "A is better", "vicuna,mpt": "Same bad", "alpaca,mpt": "B is better",
        }).to_string(),
    })
}

#[test]
fn mixinstruct_has_a_row_a_candidate_with_its_metric_and_rank() {
    let mut case = Case::new();
    let first = json!({ "id": "dolly/1", "instruction": "Say a", "input": "", "output": "a", "cmp_results": null,
        "candidates": [{ "model": "vicuna", "text": "a", "scores": { "bertscore": 1.0, "bartscore": 0.0 } }] });
    let input = case.write("test.jsonl", format!("{first}\n{}", instruction()));
    let summary = case.import("mixinstruct", std::slice::from_ref(&input)).unwrap();
    assert_eq!((summary.records, summary.rows), (2, 4));
    let table = case.table(None);
    assert_eq!(table.models, ["alpaca", "mpt", "vicuna"]);
    let query = &table.queries[1];
    assert_eq!((query.prompt.as_str(), query.source.as_deref()), ("Translate\nBonjour", Some("sharegpt")));
    assert_eq!(
        (0..3).map(|arm| table.score.get(1, arm)).collect::<Vec<_>>(),
        [Some(0.5), Some(0.25), Some(0.75)]
    );
    // Wins less losses: 1, -2, 1. Equal sums share the better rank, so ranks are 1, 3, 1.
    let soft = table.soft_score.as_ref().unwrap();
    assert_eq!((0..3).map(|arm| soft.get(1, arm)).collect::<Vec<_>>(), [Some(0.0), Some(1.0), Some(1.0)]);
    assert_eq!(soft.get(0, 0), None);
    case.options.map.insert("score".to_owned(), "bartscore".to_owned());
    (case.options.score_min, case.options.score_max) = (-5.0, 0.0);
    case.import("mixinstruct", std::slice::from_ref(&input)).unwrap();
    let table = case.table(None);
    assert_eq!((table.score.get(1, 2), table.score.get(1, 0)), (Some(0.5), Some(0.0)));
    assert_eq!(table.soft_score.as_ref().unwrap().get(1, 0), Some(0.0), "ranks have no metric's range");
    case.options = ImportOptions::default();
    case.import("mixinstruct-pairs", &[input]).unwrap();
    let pairs = PairTable::load(&case.out(), &LoadOptions::default()).unwrap();
    assert_eq!(pairs.pairs.len(), 3);
    let winners: Vec<Winner> = pairs.pairs.iter().map(|pair| pair.winner).collect();
    assert_eq!(winners.iter().filter(|winner| **winner == Winner::Tie).count(), 1);
}

#[test]
fn mixinstruct_refuses_what_it_does_not_know() {
    let wrong = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut record = instruction();
        change(&mut record);
        Case::new().refused("mixinstruct", "in.jsonl", record.to_string())
    };
    let error = wrong(&|record| record["cmp_results"] = json!({ "vicuna,alpaca": "both" }));
    assert!(
        error.contains("line 1") && error.contains("`\"both\"`") && error.contains("Same good"),
        "{error}"
    );
    let error = wrong(&|record| record["cmp_results"] = json!({ "vicuna,gpt": "A is better" }));
    assert!(error.contains("`vicuna,gpt`"), "{error}");
    let error = wrong(&|record| record["candidates"] = json!(3));
    assert!(error.contains("`candidates` is missing"), "{error}");
    let error = wrong(&|record| record["candidates"][0]["scores"]["bertscore"] = json!(7));
    assert!(error.contains('7') && error.contains("[0, 1]"), "{error}");
}

#[test]
fn routereval_has_a_matrix_and_a_vector_a_query() {
    let case = Case::new();
    let record = |i: usize, scores: serde_json::Value| {
        json!({ "query_id": format!("mmlu-{i}"), "prompt": format!("mmlu {i}"), "split": "train", "source": "mmlu",
            "models": ["a", "b", "c"], "scores": scores, "embedding": [i as f64, 0.5] })
    };
    let lines = [record(0, json!([1, 0, 1.0])), record(1, json!([0, null, true]))];
    let input = case.write("pool.jsonl", lines.map(|line| line.to_string()).join("\n"));
    let summary = case.import("routereval", &[input]).unwrap();
    assert_eq!(summary.rows, 6);
    let table = case.table(Some("embedding"));
    assert_eq!(table.models, ["a", "b", "c"]);
    assert_eq!(
        (table.score.get(0, 1), table.score.get(1, 1), table.score.get(1, 2)),
        (Some(0.0), None, Some(1.0))
    );
    let vectors = table.vectors.as_ref().unwrap();
    assert_eq!(vectors.row(1), [1.0, 0.5]);
    let refused =
        |record: serde_json::Value| Case::new().refused("routereval", "in.jsonl", record.to_string());
    assert!(refused(record(0, json!([1]))).contains("3 `models` and 1 `scores`"));
    assert!(refused(record(0, json!([1, "x", 0]))).contains("score of `b`"));
    let mut torn = record(0, json!([1, 1, 1]));
    torn["embedding"] = json!([1]);
    let error =
        Case::new().refused("routereval", "in.jsonl", format!("{}\n{torn}", record(1, json!([1, 1, 1]))));
    assert!(error.contains("line 2") && error.contains("expected 2"), "{error}");
}

#[test]
fn routerarena_keeps_price_score_and_tokens_of_its_evaluation() {
    let case = Case::new();
    let record = |id: &str, model: &str, score: f64| {
        json!({
            "global_index": id, "question": format!("question {id}"), "llm_selected": model,
            "generated_answer": "\\boxed{D}",
            "token_usage": { "input_tokens": 120, "output_tokens": 58, "total_tokens": 178 }, "success": true,
            "provider": "anthropic", "error": null, "batch_size": 1,
            "evaluation_result": { "extracted_answer": "D", "ground_truth": "D", "score": score, "metric": "mcq",
                "inference_cost": 0.0001025 },
        })
    };
    let mut failed = record("AIME_2", "haiku", 1.0);
    (failed["success"], failed["error"]) = (json!(false), json!("timeout"));
    // A correlation can be negative.
    let below = record("STS_3", "haiku", -0.033);
    let one = case.write("haiku.jsonl", format!("{}\n{failed}\n{below}", record("ArcMMLU_1", "haiku", 0.5)));
    let two = case.write("flash.jsonl", record("ArcMMLU_1", "flash", 1.0).to_string());
    let summary = case.import("routerarena", &[one, two]).unwrap();
    assert_eq!(summary.changed.values().sum::<u64>(), 1, "{summary:?}");
    let table = case.table(None);
    assert_eq!(table.score.get(2, 1), Some(0.0));
    assert_eq!(table.models, ["flash", "haiku"]);
    assert_eq!(
        (table.queries[0].id.as_str(), table.queries[0].source.as_deref()),
        ("ArcMMLU_1", Some("ArcMMLU"))
    );
    assert_eq!((table.score.get(0, 1), table.score.get(1, 1)), (Some(0.5), None));
    assert!((table.cost_usd.get(0, 1).unwrap() - 0.000_102_5).abs() < 1e-9);
    let answers = case.answers();
    assert_eq!(answers.samples(1, 1).next().unwrap().finish, Some("error"));
}

#[test]
fn samples_of_mot_are_variants_of_one_query() {
    let case = Case::new();
    let file = |results: serde_json::Value| {
        let n = results.as_array().unwrap().len();
        json!([{ "question": "Which date?", "answer": "05/01/2021", "generated": vec!["text"; n], "results": results,
            "result_counter": {}, "prediction": "05/01/2021" }])
        .to_string()
    };
    let weak = [
        case.write("GPT3_result/date_cot1.json", file(json!(["05/01/2021", "05/02/2021"]))),
        case.write("GPT3_result/date_pot1.json", file(json!(["05/01/2021", null]))),
        case.write("GPT4_result/date_cot1.json", file(json!(["05/01/2021"]))),
    ];
    case.import("samples", &weak).unwrap();
    let table = case.table(None);
    assert_eq!((table.n_queries(), table.models.clone()), (1, vec!["GPT3".to_owned(), "GPT4".to_owned()]));
    assert_eq!(table.queries[0].source.as_deref(), Some("date"));
    let answers = case.answers();
    let told: Vec<_> = answers.samples(0, 0).map(|a| (a.sample, a.variant, a.answer, a.score)).collect();
    let variants = [Some("cot1"), Some("pot1")];
    assert_eq!(
        told,
        [
            (0, variants[0], Some("05/01/2021"), Some(1.0)),
            (1, variants[0], Some("05/02/2021"), Some(0.0)),
            (2, variants[1], Some("05/01/2021"), Some(1.0)),
            (3, variants[1], None, Some(0.0)),
        ]
    );
}

#[test]
fn samples_of_modelswitch_are_columns_a_model() {
    let case = Case::new();
    let record = json!([{ "question": "One half?", "solution": "0.50",
        "gpt-4o-mini_sampling": ["so \\boxed{0.5}", "so 2"], "gpt-4o-mini_ans_list": ["0.5", "2"],
        "claude_sampling": ["half"], "claude_ans_list": ["1/2"] }]);
    case.import("samples", &[case.write("results1.json", record.to_string())]).unwrap();
    let table = case.table(None);
    let arm = |name: &str| table.models.iter().position(|model| model == name).unwrap();
    assert_eq!(table.score.get(0, arm("gpt-4o-mini")), Some(0.5), "the mean of two samples");
    assert_eq!(table.score.get(0, arm("claude")), Some(0.0));
    let single = json!([{ "question": "q", "solution": "3", "step_sampling": ["t"], "ans_list": ["3"],
        "final_answer": "3",
        "Correctness": true }]);
    case.import("samples", &[case.write("gpt-4o.json", single.to_string())]).unwrap();
    let table = case.table(None);
    assert_eq!((table.models[0].as_str(), table.score.get(0, 0)), ("gpt-4o", Some(1.0)));
    let error = case.refused("samples", "x.json", "[{\"question\": \"q\", \"solution\": \"3\"}]");
    assert!(error.contains("item 1") && error.contains("MODEL_ans_list"), "{error}");
}

/// RouterBench's published wide form has texts of its own.
#[test]
fn routerbench_keeps_the_responses() {
    let case = Case::new();
    let csv = "sample_id,prompt,eval_name,gpt-4,gpt-4|model_response,gpt-4|total_cost,oracle_model_to_route_to\n\
               mmlu.1,Which?,mmlu,1.0,\"['B']\",0.25,gpt-4\n";
    case.import("routerbench", &[case.write("wide.csv", csv)]).unwrap();
    let answers = case.answers();
    let answer = answers.samples(0, 0).next().unwrap();
    assert_eq!((answer.text, answer.score, answer.cost_usd), (Some("['B']"), Some(1.0), Some(0.25)));
    let wide = json!({
        "sample_id": "a", "prompt": "p", "eval_name": "e", "m": 0.5, "m|model_response": ["B"], "m|total_cost": 1
    });
    case.import("routerbench", &[case.write("wide.jsonl", wide.to_string())]).unwrap();
    assert_eq!(case.answers().samples(0, 0).next().unwrap().text, Some("B"));
}
