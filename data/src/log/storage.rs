//! How the columns of a Parquet file are asked for, so that few storage types reach the rest of the crate.

use crate::schema::{ColumnType, is_text};
use arrow_schema::{DataType, Field, Fields, TimeUnit};
use parquet::basic::Type as PhysicalType;
use std::sync::Arc;

/// The fields of a file as they are read: dictionaries as their values, INT96 times in milliseconds (in nanoseconds
/// they overflow in 2262), texts as views where the column is one of texts, its lists of texts as `list<utf8>`.
///
/// `leaves` are the physical types of the file's leaf columns, in order; `dtype` says what a known column holds.
pub(super) fn fields_as_read(
    fields: &Fields,
    leaves: impl Iterator<Item = PhysicalType>,
    dtype: &dyn Fn(&str) -> Option<ColumnType>,
) -> Vec<Arc<Field>> {
    let mut leaves = leaves;
    let read = |field: &Arc<Field>| {
        let found = type_as_read(field.data_type(), &mut leaves);
        let found = match (dtype(field.name()), &found) {
            (Some(ColumnType::Text), found) if is_text(found) => DataType::Utf8View,
            (None, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View) => DataType::Utf8View,
            (Some(ColumnType::TextList), found) => as_list(found, Some(DataType::Utf8)),
            (Some(ColumnType::FloatList), found) => as_list(found, None),
            _ => found,
        };
        with_type(field, found)
    };
    fields.iter().map(read).collect()
}

fn with_type(field: &Arc<Field>, found: DataType) -> Arc<Field> {
    if *field.data_type() == found {
        return Arc::clone(field);
    }
    Arc::new(field.as_ref().clone().with_data_type(found))
}

/// A list of any kind as a plain list, its texts as `texts`.
fn as_list(found: &DataType, texts: Option<DataType>) -> DataType {
    match found {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            let texts = texts.filter(|_| is_text(item.data_type()));
            DataType::List(texts.map_or_else(|| Arc::clone(item), |texts| with_type(item, texts)))
        }
        found => found.clone(),
    }
}

fn type_as_read(found: &DataType, leaves: &mut dyn Iterator<Item = PhysicalType>) -> DataType {
    let mut inner = |field: &Arc<Field>| with_type(field, type_as_read(field.data_type(), leaves));
    match found {
        DataType::List(item) | DataType::ListView(item) => DataType::List(inner(item)),
        DataType::LargeList(item) | DataType::LargeListView(item) => DataType::LargeList(inner(item)),
        DataType::FixedSizeList(item, n) => DataType::FixedSizeList(inner(item), *n),
        DataType::Map(entries, sorted) => DataType::Map(inner(entries), *sorted),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(inner).collect()),
        DataType::Dictionary(_, value) => type_as_read(value, leaves),
        DataType::Timestamp(_, zone) if leaves.next() == Some(PhysicalType::INT96) => {
            DataType::Timestamp(TimeUnit::Millisecond, zone.clone())
        }
        DataType::Timestamp(_, _) => found.clone(),
        _ => {
            leaves.next();
            found.clone()
        }
    }
}
