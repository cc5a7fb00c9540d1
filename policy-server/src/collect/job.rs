//! The calls of a collection, and the requests that make them.

use super::journal::{Called, Key};
use super::members::{Member, Reach};
use super::prompts::Query;
use super::rule::{Rule, shown};
use super::variants::Variant;
use crate::dialect::bill::Tariff;
use routewright_policy::program::{Prompt, render};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Candidates asked for at each token where the answer is a letter.
const TOP_LOGPROBS: u64 = 20;
/// Temperature of a self-verification where its model has none: with 0, all would say the same.
const VERIFY_TEMPERATURE: f64 = 1.0;
/// Tokens that a template of chat adds, and a part that is not text takes, at most.
const OVERHEAD_TOKENS: u64 = 256;
const MEDIA_TOKENS: u64 = 16_384;

/// The prompt of a judge, where no file says another.
pub(super) const JUDGE: &str = "\
You grade an answer.

Question:
{query}

Reference answer:
{gold}

Answer to grade:
{answer}

Is the answer right? Think briefly, then write one word on the last line: correct or incorrect.";

/// The prompt of a self-verification, where no file says another.
pub(super) const VERIFY: &str = "\
Question:
{query}

Proposed answer:
{answer}

Is the proposed answer right? Think briefly, then write one word on the last line: correct or incorrect.";

/// A call to be made.
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) key: Key,
    pub(super) called: Called,
    /// The request, in the shape of chat.
    pub(super) body: Value,
    /// Seed of the draws of a model in this process.
    pub(super) seed: u64,
    pub(super) n_media: usize,
}

/// What holds for every call.
#[derive(Debug, Clone)]
pub(super) struct Asks {
    /// Seed that is sent; `None` sends none.
    pub(super) seed: Option<u64>,
    /// Whether log-probabilities are asked for where a section does not say.
    pub(super) logprobs: bool,
    /// Answers of each model to a query under each of its templates.
    pub(super) samples: u32,
    pub(super) variants: Vec<Variant>,
    pub(super) judge_template: String,
    pub(super) verify_template: String,
}

/// Whose answer a judge or the model itself checks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Checked<'a> {
    pub(super) query: &'a Query,
    pub(super) model: &'a str,
    pub(super) sample: u32,
    pub(super) text: &'a str,
}

impl Asks {
    /// Answers of a model to a query in all.
    pub(super) fn n_samples(&self, member: &Member) -> u32 {
        let n = self.variants.iter().filter(|variant| variant.is_for(member)).count();
        self.samples.saturating_mul(u32::try_from(n.max(1)).unwrap_or(u32::MAX))
    }

    /// The template of a sample: those of a model follow each other.
    pub(super) fn variant(&self, member: &Member, sample: u32) -> Option<&Variant> {
        let at = usize::try_from(sample / self.samples.max(1)).unwrap_or(usize::MAX);
        self.variants.iter().filter(|variant| variant.is_for(member)).nth(at)
    }

    /// The call that asks a model a query.
    pub(super) fn answer(&self, member: &Member, query: &Query, sample: u32) -> Job {
        let mut extra = Map::new();
        if member.asking.logprobs.unwrap_or(self.logprobs) {
            extra.insert("logprobs".to_owned(), json!(true));
            let has_letters =
                query.n_options.is_some() || query.rule.as_ref().is_some_and(Rule::is_of_letters);
            if has_letters {
                extra.insert("top_logprobs".to_owned(), json!(TOP_LOGPROBS));
            }
        }
        let system = member.asking.system.as_ref().map(|text| json!({ "role": "system", "content": text }));
        let mut messages: Vec<Value> = system.into_iter().chain(query.messages.iter().cloned()).collect();
        if let (Some(variant), Some(last)) = (self.variant(member, sample), messages.last_mut()) {
            // Turns before the last one stay; of the last one its text is the query.
            let text = last["content"].as_str().unwrap_or(&query.text).to_owned();
            last["content"] = json!(variant.text(&text));
        }
        let called =
            Called { what: "answer".to_owned(), id: query.id.clone(), model: member.name.clone(), sample };
        let job = self.job(member, messages, member.asking.temperature, extra, called, &member.name);
        Job { n_media: query.n_media, ..job }
    }

    /// The call that asks a judge about an answer.
    pub(super) fn judge(&self, judge: &Member, checked: Checked<'_>) -> Job {
        self.check(judge, checked, "judge", 0, &self.judge_template, judge.asking.temperature)
    }

    /// The call that asks a model about its own answer, the `number`th time.
    pub(super) fn verify(&self, member: &Member, checked: Checked<'_>, number: u32) -> Job {
        let temperature = member.asking.temperature.filter(|t| *t > 0.0).unwrap_or(VERIFY_TEMPERATURE);
        self.check(member, checked, "verify", number, &self.verify_template, Some(temperature))
    }

    fn check(
        &self,
        by: &Member,
        checked: Checked<'_>,
        what: &str,
        number: u32,
        template: &str,
        temperature: Option<f64>,
    ) -> Job {
        let Checked { query, model, sample, text } = checked;
        let gold = query.gold.as_ref().map(shown).unwrap_or_default();
        let slots = BTreeMap::from([("answer".to_owned(), text.to_owned()), ("gold".to_owned(), gold)]);
        let prompt = Prompt::Template { id: what.to_owned(), slots };
        // The template is there: it is the one that is rendered.
        let content = render(&prompt, &query.text, &[(what, template)]).unwrap_or_default();
        let messages = vec![json!({ "role": "user", "content": content })];
        let called = Called { what: what.to_owned(), id: query.id.clone(), model: model.to_owned(), sample };
        self.job(by, messages, temperature, Map::new(), called, &format!("{}\n{number}", by.name))
    }

    /// The request and its key. `by` names who is asked, and how often before.
    fn job(
        &self,
        member: &Member,
        messages: Vec<Value>,
        temperature: Option<f64>,
        extra: Map<String, Value>,
        called: Called,
        by: &str,
    ) -> Job {
        let asking = &member.asking;
        let (what, id, sample) = (called.what.as_str(), called.id.as_str(), called.sample.to_string());
        let digest =
            Key::of(&[what, id, &called.model, &sample, by, &self.seed.unwrap_or_default().to_string()]);
        // 31 bits: what every server takes for a seed.
        let seed = digest.number() & 0x7fff_ffff;
        let mut body = Map::new();
        body.insert("model".to_owned(), json!(member.model()));
        body.insert("messages".to_owned(), Value::Array(messages));
        body.insert(asking.max_tokens_field.clone(), json!(asking.max_tokens));
        body.extend(temperature.map(|value| ("temperature".to_owned(), json!(value))));
        body.extend(asking.top_p.map(|value| ("top_p".to_owned(), json!(value))));
        body.extend(self.seed.map(|_| ("seed".to_owned(), json!(seed))));
        body.extend(extra);
        body.extend(asking.body.clone());
        let body = Value::Object(body);
        let key = Key::of(&[what, id, &called.model, &sample, by, &body.to_string()]);
        Job { key, called, body, seed, n_media: 0 }
    }
}

impl Job {
    /// Nano-USD that it costs at most: a token is at least a byte of what is sent.
    pub(super) fn most(&self, member: &Member, tariff: Option<&Tariff>) -> u64 {
        let Some(tariff) = tariff else { return 0 };
        let media = MEDIA_TOKENS.saturating_mul(self.n_media as u64);
        let input = (self.body.to_string().len() as u64).saturating_add(OVERHEAD_TOKENS + media);
        tariff.reserve(input, member.asking.max_tokens)
    }
}

impl Member {
    /// Whether a call of it can be billed without our knowing the price.
    pub(super) fn is_unpriced(&self) -> bool {
        self.tariff.is_none() && matches!(self.reach, Reach::Http(_))
    }
}
