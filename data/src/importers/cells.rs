//! Cells of a Parquet table as JSON values, whatever their storage type.
//!
//! Whole numbers are kept to the last digit, times become ISO 8601 texts, durations milliseconds, maps objects, 16
//! bytes of fixed length a UUID. A cell that has no such value is [`unreadable`]: an error where it is used.

use super::record::unreadable;
use super::times::format_time;
use crate::log::{TimeColumn, decimal, decimal_of_digits};
use crate::schema::type_name;
use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type,
    DurationMicrosecondType, DurationMillisecondType, DurationNanosecondType, DurationSecondType,
    Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, StructArray};
use arrow_schema::{DataType, TimeUnit};
use serde_json::{Map, Number, Value};

/// The value of a cell.
pub(super) fn value_of(array: &ArrayRef, row: usize) -> Value {
    if array.is_null(row) {
        return Value::Null;
    }
    let int = |value: i64| Value::from(value);
    match array.data_type() {
        DataType::Null => Value::Null,
        DataType::Utf8View => array.as_string_view().value(row).into(),
        DataType::Utf8 => array.as_string::<i32>().value(row).into(),
        DataType::LargeUtf8 => array.as_string::<i64>().value(row).into(),
        DataType::Boolean => array.as_boolean().value(row).into(),
        DataType::Int8 => int(at::<Int8Type>(array, row).into()),
        DataType::Int16 => int(at::<Int16Type>(array, row).into()),
        DataType::Int32 => int(at::<Int32Type>(array, row).into()),
        DataType::Int64 => int(at::<Int64Type>(array, row)),
        DataType::UInt8 => int(at::<UInt8Type>(array, row).into()),
        DataType::UInt16 => int(at::<UInt16Type>(array, row).into()),
        DataType::UInt32 => int(at::<UInt32Type>(array, row).into()),
        DataType::UInt64 => at::<UInt64Type>(array, row).into(),
        DataType::Float16 => float(at::<Float16Type>(array, row).to_f64()),
        DataType::Float32 => float(at::<Float32Type>(array, row).into()),
        DataType::Float64 => float(at::<Float64Type>(array, row)),
        DataType::Decimal32(_, scale) => decimal_value(at::<Decimal32Type>(array, row).into(), *scale),
        DataType::Decimal64(_, scale) => decimal_value(at::<Decimal64Type>(array, row).into(), *scale),
        DataType::Decimal128(_, scale) => decimal_value(at::<Decimal128Type>(array, row), *scale),
        DataType::Decimal256(_, scale) => {
            let units = at::<Decimal256Type>(array, row);
            match (units.to_i128(), *scale) {
                (Some(units), scale) => decimal_value(units, scale),
                (None, 0) => units.to_string().into(),
                (None, scale) => float(decimal_of_digits(&units.to_string(), scale)),
            }
        }
        DataType::Timestamp(_, _) | DataType::Date32 | DataType::Date64 => time(array, row),
        DataType::Duration(unit) => duration(array, row, *unit),
        _ => bytes_or_nested(array, row),
    }
}

fn at<T: ArrowPrimitiveType>(array: &ArrayRef, row: usize) -> T::Native {
    array.as_primitive::<T>().value(row)
}

/// A number JSON cannot hold (NaN) goes on as its name, so that it is refused, not lost.
fn float(number: f64) -> Value {
    Number::from_f64(number).map_or_else(|| number.to_string().into(), Value::Number)
}

/// Decimals without places are how some databases keep their ids: they stay whole, however long.
fn decimal_value(units: i128, scale: i8) -> Value {
    if scale != 0 {
        return float(decimal(units, scale));
    }
    match (i64::try_from(units), u64::try_from(units)) {
        (Ok(units), _) => units.into(),
        (_, Ok(units)) => units.into(),
        _ => units.to_string().into(),
    }
}

fn time(array: &ArrayRef, row: usize) -> Value {
    let times = TimeColumn::new(&array.slice(row, 1));
    match times.and_then(|times| times.get(0)) {
        Some(ms) => format_time(ms).map_or_else(|| ms.into(), Value::String),
        None => unreadable(&type_name(array.data_type())),
    }
}

fn duration(array: &ArrayRef, row: usize, unit: TimeUnit) -> Value {
    float(match unit {
        TimeUnit::Second => at::<DurationSecondType>(array, row) as f64 * 1e3,
        TimeUnit::Millisecond => at::<DurationMillisecondType>(array, row) as f64,
        TimeUnit::Microsecond => at::<DurationMicrosecondType>(array, row) as f64 / 1e3,
        TimeUnit::Nanosecond => at::<DurationNanosecondType>(array, row) as f64 / 1e6,
    })
}

fn bytes_or_nested(array: &ArrayRef, row: usize) -> Value {
    let list = |items: ArrayRef| Value::Array((0..items.len()).map(|i| value_of(&items, i)).collect());
    match array.data_type() {
        DataType::Binary => text(array.as_binary::<i32>().value(row)),
        DataType::LargeBinary => text(array.as_binary::<i64>().value(row)),
        DataType::BinaryView => text(array.as_binary_view().value(row)),
        DataType::FixedSizeBinary(16) => uuid(array.as_fixed_size_binary().value(row)).into(),
        DataType::FixedSizeBinary(_) => text(array.as_fixed_size_binary().value(row)),
        DataType::List(_) => list(array.as_list::<i32>().value(row)),
        DataType::LargeList(_) => list(array.as_list::<i64>().value(row)),
        DataType::FixedSizeList(_, _) => list(array.as_fixed_size_list().value(row)),
        DataType::Struct(_) => Value::Object(members(array.as_struct(), row)),
        DataType::Map(_, _) => map(&array.as_map().value(row)),
        DataType::Dictionary(_, _) => {
            let dictionary = array.as_any_dictionary();
            let key = dictionary.keys().slice(row, 1);
            let key = TimeColumn::new(&key).and_then(|keys| keys.get(0));
            match key.and_then(|key| usize::try_from(key).ok()) {
                Some(key) => value_of(dictionary.values(), key),
                None => Value::Null,
            }
        }
        other => unreadable(&type_name(other)),
    }
}

fn text(bytes: &[u8]) -> Value {
    std::str::from_utf8(bytes).map_or_else(|_| unreadable("binary that is not UTF-8"), Value::from)
}

fn uuid(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(36);
    for (i, byte) in bytes.iter().enumerate() {
        if [4, 6, 8, 10].contains(&i) {
            out.push('-');
        }
        out.push_str(&format!("{byte:02x}"));
    }
    out
}

fn members(array: &StructArray, row: usize) -> Map<String, Value> {
    let columns = array.fields().iter().zip(array.columns());
    columns.map(|(field, array)| (field.name().clone(), value_of(array, row))).collect()
}

/// The entries of a map as an object; keys that are no texts are written out.
fn map(entries: &StructArray) -> Value {
    let [keys, values] = entries.columns() else { return unreadable("map") };
    let key = |row| match value_of(keys, row) {
        Value::String(text) => text,
        other => other.to_string(),
    };
    (0..entries.len()).map(|row| (key(row), value_of(values, row))).collect::<Map<_, _>>().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{
        BinaryArray, Decimal128Array, Decimal256Array, DictionaryArray, DurationMillisecondArray,
        FixedSizeBinaryArray, Int64Array, IntervalYearMonthArray, LargeStringArray, NullArray, StringArray,
        StringViewArray, Time64MicrosecondArray, TimestampNanosecondArray, UInt64Array, types::Int32Type,
    };
    use serde_json::json;
    use std::sync::Arc;

    fn first(array: impl Array + 'static) -> Value {
        value_of(&(Arc::new(array) as ArrayRef), 0)
    }

    #[test]
    fn every_storage_type_keeps_its_value() {
        assert_eq!(first(Int64Array::from(vec![i64::MAX])), json!(i64::MAX));
        assert_eq!(first(UInt64Array::from(vec![u64::MAX])), json!(u64::MAX));
        let wide = |units: i128, scale| {
            first(Decimal128Array::from(vec![units]).with_precision_and_scale(38, scale).unwrap())
        };
        assert_eq!(wide(9_007_199_254_740_993, 0), json!(9_007_199_254_740_993_i64));
        assert_eq!(wide(99_999_999_999_999_999_999, 0), json!("99999999999999999999"));
        assert_eq!(wide(1_250, 3), json!(1.25));
        let widest =
            Decimal256Array::from_iter([Some((5_i64).into())]).with_precision_and_scale(60, 1).unwrap();
        assert_eq!(first(widest), json!(0.5));
        // A time before 1973, whose milliseconds are as small as seconds of today.
        assert_eq!(
            first(TimestampNanosecondArray::from(vec![86_400_000_000_000])),
            json!("1970-01-02T00:00:00.000Z")
        );
        assert_eq!(first(DurationMillisecondArray::from(vec![1500])), json!(1500.0));
        assert_eq!(first(LargeStringArray::from(vec!["x"])), json!("x"));
        assert_eq!(first(StringViewArray::from(vec!["x"])), json!("x"));
        assert_eq!(first(BinaryArray::from(vec!["é".as_bytes()])), json!("é"));
        let id: Vec<u8> = (0..16).collect();
        let ids = FixedSizeBinaryArray::try_from_iter(std::iter::once(id)).unwrap();
        assert_eq!(first(ids), json!("00010203-0405-0607-0809-0a0b0c0d0e0f"));
        let keys = arrow_array::Int32Array::from(vec![1]);
        let words = DictionaryArray::<Int32Type>::new(keys, Arc::new(StringArray::from(vec!["a", "b"])));
        assert_eq!(first(words), json!("b"));
        assert_eq!(first(NullArray::new(1)), Value::Null);
    }

    #[test]
    fn what_has_no_value_is_marked_and_not_lost() {
        use super::super::record::unreadable_type;
        let marked = |value: Value| unreadable_type(&value).map(str::to_owned);
        assert_eq!(
            marked(first(BinaryArray::from(vec![&b"\xff"[..]]))).as_deref(),
            Some("binary that is not UTF-8")
        );
        assert!(marked(first(Time64MicrosecondArray::from(vec![1]))).unwrap().contains("time64"));
        assert!(marked(first(IntervalYearMonthArray::from(vec![1]))).unwrap().contains("interval"));
    }
}
