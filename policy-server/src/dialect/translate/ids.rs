//! Ids of calls, for dialects that allow fewer characters than the model server that made them.
//!
//! Anthropic's ids are of letters, digits, `_` and `-`; others have dots and colons (`functions.f:0`). An id that is
//! not allowed is written in hexadecimal behind a mark, and read back from there, so that nothing has to be remembered
//! between the reply with a call and the request with its result.

use std::borrow::Cow;

const MARK: &str = "rwx_";

fn is_allowed(id: &str) -> bool {
    !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

/// An id with allowed characters alone; the same for the same.
pub(super) fn narrow(id: &str) -> Cow<'_, str> {
    // What looks like one of ours is written again, so that reading back is exact.
    if is_allowed(id) && !id.starts_with(MARK) {
        return Cow::Borrowed(id);
    }
    let hex: String = id.bytes().map(|byte| format!("{byte:02x}")).collect();
    Cow::Owned(format!("{MARK}{hex}"))
}

/// The id that [`narrow`] made this of; every other id is itself.
pub(super) fn widen(id: &str) -> Cow<'_, str> {
    let read = || {
        let hex = id.strip_prefix(MARK)?;
        let bytes: Option<Vec<u8>> = (0..hex.len())
            .step_by(2)
            .map(|at| hex.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok()))
            .collect();
        String::from_utf8(bytes?).ok().filter(|wide| narrow(wide) == id)
    };
    read().map_or(Cow::Borrowed(id), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_comes_back() {
        for id in [
            "call_1",
            "toolu_01-A",
            "functions.f:0",
            "",
            "rwx_",
            "rwx_6162",
            "rwx_zz",
            "\u{e9} \"",
            "rwx_72_",
        ] {
            let narrowed = narrow(id);
            assert!(is_allowed(&narrowed), "{narrowed}");
            assert_eq!(widen(&narrowed), id);
            // An id of a server that never met us stays.
            assert!(widen(id) == id || id.starts_with(MARK));
        }
        assert_eq!(narrow("toolu_1"), "toolu_1");
    }
}
