//! A writer of JSON.

/// Writes JSON, commas included.
///
/// ```
/// use routewright_policy_server::dialect::json::Writer;
///
/// let mut out = Writer::default();
/// out.open('{').name("a").raw("1e400").name("b").open('[').text("x\n").close(']').close('}');
/// assert_eq!(out.finish(), r#"{"a":1e400,"b":["x\n"]}"#);
/// ```
#[derive(Debug, Default)]
pub struct Writer {
    out: String,
    /// The next item needs a comma before it.
    comma: bool,
}

impl Writer {
    fn begin(&mut self) {
        if self.comma {
            self.out.push(',');
        }
    }

    /// Opens a list with `[` or an object with `{`.
    pub fn open(&mut self, bracket: char) -> &mut Self {
        self.begin();
        self.out.push(bracket);
        self.comma = false;
        self
    }

    /// Closes it with `]` or `}`.
    pub fn close(&mut self, bracket: char) -> &mut Self {
        self.out.push(bracket);
        self.comma = true;
        self
    }

    /// The name of what is written next.
    pub fn name(&mut self, name: &str) -> &mut Self {
        self.begin();
        quote(&mut self.out, name);
        self.out.push(':');
        self.comma = false;
        self
    }

    /// A value that is JSON already.
    pub fn raw(&mut self, json: &str) -> &mut Self {
        self.begin();
        self.out.push_str(json);
        self.comma = true;
        self
    }

    /// A text.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.begin();
        quote(&mut self.out, text);
        self.comma = true;
        self
    }

    /// A text, `null` where there is none.
    pub fn text_or_null(&mut self, text: Option<&str>) -> &mut Self {
        match text {
            Some(text) => self.text(text),
            None => self.raw("null"),
        }
    }

    /// A number.
    pub fn number(&mut self, number: u64) -> &mut Self {
        self.raw(&number.to_string())
    }

    /// What was written.
    pub fn finish(self) -> String {
        self.out
    }
}

/// A text as JSON.
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    quote(&mut out, text);
    out
}

fn quote(out: &mut String, text: &str) {
    out.push('"');
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| matches!(c, '"' | '\\' | '\0'..='\x1f')) {
        out.push_str(&rest[..at]);
        let byte = rest.as_bytes()[at];
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            _ => out.push_str(&format!("\\u{byte:04x}")),
        }
        rest = &rest[at + 1..];
    }
    out.push_str(rest);
    out.push('"');
}
