//! Requests longer than a model's window, told by the words of the error: each vendor has its own.

/// What an error says of a window that is too small.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Overflow {
    /// Tokens the request has by the server's count; None where it is not said.
    pub asked: Option<u64>,
    /// Tokens the window has; None where it is not said.
    pub window: Option<u64>,
    /// Whether the error says so; else it only looks like what servers answer that say nothing.
    pub is_said: bool,
}

/// Words of a window that is too small, and before, behind or between which the figures are.
///
/// The vendors: OpenAI's code, OpenAI, OpenRouter and vLLM, OpenAI's newer words, Anthropic, Gemini, xAI, Groq,
/// llama.cpp (twice), Bedrock, Kimi, SGLang, Together, Mistral, MiniMax.
const WORDS: [&str; 15] = [
    "context_length_exceeded",
    "maximum context length",
    "exceeds the context window",
    "prompt is too long",
    "exceeds the maximum number of tokens allowed",
    "maximum prompt length is",
    "reduce the length of the messages",
    "exceeds the available context size",
    "exceed_context_size_error",
    "input is too long for requested model",
    "exceeded model token limit",
    "longer than the model's context length",
    "must be <= ",
    "too large for model with",
    "context window exceeds limit",
];

/// Whether these words tell of a window that is too small, and the figures in them.
pub(super) fn overflow(code: &str, message: &str) -> Option<Overflow> {
    let words = format!("{code} {message}").to_lowercase();
    let found = WORDS.iter().find(|known| words.contains(**known))?;
    // "`inputs` tokens + `max_new_tokens` must be <= 4096" alone, not any bound of any parameter.
    if *found == "must be <= " && !words.contains("tokens") {
        return None;
    }
    let message = message.to_lowercase();
    let window = [
        "maximum context length is ",
        "maximum context length of ",
        "tokens allowed (",
        "tokens > ",
        "maximum prompt length is ",
        "available context size (",
        "token limit: ",
        "must be <= ",
        "window of ",
        "context length (",
        "maximum context length ",
    ]
    .iter()
    .find_map(|before| behind(&message, before));
    let asked = [
        "input token count (",
        "prompt is too long: ",
        "you requested ",
        "resulted in ",
        "requested: ",
        "input token count of ",
        "given: ",
        "the request contains ",
        "however, you requested ",
        "your request has ",
        "the input (",
        "input contains ",
        "the request (",
        "prompt contains ",
        "request (",
        "contains at least ",
    ]
    .iter()
    .find_map(|before| behind(&message, before));
    Some(Overflow { asked, window, is_said: true })
}

/// The number behind these words, which may have commas between its digits.
fn behind(message: &str, before: &str) -> Option<u64> {
    let (_, rest) = message.split_once(before)?;
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != ',').unwrap_or(rest.len());
    let digits: String = rest[..end].chars().filter(char::is_ascii_digit).collect();
    digits.parse().ok().filter(|number| *number > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts as users of each vendor report them.
    #[test]
    fn texts_of_the_vendors() {
        let cases = [
            (
                "context_length_exceeded",
                "This model's maximum context length is 128000 tokens. Your messages resulted in 140025 tokens.",
                (Some(140_025), Some(128_000)),
            ),
            (
                "",
                "This endpoint's maximum context length is 131072 tokens. However, you requested about 150000",
                (None, Some(131_072)),
            ),
            (
                "",
                "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens (4000 in the ",
                (Some(5000), Some(4096)),
            ),
            (
                "context_length_exceeded",
                "Your input exceeds the context window of this model. Please adjust",
                (None, None),
            ),
            (
                "invalid_request_error",
                "prompt is too long: 213462 tokens > 200000 maximum",
                (Some(213_462), Some(200_000)),
            ),
            (
                "INVALID_ARGUMENT",
                "The input token count (1196265) exceeds the maximum number of tokens allowed (1048575).",
                (Some(1_196_265), Some(1_048_575)),
            ),
            (
                "",
                "This model's maximum prompt length is 131072 but the request contains 537812 tokens.",
                (Some(537_812), Some(131_072)),
            ),
            ("", "Please reduce the length of the messages or completion.", (None, None)),
            (
                "exceed_context_size_error",
                "the request (16000 tokens) exceeds the available context size (8,192 tokens), try increasing it",
                (Some(16_000), Some(8192)),
            ),
            ("ValidationException", "Input is too long for requested model.", (None, None)),
            (
                "",
                "Invalid request: Your request exceeded model token limit: 131072 (requested: 150000)",
                (Some(150_000), Some(131_072)),
            ),
            (
                "",
                "`inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000 `inputs` tokens",
                (Some(5000), Some(4096)),
            ),
        ];
        for (code, message, expected) in cases {
            let found = overflow(code, message).unwrap_or_else(|| panic!("{message}"));
            assert_eq!(
                (found.asked, found.window, found.is_said),
                (expected.0, expected.1, true),
                "{message}"
            );
        }
        for other in ["max_tokens is too large", "top_p must be <= 1", "Rate limit reached", "", "context"] {
            assert_eq!(overflow("invalid_request_error", other), None, "{other}");
        }
    }
}
