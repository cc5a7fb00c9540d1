//! What members write on their own, and where it ends.

use super::boundary::{Boundary, whole, word_ends};
use crate::backend::Draft;
use crate::backends::writing::first_of;
use crate::generation::{FuseError, Generation};
use crate::member::Proposed;
use std::sync::{Mutex, PoisonError};

/// Where a span ends. Where its model ends the answer before, it ends there.
#[derive(Debug, Clone)]
pub enum Until {
    /// After so many words; the white space after them belongs to what follows.
    Words(usize),
    /// After so many tokens of the writer; a word that may not be finished is left away.
    Tokens(usize),
    /// At the first place where every member parts words.
    Boundary(Boundary),
}

impl Until {
    /// Tokens that are missing at least.
    fn missing(&self, text: &[u8], tokens: usize) -> usize {
        match self {
            // A token is a word at most.
            Self::Words(n) => n.saturating_sub(word_ends(text).count()),
            Self::Tokens(n) => n.saturating_sub(tokens),
            Self::Boundary(boundary) => usize::from(boundary.first(text).is_none()),
        }
    }

    /// Bytes that belong to the span, and whether the end of the answer after the text still does.
    fn cut(&self, text: &[u8], ends: bool) -> (usize, bool) {
        let place = match self {
            Self::Words(n) => word_ends(text).nth(n.saturating_sub(1)),
            Self::Boundary(boundary) => boundary.first(text),
            Self::Tokens(_) if ends => None,
            Self::Tokens(_) => last_word(text),
        };
        match place {
            Some(at) => (at, false),
            None if ends => (text.len(), true),
            None => (whole(text), false),
        }
    }
}

/// Where a text that stops in the middle of a word, it may be, has its last finished one; none where it has none.
fn last_word(text: &[u8]) -> Option<usize> {
    text.last().filter(|last| last.is_ascii_alphanumeric() || !last.is_ascii())?;
    word_ends(text).last()
}

/// A text a member would go on with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Span {
    /// Its bytes; none where the member would end here.
    pub text: Vec<u8>,
    /// Tokens of the member that wrote it; they may reach beyond the text.
    pub ids: Vec<u32>,
    /// The answer ends with it.
    pub ends: bool,
}

impl Span {
    /// What its probability is shared by: bytes, and one for an end.
    pub fn symbols(&self) -> usize {
        self.text.len() + usize::from(self.ends)
    }

    /// Whether two members wrote the same.
    pub fn is_same(&self, other: &Self) -> bool {
        self.text == other.text && self.ends == other.ends
    }
}

/// Lets members write.
#[derive(Debug, Clone)]
pub struct Proposer {
    /// Where a span ends.
    pub until: Until,
    /// Tokens at most.
    pub tokens: usize,
}

impl Proposer {
    /// What every member would write, chosen token by token as the caller wants units to be picked; `None` where
    /// one was dropped or wrote nothing.
    ///
    /// # Errors
    /// If a member fails and failing is not allowed, or none is left.
    pub fn propose(&self, generation: &mut Generation<'_>) -> Result<Vec<Option<Span>>, FuseError> {
        let pick = generation.picking();
        let draft =
            Draft { tokens: self.tokens, stop: Vec::new(), temperature: pick.temperature, top_p: pick.top_p };
        let streams: Vec<_> = generation.streams().into_iter().map(Mutex::new).collect();
        let proposed = generation.ask(|at, member| {
            let mut rng = streams[at].lock().unwrap_or_else(PoisonError::into_inner);
            member.propose(&draft, |text, tokens| self.until.missing(text, tokens), &mut *rng)
        })?;
        let stops: Vec<Vec<u8>> =
            generation.limits().stop.iter().map(|stop| stop.clone().into_bytes()).collect();
        let span = |proposed: Proposed| self.span(proposed, generation.text(), &stops);
        Ok(proposed.into_iter().map(|proposed| proposed.map(span).filter(|s| s.symbols() > 0)).collect())
    }

    /// A span of what was written: nothing follows a stop string in it.
    fn span(&self, proposed: Proposed, before: &[u8], stops: &[Vec<u8>]) -> Span {
        let (keep, ends) = self.until.cut(&proposed.text, proposed.ends);
        let mut span = Span { text: proposed.text, ids: proposed.ids, ends };
        span.text.truncate(keep);
        let longest = stops.iter().map(Vec::len).max().unwrap_or(0);
        let tail = &before[before.len().saturating_sub(longest.saturating_sub(1))..];
        let text = [tail, &span.text].concat();
        if let Some(at) = first_of(&text, stops) {
            let stop = stops.iter().find(|stop| text[at..].starts_with(stop)).map_or(0, Vec::len);
            span.text.truncate((at + stop).saturating_sub(tail.len()));
            span.ends = false;
        }
        span
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_finished_by_white_space() {
        let text = b" once upon a";
        assert_eq!(word_ends(text).collect::<Vec<_>>(), [5, 10]);
        let two = Until::Words(2);
        assert_eq!((two.missing(text, 9), two.cut(text, true)), (0, (10, false)));
        let four = Until::Words(4);
        assert_eq!((four.missing(text, 9), four.cut(text, true)), (2, (12, true)));
    }

    #[test]
    fn tokens_are_cut_back_to_a_word_that_is_whole() {
        let tokens = Until::Tokens(5);
        assert_eq!(tokens.missing(b" the pa", 3), 2);
        assert_eq!(tokens.cut(b" the pa", false), (4, false));
        assert_eq!(tokens.cut(b" the pa", true), (7, true));
        assert_eq!(tokens.cut(b" park.", false), (6, false));
        assert_eq!(tokens.cut(b" par", false), (4, false));
        assert_eq!(tokens.cut(b".\xe2\x82", false), (1, false));
    }

    #[test]
    fn nothing_stands_behind_a_stop_string() {
        let proposer = Proposer { until: Until::Words(3), tokens: 9 };
        let of = |text: &[u8], before: &[u8]| {
            let proposed = Proposed { text: text.to_vec(), ends: true, ..Proposed::default() };
            proposer.span(proposed, before, &[b"END".to_vec()])
        };
        assert_eq!(of(b" a END b", b"").text, b" a END");
        assert_eq!(of(b"D b", b"EN").text, b"D");
        assert!(!of(b"D b", b"EN").ends && of(b"D b", b"E").ends);
    }
}
