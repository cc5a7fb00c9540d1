//! A strict reader of JSON, which says where a value ends and builds nothing.

use super::{DEPTH_MAX, JsonError, is_blank};

/// Reads JSON strictly.
#[derive(Debug)]
pub(super) struct Scanner<'a> {
    text: &'a [u8],
    pub(super) at: usize,
    /// A bit for each open list or object: whether it is an object. The innermost is the lowest.
    objects: u128,
    depth: u32,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0, objects: 0, depth: 0 }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    pub(super) fn expected(&self, expected: &'static str) -> JsonError {
        JsonError { at: self.at, expected }
    }

    pub(super) fn blank(&mut self) {
        while self.peek().is_some_and(is_blank) {
            self.at += 1;
        }
    }

    pub(super) fn value(&mut self) -> Result<(), JsonError> {
        loop {
            self.blank();
            let goes_on = match self.peek() {
                Some(b'{') => self.open(true)?,
                Some(b'[') => self.open(false)?,
                _ => self.scalar().map(|()| false)?,
            };
            if !goes_on && self.close()? {
                return Ok(());
            }
        }
    }

    /// Opens a list or object; whether a value follows in it.
    fn open(&mut self, is_object: bool) -> Result<bool, JsonError> {
        if self.depth == DEPTH_MAX {
            return Err(self.expected("at most 127 lists and objects within each other"));
        }
        self.at += 1;
        self.blank();
        if self.peek() == Some(if is_object { b'}' } else { b']' }) {
            self.at += 1;
            return Ok(false);
        }
        self.objects = self.objects << 1 | u128::from(is_object);
        self.depth += 1;
        if is_object {
            self.name()?;
        }
        Ok(true)
    }

    /// After a value: closes what ends here; whether everything is closed, else another value follows.
    fn close(&mut self) -> Result<bool, JsonError> {
        while self.depth > 0 {
            self.blank();
            let is_object = self.objects & 1 == 1;
            match self.peek() {
                Some(b',') => {
                    self.at += 1;
                    if is_object {
                        self.blank();
                        self.name()?;
                    }
                    return Ok(false);
                }
                Some(b'}') if is_object => {}
                Some(b']') if !is_object => {}
                _ if is_object => return Err(self.expected("`,` or `}`")),
                _ => return Err(self.expected("`,` or `]`")),
            }
            self.at += 1;
            self.depth -= 1;
            self.objects >>= 1;
        }
        Ok(true)
    }

    /// A name and the colon behind it.
    fn name(&mut self) -> Result<(), JsonError> {
        if self.peek() != Some(b'"') {
            return Err(self.expected("a name in quotes"));
        }
        self.string()?;
        self.blank();
        if self.peek() != Some(b':') {
            return Err(self.expected("`:`"));
        }
        self.at += 1;
        Ok(())
    }

    fn scalar(&mut self) -> Result<(), JsonError> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        match rest.first() {
            Some(b'"') => return self.string(),
            Some(b'-' | b'0'..=b'9') => return self.figure(),
            _ => {}
        }
        let word = [&b"true"[..], b"false", b"null"].into_iter().find(|word| rest.starts_with(word));
        self.at += word.ok_or_else(|| self.expected("a value"))?.len();
        Ok(())
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        if !self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            return Err(self.expected("a digit"));
        }
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        Ok(())
    }

    fn figure(&mut self) -> Result<(), JsonError> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn string(&mut self) -> Result<(), JsonError> {
        self.at += 1;
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.escape()?,
                Some(0x20..) => self.at += 1,
                Some(_) => return Err(self.expected("no control character in a text")),
                None => return Err(self.expected("the end of a text")),
            }
        }
    }

    fn escape(&mut self) -> Result<(), JsonError> {
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => {
                let digits = self.text.get(self.at + 1..self.at + 5).unwrap_or_default();
                if digits.len() < 4 || !digits.iter().all(u8::is_ascii_hexdigit) {
                    return Err(self.expected("four hexadecimal digits of an escape"));
                }
                self.at += 5;
            }
            _ => return Err(self.expected("an escape")),
        }
        Ok(())
    }
}
