//! Tokens and log-probabilities as a server sends them: arrays of objects, of arrays, of numbers, or objects by token.

use super::dialect::Rows;
use serde_json::Value;

/// One token.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Its id, where the server says it.
    pub id: Option<u32>,
    /// Its bytes; `None` where only a lossy text is given.
    pub bytes: Option<Vec<u8>>,
    /// It was shown as a marked id, so that its bytes are those of the vocabulary.
    pub marked: bool,
    /// Natural log-probability; `None` where the server leaves it open.
    pub log_prob: Option<f32>,
}

impl Rows {
    /// The rows of a reply; `None` where it has none. `asked` are the ids of the prompt, where rows are asked by id.
    ///
    /// # Errors
    /// If they are not what the dialect says.
    pub fn read(&self, reply: &Value, mark: Option<&str>, asked: &[u32]) -> Result<Option<Vec<Row>>, String> {
        let (rows, beside) = (reply.pointer(&self.at), self.log_probs.as_ref().map(|at| reply.pointer(at)));
        match rows {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Object(rows)) => {
                let row = |(token, value)| self.row(Some(token), value, value, mark);
                rows.iter().map(row).collect::<Result<_, _>>().map(Some)
            }
            Some(Value::Array(rows)) => {
                let beside = match beside {
                    Some(Some(Value::Array(beside))) if beside.len() == rows.len() => beside,
                    Some(_) => {
                        return Err(format!(
                            "its {} tokens at `{}` have other log-probabilities",
                            rows.len(),
                            self.at
                        ));
                    }
                    None => rows,
                };
                let row = |(at, (row, beside)): (usize, (&Value, &Value))| match asked.get(at) {
                    Some(id) if self.log_prob.contains("{id}") => {
                        let place = self.log_prob.replace("{id}", &id.to_string());
                        let log_prob = log_prob(row.pointer(&place))?;
                        Ok(Row { id: Some(*id), bytes: None, marked: false, log_prob })
                    }
                    _ => self.row(None, row, beside, mark),
                };
                rows.iter().zip(beside).enumerate().map(row).collect::<Result<_, _>>().map(Some)
            }
            Some(other) => {
                Err(format!("at `{}` it has `{}`; a list of tokens is accepted", self.at, short(other)))
            }
        }
    }

    fn row(
        &self,
        key: Option<&String>,
        row: &Value,
        beside: &Value,
        mark: Option<&str>,
    ) -> Result<Row, String> {
        let place = |at: &Option<String>| at.as_ref().and_then(|at| row.pointer(at));
        let token = key.map(String::as_str).or_else(|| place(&self.token)?.as_str());
        let marked = mark.and_then(|mark| token?.strip_prefix(mark)?.parse().ok());
        let id = marked.or_else(|| u32::try_from(place(&self.id)?.as_u64()?).ok());
        let told = place(&self.bytes).and_then(|bytes| serde_json::from_value::<Vec<u8>>(bytes.clone()).ok());
        let bytes = match marked {
            // Beside a mark vLLM sends the bytes of the mark itself.
            Some(_) => None,
            None => bytes(token, told),
        };
        let log_prob = log_prob(beside.pointer(&self.log_prob))?;
        Ok(Row { id, bytes, marked: marked.is_some(), log_prob })
    }
}

/// The bytes of a token that is shown as `token`, with the bytes `told` sent beside it.
fn bytes(token: Option<&str>, told: Option<Vec<u8>>) -> Option<Vec<u8>> {
    // What cannot be shown is shown as U+FFFD; bytes sent beside it may be those of the mark or the token's own.
    let is_lossy = token.is_some_and(|text| text.contains('\u{fffd}'));
    match (told, token) {
        (Some(told), Some(text)) if is_lossy && told == text.as_bytes() => None,
        (Some(told), _) => Some(told),
        (None, Some(text)) if !is_lossy => Some(escaped(text).unwrap_or_else(|| text.as_bytes().to_vec())),
        (None, _) => None,
    }
}

/// The bytes of `bytes:\xe2\x80`, which is how OpenAI's completions show a part of a character.
fn escaped(text: &str) -> Option<Vec<u8>> {
    let escapes = text.strip_prefix("bytes:\\x")?.split("\\x");
    escapes.map(|hex| u8::from_str_radix(hex, 16).ok().filter(|_| hex.len() == 2)).collect()
}

/// Greatest number that is taken for a log-probability.
const LOG_PROB_MAX: f64 = 0.01;

/// A log-probability; `null` is one that is left open.
fn log_prob(value: Option<&Value>) -> Result<Option<f32>, String> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_f64() {
            // Rounding may leave the logarithm of 1 a little above 0.
            Some(number) if number <= LOG_PROB_MAX => Ok(Some(number as f32)),
            Some(number) => Err(format!("log-probability `{number}` is above 0")),
            None => Err(format!("log-probability `{}` is no number", short(value))),
        },
    }
}

fn short(value: &Value) -> String {
    value.to_string().chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backends::http::dialect::Dialect;
    use serde_json::json;

    fn next(dialect: &str, reply: &Value) -> Result<Option<Vec<Row>>, String> {
        let dialect = Dialect::find(dialect).unwrap();
        dialect.next.as_ref().unwrap().read(reply, dialect.mark(), &[])
    }

    #[test]
    fn candidates_are_read_from_every_shape() {
        let a =
            |id, log_prob| Row { id, bytes: Some(b" a".to_vec()), marked: false, log_prob: Some(log_prob) };
        let by_text = json!({"choices": [{"logprobs": {"top_logprobs": [{" a": -0.5}]}}]});
        assert_eq!(next("openai", &by_text).unwrap().unwrap(), [a(None, -0.5)]);
        let by_mark = json!({"choices": [{"logprobs": {"top_logprobs": [{"token_id:7": -0.5}]}}]});
        let row = Row { id: Some(7), bytes: None, marked: true, log_prob: Some(-0.5) };
        assert_eq!(next("vllm", &by_mark).unwrap().unwrap(), [row]);
        let arrays = json!({"meta_info": {"output_top_logprobs": [[[-0.5, 7, " a"], [-1.0, 8, null]]]}});
        let second = Row { id: Some(8), bytes: None, marked: false, log_prob: Some(-1.0) };
        assert_eq!(next("sglang", &arrays).unwrap().unwrap(), [a(Some(7), -0.5), second]);
        let lossy = json!({"id": 9, "token": "\u{fffd}", "bytes": [195], "logprob": -2.0});
        let bytes = json!({"completion_probabilities": [{"top_logprobs": [lossy]}]});
        let row = Row { id: Some(9), bytes: Some(vec![195]), marked: false, log_prob: Some(-2.0) };
        assert_eq!(next("llama-cpp", &bytes).unwrap().unwrap(), [row]);
    }

    #[test]
    fn bytes_that_are_lost_are_none_and_those_told_are_kept() {
        let lost = "\u{fffd}".as_bytes().to_vec();
        for (token, told, expected) in [
            (Some("\u{fffd}"), Some(lost.clone()), None),
            (Some("\u{fffd}"), Some(vec![0xf0, 0x9f]), Some(vec![0xf0, 0x9f])),
            (Some("\u{fffd}"), None, None),
            (Some("a"), None, Some(b"a".to_vec())),
            (Some("bytes:\\xf0\\x9f"), None, Some(vec![0xf0, 0x9f])),
            (Some("bytes:\\xf0 "), None, Some(b"bytes:\\xf0 ".to_vec())),
            (None, Some(vec![1]), Some(vec![1])),
        ] {
            assert_eq!(bytes(token, told.clone()), expected, "{token:?} {told:?}");
        }
        // vLLM sends the bytes of the mark.
        let row = json!({"token": "token_id:432", "logprob": -0.1, "bytes": "token_id:432".as_bytes()});
        let reply = json!({"choices": [{"logprobs": {"content": [{"top_logprobs": [row]}]}}]});
        let row = Row { id: Some(432), bytes: None, marked: true, log_prob: Some(-0.1) };
        assert_eq!(next("vllm-chat", &reply).unwrap().unwrap(), [row]);
    }

    #[test]
    fn what_is_missing_is_none_and_what_is_no_number_is_named() {
        assert_eq!(next("openai", &json!({"choices": [{"logprobs": null}]})).unwrap(), None);
        let text = json!({"choices": [{"logprobs": {"top_logprobs": [{"a": "high"}]}}]});
        assert!(next("openai", &text).unwrap_err().contains("`\"high\"`"));
        for (p, said) in [("1e300", "above 0"), ("0.5", "above 0")] {
            let text = format!("{{\"choices\":[{{\"logprobs\":{{\"top_logprobs\":[{{\"a\":{p}}}]}}}}]}}");
            assert!(next("openai", &serde_json::from_str(&text).unwrap()).unwrap_err().contains(said), "{p}");
        }
        let number = json!({"choices": [{"logprobs": {"top_logprobs": [3]}}]});
        assert!(next("openai", &number).unwrap_err().contains("`3`"));
    }

    #[test]
    fn a_prompt_is_scored_by_id_or_by_the_array_beside() {
        let vllm = Dialect::find("vllm").unwrap().prompt.as_ref().unwrap();
        let second = json!({"5": {"logprob": -1.5, "rank": 2}, "6": {"logprob": -0.1}});
        let reply = json!({"choices": [{"prompt_logprobs": [null, second]}]});
        let rows = vllm.read(&reply, None, &[1, 5]).unwrap().unwrap();
        assert_eq!(rows.iter().map(|row| row.log_prob).collect::<Vec<_>>(), [None, Some(-1.5)]);
        let echo = Dialect::find("llama-cpp-python").unwrap().prompt.as_ref().unwrap();
        let reply =
            json!({"choices": [{"logprobs": {"tokens": ["a", "b"], "token_logprobs": [null, -2.0]}}]});
        assert_eq!(echo.read(&reply, None, &[]).unwrap().unwrap()[1].log_prob, Some(-2.0));
        let reply = json!({"choices": [{"logprobs": {"tokens": ["a", "b"], "token_logprobs": [-2.0]}}]});
        assert!(echo.read(&reply, None, &[]).is_err());
    }
}
