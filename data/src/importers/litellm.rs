//! LiteLLM's spend logs (table `LiteLLM_SpendLogs`, its export or its API): what was asked and what it cost.
//!
//! They hold no scores: map one (`score=metadata.grade`, `score=request_tags.0`) or leave the cells missing.
//! Left out and counted: requests whose text was not stored (the proxy stores it only with
//! `store_prompts_in_spend_logs`), was cut or redacted; failed requests; calls that complete nothing, such as
//! embeddings.
//! Of an answer from the cache, cost and latency are missing: they are not the model's.

use super::chat::{PLAIN, Shape, import};
use super::messages::asked;
use super::record::Record;
use super::{ImportError, ImportOptions, ImportSummary, Importer};
use std::path::{Path, PathBuf};

pub(super) const ROW: Importer = Importer {
    name: "litellm",
    title: "LiteLLM spend logs: model, spend, tokens, startTime, endTime, messages, response",
    log: "outcome log",
    run,
};

const SHAPE: Shape = Shape {
    cost_usd: &["spend"],
    input_tokens: &["prompt_tokens"],
    output_tokens: &["completion_tokens"],
    latency: &[],
    timestamp_ms: &["startTime"],
    end: &["endTime"],
    score: &["score"],
    split: &["split"],
    source: &["source"],
    ..PLAIN
};

/// Types of calls in which a model writes a text, each also with `a` before it, for asynchronous.
const COMPLETIONS: [&str; 6] = [
    "completion",
    "text_completion",
    "responses",
    "anthropic_messages",
    "generate_content",
    "generate_content_stream",
];
/// In place of what the proxy cut out of a long text.
const CUT: &str = "litellm_truncated";
/// In place of a text the proxy was told not to store.
const REDACTED: &str = "redacted-by-litellm";

fn is_completion(call_type: &str) -> bool {
    let plain = |name: &str| COMPLETIONS.contains(&name);
    plain(call_type) || call_type.strip_prefix('a').is_some_and(plain)
}

/// Why a record is left out before its prompt is read.
fn unwanted(record: &Record) -> Result<Option<String>, ImportError> {
    if record.text("status")?.is_some_and(|status| status == "failure") {
        return Ok(Some("failed".to_owned()));
    }
    let call_type = record.text("call_type")?.filter(|call_type| !call_type.is_empty());
    Ok(call_type.filter(|name| !is_completion(name)).map(|name| format!("of call type `{name}`")))
}

fn run(inputs: &[PathBuf], out: &Path, options: &ImportOptions) -> Result<ImportSummary, ImportError> {
    import(inputs, out, options, |record, mapping, sink| {
        if let Some(reason) = unwanted(record)? {
            sink.skip(reason);
            return Ok(());
        }
        // Where prompts are not stored, `messages` is `{}`; newer proxies keep the whole request beside it.
        let Ok(asked) = asked(record, options.map.get("prompt")) else {
            sink.skip("with messages that cannot be read");
            return Ok(());
        };
        let Some(prompt) = asked.and_then(|asked| sink.prompt(&asked)) else {
            sink.skip("without a stored prompt");
            return Ok(());
        };
        if prompt.contains(CUT) || prompt.contains(REDACTED) {
            sink.skip("with a prompt the proxy cut or redacted (`MAX_STRING_LENGTH_PROMPT_IN_DB`)");
            return Ok(());
        }
        let mut row = SHAPE.row(record, mapping, prompt)?;
        if row.response.as_ref().is_some_and(|text| text.contains(CUT) || text.contains(REDACTED)) {
            row.response = None;
            sink.summary.change("with an answer the proxy cut or redacted: it is left missing");
        }
        if record.text("cache_hit")?.is_some_and(|hit| hit.eq_ignore_ascii_case("true")) {
            (row.cost_usd, row.latency_ms) = (None, None);
            sink.summary.change("answered from the cache: cost and latency are left missing");
        }
        sink.push(record, row)
    })
}
