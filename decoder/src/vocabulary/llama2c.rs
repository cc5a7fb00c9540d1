//! `tokenizer.bin` of llama2.c: i32 longest piece, then per id f32 score, i32 length, bytes.

use super::Tokenizer;
use super::bytes::Reader;
use super::pieces::{Form, Pieces};

/// Ids of beginning and end of text; the format does not say them, all its files have them here.
const BEGIN: u32 = 1;
/// Texts stand one after another, parted by [`BEGIN`], so both end an answer.
const ENDS: [u32; 2] = [1, 2];
/// Tokens before the text pieces: 3 special ones and the 256 bytes.
const FIRST_PIECE: usize = 259;

/// The file of a vocabulary: the special tokens, the bytes, then `pieces`, those merged first standing first.
pub fn write(pieces: &[&[u8]]) -> Vec<u8> {
    let longest = pieces.iter().map(|piece| piece.len()).max().unwrap_or(1).max(1);
    let number = |n: usize| i32::try_from(n).unwrap_or(i32::MAX).to_le_bytes();
    let mut file = number(longest).to_vec();
    let special = [&b"<unk>"[..], b"<s>", b"</s>"].map(<[u8]>::to_vec);
    let bytes = (0..=255_u8).map(|byte| format!("<0x{byte:02X}>").into_bytes());
    for (id, piece) in special.into_iter().chain(bytes).chain(pieces.iter().map(|p| p.to_vec())).enumerate() {
        let score = -(id.saturating_sub(FIRST_PIECE) as f32);
        file.extend(score.to_le_bytes());
        file.extend(number(piece.len()));
        file.extend(piece);
    }
    file
}

pub(super) fn read(bytes: &[u8]) -> Result<Tokenizer, String> {
    let mut reader = Reader::new(bytes);
    reader.take(4)?;
    let mut list = Vec::new();
    while !reader.is_empty() {
        let id = list.len();
        let inside = |error: String| format!("{error}, inside token {id}");
        let score = f32::from_le_bytes(reader.number().map_err(inside)?);
        let length = i32::from_le_bytes(reader.number().map_err(inside)?);
        let length =
            u64::try_from(length).map_err(|_negative| format!("token {id} has the length `{length}`"))?;
        let piece = reader.take(length).map_err(inside)?;
        let shown = match id {
            // Written as six characters; the number says the byte as well.
            3..FIRST_PIECE => format!("<0x{:02X}>", id - 3),
            _ => String::from_utf8(piece.to_vec()).map_err(|_not| format!("token {id} is not UTF-8"))?,
        };
        let form = match id {
            0 => Form::Unknown,
            1..3 => Form::Special,
            3..FIRST_PIECE => Form::Byte,
            _ => Form::Text,
        };
        list.push((shown, score, form));
    }
    if list.len() < FIRST_PIECE {
        return Err(format!("it has {} tokens; at least 259 are needed: 3 special, 256 bytes", list.len()));
    }
    Pieces { list, begin: Some(BEGIN), ends: ENDS.to_vec(), prefix: true, unigram: false }.build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let tokenizer = read(&write(&[b"ab", b"abc", b" the"])).unwrap();
        assert_eq!(tokenizer.vocabulary().len(), 262);
        let ids = tokenizer.encode(b"abc the");
        assert_eq!(tokenizer.decode(&ids), b"abc the");
        // Pieces are merged pair by pair: nothing leads to " the".
        assert!(ids.contains(&260) && !ids.contains(&261), "{ids:?}");
    }
}
