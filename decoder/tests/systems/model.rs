//! Models made of a function of the text read so far, over characters or pieces of a list.

use routewright_decoder::backend::{Backend, NextTokens};
use routewright_decoder::backends::scripted::Scripted;
use routewright_decoder::vocabulary::Tokenizer;
use std::sync::Arc;

/// A tokenizer of single characters and these pieces, a space before every text.
pub(crate) fn tokenizer(pieces: &[&str]) -> Arc<Tokenizer> {
    let mut lines = vec!["<unk>\t0".to_owned(), "<s>\t0".to_owned(), "</s>\t0".to_owned()];
    let characters = ('a'..='z').chain('0'..='9').chain(" .,?!+=-*\u{2581}ABY".chars());
    let characters = characters.filter(|c| *c != ' ').map(|c| c.to_string());
    let pieces = pieces.iter().map(|piece| piece.replace(' ', "\u{2581}"));
    for (at, piece) in characters.chain(pieces).enumerate() {
        lines.push(format!("{piece}\t-{at}"));
    }
    lines.push("<0x0A>\t0".to_owned());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokenizer.vocab");
    std::fs::write(&path, lines.join("\n")).unwrap();
    Arc::new(Tokenizer::open(&path).unwrap())
}

#[derive(Debug, Clone)]
pub(crate) struct Model(Scripted);

impl Model {
    /// It says pieces and their probabilities, `""` for an end; all tokens share what is left.
    pub(crate) fn new(
        name: &'static str,
        says: impl Fn(&str) -> Vec<(String, f32)> + Send + Sync + 'static,
    ) -> Self {
        Self::cut_by(name, tokenizer(&[]), says)
    }

    /// The same over other tokens.
    pub(crate) fn cut_by(
        name: &'static str,
        tokenizer: Arc<Tokenizer>,
        says: impl Fn(&str) -> Vec<(String, f32)> + Send + Sync + 'static,
    ) -> Self {
        Self(Scripted::new(name, tokenizer, move |text| says(std::str::from_utf8(text).unwrap())))
    }

    /// Wants to write `text` and end, at the same length wherever it was led; its choice has this probability.
    pub(crate) fn text(name: &'static str, text: &'static str, p: f32) -> Self {
        Self::text_cut_by(name, tokenizer(&[]), text, p)
    }

    /// The same over other tokens.
    pub(crate) fn text_cut_by(
        name: &'static str,
        tokenizer: Arc<Tokenizer>,
        text: &'static str,
        p: f32,
    ) -> Self {
        Self::cut_by(name, tokenizer, move |read| {
            let next = text.get(read.len()..).and_then(|rest| rest.chars().next());
            vec![(next.map_or(String::new(), |c| c.to_string()), p)]
        })
    }

    /// It fails once it has read so many tokens.
    pub(crate) fn dying_after(mut self, dies_after: usize) -> Self {
        self.0.dies_after = dies_after;
        self
    }

    /// It lists so many candidates.
    pub(crate) fn with_top(mut self, top: u32) -> Self {
        self.0.next = NextTokens::Top(top);
        self
    }

    pub(crate) fn with_context(mut self, context: usize) -> Self {
        self.0.context = context;
        self
    }

    pub(crate) fn arc(self) -> Arc<dyn Backend> {
        Arc::new(self.0)
    }
}
