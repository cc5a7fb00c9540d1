//! Typed views of Arrow columns that hide the storage types a log may use.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Date64Type, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, Float16Type,
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow_array::{
    Array, ArrayRef, ArrowPrimitiveType, ListArray, PrimitiveArray, StringArray, StringViewArray,
};
use arrow_schema::{DataType, TimeUnit};
use std::sync::Arc;

/// A column of texts. The reader turns every text type into views, which share the page they came from.
#[derive(Debug, Clone, Copy)]
pub struct TextColumn<'a>(&'a StringViewArray);

impl<'a> TextColumn<'a> {
    /// `None` when the column is not of views.
    pub fn new(array: &'a ArrayRef) -> Option<Self> {
        array.as_string_view_opt().map(Self)
    }

    /// The text of a row, `None` when null.
    #[inline]
    pub fn get(&self, row: usize) -> Option<&'a str> {
        (!self.0.is_null(row)).then(|| self.0.value(row))
    }
}

/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;

/// The number `units * 10^-scale`, rounded once.
pub(crate) fn decimal(units: i128, scale: i8) -> f64 {
    // Both operands are exact below these bounds, so that the division is the only rounding.
    if units.unsigned_abs() < 1 << 53 && (0..=22).contains(&scale) {
        return units as f64 / 10_f64.powi(i32::from(scale));
    }
    decimal_of_digits(&units.to_string(), scale)
}

/// As [`decimal`], of units written out.
pub(crate) fn decimal_of_digits(units: &str, scale: i8) -> f64 {
    format!("{units}e{}", -i32::from(scale)).parse().unwrap_or(f64::NAN)
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
            DataType::Decimal32(_, scale) => {
                let values = array.as_primitive::<Decimal32Type>();
                Numbers::Other(values.iter().map(|v| v.map(|v| decimal(v.into(), *scale))).collect())
            }
            DataType::Decimal64(_, scale) => {
                let values = array.as_primitive::<Decimal64Type>();
                Numbers::Other(values.iter().map(|v| v.map(|v| decimal(v.into(), *scale))).collect())
            }
            DataType::Decimal128(_, scale) => {
                let values = array.as_primitive::<Decimal128Type>();
                Numbers::Other(values.iter().map(|v| v.map(|v| decimal(v, *scale))).collect())
            }
            DataType::Decimal256(_, scale) => {
                let values = array.as_primitive::<Decimal256Type>();
                let number = |v: <Decimal256Type as ArrowPrimitiveType>::Native| {
                    v.to_i128()
                        .map_or_else(|| decimal_of_digits(&v.to_string(), *scale), |v| decimal(v, *scale))
                };
                Numbers::Other(values.iter().map(|v| v.map(number)).collect())
            }
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
    /// `None` when the column is neither of numbers nor of times. A number that is not whole is no time.
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
            DataType::Date32 => scaled!(Date32Type, |v| i64::from(v) * DAY_MS),
            DataType::Date64 => scaled!(Date64Type, |v| v),
            DataType::Int64 => scaled!(Int64Type, |v| v),
            // The bits are kept: seeds are bits of a u64, and no time is that late.
            DataType::UInt64 => scaled!(UInt64Type, |v| v as i64),
            _ => {
                let numbers = NumberColumn::new(array)?;
                let whole = |v: &f64| v.is_finite() && v.fract() == 0.0;
                (0..array.len()).map(|row| numbers.get(row).filter(whole).map(|v| v as i64)).collect()
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
pub struct VectorColumn<'a> {
    array: &'a ArrayRef,
    /// Bounds and numbers, where they are stored as our own writer stores them.
    plain: Option<(&'a [i32], &'a [f32])>,
}

impl<'a> VectorColumn<'a> {
    /// `None` when the column is not a list.
    pub fn new(array: &'a ArrayRef) -> Option<Self> {
        let list = |t: &DataType| {
            matches!(t, DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(_, _))
        };
        let plain = array.as_list_opt::<i32>().and_then(|list| {
            let values = list.values().as_primitive_opt::<Float32Type>()?;
            let known = values.null_count() == 0;
            known.then(|| (list.value_offsets(), &values.values()[..]))
        });
        list(array.data_type()).then_some(Self { array, plain })
    }

    /// The vector of a row, `None` when null; a null item is NaN.
    pub fn get(&self, row: usize) -> Option<Vec<f32>> {
        if self.array.is_null(row) {
            return None;
        }
        if let Some((bounds, values)) = self.plain {
            return Some(values[bounds[row] as usize..bounds[row + 1] as usize].to_vec());
        }
        let items = match self.array.data_type() {
            DataType::List(_) => self.array.as_list::<i32>().value(row),
            DataType::LargeList(_) => self.array.as_list::<i64>().value(row),
            _ => self.array.as_fixed_size_list().value(row),
        };
        if items.is_empty() {
            return Some(Vec::new());
        }
        let numbers = NumberColumn::new(&items)?;
        Some((0..items.len()).map(|i| numbers.get(i).map_or(f32::NAN, |v| v as f32)).collect())
    }
}

/// A column of lists of texts. The reader turns every list of texts into this one type.
#[derive(Debug, Clone, Copy)]
pub struct TextListColumn<'a> {
    list: &'a ListArray,
    /// All texts, where they are stored as our own writer stores them.
    plain: Option<&'a StringArray>,
}

impl<'a> TextListColumn<'a> {
    /// `None` when the column is not a list.
    pub fn new(array: &'a ArrayRef) -> Option<Self> {
        let list = array.as_list_opt::<i32>()?;
        let plain = list.values().as_string_opt::<i32>().filter(|texts| texts.null_count() == 0);
        Some(Self { list, plain })
    }

    /// The texts of a row, `None` when the list or one of its items is null.
    pub fn get(&self, row: usize) -> Option<Vec<String>> {
        if self.list.is_null(row) {
            return None;
        }
        let items = self.list.value(row);
        let owned = |text: Option<&str>| text.map(str::to_owned);
        match items.data_type() {
            DataType::Utf8 => items.as_string::<i32>().iter().map(owned).collect(),
            DataType::LargeUtf8 => items.as_string::<i64>().iter().map(owned).collect(),
            DataType::Utf8View => items.as_string_view().iter().map(owned).collect(),
            _ => None,
        }
    }

    /// The texts of a row, the very list `before` if it says the same; `None` as with [`Self::get`].
    pub fn shared(&self, row: usize, before: &Arc<[String]>) -> Option<Arc<[String]>> {
        if let Some(texts) = self.plain
            && !self.list.is_null(row)
        {
            let bounds = self.list.value_offsets();
            let own = bounds[row] as usize..bounds[row + 1] as usize;
            if own.len() == before.len() && own.zip(&before[..]).all(|(at, text)| texts.value(at) == text) {
                return Some(Arc::clone(before));
            }
        }
        self.get(row).map(Into::into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let days: ArrayRef = Arc::new(arrow_array::Date32Array::from(vec![-1, 19_782]));
        let times = TimeColumn::new(&days).unwrap();
        assert_eq!((times.get(0), times.get(1)), (Some(-86_400_000), Some(1_709_164_800_000)));
        let seeds: ArrayRef = Arc::new(arrow_array::UInt64Array::from(vec![u64::MAX]));
        assert_eq!(TimeColumn::new(&seeds).unwrap().get(0), Some(-1));
        let floats: ArrayRef = Arc::new(arrow_array::Float64Array::from(vec![f64::NAN, 0.5, 7.0]));
        let times = TimeColumn::new(&floats).unwrap();
        assert_eq!([0, 1, 2].map(|row| times.get(row)), [None, None, Some(7)]);
    }

    #[test]
    fn decimals_of_every_width_are_rounded_once() {
        use arrow_array::{Decimal32Array, Decimal64Array, Decimal128Array, Decimal256Array};
        let arrays: [ArrayRef; 4] = [
            Arc::new(Decimal32Array::from(vec![Some(-12_345), None]).with_precision_and_scale(9, 4).unwrap()),
            Arc::new(
                Decimal64Array::from(vec![Some(-12_345), None]).with_precision_and_scale(18, 4).unwrap(),
            ),
            Arc::new(
                Decimal128Array::from(vec![Some(-12_345), None]).with_precision_and_scale(38, 4).unwrap(),
            ),
            Arc::new(
                Decimal256Array::from_iter([Some((-12_345_i64).into()), None])
                    .with_precision_and_scale(76, 4)
                    .unwrap(),
            ),
        ];
        for array in &arrays {
            let column = NumberColumn::new(array).unwrap();
            assert_eq!((column.get(0), column.get(1)), (Some(-1.2345), None), "{}", array.data_type());
        }
        // Python 3.11: float(Decimal("12345678901234567890.123456789")) and float(Decimal("1e-24")).
        assert_eq!(decimal(12_345_678_901_234_567_890_123_456_789, 9), 1.234_567_890_123_456_8e19);
        assert_eq!(decimal(1, 24), 1e-24);
        assert_eq!(decimal(5, -3), 5000.0);
    }

    #[test]
    fn equal_lists_of_texts_are_shared_and_vectors_of_every_width_agree() {
        let texts = |rows: &[Option<&[&str]>]| -> ArrayRef {
            let mut list = arrow_array::builder::ListBuilder::new(arrow_array::builder::StringBuilder::new());
            for row in rows {
                row.iter().for_each(|texts| texts.iter().for_each(|text| list.values().append_value(text)));
                list.append(row.is_some());
            }
            Arc::new(list.finish())
        };
        let array =
            texts(&[Some(&["a", "b"]), Some(&["a", "b"]), None, Some(&["a", "c"]), Some(&["a"]), Some(&[])]);
        let column = TextListColumn::new(&array).unwrap();
        let first = column.shared(0, &[].into()).unwrap();
        assert_eq!(first[..], ["a", "b"]);
        assert!(Arc::ptr_eq(&first, &column.shared(1, &first).unwrap()));
        let others: Vec<_> = (2..6).map(|row| column.shared(row, &first)).collect();
        let said = others.iter().map(|list| list.as_ref().map(|list| list.join(" "))).collect::<Vec<_>>();
        assert_eq!(said, [None, Some("a c".to_owned()), Some("a".to_owned()), Some(String::new())]);

        let wide = |unknown: Option<f64>| -> ArrayRef {
            Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>([
                Some(vec![Some(1.0), unknown]),
                None,
                Some(vec![]),
            ]))
        };
        let narrow: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>([
            Some(vec![Some(1.0), Some(2.0)]),
            None,
            Some(vec![]),
        ]));
        for array in [wide(Some(2.0)), narrow] {
            let column = VectorColumn::new(&array).unwrap();
            assert_eq!([0, 1, 2].map(|row| column.get(row)), [Some(vec![1.0, 2.0]), None, Some(vec![])]);
        }
        assert!(VectorColumn::new(&wide(None)).unwrap().get(0).unwrap()[1].is_nan());
    }
}
