//! Reads JSON bodies; errors name line, column and near field names.

use crate::error::{ApiError, Code};
use routewright_data::suggest::near_names;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Reads a JSON body.
///
/// # Errors
/// If it is not JSON, or not what the type accepts: line, column and near field names are given.
pub(crate) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    // Editors and PowerShell put a byte order mark before the text.
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    if body.starts_with(&[0xff, 0xfe]) || body.starts_with(&[0xfe, 0xff]) {
        let message = "the body is UTF-16 (it begins with its byte order mark), expected UTF-8";
        return Err(ApiError::new(Code::InvalidJson, message));
    }
    // The derived readers also take an array of the fields in order; nobody was promised that.
    if body.trim_ascii_start().first() == Some(&b'[') {
        return Err(not_an_object());
    }
    check_containers(body)?;
    serde_json::from_slice(body).map_err(|error| json_error(&error))
}

/// Most objects and arrays in one body: each takes up to a kilobyte once it is read, whatever its two bytes.
const CONTAINERS_MAX: usize = 50_000;

/// Counts objects and arrays before they are made.
fn check_containers(body: &[u8]) -> Result<(), ApiError> {
    if body.len() < 2 * CONTAINERS_MAX {
        return Ok(());
    }
    let (mut n, mut in_text, mut escaped) = (0, false, false);
    for byte in body {
        match (in_text, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => in_text = !in_text,
            (false, b'{' | b'[') => n += 1,
            _ => {}
        }
    }
    if n > CONTAINERS_MAX {
        let message = format!("the body has {n} objects and arrays, expected at most {CONTAINERS_MAX}");
        return Err(ApiError::new(Code::InvalidRequest, message));
    }
    Ok(())
}

/// Reads one entry of a batch.
///
/// # Errors
/// As [`parse`], without line and column.
pub(crate) fn parse_value<T: DeserializeOwned>(value: Value) -> Result<T, ApiError> {
    if value.is_array() {
        return Err(not_an_object());
    }
    serde_json::from_value(value).map_err(|error| json_error(&error))
}

fn not_an_object() -> ApiError {
    ApiError::new(Code::InvalidRequest, "the request is an array, expected an object")
}

fn json_error(error: &serde_json::Error) -> ApiError {
    let text = error.to_string();
    if !error.is_data() {
        return ApiError::new(Code::InvalidJson, format!("the body is not valid JSON: {text}"));
    }
    // `unknown field `a`, expected one of `b`, `c` at line 1 column 5`: the names are between backticks.
    let mut quoted = text.split('`').skip(1).step_by(2);
    if let (true, Some(name)) = (text.starts_with("unknown field"), quoted.next()) {
        let hint = near_names(name, quoted);
        return ApiError::new(Code::InvalidRequest, format!("{text}; {hint}")).param(name);
    }
    ApiError::new(Code::InvalidRequest, format!("the body is not accepted: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::wire::RouteRequest;

    #[test]
    fn a_typo_gets_its_field_and_its_place() {
        let error = parse::<RouteRequest>(b"{\n \"imput\": \"x\"}").unwrap_err();
        assert_eq!(error.param.as_deref(), Some("imput"));
        assert!(error.message.contains("did you mean `input`"), "{}", error.message);
        assert!(error.message.contains("line 2 column 8"), "{}", error.message);
        let error = parse::<RouteRequest>(b"{\"input\": ").unwrap_err();
        assert_eq!(error.code, Code::InvalidJson);
        assert!(error.message.contains("line 1 column"), "{}", error.message);
        assert!(parse::<RouteRequest>(b"\xef\xbb\xbf{\"input\": \"x\"}").is_ok());
        let error = parse::<RouteRequest>(b"{\"explain\": \"all\"}").unwrap_err();
        assert!(error.message.contains("`none`, `summary`, `full`"), "{}", error.message);
    }

    #[test]
    fn a_body_of_many_small_objects_is_refused_before_they_are_made() {
        let body = |n: usize| format!("{{\"request\":[{}{{}}]}}", "{},".repeat(n));
        let error = parse::<Value>(body(CONTAINERS_MAX).as_bytes()).unwrap_err();
        assert!(error.message.contains("50003 objects and arrays"), "{}", error.message);
        assert!(parse::<Value>(body(CONTAINERS_MAX - 3).as_bytes()).is_ok());
        let text = format!("{{\"input\":\"{}\\\"{{\"}}", "{[\\\\".repeat(CONTAINERS_MAX));
        assert!(parse::<Value>(text.as_bytes()).is_ok(), "what is in a text is no object");
    }
}
