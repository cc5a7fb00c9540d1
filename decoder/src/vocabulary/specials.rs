//! Special tokens by how they are shown: only the trusted text of a template is searched for them.

use super::Tokenizer;

/// A special token and how it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Special {
    /// What it is shown as, such as `<|im_start|>`.
    pub shown: String,
    /// Its id.
    pub id: u32,
    /// White space before it belongs to it.
    pub takes_left: bool,
    /// White space after it belongs to it.
    pub takes_right: bool,
}

impl Special {
    /// A token that takes no white space along.
    pub(super) fn plain(shown: &str, id: u32) -> Self {
        Self { shown: shown.to_owned(), id, takes_left: false, takes_right: false }
    }
}

impl Tokenizer {
    /// The same with special tokens, the longest looked for first.
    pub(super) fn with_specials(mut self, specials: impl IntoIterator<Item = Special>) -> Self {
        self.specials = specials.into_iter().filter(|special| !special.shown.is_empty()).collect();
        self.specials.sort_by(|a, b| b.shown.len().cmp(&a.shown.len()).then(a.id.cmp(&b.id)));
        self
    }

    /// The special tokens, the longest first.
    pub fn specials(&self) -> &[Special] {
        &self.specials
    }

    /// How a special token is shown.
    pub fn shown(&self, id: u32) -> Option<&str> {
        self.specials.iter().find(|special| special.id == id).map(|special| special.shown.as_str())
    }

    /// Ids of the text of a template, in which special tokens stand as they are shown.
    ///
    /// What others wrote into the template must not become one: put `guard`, a character found nowhere else, into
    /// whatever there looks like one ([`Self::guarded`]); it is dropped here.
    pub fn encode_template(&self, text: &str, guard: char) -> Vec<u32> {
        let mut ids = Vec::new();
        let mut rest = text;
        let mut is_first = true;
        while !rest.is_empty() {
            let found = rest.char_indices().find_map(|(at, _)| Some((at, self.special_at(&rest[at..])?)));
            let (plain, special) = match found {
                Some((at, special)) => (&rest[..at], Some(special)),
                None => (rest, None),
            };
            rest = special.map_or("", |special| &rest[plain.len() + special.shown.len()..]);
            let plain = match special {
                Some(Special { takes_left: true, .. }) => plain.trim_end(),
                _ => plain,
            };
            ids.extend(self.encode_between(&plain.replace(guard, ""), is_first));
            if let Some(special) = special {
                ids.push(special.id);
                rest = if special.takes_right { rest.trim_start() } else { rest };
            }
            is_first = false;
        }
        ids
    }

    /// A text with `guard` in everything that is shown like a special token.
    pub fn guarded(&self, text: &str, guard: char) -> String {
        let mut guarded = String::with_capacity(text.len());
        for (at, character) in text.char_indices() {
            guarded.push(character);
            if self.special_at(&text[at..]).is_some() {
                guarded.push(guard);
            }
        }
        guarded
    }

    fn special_at(&self, text: &str) -> Option<&Special> {
        self.specials.iter().find(|special| text.starts_with(&special.shown))
    }

    /// Ids of a stretch between special tokens: a space is put before it as before a whole text, or only where nothing
    /// stands before it.
    fn encode_between(&self, text: &str, is_first: bool) -> Vec<u32> {
        let prefix = self.prefix && (is_first || !self.prefix_once);
        // A mark that is put before a text is not put before a space by `Metaspace`.
        match prefix && !(self.prefix_once && text.starts_with(' ')) {
            true => self.encode(text.as_bytes()),
            false => self.encode_part(text.as_bytes()),
        }
    }
}
