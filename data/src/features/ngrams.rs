//! Texts as hashed n-grams, in any language and without a dictionary.
//!
//! Words are runs of letters; every digit, every punctuation mark, every line break and every character
//! of a script written without spaces (Han, Kana, Hangul) is a word of its own. Character n-grams run
//! over the lower-cased text with white space collapsed, across word boundaries.

/// Characters read of one text. Of a longer one the head and the tail are read: instructions stand in
/// front, questions at the end.
pub const CHARS_MAX: usize = 2048;
const CHARS_HEAD: usize = CHARS_MAX / 4 * 3;

/// Lengths of the character n-grams.
const CHAR_LENGTHS: std::ops::RangeInclusive<usize> = 3..=5;

/// Hashes of the n-grams of one text, with repetitions, in the order of the text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NGrams {
    /// Word 1-grams and 2-grams.
    pub words: Vec<u32>,
    /// Character 3-, 4- and 5-grams.
    pub chars: Vec<u32>,
}

impl NGrams {
    /// Hashes the n-grams of a text.
    pub fn of(text: &str) -> Self {
        let chars = normalize(text);
        // At most one word and one pair a character, and a gram of each length.
        let n_lengths = CHAR_LENGTHS.end() + 1 - CHAR_LENGTHS.start();
        let mut grams = Self {
            words: Vec::with_capacity(chars.len()),
            chars: Vec::with_capacity(n_lengths * chars.len()),
        };
        hash_words(&chars, &mut grams.words);
        hash_chars(&chars, &mut grams.chars);
        grams
    }
}

/// Lower-cases, collapses white space to one blank (or one line break, if it holds one), cuts to
/// [`CHARS_MAX`] and puts a blank at both ends.
fn normalize(text: &str) -> Vec<char> {
    let mut out = Vec::with_capacity(text.len().min(CHARS_MAX) + 2);
    out.push(' ');
    // A character has at most four bytes: a text this short cannot be over the limit.
    if text.len() <= CHARS_MAX {
        push_normalized(text.chars(), usize::MAX, &mut out);
    } else {
        let n_chars = text.chars().count();
        push_normalized(text.chars(), CHARS_HEAD.min(n_chars), &mut out);
        let tail = (CHARS_MAX - CHARS_HEAD).min(n_chars.saturating_sub(CHARS_HEAD));
        push_normalized(text.chars().skip(n_chars - tail), usize::MAX, &mut out);
    }
    if out.last() != Some(&' ') {
        out.push(' ');
    }
    out
}

fn push_normalized(chars: impl Iterator<Item = char>, limit: usize, out: &mut Vec<char>) {
    for c in chars.take(limit) {
        if c.is_whitespace() {
            let blank = if c == '\n' { '\n' } else { ' ' };
            match out.last_mut() {
                Some(last) if *last == ' ' || *last == '\n' => {
                    if blank == '\n' {
                        *last = '\n';
                    }
                }
                _ => out.push(blank),
            }
        } else if c.is_ascii() {
            out.push(c.to_ascii_lowercase());
        } else {
            out.extend(c.to_lowercase());
        }
    }
}

/// Whether the character is a word of its own.
fn stands_alone(c: char) -> bool {
    matches!(c, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}'
        | '\u{ac00}'..='\u{d7af}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3134f}')
        || !c.is_alphabetic()
}

fn hash_words(chars: &[char], out: &mut Vec<u32>) {
    let mut previous: Option<u64> = None;
    let mut start = 0;
    while start < chars.len() {
        let c = chars[start];
        let mut end = start + 1;
        if c == ' ' {
            start = end;
            continue;
        }
        if !stands_alone(c) {
            while end < chars.len() && !stands_alone(chars[end]) {
                end += 1;
            }
        }
        let word = chars[start..end].iter().fold(WORD_SEED, |hash, c| mix(hash, u64::from(u32::from(*c))));
        out.push(finish(word));
        if let Some(previous) = previous {
            out.push(finish(mix(previous, word)));
        }
        previous = Some(word);
        start = end;
    }
}

fn hash_chars(chars: &[char], out: &mut Vec<u32>) {
    let shortest = *CHAR_LENGTHS.start();
    for (at, head) in chars.windows(shortest).enumerate() {
        let mut hash = head.iter().fold(CHAR_SEED, |hash, c| mix(hash, u64::from(u32::from(*c))));
        out.push(finish(hash));
        for length in shortest + 1..=*CHAR_LENGTHS.end() {
            let Some(c) = chars.get(at + length - 1) else { break };
            hash = mix(hash, u64::from(u32::from(*c)));
            out.push(finish(hash));
        }
    }
}

const WORD_SEED: u64 = 0x9e37_79b9_7f4a_7c15;
const CHAR_SEED: u64 = 0xd1b5_4a32_d192_ed03;

/// One multiply and one fold a step (the scheme of Fowler, Noll and Vo with a 64-bit state).
fn mix(hash: u64, value: u64) -> u64 {
    let product = (hash ^ value).wrapping_mul(0x0000_0100_0000_01b3);
    product ^ (product >> 29)
}

/// Scrambles a state to 32 well-spread bits (the finisher of splitmix64).
fn finish(hash: u64) -> u32 {
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (hash >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn words_are_letters_runs_and_single_marks_in_any_script() {
        let count = |text: &str| NGrams::of(text).words.len();
        assert_eq!(count("hello world"), 3); // hello, world, hello-world
        assert_eq!(count("x = 12"), 7); // x, =, 1, 2 and three pairs
        assert_eq!(count("你好吗"), 5); // three characters, two pairs
        assert_eq!(count("привет мир"), 3);
        assert_eq!(count(""), 0);
    }

    #[test]
    fn case_and_white_space_do_not_matter_but_line_breaks_do() {
        assert_eq!(NGrams::of("Hello   World "), NGrams::of("hello world"));
        assert_ne!(NGrams::of("a\nb"), NGrams::of("a b"));
        assert_eq!(NGrams::of("a \n\n b"), NGrams::of("a\nb"));
    }

    #[test]
    fn a_long_text_is_read_at_its_head_and_tail_only() {
        let head = "h".repeat(CHARS_MAX);
        let a = format!("{head}{}{}", "m".repeat(1 << 20), "t".repeat(CHARS_MAX));
        let b = format!("{head}{}{}", "n".repeat(1 << 10), "t".repeat(CHARS_MAX));
        assert_eq!(NGrams::of(&a), NGrams::of(&b));
        assert!(NGrams::of(&a).chars.len() <= 3 * (CHARS_MAX + 2));
    }

    #[test]
    fn hashes_spread() {
        let words: HashSet<u32> = (0..20_000_u32).map(|i| finish(mix(WORD_SEED, u64::from(i)))).collect();
        assert!(words.len() > 19_990, "{}", words.len());
    }
}
