//! What a reader sees of an answer while it is written: whole characters, nothing of a stop string.

use crate::backends::writing::first_of;
use crate::generation::Listener;

/// Holds back what may yet turn out not to be part of the answer.
pub(crate) struct Emitter<'a> {
    stops: Vec<Vec<u8>>,
    longest: usize,
    /// A space that a tokenizer put before the first word is not part of the answer.
    strip_space: bool,
    held: Vec<u8>,
    text: String,
    /// Bytes that a stop string cut off.
    unsaid: usize,
    listener: Listener<'a>,
}

impl<'a> Emitter<'a> {
    pub(crate) fn new(stops: &[String], strip_space: bool, listener: Listener<'a>) -> Self {
        let stops: Vec<Vec<u8>> = stops.iter().map(|stop| stop.clone().into_bytes()).collect();
        let longest = stops.iter().map(Vec::len).max().unwrap_or(0);
        Self { stops, longest, strip_space, held: Vec::new(), text: String::new(), unsaid: 0, listener }
    }

    /// Takes the next bytes; whether a stop string has been written with them.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> bool {
        let mut bytes = bytes;
        if self.strip_space && !bytes.is_empty() {
            bytes = bytes.strip_prefix(b" ").unwrap_or(bytes);
            self.strip_space = false;
        }
        self.held.extend_from_slice(bytes);
        if let Some(cut) = first_of(&self.held, &self.stops) {
            self.unsaid = self.held.len() - cut;
            self.held.truncate(cut);
            self.tell(cut);
            return true;
        }
        // The start of a stop string may stand at the end.
        let safe = self.held.len().saturating_sub(self.longest.saturating_sub(1));
        self.tell(safe);
        false
    }

    /// Tells what was held back; bytes that are no text become U+FFFD.
    pub(crate) fn flush(&mut self) {
        let held = std::mem::take(&mut self.held);
        if !held.is_empty() {
            self.say(&String::from_utf8_lossy(&held));
        }
    }

    /// Bytes taken at the end that are not emitted.
    pub(crate) fn unsaid(&self) -> usize {
        self.unsaid
    }

    pub(crate) fn into_text(self) -> String {
        self.text
    }

    /// Tells whole characters of the first `safe` bytes that are held.
    fn tell(&mut self, safe: usize) {
        let mut end = 0;
        let mut piece = String::new();
        while end < safe {
            match std::str::from_utf8(&self.held[end..safe]) {
                Ok(valid) => {
                    piece.push_str(valid);
                    end = safe;
                }
                Err(error) => {
                    let valid = error.valid_up_to();
                    piece.push_str(&String::from_utf8_lossy(&self.held[end..end + valid]));
                    end += valid;
                    // An unfinished character waits; one that can never be finished is emitted as U+FFFD.
                    let Some(wrong) = error.error_len() else { break };
                    piece.push(char::REPLACEMENT_CHARACTER);
                    end += wrong;
                }
            }
        }
        self.held.drain(..end);
        if !piece.is_empty() {
            self.say(&piece);
        }
    }

    fn say(&mut self, piece: &str) {
        self.text.push_str(piece);
        (self.listener)(piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(stops: &[&str], pieces: &[&[u8]]) -> (Vec<String>, String, bool) {
        let stops: Vec<String> = stops.iter().map(|stop| (*stop).to_owned()).collect();
        let mut said = Vec::new();
        let mut emitter = Emitter::new(&stops, false, Box::new(|piece: &str| said.push(piece.to_owned())));
        let stopped = pieces.iter().any(|piece| emitter.push(piece));
        emitter.flush();
        let text = emitter.into_text();
        (said, text, stopped)
    }

    #[test]
    fn characters_are_told_whole() {
        let (said, text, _) = told(&[], &[b"a\xc3", b"\xa9b", b"\xe2\x82", b"\xac"]);
        assert_eq!(said, ["a", "\u{e9}b", "\u{20ac}"]);
        assert_eq!(text, "a\u{e9}b\u{20ac}");
        let (_, text, _) = told(&[], &[b"a\xff\xfeb", b"\xc3"]);
        assert_eq!(text, "a\u{fffd}\u{fffd}b\u{fffd}");
    }

    #[test]
    fn nothing_of_a_stop_string_is_told() {
        let (said, text, stopped) = told(&["END", "\n"], &[b"one E", b"Ntwo EN", b"D three"]);
        assert!(stopped);
        assert_eq!(text, "one ENtwo ");
        assert!(said.iter().all(|piece| !piece.contains("END")));
        assert!(!told(&["END"], &[b"one EN"]).2);
        assert_eq!(told(&["END"], &[b"one EN"]).1, "one EN");
    }
}
