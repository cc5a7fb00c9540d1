//! Fields of the input by our names, and values as the user's options read them.

use super::record::Record;
use super::{ImportError, ImportOptions, LatencyUnit};
use crate::schema::LogSchema;
use crate::suggest::near_names;
use serde_json::Value;
use std::collections::{BTreeSet, HashSet};

/// Names of fields that are kept for the summary.
const NAMES_MAX: usize = 1000;
/// Endings of the names of fields that count something else than milliseconds.
const OTHER_UNITS: [&str; 8] = ["_s", "_sec", "_secs", "_seconds", "_us", "_micros", "_ns", "_nanos"];

/// Fields of the input by our names, with the user's map.
#[derive(Debug)]
pub(super) struct Mapping<'a> {
    options: &'a ImportOptions,
    /// Mapped fields that some record had.
    found: HashSet<&'a str>,
    /// Fields of all records.
    names: BTreeSet<String>,
}

impl<'a> Mapping<'a> {
    /// Checks that every mapped name is a column of the log, and that the unit of latencies is clear.
    pub(super) fn new(options: &'a ImportOptions, schema: &LogSchema) -> Result<Self, ImportError> {
        for name in options.map.keys() {
            if schema.column(name).is_none() {
                let hint = near_names(name, schema.columns.iter().map(|column| column.name));
                let reason = format!("cannot map `{name}`: no such column in the {}; {hint}", schema.name);
                return Err(ImportError::Options(reason));
            }
        }
        if let (Some(field), None) = (options.map.get("latency_ms"), options.latency_unit)
            && OTHER_UNITS.iter().any(|ending| field.to_lowercase().ends_with(ending))
        {
            return Err(ImportError::Options(format!(
                "field `{field}` mapped to `latency_ms` does not look like milliseconds; say its unit with \
                 `--latency-unit s`, `ms` or `us`"
            )));
        }
        Ok(Self { options, found: HashSet::new(), names: BTreeSet::new() })
    }

    /// The field our column is read from: the user's, else the format's own.
    pub(super) fn field<'b>(&'b self, column: &str, usual: &'b str) -> &'b str {
        self.options.map.get(column).map_or(usual, String::as_str)
    }

    /// Whether the user said which field a column is read from.
    pub(super) fn maps(&self, column: &str) -> bool {
        self.options.map.contains_key(column)
    }

    /// Notes which fields a record has.
    pub(super) fn see(&mut self, record: &Record) {
        for name in record.names() {
            if !self.names.contains(name) && self.names.len() < NAMES_MAX {
                self.names.insert(name.to_owned());
            }
        }
        if self.found.len() < self.options.map.len() {
            let there = self.options.map.values().filter(|field| record.value(field).is_some());
            self.found.extend(there.map(String::as_str));
        }
    }

    /// Errors when a mapped field was in no record.
    pub(super) fn check(&self) -> Result<(), ImportError> {
        let is_absent = |field: &str| !field.is_empty() && !self.found.contains(field);
        let absent = self.options.map.iter().find(|(_, field)| is_absent(field));
        absent.map_or(Ok(()), |(column, field)| {
            let hint = near_names(field, self.names.iter().map(String::as_str));
            if self.names.contains(field) {
                let reason = format!("field `{field}` mapped to `{column}` is empty in every record");
                return Err(ImportError::Options(format!("{reason}; expected a value in some")));
            }
            let reason = format!("no record has the field `{field}` mapped to `{column}`; {hint}");
            Err(ImportError::Options(reason))
        })
    }

    /// Fields that no column of the log was read from.
    pub(super) fn unread(&self, schema: &LogSchema) -> Vec<String> {
        let read: HashSet<&str> =
            schema.columns.iter().map(|column| self.field(column.name, column.name)).collect();
        let is_read =
            |name: &str| read.contains(name) || read.iter().any(|path| path.split('.').next() == Some(name));
        self.names.iter().filter(|name| !is_read(name)).cloned().collect()
    }

    /// A score in the input's range: a number, or a word the user gave a number.
    pub(super) fn score(&self, record: &Record, field: &str) -> Result<Option<f32>, ImportError> {
        let values = &self.options.score_values;
        let Some(value) = record.value(field) else { return Ok(None) };
        let word = match value.as_ref() {
            Value::String(text) => text.trim().to_owned(),
            Value::Bool(flag) => flag.to_string(),
            Value::Number(number) => number.to_string(),
            _ => String::new(),
        };
        let known = values.iter().find(|(name, _)| name.eq_ignore_ascii_case(&word));
        if let Some((_, value)) = known {
            return Ok(Some(*value as f32));
        }
        record.number(field).map(|number| number.map(|number| number as f32)).map_err(|_| {
            let hint = if values.is_empty() {
                "a number; `--score-values up=1,down=0` gives words a number".to_owned()
            } else {
                let names: Vec<String> = values.keys().map(|name| format!("`{name}`")).collect();
                format!("a number or one of {}, as `--score-values` says", names.join(", "))
            };
            record.wrong(field, &value, &hint)
        })
    }

    /// A latency in milliseconds, from a field in the user's unit or else in `usual_ms` milliseconds each.
    pub(super) fn latency_ms(
        &self,
        record: &Record,
        field: &str,
        usual_ms: f64,
    ) -> Result<Option<f32>, ImportError> {
        let unit = self.options.latency_unit.map_or(usual_ms, LatencyUnit::ms);
        Ok(record.number(field)?.map(|latency| (latency * unit) as f32))
    }
}
