//! `tokenizer.json` of Hugging Face tokenizers: BPE over bytes or SentencePiece marks, Unigram, WordPiece.
//!
//! What is done to a text before it is cut is read, not guessed: a step that is not understood is refused, as ids a
//! little off are worse than none.
//!
//! Deviations: 1. special tokens are found by id alone, never in a text, so that a prompt cannot smuggle one in;
//! 2. `Metaspace` puts no second mark before a text that begins with a space, here one more space is put before every
//! text, as SentencePiece does; 3. a run of unknown characters is as many unknown tokens (`fuse_unk` is not heeded).

mod steps;

use super::atoms::Atoms;
use super::literals::Literals;
use super::pairs::{Merges, Pairs, pairs};
use super::pieces::{Form, Pieces};
use super::specials::Special;
use super::wordpiece::WordPiece;
use super::{Kind, Role, Tokenizer, Vocabulary, marks};
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, HashSet};
use steps::Steps;

/// Ids that stand for nothing: room is made for each up to the greatest, so a short file must not name a great one.
const HOLES_MAX: usize = 1 << 14;

#[derive(Debug, Deserialize)]
struct File {
    #[serde(default)]
    added_tokens: Vec<Added>,
    normalizer: Option<Value>,
    pre_tokenizer: Option<Value>,
    post_processor: Option<Value>,
    model: Model,
}

#[derive(Debug, Deserialize)]
struct Added {
    id: u32,
    content: String,
    #[serde(default)]
    special: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    #[serde(default)]
    single_word: bool,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type")]
enum Model {
    #[serde(rename = "BPE")]
    Bpe(Bpe),
    Unigram {
        vocab: Vec<(String, f32)>,
        unk_id: Option<u32>,
        #[serde(default)]
        byte_fallback: bool,
    },
    WordPiece {
        vocab: HashMap<String, u32>,
        unk_token: String,
        continuing_subword_prefix: String,
        max_input_chars_per_word: usize,
    },
}

#[derive(Debug, Deserialize)]
struct Bpe {
    vocab: HashMap<String, u32>,
    merges: Vec<Merge>,
    unk_token: Option<String>,
    #[serde(default)]
    byte_fallback: bool,
    #[serde(default)]
    ignore_merges: bool,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
    dropout: Option<f32>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Merge {
    Pair(String, String),
    Text(String),
}

/// What all kinds have: names by id, and what the file says of some of them.
struct Names {
    /// How tokens are shown, by id; ids that are left out stand for nothing.
    shown: Vec<Option<String>>,
    special: HashSet<u32>,
    /// The same with what they take along.
    marks: Vec<Special>,
    literal: HashSet<u32>,
    begin: Option<u32>,
}

pub(super) fn read(text: &str) -> Result<Tokenizer, String> {
    let file: File =
        serde_json::from_str(text).map_err(|error| format!("it is no `tokenizer.json`: {error}"))?;
    let steps = Steps::read(file.normalizer.as_ref(), file.pre_tokenizer.as_ref())?;
    let post = file.post_processor.as_ref();
    match file.model {
        Model::Bpe(bpe) if steps.byte_level => {
            let names =
                Names::new(bpe.vocab.iter().map(|(s, id)| (s.as_str(), *id)), &file.added_tokens, post)?;
            byte_level(&bpe, &names, &steps)
        }
        Model::Bpe(bpe) => {
            let names =
                Names::new(bpe.vocab.iter().map(|(s, id)| (s.as_str(), *id)), &file.added_tokens, post)?;
            marked(&bpe, &names, &steps)
        }
        Model::Unigram { vocab, unk_id, byte_fallback } => {
            let prefix = steps.spaces()?;
            let names = Names::new(vocab.iter().map(|(s, _)| s.as_str()).zip(0..), &file.added_tokens, post)?;
            let score = |id: usize| vocab.get(id).map_or(0.0, |(_, score)| *score);
            let tokenizer = names.pieces(unk_id, byte_fallback, score, prefix, true)?.build()?;
            Ok(names.marked(tokenizer, &steps))
        }
        Model::WordPiece {
            vocab,
            unk_token,
            continuing_subword_prefix: mark,
            max_input_chars_per_word: most,
        } => {
            if most != 100 {
                return Err(format!("its `max_input_chars_per_word` is `{most}`; 100 is accepted"));
            }
            let names = Names::new(vocab.iter().map(|(s, id)| (s.as_str(), *id)), &file.added_tokens, post)?;
            wordpiece(&names, vocab.get(&unk_token).copied(), &mark, &steps)
        }
    }
}

impl Names {
    fn new<'a>(
        vocab: impl Iterator<Item = (&'a str, u32)>,
        added: &'a [Added],
        post: Option<&Value>,
    ) -> Result<Self, String> {
        let mut by_id: BTreeMap<u32, String> = BTreeMap::new();
        let own = vocab.chain(added.iter().map(|token| (token.content.as_str(), token.id)));
        for (shown, id) in own {
            if let Some(other) = by_id.insert(id, shown.to_owned()).filter(|other| other != shown) {
                return Err(format!("its tokens `{other}` and `{shown}` both have the id `{id}`"));
            }
        }
        let most = 2 * by_id.len() + HOLES_MAX;
        if let Some((id, shown)) = by_id.last_key_value().filter(|(id, _)| **id as usize >= most) {
            let n = by_id.len();
            return Err(format!(
                "its token `{shown}` has the id `{id}`, and it has {n} tokens; ids below {most} are accepted"
            ));
        }
        let literal: Vec<&Added> = added.iter().filter(|token| !token.special).collect();
        if let Some(token) = literal.iter().find(|token| token.lstrip || token.rstrip || token.single_word) {
            return Err(format!(
                "its added token `{}` takes spaces along or stands for whole words only, which is not supported",
                token.content
            ));
        }
        let n = by_id.last_key_value().map_or(0, |(id, _)| id + 1);
        let ids: HashMap<&str, u32> = by_id.iter().map(|(id, shown)| (shown.as_str(), *id)).collect();
        let begin = post.map(|post| begin(post, &ids)).transpose()?.flatten();
        Ok(Self {
            begin,
            marks: added.iter().filter(|token| token.special).map(Added::mark).collect(),
            special: added.iter().filter(|token| token.special).map(|token| token.id).collect(),
            literal: literal.iter().map(|token| token.id).collect(),
            shown: (0..n).map(|id| by_id.remove(&id)).collect(),
        })
    }

    /// Tokens that `bytes` makes of how they are shown, special ones by their name.
    fn vocabulary(&self, bytes: impl Fn(&str) -> Vec<u8>) -> Vocabulary {
        let token = |(shown, id): (&Option<String>, u32)| match shown.as_deref() {
            None => (Vec::new(), Role::Control),
            Some(shown) if self.special.contains(&id) => {
                (Vec::new(), marks::special(id as usize, shown, self.begin, &[]))
            }
            Some(shown) if self.literal.contains(&id) => (shown.as_bytes().to_vec(), Role::Text),
            Some(shown) => (bytes(shown), Role::Text),
        };
        Vocabulary::new(self.shown.iter().zip(0..).map(token))
    }

    /// The tokenizer with its special tokens.
    fn marked(&self, tokenizer: Tokenizer, steps: &Steps) -> Tokenizer {
        Tokenizer { prefix_once: steps.prefix_once, ..tokenizer }.with_specials(self.marks.iter().cloned())
    }

    fn literals(&self, vocabulary: &Vocabulary) -> Literals {
        let mut ids: Vec<u32> = self.literal.iter().copied().collect();
        ids.sort_unstable();
        Literals::new(vocabulary, &ids)
    }

    /// The same as pieces of SentencePiece.
    fn pieces(
        &self,
        unknown: Option<u32>,
        bytes: bool,
        score: impl Fn(usize) -> f32,
        prefix: bool,
        unigram: bool,
    ) -> Result<Pieces, String> {
        let form = |id: u32, shown: &str| match () {
            () if unknown == Some(id) => Form::Unknown,
            () if self.special.contains(&id) => Form::Special,
            () if self.literal.contains(&id) => Form::Literal,
            () if bytes && marks::byte_piece(shown).is_some() => Form::Byte,
            () => Form::Text,
        };
        let list = self.shown.iter().zip(0..).map(|(shown, id)| match shown {
            None => (String::new(), 0.0, Form::Special),
            Some(shown) => (shown.clone(), score(id as usize), form(id, shown)),
        });
        Ok(Pieces { list: list.collect(), begin: self.begin, ends: Vec::new(), prefix, unigram })
    }
}

impl Added {
    /// A special token; white space it takes along goes with it where a template has it.
    fn mark(&self) -> Special {
        let (takes_left, takes_right) = (self.lstrip, self.rstrip);
        Special { shown: self.content.clone(), id: self.id, takes_left, takes_right }
    }
}

impl Merge {
    /// The tokens that are merged.
    fn halves(&self) -> Result<(&str, &str), String> {
        match self {
            Self::Pair(left, right) => Ok((left, right)),
            Self::Text(text) => text
                .split_once(' ')
                .ok_or_else(|| format!("its merge `{text}` is not two tokens with a space between")),
        }
    }
}

impl Bpe {
    /// The list of merges by ids.
    fn pairs(&self) -> Result<Pairs, String> {
        let unsupported = [
            ("continuing_subword_prefix", self.continuing_subword_prefix.as_deref().unwrap_or("")),
            ("end_of_word_suffix", self.end_of_word_suffix.as_deref().unwrap_or("")),
        ];
        if let Some((name, value)) = unsupported.iter().find(|(_, value)| !value.is_empty()) {
            return Err(format!("its model has `{name}` = `{value}`; none is accepted"));
        }
        if let Some(dropout) = self.dropout.filter(|dropout| *dropout > 0.0) {
            return Err(format!("its model has `dropout` = `{dropout}`; none is accepted"));
        }
        let halves: Vec<(&str, &str)> = self.merges.iter().map(Merge::halves).collect::<Result<_, _>>()?;
        pairs(halves.into_iter(), |shown| self.vocab.get(shown).copied())
    }

    fn unknown(&self) -> Option<u32> {
        self.vocab.get(self.unk_token.as_ref()?).copied()
    }
}

fn byte_level(bpe: &Bpe, names: &Names, steps: &Steps) -> Result<Tokenizer, String> {
    let alphabet = marks::ByteLevel::new();
    let vocabulary = names.vocabulary(|shown| alphabet.bytes(shown));
    let mut atoms = Atoms::new(bpe.unknown());
    atoms.find_bytes(&vocabulary);
    let merges = Merges {
        pairs: bpe.pairs()?,
        atoms,
        split: steps.split()?,
        whole: bpe.ignore_merges,
        nfc: steps.nfc,
    };
    let literals = names.literals(&vocabulary);
    let tokenizer = Tokenizer::of(vocabulary, names.begin, false, literals, Kind::Merges(merges));
    Ok(tokenizer.with_specials(names.marks.iter().cloned()))
}

/// BPE over characters, a space shown by its mark.
fn marked(bpe: &Bpe, names: &Names, steps: &Steps) -> Result<Tokenizer, String> {
    let prefix = steps.spaces()?;
    if bpe.ignore_merges {
        return Err("its model has `ignore_merges` without `ByteLevel`, which is not supported".into());
    }
    let mut tokenizer = names.pieces(bpe.unknown(), bpe.byte_fallback, |_| 0.0, prefix, false)?.build()?;
    if let Kind::Scores(scores) = &mut tokenizer.kind {
        scores.merge_by(bpe.pairs()?);
    }
    Ok(names.marked(tokenizer, steps))
}

fn wordpiece(names: &Names, unknown: Option<u32>, mark: &str, steps: &Steps) -> Result<Tokenizer, String> {
    let (lowercase, strip_accents) = steps.bert()?;
    if mark.is_empty() {
        return Err("its `continuing_subword_prefix` is empty; `##` is accepted".into());
    }
    let vocabulary = names.vocabulary(|shown| match shown.strip_prefix(mark) {
        Some(rest) => rest.as_bytes().to_vec(),
        None => [b" ", shown.as_bytes()].concat(),
    });
    let kind = Kind::WordPiece(WordPiece::new(unknown, lowercase, strip_accents)?);
    let tokenizer = Tokenizer::of(vocabulary, names.begin, true, Literals::default(), kind);
    Ok(tokenizer.with_specials(names.marks.iter().cloned()))
}

/// The token that is put before a text, by what is done to ids afterwards.
fn begin(post: &Value, ids: &HashMap<&str, u32>) -> Result<Option<u32>, String> {
    let find = |name: &str| {
        let id = ids.get(name).copied();
        id.ok_or_else(|| format!("its `post_processor` puts `{name}` before a text, no token of it"))
            .map(Some)
    };
    match post["type"].as_str() {
        Some("TemplateProcessing") => match post["single"][0]["SpecialToken"]["id"].as_str() {
            Some(name) => find(name),
            None => Ok(None),
        },
        Some("BertProcessing" | "RobertaProcessing") => post["cls"][0].as_str().map_or(Ok(None), find),
        Some("ByteLevel") => Ok(None),
        Some("Sequence") => {
            let all = post["processors"].as_array().into_iter().flatten();
            let begins = all.map(|post| begin(post, ids)).collect::<Result<Vec<_>, _>>()?;
            Ok(begins.into_iter().flatten().next())
        }
        _ => Err(format!(
            "its `post_processor` is `{}`; accepted are TemplateProcessing, BertProcessing, RobertaProcessing, \
             ByteLevel, Sequence",
            post["type"]
        )),
    }
}
