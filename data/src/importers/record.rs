//! One record of any input format: named fields, read as the type the log needs.

use super::times::parse_time;
use super::{ImportError, Place};
use serde_json::{Map, Value};
use std::borrow::Cow;

/// Named fields, and where they stand.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) fields: Map<String, Value>,
    pub(super) place: Place,
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// The value at `path` below `fields`: a field of that very name, else one within another, named with dots
/// (numbers count the items of lists). A text on the way is read as JSON, as tables hold objects.
fn descend<'a>(fields: &'a Map<String, Value>, path: &str) -> Option<Cow<'a, Value>> {
    if let Some(value) = fields.get(path) {
        return Some(Cow::Borrowed(value));
    }
    let mut parts = path.split('.');
    let mut value = Cow::Borrowed(fields.get(parts.next()?)?);
    for part in parts {
        if let Value::String(text) = value.as_ref() {
            value = Cow::Owned(serde_json::from_str(text).ok()?);
        }
        value = match value {
            Cow::Borrowed(value) => Cow::Borrowed(child(value, part)?),
            Cow::Owned(value) => Cow::Owned(child(&value, part)?.clone()),
        };
    }
    Some(value)
}

fn child<'a>(value: &'a Value, part: &str) -> Option<&'a Value> {
    match value {
        Value::Object(fields) => fields.get(part),
        Value::Array(items) => items.get(part.parse::<usize>().ok()?),
        _ => None,
    }
}

impl Record {
    /// The value of a field, `None` when it is missing or null.
    pub(super) fn value(&self, name: &str) -> Option<Cow<'_, Value>> {
        descend(&self.fields, name).filter(|value| !value.is_null())
    }

    /// The first of several fields that is there.
    pub(super) fn first(&self, names: &[&str]) -> Option<Cow<'_, Value>> {
        names.iter().find_map(|name| self.value(name))
    }

    /// Names of the fields.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.keys().map(String::as_str)
    }

    pub(super) fn error(&self, reason: impl Into<String>) -> ImportError {
        self.place.error(reason)
    }

    fn wrong(&self, name: &str, value: &Value, expected: &str) -> ImportError {
        let mut shown = value.to_string();
        if let Some((end, _)) = shown.char_indices().nth(60) {
            shown.truncate(end);
            shown.push_str("..");
        }
        self.error(format!("`{name}` is {} `{shown}`, expected {expected}", kind(value)))
    }

    /// A field as a text; numbers and booleans are written out.
    pub(super) fn text(&self, name: &str) -> Result<Option<String>, ImportError> {
        match self.value(name).as_deref() {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(value @ (Value::Number(_) | Value::Bool(_))) => Ok(Some(value.to_string())),
            Some(value) => Err(self.wrong(name, value, "a text")),
        }
    }

    /// A text that must be there.
    pub(super) fn required_text(&self, name: &str) -> Result<String, ImportError> {
        let text = self.text(name)?.filter(|text| !text.is_empty());
        text.ok_or_else(|| {
            let hint = crate::suggest::near_names(name, self.names());
            self.error(format!("`{name}` is missing or empty, expected a text; {hint}"))
        })
    }

    /// A field as a number; texts are read, booleans are 0 and 1. An empty text is no number.
    pub(super) fn number(&self, name: &str) -> Result<Option<f64>, ImportError> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let number = match value.as_ref() {
            Value::Number(number) => number.as_f64(),
            Value::Bool(flag) => Some(f64::from(u8::from(*flag))),
            Value::String(text) => match text.trim() {
                "" => return Ok(None),
                "true" | "True" => Some(1.0),
                "false" | "False" => Some(0.0),
                text => text.parse().ok(),
            },
            _ => None,
        };
        number.map(Some).ok_or_else(|| self.wrong(name, &value, "a number"))
    }

    /// A field as a count of tokens.
    pub(super) fn count(&self, name: &str) -> Result<Option<i32>, ImportError> {
        let Some(number) = self.number(name)? else { return Ok(None) };
        if number.fract() == 0.0 && (0.0..=f64::from(i32::MAX)).contains(&number) {
            return Ok(Some(number as i32));
        }
        Err(self.error(format!("`{name}` is `{number}`, expected a whole number from 0 to {}", i32::MAX)))
    }

    /// A field as milliseconds since 1970: a number of seconds or milliseconds, or an ISO 8601 text.
    pub(super) fn time(&self, name: &str) -> Result<Option<i64>, ImportError> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let time = match value.as_ref() {
            Value::Number(number) => number.as_f64().and_then(super::times::of_number),
            Value::String(text) if text.trim().is_empty() => return Ok(None),
            Value::String(text) => parse_time(text),
            _ => None,
        };
        let expected = "a time like `2026-01-31T12:00:00Z`, or seconds or milliseconds since 1970";
        time.map(Some).ok_or_else(|| self.wrong(name, &value, expected))
    }
}
