//! Texts that break readers, and damage to texts.

use crate::random::{Rng, below, one_in, pick, size};
use rand::RngExt as _;

/// Texts at the edges of what a text may be.
const EDGES: [&str; 30] = [
    "",
    " ",
    "\n",
    "\t",
    "\r\n",
    "\0",
    "null",
    "NaN",
    "Infinity",
    "-0",
    "1e999",
    "true",
    "a\u{301}\u{301}\u{301}",
    "\u{feff}",
    "\u{202e}abc",
    "\u{fffd}",
    "\u{e000}",
    "\u{10ffff}",
    "\u{7f}\u{80}\u{9f}",
    "\u{2028}\u{2029}",
    "ﷺ",
    "👩‍👩‍👧‍👦",
    "İıſß",
    "../../etc/passwd",
    "`\"'\\",
    "<|im_start|>",
    "{{ 7 * 7 }}",
    "\u{2581}",
    "##a",
    "9223372036854775808",
];

/// A text of some kind.
pub(crate) fn any(rng: &mut Rng) -> String {
    match below(rng, 8) {
        0..=2 => (*pick(rng, &EDGES)).to_owned(),
        3 => pick(rng, &EDGES).repeat(1 + size(rng)),
        4 => (0..size(rng)).map(|_| rng.random::<char>()).collect(),
        5 => (0..size(rng)).map(|_| *pick(rng, b"abc {}[]\",:0123456789.-+eE\\/\n") as char).collect(),
        6 => "x".repeat(*pick(rng, &[1, 127, 128, 255, 256, 257, 1000, 4096, 10_000])),
        _ => rng.random::<u32>().to_string(),
    }
}

/// Numbers at the edges of what readers take for one, as they are written.
const NUMBERS: [&str; 34] = [
    "0",
    "-0",
    "-0.0",
    "1",
    "-1",
    "2",
    "0.5",
    "1.0000001",
    "0.30000000000000004",
    "127",
    "128",
    "255",
    "256",
    "32768",
    "65536",
    "2147483647",
    "2147483648",
    "4294967295",
    "4294967296",
    "9007199254740993",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "-9223372036854775808",
    "-9223372036854775809",
    "1e-320",
    "1e-45",
    "1e38",
    "3.5e38",
    "1e300",
    "1.7976931348623157e308",
    "-1e308",
    "123456789012345678901234567890.123456789",
];

/// A number as JSON and TOML write it.
pub(crate) fn number(rng: &mut Rng) -> String {
    match below(rng, 6) {
        0 => rng.random::<i32>().to_string(),
        1 => format!("{}", rng.random::<f64>() * 10_f64.powi(below(rng, 40) as i32 - 20)),
        2 => below(rng, 20).to_string(),
        _ => (*pick(rng, &NUMBERS)).to_owned(),
    }
}

/// A text with a few characters put in, taken out, exchanged or repeated.
pub(crate) fn damage(text: &str, rng: &mut Rng) -> String {
    let mut characters: Vec<char> = text.chars().collect();
    for _ in 0..1 + below(rng, 3) {
        let (at, n) = (below(rng, characters.len() + 1), characters.len());
        match below(rng, 6) {
            0 => characters.insert(at, rng.random()),
            1 if at < n => drop(characters.remove(at)),
            2 if at < n => {
                characters[at] = *pick(rng, &['\0', '\n', '"', '\\', '.', 'A', '0', 'é', '\u{1f600}'])
            }
            3 => drop(characters.splice(at..at, any(rng).chars())),
            4 => characters.truncate(at),
            _ if at < n => {
                let end = (at + 1 + size(rng)).min(n);
                let piece = characters[at..end].to_vec();
                drop(characters.splice(at..at, piece));
            }
            _ => {}
        }
    }
    characters.into_iter().collect()
}

/// Lines taken out, doubled, exchanged, cut and joined.
pub(crate) fn damage_lines(text: &str, rng: &mut Rng) -> String {
    let mut lines: Vec<String> = text.split('\n').map(str::to_owned).collect();
    for _ in 0..1 + below(rng, 3) {
        let (at, other) = (below(rng, lines.len()), below(rng, lines.len()));
        if lines.is_empty() {
            break;
        }
        match below(rng, 8) {
            0 => drop(lines.remove(at)),
            1 => lines.insert(other, lines[at].clone()),
            2 => lines.swap(at, other),
            3 => lines[at] = damage(&lines[at], rng),
            4 => lines.truncate(at),
            5 => lines.insert(at, any(rng)),
            6 => {
                let line = lines.remove(at);
                let into = other.min(lines.len().saturating_sub(1));
                if let Some(into) = lines.get_mut(into) {
                    into.push_str(&line);
                }
            }
            _ => lines
                .splice(at..at, std::iter::repeat_n(lines[at].clone(), size(rng)).collect::<Vec<_>>())
                .for_each(drop),
        }
    }
    lines.join(if one_in(rng, 20) { "\r\n" } else { "\n" })
}
