//! One record of any input format: named fields, read as the type the log needs.

use super::times::{of_integer, of_number, parse_time};
use super::{ImportError, Place};
use serde_json::{Map, Value};
use std::borrow::Cow;

/// Named fields, and where they stand.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) fields: Map<String, Value>,
    pub(super) place: Place,
}

/// Key of the object that stands for a cell of a type no importer reads.
const UNREADABLE: &str = "\0unreadable";
/// Whole numbers from here on are not all exact as 64-bit floats.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// What stands for a cell of a type no importer reads: an error where it is used, nothing where it is not.
pub(super) fn unreadable(found: &str) -> Value {
    serde_json::json!({ UNREADABLE: found })
}

/// The type of a cell no importer reads.
pub(super) fn unreadable_type(value: &Value) -> Option<&str> {
    value.get(UNREADABLE)?.as_str()
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
    /// The value of a field, `None` when it is missing or null. No field is named by an empty text.
    pub(super) fn value(&self, name: &str) -> Option<Cow<'_, Value>> {
        if name.is_empty() {
            return None;
        }
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

    pub(super) fn wrong(&self, name: &str, value: &Value, expected: &str) -> ImportError {
        if let Some(found) = unreadable_type(value) {
            return self.error(format!("`{name}` is {found}, which is not read; expected {expected}"));
        }
        let mut shown = value.to_string();
        if let Some((end, _)) = shown.char_indices().nth(60) {
            shown.truncate(end);
            shown.push_str("..");
        }
        self.error(format!("`{name}` is {} `{shown}`, expected {expected}", kind(value)))
    }

    /// A field as a text; numbers and booleans are written out, floats that are whole as whole numbers.
    pub(super) fn text(&self, name: &str) -> Result<Option<String>, ImportError> {
        match self.value(name).as_deref() {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(Value::Number(number)) if number.is_f64() => self.whole(name, number).map(Some),
            Some(value @ (Value::Number(_) | Value::Bool(_))) => Ok(Some(value.to_string())),
            Some(value) => Err(self.wrong(name, value, "a text")),
        }
    }

    /// A float as a text: tables keep whole numbers as floats where one is missing.
    fn whole(&self, name: &str, number: &serde_json::Number) -> Result<String, ImportError> {
        match number.as_f64().filter(|float| float.fract() == 0.0) {
            None => Ok(number.to_string()),
            Some(float) if float.abs() < EXACT_MAX => Ok((float as i64).to_string()),
            Some(_) => Err(self.error(format!(
                "`{name}` is the float `{number}`, too great to be exact; expected a text or a whole number of 64 bits"
            ))),
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

    /// A field as a list of numbers; a text is read as JSON, as tables hold lists. An empty text is no list.
    pub(super) fn numbers(&self, name: &str) -> Result<Option<Vec<f32>>, ImportError> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let list = match value.as_ref() {
            Value::Array(items) => Some(items.clone()),
            Value::String(text) if text.trim().is_empty() => return Ok(None),
            Value::String(text) => serde_json::from_str::<Vec<Value>>(text).ok(),
            _ => None,
        };
        let number = |item: &Value| item.as_f64().map(|number| number as f32);
        let numbers = list.and_then(|items| items.iter().map(number).collect());
        numbers.map(Some).ok_or_else(|| self.wrong(name, &value, "a list of numbers"))
    }

    /// A field as a count of tokens.
    pub(super) fn count(&self, name: &str) -> Result<Option<i32>, ImportError> {
        let Some(number) = self.number(name)? else { return Ok(None) };
        if number.fract() == 0.0 && (0.0..=f64::from(i32::MAX)).contains(&number) {
            return Ok(Some(number as i32));
        }
        Err(self.error(format!("`{name}` is `{number}`, expected a whole number from 0 to {}", i32::MAX)))
    }

    /// A field as milliseconds since 1970: a number (its size tells the unit), or an ISO 8601 text.
    pub(super) fn time(&self, name: &str) -> Result<Option<i64>, ImportError> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let time = match value.as_ref() {
            Value::Number(number) => match number.as_i64() {
                Some(number) => Some(of_integer(number)),
                None => number.as_f64().and_then(of_number),
            },
            Value::String(text) if text.trim().is_empty() => return Ok(None),
            Value::String(text) => parse_time(text),
            _ => None,
        };
        let expected =
            "a time like `2026-01-31T12:00:00Z`, or seconds, milli-, micro- or nanoseconds since 1970";
        time.map(Some).ok_or_else(|| self.wrong(name, &value, expected))
    }
}
