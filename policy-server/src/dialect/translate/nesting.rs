//! Whether JSON that comes in pieces is whole, without reading any of it twice.

/// Objects and lists that are open.
#[derive(Debug, Clone, Default)]
pub(super) struct Nesting {
    depth: u32,
    began: bool,
    in_text: bool,
    escaped: bool,
}

impl Nesting {
    pub(super) fn read(&mut self, piece: &str) {
        for byte in piece.bytes() {
            match (self.in_text, byte) {
                (true, _) if self.escaped => self.escaped = false,
                (true, b'\\') => self.escaped = true,
                (_, b'"') => self.in_text = !self.in_text,
                (false, b'{' | b'[') => {
                    self.depth = self.depth.saturating_add(1);
                    self.began = true;
                }
                (false, b'}' | b']') => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
    }

    /// Whether an object or a list began and is closed.
    pub(super) fn is_whole(&self) -> bool {
        self.began && self.depth == 0 && !self.in_text
    }
}
