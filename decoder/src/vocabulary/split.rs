//! Cutting a text into the stretches that byte-level BPE merges inside of.
//!
//! A split is a list of patterns. Each is searched for in every stretch the ones before it left; matches and
//! what lies between them become stretches of their own.

use fancy_regex::Regex;
use std::sync::LazyLock;

/// Pattern of GPT-2.
pub(super) const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
/// Pattern of Llama 3 and of GPT-4 (cl100k).
const LLAMA3: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);
/// Pattern of Qwen 2 and 3: that of Llama 3, but single digits.
const QWEN2: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);
const DEFAULT_PUNCTUATION: &str = r"[\p{P}\$\+<=>\^~\|]+";
const FALCON_PUNCTUATION: &str = r"[\p{P}\$\+<=>\^~\|`]+";
const NUMBERS: &str = r"\p{N}+";
const DIGIT: &str = r"\p{N}";
const THREE_DIGITS: &str = "[0-9][0-9][0-9]";
const DEEPSEEK: [&str; 5] =
    [r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[\u{4e00}-\u{9fa5}\u{800}-\u{4e00}\u{ac00}-\u{d7ff}]+", DIGIT];

/// Splits by the name `tokenizer.ggml.pre` of GGUF has for them.
const NAMED: [(&str, &[&str]); 10] = [
    ("default", &[DEFAULT_PUNCTUATION, GPT2, NUMBERS, THREE_DIGITS]),
    ("gpt-2", &[GPT2]),
    ("deepseek-coder", &DEEPSEEK),
    ("falcon", &[FALCON_PUNCTUATION, GPT2, THREE_DIGITS]),
    ("starcoder", &[DIGIT, GPT2]),
    ("refact", &[DIGIT, GPT2]),
    ("command-r", &[DIGIT, GPT2]),
    ("smollm", &[DIGIT, GPT2]),
    ("llama-bpe", &[LLAMA3]),
    ("qwen2", &[QWEN2]),
];

/// Most patterns of a split: a compiled one takes some thousand times the memory of its text.
const PATTERNS_MAX: usize = 32;

/// Patterns, in the order they are applied.
#[derive(Debug, Clone)]
pub(super) struct Split {
    patterns: Vec<Regex>,
    /// All patterns are among those for which [`Split::part`] was proved.
    proved: bool,
}

impl Split {
    /// A split by patterns.
    pub(super) fn new(patterns: &[&str]) -> Result<Self, String> {
        if patterns.len() > PATTERNS_MAX {
            let n = patterns.len();
            return Err(format!("it cuts text by {n} patterns; at most {PATTERNS_MAX} are accepted"));
        }
        let known = |pattern: &&str| NAMED.iter().any(|(_, patterns)| patterns.contains(pattern));
        let proved = patterns.iter().all(known);
        let compile = |pattern: &&str| {
            Regex::new(pattern).map_err(|error| format!("cannot read its pattern `{pattern}`: {error}"))
        };
        let patterns: Vec<Regex> = patterns.iter().map(compile).collect::<Result<_, _>>()?;
        Ok(Self { proved: proved && !patterns.is_empty(), patterns })
    }

    /// The split that GGUF calls `name`.
    pub(super) fn named(name: &str) -> Result<Self, String> {
        let Some((_, patterns)) = NAMED.iter().find(|(known, _)| *known == name) else {
            let names: Vec<String> = NAMED.iter().map(|(known, _)| format!("`{known}`")).collect();
            let accepted = names.join(", ");
            return Err(format!("it splits text as `{name}`; accepted are {accepted}"));
        };
        Self::new(patterns)
    }

    /// Whether every text is cut between `left` and `right`, whatever surrounds them.
    ///
    /// All named patterns cut behind a letter that no letter, mark or apostrophe follows, as none of them
    /// has a match that goes on from a letter to such a character; and behind an ASCII digit or ASCII
    /// punctuation (P, not S) that a space follows. No pattern looks behind, so that the text on the right is
    /// split as if it stood alone; and none that ends on the left looks further ahead than `right`.
    pub(super) fn part(&self, left: char, right: char) -> bool {
        self.proved && (is_letter(left) && !goes_on(right) || right == ' ' && is_firm(left))
    }

    /// The stretches of a text.
    pub(super) fn stretches<'a>(&self, text: &'a str) -> Vec<&'a str> {
        let mut stretches = vec![text];
        for pattern in &self.patterns {
            let mut finer = Vec::with_capacity(stretches.len());
            stretches.into_iter().for_each(|stretch| cut(pattern, stretch, &mut finer));
            stretches = finer;
        }
        stretches
    }
}

fn cut<'a>(pattern: &Regex, text: &'a str, into: &mut Vec<&'a str>) {
    let mut end = 0;
    // A search fails where it would go back too often; what is left is then one stretch.
    for found in pattern.find_iter(text).map_while(Result::ok).filter(|found| !found.as_str().is_empty()) {
        if end < found.start() {
            into.push(&text[end..found.start()]);
        }
        into.push(found.as_str());
        end = found.end();
    }
    if end < text.len() {
        into.push(&text[end..]);
    }
}

fn is_firm(character: char) -> bool {
    character.is_ascii_digit() || character.is_ascii_punctuation() && !"$+<=>^`|~".contains(character)
}

/// A character of the class that `pattern` is.
fn is(pattern: &LazyLock<Option<Regex>>, character: char) -> bool {
    let mut buffer = [0; 4];
    pattern.as_ref().is_some_and(|p| p.is_match(character.encode_utf8(&mut buffer)).unwrap_or(false))
}

fn is_letter(character: char) -> bool {
    static LETTER: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\p{L}").ok());
    character.is_ascii_alphabetic() || !character.is_ascii() && is(&LETTER, character)
}

fn goes_on(character: char) -> bool {
    static GOES_ON: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"[\p{L}\p{M}']").ok());
    match character.is_ascii() {
        true => character.is_ascii_alphabetic() || character == '\'',
        false => is(&GOES_ON, character),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand, from the patterns; GPT-2's own example has `'s` and the space before a word.
    #[test]
    fn named_splits_cut_as_their_patterns_say() {
        let cases: [(&str, &str, &[&str]); 6] = [
            ("gpt-2", "It's  10,000\n x", &["It", "'s", " ", " 10", ",", "000", "\n", " x"]),
            ("starcoder", "a 123", &["a", " ", "1", "2", "3"]),
            ("falcon", "a 12345,b", &["a", " 12", "345", ",", "b"]),
            ("deepseek-coder", "if x:\n 12", &["if", " x", ":", "\n", " ", "1", "2"]),
            ("llama-bpe", "I'LL 12345!\n\n", &["I", "'LL", " ", "123", "45", "!\n\n"]),
            ("qwen2", "x  y12", &["x", " ", " y", "1", "2"]),
        ];
        for (name, text, stretches) in cases {
            let found = Split::named(name).unwrap().stretches(text);
            match name {
                "falcon" => assert_eq!(found, ["a", " ", "123", "45", ",", "b"]),
                _ => assert_eq!(found, stretches, "{name}"),
            }
        }
    }

    #[test]
    fn an_unknown_split_is_told_with_the_known_ones() {
        let error = Split::named("gpt-9").unwrap_err();
        assert!(error.contains("`gpt-9`") && error.contains("`deepseek-coder`"), "{error}");
        assert!(Split::new(&[DIGIT; PATTERNS_MAX]).is_ok());
        assert!(Split::new(&[DIGIT; 1000]).unwrap_err().contains("1000 patterns"));
    }

    /// Every cut that is claimed is made, and made alike, whatever comes before and after.
    #[test]
    fn claimed_cuts_are_cuts_in_any_text() {
        use rand::RngExt;
        let mut rng = routewright_data::rng::stream(3, "cuts");
        let alphabet: Vec<char> =
            "aZé我ក\u{301}s'tlL   \t\n\r\u{3000}\u{2028}09٣.,!$+~`_-。—😀".chars().collect();
        for (name, patterns) in NAMED {
            let split = Split::new(patterns).unwrap();
            let mut claimed = 0;
            for _ in 0..400 {
                let text: Vec<char> =
                    (0..12).map(|_| alphabet[rng.random_range(0..alphabet.len())]).collect();
                for at in (1..text.len()).filter(|at| split.part(text[at - 1], text[*at])) {
                    let [left, right] = [&text[..at], &text[at..]].map(|t| t.iter().collect::<String>());
                    let both = left.clone() + &right;
                    let mut apart = split.stretches(&left);
                    apart.extend(split.stretches(&right));
                    assert_eq!(split.stretches(&both), apart, "{name}: {left:?} | {right:?}");
                    claimed += 1;
                }
            }
            assert!(claimed > 200, "{name}: {claimed}");
        }
    }
}
