//! The JSON twins of fused models: chats and prompts in, completions out, whole or in pieces.

use crate::error::{ApiError, Code};
use routewright_decoder::chat::{Message as Turn, joined};
use routewright_decoder::ensemble::Ensemble;
use routewright_decoder::generation::{Answer, Ask, Finish};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// A chat to be answered. Other fields of the OpenAI API change nothing, or are refused where they would.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct ChatRequest {
    /// members with a chat template read them with their roles, others their texts, a line break between them
    #[schemars(length(min = 1))]
    messages: Vec<Message>,
    /// in place of `max_tokens`
    #[schemars(range(min = 1))]
    max_completion_tokens: Option<usize>,
    #[serde(flatten)]
    common: Common,
}

/// A prompt to be continued.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct CompletionRequest {
    prompt: Prompt,
    #[serde(flatten)]
    common: Common,
}

/// one text, also as a list of one
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
enum Prompt {
    Text(String),
    List(Vec<Value>),
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(inline, extend("additionalProperties" = true))]
struct Message {
    role: Option<String>,
    /// a text, a list of text parts, or null
    #[serde(default)]
    #[schemars(extend("type" = ["string", "array", "null"]))]
    content: Value,
    #[schemars(skip)]
    tool_calls: Option<Value>,
}

/// What both bodies have.
#[derive(Debug, Deserialize, JsonSchema)]
struct Common {
    /// `fusion/NAME`
    model: String,
    /// tokens of the answer at most, as the first member that declares a tokenizer cuts it
    #[schemars(range(min = 1))]
    max_tokens: Option<usize>,
    #[schemars(range(min = 0, max = 2))]
    temperature: Option<f32>,
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 1))]
    top_p: Option<f32>,
    /// a text or a list of texts the answer ends before
    stop: Option<Stops>,
    /// one seed, one answer; without one every answer is another draw
    seed: Option<u64>,
    #[serde(default)]
    #[schemars(extend("const" = 1))]
    n: Value,
    /// server-sent events, each a chunk; the last is `[DONE]`
    #[serde(default)]
    stream: bool,
    stream_options: Option<StreamOptions>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

/// Why an `n` other than 1 is refused.
const ONE_ANSWER: &str = "`n` must be 1: a fused model writes one answer";

/// A field, whether its value asks for nothing, and why others are refused.
type Unable = (&'static str, fn(&Value) -> bool, &'static str);

/// Fields of the OpenAI APIs that would change an answer and cannot here: the values that ask for nothing, and why
/// others are refused.
const UNABLE: [Unable; 16] = [
    ("best_of", is_one, "`best_of` must be 1: a fused model writes one answer"),
    ("logprobs", is_nothing, "fused models report no log-probabilities"),
    ("top_logprobs", is_nothing, "fused models report no log-probabilities"),
    ("echo", is_nothing, "fused models do not echo the prompt"),
    ("suffix", is_nothing, "fused models fill no gap before a `suffix`"),
    ("logit_bias", is_nothing, "fused models take no `logit_bias`: members have no common token ids"),
    ("presence_penalty", is_nothing, "fused models know no penalties; 0 is accepted"),
    ("frequency_penalty", is_nothing, "fused models know no penalties; 0 is accepted"),
    ("response_format", is_text, "fused models hold to no `response_format` but text"),
    ("tools", is_nothing, "fused models call no tools"),
    ("tool_choice", is_none, "fused models call no tools"),
    ("functions", is_nothing, "fused models call no functions"),
    ("function_call", is_none, "fused models call no functions"),
    ("modalities", is_text_only, "fused models write text alone"),
    ("audio", is_nothing, "fused models write text alone"),
    ("prediction", is_nothing, "fused models take no predicted output"),
];

/// Asks for nothing: null, false, 0, or empty.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}

fn is_one(value: &Value) -> bool {
    value.is_null() || value.as_u64() == Some(1)
}

fn is_none(value: &Value) -> bool {
    is_nothing(value) || value == "none" || value == "auto"
}

fn is_text(value: &Value) -> bool {
    is_nothing(value) || value["type"] == "text"
}

fn is_text_only(value: &Value) -> bool {
    is_nothing(value) || *value == json!(["text"])
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
enum Stops {
    One(String),
    Many(Vec<String>),
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(extend("additionalProperties" = true))]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

/// A request as the fusion needs it.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) model: String,
    pub(crate) stream: bool,
    pub(crate) with_usage: bool,
    prompt: String,
    chat: Option<Vec<Turn>>,
    max_tokens: Option<usize>,
    common: Common,
}

/// Which of the two APIs an answer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CompletionShape {
    Chat,
    Text,
}

/// What all JSON of one answer has in common.
#[derive(Debug)]
pub(crate) struct Answering {
    pub(crate) id: String,
    pub(crate) model: String,
    pub(crate) created: u64,
    pub(crate) shape: CompletionShape,
}

impl ChatRequest {
    pub(crate) fn model(&self) -> &str {
        &self.common.model
    }

    /// The messages: members with a chat template read them with their roles, others their contents with a line break
    /// between them.
    pub(crate) fn into_asked(self) -> Result<Asked, ApiError> {
        if self.messages.is_empty() {
            return Err(refuse("messages", "`messages` is empty; at least one is needed"));
        }
        let chat = self.messages.iter().map(Message::turn).collect::<Result<Vec<Turn>, ApiError>>()?;
        let max_tokens = self.max_completion_tokens.or(self.common.max_tokens);
        Asked::new(joined(&chat), Some(chat), max_tokens, self.common)
    }
}

impl Message {
    fn turn(&self) -> Result<Turn, ApiError> {
        if self.tool_calls.as_ref().is_some_and(|calls| !is_nothing(calls)) {
            return Err(refuse("messages", "a message has `tool_calls`; fused models call no tools"));
        }
        let content = match &self.content {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            Value::Array(parts) => {
                let texts: Option<Vec<&str>> = parts.iter().map(|part| part["text"].as_str()).collect();
                let texts =
                    texts.ok_or_else(|| refuse("messages", "a message has a part that is not text"))?;
                texts.join("\n")
            }
            _ => {
                let reason = "the content of a message is neither a string, a list of texts nor null";
                return Err(refuse("messages", reason));
            }
        };
        Ok(Turn { role: self.role.clone().unwrap_or_else(|| "user".to_owned()), content })
    }
}

impl CompletionRequest {
    pub(crate) fn model(&self) -> &str {
        &self.common.model
    }

    pub(crate) fn into_asked(self) -> Result<Asked, ApiError> {
        let prompt = match self.prompt {
            Prompt::Text(text) => text,
            Prompt::List(items) => match items.as_slice() {
                [Value::String(text)] => text.clone(),
                [Value::Number(_) | Value::Array(_), ..] => {
                    let reason = "`prompt` has token ids; text is accepted, since members have no common ids";
                    return Err(refuse("prompt", reason));
                }
                list => {
                    let n = list.len();
                    return Err(refuse(
                        "prompt",
                        &format!("`prompt` is a list of {n}; a list of 1 text is accepted"),
                    ));
                }
            },
        };
        Asked::new(prompt, None, self.common.max_tokens, self.common)
    }
}

impl Asked {
    fn new(
        prompt: String,
        chat: Option<Vec<Turn>>,
        max_tokens: Option<usize>,
        common: Common,
    ) -> Result<Self, ApiError> {
        if !is_one(&common.n) {
            return Err(refuse("n", ONE_ANSWER));
        }
        for (name, is_accepted, reason) in UNABLE {
            if common.others.get(name).is_some_and(|value| !is_accepted(value)) {
                return Err(refuse(name, reason));
            }
        }
        let with_usage = common.stream_options.as_ref().is_some_and(|options| options.include_usage);
        Ok(Self {
            model: common.model.clone(),
            stream: common.stream,
            with_usage,
            prompt,
            chat,
            max_tokens,
            common,
        })
    }

    /// The request within the limits of the ensemble.
    pub(crate) fn ask(&self, ensemble: &Ensemble) -> Result<Ask, ApiError> {
        let mut ask = ensemble.ask(self.prompt.as_bytes());
        ask.chat.clone_from(&self.chat);
        if let Some(max) = self.max_tokens {
            if max == 0 {
                return Err(refuse("max_tokens", "`max_tokens` is 0; at least 1 is accepted"));
            }
            ask.limits.tokens = ask.limits.tokens.min(max);
        }
        if let Some(temperature) = self.common.temperature {
            if !(0.0..=2.0).contains(&temperature) {
                return Err(refuse("temperature", "`temperature` must be in [0, 2]"));
            }
            ask.pick.temperature = temperature;
        }
        if let Some(top_p) = self.common.top_p {
            if !(top_p > 0.0 && top_p <= 1.0) {
                return Err(refuse("top_p", "`top_p` must be in (0, 1]"));
            }
            ask.pick.top_p = top_p;
        }
        match &self.common.stop {
            Some(Stops::One(stop)) => ask.limits.stop.push(stop.clone()),
            Some(Stops::Many(stops)) => ask.limits.stop.extend(stops.iter().cloned()),
            None => {}
        }
        ask.limits.stop.retain(|stop| !stop.is_empty());
        // Without a seed every answer is another draw, as callers that ask for several expect.
        ask.seed = self.common.seed.unwrap_or_else(|| getrandom::u64().unwrap_or_default());
        Ok(ask)
    }
}

impl CompletionShape {
    pub(crate) fn id_prefix(self) -> &'static str {
        match self {
            Self::Chat => "chatcmpl",
            Self::Text => "cmpl",
        }
    }
}

impl Answering {
    /// The whole answer.
    pub(crate) fn whole(&self, answer: &Answer) -> WholeBody {
        let (id, created, model) = (self.id.clone(), self.created, self.model.clone());
        let (finish_reason, usage) = (finish(answer.finish), usage(answer));
        let text = answer.text.clone();
        match self.shape {
            CompletionShape::Chat => {
                let message = MessageBody { role: "assistant", content: text };
                let choices = [ChatChoice { index: 0, message, finish_reason }];
                let object = "chat.completion";
                WholeBody::Chat(ChatCompletion { id, object, created, model, choices, usage })
            }
            CompletionShape::Text => {
                let choices = [TextChoice { index: 0, text, finish_reason }];
                let object = "text_completion";
                WholeBody::Text(Completion { id, object, created, model, choices, usage })
            }
        }
    }

    /// What is sent before the first piece.
    pub(crate) fn first_chunk(&self) -> Vec<Value> {
        match self.shape {
            CompletionShape::Chat => vec![self.delta(&json!({ "role": "assistant", "content": "" }), None)],
            CompletionShape::Text => Vec::new(),
        }
    }

    /// A piece of the answer.
    pub(crate) fn chunk(&self, piece: &str) -> Value {
        match self.shape {
            CompletionShape::Chat => self.delta(&json!({ "content": piece }), None),
            CompletionShape::Text => self.text(piece, None),
        }
    }

    /// What is sent after the last piece.
    pub(crate) fn last_chunks(&self, answer: &Answer, with_usage: bool) -> Vec<Value> {
        let finish = Some(finish(answer.finish));
        let mut chunks = vec![match self.shape {
            CompletionShape::Chat => self.delta(&json!({}), finish),
            CompletionShape::Text => self.text("", finish),
        }];
        if with_usage {
            let mut last = self.object(self.chunk_object(), Vec::new());
            last["usage"] = json!(usage(answer));
            chunks.push(last);
        }
        chunks
    }

    fn delta(&self, delta: &Value, finish: Option<&str>) -> Value {
        let choice = json!({ "index": 0, "delta": delta, "finish_reason": finish });
        self.object(self.chunk_object(), vec![choice])
    }

    fn text(&self, text: &str, finish: Option<&str>) -> Value {
        let choice = json!({ "index": 0, "text": text, "finish_reason": finish });
        self.object(self.chunk_object(), vec![choice])
    }

    fn chunk_object(&self) -> &'static str {
        match self.shape {
            CompletionShape::Chat => "chat.completion.chunk",
            CompletionShape::Text => "text_completion",
        }
    }

    fn object(&self, object: &str, choices: Vec<Value>) -> Value {
        json!({ "id": self.id, "object": object, "created": self.created, "model": self.model, "choices": choices })
    }
}

fn finish(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop => "stop",
        Finish::Length | Finish::Deadline => "length",
    }
}

/// Tokens: those of the prompt as the first member that read it cuts it, those of the answer as the first member that
/// declares a tokenizer does; by member what it did.
fn usage(answer: &Answer) -> Usage {
    let members = answer.trace.members();
    let prompt = members.iter().map(|member| member.prompt_tokens).find(|tokens| *tokens > 0).unwrap_or(0);
    let of = |member: &routewright_decoder::trace::MemberTrace| MemberUsage {
        model: member.name.clone(),
        prompt_tokens: member.prompt_tokens as u64,
        calls: member.usage.calls,
        tokens_read: member.usage.read,
        tokens_pushed: member.pushed,
        tokens_rolled_back: member.rolled_back,
    };
    Usage {
        prompt_tokens: prompt as u64,
        completion_tokens: answer.tokens as u64,
        total_tokens: (prompt + answer.tokens) as u64,
        members: members.iter().map(of).collect(),
    }
}

/// A whole answer, in the shape of the API that was asked.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum WholeBody {
    Chat(ChatCompletion),
    Text(Completion),
}

/// An answer to a chat.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct ChatCompletion {
    id: String,
    #[schemars(extend("const" = "chat.completion"))]
    object: &'static str,
    /// seconds since 1970
    created: u64,
    model: String,
    choices: [ChatChoice; 1],
    usage: Usage,
}

/// The one answer to a chat.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(inline, deny_unknown_fields)]
struct ChatChoice {
    index: u64,
    message: MessageBody,
    #[schemars(extend("enum" = ["stop", "length"]))]
    finish_reason: &'static str,
}

/// What a fused model says.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(inline, deny_unknown_fields)]
struct MessageBody {
    #[schemars(extend("const" = "assistant"))]
    role: &'static str,
    content: String,
}

/// A continuation of a prompt.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct Completion {
    id: String,
    #[schemars(extend("const" = "text_completion"))]
    object: &'static str,
    /// seconds since 1970
    created: u64,
    model: String,
    choices: [TextChoice; 1],
    usage: Usage,
}

/// The one continuation.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(inline, deny_unknown_fields)]
struct TextChoice {
    index: u64,
    text: String,
    #[schemars(extend("enum" = ["stop", "length"]))]
    finish_reason: &'static str,
}

/// Tokens of an answer.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Usage {
    /// tokens of the prompt as the first member that read it cuts it
    prompt_tokens: u64,
    /// tokens of the answer as the first member that declares a tokenizer cuts it
    completion_tokens: u64,
    total_tokens: u64,
    members: Vec<MemberUsage>,
}

/// What one member did.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(inline, deny_unknown_fields)]
struct MemberUsage {
    model: String,
    prompt_tokens: u64,
    calls: u64,
    tokens_read: u64,
    tokens_pushed: u64,
    tokens_rolled_back: u64,
}

fn refuse(param: &str, message: &str) -> ApiError {
    ApiError::new(Code::InvalidRequest, message).param(param)
}
