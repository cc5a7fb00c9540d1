//! A union of strings beside a mixture of bytes, on two models of unlike vocabularies: texts, what keeping in step
//! costs, bits per byte of a fixed story.
//!
//! Bits per byte of the union are those of all ways to write the text by its units: at every byte of the text the
//! members read the text before it as their tokenizers cut it, and `p(0..j)` is the sum of `p(0..i) q_i(i..j)`.
//! That no unit may reach over the end of the story costs it nothing worth mentioning.

use routewright_decoder::align::Space;
use routewright_decoder::align::bytes::{Beam, Cover, Trie};
use routewright_decoder::backend::{Backend, BackendError, Stop};
use routewright_decoder::fuse::{answer, find};
use routewright_decoder::generation::{Ask, FuseError};
use routewright_decoder::member::Member;
use routewright_decoder::pool::Pool;
use routewright_decoder::vocabulary::Vocabulary;
use serde_json::json;
use std::sync::Arc;

/// Weights of the first model.
const WEIGHTS: [f32; 3] = [0.3, 0.5, 0.7];
/// Bytes a prompt is continued by.
const BYTES: usize = 200;
const PROMPT: &str = "Once upon a time";
const STORY: &str = ", there was a little girl named Lily. She loved to play outside in the park. One day, she saw a \
                     big red ball under a tree. Lily ran to the ball and wanted to play with it. Her mom said it was \
                     time to go home.";

/// The tables of both systems for these two models, in Markdown.
///
/// # Errors
/// If a model fails.
pub fn report(backends: &[Arc<dyn Backend>]) -> Result<String, FuseError> {
    let names: Vec<&str> = backends.iter().map(|backend| backend.name()).collect();
    let [a, b] = names[..] else { return Ok(format!("two models are compared, not {}\n", names.len())) };
    let mut out = format!("Bits per byte of a story of {} bytes after `{PROMPT}`:\n\n", STORY.len());
    out += "| weight of the first | bytes | union |\n|---|---|---|\n";
    for first in [1.0, 0.7, 0.5, 0.3, 0.0] {
        let (bytes, union) =
            (bytes_bits(backends, first, PROMPT, STORY)?, union_bits(backends, first, PROMPT, STORY)?);
        out += &format!("| {first} | {bytes:.4} | {union:.4} |\n");
    }
    out += &format!("\n`{PROMPT}`, continued greedily by {BYTES} bytes:\n\n");
    out += &format!(
        "| system | weight of {a} | units | multi-token pushes | forgotten ids | calls {a} / {b} |\n"
    );
    out += "|---|---|---|---|---|---|\n";
    let mut texts = String::new();
    for system in ["gac", "byte-mixture"] {
        for first in WEIGHTS {
            let Continued { text, steps, multi_token, rolled_back, calls } =
                continued(system, first, backends, PROMPT, BYTES)?;
            let [multi_token, rolled_back, calls] = [multi_token, rolled_back, calls]
                .map(|counts| counts.iter().map(u64::to_string).collect::<Vec<_>>().join(" / "));
            out += &format!("| {system} | {first} | {steps} | {multi_token} | {rolled_back} | {calls} |\n");
            texts += &format!("- {system} {first}: {}\n", text.trim().replace('\n', " / "));
        }
    }
    Ok(format!("{out}\n{texts}"))
}

/// What a prompt is continued to by a system.
#[derive(Debug, Clone, PartialEq)]
pub struct Continued {
    /// The text.
    pub text: String,
    /// Units chosen.
    pub steps: usize,
    /// Units that a member had to read as several ids, by member.
    pub multi_token: Vec<u64>,
    /// Ids read and forgotten again, by member.
    pub rolled_back: Vec<u64>,
    /// Calls, by member.
    pub calls: Vec<u64>,
}

/// Continues `prompt` greedily by `bytes` bytes.
///
/// # Errors
/// If the system does not fit the models or one of them fails.
pub fn continued(
    system: &str,
    first: f32,
    backends: &[Arc<dyn Backend>],
    prompt: &str,
    bytes: usize,
) -> Result<Continued, FuseError> {
    let fuser = find(system)?.build(&json!({ "weights": [first, 1.0 - first] }), backends)?;
    let mut ask = Ask::new(prompt.as_bytes());
    ask.limits.bytes = bytes;
    let answer = answer(&*fuser, backends, ask, Box::new(|_| {}))?;
    let members = answer.trace.members();
    Ok(Continued {
        text: answer.text.clone(),
        steps: answer.trace.steps().len(),
        multi_token: members.iter().map(|member| member.multi_token).collect(),
        rolled_back: members.iter().map(|member| member.rolled_back).collect(),
        calls: members.iter().map(|member| member.usage.calls).collect(),
    })
}

/// Bits per byte of `story` after `prompt` in a byte mixture.
///
/// # Errors
/// If a model fails or its tokens cannot spell the story.
pub fn bytes_bits(
    backends: &[Arc<dyn Backend>],
    first: f32,
    prompt: &str,
    story: &str,
) -> Result<f64, BackendError> {
    let mut covers = backends.iter().map(|backend| cover(backend, prompt)).collect::<Result<Vec<_>, _>>()?;
    let mut bits = 0.0;
    for byte in story.bytes() {
        let told: Vec<Option<Vec<f32>>> = covers.iter().map(|cover| Some(cover.tell().0)).collect();
        let pooled = Pool::Linear.pool(&told, &[first, 1.0 - first]);
        bits -= f64::from(pooled.map_or(0.0, |pooled| pooled[1 + usize::from(byte)])).log2();
        for cover in &mut covers {
            if !cover.advance(byte)? {
                let reason = format!("its tokens cannot go on with byte {byte}");
                return Err(BackendError::Failed { model: "byte mixture".to_owned(), reason });
            }
        }
    }
    Ok(bits / story.len() as f64)
}

fn cover(backend: &Arc<dyn Backend>, prompt: &str) -> Result<Cover, BackendError> {
    let unable = || BackendError::Unable { model: backend.name().to_owned(), what: "say how it cuts text" };
    let tokenizer = backend.tokenizer().ok_or_else(unable)?;
    let trie = Arc::new(Trie::new(tokenizer.vocabulary()));
    let session = backend.open(prompt.as_bytes(), &Stop::default())?;
    Cover::start(backend.name(), session, trie, Beam::default(), b"")
}

/// Bits per byte of `story` after `prompt` in a union of strings.
///
/// # Errors
/// If a model fails.
pub fn union_bits(
    backends: &[Arc<dyn Backend>],
    first: f32,
    prompt: &str,
    story: &str,
) -> Result<f64, BackendError> {
    let vocabularies: Vec<&Vocabulary> =
        backends.iter().filter_map(|backend| backend.tokenizer().map(|known| known.vocabulary())).collect();
    let space = Space::union(&vocabularies);
    let longest = vocabularies.iter().map(|vocabulary| vocabulary.longest()).max().unwrap_or(1);
    let mut members = backends
        .iter()
        .map(|backend| Ok(Member::new(backend.name(), backend.open(prompt.as_bytes(), &Stop::default())?)))
        .collect::<Result<Vec<_>, BackendError>>()?;
    let text = story.as_bytes();
    let mut log_p = vec![f64::NEG_INFINITY; text.len() + 1];
    log_p[0] = 0.0;
    for at in 0..text.len() {
        let mut told = Vec::new();
        for (which, member) in members.iter_mut().enumerate() {
            told.push(Some(space.project(which, &member.next()?)));
            member.commit(&text[at..=at], None);
        }
        let pooled = Pool::Linear.pool(&told, &[first, 1.0 - first]).unwrap_or_default();
        for end in at + 1..=(at + longest).min(text.len()) {
            if let Some(unit) = space.find(&text[at..end]) {
                let p = pooled.get(unit).map_or(0.0, |p| f64::from(*p));
                log_p[end] = add_logs(log_p[end], log_p[at] + p.ln());
            }
        }
    }
    Ok(-log_p[text.len()] / std::f64::consts::LN_2 / text.len() as f64)
}

/// `ln(e^a + e^b)`.
fn add_logs(a: f64, b: f64) -> f64 {
    let (low, high) = if a < b { (a, b) } else { (b, a) };
    if low == f64::NEG_INFINITY { high } else { high + (low - high).exp().ln_1p() }
}
