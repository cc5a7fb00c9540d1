//! The columns of every log: one table of names, types and units, from which `docs/formats.md` is made.

use crate::query_text::{LOG_KEY, QueryText};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use std::fmt::Write as _;
use std::sync::Arc;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    /// UTF-8 text; read from `utf8`, `large_utf8`, `utf8_view`, `binary` and dictionaries of those.
    Text,
    /// A number, written as `float32`.
    Float32,
    /// A number, written as `float64`.
    Float64,
    /// A whole number, written as `int32`.
    Int32,
    /// A whole number, written as `int64`.
    Int64,
    /// Milliseconds since 1970-01-01 UTC, written as `int64`; read from any `timestamp` or `date` too.
    TimestampMs,
    /// A vector of numbers, written as `list<float32>`.
    FloatList,
    /// A list of texts, written as `list<utf8>`.
    TextList,
}

impl ColumnType {
    /// The Arrow type it is written as.
    pub fn arrow(self) -> DataType {
        let list = |item: DataType| DataType::List(Arc::new(Field::new("item", item, true)));
        match self {
            Self::Text => DataType::Utf8,
            Self::Float32 => DataType::Float32,
            Self::Float64 => DataType::Float64,
            Self::Int32 => DataType::Int32,
            Self::Int64 | Self::TimestampMs => DataType::Int64,
            Self::FloatList => list(DataType::Float32),
            Self::TextList => list(DataType::Utf8),
        }
    }

    /// Name of the type it is written as, for the documentation.
    pub fn written(self) -> &'static str {
        match self {
            Self::Text => "utf8",
            Self::Float32 => "float32",
            Self::Float64 => "float64",
            Self::Int32 => "int32",
            Self::Int64 | Self::TimestampMs => "int64",
            Self::FloatList => "list<float32>",
            Self::TextList => "list<utf8>",
        }
    }

    /// The types it is read from, for messages and the documentation.
    pub fn accepted(self) -> &'static str {
        match self {
            Self::Text => "utf8, large_utf8, utf8_view, binary holding UTF-8, or a dictionary of these",
            Self::Float32 | Self::Float64 => "any float, integer or decimal type",
            Self::Int32 | Self::Int64 => "any integer type, or floats or decimals that are whole numbers",
            Self::TimestampMs => "any integer type (milliseconds), timestamp of any unit, date32 or date64",
            Self::FloatList => "list, large_list or fixed_size_list of any float, integer or decimal type",
            Self::TextList => "list, large_list or fixed_size_list of texts",
        }
    }

    /// Whether a column of the Arrow type `found` can be read as this.
    pub fn accepts(self, found: &DataType) -> bool {
        match self {
            Self::Text => is_text(found),
            Self::Float32 | Self::Float64 | Self::Int32 | Self::Int64 => is_number(found),
            Self::TimestampMs => {
                found.is_integer()
                    || matches!(found, DataType::Timestamp(_, _) | DataType::Date32 | DataType::Date64)
            }
            // A list that is empty in every row has items of type null.
            Self::FloatList => item_type(found).is_some_and(|item| is_number(item) || item.is_null()),
            Self::TextList => item_type(found).is_some_and(|item| is_text(item) || item.is_null()),
        }
    }
}

/// The type of the items of a list.
fn item_type(found: &DataType) -> Option<&DataType> {
    match found {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            Some(item.data_type())
        }
        _ => None,
    }
}

/// Whether an Arrow type can be read as text.
pub(crate) fn is_text(found: &DataType) -> bool {
    match found {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => true,
        DataType::Dictionary(_, value) => is_text(value),
        _ => false,
    }
}

fn is_number(found: &DataType) -> bool {
    found.is_integer() || found.is_floating() || found.is_decimal()
}

/// A short name of an Arrow type, for messages.
pub(crate) fn type_name(found: &DataType) -> String {
    match found {
        DataType::Timestamp(unit, _) => match unit {
            TimeUnit::Second => "timestamp[s]".to_owned(),
            TimeUnit::Millisecond => "timestamp[ms]".to_owned(),
            TimeUnit::Microsecond => "timestamp[us]".to_owned(),
            TimeUnit::Nanosecond => "timestamp[ns]".to_owned(),
        },
        DataType::List(item) => format!("list<{}>", type_name(item.data_type())),
        DataType::Dictionary(_, value) => format!("dictionary of {}", type_name(value)),
        other => format!("{other:?}").to_lowercase(),
    }
}

/// Whether a column may be left out, and whether its cells may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// The column must be there and no cell may be null.
    Required,
    /// The column must be there; a null cell means "not known".
    Nullable,
    /// The column may be left out; a null cell means "not known".
    Optional,
}

impl Presence {
    fn word(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::Nullable => "required, null where unknown",
            Self::Optional => "optional",
        }
    }
}

/// One column of a log.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// Name, exactly as in the file.
    pub name: &'static str,
    /// What it holds.
    pub dtype: ColumnType,
    /// Whether it may be missing.
    pub need: Presence,
    /// Unit or range, e.g. `US dollars` or `[0, 1]`.
    pub unit: &'static str,
    /// Meaning, one sentence.
    pub doc: &'static str,
}

impl Column {
    /// The numbers that are valid, both ends included, as [`Column::unit`] says in words.
    pub fn range(&self) -> Option<(f64, f64)> {
        match self.unit {
            "[0, 1]" | "(0, 1]" => Some((0.0, 1.0)),
            NATS => Some((f64::NEG_INFINITY, 0.0)),
            unit if unit.ends_with(">= 0") => Some((0.0, f64::INFINITY)),
            _ => None,
        }
    }
}

/// The columns of one kind of log.
#[derive(Debug)]
pub struct LogSchema {
    /// Name, e.g. `outcome log`.
    pub name: &'static str,
    /// What one row says.
    pub doc: &'static str,
    /// The columns, in the order they are written.
    pub columns: &'static [Column],
    /// The columns that together name a row; no two rows may agree on all of them.
    pub key: &'static [&'static str],
}

impl LogSchema {
    /// The column of that name.
    pub fn column(&self, name: &str) -> Option<&'static Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The Arrow schema it is written with.
    pub fn arrow(&self) -> SchemaRef {
        let field = |c: &Column| Field::new(c.name, c.dtype.arrow(), c.need != Presence::Required);
        Arc::new(Schema::new(self.columns.iter().map(field).collect::<Vec<_>>()))
    }
}

use ColumnType::{Float32, Float64, FloatList, Int32, Int64, Text, TextList, TimestampMs};
use Presence::{Nullable, Optional, Required};

const fn col(
    name: &'static str,
    dtype: ColumnType,
    need: Presence,
    unit: &'static str,
    doc: &'static str,
) -> Column {
    Column { name, dtype, need, unit, doc }
}

/// Unit and range of log-probabilities.
const NATS: &str = "nats, <= 0";

const QUERY_ID: Column =
    col("query_id", Text, Required, "", "Key of the query; equal in all rows of one query.");
const SPLIT: Column =
    col("split", Text, Optional, "", "Split of the query, e.g. `train`, `valid`, `test`; one per query.");
const SOURCE: Column = col("source", Text, Optional, "", "Task or origin of the query, e.g. `gsm8k`.");
const PROMPT: Column =
    col("prompt", Text, Required, "", "Literal text sent to the models; not empty; one per query.");

/// How each model did on each query.
pub static OUTCOME: LogSchema = LogSchema {
    name: "outcome log",
    doc: "One row is one answer of one model to one query, with its outcome. A model that was not tried on a query has \
          no row there, or a row whose score is null: such missing cells are normal, and so are missing costs and \
          prompts that repeat under different query ids. Where a model was sampled several times, each answer is a row \
          with its own `sample`; methods that see outcomes only see the mean of the samples: of `score`, \
          `soft_score`, `cost_usd` and `latency_ms`, each over the samples that have it. Logs without the \
          columns of answers (version 1) are read as before.",
    columns: &[
        QUERY_ID,
        SPLIT,
        SOURCE,
        PROMPT,
        col("model", Text, Required, "", "Name of the model (the arm); not empty."),
        col(
            "sample",
            Int32,
            Optional,
            "number, >= 0",
            "Number of the answer among those of the model; null is 0.",
        ),
        col("variant", Text, Optional, "", "Name of the prompt template the answer was made with."),
        col("score", Float32, Nullable, "[0, 1]", "What an evaluation counts, 1 is best."),
        col("soft_score", Float32, Optional, "[0, 1]", "Graded training signal where the source has one."),
        col("cost_usd", Float64, Optional, "US dollars, >= 0", "Price of the call."),
        col("input_tokens", Int32, Optional, "tokens, >= 0", "Tokens of the request, as billed."),
        col("output_tokens", Int32, Optional, "tokens, >= 0", "Tokens of the answer, as billed."),
        col("latency_ms", Float32, Optional, "milliseconds, >= 0", "Time from request to last token."),
        col("timestamp_ms", TimestampMs, Optional, "ms since 1970-01-01 UTC", "When the query was asked."),
        col("response", Text, Optional, "", "Text of the answer."),
        col(
            "answer",
            Text,
            Optional,
            "",
            "Short answer read out of the text, e.g. `72` or `B`; null where it has none.",
        ),
        col(
            "finish",
            Text,
            Optional,
            "",
            "Why the answer ended: `stop`, `length`, `content_filter`, `tool_calls`, `error`.",
        ),
        col("logprob_mean", Float32, Optional, NATS, "Mean log-probability of the tokens of the answer."),
        col("logprob_min", Float32, Optional, NATS, "Least log-probability of a token of the answer."),
        col(
            "logprob_quantiles",
            FloatList,
            Optional,
            NATS,
            "Quantiles of the log-probabilities of the tokens at 0, .01, .02, .05, .1, .2, .., .9, 1: 14 numbers \
             that do not decrease.",
        ),
        col(
            "option_probs",
            FloatList,
            Optional,
            "[0, 1], sum <= 1",
            "Probability of each option (A, B, ..) of a multiple-choice query under the model.",
        ),
        col(
            "verifier_rate",
            Float32,
            Optional,
            "[0, 1]",
            "Share of the checks of the answer, by the model itself or another, that call it right.",
        ),
        col("reference", Text, Optional, "", "Gold answer the score was made with."),
        col(
            "failure",
            Text,
            Optional,
            "",
            "Why the call brought no answer, or its answer no score; null where neither is so.",
        ),
    ],
    key: &["query_id", "model", "sample"],
};

/// Which of two answers was preferred.
pub static PAIR: LogSchema = LogSchema {
    name: "pair log",
    doc: "One row is a judge's preference between two models' answers to one query.",
    columns: &[
        QUERY_ID,
        SPLIT,
        SOURCE,
        PROMPT,
        col("model_a", Text, Required, "", "Model of the first answer."),
        col("model_b", Text, Required, "", "Model of the second answer; another than `model_a`."),
        col("winner", Text, Required, "`a`, `b` or `tie`", "The preferred side."),
        col("judge", Text, Optional, "", "The judge, e.g. `human_1` or a model's name."),
        col(
            "weight",
            Float32,
            Optional,
            ">= 0",
            "How much the judgement counts: 1 where absent, 0 not at all.",
        ),
        col("timestamp_ms", TimestampMs, Optional, "ms since 1970-01-01 UTC", "When it was judged."),
        col("response_a", Text, Optional, "", "Text of the first answer."),
        col("response_b", Text, Optional, "", "Text of the second answer."),
    ],
    key: &["query_id", "model_a", "model_b", "judge"],
};

/// What a policy decided, with all that off-policy evaluation and replay need.
pub static DECISION: LogSchema = LogSchema {
    name: "decision log",
    doc: "One row is the decision of a policy on one request. The lists `candidates`, `propensities`, \
          `predicted_score` and `predicted_cost_usd` have the same length and order. Its outcomes \
          are in the feedback log.",
    columns: &[
        col("decision_id", Text, Required, "", "Key of the decision, unique for ever."),
        col("timestamp_ms", TimestampMs, Required, "ms since 1970-01-01 UTC", "When it was decided."),
        col("policy", Text, Required, "", "Name of the policy."),
        col("policy_version", Text, Required, "", "Version of the policy that decided."),
        col("policy_digest", Text, Required, "64 hex digits", "Digest of the policy's artifact."),
        col("featurizer_digest", Text, Optional, "64 hex digits", "Digest of the featurizer."),
        col("candidates", TextList, Required, "", "Models left after constraints."),
        col(
            "propensities",
            FloatList,
            Required,
            "[0, 1], sum 1",
            "Probability of each candidate after filters.",
        ),
        col("model", Text, Required, "", "The chosen candidate."),
        col("propensity", Float64, Required, "(0, 1]", "Probability with which it was chosen."),
        col(
            "pass_probability",
            Float32,
            Optional,
            "(0, 1]",
            "Probability that this row was kept when sampling.",
        ),
        col("seed", Int64, Required, "bits of a u64", "Seed of the draw: repeats the decision bit for bit."),
        col("predicted_score", FloatList, Optional, "[0, 1]", "Predicted score of each candidate."),
        col("predicted_cost_usd", FloatList, Optional, "US dollars", "Predicted cost of each candidate."),
        col("source", Text, Optional, "", "Source of the query, where the caller named one."),
        col("prompt", Text, Optional, "", "Text of the query, where it may be kept."),
        col("features", FloatList, Optional, "", "Features the policy saw."),
        col("objective", Text, Optional, "a JSON object", "What the request valued, where it said so."),
        col(
            "constraints",
            Text,
            Optional,
            "a JSON object",
            "What the request asked of the model, where it did.",
        ),
        col("query_text", Text, Optional, "", "Rule that made `prompt` of a request; null for a plain text."),
        col("session", Text, Optional, "", "Session or user; its decisions are resampled together."),
        col("episode_id", Text, Optional, "", "Id of the episode: the `decision_id` of its first step."),
        col(
            "step",
            Int32,
            Optional,
            "",
            "Number of the step of its episode, from 0. The candidates of a step are actions: the models called at the \
             same time, joined by `+`, or `return`. Evaluation and learning read decisions and first steps only.",
        ),
    ],
    key: &["decision_id"],
};

/// What became of decisions.
pub static FEEDBACK: LogSchema = LogSchema {
    name: "feedback log",
    doc: "One row is one outcome of one decision. Rows with an `outcome_id` seen before are the same outcome \
          delivered twice and count once.",
    columns: &[
        col("outcome_id", Text, Required, "", "Key of the outcome: makes delivery idempotent."),
        col("decision_id", Text, Required, "", "The decision it belongs to."),
        col("timestamp_ms", TimestampMs, Required, "ms since 1970-01-01 UTC", "When it was received."),
        col("kind", Text, Required, "", "What was measured, e.g. `score`, `thumb`, `error`."),
        col("value", Float64, Nullable, "[0, 1] for scores", "The measured value."),
        col("cost_usd", Float64, Optional, "US dollars, >= 0", "What was billed."),
        col("latency_ms", Float32, Optional, "milliseconds, >= 0", "Time from request to last token."),
        col(
            "source",
            Text,
            Optional,
            "",
            "Origin of the value, e.g. `user`; `default` if none was reported in time.",
        ),
        col("weight", Float32, Optional, "[0, 1]", "How far the source is trusted."),
        col("occurred_ms", TimestampMs, Optional, "ms since 1970-01-01 UTC", "When it happened."),
        col("late", Int32, Optional, "`0` or `1`", "Whether it came after the reward window."),
    ],
    key: &["outcome_id"],
};

/// How answers of several models came about.
pub static FUSION: LogSchema = LogSchema {
    name: "fusion log",
    doc: "One row is one unit (a token, a span) that several models committed to one answer, in the order they \
          wrote it; the rows of an answer are contiguous. The lists `weights` and `probabilities` have the length and \
          order of `models`. A value that belongs to the whole answer is in its first row only.",
    columns: &[
        col("answer_id", Text, Required, "", "Key of the answer; equal in all its rows."),
        col("step", Int32, Required, "units, >= 0", "Units of the answer before it."),
        col(
            "timestamp_ms",
            TimestampMs,
            Optional,
            "ms since 1970-01-01 UTC",
            "When the answer was asked for.",
        ),
        col("system", Text, Required, "", "Name of the system that fused, e.g. `gac`."),
        col("prompt", Text, Optional, "", "Literal prompt; in the first row of an answer."),
        col("answer", Text, Optional, "", "The whole answer; in its first row."),
        col("reward", Float32, Optional, "[0, 1]", "Reward of the answer, 1 is best; in its first row."),
        col("start", Int32, Required, "bytes, >= 0", "Bytes of the answer before this unit."),
        col(
            "text",
            Text,
            Required,
            "",
            "The unit; empty where the answer ended. U+FFFD for a part of a character.",
        ),
        col("models", TextList, Required, "", "The members, in order."),
        col(
            "weights",
            FloatList,
            Optional,
            "[0, 1], sum 1",
            "Weight of each member; 0 where it took no part.",
        ),
        col("probabilities", FloatList, Optional, "[0, 1]", "Probability of the unit under each member."),
        col("fused", Float32, Optional, "[0, 1]", "Its probability after fusion."),
        col("agree", TextList, Optional, "", "The members that alone would have chosen it."),
        col("winner", Text, Optional, "", "The member that wrote it, where one did."),
        col("span", Int32, Optional, "spans, >= 0", "Span it belongs to, where weights are set by span."),
        col("proposers", TextList, Optional, "", "Who wrote each of `proposals`."),
        col("proposals", TextList, Optional, "", "The texts it was chosen from, where members wrote spans."),
        col(
            "merits",
            FloatList,
            Optional,
            "",
            "What the system made of each of `proposals`, greatest is best.",
        ),
        col(
            "log_density",
            Float64,
            Optional,
            "",
            "Log-density the weights were drawn with, where they were drawn.",
        ),
        col("calls", Int64, Optional, "calls, >= 0", "Calls of all models until it was chosen."),
        col("micros", Int64, Optional, "microseconds, >= 0", "Time since the prompt was handed over."),
    ],
    key: &["answer_id", "step"],
};

/// Prompts with the answers that count as right.
pub static TASK: LogSchema = LogSchema {
    name: "task list",
    doc: "One row is a prompt with its answer: what fusion is trained and judged on.",
    columns: &[
        col("task_id", Text, Required, "", "Key of the task."),
        SPLIT,
        SOURCE,
        PROMPT,
        col("reference", Text, Required, "", "The right answer."),
        col("skills", TextList, Optional, "", "What its parts ask for, in order, where that is known."),
    ],
    key: &["task_id"],
};

/// What each model would have said next, and whether it was right: an outcome log of token routers.
pub static TOKEN: LogSchema = LogSchema {
    name: "token log",
    doc: "An outcome log whose queries are states of partial answers: one row is whether the next token of one \
          model is right. It is read as any outcome log, with `--features column:features`.",
    columns: &[
        QUERY_ID,
        SPLIT,
        SOURCE,
        PROMPT,
        col("model", Text, Required, "", "Name of the model (the arm); not empty."),
        col("score", Float32, Nullable, "[0, 1]", "1 where it is right, or leads to the right answer."),
        col(
            "features",
            FloatList,
            Required,
            "",
            "The state as the router sees it, equal in all rows of a query.",
        ),
    ],
    key: &["query_id", "model"],
};

/// Every kind of log, in the order of the documentation.
pub static ALL: &[&LogSchema] = &[&OUTCOME, &PAIR, &DECISION, &FEEDBACK, &FUSION, &TASK, &TOKEN];

/// The text of `docs/formats.md`.
pub fn render_markdown() -> String {
    let mut out = String::from(
        "# Formats\n\n\
         Made from `data/src/schema.rs`; `ROUTEWRIGHT_REGENERATE=1 cargo test` regenerates it.\n\n\
         Every log is a Parquet file, or a directory of such files read in the order of their names. Columns \
         may be in any order, and further columns are allowed. A column of type null (all of its cells \
         are missing) counts as absent; so does one that is null in some of the files. Parquet compression may be \
         zstd, snappy, gzip, lz4 or none.\n\n\
         A table of other columns, types or ranges becomes a log by `routewright data import` \
         ([importing](importing.md)).\n",
    );
    let rules: Vec<String> = QueryText::ALL.iter().map(|rule| format!("`{rule}`")).collect();
    let _ = writeln!(
        out,
        "\nA log whose prompts were made from requests names the rule in the Parquet metadata of every file, under \
         `{LOG_KEY}`: one of {} ([importing](importing.md#the-text-of-a-query)). `data split` keeps it, `train` \
         writes it into the artifact, and files of two rules are not read as one log.",
        rules.join(", ")
    );
    for schema in ALL {
        let mut title = schema.name.to_owned();
        title[..1].make_ascii_uppercase();
        let key: Vec<String> = schema.key.iter().map(|name| format!("`{name}`")).collect();
        let _ = write!(out, "\n## {title}\n\n{}\n\nKey: {}.\n\n", schema.doc, key.join(", "));
        out.push_str("| column | type | need | unit or range | meaning |\n|---|---|---|---|---|\n");
        for c in schema.columns {
            let written = c.dtype.written();
            let _ =
                writeln!(out, "| `{}` | {written} | {} | {} | {} |", c.name, c.need.word(), c.unit, c.doc);
        }
    }
    out.push_str("\n## Types that are read\n\n| written as | read from |\n|---|---|\n");
    for dtype in [Text, Float32, Int32, TimestampMs, FloatList, TextList] {
        let stamp = if dtype == TimestampMs { " (time)" } else { "" };
        let _ = writeln!(out, "| {}{stamp} | {} |", dtype.written(), dtype.accepted());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_is_made_from_the_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/formats.md");
        let rendered = render_markdown();
        if std::env::var_os("ROUTEWRIGHT_REGENERATE").is_some() {
            crate::files::write_file(std::path::Path::new(path), rendered.as_bytes()).unwrap();
        }
        let found = std::fs::read_to_string(path).unwrap_or_default();
        assert!(found == rendered, "docs/formats.md is stale: run the tests with ROUTEWRIGHT_REGENERATE=1");
    }

    #[test]
    fn every_written_type_is_accepted_and_every_key_is_a_column() {
        for schema in ALL {
            for column in schema.columns {
                assert!(column.dtype.accepts(&column.dtype.arrow()), "{}", column.name);
            }
            assert!(schema.key.iter().all(|name| schema.column(name).is_some()));
        }
        assert!(!ColumnType::Float32.accepts(&DataType::Utf8));
    }
}
