//! The events of a stream, from its lines.

use super::malformed;
use serde_json::Value;

/// Server-sent events with JSON in them, read line by line.
///
/// A line that is whole JSON is an event at once, since some servers leave the blank lines between events out; lines
/// that are not are joined, as the protocol has it, until a blank line.
#[derive(Debug, Default)]
pub struct Events {
    open: String,
    /// There was an event.
    began: bool,
    /// The stream said that it was complete.
    done: bool,
}

impl Events {
    /// Takes a line; the event that ends with it, if one does.
    ///
    /// # Errors
    /// If an event is over that is not JSON.
    pub fn line(&mut self, line: &str) -> Result<Option<Value>, String> {
        if line.is_empty() {
            return self.end().map(|()| None);
        }
        // Comments, names of events and pauses are not for us.
        let Some(data) = line.strip_prefix("data:").map(str::trim) else { return Ok(None) };
        if data == "[DONE]" {
            self.done = true;
            return self.end().map(|()| None);
        }
        if data.is_empty() {
            return Ok(None);
        }
        self.began = true;
        if !self.open.is_empty() {
            self.open.push('\n');
        }
        self.open.push_str(data);
        match serde_json::from_str(&self.open) {
            Ok(value) => {
                self.open.clear();
                Ok(Some(value))
            }
            Err(error) if error.is_eof() => Ok(None),
            Err(error) => Err(malformed(&error, &self.open)),
        }
    }

    /// Whether there was an event.
    pub fn began(&self) -> bool {
        self.began
    }

    /// Whether the stream said that it was complete, `[DONE]`.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Checks that no event is left open, as a blank line and the end of the stream do.
    ///
    /// # Errors
    /// If what is open is not JSON.
    pub fn end(&mut self) -> Result<(), String> {
        if self.open.is_empty() {
            return Ok(());
        }
        let open = std::mem::take(&mut self.open);
        match serde_json::from_str::<Value>(&open) {
            Ok(_) => Ok(()),
            Err(error) => Err(malformed(&error, &open)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(lines: &[&str]) -> Result<(Vec<Value>, bool), String> {
        let mut events = Events::default();
        let mut found = Vec::new();
        for line in lines {
            found.extend(events.line(line)?);
        }
        events.end()?;
        Ok((found, events.done))
    }

    #[test]
    fn events_of_several_lines_and_lines_without_blanks_between() {
        let lines = [": ping", "retry: 9", "data: {\"a\":", "data: 1}", "", "data:{\"b\":2}", "data: [DONE]"];
        assert_eq!(read(&lines).unwrap(), (vec![json!({"a": 1}), json!({"b": 2})], true));
        assert_eq!(read(&["data: {\"a\": 1}", "", "data: 2"]).unwrap().0, [json!({"a": 1}), json!(2)]);
        assert!(!read(&["data: 1"]).unwrap().1);
    }

    #[test]
    fn an_event_that_is_not_whole_is_an_error() {
        for lines in [
            &["data: {\"a\":", ""][..],
            &["data: {\"a\":"],
            &["data: {\"a\": x"],
            &["data: {", "data: [DONE]"],
        ] {
            assert!(read(lines).unwrap_err().contains("not JSON"), "{lines:?}");
        }
    }
}
