//! What a model answered, as the journal keeps it.

use crate::dialect::Dialect;
use crate::dialect::bill::Tariff;
use crate::dialect::json::Value as Scanned;
use crate::dialect::usage::Counts;
use routewright_data::answers::confidence::TokenConfidence;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Letters of options, A to J.
const LETTERS: usize = 10;

/// An answer of a model.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Reply {
    pub(super) text: String,
    /// Why it ended, in the words of the log.
    pub(super) finish: Option<String>,
    pub(super) input_tokens: Option<u64>,
    pub(super) output_tokens: Option<u64>,
    /// Price in nano-USD; `None` where the model has no prices or its server counted nothing.
    pub(super) nano_usd: Option<u64>,
    pub(super) latency_ms: f64,
    /// When it was asked, milliseconds since 1970.
    pub(super) at_ms: i64,
    /// Mean and least log-probability of its tokens, and their quantiles.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) logprob_mean: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) logprob_min: Option<f32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) logprob_quantiles: Vec<f32>,
    /// Probabilities of the letters A to J where the answer first names one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) letters: Vec<f32>,
}

impl Reply {
    /// The answer of a reply in the shape of chat.
    pub(super) fn of_chat(body: &Value) -> Self {
        let choice = &body["choices"][0];
        let finish = choice["finish_reason"].as_str().map(|reason| finish(reason).to_owned());
        let mut reply = Self { text: content(&choice["message"]["content"]), finish, ..Self::default() };
        reply.read_logprobs(&choice["logprobs"]);
        reply
    }

    /// Takes in what the server counted, in its own dialect.
    pub(super) fn count(&mut self, reply: Scanned<'_>, dialect: Dialect, tariff: Option<&Tariff>) {
        let Some(counts) = Counts::of_reply(reply) else { return };
        let usage = counts.settle(dialect);
        self.input_tokens = counts.has_input().then(|| usage.input());
        self.output_tokens = counts.has_output().then_some(usage.output);
        if counts.has_input() && counts.has_output() {
            self.nano_usd = tariff.map(|tariff| tariff.bill(&usage));
        }
    }

    fn read_logprobs(&mut self, told: &Value) {
        let tokens = told["content"].as_array().map(Vec::as_slice).unwrap_or_default();
        let of_tokens = tokens.iter().filter_map(|token| token["logprob"].as_f64());
        let old = told["token_logprobs"].as_array().map(Vec::as_slice).unwrap_or_default();
        let logprobs: Vec<f32> = of_tokens
            .chain(old.iter().filter_map(Value::as_f64))
            // Rounding makes some a little more than certain.
            .map(|value| value.min(0.0) as f32)
            .collect();
        self.keep_logprobs(&logprobs);
        let named = (0..tokens.len()).filter(|at| is_named(tokens, *at));
        self.letters = named.filter_map(|at| letters(&tokens[at])).next().unwrap_or_default();
    }

    /// Keeps what a log keeps of log-probabilities.
    pub(super) fn keep_logprobs(&mut self, logprobs: &[f32]) {
        if let Some(confidence) = TokenConfidence::of(logprobs) {
            (self.logprob_mean, self.logprob_min) = (Some(confidence.mean), Some(confidence.min));
            self.logprob_quantiles = confidence.quantiles.to_vec();
        }
    }

    /// The probabilities of the first `n` options, where the model told them.
    pub(super) fn option_probs(&self, n: usize) -> Option<Vec<f32>> {
        let probs: Vec<f32> = self.letters.iter().take(n).copied().collect();
        let sum: f32 = probs.iter().sum();
        // A sum above 1 is rounding.
        let scale = sum.max(1.0);
        (probs.len() == n && sum > 0.0).then(|| probs.iter().map(|p| p / scale).collect())
    }
}

/// The letter a token is, spaces and brackets aside.
fn letter(token: &Value) -> Option<usize> {
    let text = token["token"].as_str()?.trim_matches([' ', '(', ')', '\u{2581}', '\u{120}', '*', '\n']);
    let [byte @ b'A'..=b'J'] = text.as_bytes() else { return None };
    Some(usize::from(byte - b'A'))
}

/// Whether a token that is a letter names an option: a word that follows makes it an article, `A fruit`.
fn is_named(tokens: &[Value], at: usize) -> bool {
    let after = tokens.get(at + 1).and_then(|token| token["token"].as_str()).unwrap_or_default();
    let word = after.trim_start_matches([' ', '\u{2581}', '\u{120}']);
    letter(&tokens[at]).is_some() && !word.starts_with(char::is_alphabetic)
}

/// Probabilities of the letters at a token that is one of them.
fn letters(token: &Value) -> Option<Vec<f32>> {
    letter(token)?;
    let mut probs = vec![0.0_f32; LETTERS];
    for other in token["top_logprobs"].as_array()? {
        if let (Some(at), Some(logprob)) = (letter(other), other["logprob"].as_f64()) {
            probs[at] += logprob.min(0.0).exp() as f32;
        }
    }
    Some(probs)
}

/// The text of a message: a text, or the texts among its parts.
fn content(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
        _ => String::new(),
    }
}

/// The reason an answer ended for, in the words of the log.
fn finish(reason: &str) -> &str {
    match reason {
        "eos" | "eos_token" | "end_turn" | "stop_sequence" | "STOP" => "stop",
        "max_tokens" | "MAX_TOKENS" => "length",
        "function_call" | "tool_use" => "tool_calls",
        "refusal" | "SAFETY" => "content_filter",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn text_finish_and_log_probabilities_are_read() {
        let token = |token: &str, logprob: f64, top: &[(&str, f64)]| {
            let top: Vec<Value> = top.iter().map(|(t, l)| json!({"token": t, "logprob": l})).collect();
            json!({"token": token, "logprob": logprob, "top_logprobs": top})
        };
        let tokens = [
            token(" A", -0.25, &[(" A", -0.25)]),
            token("The", -0.5, &[("The", -0.5), ("A", -1.0)]),
            token(
                " B",
                -0.25,
                &[(" B", 0.5_f64.ln()), ("B", 0.25_f64.ln()), (" A", 0.125_f64.ln()), ("x", -9.0)],
            ),
        ];
        let body = json!({"choices": [{
            "message": {"content": " AThe B"}, "finish_reason": "end_turn", "logprobs": {"content": tokens},
        }]});
        let reply = Reply::of_chat(&body);
        assert_eq!((reply.text.as_str(), reply.finish.as_deref()), (" AThe B", Some("stop")));
        assert_eq!((reply.logprob_mean, reply.logprob_min), (Some(-1.0 / 3.0), Some(-0.5)));
        assert_eq!(reply.logprob_quantiles.len(), 14);
        let probs = reply.option_probs(4).unwrap();
        assert!((probs[1] - 0.75).abs() < 1e-6 && (probs[0] - 0.125).abs() < 1e-6, "{probs:?}");
        let kept: Reply = serde_json::from_str(&serde_json::to_string(&reply).unwrap()).unwrap();
        assert_eq!(kept, reply);
    }

    #[test]
    fn what_a_server_leaves_out_is_not_made_up() {
        for body in [json!({}), json!({"choices": [{"message": {"content": null}, "logprobs": null}]})] {
            let reply = Reply::of_chat(&body);
            assert_eq!(reply, Reply::default());
            assert_eq!(reply.option_probs(4), None);
        }
        let body =
            json!({"choices": [{"message": {"content": [{"type": "text", "text": "a"}, {"text": "b"}]}}]});
        assert_eq!(Reply::of_chat(&body).text, "ab");
    }
}
