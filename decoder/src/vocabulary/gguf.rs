//! Vocabularies in GGUF files, versions 2 and 3: the metadata at their start; tensors are not looked at.
//!
//! Tokens marked user-defined are of two sorts that the file does not part: text that is a token wherever it
//! occurs (the accented letters of deepseek-coder, the line breaks and tags of HTML of Gemma 3), and placeholders and
//! chat marks, which stand for no text. The latter are taken to be those in brackets, `<...>` or `[...]`, but for tags:
//! one lower-case word in angle brackets, `<h1>` or `</td>`, that is no known placeholder.

use super::atoms::Atoms;
use super::bytes::Reader;
use super::literals::Literals;
use super::pairs::{Merges, pairs};
use super::pieces::{Form, Pieces};
use super::specials::Special;
use super::split::Split;
use super::wordpiece::WordPiece;
use super::{Kind, Role, Tokenizer, Vocabulary, marks};
use std::collections::HashMap;

/// What a GGUF file starts with.
pub(super) const MAGIC: &[u8] = b"GGUF";

/// Key of the chat template.
const TEMPLATE_KEY: &str = "tokenizer.chat_template";

/// A value of the metadata.
#[derive(Debug)]
enum Value<'a> {
    Integer(i64),
    Float(f32),
    Text(&'a [u8]),
    /// Read where it is asked for: a file may have arrays of many million numbers that no vocabulary needs.
    Array(Array<'a>),
}

/// Elements of one kind where they stand in the file.
#[derive(Debug, Clone, Copy)]
struct Array<'a> {
    kind: u32,
    length: u64,
    elements: &'a [u8],
}

/// The metadata under `tokenizer.ggml.`.
#[derive(Debug)]
struct Metadata<'a>(HashMap<&'a str, Value<'a>>);

/// What a GGUF file says of how its model is talked to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chat {
    /// The template, in Jinja.
    pub template: String,
    /// How the beginning-of-text token is shown.
    pub begin: Option<String>,
    /// How the end-of-text token is shown.
    pub end: Option<String>,
}

impl Chat {
    /// Reads the metadata of a GGUF file; `None` where it has no template or is no such file.
    ///
    /// # Errors
    /// If the metadata is damaged.
    pub fn read(bytes: &[u8]) -> Result<Option<Self>, String> {
        if !bytes.starts_with(MAGIC) {
            return Ok(None);
        }
        let metadata = Metadata::read(bytes)?;
        let Some(Value::Text(template)) = metadata.0.get(TEMPLATE_KEY) else { return Ok(None) };
        let template = std::str::from_utf8(template).map_err(|_not| "its chat template is not UTF-8")?;
        let tokens = metadata.texts("tokens")?;
        let shown = |name: &str| Some((*tokens.get(metadata.id(name)? as usize)?).to_owned());
        let (begin, end) = (shown("bos_token_id"), shown("eos_token_id"));
        Ok(Some(Self { template: template.to_owned(), begin, end }))
    }
}

pub(super) fn read(bytes: &[u8]) -> Result<Tokenizer, String> {
    let metadata = Metadata::read(bytes)?;
    let model = metadata.text("model")?.ok_or("it has no `tokenizer.ggml.model`, so no vocabulary")?;
    match model {
        "llama" => scores(&metadata, false),
        "t5" => scores(&metadata, true),
        "gpt2" => byte_level(&metadata),
        "bert" => wordpiece(&metadata),
        _ => Err(format!(
            "its vocabulary is of the kind `{model}`; accepted are `llama`, `t5`, `gpt2`, `bert`"
        )),
    }
}

impl<'a> Metadata<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, String> {
        let mut reader = Reader::new(bytes);
        reader.take(MAGIC.len() as u64)?;
        let version = u32::from_le_bytes(reader.number()?);
        if !(2..=3).contains(&version) {
            return Err(format!("it is GGUF version `{version}`; 2 and 3, little-endian, are accepted"));
        }
        reader.take(8)?;
        let entries = u64::from_le_bytes(reader.number()?);
        let mut metadata = HashMap::new();
        for _ in 0..entries {
            let key = text(&mut reader)?;
            let kind = u32::from_le_bytes(reader.number()?);
            let key = std::str::from_utf8(key).map_err(|_not| "one of its keys is not UTF-8")?;
            let value = value(&mut reader, kind).map_err(|error| format!("`{key}`: {error}"))?;
            let template = (key == TEMPLATE_KEY).then_some(TEMPLATE_KEY);
            let Some(name) = key.strip_prefix("tokenizer.ggml.").or(template) else { continue };
            if metadata.insert(name, value).is_some() {
                return Err(format!("it has `{key}` twice"));
            }
        }
        Ok(Self(metadata))
    }

    fn text(&self, name: &str) -> Result<Option<&'a str>, String> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(std::str::from_utf8(text).ok()),
            Some(_) => Err(format!("its `tokenizer.ggml.{name}` is no text")),
        }
    }

    fn id(&self, name: &str) -> Option<u32> {
        match self.0.get(name)? {
            Value::Integer(id) => u32::try_from(*id).ok(),
            _ => None,
        }
    }

    fn flag(&self, name: &str, otherwise: bool) -> bool {
        match self.0.get(name) {
            Some(Value::Integer(flag)) => *flag != 0,
            _ => otherwise,
        }
    }

    /// An array, of which `each` makes what is wanted; `None` where it is missing.
    fn array<T>(&self, name: &str, each: impl Fn(&Value<'a>) -> Option<T>) -> Result<Option<Vec<T>>, String> {
        let Some(value) = self.0.get(name) else { return Ok(None) };
        let Value::Array(Array { kind, length, elements }) = value else {
            return Err(format!("its `tokenizer.ggml.{name}` is no array"));
        };
        let mut reader = Reader::new(elements);
        let element = |at: u64| {
            let value = scalar(&mut reader, *kind)?;
            each(&value).ok_or_else(|| format!("its `tokenizer.ggml.{name}` has an unreadable element {at}"))
        };
        (0..*length).map(element).collect::<Result<_, _>>().map(Some)
    }

    fn texts(&self, name: &str) -> Result<Vec<&'a str>, String> {
        let texts = self.array(name, |value| match value {
            Value::Text(text) => std::str::from_utf8(text).ok(),
            _ => None,
        })?;
        texts.ok_or_else(|| format!("it has no `tokenizer.ggml.{name}`"))
    }

    /// Types of the tokens, 1 (normal) where the file says nothing.
    fn types(&self, tokens: usize) -> Result<Vec<i64>, String> {
        let types = self.array("token_type", |value| match value {
            Value::Integer(kind) => Some(*kind),
            _ => None,
        })?;
        self.as_many(types.unwrap_or_else(|| vec![1; tokens]), "token_type", tokens)
    }

    fn as_many<T>(&self, values: Vec<T>, name: &str, tokens: usize) -> Result<Vec<T>, String> {
        match values.len() == tokens {
            true => Ok(values),
            false => {
                Err(format!("its `tokenizer.ggml.{name}` has {} entries for {tokens} tokens", values.len()))
            }
        }
    }

    /// The token of what cannot be said.
    fn unknown(&self, tokens: usize) -> Result<Option<u32>, String> {
        match self.id("unknown_token_id").filter(|id| *id as usize >= tokens) {
            Some(id) => {
                Err(format!("its `tokenizer.ggml.unknown_token_id` is `{id}`, and it has {tokens} tokens"))
            }
            None => Ok(self.id("unknown_token_id")),
        }
    }

    /// The id put before a text.
    fn begin(&self, otherwise: bool) -> Option<u32> {
        self.id("bos_token_id").filter(|_| self.flag("add_bos_token", otherwise))
    }

    fn ends(&self) -> Vec<u32> {
        ["eos_token_id", "eot_token_id", "eom_token_id"].iter().filter_map(|name| self.id(name)).collect()
    }
}

fn text<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], String> {
    let length = u64::from_le_bytes(reader.number()?);
    reader.take(length)
}

fn value<'a>(reader: &mut Reader<'a>, kind: u32) -> Result<Value<'a>, String> {
    if kind != 9 {
        return scalar(reader, kind);
    }
    let kind = u32::from_le_bytes(reader.number()?);
    let length = u64::from_le_bytes(reader.number()?);
    let begin = *reader;
    match width(kind) {
        Some(width) => drop(reader.take(length.saturating_mul(width))?),
        None => {
            for _ in 0..length {
                scalar(reader, kind)?;
            }
        }
    }
    let mut begin = begin;
    let elements = begin.take((reader.position() - begin.position()) as u64)?;
    Ok(Value::Array(Array { kind, length, elements }))
}

/// Bytes of a value of a kind, where all have as many.
fn width(kind: u32) -> Option<u64> {
    match kind {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}

fn scalar<'a>(reader: &mut Reader<'a>, kind: u32) -> Result<Value<'a>, String> {
    Ok(match kind {
        0 | 7 => Value::Integer(i64::from(u8::from_le_bytes(reader.number()?))),
        1 => Value::Integer(i64::from(i8::from_le_bytes(reader.number()?))),
        2 => Value::Integer(i64::from(u16::from_le_bytes(reader.number()?))),
        3 => Value::Integer(i64::from(i16::from_le_bytes(reader.number()?))),
        4 => Value::Integer(i64::from(u32::from_le_bytes(reader.number()?))),
        5 => Value::Integer(i64::from(i32::from_le_bytes(reader.number()?))),
        6 => Value::Float(f32::from_le_bytes(reader.number()?)),
        8 => Value::Text(text(reader)?),
        // No id or flag of a vocabulary is beyond i64.
        10 | 11 => Value::Integer(i64::from_le_bytes(reader.number()?)),
        12 => Value::Float(f64::from_le_bytes(reader.number()?) as f32),
        _ => return Err(format!("a value of type `{kind}`; 0 to 12 are accepted, arrays not inside arrays")),
    })
}

/// SentencePiece: pieces with scores.
fn scores(metadata: &Metadata<'_>, unigram: bool) -> Result<Tokenizer, String> {
    if metadata.0.contains_key("precompiled_charsmap") {
        return Err(
            "it rewrites text by `tokenizer.ggml.precompiled_charsmap`, which is not supported".into()
        );
    }
    let tokens = metadata.texts("tokens")?;
    let types = metadata.types(tokens.len())?;
    let scores = metadata.array("scores", |value| match value {
        Value::Float(score) => Some(*score),
        _ => None,
    })?;
    let scores =
        metadata.as_many(scores.ok_or("it has no `tokenizer.ggml.scores`")?, "scores", tokens.len())?;
    let unknown = metadata.unknown(tokens.len())?;
    let form = |id: usize, shown: &str, kind: i64| match kind {
        _ if unknown.is_some_and(|unknown| unknown as usize == id) => Form::Unknown,
        1 => Form::Text,
        6 => Form::Byte,
        _ if is_literal(shown, kind) => Form::Literal,
        _ => Form::Special,
    };
    let list = tokens.into_iter().zip(scores).zip(types).enumerate();
    let list =
        list.map(|(id, ((shown, score), kind))| (shown.to_owned(), score, form(id, shown, kind))).collect();
    let prefix = metadata.flag("add_space_prefix", true);
    Pieces { list, begin: metadata.begin(!unigram), ends: metadata.ends(), prefix, unigram }.build()
}

/// Type of tokens that are user-defined.
const USER_DEFINED: i64 = 4;

/// Words that look like tags in angle brackets and stand for no text.
const PLACEHOLDERS: [&str; 14] =
    ["s", "unk", "pad", "mask", "sep", "cls", "bos", "eos", "eot", "eod", "eom", "image", "audio", "video"];

/// Whether a token of this type and look is text wherever it occurs.
fn is_literal(shown: &str, kind: i64) -> bool {
    let enclosed = |open, close| shown.starts_with(open) && shown.ends_with(close);
    kind == USER_DEFINED && (is_tag(shown) || !enclosed('<', '>') && !enclosed('[', ']'))
}

/// Whether a text is a tag of a markup language, `<td>` or `</td>`.
fn is_tag(shown: &str) -> bool {
    let word = shown.strip_prefix('<').and_then(|rest| rest.strip_suffix('>'));
    let word = word.map(|word| word.strip_prefix('/').unwrap_or(word)).unwrap_or_default();
    let is_word = word.starts_with(|c: char| c.is_ascii_lowercase())
        && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    is_word && !PLACEHOLDERS.contains(&word)
}

/// The tokens that are text wherever they occur.
fn literals(metadata: &Metadata<'_>, tokens: &[&str], vocabulary: &Vocabulary) -> Result<Literals, String> {
    let types = metadata.types(tokens.len())?;
    let found = tokens.iter().zip(types).zip(0..).filter(|((shown, kind), _)| is_literal(shown, *kind));
    Ok(Literals::new(vocabulary, &found.map(|(_, id)| id).collect::<Vec<u32>>()))
}

/// Tokens that `bytes` makes of how they are shown, special ones by their type.
fn vocabulary(
    metadata: &Metadata<'_>,
    tokens: &[&str],
    bytes: impl Fn(&str) -> Vec<u8>,
) -> Result<Vocabulary, String> {
    let types = metadata.types(tokens.len())?;
    let (begin, ends) = (metadata.id("bos_token_id"), metadata.ends());
    let token = |(id, (shown, kind)): (usize, (&&str, i64))| match kind {
        1 => (bytes(shown), Role::Text),
        _ if is_literal(shown, kind) => (shown.as_bytes().to_vec(), Role::Text),
        _ => (Vec::new(), marks::special(id, shown, begin, &ends)),
    };
    Ok(Vocabulary::new(tokens.iter().zip(types).enumerate().map(token)))
}

fn byte_level(metadata: &Metadata<'_>) -> Result<Tokenizer, String> {
    let tokens = metadata.texts("tokens")?;
    let alphabet = marks::ByteLevel::new();
    let vocabulary = vocabulary(metadata, &tokens, |shown| alphabet.bytes(shown))?;
    let ids: HashMap<&str, u32> = tokens.iter().copied().zip(0..).collect();
    let merges = metadata.texts("merges")?;
    // A token may begin with a space, so it is the first behind the first character that parts the two.
    let halves: Option<Vec<(&str, &str)>> = merges
        .iter()
        .map(|merge| {
            let first = merge.chars().next()?.len_utf8();
            let space = first + merge[first..].find(' ')?;
            Some((&merge[..space], &merge[space + 1..]))
        })
        .collect();
    let halves = halves.ok_or("one of its merges is not two tokens with a space between")?;
    let pairs = pairs(halves.into_iter(), |shown| ids.get(shown).copied())?;
    let name = metadata.text("pre")?.unwrap_or("default");
    let mut atoms = Atoms::new(metadata.unknown(tokens.len())?);
    atoms.find_bytes(&vocabulary);
    let split = Split::named(name)?;
    let kind = Kind::Merges(Merges { pairs, atoms, split, whole: name == "llama-bpe", nfc: false });
    let literals = literals(metadata, &tokens, &vocabulary)?;
    let begin = metadata.begin(false);
    let specials = specials(&metadata.types(tokens.len())?, &tokens);
    Ok(Tokenizer::of(vocabulary, begin, false, literals, kind).with_specials(specials))
}

/// BERT, as llama.cpp writes it: the first token of a word begins with the mark of a space.
fn wordpiece(metadata: &Metadata<'_>) -> Result<Tokenizer, String> {
    let tokens = metadata.texts("tokens")?;
    let vocabulary = vocabulary(metadata, &tokens, marks::piece)?;
    let kind = Kind::WordPiece(WordPiece::new(metadata.unknown(tokens.len())?, true, true)?);
    let begin = metadata.id("cls_token_id").or_else(|| metadata.begin(true));
    let specials = specials(&metadata.types(tokens.len())?, &tokens);
    Ok(Tokenizer::of(vocabulary, begin, true, Literals::default(), kind).with_specials(specials))
}

/// The tokens that stand for no text, but unknown and unused ones.
fn specials(types: &[i64], tokens: &[&str]) -> Vec<Special> {
    let is_special = |shown: &str, kind: i64| matches!(kind, 3 | USER_DEFINED) && !is_literal(shown, kind);
    let tokens = tokens.iter().zip(types).zip(0..);
    let special = tokens.filter(|((shown, kind), _)| is_special(shown, **kind));
    special.map(|((shown, _), id)| Special::plain(shown, id)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts were once cut into ids that no vocabulary has.
    #[test]
    fn an_unknown_token_that_is_none_is_refused() {
        let unknown =
            |id: i64| Metadata(HashMap::from([("unknown_token_id", Value::Integer(id))])).unknown(32);
        assert_eq!((unknown(31), unknown(-1)), (Ok(Some(31)), Ok(None)));
        assert!(unknown(32).unwrap_err().contains("is `32`, and it has 32 tokens"));
        assert_eq!(Metadata(HashMap::new()).unknown(0), Ok(None));
    }

    /// An array as it stands in a file: kind, length, elements.
    fn array(kind: u32, length: u64, elements: &[u8]) -> Vec<u8> {
        [&kind.to_le_bytes()[..], &length.to_le_bytes(), elements].concat()
    }

    /// A byte of an array once took 24 of memory, whether a vocabulary needs it or not.
    #[test]
    fn arrays_stay_where_they_stand_in_the_file() {
        let file = array(0, 5, b"abcde and what follows");
        let mut reader = Reader::new(&file);
        let Value::Array(Array { length, elements, .. }) = value(&mut reader, 9).unwrap() else {
            panic!("it is no array")
        };
        assert_eq!((length, elements, reader.position()), (5, &file[12..17], 17));
        let metadata = Metadata(HashMap::from([("x", Value::Array(Array { kind: 0, length, elements }))]));
        let numbers = metadata.array("x", |value| match value {
            Value::Integer(number) => Some(*number),
            _ => None,
        });
        assert_eq!(numbers.unwrap().unwrap(), [97, 98, 99, 100, 101]);
        for (kind, length) in [(0, 6_u64), (4, 2), (10, u64::MAX), (8, 1), (9, 1), (13, 1)] {
            let file = array(kind, length, b"abcde");
            assert!(value(&mut Reader::new(&file), 9).is_err(), "{length} of kind {kind}");
        }
    }
}
