//! Answers from the cache, and answers for it: which requests may be answered so, and which answers are kept.
//!
//! A request is the same where its key, the models that may answer that, the API, the policy in its version or the
//! model that is named, the headers that go to models and the fields of the body are; `stream` among them, so that a
//! stream is answered by the pieces of a stream. Fields that change no answer do not count. Kept are answers that are
//! whole and ended by themselves.

use super::question::{Question, Target};
use super::recording::{Recording, Source, is_whole, says_refusal};
use super::{Answered, By, Gateway, Said};
use crate::caller::Allowance;
use crate::dialect::Dialect;
use crate::dialect::json::{Kind, Value};
use crate::dialect::splice::Body;
use crate::live::cache::{Fingerprint, Kept};
use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The header that keeps a request out of the cache, with the value `no-store`.
const DIRECTIVE: &str = "x-router-cache";
/// Fields of a body that change no answer, and the model, for which its target stands.
const IGNORED: [&str; 9] = [
    "model",
    "user",
    "metadata",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "store",
    "service_tier",
];
/// Headers of the caller that go to models.
const HEADERS: [&str; 3] = ["anthropic-version", "anthropic-beta", "openai-beta"];
/// What came of looking for an answer.
#[derive(Debug)]
pub(super) enum Lookup {
    /// Its key has no cache.
    Off,
    /// Its request is none that may be answered so.
    Bypass,
    Hit(Arc<Kept>, Duration),
    /// There was none; one may be kept under this fingerprint for so long.
    Miss(Fingerprint, Duration),
}

impl Gateway {
    /// Looks for the answer of a request.
    pub(super) fn look_up(&self, question: &Question, target: &Target, key: &Allowance) -> Lookup {
        let Some(lifetime) = key.cache else { return Lookup::Off };
        let may = may_repeat(question, key);
        let Some(request) = may.then(|| self.fingerprint(question, target, key)).flatten() else {
            self.cache.bypassed();
            return Lookup::Bypass;
        };
        match self.cache.get(&request, Instant::now()) {
            Some((kept, age)) => Lookup::Hit(kept, age),
            None => Lookup::Miss(request, lifetime),
        }
    }

    /// Keeps an answer, or has it recorded as it goes out.
    pub(super) fn keep(&self, answered: Answered, lookup: Lookup, api: Dialect) -> Answered {
        let (request, lifetime) = match lookup {
            Lookup::Miss(request, lifetime) => (request, lifetime),
            Lookup::Bypass => return marked(answered, Source::Bypass),
            Lookup::Off | Lookup::Hit(..) => return answered,
        };
        let mut answered = marked(answered, Source::Miss);
        if answered.status != StatusCode::OK {
            return answered;
        }
        let content_type = answered.headers.get(header::CONTENT_TYPE);
        let kept = Kept {
            model: answered.by.model.clone(),
            content_type: content_type.and_then(|kind| kind.to_str().ok()).map(str::to_owned),
            streams: matches!(answered.body, Said::Stream(_)),
            pieces: Vec::new(),
            dropped: answered.by.dropped.clone(),
        };
        match &mut answered.body {
            Said::Whole(bytes) if bytes.len() <= self.cache.answer_bytes_max() && ends_whole(api, bytes) => {
                let kept = Kept { pieces: vec![Bytes::copy_from_slice(bytes)], ..kept };
                self.cache.put(request, kept, lifetime, Instant::now());
            }
            Said::Whole(_) | Said::Kept(_) => {}
            Said::Stream(flow) => {
                flow.record(Recording::new(Arc::clone(&self.cache), (request, lifetime), kept));
            }
        }
        answered
    }

    fn fingerprint(&self, question: &Question, target: &Target, key: &Allowance) -> Option<Fingerprint> {
        let mut hash = blake3::Hasher::new_derive_key("routewright answers of the same request v1");
        let mut add = |part: &[u8]| {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part);
        };
        add(key.id.as_bytes());
        key.models.iter().flatten().for_each(|model| add(model.as_bytes()));
        add(format!("{:?}", question.api).as_bytes());
        match target {
            Target::Arm(upstream) => add(format!("arm {}", upstream.name()).as_bytes()),
            Target::Policy(name) => {
                let live = self.service.live.snapshot();
                let served = live.find(name.as_deref()).ok()?;
                // Which version decides depends on more than the request.
                let beside = live.challengers.get(&served.name);
                if beside.is_some_and(|beside| beside.canary.is_some()) {
                    return None;
                }
                add(format!("policy {} {}", served.name, served.policy.digest).as_bytes());
            }
        }
        for name in HEADERS {
            add(question.headers.get(name).map_or(&b""[..], HeaderValue::as_bytes));
        }
        let body = Body::read(&question.body).ok()?;
        let mut fields = BTreeMap::new();
        for name in body.names().filter(|name| !IGNORED.contains(name)) {
            let raw = question.body.get(body.range(name)?)?;
            // Of a field that is there twice it is not known which one counts.
            if fields.insert(name, raw).is_some() {
                return None;
            }
        }
        fields.iter().for_each(|(name, raw)| {
            add(name.as_bytes());
            add(raw);
        });
        Some(*hash.finalize().as_bytes())
    }
}

/// An answer that was kept.
pub(super) fn replayed(kept: &Kept, age: Duration) -> Answered {
    let mut headers = HeaderMap::new();
    let content_type = kept.content_type.as_deref().and_then(|kind| HeaderValue::from_str(kind).ok());
    headers.extend(content_type.map(|kind| (header::CONTENT_TYPE, kind)));
    headers.insert(header::AGE, HeaderValue::from(age.as_secs()));
    let by = By {
        model: kept.model.clone(),
        nano_usd: Some(0),
        dropped: kept.dropped.clone(),
        cache: Some(Source::Hit),
        ..By::default()
    };
    let body = match (kept.streams, kept.pieces.first()) {
        (false, Some(body)) => Said::Whole(body.clone()),
        _ => Said::Kept(kept.pieces.clone()),
    };
    Answered { status: StatusCode::OK, headers, body, by }
}

fn marked(answered: Answered, source: Source) -> Answered {
    Answered { by: By { cache: Some(source), ..answered.by }, ..answered }
}

/// Whether a request may be answered as it was before: nothing is called or kept for it elsewhere, and its answer is
/// not drawn at random, unless its key wants such answers repeated.
fn may_repeat(question: &Question, key: &Allowance) -> bool {
    let needs = &question.needs;
    let directive = question.headers.get(DIRECTIVE).and_then(|value| value.to_str().ok());
    let acts = needs.tools
        || needs.tool_history
        || needs.vendor_tools
        || needs.keeps_state
        || needs.pinned.is_some();
    let is_bounded = question.budget.usd.is_some() || question.budget.deadline_ms.is_some();
    if directive.is_some_and(|value| value.trim().eq_ignore_ascii_case("no-store"))
        || acts
        || is_bounded
        || question.explains
        || needs.n > 1
    {
        return false;
    }
    key.cache_samples || question.api == Dialect::Embeddings || is_greedy(&question.body)
}

fn is_greedy(body: &Bytes) -> bool {
    let temperature = Body::read(body).ok().and_then(|body| body.get("temperature")?.number());
    temperature == Some(0.0)
}

/// Whether an answer says that it ended by itself, and refuses nothing.
fn ends_whole(api: Dialect, body: &[u8]) -> bool {
    let Ok(value) = Value::read(body) else { return false };
    let finish = match api {
        Dialect::Embeddings => return value.has("data").is_some(),
        Dialect::Chat | Dialect::Completions => value.at(&["choices", "0", "finish_reason"]),
        Dialect::Messages => value.get("stop_reason"),
        Dialect::Responses => value.get("status"),
        Dialect::Gemini => None,
    };
    is_whole(finish.and_then(Value::text).as_deref()) && !says_refusal(body) && value.kind() == Kind::Object
}
