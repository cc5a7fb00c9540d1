use super::*;
use crate::log::{LogReader, OutcomeRow, RowWriter, ValidateOptions, WriteOptions, validate};
use crate::{LoadOptions, OutcomeTable, PairTable, Winner, schema};
use tempfile::TempDir;

struct Case {
    dir: TempDir,
    options: ImportOptions,
}

impl Case {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), options: ImportOptions::default() }
    }

    fn map(mut self, column: &str, field: &str) -> Self {
        self.options.map.insert(column.to_owned(), field.to_owned());
        self
    }

    fn out(&self) -> PathBuf {
        self.dir.path().join("log.parquet")
    }

    fn import(
        &self,
        importer: &str,
        file: &str,
        bytes: impl AsRef<[u8]>,
    ) -> Result<ImportSummary, ImportError> {
        let input = self.dir.path().join(file);
        std::fs::write(&input, bytes).unwrap();
        import(importer, &[input], &self.out(), &self.options)
    }

    fn refused(&self, importer: &str, file: &str, bytes: impl AsRef<[u8]>) -> String {
        let error = self.import(importer, file, bytes).unwrap_err().to_string();
        assert_eq!(std::fs::read_dir(self.dir.path()).unwrap().count(), 1, "nothing but the input is left");
        error
    }

    fn table(&self) -> OutcomeTable {
        let found = validate(&self.out(), &ValidateOptions::default()).unwrap();
        assert!(found.is_valid(), "{:?}", found.complaints);
        OutcomeTable::load(&self.out(), &LoadOptions::default()).unwrap()
    }

    fn texts(&self, column: &str) -> Vec<Option<String>> {
        let schema = crate::log::schema_of(&self.out()).unwrap();
        let batch = LogReader::open(&self.out(), schema, &[column]).unwrap().next().unwrap().unwrap();
        let texts = batch.text(column).unwrap();
        (0..batch.n_rows()).map(|row| texts.get(row).map(str::to_owned)).collect()
    }
}

#[test]
fn every_importer_has_its_own_name_and_a_log_it_writes() {
    for (i, importer) in ALL.iter().enumerate() {
        assert!(ALL[..i].iter().all(|other| other.name != importer.name));
        assert!(schema::ALL.iter().any(|schema| schema.name == importer.log), "{}", importer.name);
    }
    let error = import("routerbnch", &[], Path::new("x"), &ImportOptions::default()).unwrap_err().to_string();
    assert!(error.contains("did you mean `routerbench`"), "{error}");
}

#[test]
fn the_long_form_is_read_from_csv_with_a_map() {
    let case = Case::new().map("score", "grade").map("prompt", "question");
    let csv = "\u{feff}question,model,grade,cost_usd,timestamp_ms\n\
               \"Was ist 2+2?\nBitte.\",m,1,0.5,2024-02-29T12:30:15.25Z\n\
               \"Was ist 2+2?\nBitte.\",n,0.25,,\n漢字,m,,,\n";
    let summary = case.import("long", "in.csv", csv).unwrap();
    assert_eq!((summary.records, summary.rows), (3, 3));
    let table = case.table();
    assert_eq!(table.models, ["m", "n"]);
    assert_eq!(table.queries[0].prompt, "Was ist 2+2?\nBitte.");
    assert_eq!(table.queries[0].timestamp_ms, Some(1_709_209_815_250));
    assert_eq!((table.score.get(0, 1), table.score.get(1, 0)), (Some(0.25), None));
    assert_eq!((table.cost_usd.get(0, 0), table.cost_usd.get(0, 1)), (Some(0.5), None));
}

#[test]
fn the_long_form_is_the_same_from_every_format() {
    let case = Case::new();
    let items =
        [r#"{"prompt": "p", "model": "m", "score": 0.5}"#, r#"{"prompt": "q", "model": "m", "score": 1}"#];
    case.import("long", "in.jsonl", items.join("\n\n")).unwrap();
    let digest = case.table().digest();
    let list = format!("[{}]", items.join(", "));
    for (file, text) in [
        ("in.json", list.clone()),
        ("data.json", format!("{{\"data\": {list}}}")),
        ("in.tsv", "prompt\tmodel\tscore\np\tm\t0.5\nq\tm\t1\n".to_owned()),
    ] {
        case.import("long", file, text).unwrap();
        assert_eq!(case.table().digest(), digest, "{file}");
    }
    let parquet = case.dir.path().join("in.parquet");
    std::fs::rename(case.out(), &parquet).unwrap();
    import("long", &[parquet], &case.out(), &case.options).unwrap();
    assert_eq!(case.table().digest(), digest);
}

#[test]
fn repeated_prompts_of_a_model_open_a_second_query() {
    let case = Case::new();
    case.import("long", "in.csv", "prompt,model,score\np,m,1\np,n,0\np,m,0\n").unwrap();
    let table = case.table();
    assert_eq!((table.n_queries(), table.score.n_present()), (2, 3));
    assert_eq!(table.queries[0].prompt, table.queries[1].prompt);
}

/// Such a log was once written, and every reader refused it.
#[test]
fn a_query_with_two_prompts_or_splits_is_refused() {
    let refused = |importer: &str, csv: &str| Case::new().refused(importer, "in.csv", csv);
    let error = refused("long", "query_id,prompt,model,score\nq,p,m,1\nq,p,n,0\nq,o,o,1\n");
    assert!(
        error.contains("line 4 of") && error.contains("query `q` has another prompt or split"),
        "{error}"
    );
    let error = refused("long", "query_id,prompt,model,score,split\nq,p,m,1,train\nq,p,n,0,\n");
    assert!(error.contains("line 3 of") && error.contains("another prompt or split"), "{error}");
    let error =
        refused("arena", "question_id,question,model_a,model_b,winner\nq,p,a,b,model_a\nq,o,a,c,model_b\n");
    assert!(error.contains("line 3 of") && error.contains("another prompt or split"), "{error}");
}

#[test]
fn bad_input_is_refused_with_file_and_line() {
    let refused = |file: &str, bytes: &[u8]| Case::new().refused("long", file, bytes);
    let error = refused("in.csv", b"prompt,model,score\np,m,1\n\xff\xfe,m,1\n");
    assert!(error.contains("line 3 of") && error.contains("in.csv") && error.contains("UTF-8"), "{error}");
    let error = refused("in.csv", b"prompt,model,score\np,m\n");
    assert!(error.contains("line 2 of") && error.contains("not valid CSV"), "{error}");
    let error = refused("in.jsonl", b"{\"prompt\": \"p\", \"model\": \"m\", \"score\": 1}\n{\"prompt\": \n");
    assert!(error.contains("line 2 of") && error.contains("not valid JSON"), "{error}");
    let error = refused("in.jsonl", b"\"\xff\"\n");
    assert!(error.contains("line 1 of") && error.contains("UTF-8"), "{error}");
    let error = refused("in.json", b"[{\"prompt\": \"p\", \"model\": \"m\", \"score\": 1},\n {\"prompt\"]");
    assert!(error.contains("line 2 of") && error.contains("not valid JSON"), "{error}");
    let error = refused("in.json", b"[{\"prompt\": \"p\", \"model\": \"m\", \"score\": 7}]");
    assert!(error.contains("item 1 of") && error.contains("score `7`"), "{error}");
    let error = refused("in.csv", b"prompt,model,score\np,m,good\n");
    assert!(error.contains("line 2") && error.contains("`score`") && error.contains("good"), "{error}");
    let error = refused("in.csv", b"prompt,model,scroe\np,m,1\n");
    assert!(error.contains("did you mean `scroe`") && error.contains("--map"), "{error}");
    let error = refused("in.csv", b"query_id,prompt,model,score\nq,p,m,1\nq,p,m,1\n");
    assert!(error.contains("line 3") && error.contains("have a row already"), "{error}");
    let error = refused("in.txt", b"x");
    assert!(error.contains(".csv"), "{error}");
    for file in ["in.csv", "in.jsonl", "in.json"] {
        let error = refused(file, b"");
        assert!(error.contains("empty") || error.contains("nothing to import"), "{error}");
    }
    let error = refused("in.parquet", b"PAR1");
    assert!(error.contains("Parquet"), "{error}");
}

#[test]
fn maps_of_unknown_columns_and_fields_are_refused() {
    let csv = "prompt,model,grade\np,m,1\n";
    let error = Case::new().map("scores", "grade").refused("long", "in.csv", csv);
    assert!(error.contains("did you mean `score`"), "{error}");
    let error = Case::new().map("score", "grade").map("source", "grad").refused("long", "in.csv", csv);
    assert!(error.contains("`grad`") && error.contains("did you mean `grade`"), "{error}");
}

#[test]
fn scores_are_scaled_and_binarized_where_asked() {
    let mut case = Case::new();
    case.options.score_max = 10.0;
    case.options.source = Some("grades".to_owned());
    case.import("long", "in.csv", "prompt,model,score\np,m,7\n").unwrap();
    assert_eq!(
        (case.table().score.get(0, 0), case.table().queries[0].source.as_deref()),
        (Some(0.7), Some("grades"))
    );
    case.options.score_max = 0.0;
    assert!(case.import("long", "in.csv", "prompt,model,score\np,m,7\n").is_err());
}

#[test]
fn routerbench_is_read_from_csv_and_parquet() {
    let case = Case::new();
    let header =
        "sample_id,prompt,eval_name,m/1,n,m/1|model_response,m/1|total_cost,n|total_cost,oracle_model";
    let csv =
        format!("{header}\nmmlu.1,What?,mmlu,1.0,0.0,A,0.001,2e-05,n\nmbpp.7,Write.,mbpp,,True,x,0.002,,n\n");
    let summary = case.import("routerbench", "in.csv", csv).unwrap();
    assert_eq!((summary.records, summary.rows), (2, 4));
    let table = case.table();
    assert_eq!(table.models, ["m/1", "n"]);
    assert_eq!(table.queries[1].source.as_deref(), Some("mbpp"));
    assert_eq!(
        (table.score.get(0, 0), table.score.get(1, 0), table.score.get(1, 1)),
        (Some(1.0), None, Some(1.0))
    );
    assert_eq!((table.cost_usd.get(0, 1), table.cost_usd.get(1, 1)), (Some(2e-5), None));
    assert_eq!(case.texts("response")[0].as_deref(), Some("A"));
    let error = Case::new().refused("routerbench", "in.csv", "prompt,eval_name\np,x\n");
    assert!(error.contains("|total_cost"), "{error}");
}

#[test]
fn routerbench_parquet_keeps_numbers() {
    use arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray};
    let case = Case::new();
    let text = |value: &str| std::sync::Arc::new(StringArray::from(vec![value])) as ArrayRef;
    let number = |value: f64| std::sync::Arc::new(Float64Array::from(vec![value])) as ArrayRef;
    let columns =
        [("prompt", text("p")), ("eval_name", text("e")), ("m", number(0.75)), ("m|total_cost", number(0.5))];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let input = case.dir.path().join("in.parquet");
    let mut writer = crate::log::LogWriter::create(&input, batch.schema(), WriteOptions::default()).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    import("routerbench", &[input], &case.out(), &case.options).unwrap();
    assert_eq!((case.table().score.get(0, 0), case.table().cost_usd.get(0, 0)), (Some(0.75), Some(0.5)));
}

#[test]
fn routerdc_takes_source_and_split_from_the_file_name() {
    let mut case = Case::new();
    case.options.binarize = true;
    let json = r#"[{"question": "q?", "answer": "4", "scores": {"m": 0.3, "n": 0}, "cluster_id": 5},
                   {"question": "q?", "scores": {"m": 1.0, "n": 0.5}, "cluster_id": 1}]"#;
    case.import("routerdc", "gsm8k_train.json", json).unwrap();
    let table = case.table();
    assert_eq!((table.n_queries(), table.models.len()), (2, 2));
    let query = &table.queries[0];
    assert_eq!((query.source.as_deref(), query.split.as_deref()), (Some("gsm8k"), Some("train")));
    assert_eq!(table.score.row(0), [1.0, 0.0]);
    assert_eq!(table.soft_score.unwrap().row(0), [0.3, 0.0]);
    let error = Case::new().refused("routerdc", "x.json", r#"[{"question": "q"}]"#);
    assert!(error.contains("item 1") && error.contains("`scores`"), "{error}");
}

#[test]
fn arena_votes_of_every_spelling() {
    let case = Case::new();
    let lines = [
        r#"{"question_id": "1", "model_a": "m", "model_b": "n", "winner": "model_a", "judge": "arena_user_1",
            "conversation_a": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}],
            "conversation_b": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}],
            "tstamp": 1682351591.1}"#,
        r#"{"id": 30192, "model_a": "m", "model_b": "o", "prompt": "[\"First?\", \"Second?\"]",
            "response_a": "[\"A\"]", "response_b": "[\"B\"]",
            "winner_model_a": 0, "winner_model_b": 1, "winner_tie": 0}"#,
        r#"{"model_a": "m", "model_b": "n", "prompt": "x", "winner": "tie (bothbad)"}"#,
        r#"{"model_a": "m", "model_b": "n", "prompt": "y", "winner": "n"}"#,
        r#"{"model_a": "m", "model_b": "m", "prompt": "y", "winner": "tie"}"#,
    ];
    let lines = lines.map(|line| line.replace('\n', " ")).join("\n");
    let summary = case.import("arena", "in.jsonl", lines).unwrap();
    assert_eq!((summary.rows, summary.skipped["of a model against itself"]), (4, 1));
    let table = PairTable::load(&case.out(), &LoadOptions::default()).unwrap();
    let winners: Vec<Winner> = table.pairs.iter().map(|pair| pair.winner).collect();
    assert_eq!(winners, [Winner::A, Winner::B, Winner::Tie, Winner::B]);
    let prompts: Vec<&str> = table.queries.iter().map(|q| q.prompt.as_str()).collect();
    assert_eq!(prompts, ["Hi", "First?", "x", "y"]);
    assert_eq!(table.queries[0].timestamp_ms, Some(1_682_351_591_100));
    assert_eq!(case.texts("response_b")[..2], [Some("Yo".to_owned()), Some("B".to_owned())]);
    let case = Case::new();
    let error = case.refused("arena", "in.csv", "model_a,model_b,prompt,winner\nm,n,p,both\n");
    assert!(error.contains("line 2") && error.contains("`both`"), "{error}");
    let case = Case::new();
    let header = "model_a,model_b,prompt,winner_model_a,winner_model_b,winner_tie";
    let error = case.refused("arena", "in.csv", format!("{header}\nm,n,p,1,1,0\n"));
    assert!(error.contains("2 of the winner flags"), "{error}");
}

#[test]
fn openai_requests_and_batches() {
    let case = Case::new();
    let lines = [
        r#"{"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "no"}], "model": "m", "score": 1, "cost": 0.002,
            "usage": {"prompt_tokens": 12, "completion_tokens": 3}}"#,
        r#"{"custom_id": "r1", "body": {"model": "n", "messages": [{"role": "user", "content":
            [{"type": "text", "text": "Look"}, {"type": "image_url", "image_url": {"url": "u"}}]}]},
            "response": {"status_code": 200, "body": {"choices": [{"message": {"content": "Seen"}}],
            "usage": {"prompt_tokens": 5, "completion_tokens": 7}}}, "metadata": {"score": 0.5}}"#,
    ];
    let summary =
        case.import("openai", "in.jsonl", lines.map(|line| line.replace('\n', " ")).join("\n")).unwrap();
    assert_eq!(summary.rows, 2);
    let table = case.table();
    let prompts: Vec<&str> = table.queries.iter().map(|q| q.prompt.as_str()).collect();
    assert_eq!(prompts, ["Hi", "Look"]);
    assert_eq!(
        (table.score.get(0, 0), table.score.get(1, 1), table.cost_usd.get(0, 0)),
        (Some(1.0), Some(0.5), Some(0.002))
    );
    assert_eq!(case.texts("response"), [None, Some("Seen".to_owned())]);
    let error = Case::new().refused("openai", "in.jsonl", r#"{"messages": [], "model": "m", "score": 1}"#);
    assert!(error.contains("`messages`"), "{error}");
}

#[test]
fn litellm_spend_logs_with_a_mapped_score() {
    let case = Case::new().map("score", "metadata.grade");
    let json = r#"[
      {"request_id": "1", "status": "success", "model": "gpt-x", "spend": 0.0012, "prompt_tokens": 10,
       "completion_tokens": 4, "startTime": "2024-11-22T10:00:00.000Z", "endTime": "2024-11-22T10:00:01.500Z",
       "messages": [{"role": "user", "content": "Hi"}], "metadata": {"grade": 0.5},
       "response": {"choices": [{"message": {"content": "Hello"}}]}},
      {"request_id": "2", "model": "gpt-x", "spend": 0.1, "messages": {}, "metadata": {}},
      {"request_id": "3", "model": "gpt-x", "spend": 0, "status": "failure",
       "messages": [{"role": "user", "content": "x"}]}
    ]"#;
    let summary = case.import("litellm", "in.json", json).unwrap();
    assert_eq!(
        (summary.rows, summary.skipped["without a stored prompt"], summary.skipped["failed"]),
        (1, 1, 1)
    );
    let table = case.table();
    assert_eq!((table.score.get(0, 0), table.cost_usd.get(0, 0)), (Some(0.5), Some(0.0012)));
    assert_eq!(table.latency_ms.unwrap().get(0, 0), Some(1500.0));
    assert_eq!(case.texts("response"), [Some("Hello".to_owned())]);
    // A CSV export holds the objects as JSON texts; without a map there is no score.
    let case = Case::new();
    let messages = r#"[{""role"": ""user"", ""content"": ""Hi""}]"#;
    let csv = format!("request_id,model,spend,messages,metadata\n1,m,0.5,\"{messages}\",{{}}\n");
    case.import("litellm", "in.csv", csv).unwrap();
    let table = case.table();
    assert_eq!((table.queries[0].prompt.as_str(), table.score.get(0, 0)), ("Hi", None));
    let error = Case::new().refused("litellm", "in.jsonl", r#"{"model": "m", "spend": 1, "messages": {}}"#);
    assert!(error.contains("without a stored prompt"), "{error}");
}

#[test]
fn a_directory_of_parquet_files_is_an_input() {
    let case = Case::new();
    let parts = case.dir.path().join("parts");
    let mut writer = RowWriter::create(&parts, WriteOptions { rows_per_file: Some(1) }).unwrap();
    for query in ["p", "q"] {
        let [query_id, prompt, model] = [query, query, "m"].map(str::to_owned);
        writer
            .push(OutcomeRow { query_id, prompt, model, score: Some(0.5), ..OutcomeRow::default() })
            .unwrap();
    }
    writer.finish().unwrap();
    let summary = import("long", &[parts], &case.out(), &case.options).unwrap();
    assert_eq!(summary.rows, 2);
    assert_eq!(case.table().queries[1].id, "q");
}

#[test]
fn byte_order_marks_are_skipped_and_compressed_texts_read() {
    use std::io::Write as _;
    let case = Case::new();
    let line = "{\"prompt\": \"p\", \"model\": \"m\", \"score\": 0.5}\n";
    for (file, text) in [("in.jsonl", format!("\u{feff}{line}")), ("in.json", format!("\u{feff}[{line}]"))] {
        assert_eq!(case.import("long", file, text).unwrap().rows, 1, "{file}");
    }
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all("\u{feff}prompt,model,score\np,m,0.5\n".as_bytes()).unwrap();
    let gzip = gzip.finish().unwrap();
    assert_eq!(case.import("long", "in.csv.gz", &gzip).unwrap().rows, 1);
    let zstd = zstd::encode_all(line.as_bytes(), 1).unwrap();
    assert_eq!(case.import("long", "in.JSONL.zst", zstd).unwrap().rows, 1);
    let refused = |file: &str, bytes: &[u8], words: &str| {
        let error = Case::new().refused("long", file, bytes);
        assert!(error.contains(words), "{error}");
    };
    refused("in.csv", &gzip, "name that ends in .gz");
    refused("in.csv", b"\xff\xfep\0", "UTF-16");
    refused("in.json", b"\xfe\xff\0[", "UTF-16");
    refused("in.csv", b"PK\x03\x04", "workbook");
    refused("in.csv", b"prompt;model;score\np;m;0,5\n", "semicolons");
    refused("in.csv", b"prompt\tmodel\tscore\np\tm\t1\n", "tabs");
    refused("in.csv", b"prompt,model,score,score\np,m,1,0\n", "two columns are named `score`");
    refused("in.jsonl", b"{\"prompt\": \"p\", \"model\": \"m\", \"score\": NaN}", "JSON has no `NaN`");
    refused("in.csv", b"prompt,model,score\np,m,NaN\n", "or none where it is unknown");
}

#[test]
fn scores_of_other_ranges_and_words_are_mapped() {
    let scores = |case: &Case| {
        let table = case.table();
        (0..table.n_queries()).map(|query| table.score.get(query, 0)).collect::<Vec<_>>()
    };
    let mut case = Case::new();
    (case.options.score_min, case.options.score_max) = (-1.0, 1.0);
    case.import("long", "in.csv", "prompt,model,score\np,m,-1\nq,m,0\nr,m,1\n").unwrap();
    assert_eq!(scores(&case), [Some(0.0), Some(0.5), Some(1.0)]);
    case.options.binarize = true;
    case.import("long", "in.csv", "prompt,model,score\np,m,-1\nq,m,0\nr,m,1\n").unwrap();
    assert_eq!(scores(&case), [Some(0.0), Some(0.0), Some(1.0)], "above 0 in the input");
    assert_eq!(case.table().soft_score.unwrap().get(1, 0), Some(0.5));
    let mut case = Case::new();
    (case.options.score_min, case.options.score_max) = (1.0, 5.0);
    case.import("long", "in.csv", "prompt,model,score\np,m,1\nq,m,4\nr,m,5\n").unwrap();
    assert_eq!(scores(&case), [Some(0.0), Some(0.75), Some(1.0)]);
    let mut case = Case::new();
    case.options.score_values = [("up".to_owned(), 1.0), ("down".to_owned(), 0.0)].into();
    case.import("long", "in.csv", "prompt,model,score\np,m,UP\nq,m,down\nr,m,\n").unwrap();
    assert_eq!(scores(&case), [Some(1.0), Some(0.0), None]);
    let error = case.import("long", "in.csv", "prompt,model,score\np,m,sideways\n").unwrap_err().to_string();
    assert!(error.contains("`down`, `up`") && error.contains("sideways"), "{error}");
    case.options.score_values.insert("great".to_owned(), 2.0);
    assert!(case.import("long", "in.csv", "prompt,model,score\np,m,up\n").is_err());
    for (score, words) in [("-1", "--score-min"), ("up", "--score-values"), ("85", "--score-max")] {
        let error = Case::new().refused("long", "in.csv", format!("prompt,model,score\np,m,{score}\n"));
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn units_of_latencies_are_asked_for_and_converted() {
    let mut case = Case::new().map("latency_ms", "latency_s");
    let csv = "prompt,model,score,latency_s\np,m,1,1.5\n";
    let error = case.import("long", "in.csv", csv).unwrap_err().to_string();
    assert!(error.contains("`latency_s`") && error.contains("--latency-unit"), "{error}");
    case.options.latency_unit = Some(LatencyUnit::Seconds);
    case.import("long", "in.csv", csv).unwrap();
    assert_eq!(case.table().latency_ms.unwrap().get(0, 0), Some(1500.0));
    let case = Case::new();
    let rows: String = (0..30).map(|i| format!("p{i},m,1,1.5\n")).collect();
    let summary = case.import("long", "in.csv", format!("prompt,model,score,latency_ms\n{rows}")).unwrap();
    assert!(summary.warnings[0].contains("are they seconds?"), "{:?}", summary.warnings);
}

#[test]
fn a_summary_counts_what_was_read_and_names_what_was_not() {
    let case = Case::new();
    let csv = "prompt,model,score,cost,latency_ms,team\np,m,1,0.5,,x\nq,m,,0.5,900,y\n";
    let summary = case.import("long", "in.csv", csv).unwrap();
    assert_eq!(
        (summary.filled["score"], summary.filled["cost_usd"], summary.filled["latency_ms"]),
        (1, 0, 1)
    );
    assert_eq!(summary.unread, ["cost", "team"]);
    // An id of the request as the id of the query: each prompt has several ids.
    let rows: String = (0..60).map(|i| format!("r{i},p{},m{},1\n", i / 3, i % 3)).collect();
    let csv = format!("request_id,prompt,model,score\n{rows}");
    let mut case = Case::new().map("query_id", "request_id");
    let summary = case.import("long", "in.csv", &csv).unwrap();
    assert!(summary.warnings[0].contains("20 prompts stand under 60 query ids"), "{:?}", summary.warnings);
    case.options.map.insert("query_id".to_owned(), String::new());
    let summary = case.import("long", "in.csv", &csv).unwrap();
    assert_eq!((summary.warnings.len(), case.table().n_queries()), (0, 20));
    let rows: String = (0..60).map(|i| format!("p{i},m{},1\n", i % 3)).collect();
    let summary = case.import("long", "in.csv", format!("prompt,model,score\n{rows}")).unwrap();
    assert!(summary.warnings[0].contains("log of decisions"), "{:?}", summary.warnings);
}
