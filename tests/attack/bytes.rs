//! Binary inputs as segments with a meaning, so that lengths can lie while the rest stays whole; and damage by byte.

use crate::random::{Rng, below, one_in, pick, size};
use crate::text;
use rand::RngExt as _;

/// What a segment is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A number of bytes or items that follow, little-endian.
    Length,
    /// The same as a protobuf writes it.
    Varint,
    /// Which of a few kinds something is, little-endian.
    Tag,
    /// A number, little-endian.
    Number,
    /// Bytes of their own.
    Payload,
}

/// A piece of a file.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    pub(crate) kind: Kind,
    pub(crate) bytes: Vec<u8>,
}

/// A file as pieces.
#[derive(Debug, Clone, Default)]
pub(crate) struct Segments(pub(crate) Vec<Segment>);

impl Segments {
    pub(crate) fn push(&mut self, kind: Kind, bytes: impl Into<Vec<u8>>) {
        self.0.push(Segment { kind, bytes: bytes.into() });
    }

    /// Bytes behind their length as a `u64`.
    pub(crate) fn text(&mut self, text: &[u8]) {
        self.push(Kind::Length, (text.len() as u64).to_le_bytes());
        self.push(Kind::Payload, text);
    }

    /// The file.
    pub(crate) fn write(&self) -> Vec<u8> {
        self.0.iter().flat_map(|segment| segment.bytes.iter().copied()).collect()
    }

    /// Damages a few segments, and one file in four by bytes as well.
    pub(crate) fn damaged(mut self, rng: &mut Rng) -> Vec<u8> {
        for _ in 0..*pick(rng, &[0, 1, 1, 1, 1, 2, 2, 3, 5]) {
            let n = self.0.len();
            let (at, other) = (below(rng, n), below(rng, n));
            match below(rng, 10) {
                0 if n > 0 => drop(self.0.remove(at)),
                1 if n > 0 => self.0.insert(other, self.0[at].clone()),
                2 if n > 0 => self.0.swap(at, other),
                3 if n > 0 => {
                    let end = (at + 1 + below(rng, 12)).min(n);
                    let piece = self.0[at..end].to_vec();
                    drop(self.0.splice(other..other, piece));
                }
                _ if n > 0 => self.0[at].damage(rng),
                _ => {}
            }
        }
        let mut file = self.write();
        if one_in(rng, 4) {
            damage(&mut file, rng);
        }
        file
    }
}

impl Segment {
    fn damage(&mut self, rng: &mut Rng) {
        let width = self.bytes.len();
        match self.kind {
            Kind::Varint => self.bytes = varint(extreme(rng)),
            Kind::Payload if one_in(rng, 2) => {
                self.bytes = text::damage(&String::from_utf8_lossy(&self.bytes), rng).into()
            }
            Kind::Payload => damage(&mut self.bytes, rng),
            Kind::Tag if one_in(rng, 4) => self.bytes = number(extreme(rng), width),
            Kind::Tag => self.bytes = number(below(rng, 16) as u64, width),
            Kind::Length if one_in(rng, 2) => {
                let known =
                    self.bytes.iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
                let changed = [
                    known.wrapping_add(1),
                    known.wrapping_sub(1),
                    known.wrapping_mul(2),
                    known / 2,
                    known << 32,
                ];
                self.bytes = number(*pick(rng, &changed), width);
            }
            Kind::Length | Kind::Number => self.bytes = number(extreme(rng), width),
        }
    }
}

/// A number at an edge: of integers, or the bits of a float.
fn extreme(rng: &mut Rng) -> u64 {
    let f32s = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN_POSITIVE, -0.0, 1e30, -1.0];
    let f64s = [f64::NAN, f64::INFINITY, f64::MAX, 5e-324, -0.0, 1e300];
    match below(rng, 5) {
        0 => 1_u64 << below(rng, 64),
        1 => (1_u64 << below(rng, 64)).wrapping_sub(1 + below(rng, 3) as u64),
        2 => u64::from(pick(rng, &f32s).to_bits()),
        3 => pick(rng, &f64s).to_bits(),
        _ => rng.random(),
    }
}

fn number(number: u64, width: usize) -> Vec<u8> {
    number.to_le_bytes().into_iter().chain(std::iter::repeat(0)).take(width).collect()
}

/// A number as protobuf writes it.
pub(crate) fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// Flips, cuts, doubles, overwrites and puts in bytes.
pub(crate) fn damage(bytes: &mut Vec<u8>, rng: &mut Rng) {
    for _ in 0..*pick(rng, &[1, 1, 1, 2, 4, 16]) {
        let n = bytes.len();
        let (at, other) = (below(rng, n), below(rng, n));
        let end = (at + 1 + size(rng)).min(n);
        match below(rng, 9) {
            0 | 1 if n > 0 => bytes[at] ^= 1 << below(rng, 8),
            2 if n > 0 => bytes[at] = *pick(rng, &[0, 1, 0x7f, 0x80, 0xff, b'"', b'{', b'\n']),
            3 => bytes.truncate(at),
            4 if n > 0 => drop(bytes.drain(at..end)),
            5 if n > 0 => {
                let piece = bytes[at..end].to_vec();
                drop(bytes.splice(other..other, piece));
            }
            6 if n > 0 => {
                let piece = bytes[at..end].to_vec();
                let end = (other + piece.len()).min(n);
                let fits = end - other;
                bytes[other..end].copy_from_slice(&piece[..fits]);
            }
            7 if n > 0 => {
                let width = *pick(rng, &[1, 2, 4, 8]);
                let value = number(extreme(rng), width);
                let end = (at + width).min(n);
                bytes[at..end].copy_from_slice(&value[..end - at]);
            }
            _ => {
                let piece: Vec<u8> = (0..size(rng)).map(|_| rng.random()).collect();
                drop(bytes.splice(at..at, piece));
            }
        }
    }
}
