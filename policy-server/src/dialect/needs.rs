//! What a request needs of a model, so that only those that can are considered, before one is chosen.
//!
//! ```
//! use routewright_policy_server::dialect::{Dialect, needs::{Able, Needs}, splice::Body};
//!
//! let body = Body::read(br#"{"messages":[{"role":"user","content":[{"type":"image_url",
//!     "image_url":{"url":"https://example.org/a.png"}}]}],"n":2}"#)?;
//! let needs = Needs::of(Dialect::Chat, &body);
//! assert!(needs.images == 1 && needs.image_urls && needs.n == 2);
//! assert_eq!(needs.lacking(&Able { vision: false, ..Able::default() }), Some("vision"));
//! # Ok::<(), routewright_policy_server::dialect::splice::BodyError>(())
//! ```
//!
//! What a field has of another type than it should have is no need: the server will refuse the request.

use super::Dialect;
use super::json::{Kind, Value};
use super::splice::Body;

/// What a request needs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Needs {
    /// A stream.
    pub stream: bool,
    /// Tools that may be called.
    pub tools: bool,
    /// Calls or results of tools in its turns.
    pub tool_history: bool,
    /// Several calls at once: asked for, or in its turns.
    pub parallel_calls: bool,
    /// Tools with free text in place of a schema.
    pub custom_tools: bool,
    /// Tools that the vendor runs or that only its models know.
    pub vendor_tools: bool,
    /// An answer by a schema.
    pub schema: bool,
    /// An answer that is any JSON.
    pub json: bool,
    /// Images, in old turns and results of tools as well.
    pub images: u64,
    /// One of them is given by its address.
    pub image_urls: bool,
    /// Audio in or out.
    pub audio: bool,
    /// Documents and other files.
    pub files: u64,
    /// Log-probabilities of so many candidates; 0 is those of the tokens chosen.
    pub logprobs: Option<u64>,
    /// Answers, at least 1.
    pub n: u64,
    /// The last turn is the answer's beginning.
    pub prefill: bool,
    /// Thinking, at any effort but none.
    pub thinking: bool,
    /// Thinking of earlier turns that only its vendor can read.
    pub thinking_state: bool,
    /// A prompt of token ids.
    pub token_ids: bool,
    /// What it refers to at the server that has it: an earlier response, a conversation, cached contents.
    pub pinned: Option<String>,
    /// It shall be kept at the server or run in the background, so that asking twice changes something.
    pub keeps_state: bool,
    /// Tokens of output allowed; None where it does not say.
    pub max_output: Option<u64>,
    /// How long it is.
    pub size: Size,
}

/// Length of a request, to estimate its tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Size {
    /// Bytes of ASCII in its texts.
    pub ascii: u64,
    /// Other characters but those of `wide`.
    pub other: u64,
    /// Characters of Chinese, Japanese and Korean, and symbols.
    pub wide: u64,
    /// Turns.
    pub turns: u64,
    /// Bytes of the definitions of its tools and of its schema.
    pub definitions: u64,
}

impl Size {
    /// Tokens, roughly: 4 bytes of ASCII, 2 other characters or a wide one each; 4 a turn. A server multiplies it by
    /// what its models showed.
    pub fn tokens(self) -> u64 {
        self.ascii.div_ceil(4)
            + self.other.div_ceil(2)
            + self.wide
            + 4 * self.turns
            + self.definitions.div_ceil(4)
    }

    fn text(&mut self, text: &str) {
        for character in text.chars() {
            match character {
                '\0'..='\x7f' => self.ascii += 1,
                '\u{1100}'..='\u{11ff}' | '\u{2e80}'.. => self.wide += 1,
                _ => self.other += 1,
            }
        }
    }

    /// Adds the texts within a value, but what is binary or names something.
    fn texts(&mut self, value: Value<'_>) {
        const NO_TEXTS: [&str; 16] = [
            "data",
            "file_data",
            "image_url",
            "url",
            "encrypted_content",
            "signature",
            "thoughtSignature",
            "id",
            "type",
            "role",
            "tool_call_id",
            "tool_use_id",
            "call_id",
            "media_type",
            "mimeType",
            "detail",
        ];
        for (name, scalar) in value.scalars() {
            match scalar.text() {
                Some(_) if NO_TEXTS.contains(&name) => {}
                Some(text) => self.text(&text),
                None => self.ascii += scalar.raw().len() as u64,
            }
        }
    }
}

/// What a model can.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Able {
    /// Tools of functions.
    pub tools: bool,
    /// Tools with free text.
    pub custom_tools: bool,
    /// Tools of its vendor.
    pub vendor_tools: bool,
    /// Answers by a schema.
    pub schema: bool,
    /// Images.
    pub vision: bool,
    /// Images given by address.
    pub image_urls: bool,
    /// Audio.
    pub audio: bool,
    /// Documents.
    pub files: bool,
    /// Log-probabilities of at most so many candidates; None for none at all.
    pub logprobs: Option<u64>,
    /// Answers to one request, at most.
    pub n: u64,
    /// Beginnings of answers.
    pub prefill: bool,
    /// Token ids in place of text.
    pub token_ids: bool,
}

impl Default for Able {
    /// Everything that most models of today can.
    fn default() -> Self {
        Self {
            tools: true,
            custom_tools: false,
            vendor_tools: false,
            schema: true,
            vision: true,
            image_urls: true,
            audio: false,
            files: true,
            logprobs: Some(20),
            n: 128,
            prefill: true,
            token_ids: false,
        }
    }
}

impl Needs {
    /// Reads the needs of a body of this dialect.
    pub fn of(dialect: Dialect, body: &Body<'_>) -> Self {
        let mut needs = Self { stream: body.streams(), n: 1, ..Self::default() };
        match dialect {
            Dialect::Chat => needs.chat(body),
            Dialect::Completions => needs.completions(body),
            Dialect::Embeddings => needs.prompt(body.get("input")),
            Dialect::Responses => needs.responses(body),
            Dialect::Messages => needs.messages(body),
            Dialect::Gemini => needs.gemini(body),
        }
        needs
    }

    /// The first need that a model lacks, in the word of the log (`excluded_by`).
    pub fn lacking(&self, able: &Able) -> Option<&'static str> {
        let lacks = [
            ((self.tools || self.tool_history) && !able.tools, "tools"),
            (self.custom_tools && !able.custom_tools, "tools"),
            (self.vendor_tools && !able.vendor_tools, "tools"),
            (self.images > 0 && !able.vision, "vision"),
            (self.image_urls && !able.image_urls, "vision"),
            (self.schema && !able.schema, "schema"),
            (self.n > able.n, "n"),
            (self.logprobs.is_some_and(|asked| able.logprobs.is_none_or(|most| asked > most)), "logprobs"),
            (self.audio && !able.audio, "modality"),
            (self.files > 0 && !able.files, "modality"),
            (self.token_ids && !able.token_ids, "modality"),
            (self.prefill && !able.prefill, "prefill"),
        ];
        lacks.into_iter().find(|(lacks, _)| *lacks).map(|(_, word)| word)
    }

    fn chat(&mut self, body: &Body<'_>) {
        self.tools(body, &["function"], &["custom"]);
        self.tools |= body.get("functions").is_some_and(is_filled);
        self.vendor_tools |= body.get("web_search_options").is_some();
        self.format(body.get("response_format"));
        self.n = count(body.get("n")).unwrap_or(1).max(1);
        if is_true(body.get("logprobs")) {
            self.logprobs = Some(count(body.get("top_logprobs")).unwrap_or(0));
        }
        let modalities = body.get("modalities").into_iter().flat_map(Value::items);
        self.audio = body.get("audio").is_some() || { modalities }.any(|modality| modality.is_text("audio"));
        self.effort(body.get("reasoning_effort"));
        self.keeps_state = is_true(body.get("store"));
        self.max_output = count(body.get("max_completion_tokens")).or(count(body.get("max_tokens")));
        for turn in self.turns(body.get("messages")) {
            let role = turn.get("role").and_then(Value::text).unwrap_or_default();
            let calls = turn.has("tool_calls").map_or(0, |calls| calls.items().count());
            self.tool_history |=
                calls > 0 || matches!(&*role, "tool" | "function") || turn.has("function_call").is_some();
            self.parallel_calls |= calls > 1;
            self.thinking_state |= turn.has("thinking_blocks").is_some_and(is_filled);
            self.prefill = role == "assistant" && calls == 0;
            turn.get("content").into_iter().flat_map(Value::items).for_each(|part| self.part(part));
        }
    }

    fn completions(&mut self, body: &Body<'_>) {
        self.prompt(body.get("prompt"));
        let best_of = count(body.get("best_of")).unwrap_or(1);
        self.n = count(body.get("n")).unwrap_or(1).max(best_of).max(1);
        self.logprobs = count(body.get("logprobs"));
        self.max_output = count(body.get("max_tokens"));
    }

    /// A prompt: text, texts, ids, or lists of ids.
    fn prompt(&mut self, prompt: Option<Value<'_>>) {
        let Some(prompt) = prompt else { return };
        for (_, scalar) in prompt.scalars() {
            match scalar.text() {
                Some(text) => self.size.text(&text),
                None => {
                    self.token_ids = true;
                    // One token each.
                    self.size.wide += 1;
                }
            }
        }
    }

    fn responses(&mut self, body: &Body<'_>) {
        self.tools(body, &["function"], &["custom", "local_shell", "apply_patch"]);
        self.format(body.get("text").and_then(|text| text.has("format")));
        let included = body.get("include").into_iter().flat_map(Value::items);
        let top = count(body.get("top_logprobs"));
        if top.is_some() || { included }.any(|name| name.text().is_some_and(|name| name.contains("logprobs")))
        {
            self.logprobs = Some(top.unwrap_or(0));
        }
        self.effort(body.get("reasoning").and_then(|reasoning| reasoning.has("effort")));
        self.keeps_state =
            is_true(body.get("background")) || body.get("store").and_then(Value::bool) != Some(false);
        self.pin(body.get("previous_response_id").or(body.get("conversation")));
        self.max_output = count(body.get("max_output_tokens"));
        if let Some(text) = body.get("instructions").and_then(Value::text) {
            self.size.text(&text);
        }
        let input = body.get("input");
        if let Some(text) = input.and_then(Value::text) {
            self.size.text(&text);
            self.size.turns += 1;
        }
        let mut calls = 0;
        for item in self.turns(input) {
            let kind = item.get("type").and_then(Value::text).unwrap_or_default();
            let is_call = kind.ends_with("_call");
            calls = if is_call { calls + 1 } else { 0 };
            self.parallel_calls |= calls > 1;
            self.tool_history |= is_call || kind.ends_with("_call_output");
            self.thinking_state |= item.has("encrypted_content").is_some_and(is_filled);
            if kind == "item_reference" {
                self.pin(item.get("id"));
            }
            self.prefill = item.get("role").is_some_and(|role| role.is_text("assistant"));
            let parts = [item.get("content"), item.get("output")].into_iter().flatten();
            parts.flat_map(Value::items).for_each(|part| self.part(part));
        }
    }

    fn messages(&mut self, body: &Body<'_>) {
        self.tools(body, &["custom"], &[]);
        let config = body.get("output_config");
        self.format(config.and_then(|config| config.has("format")));
        let thinking = body.get("thinking").and_then(|thinking| thinking.has("type"));
        self.thinking = thinking.is_some_and(|kind| !kind.is_text("disabled"));
        self.vendor_tools |= body.get("mcp_servers").is_some_and(is_filled);
        self.pin(body.get("container"));
        self.max_output = count(body.get("max_tokens"));
        if let Some(system) = body.get("system") {
            self.size.texts(system);
        }
        for turn in self.turns(body.get("messages")) {
            let mut calls = 0;
            self.prefill = turn.get("role").is_some_and(|role| role.is_text("assistant"));
            for block in turn.get("content").into_iter().flat_map(Value::items) {
                let kind = block.get("type").and_then(Value::text).unwrap_or_default();
                calls += u64::from(kind == "tool_use");
                self.tool_history |= matches!(&*kind, "tool_use" | "tool_result");
                self.thinking_state |= matches!(&*kind, "thinking" | "redacted_thinking");
                self.vendor_tools |= kind.starts_with("server_tool") || kind.ends_with("_tool_result");
                self.part(block);
                if kind == "tool_result" {
                    block.get("content").into_iter().flat_map(Value::items).for_each(|part| self.part(part));
                }
            }
            self.parallel_calls |= calls > 1;
            self.prefill &= calls == 0;
        }
    }

    fn gemini(&mut self, body: &Body<'_>) {
        for tool in body.get("tools").into_iter().flat_map(Value::items) {
            self.size.definitions += tool.raw().len() as u64;
            self.tools |= tool.has("functionDeclarations").is_some_and(is_filled);
            self.vendor_tools |= tool.entries().any(|entry| entry.name != "functionDeclarations");
        }
        let config = |name: &str| body.get("generationConfig").and_then(|config| config.has(name));
        self.schema = config("responseJsonSchema").or(config("responseSchema")).is_some();
        self.json = config("responseMimeType").is_some_and(|kind| kind.is_text("application/json"));
        self.n = count(config("candidateCount")).unwrap_or(1).max(1);
        if is_true(config("responseLogprobs")) {
            self.logprobs = Some(count(config("logprobs")).unwrap_or(0));
        }
        self.thinking = config("thinkingConfig")
            .is_some_and(|thinking| thinking.get("thinkingBudget").is_none_or(|b| b.raw() != "0"));
        self.max_output = count(config("maxOutputTokens"));
        self.pin(body.get("cachedContent"));
        if let Some(system) = body.get("systemInstruction") {
            self.size.texts(system);
        }
        for turn in self.turns(body.get("contents")) {
            let mut calls = 0;
            for part in turn.get("parts").into_iter().flat_map(Value::items) {
                calls += u64::from(part.has("functionCall").is_some());
                self.tool_history |= part.has("functionCall").or(part.has("functionResponse")).is_some();
                self.thinking_state |= part.has("thoughtSignature").is_some();
                let media = part.has("inlineData").or(part.has("fileData"));
                if let Some(kind) = media.and_then(|media| media.get("mimeType")).and_then(Value::text) {
                    let is_image = kind.starts_with("image/");
                    self.images += u64::from(is_image);
                    self.audio |= kind.starts_with("audio/");
                    self.files += u64::from(!is_image && !kind.starts_with("audio/"));
                }
            }
            self.parallel_calls |= calls > 1;
            self.prefill = turn.get("role").is_some_and(|role| role.is_text("model")) && calls == 0;
        }
    }

    /// The turns of a list, counted.
    fn turns<'a>(&mut self, list: Option<Value<'a>>) -> Vec<Value<'a>> {
        let turns: Vec<Value<'a>> = list.into_iter().flat_map(Value::items).collect();
        self.size.turns += turns.len() as u64;
        if let Some(list) = list.filter(|list| list.kind() == Kind::List) {
            self.size.texts(list);
        }
        turns
    }

    fn tools(&mut self, body: &Body<'_>, functions: &[&str], customs: &[&str]) {
        let is_refused = body.get("tool_choice").is_some_and(|choice| {
            choice.is_text("none") || choice.get("type").is_some_and(|kind| kind.is_text("none"))
        });
        for tool in body.get("tools").into_iter().flat_map(Value::items) {
            self.size.definitions += tool.raw().len() as u64;
            let kind = tool.get("type").and_then(Value::text);
            match kind.as_deref() {
                _ if is_refused => {}
                None => self.tools = true,
                Some(kind) if functions.contains(&kind) => self.tools = true,
                Some(kind) if customs.contains(&kind) => self.custom_tools = true,
                Some(_) => self.vendor_tools = true,
            }
        }
        let any = self.tools || self.custom_tools;
        self.parallel_calls |= any && is_true(body.get("parallel_tool_calls"));
    }

    fn format(&mut self, format: Option<Value<'_>>) {
        let Some(format) = format else { return };
        let kind = format.get("type").and_then(Value::text).unwrap_or_default();
        // A schema directly in the format is how llama.cpp has it.
        self.schema = kind == "json_schema" || format.has("schema").is_some();
        self.json = kind == "json_object";
        if self.schema {
            self.size.definitions += format.raw().len() as u64;
        }
    }

    fn effort(&mut self, effort: Option<Value<'_>>) {
        self.thinking = effort.is_some_and(|effort| !effort.is_text("none"));
    }

    fn pin(&mut self, to: Option<Value<'_>>) {
        let name = to.and_then(|to| to.text().or_else(|| to.has("id").and_then(Value::text)));
        self.pinned = self.pinned.take().or(name.map(|name| name.chars().take(256).collect()));
    }

    /// A part of a turn.
    fn part(&mut self, part: Value<'_>) {
        let kind = part.get("type").and_then(Value::text).unwrap_or_default();
        match &*kind {
            "image_url" | "input_image" | "image" => {
                let address =
                    part.at(&["image_url", "url"]).or(part.has("image_url")).or(part.at(&["source", "url"]));
                self.images += 1;
                self.image_urls |= address.and_then(Value::text).is_some_and(|url| !url.starts_with("data:"));
            }
            "input_audio" => self.audio = true,
            "file" | "input_file" | "document" => self.files += 1,
            _ => {}
        }
    }
}

fn is_true(value: Option<Value<'_>>) -> bool {
    value.and_then(Value::bool) == Some(true)
}

fn is_filled(value: Value<'_>) -> bool {
    !matches!(value.raw(), "[]" | "{}" | "\"\"")
}

fn count(value: Option<Value<'_>>) -> Option<u64> {
    value.and_then(Value::integer).and_then(|number| u64::try_from(number).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::corpus::requests;

    fn needs(dialect: Dialect, name: &str) -> Needs {
        let (_, text) = requests().into_iter().find(|(other, _)| *other == name).unwrap();
        of(dialect, text)
    }

    fn of(dialect: Dialect, text: &str) -> Needs {
        Needs::of(dialect, &Body::read(text.as_bytes()).unwrap())
    }

    #[test]
    fn needs_of_chat() {
        let chat = |name| needs(Dialect::Chat, name);
        let plain = chat("text");
        assert_eq!(Needs { size: Size::default(), ..plain.clone() }, Needs { n: 1, ..Needs::default() });
        assert_eq!(plain.size, Size { ascii: 2, turns: 1, ..Size::default() });
        assert_eq!(
            Needs { size: Size::default(), ..chat("defaults said") },
            Needs { n: 1, ..Needs::default() }
        );
        assert!(chat("one tool").tools && !chat("one tool").tool_history && !chat("one tool").parallel_calls);
        let parallel = chat("tool loop");
        assert!(parallel.tools && parallel.tool_history && parallel.parallel_calls);
        assert!(chat("custom tool nested").custom_tools && chat("custom tool flat").custom_tools);
        assert!(chat("schema").schema && !chat("schema").json && chat("json object").json);
        let images = chat("images");
        assert!(images.images == 2 && images.image_urls && images.size.ascii == 4);
        assert!(chat("audio").audio && chat("file").files == 1);
        assert!(chat("logprobs").logprobs == Some(5) && chat("logprobs").n == 2);
        let reasoning = chat("reasoning");
        assert!(reasoning.thinking && reasoning.max_output == Some(2000));
        assert!(chat("old functions").tools && chat("prefill").prefill && !chat("tool loop").prefill);
        let refused = of(Dialect::Chat, r#"{"tools":[{"type":"function"}],"tool_choice":"none"}"#);
        assert!(!refused.tools && refused.size.definitions > 0);
    }

    #[test]
    fn needs_of_the_others() {
        let completions = needs(Dialect::Completions, "completions");
        assert!(completions.n == 3 && completions.logprobs == Some(5) && !completions.token_ids);
        let ids = needs(Dialect::Completions, "completions ids");
        assert!(ids.token_ids && ids.size.tokens() == 4);
        assert_eq!(needs(Dialect::Embeddings, "embeddings").size.ascii, 2);
        let responses = needs(Dialect::Responses, "responses");
        assert!(responses.tools && responses.custom_tools && responses.tool_history && responses.thinking);
        assert!(
            responses.thinking_state
                && !responses.keeps_state
                && responses.stream
                && !responses.parallel_calls
        );
        let kept = needs(Dialect::Responses, "responses text");
        assert!(kept.keeps_state && kept.pinned.as_deref() == Some("resp_1"));
        let messages = needs(Dialect::Messages, "messages");
        assert!(
            messages.tools
                && messages.thinking
                && !messages.vendor_tools
                && messages.max_output == Some(32_000)
        );
        let thinking = needs(Dialect::Messages, "messages thinking");
        assert!(
            thinking.thinking_state && thinking.tool_history && thinking.images == 1 && !thinking.image_urls
        );
        assert!(needs(Dialect::Messages, "messages tools of the server").vendor_tools);
        let gemini = needs(Dialect::Gemini, "gemini");
        assert!(gemini.tools && gemini.tool_history && gemini.images == 1 && gemini.thinking_state);
        assert!(!gemini.thinking && gemini.n == 1 && gemini.max_output == Some(100));
    }

    #[test]
    fn what_a_model_lacks_is_named() {
        let able =
            Able { tools: false, vision: false, schema: false, logprobs: Some(1), n: 1, ..Able::default() };
        let lacking = |name| needs(Dialect::Chat, name).lacking(&able);
        let found =
            ["text", "one tool", "tool loop", "images", "schema", "json object", "audio"].map(lacking);
        let expected =
            [None, Some("tools"), Some("tools"), Some("vision"), Some("schema"), None, Some("modality")];
        assert_eq!(found, expected);
        assert_eq!(lacking("logprobs"), Some("n"));
        let one = of(Dialect::Chat, r#"{"logprobs":true,"top_logprobs":2}"#);
        assert_eq!(one.lacking(&able), Some("logprobs"));
        assert_eq!(one.lacking(&Able::default()), None);
    }

    #[test]
    fn what_is_binary_is_no_text() {
        let image = "A".repeat(100_000);
        let body = format!(
            r#"{{"messages":[{{"role":"user","content":[{{"type":"text","text":"\u4f60\u597d e\u0301"}},{{
                "type":"image_url","image_url":{{"url":"data:image/png;base64,{image}"}}}}]}}]}}"#
        );
        let size = of(Dialect::Chat, &body).size;
        assert_eq!(size, Size { ascii: 2, other: 1, wide: 2, turns: 1, definitions: 0 });
        // By hand: 1 + 1 + 2 + 4.
        assert_eq!(size.tokens(), 8);
    }

    #[test]
    fn no_body_of_any_dialect_is_too_odd() {
        let dialects = [
            Dialect::Chat,
            Dialect::Completions,
            Dialect::Embeddings,
            Dialect::Responses,
            Dialect::Messages,
            Dialect::Gemini,
        ];
        for (name, text) in requests() {
            for dialect in dialects {
                assert!(of(dialect, text).n >= 1, "{name}");
            }
        }
    }
}
