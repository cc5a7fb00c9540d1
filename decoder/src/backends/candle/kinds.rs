//! Kinds of blocks that candle has no vector instructions for, as kinds that it has, without another rounding.
//!
//! A block of `Q5_0` is `d (q - 16)`, which `Q8_0` holds as it is. A block of `Q4_1` is
//! `d q + m = d (q - 8) + (m + 8 d)`: the first part is a block of `Q4_0`, the second one number a block, which meets
//! the sum of the block's activations. `Q5_1` is both at once. On x86 scalar code multiplies the others.

use candle_core::quantized::{GgmlDType, QMatMul, QStorage, QTensor};
use candle_core::{Device, Result, Tensor};
use std::borrow::Cow;
use std::sync::Arc;

/// Values of a block of all these kinds.
pub(super) const BLOCK: usize = 32;

/// A matrix and, by row and block, what is added to all values of the block; none where nothing is.
pub(super) type Converted = (QMatMul, Option<Tensor>);

/// A block to one of another kind, and what is added to all its values.
type Conversion = fn(&[u8]) -> (Vec<u8>, Option<f32>);

/// The matrix in a kind with vector instructions; as it is where its own has them.
///
/// # Errors
/// If the bytes are not those of its shape.
pub(super) fn converted(tensor: Arc<QTensor>) -> Result<Converted> {
    let (kind, bytes): (GgmlDType, Conversion) = match tensor.dtype() {
        GgmlDType::Q4_1 => (GgmlDType::Q4_0, from_q4_1),
        GgmlDType::Q5_0 => (GgmlDType::Q8_0, from_q5_0),
        GgmlDType::Q5_1 => (GgmlDType::Q8_0, from_q5_1),
        _ => return Ok((QMatMul::from_arc(tensor)?, None)),
    };
    let data = tensor.data()?;
    let size = tensor.dtype().type_size();
    let (mut blocks, mut added) = (Vec::new(), Vec::new());
    for block in data.chunks_exact(size) {
        let (block, constant) = bytes(block);
        blocks.extend_from_slice(&block);
        added.extend(constant);
    }
    let (rows, columns) = tensor.shape().dims2()?;
    let storage = QStorage::from_data(Cow::Owned(blocks), &Device::Cpu, kind)?;
    let matrix = QMatMul::from_qtensor(QTensor::new(storage, (rows, columns))?)?;
    let added = match added.is_empty() {
        true => None,
        false => Some(Tensor::from_vec(added, (rows, columns / BLOCK), &Device::Cpu)?.t()?.contiguous()?),
    };
    Ok((matrix, added))
}

/// Rows `(rows, columns)` of a converted matrix with what is added to their blocks, `(blocks, rows)`.
///
/// # Errors
/// If the shapes do not fit.
pub(super) fn with_added(matrix: &Tensor, added: &Tensor) -> Result<Tensor> {
    let (rows, columns) = matrix.dims2()?;
    let blocks = matrix.reshape((rows, columns / BLOCK, BLOCK))?;
    blocks.broadcast_add(&added.t()?.unsqueeze(2)?)?.reshape((rows, columns))
}

/// A number of 16 bits (IEEE 754 binary16).
fn number(bytes: &[u8]) -> f32 {
    let bits = u16::from_le_bytes([bytes[0], bytes[1]]);
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f32::from(bits & 1023));
    let size = match exponent {
        0 => fraction * 2.0_f32.powi(-24),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        _ => (1024.0 + fraction) * 2.0_f32.powi(exponent - 25),
    };
    if bits >> 15 == 1 { -size } else { size }
}

/// Scale, least value, 16 bytes of two values each.
fn from_q4_1(block: &[u8]) -> (Vec<u8>, Option<f32>) {
    let constant = number(&block[2..]) + 8.0 * number(block);
    ([&block[..2], &block[4..]].concat(), Some(constant))
}

/// Scale, a fifth bit of every value, 16 bytes of two values each.
fn from_q5_0(block: &[u8]) -> (Vec<u8>, Option<f32>) {
    ([&block[..2], &fives(&block[2..])].concat(), None)
}

/// Scale, least value, a fifth bit of every value, 16 bytes of two values each.
fn from_q5_1(block: &[u8]) -> (Vec<u8>, Option<f32>) {
    let constant = number(&block[2..]) + 16.0 * number(block);
    ([&block[..2], &fives(&block[4..])].concat(), Some(constant))
}

/// Values of five bits less 16, as signed bytes: the low halves of all bytes first.
fn fives(bits: &[u8]) -> Vec<u8> {
    let (high, low) = (u32::from_le_bytes([bits[0], bits[1], bits[2], bits[3]]), &bits[4..]);
    let value = |at: usize| {
        let four = if at < 16 { low[at] & 0x0f } else { low[at - 16] >> 4 };
        (four | (u8::from(high >> at & 1 == 1) << 4)).wrapping_sub(16)
    };
    (0..BLOCK).map(value).collect()
}
