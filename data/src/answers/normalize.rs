//! Makes answers that say the same the same text: one row a kind of answer.
//!
//! A rule reads the short answer of a text and writes it in one form, so that answers are equal when their forms are.
//! What has no such answer has the form `None` and agrees with nothing.

use crate::suggest::near_names;

/// Significant digits to which numbers that are not whole must agree.
pub const DIGITS: usize = 6;
/// Whole numbers are compared digit by digit below this; above it 64-bit floats have gaps.
const WHOLE_MAX: f64 = 1e15;
/// Last letter that names an option.
const OPTION_MAX: char = 'J';

/// A rule of normalization.
#[derive(Debug, Clone, Copy)]
pub struct Normalizer {
    /// Name in configurations.
    pub name: &'static str,
    /// What it makes of an answer, in one line.
    pub title: &'static str,
    read: fn(&str) -> Option<String>,
}

/// Every rule, in the order of the documentation.
pub static ALL: &[Normalizer] = &[
    Normalizer { name: "exact", title: "the text without spaces around it", read: exact },
    Normalizer {
        name: "string",
        title: "lower case, single spaces, no quotes or full stop around it",
        read: string,
    },
    Normalizer {
        name: "number",
        title: "the last number, whole or to 6 significant digits",
        read: number_form,
    },
    Normalizer { name: "option", title: "the letter A to J of a multiple-choice answer", read: option },
    Normalizer { name: "boxed", title: "the content of the last \\boxed{}, in one LaTeX form", read: boxed },
    Normalizer {
        name: "json",
        title: "the last field `answer` of a JSON object, as it is written",
        read: json_answer,
    },
    Normalizer {
        name: "json-value",
        title: "the same, numbers and LaTeX in one form, one kind of quotes",
        read: json_value,
    },
    Normalizer {
        name: "code",
        title: "the last fenced block, without empty lines and comment lines",
        read: code,
    },
];

impl Normalizer {
    /// The rule of that name.
    ///
    /// # Errors
    /// If there is none; the message names near ones.
    pub fn named(name: &str) -> Result<&'static Self, String> {
        ALL.iter().find(|row| row.name == name).ok_or_else(|| {
            format!("no rule of normalization `{name}`; {}", near_names(name, ALL.iter().map(|row| row.name)))
        })
    }

    /// The form of an answer; `None` where the text has no answer of this kind.
    pub fn form(&self, text: &str) -> Option<String> {
        (self.read)(text).filter(|form| !form.is_empty())
    }
}

/// The value of the last `"answer":` of a text, in an object that may be cut off or stand among other text.
fn json_answer(text: &str) -> Option<String> {
    let keys = text.rmatch_indices("\"answer\"");
    let values = keys.filter_map(|(at, key)| text[at + key.len()..].trim_start().strip_prefix(':'));
    let value = values.map(str::trim_start).next()?;
    let Some(quoted) = value.strip_prefix('"') else {
        // A number, a list: what one JSON value takes up, else the rest of the line.
        let mut values = serde_json::Deserializer::from_str(value).into_iter::<serde_json::Value>();
        let length = values.next().and_then(Result::ok).map(|_| values.byte_offset());
        let end = length.or_else(|| value.find([',', '}', '\n']))?;
        return Some(value[..end].trim().to_owned()).filter(|value| value != "null");
    };
    let mut end = 0;
    while !quoted[end..].starts_with('"') {
        let c = quoted[end..].chars().next()?;
        // A backslash takes the character after it along.
        end += c.len_utf8() + if c == '\\' { quoted[end + 1..].chars().next()?.len_utf8() } else { 0 };
    }
    let raw = &quoted[..end];
    // Line breaks within a string and LaTeX with single backslashes are no JSON: such a text counts as it is written.
    let plain = serde_json::from_str::<String>(&format!("\"{}\"", raw.replace('\n', "\\n")));
    Some(plain.unwrap_or_else(|_| raw.to_owned()).trim().to_owned())
}

fn json_value(text: &str) -> Option<String> {
    let answer = json_answer(text)?;
    let bare = answer.trim_matches(['"', '\'', '`', ' ']);
    Some(latex_form(&bare.replace('\'', "\"")))
}

fn exact(text: &str) -> Option<String> {
    Some(text.trim().to_owned())
}

fn string(text: &str) -> Option<String> {
    let bare = text.trim().trim_end_matches(['.', '!', '?']).trim_matches(['"', '\'', '`', ' ']);
    let words: Vec<&str> = bare.split_whitespace().collect();
    Some(words.join(" ").to_lowercase())
}

fn number_form(text: &str) -> Option<String> {
    last_number(text).map(canonical)
}

/// A number in one form: whole numbers with all their digits, others to [`DIGITS`] significant digits.
fn canonical(number: f64) -> String {
    let rounded = if number.fract() == 0.0 && number.abs() < WHOLE_MAX {
        number
    } else {
        format!("{number:.*e}", DIGITS - 1).parse().unwrap_or(number)
    };
    // Adding 0 makes -0 positive.
    (rounded + 0.0).to_string()
}

/// The last number of a text: signs, separators of thousands, fractions `a/b` and exponents are read; units and
/// percent signs are not.
pub fn last_number(text: &str) -> Option<f64> {
    let bytes = text.as_bytes();
    let mut found = None;
    let mut at = 0;
    while at < bytes.len() {
        let begins = bytes[at].is_ascii_digit() || (bytes[at] == b'.' && is_digit(bytes, at + 1));
        if !begins {
            at += 1;
            continue;
        }
        let (value, end) = unsigned(text, at);
        let (value, end) = match bytes.get(end) {
            Some(b'/') if is_digit(bytes, end + 1) => {
                let (below, after) = unsigned(text, end + 1);
                (value.zip(below).map(|(above, below)| above / below), after)
            }
            _ => (value, end),
        };
        let sign = if is_negative(bytes, at) { -1.0 } else { 1.0 };
        found = value.filter(|value| value.is_finite()).map(|value| sign * value).or(found);
        at = end;
    }
    found
}

fn is_digit(bytes: &[u8], at: usize) -> bool {
    bytes.get(at).is_some_and(u8::is_ascii_digit)
}

/// Whether a minus sign belongs to the number at `at`: one with neither a letter nor a number before it.
fn is_negative(bytes: &[u8], at: usize) -> bool {
    let before = |n: usize| at.checked_sub(n).map(|i| bytes[i]);
    // A currency sign may come between: `-$5`.
    let sign_at = if before(1) == Some(b'$') { 2 } else { 1 };
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b')';
    before(sign_at) == Some(b'-') && !before(sign_at + 1).is_some_and(is_part)
}

/// The number without a sign at `at`, and where it ends.
fn unsigned(text: &str, at: usize) -> (Option<f64>, usize) {
    let bytes = text.as_bytes();
    let mut digits = String::new();
    let mut end = at;
    let mut has_point = false;
    while let Some(&byte) = bytes.get(end) {
        let is_thousands =
            |after: usize| (1..=3).all(|i| is_digit(bytes, after + i)) && !is_digit(bytes, after + 4);
        match byte {
            b'0'..=b'9' => digits.push(char::from(byte)),
            b',' if !has_point && is_thousands(end) => {}
            b'.' if !has_point && is_digit(bytes, end + 1) => {
                has_point = true;
                digits.push('.');
            }
            _ => break,
        }
        end += 1;
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'-' | b'+')));
        let mut after = end + 1 + sign;
        while is_digit(bytes, after) {
            after += 1;
        }
        if after > end + 1 + sign && !bytes.get(after).is_some_and(u8::is_ascii_alphabetic) {
            digits.push_str(&text[end..after]);
            end = after;
        }
    }
    (digits.parse().ok(), end)
}

fn is_option(letter: char) -> bool {
    ('A'..=OPTION_MAX).contains(&letter)
}

/// The letter that `text` begins with, where no other letter or digit follows it.
fn leading_option(text: &str) -> Option<char> {
    let mut chars = text.trim_start_matches([' ', '(', '[', '*', '"', '\'', ':', '$', '{']).chars();
    let letter = chars.next().filter(|letter| is_option(letter.to_ascii_uppercase()))?;
    let follows = chars.next();
    (!follows.is_some_and(|c| c.is_alphanumeric() || c == '\'')).then_some(letter.to_ascii_uppercase())
}

/// In the order of trust: the text is a letter; "answer is B", "answer: B", "option B", the last of them; the text
/// begins with "B)", "B." or "B:"; the last "(B)".
fn option(text: &str) -> Option<String> {
    let bare = text.trim().trim_matches(['(', ')', '[', ']', '*', '.', ':', '"', '\'', '`', '$', ' ']);
    let mut chars = bare.chars();
    if let (Some(letter), None) = (chars.next(), chars.next()) {
        let letter = letter.to_ascii_uppercase();
        return is_option(letter).then(|| letter.to_string());
    }
    // ASCII only, so that places in the one are places in the other.
    let lower = text.to_ascii_lowercase();
    let cues = ["answer is", "answer:", "answer**:", "answer:**", "option", "choice", "boxed{", "text{"];
    let cued = cues.iter().flat_map(|cue| lower.match_indices(cue).map(move |(at, _)| at + cue.len()));
    let named = cued.filter_map(|at| {
        // A small letter behind a cue is a word: "the answer is a number".
        let letter = leading_option(&text[at..])?;
        text[at..]
            .trim_start_matches(|c: char| !c.is_alphanumeric())
            .starts_with(letter)
            .then_some((at, letter))
    });
    let begins = || {
        let letter = leading_option(text)?;
        let after = text.trim_start_matches(['(', ' ', '*']).chars().nth(1)?;
        matches!(after, ')' | '.' | ':').then_some(letter)
    };
    let in_brackets = || {
        let mut found = text.match_indices('(').filter_map(|(at, _)| {
            let mut chars = text[at + 1..].chars();
            let letter = chars.next().filter(|letter| is_option(*letter))?;
            (chars.next() == Some(')')).then_some(letter)
        });
        found.next_back()
    };
    let letter = named.max_by_key(|(at, _)| *at).map(|(_, letter)| letter);
    letter.or_else(begins).or_else(in_brackets).map(|letter| letter.to_string())
}

/// The content of the last `\boxed{..}` or `\fbox{..}`; a text of one line without a box is its own content.
fn boxed(text: &str) -> Option<String> {
    let start =
        ["\\boxed", "\\fbox"].iter().filter_map(|command| Some((text.rfind(command)?, command.len())));
    let content = match start.max_by_key(|(at, _)| *at) {
        Some((at, length)) => braced(text[at + length..].trim_start())?,
        None => Some(text.trim()).filter(|text| !text.contains('\n'))?,
    };
    Some(latex_form(content))
}

/// The content of the braces a text begins with.
fn braced(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('{')?;
    let mut depth = 1_usize;
    for (at, c) in inner.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(&inner[..at]);
        }
    }
    None
}

/// LaTeX in one form: without layout, `\dfrac` as `\frac`, `\frac12` as `\frac{1}{2}`, without units in `\text{}`; a
/// plain number or fraction as a number.
fn latex_form(content: &str) -> String {
    let mut form = content.to_owned();
    for (from, to) in [
        ("\\left", ""),
        ("\\right", ""),
        ("\\!", ""),
        ("\\,", ""),
        ("\\;", ""),
        ("\\:", ""),
        ("\\ ", ""),
        ("\\$", ""),
        ("\\%", ""),
        ("%", ""),
        ("$", ""),
        ("^{\\circ}", ""),
        ("^\\circ", ""),
        ("\\dfrac", "\\frac"),
        ("\\tfrac", "\\frac"),
        ("\\mbox", "\\text"),
        ("\\mathrm", "\\text"),
        ("\\textbf", "\\text"),
        ("\n", ""),
    ] {
        form = form.replace(from, to);
    }
    form = without_text(&form).split_whitespace().collect::<Vec<_>>().concat();
    form = braced_fractions(form.trim_end_matches('.'));
    // A name for the value, as in `x = 5`, is no part of it.
    if let Some((name, value)) = form.split_once('=')
        && name.chars().count() == 1
    {
        form = value.to_owned();
    }
    plain_number(&form).map_or(form, canonical)
}

/// `\text{..}` unwrapped where it is all there is, else left out: a unit.
fn without_text(form: &str) -> String {
    let mut out = String::new();
    let mut rest = form;
    let mut unwrapped = String::new();
    while let Some(at) = rest.find("\\text") {
        out.push_str(&rest[..at]);
        let Some(inner) = braced(&rest[at + 5..]) else {
            out.push_str(&rest[at..]);
            return out;
        };
        unwrapped.push_str(inner);
        rest = &rest[at + 5 + inner.len() + 2..];
    }
    out.push_str(rest);
    if out.trim().is_empty() { unwrapped } else { out }
}

/// Braces around the arguments of `\frac` that have none.
fn braced_fractions(form: &str) -> String {
    let mut out = String::new();
    let mut rest = form;
    while let Some(at) = rest.find("\\frac") {
        out.push_str(&rest[..at + 5]);
        rest = &rest[at + 5..];
        for _ in 0..2 {
            if let Some(inner) = braced(rest) {
                out.push_str(&rest[..inner.len() + 2]);
                rest = &rest[inner.len() + 2..];
            } else if let Some(c) = rest.chars().next() {
                out.push_str(&format!("{{{c}}}"));
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    out + rest
}

/// The value of a form that is a number, `a/b` or `\frac{a}{b}` of numbers, and nothing else.
fn plain_number(form: &str) -> Option<f64> {
    let (sign, bare) = form.strip_prefix('-').map_or((1.0, form), |rest| (-1.0, rest));
    let whole = |text: &str| {
        let (value, end) = unsigned(text, 0);
        value.filter(|_| end == text.len() && !text.is_empty())
    };
    let ratio = |above: &str, below: &str| Some(whole(above)? / whole(below)?);
    let fraction = || {
        let rest = bare.strip_prefix("\\frac")?;
        let above = braced(rest)?;
        let rest = &rest[above.len() + 2..];
        let below = braced(rest).filter(|below| below.len() + 2 == rest.len())?;
        ratio(above, below)
    };
    let value =
        whole(bare).or_else(|| bare.split_once('/').and_then(|(a, b)| ratio(a, b))).or_else(fraction)?;
    value.is_finite().then_some(sign * value)
}

/// The last fenced block, or the whole text; trailing spaces, empty lines and lines that are a comment are dropped.
fn code(text: &str) -> Option<String> {
    let fences: Vec<usize> = text.match_indices("```").map(|(at, _)| at).collect();
    let block = match fences.len() {
        0 | 1 => text,
        n => {
            let last = n - n % 2;
            let inner = &text[fences[last - 2] + 3..fences[last - 1]];
            // The first line names the language.
            inner.split_once('\n').map_or(inner, |(_, body)| body)
        }
    };
    let is_comment = |line: &str| ["#", "//", "--"].iter().any(|mark| line.trim_start().starts_with(mark));
    let lines = block.lines().map(str::trim_end).filter(|line| !line.trim().is_empty() && !is_comment(line));
    Some(lines.collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests;
