//! `tokenizer.bin` of llama2.c: i32 longest piece, then per id f32 score, i32 length, bytes.

use super::merges::Scores;
use super::{Kind, Role, Tokenizer, Vocabulary};

/// Ids of beginning and end of text; the format does not say them, all its files have them here.
const BEGIN: u32 = 1;
const ENDS: [u32; 2] = [1, 2];

pub(super) fn read(bytes: &[u8]) -> Result<Tokenizer, String> {
    let mut rest = bytes.get(4..).ok_or("it is too short")?;
    let mut scores = Vec::new();
    let mut tokens = Vec::new();
    while !rest.is_empty() {
        let id = tokens.len();
        let (head, tail) = rest.split_at_checked(8).ok_or_else(|| format!("it ends inside token {id}"))?;
        let mut number = [0; 4];
        number.copy_from_slice(&head[..4]);
        let score = f32::from_le_bytes(number);
        number.copy_from_slice(&head[4..]);
        let length = usize::try_from(i32::from_le_bytes(number))
            .map_err(|_negative| format!("token {id} has a negative length"))?;
        let (piece, tail) =
            tail.split_at_checked(length).ok_or_else(|| format!("it ends inside token {id}"))?;
        scores.push(score);
        tokens.push(token(id, piece));
        rest = tail;
    }
    if tokens.len() < 259 {
        return Err(format!("it has {} tokens; at least 259 are needed: 3 special, 256 bytes", tokens.len()));
    }
    let vocabulary = Vocabulary::new(tokens);
    let kind = Kind::Scores(Scores { scores, byte_base: Some(3), unknown: 0 });
    Ok(Tokenizer { vocabulary, begin: Some(BEGIN), kind })
}

fn token(id: usize, piece: &[u8]) -> (Vec<u8>, Role) {
    // Texts stand one after another, parted by BEGIN, so both end an answer.
    if ENDS.iter().any(|end| *end as usize == id) {
        return (Vec::new(), Role::End);
    }
    match id {
        0 => (Vec::new(), Role::Control),
        3..259 => (vec![(id - 3).to_le_bytes()[0]], Role::Text),
        _ => (piece.to_vec(), Role::Text),
    }
}
