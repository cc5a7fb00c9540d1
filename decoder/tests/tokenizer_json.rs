//! `tokenizer.json` of every kind gives the ids of the Python package that made it (tokenizers 0.23.3; see
//! `tokenizer_json/make.py`).

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use routewright_decoder::vocabulary::{Role, Tokenizer};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tokenizer_json")
}

fn of(value: &Value) -> Result<Tokenizer, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokenizer.json");
    std::fs::write(&path, value.to_string()).unwrap();
    Tokenizer::open(&path).map_err(|error| error.to_string())
}

fn fixture(name: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(folder().join(format!("{name}.json"))).unwrap()).unwrap()
}

#[test]
fn ids_are_those_of_the_python_package() {
    let vectors: BTreeMap<String, Vec<(String, Vec<u32>)>> =
        serde_json::from_value(fixture("vectors")).unwrap();
    assert_eq!(vectors.len(), 10);
    for (name, vectors) in vectors {
        let tokenizer = Tokenizer::open(&folder().join(format!("{name}.json"))).unwrap();
        for (text, ids) in vectors {
            // Deviation 2: no second mark before a text that begins with a space.
            if text.starts_with(' ') && matches!(name.as_str(), "mistral" | "unigram") {
                continue;
            }
            let mut told = tokenizer.encode(text.as_bytes());
            if name == "unigram" {
                // Deviation 3: there, a run of unknown characters is one unknown token.
                told.dedup_by(|b, a| (*a, *b) == (0, 0));
            }
            assert_eq!(told, ids, "{name}: {text:?}");
            let spelled = String::from_utf8(tokenizer.decode(&ids)).unwrap();
            match name.as_str() {
                "bert-lower" | "bert-cased" | "unigram" => {}
                "qwen2" => assert_eq!(spelled, text.replace("e\u{301}", "\u{e9}"), "{name}"),
                _ => assert_eq!(spelled, text, "{name}"),
            }
        }
    }
}

#[test]
fn special_tokens_have_their_roles() {
    let roles = |name: &str| {
        let tokenizer = Tokenizer::open(&folder().join(format!("{name}.json"))).unwrap();
        (tokenizer.begin(), tokenizer.vocabulary().ends().to_vec(), tokenizer.vocabulary().role(0))
    };
    assert_eq!(roles("llama3"), (Some(0), vec![1], Role::Begin));
    assert_eq!(roles("gpt2"), (None, vec![1], Role::Control));
    assert_eq!(roles("llama2"), (Some(1), vec![2], Role::Control));
    assert_eq!(roles("bert-lower"), (Some(2), vec![], Role::Control));
}

/// Room is made for every id up to the greatest: four million of them took half a gigabyte, for a file of a page.
#[test]
fn a_short_file_with_a_great_id_is_refused() {
    let mut file = fixture("gpt2");
    for (id, is_read) in [(400, true), (16_000, true), (4_000_000, false), (u32::MAX, false)] {
        file["added_tokens"][2]["id"] = json!(id);
        let read = of(&file);
        assert_eq!(read.is_ok(), is_read, "{id}");
        assert!(read.err().is_none_or(|error| error.contains(&format!("has the id `{id}`"))), "{id}");
    }
}

#[test]
fn what_is_not_understood_is_refused_by_name() {
    let changed = |name: &str, at: &str, value: Value| {
        let mut file = fixture(name);
        *file.pointer_mut(at).unwrap() = value;
        of(&file).unwrap_err()
    };
    let metaspace = json!({"type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": "always"});
    for (error, expected) in [
        (changed("gpt2", "/normalizer", json!({"type": "NFKC"})), "normalizer `{\"type\":\"NFKC\"}`"),
        (
            changed("gpt2", "/pre_tokenizer", json!({"type": "Whitespace"})),
            "pre-tokenizer `{\"type\":\"Whitespace\"}`",
        ),
        (changed("gpt2", "/pre_tokenizer", Value::Null), "it neither shows bytes"),
        (changed("gpt2", "/pre_tokenizer/add_prefix_space", json!(true)), "`add_prefix_space`"),
        (changed("gpt2", "/model/type", json!("WordLevel")), "WordLevel"),
        (changed("gpt2", "/model/merges/0", json!(["zz", "q"])), "its merge 0, `zz q`, needs `zz`"),
        (changed("gpt2", "/model/dropout", json!(0.1)), "`dropout` = `0.1`"),
        (changed("gpt2", "/model/end_of_word_suffix", json!("</w>")), "`end_of_word_suffix` = `</w>`"),
        (changed("gpt2", "/added_tokens/2/rstrip", json!(true)), "added token `<mark>`"),
        (changed("gpt2", "/added_tokens/0/id", json!(1)), "both have the id `1`"),
        (changed("gpt2", "/added_tokens/0/id", json!(u32::MAX)), "has the id `4294967295`"),
        (changed("gpt2", "/post_processor", json!({"type": "Other"})), "`post_processor` is `\"Other\"`"),
        (changed("bert-lower", "/pre_tokenizer", metaspace), "`BertPreTokenizer`"),
        (changed("bert-lower", "/model/max_input_chars_per_word", json!(50)), "is `50`; 100 is accepted"),
        (of(&json!({"model": {}})).unwrap_err(), "`type`"),
        (of(&json!({"version": "1.0"})).unwrap_err(), "`model`"),
    ] {
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

/// A vocabulary of GGUF as a `tokenizer.json`, to meet its test vectors on this way, too.
#[test]
fn published_vocabularies_give_their_ids_as_json_too() {
    let Some(path) = routewright_data::testing::shared("models/tokenizers/gpt-2.gguf") else { return };
    let lists = strings(&std::fs::read(&path).unwrap());
    let vocab: BTreeMap<&str, usize> = lists["tokens"].iter().map(String::as_str).zip(0..).collect();
    let file = json!({
        "added_tokens": [{"id": 50256, "content": "<|endoftext|>", "special": true}],
        "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true},
        "model": {"type": "BPE", "vocab": vocab, "merges": lists["merges"]},
    });
    let tokenizer = of(&file).unwrap();
    let read = |end: &str| std::fs::read_to_string(path.with_extension(format!("gguf.{end}"))).unwrap();
    let (inputs, outputs) = (read("inp"), read("out"));
    let mut compared = 0;
    for (text, ids) in inputs.split("\n__ggml_vocab_test__\n").zip(outputs.lines()) {
        let ids: Vec<u32> = ids.split_whitespace().map(|id| id.parse().unwrap()).collect();
        assert_eq!(tokenizer.encode(text.as_bytes()), ids, "{text:?}");
        compared += 1;
    }
    assert_eq!(compared, 46);
}

/// The lists of texts in a GGUF header.
fn strings(bytes: &[u8]) -> BTreeMap<&'static str, Vec<String>> {
    let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
    let find = |name: &str| {
        let key = format!("tokenizer.ggml.{name}").into_bytes();
        // Behind the key: the kind of the value and of its elements, 4 bytes each, and their number.
        let mut at = bytes.windows(key.len()).position(|window| window == key).unwrap() + key.len() + 8;
        let n = number(at);
        at += 8;
        let list = (0..n).map(|_| {
            let length = number(at);
            let text = String::from_utf8(bytes[at + 8..at + 8 + length].to_vec()).unwrap();
            at += 8 + length;
            text
        });
        list.collect::<Vec<String>>()
    };
    BTreeMap::from([("tokens", find("tokens")), ("merges", find("merges"))])
}
