//! Reading binary files that may be cut off or lie about their lengths: nothing is allocated that is not there.

/// What is left of a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    length: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, length: bytes.len() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Bytes read so far.
    pub(super) fn position(&self) -> usize {
        self.length - self.rest.len()
    }

    /// The next `length` bytes.
    pub(super) fn take(&mut self, length: u64) -> Result<&'a [u8], String> {
        let split = usize::try_from(length).ok().and_then(|length| self.rest.split_at_checked(length));
        let (taken, rest) = split.ok_or_else(|| {
            format!("at byte {} it announces {length} bytes and has {}", self.position(), self.rest.len())
        })?;
        self.rest = rest;
        Ok(taken)
    }

    /// The bytes of a number, for `from_le_bytes`.
    pub(super) fn number<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let taken = self.take(N as u64)?;
        taken.try_into().map_err(|_length| format!("it ends at byte {}", self.position()))
    }
}
