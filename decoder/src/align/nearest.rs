//! The token of a vocabulary nearest to a string by edit distance.
//!
//! Tokens are looked through by their lengths, the nearest first, since the distance is at least the difference of the
//! lengths. It is also at least what either string has of a kind of byte beyond the other: bits say which kinds of byte
//! a token has once and twice, and most tokens are ruled out by counting bits. Of the others the distance is computed,
//! a column of its table in one word of 64 bits (Myers 1999, in the form of Hyyrö 2003).

use crate::vocabulary::{Role, Vocabulary};
use routewright_data::simd::widest;

/// Tokens whose bounds are computed at once.
const BLOCK: usize = 256;
/// Number of kinds of bytes; a byte's lowest bits give its kind.
const KINDS: usize = 64;

/// The text tokens of a vocabulary, by length.
#[derive(Debug)]
pub(super) struct Nearest<'a> {
    lengths: Vec<Words<'a>>,
}

/// Tokens of one length, in the order of their bytes.
#[derive(Debug, Default)]
struct Words<'a> {
    words: Vec<(&'a [u8], u32)>,
    once: Vec<u64>,
    twice: Vec<u64>,
}

/// The kinds of bytes a string has at least once, and at least twice.
fn kinds(bytes: &[u8]) -> (u64, u64) {
    bytes.iter().fold((0, 0), |(once, twice), byte| {
        let bit = 1 << (usize::from(*byte) % KINDS);
        (once | bit, twice | (once & bit))
    })
}

/// A string with what is computed of it once.
struct Sought<'a> {
    bytes: &'a [u8],
    once: u64,
    twice: u64,
    /// For each byte value, a mask of its positions; only for strings of 1 to 64 bytes.
    places: Option<Box<[u64; 256]>>,
}

impl<'a> Sought<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        let (once, twice) = kinds(bytes);
        let places = (1..=64).contains(&bytes.len()).then(|| {
            let mut places = Box::new([0; 256]);
            bytes.iter().enumerate().for_each(|(at, byte)| places[usize::from(*byte)] |= 1 << at);
            places
        });
        Self { bytes, once, twice, places }
    }

    /// The edit distance to `word`.
    fn distance(&self, word: &[u8]) -> usize {
        let Some(places) = &self.places else { return by_rows(self.bytes, word) };
        let last = 1_u64 << (self.bytes.len() - 1);
        // Bits are rises and falls of a column of the table, from one row to the next.
        let (mut rises, mut falls, mut distance) = (u64::MAX, 0_u64, self.bytes.len());
        for byte in word {
            let same = places[usize::from(*byte)];
            let down = same | falls;
            let across = ((same & rises).wrapping_add(rises) ^ rises) | same;
            let (up, less) = (falls | !(across | rises), rises & across);
            distance += usize::from(up & last != 0);
            distance -= usize::from(less & last != 0);
            let up = up << 1 | 1;
            rises = less << 1 | !(down | up);
            falls = up & down;
        }
        distance
    }
}

/// The edit distance, row by row of the table.
fn by_rows(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut before = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let next = (before + usize::from(x != y)).min(row[j] + 1).min(row[j + 1] + 1);
            before = std::mem::replace(&mut row[j + 1], next);
        }
    }
    row[b.len()]
}

/// The nearest token so far.
#[derive(Debug, Clone, Copy)]
struct Found<'a> {
    distance: usize,
    word: &'a [u8],
    id: u32,
}

impl<'a> Nearest<'a> {
    /// Of the text tokens of `vocabulary`.
    pub(super) fn new(vocabulary: &'a Vocabulary) -> Self {
        let ids = 0..u32::try_from(vocabulary.len()).unwrap_or(u32::MAX);
        let text = ids.filter(|id| vocabulary.role(*id) == Role::Text);
        let mut words: Vec<(&[u8], u32)> = text.map(|id| (vocabulary.bytes(id), id)).collect();
        words.sort_unstable();
        // Of tokens of the same bytes the first counts.
        words.dedup_by_key(|(bytes, _)| *bytes);
        let longest = words.iter().map(|(bytes, _)| bytes.len()).max().unwrap_or(0);
        let mut lengths: Vec<Words<'_>> = (0..=longest).map(|_| Words::default()).collect();
        for (bytes, id) in words.into_iter().filter(|(bytes, _)| !bytes.is_empty()) {
            let (once, twice) = kinds(bytes);
            let of = &mut lengths[bytes.len()];
            of.words.push((bytes, id));
            of.once.push(once);
            of.twice.push(twice);
        }
        Self { lengths }
    }

    /// The id of the token most like `unit`; of equally near ones the first in the order of their bytes. 0 where there
    /// is no token.
    pub(super) fn of(&self, unit: &[u8]) -> u32 {
        let sought = Sought::new(unit);
        let mut found: Option<Found<'a>> = None;
        for off in 0..self.lengths.len().max(unit.len() + 1) {
            if found.is_some_and(|found| found.distance < off) {
                break;
            }
            let lengths = [unit.len().checked_sub(off), Some(unit.len() + off).filter(|_| off > 0)];
            for words in lengths.into_iter().flatten().filter_map(|length| self.lengths.get(length)) {
                words.look(&sought, &mut found);
            }
        }
        found.map_or(0, |found| found.id)
    }
}

impl<'a> Words<'a> {
    /// Puts the nearest of these tokens into `found`, where it is nearer.
    fn look(&self, sought: &Sought<'_>, found: &mut Option<Found<'a>>) {
        let mut bounds = [0_u8; BLOCK];
        let blocks = self.once.chunks(BLOCK).zip(self.twice.chunks(BLOCK)).zip(self.words.chunks(BLOCK));
        for ((once, twice), words) in blocks {
            let bounds = &mut bounds[..words.len()];
            least(sought, once, twice, bounds);
            for ((word, id), bound) in words.iter().zip(&*bounds) {
                let may_be = |found: &Found<'_>| usize::from(*bound) <= found.distance;
                if !found.as_ref().is_none_or(may_be) {
                    continue;
                }
                let distance = sought.distance(word);
                let nearer = |found: &Found<'_>| (distance, *word) < (found.distance, found.word);
                if found.as_ref().is_none_or(nearer) {
                    *found = Some(Found { distance, word, id: *id });
                }
            }
        }
    }
}

/// What the distances are at least, by the kinds of bytes.
fn least(sought: &Sought<'_>, once: &[u64], twice: &[u64], bounds: &mut [u8]) {
    let (a, b) = (sought.once, sought.twice);
    widest(
        #[inline(always)]
        || {
            for ((bound, once), twice) in bounds.iter_mut().zip(once).zip(twice) {
                let lacks = (a & !once).count_ones() + (b & !twice).count_ones();
                let has = (once & !a).count_ones() + (twice & !b).count_ones();
                *bound = lacks.max(has) as u8;
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt as _;
    use routewright_data::rng;

    #[test]
    fn distances_by_words_are_those_by_rows() {
        assert_eq!(by_rows(b"kitten", b"sitting"), 3);
        let mut rng = rng::stream(5, "strings");
        for _ in 0..3000 {
            let mut string = |most: usize| -> Vec<u8> {
                (0..rng.random_range(0..most)).map(|_| rng.random_range(0..5_u8) * 63).collect()
            };
            let (a, b) = (string(90), string(30));
            let distance = Sought::new(&a).distance(&b);
            assert_eq!(distance, by_rows(&a, &b), "{a:?} {b:?}");
            let mut bound = [0];
            least(&Sought::new(&a), &[kinds(&b).0], &[kinds(&b).1], &mut bound);
            assert!(usize::from(bound[0]) <= distance, "{a:?} {b:?}");
        }
    }

    /// Every token is compared: the nearest, then the first by its bytes, then the first id.
    #[test]
    fn the_nearest_token_is_that_of_a_search_through_all() {
        let mut rng = rng::stream(1, "words");
        let mut word = |most: usize| -> Vec<u8> {
            (0..rng.random_range(1..most)).map(|_| b'a' + rng.random_range(0..4_u8)).collect()
        };
        let mut words: Vec<(Vec<u8>, Role)> = (0..400).map(|_| (word(9), Role::Text)).collect();
        words.extend([
            (b"zzzz".to_vec(), Role::Control),
            (Vec::new(), Role::End),
            (vec![b'a'; 70], Role::Text),
        ]);
        let vocabulary = Vocabulary::new(words);
        let nearest = Nearest::new(&vocabulary);
        let long = vec![b'a'; 68];
        let units: Vec<Vec<u8>> =
            (0..300).map(|_| word(12)).chain([b"zzzz".to_vec(), Vec::new(), long]).collect();
        for unit in units {
            let ids = (0..vocabulary.len() as u32).filter(|id| vocabulary.role(*id) == Role::Text);
            let key = |id: &u32| (by_rows(&unit, vocabulary.bytes(*id)), vocabulary.bytes(*id), *id);
            assert_eq!(Some(nearest.of(&unit)), ids.min_by_key(key), "{unit:?}");
        }
        assert_eq!(Nearest::new(&Vocabulary::new([(Vec::new(), Role::End)])).of(b"a"), 0);
    }
}
