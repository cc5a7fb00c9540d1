//! Six published vocabularies and two of tiny models, where they lie beside the checkout or `ROUTEWRIGHT_SHARED` says;
//! skipped loudly where they do not. Expected ids are those shipped with the vocabularies.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use rand::RngExt;
use routewright_decoder::vocabulary::{Role, Tokenizer};
use std::collections::BTreeSet;
use std::path::PathBuf;

const NAMES: [&str; 6] = ["llama-spm", "phi-3", "gpt-2", "deepseek-coder", "starcoder", "falcon"];

fn shared(name: &str) -> Option<PathBuf> {
    routewright_data::testing::shared(&format!("models/{name}"))
}

fn named(name: &str) -> Option<Tokenizer> {
    shared(&format!("tokenizers/{name}.gguf")).map(|path| Tokenizer::open(&path).unwrap())
}

/// The six and the two, all that are here.
fn all() -> Vec<(String, Tokenizer)> {
    let files = NAMES.map(|name| format!("tokenizers/{name}.gguf"));
    let tiny = ["stories260k/tokenizer.bin", "babyllama105/tok105.vocab", "babyllama105/tok105.model"];
    let names = files.into_iter().chain(tiny.map(str::to_owned));
    names.filter_map(|name| shared(&name).map(|path| (name, Tokenizer::open(&path).unwrap()))).collect()
}

#[test]
fn ids_are_those_of_the_test_vectors() {
    for name in NAMES {
        let Some(tokenizer) = named(name) else { return };
        let file =
            |end: &str| std::fs::read_to_string(shared(&format!("tokenizers/{name}.gguf{end}")).unwrap());
        let (inputs, outputs) = (file(".inp").unwrap(), file(".out").unwrap());
        let mut texts: Vec<&str> = inputs.split("\n__ggml_vocab_test__\n").collect();
        assert_eq!(texts.pop(), Some(""));
        let expected: Vec<Vec<u32>> = outputs
            .lines()
            .map(|line| line.split_whitespace().map(|id| id.parse().unwrap()).collect())
            .collect();
        assert_eq!((texts.len(), expected.len()), (46, 46), "{name}");
        for (text, ids) in texts.iter().zip(&expected) {
            assert_eq!(tokenizer.encode(text.as_bytes()), *ids, "{name}: {text:?}");
            assert_eq!(tokenizer.decode(ids), text.as_bytes(), "{name}: {text:?}");
        }
    }
}

/// Counts from the table of these files: bytes that are not special, and what two vocabularies share.
#[test]
fn tokens_are_as_many_distinct_bytes_as_counted() {
    let distinct = [31_901, 31_901, 50_256, 32_000, 49_114, 65_012];
    let mut sets = Vec::new();
    for (name, count) in NAMES.iter().zip(distinct) {
        let Some(tokenizer) = named(name) else { return };
        let vocabulary = tokenizer.vocabulary();
        let ids = 0..u32::try_from(vocabulary.len()).unwrap();
        let text = ids.filter(|id| vocabulary.role(*id) == Role::Text);
        // The table leaves user-defined tokens out: 13 letters of deepseek-coder, all text for its tokenizer.
        let text = text.filter(|id| *name != "deepseek-coder" || *id < 32_000);
        let set: BTreeSet<Vec<u8>> = text.map(|id| vocabulary.bytes(id).to_vec()).collect();
        assert_eq!(set.len(), count, "{name}");
        sets.push(set);
    }
    let pairs =
        [(0, 2, 18_207, 63_950), (0, 5, 23_583, 73_330), (2, 5, 42_465, 72_803), (2, 4, 19_482, 79_888)];
    for (a, b, both, either) in pairs {
        let counted = (sets[a].intersection(&sets[b]).count(), sets[a].union(&sets[b]).count());
        assert_eq!(counted, (both, either), "{} and {}", NAMES[a], NAMES[b]);
    }
    assert_eq!(sets[0], sets[1]);
}

#[test]
fn special_tokens_have_their_roles() {
    let expected: [(&str, Option<u32>, &[u32]); 6] = [
        ("llama-spm", Some(1), &[2]),
        ("phi-3", Some(1), &[2, 32_000, 32_007]),
        ("gpt-2", None, &[50_256]),
        ("deepseek-coder", Some(32_013), &[32_014, 32_021]),
        ("starcoder", None, &[0]),
        ("falcon", None, &[11]),
    ];
    for (name, begin, ends) in expected {
        let Some(tokenizer) = named(name) else { return };
        assert_eq!((tokenizer.begin(), tokenizer.vocabulary().ends()), (begin, ends), "{name}");
    }
}

/// Words, scripts, marks, spaces, and bytes that are no characters.
const ALPHABET: &[&str] = &[
    "the", " and", " Lily", "don't", "'s", " ", "  ", "\n", "\t", "\r\n", "1", "42", ",", ".", "=", "+ ",
    "é", "e\u{301}", "Ж", "ник", "我", "想", "。", "ក", "\u{17d2}", "😀", "\u{200d}", "ع", "한", "\u{3000}",
    "ſ", "x", "Z",
];

fn text(rng: &mut impl RngExt, tokenizer: &Tokenizer, pieces: usize) -> Vec<u8> {
    let mut text = Vec::new();
    // Where bytes cannot be said, a text with what cannot be said has other ids once it is decoded.
    let says = |piece: &[u8]| tokenizer.decode(&tokenizer.encode(piece)) == piece;
    for _ in 0..pieces {
        let piece = ALPHABET[rng.random_range(0..ALPHABET.len())].as_bytes();
        let cut = [&piece[..rng.random_range(0..=piece.len())], &[rng.random_range(0x80..0xc0)]].concat();
        match rng.random_range(0..12) {
            0 if says(&[0x80]) => text.extend_from_slice(&cut),
            _ if says(piece) => text.extend_from_slice(piece),
            _ => {}
        }
    }
    text
}

#[test]
fn extending_is_encoding_the_whole() {
    for (name, tokenizer) in all() {
        let mut rng = routewright_data::rng::stream(5, &name);
        for round in 0..150 {
            let whole = {
                let pieces = rng.random_range(0..40);
                text(&mut rng, &tokenizer, pieces)
            };
            let cut = rng.random_range(0..=whole.len());
            let cut =
                if tokenizer.decode(&tokenizer.encode(&whole[..cut])) == whole[..cut] { cut } else { 0 };
            let (left, right) = whole.split_at(cut);
            let mut ids = tokenizer.encode(left);
            // From the text alone, and from the ids of a text that went on otherwise.
            let mut canonical = ids.len();
            if round % 3 == 0 {
                canonical = rng.random_range(0..=ids.len());
                // Tokens of one character pushed one after another are not what the text is cut into.
                let said = tokenizer.decode(&ids[..canonical]);
                ids.truncate(canonical);
                let tail = String::from_utf8_lossy(&left[said.len()..]).into_owned();
                for character in tail.chars() {
                    let one = character.to_string();
                    ids.extend(tokenizer.vocabulary().ids(one.as_bytes()).first());
                }
            }
            let expected = tokenizer.encode(&[&tokenizer.decode(&ids), right].concat());
            for known in [0, canonical] {
                let change = tokenizer.extend_after(&ids, known, right);
                let extended = [&ids[..change.keep], &change.push[..]].concat();
                assert_eq!(extended, expected, "{name}: {left:?} then {right:?}, {known} known");
                let same = ids.iter().zip(&expected).take_while(|(a, b)| a == b).count();
                assert_eq!(change.keep, same, "{name}: keeps no more and no less than stays");
            }
            assert_eq!(tokenizer.decode(&expected), [&tokenizer.decode(&ids), right].concat(), "{name}");
        }
    }
}

/// Bytes that a vocabulary has no token for are left out, all others come back. How many there are was counted
/// in the files: bytes that UTF-8 never has, and some its training text did not have.
#[test]
fn bytes_come_back_where_there_are_tokens_for_them() {
    let missing = [("deepseek-coder", 13), ("starcoder", 14), ("falcon", 28)];
    for (name, tokenizer) in all().into_iter().filter(|(name, _)| !name.contains("tok105")) {
        let comes_back = |byte: &u8| tokenizer.decode(&tokenizer.encode(&[*byte])) == [*byte];
        let (back, lost): (Vec<u8>, Vec<u8>) = (0..=u8::MAX).rev().chain(0..=u8::MAX).partition(comes_back);
        let expected = missing.iter().find(|(known, _)| name.contains(known)).map_or(0, |(_, count)| *count);
        assert_eq!(lost.len(), 2 * expected, "{name}: {lost:?}");
        assert_eq!(tokenizer.decode(&tokenizer.encode(&back)), back, "{name}");
    }
}

/// Files that were cut off or had bytes changed are refused or read, but nothing panics.
#[test]
fn spoilt_files_do_not_panic() {
    let small = ["stories260k/tokenizer.bin", "babyllama105/tok105.vocab", "babyllama105/tok105.model"];
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("spoilt");
    for name in small.into_iter().chain(["tokenizers/llama-spm.gguf"]) {
        let Some(whole) = shared(name) else { return };
        let bytes = std::fs::read(whole).unwrap();
        let mut rng = routewright_data::rng::stream(7, name);
        let rounds = if bytes.len() > 100_000 { 30 } else { 200 };
        let mut refused = 0;
        for round in 0..rounds {
            let mut spoilt = bytes.clone();
            if round % 2 == 0 {
                spoilt.truncate(rng.random_range(0..bytes.len()));
            }
            for _ in 0..round % 5 {
                let near_start = spoilt.len().clamp(1, 2_000);
                let at = rng.random_range(0..near_start);
                spoilt.get_mut(at).into_iter().for_each(|byte| *byte = rng.random());
            }
            std::fs::write(&path, &spoilt).unwrap();
            match Tokenizer::open(&path) {
                Ok(tokenizer) => drop(tokenizer.encode("Once upon a time".as_bytes())),
                Err(error) => {
                    refused += 1;
                    assert!(error.to_string().contains("spoilt"), "{error}");
                }
            }
        }
        assert!(refused > 0, "{name}: nothing was refused");
    }
}
