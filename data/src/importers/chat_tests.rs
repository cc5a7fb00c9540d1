//! Logged requests in the shapes of the tools that write them.

use super::*;
use crate::log::{LogReader, schema_of};
use crate::{LoadOptions, OutcomeTable};

struct Case {
    dir: tempfile::TempDir,
    options: ImportOptions,
}

impl Case {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), options: ImportOptions::default() }
    }

    fn import(&self, format: &str, files: &[(&str, &[&str])]) -> Result<ImportSummary, ImportError> {
        let write = |(name, lines): &(&str, &[&str])| {
            let path = self.dir.path().join(name);
            std::fs::write(
                &path,
                lines.iter().map(|line| line.replace('\n', " ") + "\n").collect::<String>(),
            )
            .unwrap();
            path
        };
        let inputs: Vec<PathBuf> = files.iter().map(write).collect();
        import(format, &inputs, &self.out(), &self.options)
    }

    fn lines(&self, format: &str, lines: &[&str]) -> ImportSummary {
        self.import(format, &[("in.jsonl", lines)]).unwrap()
    }

    fn out(&self) -> PathBuf {
        self.dir.path().join("log.parquet")
    }

    fn table(&self) -> OutcomeTable {
        OutcomeTable::load(&self.out(), &LoadOptions::default()).unwrap()
    }

    fn texts(&self, column: &str) -> Vec<Option<String>> {
        let schema = schema_of(&self.out()).unwrap();
        let batch = LogReader::open(&self.out(), schema, &[column]).unwrap().next().unwrap().unwrap();
        let texts = batch.text(column).unwrap();
        (0..batch.n_rows()).map(|row| texts.get(row).map(str::to_owned)).collect()
    }

    fn numbers(&self, column: &str) -> Vec<Option<f64>> {
        let schema = schema_of(&self.out()).unwrap();
        let batch = LogReader::open(&self.out(), schema, &[column]).unwrap().next().unwrap().unwrap();
        let numbers = batch.number(column).unwrap();
        (0..batch.n_rows()).map(|row| numbers.get(row)).collect()
    }
}

const BATCH: [&str; 4] = [
    r#"{"custom_id": "1", "method": "POST",
        "body": {"model": "m", "messages": [{"role": "user", "content": "2+2?"}]}}"#,
    r#"{"custom_id": "2", "method": "POST",
        "body": {"model": "n", "messages": [{"role": "user", "content": "2+2?"}]}}"#,
    r#"{"custom_id": "3", "method": "POST",
        "body": {"model": "n", "messages": [{"role": "user", "content": "3+3?"}]}}"#,
    r#"{"custom_id": "4", "method": "POST",
        "body": {"model": "m", "messages": [{"role": "user", "content": "3+3?"}]}}"#,
];
const ANSWERS: [&str; 4] = [
    r#"{"id": "a", "custom_id": "1", "response": {"status_code": 200, "body": {"model": "m-2025",
        "choices": [{"message": {"content": "4"}}], "usage": {"prompt_tokens": 9, "completion_tokens": 1}}},
        "error": null}"#,
    r#"{"id": "b", "custom_id": "2", "response": {"status_code": 400, "body": {"error": {"message": "bad"}}}}"#,
    r#"{"id": "c", "custom_id": "3", "response": null, "error": {"code": "batch_expired"}}"#,
    r#"{"id": "d", "custom_id": "9", "response": {"status_code": 200, "body": {"model": "m", "choices": []}}}"#,
];

#[test]
fn batch_files_are_joined_whatever_their_order() {
    for order in [[0, 1], [1, 0]] {
        let case = Case::new();
        let files = [("in.jsonl", &BATCH[..]), ("out.jsonl", &ANSWERS[..])];
        let scores = ("scores.jsonl", &[r#"{"custom_id": "1", "score": 1}"#][..]);
        let summary = case.import("openai", &[files[order[0]], files[order[1]], scores]).unwrap();
        assert_eq!((summary.records, summary.rows), (9, 1));
        let skipped: Vec<&str> = summary.skipped.keys().map(String::as_str).collect();
        assert!(
            skipped.contains(&"that failed with status 400") && skipped.contains(&"that failed"),
            "{skipped:?}"
        );
        assert!(skipped.iter().any(|reason| reason.contains("without an answer")), "{skipped:?}");
        assert!(skipped.iter().any(|reason| reason.contains("without their request")), "{skipped:?}");
        let table = case.table();
        assert_eq!((table.models.as_slice(), table.score.get(0, 0)), (&["m".to_owned()][..], Some(1.0)));
        assert_eq!(
            (case.texts("response"), case.numbers("input_tokens")),
            (vec![Some("4".to_owned())], vec![Some(9.0)])
        );
    }
    let case = Case::new();
    let error = case.import("openai", &[("out.jsonl", &ANSWERS)]).unwrap_err().to_string();
    assert!(error.contains("give the input file of the batch too"), "{error}");
}

#[test]
fn responses_and_messages_of_every_api_keep_answers_and_tokens() {
    let case = Case::new();
    let summary = case.lines(
        "openai",
        &[
            r#"{"model": "a", "score": 1, "input": [{"role": "user", "content": [{"type": "input_text", "text": "p"}]}],
                "response": {"output": [{"type": "reasoning", "summary": []},
                {"type": "message", "content": [{"type": "output_text", "text": "r"}]}],
                "usage": {"input_tokens": 11, "output_tokens": 3}}}"#,
            r#"{"model": "a", "score": 1, "messages": [{"role": "user", "content": [{"type": "text", "text": "q"}]}],
                "response": {"content": [{"type": "text", "text": "s"}],
                "usage": {"input_tokens": 12, "output_tokens": 4}}}"#,
            r#"{"custom_id": "x", "params": {"model": "a", "messages": [{"role": "user", "content": "v"}]}, "result":
                {"type": "succeeded", "message": {"content": [{"type": "text", "text": "t"}],
                "usage": {"input_tokens": 13, "output_tokens": 5}}}}"#,
            r#"{"custom_id": "y", "params": {"model": "a", "messages": [{"role": "user", "content": "w"}]},
                "result": {"type": "expired"}}"#,
            r#"{"conversations": [{"from": "human", "value": "u"}, {"from": "gpt", "value": "no"}], "model": "a"}"#,
        ],
    );
    assert_eq!(summary.skipped.keys().collect::<Vec<_>>(), ["that ended as `expired`"]);
    let prompts: Vec<String> = case.table().queries.into_iter().map(|query| query.prompt).collect();
    assert_eq!(prompts, ["p", "q", "u", "v"]);
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(case.texts("response"), [some("r"), some("s"), None, some("t")]);
    assert_eq!(case.numbers("input_tokens"), [Some(11.0), Some(12.0), None, Some(13.0)]);
    assert_eq!(case.numbers("output_tokens"), [Some(3.0), Some(4.0), None, Some(5.0)]);
}

#[test]
fn litellm_leaves_out_what_is_no_call_of_a_model_and_says_so() {
    let call = |more: &str, asked: &str| {
        format!(
            r#"{{"model": "m", "spend": 0.002, "startTime": "2025-10-01T12:00:00Z", "endTime": "2025-10-01T12:00:00.9Z",
                "messages": [{{"role": "user", "content": "{asked}"}}], "response": {{"choices": [{{"message":
                {{"content": "ok"}}}}]}}, {more}}}"#
        )
    };
    let lines = [
        call(r#""call_type": "acompletion", "cache_hit": "False""#, "one"),
        call(r#""call_type": "acompletion", "cache_hit": "True""#, "two"),
        call(r#""call_type": "aembedding", "cache_hit": "None""#, "three"),
        call(r#""call_type": "acompletion""#, "start... (litellm_truncated 20480 chars) ...end"),
        call(r#""call_type": "completion""#, "redacted-by-litellm"),
        call(r#""call_type": "aresponses""#, "four")
            .replace("\"ok\"", "\"o... (litellm_truncated 9 chars) ...k\""),
    ];
    let case = Case::new();
    let summary = case.lines("litellm", &lines.each_ref().map(String::as_str));
    assert_eq!((summary.records, summary.rows), (6, 3));
    assert_eq!(summary.skipped["of call type `aembedding`"], 1);
    assert_eq!(summary.skipped.values().sum::<u64>(), 3);
    assert_eq!(summary.changed.values().copied().collect::<Vec<_>>(), [1, 1]);
    assert_eq!(case.numbers("cost_usd"), [Some(0.002), None, Some(0.002)]);
    assert_eq!(case.numbers("latency_ms"), [Some(900.0), None, Some(900.0)]);
    assert_eq!(case.texts("response")[2], None);
}

#[test]
fn langfuse_observations_are_read_in_their_units() {
    let line = |id: u32, kind: &str, scores: &str| {
        format!(
            r#"{{"id": "g{id}", "type": "{kind}", "model": "a", "input": [{{"role": "user", "content": "q{id}"}}],
                "output": {{"role": "assistant", "content": "hi"}}, "usage": {{"input": 10, "output": 5}},
                "calculatedTotalCost": 0.001, "latency": 1.25, "startTime": "2025-05-01T10:00:00.000Z",
                "scores": {scores}}}"#
        )
    };
    let lines = [
        line(0, "GENERATION", r#"[{"name": "helpful", "value": 0.8}]"#),
        line(1, "GENERATION", r#"[{"name": "helpful", "value": 0.8}, {"name": "toxic", "value": 0}]"#),
        line(2, "SPAN", "[]"),
    ];
    let case = Case::new();
    let summary = case.lines("langfuse", &lines.each_ref().map(String::as_str));
    assert_eq!((summary.rows, summary.skipped["of type `SPAN`"]), (2, 1));
    assert_eq!(summary.changed.len(), 1);
    assert_eq!(case.numbers("score"), [Some(f64::from(0.8_f32)), None]);
    assert_eq!(case.numbers("latency_ms"), [Some(1250.0); 2]);
    assert_eq!(
        (case.numbers("input_tokens")[0], case.texts("response")[0].as_deref()),
        (Some(10.0), Some("hi"))
    );
}

#[test]
fn portkey_costs_are_in_the_currency_they_name() {
    let line = |id: u32, more: &str| {
        format!(
            r#"{{"id": "p{id}", "ai_model": "a",
                "request": {{"body": {{"messages": [{{"role": "user", "content": "q{id}"}}]}}}},
                "response": {{"body": {{"choices": [{{"message": {{"content": "hi"}}}}],
                "usage": {{"prompt_tokens": 3, "completion_tokens": 2}}}}}}, "cost": 0.12, "response_time": 950,
                "feedback": {{"value": -5, "weight": 1}}, "created_at": "2025-05-01T10:00:00Z", {more}}}"#
        )
    };
    let lines = [
        line(0, r#""cost_currency": "USD cents""#),
        line(1, r#""cost_currency": "USD""#),
        line(2, r#""response_status_code": 429"#),
    ];
    let mut case = Case::new();
    (case.options.score_min, case.options.score_max) = (-10.0, 10.0);
    let summary = case.lines("portkey", &lines.each_ref().map(String::as_str));
    assert_eq!((summary.rows, summary.skipped["failed"]), (2, 1));
    assert_eq!(case.numbers("cost_usd"), [Some(0.0012), Some(0.12)]);
    assert_eq!((case.numbers("score")[0], case.numbers("latency_ms")[0]), (Some(0.25), Some(950.0)));
    assert_eq!(
        (case.numbers("output_tokens")[0], case.texts("response")[1].as_deref()),
        (Some(2.0), Some("hi"))
    );
    let euros = line(3, r#""cost_currency": "EUR""#);
    let error = case.import("portkey", &[("in.jsonl", &[&euros])]).unwrap_err().to_string();
    assert!(error.contains("`EUR`"), "{error}");
}

#[test]
fn tensorzero_parts_are_read_as_old_and_new_gateways_store_them() {
    let line = |id: u32, part: &str, value: bool| {
        format!(
            r#"{{"id": "0195-{id}", "function_name": "draft", "variant_name": "gpt",
                "input": "{{\"system\": \"Be kind.\",
                \"messages\": [{{\"role\": \"user\",
                \"content\": [{{\"type\": \"text\", \"{part}\": \"question {id}\"}}]}}]}}",
                "output": "[{{\"type\": \"text\", \"{part}\": \"ok\"}}]", "processing_time_ms": 812,
                "timestamp": "2025-05-01 10:00:00", "value": {value}}}"#
        )
    };
    let lines = [line(0, "value", false), line(1, "text", true)];
    let case = Case::new();
    case.lines("tensorzero", &lines.each_ref().map(String::as_str));
    let table = case.table();
    assert!(
        table.queries.iter().enumerate().all(|(i, query)| query.prompt.ends_with(&format!("question {i}")))
    );
    assert_eq!((table.queries[0].source.as_deref(), table.models[0].as_str()), (Some("draft"), "gpt"));
    assert_eq!((table.score.get(0, 0), table.score.get(1, 0)), (Some(0.0), Some(1.0)));
    assert_eq!(case.texts("response"), [Some("ok".to_owned()), Some("ok".to_owned())]);
    assert_eq!(case.numbers("latency_ms"), [Some(812.0); 2]);
}

#[test]
fn replies_keep_why_they_ended_their_tokens_and_their_samples() {
    let case = Case::new();
    let reply = |sample: u32, word: &str| {
        format!(
            r#"{{"model": "m", "messages": [{{"role": "user", "content": "2+2?"}}], "sample": {sample}, "score": 1,
                "answer": "4", "response": {{"choices": [{{"message": {{"content": "It is 4"}},
                "finish_reason": "{word}",
                "logprobs": {{"content": [{{"logprob": -0.25}}, {{"logprob": -0.75}}]}}}}]}}}}"#
        )
    };
    let summary = case.lines("openai", &[&reply(0, "stop"), &reply(1, "length")]);
    assert_eq!(
        (summary.filled["finish"], summary.filled["logprob_quantiles"], summary.filled["sample"]),
        (2, 2, 2)
    );
    assert_eq!(case.texts("finish"), [Some("stop".to_owned()), Some("length".to_owned())]);
    assert_eq!(case.texts("answer")[1].as_deref(), Some("4"));
    assert_eq!(case.numbers("logprob_mean"), [Some(-0.5), Some(-0.5)]);
    // Two samples of one model are one query, and a second row of one sample would be another.
    assert_eq!(case.table().n_queries(), 1);
    let again = case.lines("openai", &[&reply(1, "stop"), &reply(1, "stop")]);
    assert_eq!((again.rows, case.table().n_queries()), (2, 2));
}

#[test]
fn the_columns_of_answers_are_read_from_tables_and_checked() {
    let case = Case::new();
    let head = "query_id,prompt,model,score,sample,option_probs,verifier_rate,lp\n";
    let write = |line: &str| {
        let path = case.dir.path().join("in.csv");
        std::fs::write(&path, format!("{head}{line}\n")).unwrap();
        let mut options = ImportOptions::default();
        options.map.insert("logprob_mean".to_owned(), "lp".to_owned());
        import("long", &[path], &case.out(), &options)
    };
    let summary = write("1,p,a,1,2,\"[0.75, 0.25]\",0.5,-0.125").unwrap();
    assert_eq!((summary.filled["option_probs"], summary.filled["verifier_rate"]), (1, 1));
    assert_eq!((case.numbers("logprob_mean"), case.numbers("sample")), (vec![Some(-0.125)], vec![Some(2.0)]));
    for (line, part) in [
        ("1,p,a,1,-1,,,", "`sample` is `-1`"),
        ("1,p,a,1,,nope,,", "expected a list of numbers"),
        ("1,p,a,1,,\"[0.75, 0.5]\",,", "option_probs sum to `1.25`"),
        ("1,p,a,1,,,1.5,", "verifier_rate `1.5`"),
        ("1,p,a,1,,,,0.5", "logprob_mean `0.5`"),
        ("1,p,a,1,1,,,\n1,p,a,0,1,,,", "`1`, `a`, `1` have a row already"),
    ] {
        let error = write(line).unwrap_err().to_string();
        assert!(error.contains("line ") && error.contains(part), "{error}");
    }
}
