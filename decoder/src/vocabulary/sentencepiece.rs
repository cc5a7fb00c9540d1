//! `.model` files of SentencePiece: a protobuf message, of which only the fields needed are read.
//!
//! Fields: `ModelProto` has pieces (1), trainer (2) and normalizer (3); a piece has text (1), score (2) and
//! type (3). Numbers are those of `sentencepiece_model.proto`.

use super::Tokenizer;
use super::bytes::Reader;
use super::pieces::{Form, Pieces};

const UNIGRAM: u64 = 1;
const BPE: u64 = 2;

/// The value of a field.
#[derive(Debug)]
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Float(f32),
    Other,
}

pub(super) fn read(bytes: &[u8]) -> Result<Tokenizer, String> {
    let mut list = Vec::new();
    let mut model = UNIGRAM;
    let mut prefix = true;
    let (mut begin, mut end) = (1, 2);
    fields(bytes, |number, value| {
        match (number, value) {
            (1, Value::Bytes(message)) => {
                let id = list.len();
                list.push(piece(message).map_err(|error| format!("token {id}: {error}"))?);
            }
            (2, Value::Bytes(trainer)) => fields(trainer, |number, value| {
                match (number, value) {
                    (3, Value::Number(kind)) => model = kind,
                    (24, Value::Number(1)) => {
                        return Err(
                            "it marks spaces behind words; only marks before them are accepted".into()
                        );
                    }
                    (41, Value::Number(id)) => begin = id,
                    (42, Value::Number(id)) => end = id,
                    _ => {}
                }
                Ok(())
            })?,
            (3, Value::Bytes(normalizer)) => prefix = reads_plain_text(normalizer)?,
            _ => {}
        }
        Ok(())
    })?;
    if list.is_empty() {
        return Err("it has no tokens".into());
    }
    if model != UNIGRAM && model != BPE {
        return Err(format!("its model type is `{model}`; 1 (unigram) and 2 (BPE) are accepted"));
    }
    // -1 says that there is none.
    let [begin, end] = [begin, end].map(|id| u32::try_from(id).ok());
    Pieces { list, begin, ends: end.into_iter().collect(), prefix, unigram: model == UNIGRAM }.build()
}

/// Whether a space is put before a text; anything else done to it is refused.
fn reads_plain_text(normalizer: &[u8]) -> Result<bool, String> {
    let mut prefix = true;
    let mut name = String::new();
    let mut rewrites = false;
    fields(normalizer, |number, value| {
        match (number, value) {
            (1, Value::Bytes(text)) => name = String::from_utf8_lossy(text).into_owned(),
            (2, Value::Bytes(map)) => rewrites = !map.is_empty(),
            (3, Value::Number(flag)) => prefix = flag != 0,
            _ => {}
        }
        Ok(())
    })?;
    match rewrites {
        true => Err(format!("it rewrites text by `{name}`; `identity` is accepted")),
        false => Ok(prefix),
    }
}

fn piece(message: &[u8]) -> Result<(String, f32, Form), String> {
    let mut piece = (String::new(), 0.0, Form::Text);
    fields(message, |number, value| {
        match (number, value) {
            (1, Value::Bytes(text)) => {
                piece.0 = String::from_utf8(text.to_vec()).map_err(|_not| "its text is not UTF-8")?;
            }
            (2, Value::Float(score)) => piece.1 = score,
            (3, Value::Number(kind)) => {
                piece.2 = match kind {
                    1 => Form::Text,
                    2 => Form::Unknown,
                    3 | 5 => Form::Special,
                    4 => Form::Literal,
                    6 => Form::Byte,
                    _ => return Err(format!("its type is `{kind}`; 1 to 6 are accepted")),
                }
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok(piece)
}

/// Hands every field of a message to `each`.
fn fields<'a>(
    message: &'a [u8],
    mut each: impl FnMut(u64, Value<'a>) -> Result<(), String>,
) -> Result<(), String> {
    let mut reader = Reader::new(message);
    while !reader.is_empty() {
        let tag = varint(&mut reader)?;
        let value = match tag & 7 {
            0 => Value::Number(varint(&mut reader)?),
            1 => {
                reader.take(8)?;
                Value::Other
            }
            2 => {
                let length = varint(&mut reader)?;
                Value::Bytes(reader.take(length)?)
            }
            5 => Value::Float(f32::from_le_bytes(reader.number()?)),
            kind => return Err(format!("at byte {} is a field of kind {kind}", reader.position())),
        };
        each(tag >> 3, value)?;
    }
    Ok(())
}

fn varint(reader: &mut Reader<'_>) -> Result<u64, String> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let [byte] = reader.number()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(format!("at byte {} is a number of more than 64 bits", reader.position()))
}
