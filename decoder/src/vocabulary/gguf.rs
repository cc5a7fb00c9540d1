//! Vocabularies in GGUF files, versions 2 and 3: the metadata at their start; tensors are not looked at.
//!
//! Tokens marked user-defined are of two sorts that the file does not part: text that is a token wherever it
//! occurs (the accented letters of deepseek-coder), and placeholders and chat marks, which stand for no text. The
//! latter are taken to be those in brackets, `<...>` or `[...]`.

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
    Array(Vec<Value<'a>>),
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
        let Value::Array(values) = value else {
            return Err(format!("its `tokenizer.ggml.{name}` is no array"));
        };
        let element = |(at, value): (usize, &Value<'a>)| {
            each(value).ok_or_else(|| format!("its `tokenizer.ggml.{name}` has an unreadable element {at}"))
        };
        values.iter().enumerate().map(element).collect::<Result<_, _>>().map(Some)
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
    // Grown as elements are found, not as many as are announced.
    let mut values = Vec::new();
    for _ in 0..length {
        values.push(scalar(reader, kind)?);
    }
    Ok(Value::Array(values))
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
    let unknown = metadata.id("unknown_token_id");
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

/// Whether a token of this type and look is text wherever it occurs.
fn is_literal(shown: &str, kind: i64) -> bool {
    let enclosed = |open, close| shown.starts_with(open) && shown.ends_with(close);
    kind == USER_DEFINED && !enclosed('<', '>') && !enclosed('[', ']')
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
    let mut atoms = Atoms::new(metadata.id("unknown_token_id"));
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
    let kind = Kind::WordPiece(WordPiece::new(metadata.id("unknown_token_id"), true, true)?);
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
