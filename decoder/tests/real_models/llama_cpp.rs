//! Ids, log-probabilities, greedy texts and rendered chats against llama.cpp's: `llama_cpp.json`, which `llama_cpp.py`
//! beside it made and names the version of, or the file that `ROUTEWRIGHT_LLAMA_CPP` names.
//!
//! Both multiply matrices of 4 to 8 bits with activations rounded to 8 bits, in different orders and blocks. That
//! rounding moves llama.cpp itself by 0.08 nats a token, 0.36 at most, from the same weights in float32
//! (`float32.py`). So log-probabilities are compared within [`NEAR`], of two tokens nearer than [`TIE`] either may be
//! first, and the passage is read once more with float32 matrices, where what remains is below [`EXACT`].

use crate::{GEMMA3, SMOLLM2, file, model};
use routewright_data::rng;
use routewright_decoder::backend::{Backend, Draft, Session, Stop};
use routewright_decoder::backends;
use routewright_decoder::chat::Message;
use routewright_decoder::ensemble::MemberFile;
use routewright_decoder::template::ChatTemplate;
use routewright_decoder::vocabulary::Tokenizer;
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Greatest difference of a log-probability, nats.
const NEAR: f32 = 0.8;
/// Greatest mean difference over a text, nats.
const NEAR_MEAN: f32 = 0.15;
/// Lead of the most probable token below which the second may be first, nats.
const TIE: f32 = 0.6;
/// Greatest difference of a log-probability in float32, nats.
const EXACT: f32 = 2e-3;
/// Makes candle multiply in float32.
const DEQUANTIZE: &str = "CANDLE_DEQUANTIZE_ALL";

#[derive(Debug, Deserialize)]
struct Reference {
    made_by: String,
    models: BTreeMap<String, Model>,
}

#[derive(Debug, Deserialize)]
struct Model {
    /// Ids that end an answer.
    ends: Vec<u32>,
    /// Texts and their ids, special tokens not parsed.
    tokens: Vec<(String, Vec<u32>)>,
    passage: Passage,
    greedy: Vec<Completed>,
    chats: Vec<Completed>,
}

#[derive(Debug, Deserialize)]
struct Passage {
    ids: Vec<u32>,
    /// Of every id but the first.
    log_probs: Vec<f32>,
    /// The same in float32, by NumPy.
    float32: Vec<f32>,
}

#[derive(Debug, Deserialize)]
struct Completed {
    prompt: String,
    ids: Vec<u32>,
    /// Id, log-probability, the second id, how far it is behind.
    steps: Vec<(u32, f32, u32, f32)>,
    text: String,
    #[serde(default)]
    messages: Vec<Message>,
}

fn reference() -> BTreeMap<String, Model> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real_models/llama_cpp.json");
    let path = std::env::var_os("ROUTEWRIGHT_LLAMA_CPP").map_or_else(beside, PathBuf::from);
    let reference: Reference = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    println!("compared with {}", reference.made_by);
    assert_eq!(reference.models.keys().collect::<Vec<_>>(), ["gemma3", "smollm2"]);
    reference.models
}

#[test]
fn texts_are_cut_as_llama_cpp_cuts_them() {
    for (name, expected) in reference() {
        let Some(path) = file(if name == "gemma3" { GEMMA3 } else { SMOLLM2 }) else { return };
        let tokenizer = Tokenizer::open(&path).unwrap();
        assert!(expected.tokens.len() > 40);
        let mut wrong = Vec::new();
        for (text, ids) in &expected.tokens {
            let found = tokenizer.encode(text.as_bytes());
            assert_eq!(tokenizer.decode(&found), text.as_bytes(), "{name}: {text:?}");
            // Two differences are meant: what looks like the end of an answer is text where a caller wrote it, while
            // llama.cpp cuts `</s>` of Gemma as the token that it ends answers at; and U+2581 is itself, not a space.
            let meant = name == "gemma3" && (text == "<s>struck</s>" || text.contains('\u{2581}'));
            assert!(!meant || found != *ids, "{name}: {text:?} is no difference any more");
            if found != *ids && !meant {
                wrong.push(format!("{name}: {text:?}: {found:?}, llama.cpp {ids:?}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        // llama.cpp ends answers at `<reponame>` of SmolLM2, too: a mark of files, which no answer of ours can have.
        let ends = tokenizer.vocabulary().ends();
        assert!(ends.iter().all(|id| expected.ends.contains(id)), "{name}: {ends:?} {:?}", expected.ends);
        assert!(expected.ends.len() - ends.len() <= 1 && !ends.is_empty(), "{name}: {ends:?}");
    }
}

/// Log-probabilities of every id but the first.
fn read(model: &dyn Backend, ids: &[u32]) -> Vec<f32> {
    let mut session = model.open(b"", &Stop::default()).unwrap();
    let begun = session.ids().len();
    assert_eq!(session.ids(), &ids[..begun]);
    session.feed(&ids[begun..1]).unwrap();
    session.score(&ids[1..]).unwrap()
}

/// Mean and greatest difference.
fn differences(a: &[f32], b: &[f32]) -> (f32, f32) {
    assert_eq!(a.len(), b.len());
    let far = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    (far.clone().sum::<f32>() / a.len() as f32, far.fold(0.0, f32::max))
}

#[test]
fn a_passage_is_as_probable_as_in_llama_cpp() {
    for (name, expected) in reference() {
        let Some(model) = model(&name) else { return };
        let Passage { ids, log_probs, float32 } = &expected.passage;
        let found = read(&*model, ids);
        let (mean, max) = differences(&found, log_probs);
        let (ours, theirs) = (differences(&found, float32), differences(log_probs, float32));
        println!("{name}: to llama.cpp {mean:.4}, {max:.4}; to float32 {ours:.4?}, llama.cpp {theirs:.4?}");
        assert!(max < NEAR && mean < NEAR_MEAN, "{name}: {mean} {max}");
        // No more rounding than llama.cpp's, which is no more than chance makes it.
        assert!(ours.0 < 1.5 * theirs.0, "{name}: {ours:?} {theirs:?}");
    }
}

/// Runs itself in a process of its own, since candle reads the switch once.
#[test]
fn a_passage_in_float32_is_as_probable_as_in_numpy() {
    if std::env::var_os(DEQUANTIZE).is_none() {
        let own = "llama_cpp::a_passage_in_float32_is_as_probable_as_in_numpy";
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        let ran = command.args(["--exact", own, "--nocapture"]).env(DEQUANTIZE, "1").output().unwrap();
        let said = String::from_utf8_lossy(&ran.stdout).into_owned();
        println!("{said}");
        assert!(ran.status.success(), "{said}{}", String::from_utf8_lossy(&ran.stderr));
        return;
    }
    for (name, expected) in reference() {
        let Some(model) = model(&name) else { return };
        let (mean, max) = differences(&read(&*model, &expected.passage.ids), &expected.passage.float32);
        println!("{name} in float32: {mean:.6}, {max:.6}");
        assert!(max < EXACT, "{name}: {mean} {max}");
    }
}

/// Reads the answer of llama.cpp and compares every step; how many tokens are told apart by more than [`TIE`].
fn compare(name: &str, session: &mut dyn Session, expected: &Completed) -> (usize, f32) {
    assert_eq!(session.ids(), expected.ids, "{name}: {:?}", expected.prompt);
    let (mut sure, mut greatest) = (0, 0.0_f32);
    for (at, (id, log_prob, second, lead)) in expected.steps.iter().enumerate() {
        let told = session.next().unwrap();
        let far = (told.log_prob(*id).unwrap() - log_prob).abs();
        greatest = greatest.max(far);
        let context = format!("{name}: {:?}, step {at} of {:?}", expected.prompt, expected.text);
        assert!(far < NEAR, "{context}: {far}");
        let best = told.best().0;
        assert!(
            best == *id || best == *second && *lead < TIE,
            "{context}: {best} instead of {id}, lead {lead}"
        );
        sure += usize::from(*lead >= TIE);
        session.feed(&[*id]).unwrap();
    }
    (sure, greatest)
}

/// The text a session writes on its own is llama.cpp's, at least up to the first near tie.
fn writes(name: &str, session: &mut dyn Session, expected: &Completed) {
    let n = expected.steps.iter().take_while(|(_, _, _, lead)| *lead >= TIE).count();
    let draft = Draft { tokens: expected.steps.len(), stop: Vec::new(), temperature: 0.0, top_p: 1.0 };
    let begun = session.ids().len();
    let written = session.write(&draft, &mut rng::stream(0, "none")).unwrap();
    let vocabulary = session.tokenizer().vocabulary();
    let ids: Vec<u32> = expected.steps.iter().map(|step| step.0).collect();
    let own = &session.ids()[begun..];
    let bytes: Vec<u8> = own.iter().flat_map(|id| vocabulary.bytes(*id)).copied().collect();
    assert_eq!(bytes, written.text, "{name}: nothing is lost between ids and text");
    let ended = vocabulary.ends();
    if own.iter().eq(ids.iter().filter(|id| !ended.contains(id))) {
        assert_eq!(String::from_utf8_lossy(&written.text), expected.text, "{name}");
    }
    let sure = n.min(own.len());
    assert_eq!(own[..sure], ids[..sure], "{name}: {:?}", expected.prompt);
}

#[test]
fn greedy_answers_are_those_of_llama_cpp_up_to_near_ties() {
    for (name, expected) in reference() {
        let Some(model) = model(&name) else { return };
        let (mut sure, mut all, mut greatest) = (0, 0, 0.0_f32);
        for answer in &expected.greedy {
            let open = || model.open(answer.prompt.as_bytes(), &Stop::default()).unwrap();
            let (n, far) = compare(&name, &mut *open(), answer);
            (sure, all, greatest) = (sure + n, all + answer.steps.len(), greatest.max(far));
            writes(&name, &mut *open(), answer);
        }
        println!("{name}: {sure} of {all} tokens are no near ties; greatest difference {greatest:.4} nats");
        assert!(sure * 2 >= all, "{name}: {sure} of {all}");
    }
}

#[test]
fn chats_are_rendered_cut_and_answered_as_by_jinja_and_llama_cpp() {
    let Some(path) = file(SMOLLM2) else { return };
    let expected = reference().remove("smollm2").unwrap();
    assert_eq!(expected.chats.len(), 4);
    let template = ChatTemplate::of_model(&path).unwrap();
    let tokenizer = Tokenizer::open(&path).unwrap();
    let member = json!({"name": "smollm2", "backend": "candle", "model": path, "template": "chat"});
    let member: MemberFile = serde_json::from_value(member).unwrap();
    let model = backends::open(&member, Path::new("")).unwrap();
    for chat in &expected.chats {
        assert_eq!(template.render(&chat.messages).unwrap(), chat.prompt);
        assert_eq!(template.encode(&chat.messages, &tokenizer).unwrap(), chat.ids);
        let open = || model.open_chat(&chat.messages, &Stop::default()).unwrap();
        compare("smollm2", &mut *open(), chat);
        writes("smollm2", &mut *open(), chat);
    }
    // The base model has none.
    if let Some(path) = file(GEMMA3) {
        assert!(ChatTemplate::of_model(&path).unwrap_err().contains("has no chat template"));
    }
}
