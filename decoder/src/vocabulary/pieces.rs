//! A vocabulary of SentencePiece, wherever it was read from, and the tokenizer it makes.

use super::atoms::Atoms;
use super::literals::Literals;
use super::scores::Scores;
use super::specials::Special;
use super::unigram::Unigram;
use super::{Kind, Role, Tokenizer, Vocabulary, marks};

/// Scores beyond this are no logarithms.
const SCORE_MAX: f32 = 1e6;

/// What a piece is, as SentencePiece has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Text,
    /// Found in a text before anything else.
    Literal,
    Byte,
    Unknown,
    /// Stands for no text.
    Special,
}

/// Pieces by id and what is known of them.
#[derive(Debug)]
pub(super) struct Pieces {
    /// How the piece is shown, its score and form.
    pub(super) list: Vec<(String, f32, Form)>,
    pub(super) begin: Option<u32>,
    pub(super) ends: Vec<u32>,
    /// A space is put before a text.
    pub(super) prefix: bool,
    /// Cut by the sum of scores instead of merged by the highest.
    pub(super) unigram: bool,
}

impl Pieces {
    /// The tokenizer.
    pub(super) fn build(self) -> Result<Tokenizer, String> {
        let within = |id: &u32| (*id as usize) < self.list.len();
        if let Some(id) = self.begin.iter().chain(&self.ends).find(|id| !within(id)) {
            return Err(format!("it names token {id} as special, and has {} tokens", self.list.len()));
        }
        let mut atoms = Atoms::new(None);
        let mut literals = Vec::new();
        let mut vocabulary = Vocabulary::default();
        for (id, (shown, score, form)) in self.list.iter().enumerate() {
            if score.is_nan() || *score > SCORE_MAX || self.unigram && *score < -SCORE_MAX {
                return Err(format!("its token {id}, `{shown}`, has the score `{score}`"));
            }
            let (bytes, role) = match form {
                Form::Text | Form::Literal => (marks::piece(shown), Role::Text),
                Form::Byte => (vec![byte(id, shown)?], Role::Text),
                Form::Unknown | Form::Special => {
                    (Vec::new(), marks::special(id, shown, self.begin, &self.ends))
                }
            };
            let byte = bytes.first().copied();
            let id = vocabulary.push(bytes, role);
            match (form, byte) {
                (Form::Literal, _) => literals.push(id),
                (Form::Unknown, _) => atoms.unknown = atoms.unknown.or(Some(id)),
                (Form::Byte, Some(byte)) => {
                    let other = atoms.bytes[usize::from(byte)].replace(id);
                    let twice = |other| format!("its tokens {other} and {id}, `{shown}`, are the same byte");
                    other.map_or(Ok(()), |other| Err(twice(other)))?;
                }
                _ => {}
            }
        }
        let scores: Vec<f32> = self.list.iter().map(|(_, score, _)| *score).collect();
        let kind = match self.unigram {
            true => Kind::Unigram(Unigram::new(&vocabulary, &scores, atoms)),
            false => Kind::Scores(Scores::new(&vocabulary, &scores, atoms)),
        };
        let literals = Literals::new(&vocabulary, &literals);
        let special = |(id, (shown, _, form)): (u32, &(String, f32, Form))| {
            (*form == Form::Special).then(|| Special::plain(shown, id))
        };
        let specials: Vec<Special> = (0..).zip(&self.list).filter_map(special).collect();
        Ok(Tokenizer::of(vocabulary, self.begin, self.prefix, literals, kind).with_specials(specials))
    }
}

fn byte(id: usize, shown: &str) -> Result<u8, String> {
    marks::byte_piece(shown).ok_or_else(|| {
        format!("its token {id} is a byte and shown as `{shown}`; `<0x00>` to `<0xFF>` are accepted")
    })
}
