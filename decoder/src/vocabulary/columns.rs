//! The `.vocab` file that SentencePiece writes beside a model: a line an id, `piece TAB score`.
//!
//! It does not say which kind of model it belongs to; merging by score is assumed, which is right for BPE and
//! for single characters.

use super::Tokenizer;
use super::marks;
use super::pieces::{Form, Pieces};

pub(super) fn read(text: &str) -> Result<Tokenizer, String> {
    let mut list = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let row = at + 1;
        let (shown, score) = line
            .rsplit_once('\t')
            .ok_or_else(|| format!("its line {row} has no tab; `piece TAB score` is accepted"))?;
        let score: f32 = score
            .parse()
            .map_err(|_not| format!("its line {row} has the score `{score}`; a number is accepted"))?;
        let form = match shown {
            "<unk>" => Form::Unknown,
            "<s>" | "</s>" | "" => Form::Special,
            _ if marks::byte_piece(shown).is_some() => Form::Byte,
            _ => Form::Text,
        };
        list.push((shown.to_owned(), score, form));
    }
    let find = |name: &str| {
        let at = list.iter().position(|(shown, ..)| shown == name)?;
        u32::try_from(at).ok()
    };
    // Such models are trained on texts that `<s>` parts, so it ends an answer as `</s>` does.
    let begin = find("<s>");
    let ends: Vec<u32> = begin.into_iter().chain(find("</s>")).collect();
    Pieces { list, begin, ends, prefix: true, unigram: false }.build()
}
