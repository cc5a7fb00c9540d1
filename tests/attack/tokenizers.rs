//! Tokenizer files that are no GGUF: `tokenizer.json`, SentencePiece `.model` and `.vocab`, `tokenizer.bin` of
//! llama2.c; and what holds of every tokenizer that was read.

use crate::bytes::{Kind, Segments, varint};
use crate::harness::{Parts, Target, Verdict, attack, refused, refused_in};
use crate::json::Json;
use crate::random::{Rng, below};
use crate::scratch::Scratch;
use crate::text;
use routewright_decoder::chat::Message;
use routewright_decoder::template::ChatTemplate;
use routewright_decoder::vocabulary::{Role, Tokenizer, llama2c};
use serde_json::{Value, json};

/// Texts that are cut: of the letters the vocabularies have, and of none of them.
const TEXTS: [&[u8]; 6] = [
    b"",
    b"hello abc  abc\n",
    "\u{e9}t\u{e9} \u{1f600}\0".as_bytes(),
    b"\xff\xfe\x80a",
    b"</s><unk> <mark>",
    b"    12345 ",
];

/// Checks what every tokenizer promises.
pub(crate) fn sound(tokenizer: &Tokenizer) -> Result<(), String> {
    let vocabulary = tokenizer.vocabulary();
    let n = vocabulary.len();
    let known = |id: &u32| (*id as usize) < n;
    if let Some(id) = tokenizer.begin().iter().chain(vocabulary.ends()).find(|id| !known(id)) {
        return Err(format!("token {id} is special, and there are {n}"));
    }
    let long = "a".repeat(3000);
    for text in TEXTS.into_iter().chain([long.as_bytes()]) {
        let ids = tokenizer.encode(text);
        if let Some(id) = ids.iter().find(|id| !known(id)) {
            return Err(format!("a text is cut into token {id} of {n}"));
        }
        if ids != tokenizer.encode(text) {
            return Err("a text is cut in two ways".to_owned());
        }
        // A text is at most as long as its tokens can spell.
        let spelled = tokenizer.decode(&ids);
        if ids.iter().all(|id| vocabulary.role(*id) == Role::Text)
            && spelled.len() > ids.len() * vocabulary.longest()
        {
            return Err("tokens spell more than they have".to_owned());
        }
        let half = text.len() / 2;
        let extended = tokenizer.extend(&tokenizer.encode(&text[..half]), &text[half..]);
        if extended.keep > ids.len().max(tokenizer.encode(&text[..half]).len()) {
            return Err("more ids are kept than there were".to_owned());
        }
    }
    Ok(())
}

/// Renders a conversation by a template and cuts it; a refusal is in words.
pub(crate) fn speaks(template: &ChatTemplate, tokenizer: &Tokenizer, parts: &Parts) -> Result<(), String> {
    let chat = [Message::user("hello abc")];
    match template.encode(&chat, tokenizer) {
        Ok(ids) => match ids.iter().find(|id| **id as usize >= tokenizer.vocabulary().len()) {
            Some(id) => Err(format!("a conversation is cut into token {id}")),
            None => Ok(()),
        },
        Err(error) => refused_in(&error, parts).map(|_| ()),
    }
}

/// Keys and words that `tokenizer.json` knows.
const NAMES: [&str; 34] = [
    "added_tokens",
    "normalizer",
    "pre_tokenizer",
    "post_processor",
    "model",
    "type",
    "BPE",
    "Unigram",
    "WordPiece",
    "vocab",
    "merges",
    "unk_id",
    "unk_token",
    "byte_fallback",
    "ignore_merges",
    "ByteLevel",
    "Metaspace",
    "Split",
    "pattern",
    "Regex",
    "(a+)+$",
    "(\\p{L}{500}){500}",
    "behavior",
    "Isolated",
    "invert",
    "Sequence",
    "pretokenizers",
    "normalizers",
    "Replace",
    "id",
    "content",
    "special",
    "lstrip",
    "BertNormalizer",
];

/// A short file of each kind.
fn tokenizer_json(rng: &mut Rng) -> Value {
    let added = json!([
        {"id": 0, "content": "<s>", "special": true, "lstrip": false, "rstrip": false, "single_word": false},
        {"id": 1, "content": "</s>", "special": true},
        {"id": 12, "content": "<mark>", "special": false},
    ]);
    let pieces = ["<s>", "</s>", "<unk>", "a", "b", "c", "h", "e", "l", "ab", "abc", "he"];
    let vocab: Value = pieces
        .iter()
        .zip(0..)
        .map(|(piece, id)| ((*piece).to_owned(), json!(id)))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let begin =
        json!({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}]});
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "use_regex": true});
    let split = json!({"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": "\\p{N}{1,3}| ?\\p{L}+"}, "behavior": "Isolated", "invert": false},
        {"type": "Digits", "individual_digits": true},
        {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}]});
    let spaces = json!({"type": "Sequence", "normalizers": [
        {"type": "Prepend", "prepend": "\u{2581}"},
        {"type": "Replace", "pattern": {"String": " "}, "content": "\u{2581}"}]});
    let bpe =
        json!({"type": "BPE", "vocab": vocab, "merges": [["a", "b"], "ab c", "h e"], "unk_token": "<unk>"});
    match below(rng, 5) {
        0 => json!({"added_tokens": added, "pre_tokenizer": byte_level, "model": bpe}),
        1 => {
            json!({"added_tokens": added, "normalizer": {"type": "NFC"}, "pre_tokenizer": split,
                "post_processor": begin, "model": bpe})
        }
        2 => json!({"added_tokens": added, "normalizer": spaces, "post_processor": begin, "model": bpe}),
        3 => {
            let scored: Vec<Value> =
                pieces.iter().zip(0..).map(|(piece, id)| json!([piece, -f64::from(id)])).collect();
            let metaspace =
                json!({"type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": "first"});
            json!({"added_tokens": added, "pre_tokenizer": metaspace,
                "model": {"type": "Unigram", "vocab": scored, "unk_id": 2}})
        }
        _ => {
            let normalizer = json!({"type": "BertNormalizer", "clean_text": true,
                "handle_chinese_chars": true, "lowercase": true});
            let model = json!({"type": "WordPiece", "vocab": vocab, "unk_token": "<unk>",
                "continuing_subword_prefix": "##",
                "max_input_chars_per_word": 100});
            json!({"added_tokens": added, "normalizer": normalizer,
                "pre_tokenizer": {"type": "BertPreTokenizer"}, "model": model})
        }
    }
}

fn field(into: &mut Segments, number: u64, message: Segments) {
    let length: usize = message.0.iter().map(|segment| segment.bytes.len()).sum();
    into.push(Kind::Varint, varint(number << 3 | 2));
    into.push(Kind::Varint, varint(length as u64));
    into.0.extend(message.0);
}

fn count(into: &mut Segments, number: u64, value: u64) {
    into.push(Kind::Varint, varint(number << 3));
    into.push(Kind::Varint, varint(value));
}

/// A `.model` file of SentencePiece.
fn sentencepiece(rng: &mut Rng) -> Segments {
    let mut file = Segments::default();
    let letters = ('a'..='l').map(|letter| (letter.to_string(), 1));
    let bytes = (0..8).map(|byte| (format!("<0x{byte:02X}>"), 6));
    let special =
        [("<unk>", 2), ("<s>", 3), ("</s>", 3), ("\u{2581}", 1), ("ab", 1), ("\u{2581}he", 1), ("mark", 4)];
    let special = special.map(|(piece, kind)| (piece.to_owned(), kind));
    for (at, (piece, kind)) in special.into_iter().chain(letters).chain(bytes).enumerate() {
        let mut message = Segments::default();
        let mut shown = Segments::default();
        shown.push(Kind::Payload, piece.into_bytes());
        field(&mut message, 1, shown);
        message.push(Kind::Varint, varint(2 << 3 | 5));
        message.push(Kind::Number, (-(at as f32)).to_le_bytes());
        count(&mut message, 3, kind);
        field(&mut file, 1, message);
    }
    let mut trainer = Segments::default();
    count(&mut trainer, 3, 1 + below(rng, 2) as u64);
    count(&mut trainer, 41, 1);
    count(&mut trainer, 42, 2);
    field(&mut file, 2, trainer);
    let mut normalizer = Segments::default();
    count(&mut normalizer, 3, below(rng, 2) as u64);
    field(&mut file, 3, normalizer);
    file
}

/// A `tokenizer.bin` of llama2.c.
fn tokenizer_bin() -> Segments {
    let file = llama2c::write(&[b"ab", b"abc", b" the"]);
    let mut segments = Segments::default();
    segments.push(Kind::Length, &file[..4]);
    let mut rest = &file[4..];
    while let Some((head, tail)) = rest.split_first_chunk::<8>() {
        let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        segments.push(Kind::Number, &head[..4]);
        segments.push(Kind::Length, &head[4..]);
        segments.push(Kind::Payload, &tail[..length]);
        rest = &tail[length..];
    }
    segments
}

const VOCAB: &str =
    "<unk>\t0\n<s>\t0\n</s>\t0\n<0x0A>\t0\n\u{2581}\t-1\na\t-2.5\nb\t-3\nab\t-4e0\n\u{2581}he\t-5\nhe\t-6\n";

struct Tokenizers(Scratch);

impl Target for Tokenizers {
    const NAME: &'static str = "tokenizers";
    const CASES: u64 = 4000;

    fn input(&mut self, rng: &mut Rng) -> Parts {
        let (name, bytes) = match below(rng, 8) {
            0 => ("tokenizer.vocab", text::damage_lines(VOCAB, rng).into_bytes()),
            1 => ("tokenizer.bin", tokenizer_bin().damaged(rng)),
            2 | 3 => ("tokenizer.model", sentencepiece(rng).damaged(rng)),
            _ => ("tokenizer.json", Json::damaged(&tokenizer_json(rng), &NAMES, rng)),
        };
        vec![(name.to_owned(), bytes)]
    }

    fn feed(&mut self, parts: &Parts) -> Result<Verdict, String> {
        let path = self.0.write(&parts[0].0, &parts[0].1);
        match Tokenizer::open(&path) {
            Ok(tokenizer) => sound(&tokenizer).map(|()| Verdict::Accepted),
            Err(error) => refused(&error, parts),
        }
    }
}

#[test]
fn tokenizer_files() {
    attack(Tokenizers(Scratch::new()));
}

#[test]
fn whole_files_are_accepted() {
    let scratch = Scratch::new();
    let mut rng = routewright_data::rng::stream(1, "whole");
    for _ in 0..20 {
        let json = tokenizer_json(&mut rng).to_string().into_bytes();
        let model = sentencepiece(&mut rng).write();
        for (name, bytes) in [
            ("t.json", json),
            ("t.model", model),
            ("t.bin", tokenizer_bin().write()),
            ("t.vocab", VOCAB.as_bytes().to_vec()),
        ] {
            let tokenizer = Tokenizer::open(&scratch.write(name, &bytes)).unwrap();
            sound(&tokenizer).unwrap();
        }
    }
}
