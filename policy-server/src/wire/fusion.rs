//! The JSON twins of fused models: chats and prompts in, completions out, whole or in pieces.

use crate::error::{ApiError, Code};
use routewright_decoder::ensemble::Ensemble;
use routewright_decoder::generation::{Answer, Ask, Finish};
use serde::Deserialize;
use serde_json::{Value, json};

/// Body of `POST /v1/chat/completions`. Fields that are not named here are accepted and change nothing.
#[derive(Debug, Deserialize)]
pub(crate) struct ChatRequest {
    messages: Vec<Message>,
    max_completion_tokens: Option<usize>,
    tools: Option<Value>,
    #[serde(flatten)]
    common: Common,
}

/// Body of `POST /v1/completions`.
#[derive(Debug, Deserialize)]
pub(crate) struct CompletionRequest {
    prompt: String,
    #[serde(flatten)]
    common: Common,
}

#[derive(Debug, Deserialize)]
struct Message {
    content: Value,
}

/// What both bodies have.
#[derive(Debug, Deserialize)]
struct Common {
    model: String,
    max_tokens: Option<usize>,
    temperature: Option<f32>,
    top_p: Option<f32>,
    stop: Option<Stops>,
    seed: Option<u64>,
    n: Option<u32>,
    logprobs: Option<Value>,
    #[serde(default)]
    stream: bool,
    stream_options: Option<StreamOptions>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Stops {
    One(String),
    Many(Vec<String>),
}

#[derive(Debug, Deserialize)]
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

    /// The contents of all messages, a line break between them: members are given no template of their own.
    pub(crate) fn into_asked(self) -> Result<Asked, ApiError> {
        if self.tools.is_some_and(|tools| tools.as_array().is_none_or(|tools| !tools.is_empty())) {
            return Err(refuse("tools", "fused models call no tools"));
        }
        let texts = self.messages.iter().map(|message| match &message.content {
            Value::String(text) => Ok(text.clone()),
            Value::Array(parts) => parts
                .iter()
                .map(|part| part["text"].as_str().map(str::to_owned))
                .collect::<Option<Vec<_>>>()
                .map(|texts| texts.join("\n"))
                .ok_or_else(|| refuse("messages", "a message has a part that is not text")),
            _ => Err(refuse("messages", "the content of a message is neither a string nor a list of texts")),
        });
        let texts = texts.collect::<Result<Vec<String>, ApiError>>()?;
        if texts.is_empty() {
            return Err(refuse("messages", "`messages` is empty; at least one is needed"));
        }
        let max_tokens = self.max_completion_tokens.or(self.common.max_tokens);
        Asked::new(texts.join("\n"), max_tokens, self.common)
    }
}

impl CompletionRequest {
    pub(crate) fn model(&self) -> &str {
        &self.common.model
    }

    pub(crate) fn into_asked(self) -> Result<Asked, ApiError> {
        Asked::new(self.prompt, self.common.max_tokens, self.common)
    }
}

impl Asked {
    fn new(prompt: String, max_tokens: Option<usize>, common: Common) -> Result<Self, ApiError> {
        if common.n.is_some_and(|n| n != 1) {
            return Err(refuse("n", "`n` must be 1: a fused model writes one answer"));
        }
        if common.logprobs.as_ref().is_some_and(|asked| !matches!(asked, Value::Null | Value::Bool(false))) {
            return Err(refuse("logprobs", "fused models report no log-probabilities"));
        }
        let with_usage = common.stream_options.as_ref().is_some_and(|options| options.include_usage);
        Ok(Self {
            model: common.model.clone(),
            stream: common.stream,
            with_usage,
            prompt,
            max_tokens,
            common,
        })
    }

    /// The request within the limits of the ensemble.
    pub(crate) fn ask(&self, ensemble: &Ensemble) -> Result<Ask, ApiError> {
        let mut ask = ensemble.ask(self.prompt.as_bytes());
        if let Some(max) = self.max_tokens {
            if max == 0 {
                return Err(refuse("max_tokens", "`max_tokens` is 0; at least 1 is accepted"));
            }
            ask.limits.steps = ask.limits.steps.min(max);
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
        ask.seed = self.common.seed.unwrap_or_default();
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
    pub(crate) fn whole(&self, answer: &Answer) -> Value {
        let finish = finish(answer.finish);
        let (object, choice) = match self.shape {
            CompletionShape::Chat => (
                "chat.completion",
                json!({ "index": 0, "message": { "role": "assistant", "content": answer.text },
                        "finish_reason": finish }),
            ),
            CompletionShape::Text => {
                ("text_completion", json!({ "index": 0, "text": answer.text, "finish_reason": finish }))
            }
        };
        let mut whole = self.object(object, vec![choice]);
        whole["usage"] = usage(answer);
        whole
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
            last["usage"] = usage(answer);
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

/// Tokens: those of the prompt as all members read them together, and units of the answer; by member what it did.
fn usage(answer: &Answer) -> Value {
    let members = answer.trace.members();
    let prompt: u64 = members.iter().map(|member| member.usage.read.saturating_sub(member.pushed)).sum();
    let completion = answer.trace.steps().len() as u64;
    let of = |member: &routewright_decoder::trace::MemberTrace| {
        json!({ "model": member.name, "calls": member.usage.calls, "tokens_read": member.usage.read,
                "tokens_pushed": member.pushed, "tokens_rolled_back": member.rolled_back })
    };
    json!({
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "members": members.iter().map(of).collect::<Vec<_>>(),
    })
}

fn refuse(param: &str, message: &str) -> ApiError {
    ApiError::new(Code::InvalidRequest, message).param(param)
}
