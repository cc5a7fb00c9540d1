//! The events of a stream, from its lines.

use super::malformed;
use serde_json::Value;

/// Where in JSON a text that is read piece by piece ends: whether it can be whole is known without reading it again.
#[derive(Debug, Default)]
struct Nesting {
    /// Objects and arrays that are open.
    depth: i64,
    in_text: bool,
    escaped: bool,
}

impl Nesting {
    fn read(&mut self, piece: &str) {
        for byte in piece.bytes() {
            match (self.in_text, byte) {
                (true, _) if self.escaped => self.escaped = false,
                (true, b'\\') => self.escaped = true,
                (_, b'"') => self.in_text = !self.in_text,
                (false, b'{' | b'[') => self.depth += 1,
                (false, b'}' | b']') => self.depth -= 1,
                _ => {}
            }
        }
    }

    fn is_open(&self) -> bool {
        self.in_text || self.depth > 0
    }
}

/// Server-sent events with JSON in them, read line by line.
///
/// A line that is whole JSON is an event at once, since some servers leave the blank lines between events out; lines
/// that are not are joined, as the protocol has it, until a blank line.
#[derive(Debug, Default)]
pub struct Events {
    open: String,
    nesting: Nesting,
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
        self.nesting.read(data);
        // An event of many lines would be read again with each of them.
        if self.nesting.is_open() {
            return Ok(None);
        }
        match serde_json::from_str(&self.open) {
            Ok(value) => {
                (self.open, self.nesting) = Default::default();
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
        let (open, _) = (std::mem::take(&mut self.open), std::mem::take(&mut self.nesting));
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

    /// Each line was once read with all lines before it: this took minutes.
    #[test]
    fn an_event_of_very_many_lines_is_read_once() {
        let mut lines = vec!["data: ["];
        lines.extend(std::iter::repeat_n("data: [\"]\\\"\"],", 200_000));
        lines.extend(["data: 1]", "data: 2"]);
        let (found, _) = read(&lines).unwrap();
        assert_eq!((found.len(), found[0].as_array().unwrap().len()), (2, 200_001));
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
