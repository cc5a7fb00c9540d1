//! Tokens of a request, in one record for every dialect.
//!
//! Dialects disagree in what their counts include: OpenAI's input includes what was read from a cache, Anthropic's does
//! not; Gemini's thoughts are beside its output, others' within. [`Counts`] holds what was said, as it was said;
//! [`Counts::settle`] makes the [`Usage`] whose parts are disjoint and can be priced ([`super::bill`]).
//!
//! Streams say counts several times, each time all that is known so far: [`Counts::merge`] overwrites and never adds.
//! It also heals servers that say an input with cache first and the split later.
//!
//! ```
//! use routewright_policy_server::dialect::{Dialect, json::Value, usage::Counts};
//!
//! let reply = br#"{"usage":{"input_tokens":9,"cache_read_input_tokens":100,"output_tokens":7}}"#;
//! let counts = Counts::of_reply(Value::read(reply)?).expect("there is a usage");
//! let usage = counts.settle(Dialect::Messages);
//! assert_eq!((usage.uncached, usage.read, usage.input(), usage.output), (9, 100, 109, 7));
//! # Ok::<(), routewright_policy_server::dialect::json::JsonError>(())
//! ```

use super::Dialect;
use super::json::{Kind, Value};

/// Tokens of one request at most; a larger count is a mistake of the server.
pub const TOKENS_MAX: u64 = 1 << 40;

/// Where the counts of a record are from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Source {
    /// The server reported all of them.
    #[default]
    Reported,
    /// None; all are our estimate.
    Estimated,
    /// Some.
    Mixed,
}

impl Source {
    /// Its name in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reported => "reported",
            Self::Estimated => "estimated",
            Self::Mixed => "mixed",
        }
    }
}

/// What was wrong with reported counts, and how it was mended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Oddity {
    /// A count was negative, no whole number or above [`TOKENS_MAX`]; it was clamped, or ignored where it is no number.
    NoCount,
    /// Tokens of a cache were more than the input they are part of; they were clamped to it.
    CacheAboveInput,
    /// Tokens of reasoning were more than the output they are part of; they were clamped to it.
    ReasoningAboveOutput,
    /// The total showed that reasoning was left out of the output; it was added.
    ReasoningAdded,
    /// Writes by lifetime were more than the writes in all; those by lifetime count.
    WritesDisagree,
}

impl Oddity {
    /// Its name in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoCount => "no_count",
            Self::CacheAboveInput => "cache_above_input",
            Self::ReasoningAboveOutput => "reasoning_above_output",
            Self::ReasoningAdded => "reasoning_added",
            Self::WritesDisagree => "writes_disagree",
        }
    }
}

/// Tokens of a request; the parts of the input are disjoint.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Usage {
    /// Input that no cache had.
    pub uncached: u64,
    /// Input read from a cache.
    pub read: u64,
    /// Input written to a cache for minutes, or for a time not said.
    pub write_5m: u64,
    /// Input written to a cache for an hour or longer.
    pub write_1h: u64,
    /// Output, reasoning and rejected predictions included.
    pub output: u64,
    /// The part of the output that is reasoning; 0 where it is not said.
    pub reasoning: u64,
    /// Searches and other requests of the server's own tools.
    pub tool_requests: u64,
    /// Where the counts are from.
    pub source: Source,
    /// The service tier that was used, as the server says it; it may differ from the one asked for.
    pub tier: Option<String>,
    /// What was mended.
    pub oddities: Vec<Oddity>,
}

impl Usage {
    /// All of the input.
    pub fn input(&self) -> u64 {
        [self.read, self.write_5m, self.write_1h].into_iter().fold(self.uncached, u64::saturating_add)
    }

    /// Input and output.
    pub fn total(&self) -> u64 {
        self.input().saturating_add(self.output)
    }

    /// A record of estimates, for a server that reports nothing.
    pub fn estimated(input: u64, output: u64) -> Self {
        let (uncached, output) = (input.min(TOKENS_MAX), output.min(TOKENS_MAX));
        Self { uncached, output, source: Source::Estimated, ..Self::default() }
    }

    /// Adds another call's tokens, for an answer of several calls. The tier stays where both agree.
    pub fn add(&mut self, other: &Self) {
        let add = |own: &mut u64, other: u64| *own = own.saturating_add(other);
        add(&mut self.uncached, other.uncached);
        add(&mut self.read, other.read);
        add(&mut self.write_5m, other.write_5m);
        add(&mut self.write_1h, other.write_1h);
        add(&mut self.output, other.output);
        add(&mut self.reasoning, other.reasoning);
        add(&mut self.tool_requests, other.tool_requests);
        if self.source != other.source {
            self.source = Source::Mixed;
        }
        if self.tier != other.tier {
            self.tier = None;
        }
        for oddity in &other.oddities {
            if !self.oddities.contains(oddity) {
                self.oddities.push(*oddity);
            }
        }
    }
}

/// Counts as a server said them; None where it did not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counts {
    input: Option<u64>,
    output: Option<u64>,
    total: Option<u64>,
    read: Option<u64>,
    /// Input that no cache had, where it is said in so many words.
    missed: Option<u64>,
    write: Option<u64>,
    write_5m: Option<u64>,
    write_1h: Option<u64>,
    reasoning: Option<u64>,
    /// Gemini's prompts of tools, beside its input.
    of_tools: Option<u64>,
    tool_requests: Option<u64>,
    tier: Option<String>,
    is_odd: bool,
}

/// Where the counts are, below the object of usage. The first path that is there counts.
const INPUT: &[&[&str]] = &[&["prompt_tokens"], &["input_tokens"], &["promptTokenCount"]];
const OUTPUT: &[&[&str]] = &[&["completion_tokens"], &["output_tokens"], &["candidatesTokenCount"]];
const TOTAL: &[&[&str]] = &[&["total_tokens"], &["totalTokenCount"]];
const READ: &[&[&str]] = &[
    &["prompt_tokens_details", "cached_tokens"],
    &["input_tokens_details", "cached_tokens"],
    &["cache_read_input_tokens"],
    &["cachedContentTokenCount"],
    &["prompt_cache_hit_tokens"],
    &["cached_tokens"],
];
const WRITE: &[&[&str]] = &[
    &["prompt_tokens_details", "cache_write_tokens"],
    &["input_tokens_details", "cache_write_tokens"],
    &["cache_creation_input_tokens"],
];
const WRITE_5M: &[&[&str]] = &[&["cache_creation", "ephemeral_5m_input_tokens"]];
const WRITE_1H: &[&[&str]] = &[
    &["cache_creation", "ephemeral_1h_input_tokens"],
    &["input_tokens_details", "cache_write_tokens_details", "ttl_12h_tokens"],
];
const REASONING: &[&[&str]] = &[
    &["completion_tokens_details", "reasoning_tokens"],
    &["output_tokens_details", "reasoning_tokens"],
    &["output_tokens_details", "thinking_tokens"],
    &["thoughtsTokenCount"],
    &["reasoning_tokens"],
];
const TOOL_REQUESTS: &[&[&str]] = &[&["server_tool_use", "web_search_requests"], &["num_sources_used"]];

impl Counts {
    /// The counts of a reply or of an event of a stream, wherever the dialects have them: `usage`, `usageMetadata`, the
    /// `message` or `response` of an event, the first choice (Kimi), `x_groq`.
    pub fn of_reply(reply: Value<'_>) -> Option<Self> {
        let places: &[&[&str]] = &[
            &["usage"],
            &["usageMetadata"],
            &["message", "usage"],
            &["response", "usage"],
            &["choices", "0", "usage"],
            &["x_groq", "usage"],
        ];
        let found =
            places.iter().find_map(|place| reply.at(place)).filter(|usage| usage.kind() == Kind::Object);
        let mut counts = found.map(Self::read)?;
        let tiers: &[&[&str]] = &[&["service_tier"], &["response", "service_tier"]];
        let tier = tiers.iter().find_map(|place| reply.at(place)).and_then(Value::text);
        counts.tier = counts.tier.or(tier.map(|tier| tier.chars().take(64).collect()));
        Some(counts)
    }

    /// The counts of an object of usage.
    pub fn read(usage: Value<'_>) -> Self {
        let mut is_odd = false;
        let mut count = |places: &[&[&str]]| {
            let value = places.iter().find_map(|place| usage.at(place))?;
            match value.integer() {
                Some(number) if (0..=TOKENS_MAX as i64).contains(&number) => Some(number as u64),
                other => {
                    is_odd = true;
                    // A negative number is none; a fraction or what is too large stays near what was said.
                    let number = other.map(|number| number as f64).or(value.number())?;
                    Some(number.clamp(0.0, TOKENS_MAX as f64).ceil() as u64)
                }
            }
        };
        let mut counts = Self {
            input: count(INPUT),
            output: count(OUTPUT),
            total: count(TOTAL),
            read: count(READ),
            missed: count(&[&["prompt_cache_miss_tokens"]]),
            write: count(WRITE),
            write_5m: count(WRITE_5M),
            write_1h: count(WRITE_1H),
            reasoning: count(REASONING),
            of_tools: count(&[&["toolUsePromptTokenCount"]]),
            tool_requests: count(TOOL_REQUESTS),
            tier: None,
            is_odd: false,
        };
        let tier = usage.has("service_tier").and_then(Value::text);
        counts.tier = tier.map(|tier| tier.chars().take(64).collect());
        counts.is_odd = is_odd;
        counts
    }

    /// Overwrites with what was said later; what is not said again stays.
    pub fn merge(&mut self, later: Self) {
        let put = |own: &mut Option<u64>, later: Option<u64>| *own = later.or(*own);
        put(&mut self.input, later.input);
        put(&mut self.output, later.output);
        put(&mut self.total, later.total);
        put(&mut self.read, later.read);
        put(&mut self.missed, later.missed);
        put(&mut self.write, later.write);
        put(&mut self.write_5m, later.write_5m);
        put(&mut self.write_1h, later.write_1h);
        put(&mut self.reasoning, later.reasoning);
        put(&mut self.of_tools, later.of_tools);
        put(&mut self.tool_requests, later.tool_requests);
        if later.tier.is_some() {
            self.tier = later.tier;
        }
        self.is_odd |= later.is_odd;
    }

    /// Whether the input was said.
    pub fn has_input(&self) -> bool {
        self.input.is_some() || self.missed.is_some()
    }

    /// Whether the output was said.
    pub fn has_output(&self) -> bool {
        self.output.is_some() || (self.input.is_some() && self.total.is_some())
    }

    /// The record, as this dialect means its counts. What was not said is 0; [`Counts::settle_or`] estimates it.
    pub fn settle(&self, dialect: Dialect) -> Usage {
        let mut usage = Usage {
            tool_requests: self.tool_requests.unwrap_or(0),
            tier: self.tier.clone(),
            ..Usage::default()
        };
        if self.is_odd {
            usage.oddities.push(Oddity::NoCount);
        }
        self.settle_input(dialect, &mut usage);
        self.settle_output(dialect, &mut usage);
        usage
    }

    /// The record with an estimate of what was not said.
    pub fn settle_or(&self, dialect: Dialect, input: u64, output: u64) -> Usage {
        let mut usage = self.settle(dialect);
        let estimate = Usage::estimated(input, output);
        if !self.has_input() {
            usage.uncached = estimate.uncached.saturating_sub(usage.read + usage.write_5m + usage.write_1h);
        }
        if !self.has_output() {
            usage.output = estimate.output.max(usage.reasoning);
        }
        usage.source = match (self.has_input(), self.has_output()) {
            (true, true) => Source::Reported,
            (false, false) => Source::Estimated,
            _ => Source::Mixed,
        };
        usage
    }

    fn settle_input(&self, dialect: Dialect, usage: &mut Usage) {
        let read = self.read.unwrap_or(0);
        let (long, short) = (self.write_1h.unwrap_or(0), self.write_5m.unwrap_or(0));
        let in_all = self.write.unwrap_or(0);
        if self.write.is_some() && short + long > in_all {
            usage.oddities.push(Oddity::WritesDisagree);
        }
        // What is not said to last an hour lasts minutes.
        let write = in_all.max(short + long);
        let short = write - long;
        if dialect == Dialect::Messages {
            usage.uncached = self.input.unwrap_or(0);
            (usage.read, usage.write_5m, usage.write_1h) = (read, short, long);
            return;
        }
        let of_tools = self.of_tools.unwrap_or(0);
        let Some(input) = self.input else {
            usage.uncached = self.missed.unwrap_or(0) + of_tools;
            (usage.read, usage.write_5m, usage.write_1h) = (read, short, long);
            return;
        };
        if read + write > input {
            usage.oddities.push(Oddity::CacheAboveInput);
        }
        usage.read = read.min(input);
        usage.write_1h = long.min(input - usage.read);
        usage.write_5m = short.min(input - usage.read - usage.write_1h);
        usage.uncached = input - usage.read - usage.write_1h - usage.write_5m + of_tools;
    }

    fn settle_output(&self, dialect: Dialect, usage: &mut Usage) {
        let reasoning = self.reasoning.unwrap_or(0);
        let input = self.input.unwrap_or(0) + self.of_tools.unwrap_or(0);
        let rest = self.total.and_then(|total| total.checked_sub(input)).filter(|_| self.input.is_some());
        let output = match (self.output, rest) {
            (Some(output), _) => output,
            // Gemini leaves the count of candidates out where there was only thought.
            (None, Some(rest)) if dialect == Dialect::Gemini => rest.saturating_sub(reasoning),
            (None, Some(rest)) => rest,
            (None, None) => 0,
        };
        if dialect == Dialect::Gemini {
            usage.output = output + reasoning;
            usage.reasoning = reasoning;
            return;
        }
        usage.output = output;
        let left_out = rest.and_then(|rest| rest.checked_sub(output)) == Some(reasoning) && reasoning > 0;
        if left_out {
            usage.oddities.push(Oddity::ReasoningAdded);
            usage.output += reasoning;
        }
        if reasoning > usage.output {
            usage.oddities.push(Oddity::ReasoningAboveOutput);
        }
        usage.reasoning = reasoning.min(usage.output);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(usage: &str) -> Counts {
        Counts::read(Value::read(usage.as_bytes()).unwrap())
    }

    fn settled(dialect: Dialect, usage: &str) -> Usage {
        counts(usage).settle(dialect)
    }

    /// Parts of a record, in the order of its fields.
    fn parts(usage: &Usage) -> [u64; 6] {
        [usage.uncached, usage.read, usage.write_5m, usage.write_1h, usage.output, usage.reasoning]
    }

    /// Every expected record is computed by hand from the table of what the counts of a dialect include.
    #[test]
    fn every_dialect_has_one_record() {
        let cases = [
            (
                Dialect::Chat,
                r#"{"prompt_tokens":100,"completion_tokens":30,"total_tokens":130,"prompt_tokens_details":{
                    "cached_tokens":64,"cache_write_tokens":16},"completion_tokens_details":{
                    "reasoning_tokens":12}}"#,
                [20, 64, 16, 0, 30, 12],
            ),
            (
                Dialect::Responses,
                r#"{"input_tokens":100,"input_tokens_details":{"cached_tokens":10,"cache_write_tokens":50,
                    "cache_write_tokens_details":{"ttl_12h_tokens":20,"ttl_30m_tokens":30}},"output_tokens":7,
                    "output_tokens_details":{"reasoning_tokens":7},"total_tokens":107}"#,
                [40, 10, 30, 20, 7, 7],
            ),
            (
                Dialect::Messages,
                r#"{"input_tokens":9,"cache_creation_input_tokens":300,"cache_read_input_tokens":1000,
                    "cache_creation":{"ephemeral_5m_input_tokens":100,"ephemeral_1h_input_tokens":200},
                    "output_tokens":30,"output_tokens_details":{"thinking_tokens":5}}"#,
                [9, 1000, 100, 200, 30, 5],
            ),
            (
                Dialect::Messages,
                r#"{"input_tokens":9,"cache_creation_input_tokens":300,"cache_read_input_tokens":0,
                    "output_tokens":1}"#,
                [9, 0, 300, 0, 1, 0],
            ),
            (
                Dialect::Gemini,
                r#"{"promptTokenCount":100,"cachedContentTokenCount":40,"candidatesTokenCount":10,
                    "thoughtsTokenCount":25,"toolUsePromptTokenCount":6,"totalTokenCount":141}"#,
                [66, 40, 0, 0, 35, 25],
            ),
            (
                Dialect::Gemini,
                r#"{"promptTokenCount":8,"thoughtsTokenCount":20,"totalTokenCount":28}"#,
                [8, 0, 0, 0, 20, 20],
            ),
            (
                Dialect::Chat,
                r#"{"prompt_tokens":50,"completion_tokens":4,"total_tokens":54,"prompt_cache_hit_tokens":48,
                    "prompt_cache_miss_tokens":2}"#,
                [2, 48, 0, 0, 4, 0],
            ),
            (
                Dialect::Chat,
                r#"{"prompt_tokens":50,"completion_tokens":4,"cached_tokens":30}"#,
                [20, 30, 0, 0, 4, 0],
            ),
            (Dialect::Embeddings, r#"{"prompt_tokens":5,"total_tokens":5}"#, [5, 0, 0, 0, 0, 0]),
            (
                Dialect::Completions,
                r#"{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7,"prompt_tokens_details":null}"#,
                [5, 0, 0, 0, 2, 0],
            ),
        ];
        for (dialect, usage, expected) in cases {
            let record = settled(dialect, usage);
            assert_eq!(parts(&record), expected, "{usage}");
            assert_eq!((record.source, record.oddities), (Source::Reported, vec![]), "{usage}");
        }
    }

    #[test]
    fn reasoning_that_a_vendor_left_out_is_added() {
        let usage = settled(
            Dialect::Chat,
            r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":40,"completion_tokens_details":{
                "reasoning_tokens":25}}"#,
        );
        assert_eq!((usage.output, usage.reasoning, usage.oddities), (30, 25, vec![Oddity::ReasoningAdded]));
    }

    #[test]
    fn what_cannot_be_is_clamped_and_said() {
        let cases: &[(&str, [u64; 6], &[Oddity])] = &[
            (r#"{"prompt_tokens":-5,"completion_tokens":2}"#, [0, 0, 0, 0, 2, 0], &[Oddity::NoCount]),
            (r#"{"prompt_tokens":1.5,"completion_tokens":"7"}"#, [2, 0, 0, 0, 0, 0], &[Oddity::NoCount]),
            (
                r#"{"prompt_tokens":1e300,"completion_tokens":9223372036854775808}"#,
                [TOKENS_MAX, 0, 0, 0, TOKENS_MAX, 0],
                &[Oddity::NoCount],
            ),
            (
                r#"{"prompt_tokens":10,"completion_tokens":1,"prompt_tokens_details":{"cached_tokens":30,
                    "cache_write_tokens":4}}"#,
                [0, 10, 0, 0, 1, 0],
                &[Oddity::CacheAboveInput],
            ),
            (
                r#"{"prompt_tokens":10,"completion_tokens":1,"completion_tokens_details":{"reasoning_tokens":9}}"#,
                [10, 0, 0, 0, 1, 1],
                &[Oddity::ReasoningAboveOutput],
            ),
            ("{}", [0; 6], &[]),
        ];
        for (usage, expected, oddities) in cases {
            let record = settled(Dialect::Chat, usage);
            assert_eq!((parts(&record), &*record.oddities), (*expected, *oddities), "{usage}");
        }
        let writes = r#"{"input_tokens":1,"cache_creation_input_tokens":5,"cache_creation":{
            "ephemeral_1h_input_tokens":9}}"#;
        let record = settled(Dialect::Messages, writes);
        assert_eq!((record.write_5m, record.write_1h, record.oddities), (0, 9, vec![Oddity::WritesDisagree]));
    }

    /// The last count that is not null counts; nothing is added.
    #[test]
    fn counts_of_a_stream_overwrite() {
        let mut said = counts(r#"{"input_tokens":500,"cache_read_input_tokens":0,"output_tokens":1}"#);
        said.merge(counts(r#"{"output_tokens":12,"input_tokens":null}"#));
        said.merge(counts(r#"{"input_tokens":20,"cache_read_input_tokens":480,"output_tokens":30}"#));
        assert_eq!(parts(&said.settle(Dialect::Messages)), [20, 480, 0, 0, 30, 0]);
    }

    #[test]
    fn what_is_not_said_is_estimated() {
        let none = Counts::default().settle_or(Dialect::Chat, 40, 9);
        assert_eq!((none.uncached, none.output, none.source), (40, 9, Source::Estimated));
        let half =
            counts(r#"{"input_tokens":7,"cache_read_input_tokens":3}"#).settle_or(Dialect::Messages, 40, 9);
        assert_eq!((half.input(), half.output, half.source), (10, 9, Source::Mixed));
        let all = counts(r#"{"prompt_tokens":7,"total_tokens":9}"#).settle_or(Dialect::Chat, 40, 9);
        assert_eq!((all.input(), all.output, all.source), (7, 2, Source::Reported));
        let sum = {
            let mut sum = all.clone();
            sum.add(&none);
            sum
        };
        assert_eq!((sum.input(), sum.output, sum.source), (47, 11, Source::Mixed));
    }

    #[test]
    fn the_usage_is_found_wherever_it_is() {
        let places = [
            r#"{"usage":{"prompt_tokens":1,"completion_tokens":2},"service_tier":"priority"}"#,
            r#"{"type":"message_start","message":{"usage":{"input_tokens":1,"output_tokens":2,"service_tier":
                "priority"}}}"#,
            r#"{"type":"response.completed","response":{"service_tier":"priority","usage":{"input_tokens":1,
                "output_tokens":2}}}"#,
            r#"{"choices":[{"usage":{"prompt_tokens":1,"completion_tokens":2}}],"service_tier":"priority"}"#,
            r#"{"x_groq":{"usage":{"prompt_tokens":1,"completion_tokens":2}},"usage":null,"service_tier":
                "priority"}"#,
        ];
        for place in places {
            let usage =
                Counts::of_reply(Value::read(place.as_bytes()).unwrap()).unwrap().settle(Dialect::Chat);
            assert_eq!(
                (usage.uncached, usage.output, usage.tier.as_deref()),
                (1, 2, Some("priority")),
                "{place}"
            );
        }
        for none in ["{}", r#"{"usage":null}"#, r#"{"usage":7}"#, "[]", r#"{"choices":[]}"#] {
            assert!(Counts::of_reply(Value::read(none.as_bytes()).unwrap()).is_none());
        }
    }
}
