//! One schema for the files of a log whose columns are stored in different types.

use super::{LogError, LogReader, NumberColumn, TextColumn, TextListColumn, TimeColumn, VectorColumn};
use crate::schema::{ColumnType, LogSchema, type_name};
use arrow_array::builder::{Float32Builder, ListBuilder, StringBuilder};
use arrow_array::{
    ArrayRef, Float32Array, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray, new_null_array,
};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use std::sync::Arc;

/// A schema that all files of a log can be brought into: a column keeps its type where the files agree on it or some
/// have none, else it has the type the log is written with.
pub(crate) fn common_schema(reader: &LogReader, schema: &LogSchema) -> Result<SchemaRef, LogError> {
    let mut fields: Vec<Field> = Vec::new();
    for (path, found) in reader.schemas() {
        for field in found.fields() {
            let Some(known) = fields.iter_mut().find(|known| known.name() == field.name()) else {
                fields.push(field.as_ref().clone());
                continue;
            };
            let (before, now) = (known.data_type(), field.data_type());
            if before == now || now.is_null() {
                continue;
            }
            if before.is_null() {
                *known = known.clone().with_data_type(now.clone());
                continue;
            }
            let Some(column) = schema.column(known.name()) else {
                let (before, now) = (type_name(before), type_name(now));
                return Err(LogError::Options(format!(
                    "cannot read `{}` with the files before it: column `{}` has type {now} here and {before} there; \
                     expected one type",
                    path.display(),
                    field.name()
                )));
            };
            *known = known.clone().with_data_type(column.dtype.arrow());
        }
    }
    let may_lack = |name: &str| {
        reader.schemas().any(|(_, found)| {
            found
                .field_with_name(name)
                .map_or(true, |field| field.is_nullable() || field.data_type().is_null())
        })
    };
    let fields = fields.into_iter().map(|field| {
        let nullable = may_lack(field.name());
        field.with_nullable(nullable)
    });
    Ok(Arc::new(Schema::new(fields.collect::<Vec<_>>())))
}

/// A batch with exactly the columns of `target`: missing ones are null.
pub(crate) fn in_schema(batch: &RecordBatch, target: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let column = |field: &Arc<Field>| match batch.column_by_name(field.name()) {
        None => Ok(new_null_array(field.data_type(), batch.num_rows())),
        Some(array) if array.data_type() == field.data_type() => Ok(Arc::clone(array)),
        Some(array) if array.data_type().is_null() => Ok(new_null_array(field.data_type(), array.len())),
        Some(array) => converted(array, field.data_type()).ok_or_else(|| {
            ArrowError::CastError(format!(
                "column `{}` of type {} cannot become {}",
                field.name(),
                array.data_type(),
                field.data_type()
            ))
        }),
    };
    let columns = target.fields().iter().map(column).collect::<Result<Vec<_>, _>>()?;
    RecordBatch::try_new(Arc::clone(target), columns)
}

/// An array as one of the types logs are written with.
fn converted(array: &ArrayRef, target: &DataType) -> Option<ArrayRef> {
    let rows = 0..array.len();
    let is = |dtype: ColumnType| dtype.arrow() == *target;
    Some(if is(ColumnType::Text) {
        let texts = TextColumn::new(array)?;
        Arc::new(rows.map(|row| texts.get(row)).collect::<StringArray>())
    } else if is(ColumnType::Float64) {
        let numbers = NumberColumn::new(array)?;
        Arc::new(rows.map(|row| numbers.get(row)).collect::<Float64Array>())
    } else if is(ColumnType::Float32) {
        let numbers = NumberColumn::new(array)?;
        Arc::new(rows.map(|row| numbers.get(row).map(|v| v as f32)).collect::<Float32Array>())
    } else if is(ColumnType::Int32) {
        let numbers = NumberColumn::new(array)?;
        Arc::new(rows.map(|row| numbers.get(row).map(|v| v as i32)).collect::<Int32Array>())
    } else if is(ColumnType::Int64) {
        let times = TimeColumn::new(array)?;
        Arc::new(rows.map(|row| times.get(row)).collect::<Int64Array>())
    } else if is(ColumnType::FloatList) {
        let vectors = VectorColumn::new(array)?;
        let mut list = ListBuilder::new(Float32Builder::new());
        for row in rows {
            let vector = vectors.get(row);
            list.values().append_slice(vector.as_deref().unwrap_or_default());
            list.append(vector.is_some());
        }
        Arc::new(list.finish())
    } else {
        let lists = TextListColumn::new(array)?;
        let mut list = ListBuilder::new(StringBuilder::new());
        for row in rows {
            let texts = lists.get(row);
            texts.iter().flatten().for_each(|text| list.values().append_value(text));
            list.append(texts.is_some());
        }
        Arc::new(list.finish())
    })
}
