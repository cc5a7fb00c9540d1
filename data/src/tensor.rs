//! Plain named tensors: what a featurizer or a form hands over to be stored.

use std::collections::BTreeMap;

/// Values of a tensor, row-major, in one of the storage types artifacts use.
#[derive(Debug, Clone, PartialEq)]
pub enum TensorData {
    /// 32-bit floats.
    F32(Vec<f32>),
    /// 16-bit floats, stored as their bits.
    F16(Vec<half::f16>),
    /// Signed bytes.
    I8(Vec<i8>),
    /// Unsigned bytes.
    U8(Vec<u8>),
    /// Unsigned 32-bit integers.
    U32(Vec<u32>),
}

impl TensorData {
    /// Number of values.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(v) => v.len(),
            Self::F16(v) => v.len(),
            Self::I8(v) => v.len(),
            Self::U8(v) => v.len(),
            Self::U32(v) => v.len(),
        }
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A tensor: shape and values.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
    /// Row-major values; their number is the product of `shape`.
    pub data: TensorData,
}

/// Why a tensor could not be taken out of [`Tensors`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TensorError {
    /// No tensor of that name.
    #[error("tensor `{name}` is missing; there are: {present}")]
    Missing {
        /// Name asked for.
        name: String,
        /// Names that exist, comma-separated.
        present: String,
    },
    /// The stored type is another one.
    #[error("tensor `{name}` is not stored as {expected}")]
    WrongType {
        /// Name asked for.
        name: String,
        /// Type asked for.
        expected: &'static str,
    },
    /// The stored shape is another one.
    #[error("tensor `{name}` has shape {found:?}, expected {expected:?}")]
    WrongShape {
        /// Name asked for.
        name: String,
        /// Shape stored.
        found: Vec<usize>,
        /// Shape asked for.
        expected: Vec<usize>,
    },
    /// A float that is not finite.
    #[error("tensor `{name}` holds a value that is not finite at position {position}")]
    NotFinite {
        /// Name asked for.
        name: String,
        /// Position of the first such value.
        position: usize,
    },
}

/// Tensors by name, in name order (so that writing them is deterministic).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tensors(BTreeMap<String, Tensor>);

macro_rules! typed {
    ($insert:ident, $take:ident, $variant:ident, $type:ty, $label:literal) => {
        #[doc = concat!("Stores ", $label, " values of the given shape.")]
        ///
        /// # Panics
        /// If the number of values is not the product of `shape` (a bug of the caller).
        pub fn $insert(&mut self, name: &str, shape: &[usize], values: Vec<$type>) {
            assert_eq!(values.len(), shape.iter().product::<usize>(), "tensor `{name}`: shape and length");
            let tensor = Tensor { shape: shape.to_vec(), data: TensorData::$variant(values) };
            self.0.insert(name.to_owned(), tensor);
        }

        #[doc = concat!("Takes a tensor of ", $label, " values out, checking its shape.")]
        ///
        /// # Errors
        /// If it is missing, of another type or of another shape.
        pub fn $take(&mut self, name: &str, shape: &[usize]) -> Result<Vec<$type>, TensorError> {
            let tensor = self.take(name)?;
            if tensor.shape != shape {
                let (name, expected) = (name.to_owned(), shape.to_vec());
                return Err(TensorError::WrongShape { name, found: tensor.shape, expected });
            }
            match tensor.data {
                TensorData::$variant(values) => Ok(values),
                _ => Err(TensorError::WrongType { name: name.to_owned(), expected: $label }),
            }
        }
    };
}

impl Tensors {
    /// No tensors.
    pub fn new() -> Self {
        Self::default()
    }

    typed!(insert_f32, take_f32_any, F32, f32, "f32");
    typed!(insert_f16, take_f16, F16, half::f16, "f16");
    typed!(insert_i8, take_i8, I8, i8, "i8");
    typed!(insert_u8, take_u8, U8, u8, "u8");
    typed!(insert_u32, take_u32, U32, u32, "u32");

    /// Stores a tensor as it is.
    pub fn insert(&mut self, name: &str, tensor: Tensor) {
        self.0.insert(name.to_owned(), tensor);
    }

    /// Takes an f32 tensor out, checking its shape and that every value is finite.
    ///
    /// # Errors
    /// If it is missing, of another type or shape, or holds NaN or infinity.
    pub fn take_f32(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, TensorError> {
        let values = self.take_f32_any(name, shape)?;
        match values.iter().position(|v| !v.is_finite()) {
            Some(position) => Err(TensorError::NotFinite { name: name.to_owned(), position }),
            None => Ok(values),
        }
    }

    /// Takes a tensor out.
    ///
    /// # Errors
    /// If there is none of that name.
    pub fn take(&mut self, name: &str) -> Result<Tensor, TensorError> {
        self.0.remove(name).ok_or_else(|| TensorError::Missing {
            name: name.to_owned(),
            present: self.0.keys().cloned().collect::<Vec<_>>().join(", "),
        })
    }

    /// Shape of a tensor.
    ///
    /// # Errors
    /// If there is none of that name.
    pub fn shape(&self, name: &str) -> Result<Vec<usize>, TensorError> {
        self.0.get(name).map(|t| t.shape.clone()).ok_or_else(|| TensorError::Missing {
            name: name.to_owned(),
            present: self.0.keys().cloned().collect::<Vec<_>>().join(", "),
        })
    }

    /// Takes in the tensors of a part, each under `part.` and its own name.
    pub fn nest(&mut self, part: &str, tensors: Self) {
        self.0.extend(tensors.0.into_iter().map(|(name, tensor)| (format!("{part}.{name}"), tensor)));
    }

    /// Takes the tensors of a part out, under their own names.
    pub fn take_nested(&mut self, part: &str) -> Self {
        let prefix = format!("{part}.");
        let taken = self.0.extract_if(prefix.clone().., |name, _| name.starts_with(&prefix));
        Self(taken.map(|(name, tensor)| (name[prefix.len()..].to_owned(), tensor)).collect())
    }

    /// Names and tensors, in name order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.0.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// Whether there is no tensor.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_comes_out_as_it_went_in() {
        let mut part = Tensors::new();
        part.insert_u8("a", &[1], vec![1]);
        part.insert_u8("b.c", &[1], vec![2]);
        let mut whole = Tensors::new();
        whole.insert_u8("p", &[1], vec![3]);
        whole.insert_u8("pa", &[1], vec![4]);
        let alone = whole.clone();
        whole.nest("p", part.clone());
        assert_eq!(whole.take_nested("p"), part);
        assert_eq!(whole, alone);
    }

    #[test]
    fn a_tensor_is_refused_when_its_shape_type_or_values_are_wrong() {
        let mut tensors = Tensors::new();
        tensors.insert_f32("w", &[2], vec![1.0, f32::NAN]);
        tensors.insert_u8("b", &[1], vec![3]);
        assert!(matches!(tensors.clone().take_f32("w", &[3]), Err(TensorError::WrongShape { .. })));
        assert!(matches!(tensors.clone().take_f32("b", &[1]), Err(TensorError::WrongType { .. })));
        assert!(matches!(tensors.clone().take_f32("x", &[1]), Err(TensorError::Missing { .. })));
        assert!(matches!(tensors.take_f32("w", &[2]), Err(TensorError::NotFinite { position: 1, .. })));
    }
}
