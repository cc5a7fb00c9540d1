//! [`Tensors`] to and from the safetensors format, which Python reads too.

use routewright_data::{Tensor, TensorData, Tensors};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

/// Serialises tensors in name order; the same tensors give the same bytes.
///
/// # Errors
/// If a shape does not match its values.
pub fn encode(tensors: &Tensors) -> Result<Vec<u8>, String> {
    let raw: Vec<(&str, Dtype, &[usize], Vec<u8>)> = tensors
        .iter()
        .map(|(name, tensor)| (name, dtype(&tensor.data), &*tensor.shape, bytes(&tensor.data)))
        .collect();
    let views: Result<Vec<(&str, TensorView<'_>)>, _> = raw
        .iter()
        .map(|(name, dtype, shape, data)| Ok((*name, TensorView::new(*dtype, shape.to_vec(), data)?)))
        .collect();
    let views = views.map_err(|error: safetensors::SafeTensorError| error.to_string())?;
    safetensors::serialize(views, None).map_err(|error| error.to_string())
}

/// Reads what [`encode`] wrote; lengths are checked against the header before anything is allocated.
///
/// # Errors
/// If the bytes are not safetensors, or of a type no artifact uses.
pub fn decode(bytes: &[u8]) -> Result<Tensors, String> {
    let file = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
    let mut tensors = Tensors::new();
    for (name, view) in file.tensors() {
        let raw = view.data();
        let data = match view.dtype() {
            Dtype::F32 => TensorData::F32(chunks(raw, f32::from_le_bytes)),
            Dtype::F16 => TensorData::F16(chunks(raw, half::f16::from_le_bytes)),
            Dtype::U32 => TensorData::U32(chunks(raw, u32::from_le_bytes)),
            Dtype::I8 => TensorData::I8(chunks(raw, i8::from_le_bytes)),
            Dtype::U8 => TensorData::U8(raw.to_vec()),
            other => {
                return Err(format!("tensor `{name}` has type {other:?}, expected f32, f16, u32, i8 or u8"));
            }
        };
        tensors.insert(&name, Tensor { shape: view.shape().to_vec(), data });
    }
    Ok(tensors)
}

fn dtype(data: &TensorData) -> Dtype {
    match data {
        TensorData::F32(_) => Dtype::F32,
        TensorData::F16(_) => Dtype::F16,
        TensorData::I8(_) => Dtype::I8,
        TensorData::U8(_) => Dtype::U8,
        TensorData::U32(_) => Dtype::U32,
    }
}

fn bytes(data: &TensorData) -> Vec<u8> {
    match data {
        TensorData::F32(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        TensorData::F16(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        TensorData::I8(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        TensorData::U8(v) => v.clone(),
        TensorData::U32(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
    }
}

fn chunks<const N: usize, T>(raw: &[u8], read: fn([u8; N]) -> T) -> Vec<T> {
    raw.as_chunks::<N>().0.iter().map(|bytes| read(*bytes)).collect()
}
