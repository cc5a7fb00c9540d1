//! The columns of an answer beyond its text: short answer, why it ended, log-probabilities, samples.
//!
//! They are read from fields of our names or mapped ones; what a provider's reply says in its own place is
//! taken where the record has no such field: `finish_reason` (OpenAI), `stop_reason` (Anthropic), `finishReason`
//! (Gemini), `status` and `incomplete_details` (Responses API), and the log-probabilities of tokens in `logprobs` (chat
//! completions, completions, Responses API).

use super::ImportError;
use super::mapping::Mapping;
use super::messages::parsed;
use super::record::Record;
use crate::answers::confidence::{LISTS, TokenConfidence};
use crate::log::OutcomeRow;
use serde_json::Value;

/// Reads the columns of answers that the record has as fields.
pub(super) fn read_answer(
    row: &mut OutcomeRow,
    record: &Record,
    mapping: &Mapping<'_>,
) -> Result<(), ImportError> {
    let field = |column: &'static str| mapping.field(column, column);
    let number = |column| record.number(field(column)).map(|number| number.map(|v| v as f32));
    row.sample = record.count(field("sample"))?;
    row.variant = record.text(field("variant"))?;
    row.answer = record.text(field("answer"))?;
    row.finish = record.text(field("finish"))?;
    row.failure = record.text(field("failure"))?;
    row.logprob_mean = number("logprob_mean")?;
    row.logprob_min = number("logprob_min")?;
    row.logprob_quantiles = record.numbers(field("logprob_quantiles"))?;
    row.option_probs = record.numbers(field("option_probs"))?;
    row.verifier_rate = number("verifier_rate")?;
    Ok(())
}

/// Adds what a provider's reply says of why it ended and of its tokens, where the row has it not.
pub(super) fn complete_answer(row: &mut OutcomeRow, response: &Value) {
    let response = parsed(response);
    if row.finish.is_none() {
        row.finish = finish(&response);
    }
    let is_known = row.logprob_mean.is_some() || row.logprob_min.is_some() || row.logprob_quantiles.is_some();
    if is_known {
        return;
    }
    if let Some(tokens) = TokenConfidence::of(&token_logprobs(&response)) {
        (row.logprob_mean, row.logprob_min) = (Some(tokens.mean), Some(tokens.min));
        row.logprob_quantiles = Some(tokens.quantiles.to_vec());
    }
}

/// Checks the ranges of the columns of answers; the reason names column, value and what is accepted.
pub(super) fn check_answer(row: &OutcomeRow) -> Result<(), String> {
    for (name, value) in [("logprob_mean", row.logprob_mean), ("logprob_min", row.logprob_min)] {
        if let Some(value) = value.filter(|value| !(value.is_finite() && *value <= 0.0)) {
            return Err(format!("{name} `{value}` is not valid; expected a finite number <= 0, in nats"));
        }
    }
    if let Some(rate) = row.verifier_rate.filter(|rate| !(0.0..=1.0).contains(rate)) {
        return Err(format!("verifier_rate `{rate}` is not valid; expected a number in [0, 1]"));
    }
    let lists = [&row.logprob_quantiles, &row.option_probs];
    let checks = LISTS.iter().map(|(_, check)| check);
    lists
        .into_iter()
        .zip(checks)
        .try_for_each(|(list, check)| list.as_ref().map_or(Ok(()), |list| check(list)))
}

/// The first choice, message or part of a reply; the reply itself where it has none.
fn choice(response: &Value) -> &Value {
    let first = |name: &str| response.get(name).and_then(|items| items.get(0));
    let own =
        || response.as_array().and_then(|items| items.iter().find(|item| item.get("message").is_some()));
    first("choices").or_else(|| first("candidates")).or_else(own).unwrap_or(response)
}

/// Why a reply ended, in the words of the log; those of Anthropic, Gemini and the Responses API are translated, others
/// are kept in lower case.
fn finish(response: &Value) -> Option<String> {
    let choice = choice(response);
    let named = ["finish_reason", "stop_reason", "finishReason"];
    let reason = named.iter().find_map(|name| choice.get(*name)?.as_str());
    let incomplete = response.get("incomplete_details").and_then(|details| details.get("reason")?.as_str());
    // Only a reply of the Responses API has both; the status of a job is not why an answer ended.
    let status = response.get("output").and_then(|_| response.get("status")?.as_str());
    let word = reason.or(incomplete).or(status)?.to_lowercase();
    Some(match word.as_str() {
        "end_turn" | "stop_sequence" | "completed" => "stop".to_owned(),
        "max_tokens" | "max_output_tokens" | "model_context_window_exceeded" => "length".to_owned(),
        "tool_use" | "function_call" => "tool_calls".to_owned(),
        "safety" | "refusal" | "prohibited_content" => "content_filter".to_owned(),
        "failed" => "error".to_owned(),
        _ => word,
    })
}

/// Log-probabilities of the tokens of a reply, in their order; none where it has them not. Providers that round report
/// certain tokens slightly above 0: they count as 0.
fn token_logprobs(response: &Value) -> Vec<f32> {
    let number = |value: &Value| value.as_f64().map(|v| v.min(0.0) as f32);
    let of_objects = |items: &Value| {
        let items = items.as_array().into_iter().flatten();
        items.filter_map(|item| number(item.get("logprob")?)).collect::<Vec<f32>>()
    };
    if let Some(logprobs) = choice(response).get("logprobs") {
        let plain = logprobs.get("token_logprobs").and_then(Value::as_array).into_iter().flatten();
        let plain: Vec<f32> = plain.filter_map(number).collect();
        return if plain.is_empty() {
            of_objects(logprobs.get("content").unwrap_or(logprobs))
        } else {
            plain
        };
    }
    let output = response.get("output").and_then(Value::as_array).into_iter().flatten();
    let parts = output.filter_map(|item| item.get("content")?.as_array()).flatten();
    parts.filter_map(|part| part.get("logprobs")).flat_map(of_objects).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn completed(response: Value) -> OutcomeRow {
        let mut row = OutcomeRow::default();
        complete_answer(&mut row, &response);
        row
    }

    #[test]
    fn replies_of_every_provider_keep_why_they_ended_and_their_tokens() {
        let chat = completed(json!({"choices": [{
            "message": {"content": "4"}, "finish_reason": "length",
            "logprobs": {"content": [{"token": "4", "logprob": -0.5}, {"token": ".", "logprob": -1.5}]},
        }]}));
        assert_eq!(
            (chat.finish.as_deref(), chat.logprob_mean, chat.logprob_min),
            (Some("length"), Some(-1.0), Some(-1.5))
        );
        // 14 levels of two tokens: the median is at level .5, and the ends are the tokens themselves.
        let quantiles = chat.logprob_quantiles.unwrap();
        assert_eq!((quantiles[0], quantiles[8], quantiles[13]), (-1.5, -1.0, -0.5));
        let text = completed(json!({"choices": [{"text": "4", "finish_reason": "stop",
            "logprobs": {"token_logprobs": [null, -2.0, 1e-9]}}]}));
        assert_eq!((text.finish.as_deref(), text.logprob_mean), (Some("stop"), Some(-1.0)));
        let anthropic = completed(json!({"type": "message", "content": [{"type": "text", "text": "4"}],
            "stop_reason": "end_turn"}));
        assert_eq!((anthropic.finish.as_deref(), anthropic.logprob_mean), (Some("stop"), None));
        let gemini = completed(json!({"candidates": [{"content": {}, "finishReason": "MAX_TOKENS"}]}));
        assert_eq!(gemini.finish.as_deref(), Some("length"));
        let responses =
            completed(json!({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"},
            "output": [{"content": [{"text": "4", "logprobs": [{"logprob": -0.25}]}]}]}));
        assert_eq!((responses.finish.as_deref(), responses.logprob_min), (Some("length"), Some(-0.25)));
        assert_eq!(completed(json!("4")), OutcomeRow::default());
        assert_eq!(completed(json!({"status": "done", "text": "4"})), OutcomeRow::default());
    }
}
