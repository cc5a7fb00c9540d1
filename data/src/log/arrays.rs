//! Typed views of Arrow columns that hide the storage types a log may use.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
    UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, PrimitiveArray, StringViewArray};
use arrow_schema::{DataType, TimeUnit};

/// A column of texts. The reader turns every text type into views, which share the page they came from.
#[derive(Debug, Clone, Copy)]
pub struct TextColumn<'a>(&'a StringViewArray);

impl<'a> TextColumn<'a> {
    /// `None` when the column is not of views.
    pub fn new(array: &'a ArrayRef) -> Option<Self> {
        array.as_string_view_opt().map(Self)
    }

    /// The text of a row, `None` when null.
    pub fn get(&self, row: usize) -> Option<&'a str> {
        (!self.0.is_null(row)).then(|| self.0.value(row))
    }
}

/// A column of numbers of any width.
#[derive(Debug, Clone)]
pub struct NumberColumn(Numbers);

#[derive(Debug, Clone)]
enum Numbers {
    Float32(PrimitiveArray<Float32Type>),
    Float64(PrimitiveArray<Float64Type>),
    Other(Vec<Option<f64>>),
}

impl NumberColumn {
    /// `None` when the column is not numeric.
    pub fn new(array: &ArrayRef) -> Option<Self> {
        macro_rules! widen {
            ($type:ty) => {
                Numbers::Other(array.as_primitive::<$type>().iter().map(|v| v.map(|v| v as f64)).collect())
            };
        }
        Some(Self(match array.data_type() {
            DataType::Float32 => Numbers::Float32(array.as_primitive().clone()),
            DataType::Float64 => Numbers::Float64(array.as_primitive().clone()),
            DataType::Float16 => {
                let values = array.as_primitive::<Float16Type>();
                Numbers::Other(values.iter().map(|v| v.map(|v| v.to_f64())).collect())
            }
            DataType::Int8 => widen!(Int8Type),
            DataType::Int16 => widen!(Int16Type),
            DataType::Int32 => widen!(Int32Type),
            DataType::Int64 => widen!(Int64Type),
            DataType::UInt8 => widen!(UInt8Type),
            DataType::UInt16 => widen!(UInt16Type),
            DataType::UInt32 => widen!(UInt32Type),
            DataType::UInt64 => widen!(UInt64Type),
            _ => return None,
        }))
    }

    /// The number of a row, `None` when null; may be NaN or infinite, as the file says.
    pub fn get(&self, row: usize) -> Option<f64> {
        match &self.0 {
            Numbers::Float32(values) => (!values.is_null(row)).then(|| f64::from(values.value(row))),
            Numbers::Float64(values) => (!values.is_null(row)).then(|| values.value(row)),
            Numbers::Other(values) => values[row],
        }
    }
}

/// A column of times in milliseconds since 1970-01-01 UTC.
#[derive(Debug, Clone)]
pub struct TimeColumn(Vec<Option<i64>>);

impl TimeColumn {
    /// `None` when the column is neither of integers nor of timestamps.
    pub fn new(array: &ArrayRef) -> Option<Self> {
        macro_rules! scaled {
            ($type:ty, $scale:expr) => {
                array.as_primitive::<$type>().iter().map(|v| v.map($scale)).collect()
            };
        }
        Some(Self(match array.data_type() {
            DataType::Timestamp(TimeUnit::Second, _) => {
                scaled!(TimestampSecondType, |v| v.saturating_mul(1000))
            }
            DataType::Timestamp(TimeUnit::Millisecond, _) => scaled!(TimestampMillisecondType, |v| v),
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                scaled!(TimestampMicrosecondType, |v| v.div_euclid(1000))
            }
            DataType::Timestamp(TimeUnit::Nanosecond, _) => {
                scaled!(TimestampNanosecondType, |v| v.div_euclid(1_000_000))
            }
            DataType::Int64 => scaled!(Int64Type, |v| v),
            _ => {
                let numbers = NumberColumn::new(array)?;
                (0..array.len()).map(|row| numbers.get(row).map(|v| v as i64)).collect()
            }
        }))
    }

    /// The time of a row, `None` when null.
    pub fn get(&self, row: usize) -> Option<i64> {
        self.0[row]
    }
}

/// A column of vectors of numbers.
#[derive(Debug, Clone, Copy)]
pub struct VectorColumn<'a>(&'a ArrayRef);

impl<'a> VectorColumn<'a> {
    /// `None` when the column is not a list.
    pub fn new(array: &'a ArrayRef) -> Option<Self> {
        let list = |t: &DataType| {
            matches!(t, DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(_, _))
        };
        list(array.data_type()).then_some(Self(array))
    }

    /// The vector of a row, `None` when null; a null item is NaN.
    pub fn get(&self, row: usize) -> Option<Vec<f32>> {
        if self.0.is_null(row) {
            return None;
        }
        let items = match self.0.data_type() {
            DataType::List(_) => self.0.as_list::<i32>().value(row),
            DataType::LargeList(_) => self.0.as_list::<i64>().value(row),
            _ => self.0.as_fixed_size_list().value(row),
        };
        let numbers = NumberColumn::new(&items)?;
        Some((0..items.len()).map(|i| numbers.get(i).map_or(f32::NAN, |v| v as f32)).collect())
    }
}

/// A column of lists of texts.
#[derive(Debug, Clone, Copy)]
pub struct TextListColumn<'a>(&'a ArrayRef);

impl<'a> TextListColumn<'a> {
    /// `None` when the column is not a list.
    pub fn new(array: &'a ArrayRef) -> Option<Self> {
        matches!(array.data_type(), DataType::List(_)).then_some(Self(array))
    }

    /// The texts of a row, `None` when the list or one of its items is null.
    pub fn get(&self, row: usize) -> Option<Vec<String>> {
        if self.0.is_null(row) {
            return None;
        }
        let items = self.0.as_list::<i32>().value(row);
        let owned = |text: Option<&str>| text.map(str::to_owned);
        match items.data_type() {
            DataType::Utf8 => items.as_string::<i32>().iter().map(owned).collect(),
            DataType::LargeUtf8 => items.as_string::<i64>().iter().map(owned).collect(),
            DataType::Utf8View => items.as_string_view().iter().map(owned).collect(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn numbers_and_times_of_every_storage_type_agree() {
        let int: ArrayRef = Arc::new(arrow_array::UInt8Array::from(vec![Some(1), None]));
        let float: ArrayRef = Arc::new(arrow_array::Float64Array::from(vec![Some(1.0), None]));
        for array in [int, float] {
            let column = NumberColumn::new(&array).unwrap();
            assert_eq!((column.get(0), column.get(1)), (Some(1.0), None));
        }
        let nanos: ArrayRef =
            Arc::new(arrow_array::TimestampNanosecondArray::from(vec![Some(-1), Some(5_000_000)]));
        let times = TimeColumn::new(&nanos).unwrap();
        assert_eq!((times.get(0), times.get(1)), (Some(-1), Some(5)));
    }
}
