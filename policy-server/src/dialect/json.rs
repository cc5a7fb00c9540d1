//! JSON as it was written: read once for validity, then looked into piece by piece, each piece still the bytes it came
//! from.
//!
//! A typed parse loses what a gateway must keep: the order of keys, numbers beyond 64 bits, how a text was escaped.
//! Here a [`Value`] is a range of the input, so that whatever is passed on is passed on as it was written.
//!
//! ```
//! use routewright_policy_server::dialect::json::Value;
//!
//! let value = Value::read(br#"{"a": 1e400, "b": ["x"]}"#)?;
//! assert_eq!(value.get("a").map(|number| number.raw()), Some("1e400"));
//! assert_eq!(value.at(&["b", "0"]).and_then(|text| text.text()).as_deref(), Some("x"));
//! # Ok::<(), routewright_policy_server::dialect::json::JsonError>(())
//! ```
//!
//! Of a name that an object has twice, the last counts, as for most readers; [`super::splice`] refuses such bodies
//! where it matters. Nesting is bounded at [`DEPTH_MAX`]; nothing here recurses.

mod scan;
mod write;

pub use write::{Writer, quoted};

use scan::Scanner;
use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

/// Lists and objects within each other, at most: as many as `serde_json` reads.
pub const DEPTH_MAX: u32 = 127;

/// Why bytes are not JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JsonError {
    /// Offset of the first byte that cannot be.
    pub at: usize,
    /// What was expected there.
    pub expected: &'static str,
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not JSON at byte {}: expected {}", self.at, self.expected)
    }
}

impl std::error::Error for JsonError {}

/// Kinds of JSON values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool,
    /// A number, of any size.
    Number,
    /// A text.
    Text,
    /// A list.
    List,
    /// An object.
    Object,
}

/// A JSON value, as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Value<'a> {
    raw: &'a str,
}

/// A name and its value in an object, with their places in the object's text.
#[derive(Debug, Clone)]
pub struct Entry<'a> {
    /// The name, escapes resolved.
    pub name: Cow<'a, str>,
    /// The value.
    pub value: Value<'a>,
    /// Where the name is, quotes included, counted from the `{`.
    pub name_at: Range<usize>,
    /// Where the value is, counted from the `{`.
    pub value_at: Range<usize>,
}

impl<'a> Value<'a> {
    /// Reads one JSON value and nothing behind it but blanks.
    ///
    /// # Errors
    /// If the bytes are not UTF-8 or not JSON, or nested deeper than [`DEPTH_MAX`].
    pub fn read(bytes: &'a [u8]) -> Result<Self, JsonError> {
        let text = std::str::from_utf8(bytes)
            .map_err(|error| JsonError { at: error.valid_up_to(), expected: "UTF-8" })?;
        let mut scanner = Scanner::new(bytes);
        scanner.blank();
        let start = scanner.at;
        scanner.value()?;
        let end = scanner.at;
        scanner.blank();
        if scanner.at < bytes.len() {
            return Err(scanner.expected("the end"));
        }
        Ok(Self { raw: &text[start..end] })
    }

    /// The value as it was written, without blanks around it.
    pub fn raw(self) -> &'a str {
        self.raw
    }

    /// Its kind.
    pub fn kind(self) -> Kind {
        match self.raw.as_bytes().first() {
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::List,
            Some(b'"') => Kind::Text,
            Some(b't' | b'f') => Kind::Bool,
            Some(b'n') => Kind::Null,
            _ => Kind::Number,
        }
    }

    /// Whether it is `null`.
    pub fn is_null(self) -> bool {
        self.kind() == Kind::Null
    }

    /// `Some` where it is `true` or `false`.
    pub fn bool(self) -> Option<bool> {
        match self.raw {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    /// Its text with escapes resolved; half of a surrogate pair becomes U+FFFD. None where it is no text.
    pub fn text(self) -> Option<Cow<'a, str>> {
        let inner = self.raw.strip_prefix('"')?.strip_suffix('"')?;
        Some(if inner.contains('\\') { Cow::Owned(unescape(inner)) } else { Cow::Borrowed(inner) })
    }

    /// Whether it is exactly this text.
    pub fn is_text(self, text: &str) -> bool {
        self.text().is_some_and(|own| own == text)
    }

    /// The nearest `f64`; None where it is no number.
    pub fn number(self) -> Option<f64> {
        (self.kind() == Kind::Number).then(|| self.raw.parse().ok()).flatten()
    }

    /// The number where it is whole and fits, `9`, `9.0` and `9e0` alike.
    pub fn integer(self) -> Option<i64> {
        if self.kind() != Kind::Number {
            return None;
        }
        if let Ok(number) = self.raw.parse() {
            return Some(number);
        }
        // Beyond 2^53 a float is no count any more.
        self.number()
            .filter(|number| number.fract() == 0.0 && number.abs() < 9e15)
            .map(|number| number as i64)
    }

    /// Names and values of an object in their order; empty where it is none.
    pub fn entries(self) -> Entries<'a> {
        let at = if self.kind() == Kind::Object { 1 } else { self.raw.len() };
        Entries { raw: self.raw, at }
    }

    /// The items of a list; empty where it is none.
    pub fn items(self) -> Items<'a> {
        let at = if self.kind() == Kind::List { 1 } else { self.raw.len() };
        Items { raw: self.raw, at }
    }

    /// Every text, number, `true`, `false` and `null` within, in one pass, each with the name nearest to it.
    pub fn scalars(self) -> Scalars<'a> {
        Scalars { raw: self.raw, at: 0, name: "", names: Vec::new() }
    }

    /// The value of a name of an object, the last of several.
    pub fn get(self, name: &str) -> Option<Self> {
        self.entries().filter(|entry| entry.name == name).last().map(|entry| entry.value)
    }

    /// The same, where it is not `null`.
    pub fn has(self, name: &str) -> Option<Self> {
        self.get(name).filter(|value| !value.is_null())
    }

    /// The value at a path of names and, in lists, numbers; None where there is none or it is `null`.
    pub fn at(self, path: &[&str]) -> Option<Self> {
        path.iter().try_fold(self, |value, step| match value.kind() {
            Kind::List => value.items().nth(step.parse().ok()?).filter(|item| !item.is_null()),
            _ => value.has(step),
        })
    }
}

/// Names and values of an object.
#[derive(Debug, Clone)]
pub struct Entries<'a> {
    raw: &'a str,
    at: usize,
}

impl<'a> Iterator for Entries<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        let text = self.raw.as_bytes();
        let name = past_separators(text, self.at);
        if text.get(name) != Some(&b'"') {
            self.at = text.len();
            return None;
        }
        let name_end = past_value(text, name);
        let value = past_separators(text, name_end);
        self.at = past_value(text, value);
        let name_value = Value { raw: &self.raw[name..name_end] };
        Some(Entry {
            name: name_value.text().unwrap_or_default(),
            value: Value { raw: &self.raw[value..self.at] },
            name_at: name..name_end,
            value_at: value..self.at,
        })
    }
}

/// Items of a list.
#[derive(Debug, Clone)]
pub struct Items<'a> {
    raw: &'a str,
    at: usize,
}

impl<'a> Iterator for Items<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        let text = self.raw.as_bytes();
        let start = past_separators(text, self.at);
        if matches!(text.get(start), None | Some(b']')) {
            self.at = text.len();
            return None;
        }
        self.at = past_value(text, start);
        Some(Value { raw: &self.raw[start..self.at] })
    }
}

/// Scalars within a value, each with the name nearest to it as it was written, without quotes.
#[derive(Debug, Clone)]
pub struct Scalars<'a> {
    raw: &'a str,
    at: usize,
    name: &'a str,
    /// Names of the lists and objects that are open.
    names: Vec<&'a str>,
}

impl<'a> Iterator for Scalars<'a> {
    type Item = (&'a str, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let text = self.raw.as_bytes();
        loop {
            self.at = past_separators(text, self.at);
            match text.get(self.at)? {
                b'{' | b'[' => {
                    self.names.push(self.name);
                    self.at += 1;
                }
                b'}' | b']' => {
                    self.name = self.names.pop().unwrap_or_default();
                    self.at += 1;
                }
                first => {
                    let start = self.at;
                    self.at = past_value(text, start);
                    let rest = &text[self.at..];
                    let next = rest.iter().find(|byte| !is_blank(**byte));
                    if *first == b'"' && next == Some(&b':') {
                        self.name = &self.raw[start + 1..self.at - 1];
                        continue;
                    }
                    return Some((self.name, Value { raw: &self.raw[start..self.at] }));
                }
            }
        }
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// Past blanks, commas and colons; of valid JSON alone.
fn past_separators(text: &[u8], at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    let skipped = rest.iter().take_while(|byte| is_blank(**byte) || matches!(byte, b',' | b':')).count();
    at + skipped
}

/// Past the text that begins at `at`; of valid JSON alone.
fn past_text(text: &[u8], mut at: usize) -> usize {
    at += 1;
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    text.len()
}

/// Past the value that begins at `at`; of valid JSON alone.
fn past_value(text: &[u8], mut at: usize) -> usize {
    let mut depth = 0_usize;
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => {
                at = past_text(text, at);
                if depth == 0 {
                    return at;
                }
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth <= 1 => return if depth == 1 { at + 1 } else { at },
            b'}' | b']' => depth -= 1,
            b',' if depth == 0 => return at,
            byte if depth == 0 && is_blank(*byte) => return at,
            _ => {}
        }
        at += 1;
    }
    text.len()
}

fn unescape(inner: &str) -> String {
    let mut out = String::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let escape = rest.as_bytes().get(at + 1).copied().unwrap_or_default();
        rest = rest.get(at + 2..).unwrap_or_default();
        match escape {
            b'n' => out.push('\n'),
            b't' => out.push('\t'),
            b'r' => out.push('\r'),
            b'b' => out.push('\u{8}'),
            b'f' => out.push('\u{c}'),
            b'u' => {
                let (character, after) = unicode(rest);
                out.push(character);
                rest = after;
            }
            other => out.push(char::from(other)),
        }
    }
    out.push_str(rest);
    out
}

/// The character of the escape whose digits begin here, and what follows it.
fn unicode(rest: &str) -> (char, &str) {
    let unit = |text: &str| text.get(..4).and_then(|digits| u32::from_str_radix(digits, 16).ok());
    let Some(first) = unit(rest) else { return (char::REPLACEMENT_CHARACTER, rest) };
    let after = &rest[4..];
    if (0xd800..0xdc00).contains(&first) {
        let second = after.strip_prefix("\\u").and_then(unit).filter(|unit| (0xdc00..0xe000).contains(unit));
        if let Some(second) = second {
            let code = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
            return (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), &after[6..]);
        }
    }
    (char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER), after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_serde_reads_is_read_and_what_it_refuses_is_refused() {
        let good = [
            "0",
            "-0",
            "-0.5e+7",
            "1E400",
            "9223372036854775808",
            "true",
            "null",
            "\"\"",
            "[]",
            "{}",
            " [ 1 , 2 ] ",
            r#"{"a":{"b":[{}, []]},"a":1}"#,
            r#""\u00e9\n\/\"\\""#,
            "[[[[]]]]",
            "\r\n\t{\"\": \"\"}\n",
            r#""\ud83d\ude00""#,
            "\"\u{7f}\u{e9}\"",
        ];
        let bad = [
            "",
            " ",
            "01",
            "1.",
            ".5",
            "+1",
            "1e",
            "-",
            "tru",
            "nulll",
            "\"",
            "\"\n\"",
            "[1,]",
            "[,1]",
            "{,}",
            "{\"a\"}",
            "{\"a\":}",
            "{a:1}",
            "{\"a\":1,}",
            "[1}",
            "{\"a\":1]",
            "1 2",
            "\"\\x\"",
            "\"\\u12g4\"",
            "'a'",
            "NaN",
            "[",
            "{\"a\":1",
            "\u{feff}1",
            "]",
            "[1 2]",
            "{\"a\" 1}",
            "\u{a0}1",
        ];
        for text in good {
            assert!(Value::read(text.as_bytes()).is_ok(), "{text}");
            assert!(serde_json::from_str::<serde_json::Value>(text).is_ok() || text == "1E400", "{text}");
        }
        for text in bad {
            assert!(Value::read(text.as_bytes()).is_err(), "{text}");
            assert!(serde_json::from_str::<serde_json::Value>(text).is_err(), "{text}");
        }
        assert_eq!(Value::read(b"\"\xff\"").unwrap_err(), JsonError { at: 1, expected: "UTF-8" });
    }

    #[test]
    fn pieces_are_the_bytes_they_came_from() {
        let text = r#" { "a" : [ 1.50 , "x\u0041" , { } ] , "b\n": -0 , "a": true } "#;
        let value = Value::read(text.as_bytes()).unwrap();
        assert_eq!(value.raw(), text.trim());
        let names: Vec<String> = value.entries().map(|entry| entry.name.into_owned()).collect();
        assert_eq!(names, ["a", "b\n", "a"]);
        for entry in value.entries() {
            assert_eq!(&value.raw()[entry.value_at.clone()], entry.value.raw());
            assert!(value.raw()[entry.name_at.clone()].starts_with('"'));
        }
        let list = value.entries().next().unwrap().value;
        assert_eq!(list.items().map(Value::raw).collect::<Vec<_>>(), ["1.50", r#""x\u0041""#, "{ }"]);
        assert_eq!(list.at(&["1"]).unwrap().text().unwrap(), "xA");
        assert_eq!(value.get("a").unwrap().bool(), Some(true), "the last of two counts");
        assert_eq!(value.get("b\n").unwrap().integer(), Some(0));
    }

    #[test]
    fn scalars_have_the_name_nearest_to_them() {
        let value = Value::read(br#"{"a":[1,{"b":"x","c":[[null]]},2],"d":{},"e" : true}"#).unwrap();
        let found: Vec<(&str, &str)> = value.scalars().map(|(name, value)| (name, value.raw())).collect();
        assert_eq!(found, [("a", "1"), ("b", "\"x\""), ("c", "null"), ("a", "2"), ("e", "true")]);
        assert_eq!(Value::read(b"7").unwrap().scalars().count(), 1);
    }

    #[test]
    fn texts_are_those_serde_reads() {
        for text in ["", "a\"b\\c/\u{8}\u{c}\n\r\t\u{1}\u{7f}é\u{1f600}", "\u{2028}"] {
            assert_eq!(serde_json::from_str::<String>(&quoted(text)).unwrap(), text);
            let escaped: String = text.encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect();
            for written in [quoted(text), format!("\"{escaped}\"")] {
                assert_eq!(Value::read(written.as_bytes()).unwrap().text().unwrap(), text);
            }
        }
        let half = Value::read(br#""a\ud83d\n\udc00\ud83d\u0041""#).unwrap();
        assert_eq!(half.text().unwrap(), "a\u{fffd}\n\u{fffd}\u{fffd}A");
    }

    #[test]
    fn numbers_that_are_no_counts_are_none() {
        let integer = |text: &str| Value::read(text.as_bytes()).unwrap().integer();
        assert_eq!(["9", "9.0", "9e2", "-3"].map(integer), [Some(9), Some(9), Some(900), Some(-3)]);
        assert_eq!(["9.5", "1e400", "9223372036854775808", "\"9\"", "null"].map(integer), [None; 5]);
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        assert!(Value::read(nested(127).as_bytes()).is_ok());
        assert_eq!(Value::read(nested(128).as_bytes()).unwrap_err().at, 127);
        let objects = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
        assert!(Value::read(objects(127).as_bytes()).is_ok());
        assert!(Value::read(objects(128).as_bytes()).is_err());
    }
}
