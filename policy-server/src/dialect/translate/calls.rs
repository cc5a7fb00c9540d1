//! Which call a delta of a stream of chat is of.
//!
//! Servers number calls from 0, from 1, all of them 0, or not at all. So an index finds a call, a new id opens one
//! whatever its index, and so does a name behind arguments that are whole; without an index it is the last call.

/// What is known of a call that came before, in the order of the calls.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known<'a> {
    /// Its index, -1 where it has none.
    pub(super) index: i64,
    /// Its id as the server said it; empty until then.
    pub(super) id: &'a str,
    /// Its arguments are whole.
    pub(super) is_whole: bool,
    /// Nothing can be added to it any more.
    pub(super) is_over: bool,
}

/// Where a delta belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// The call at this place of those known.
    Known(usize),
    /// A call that begins.
    New,
    /// A call that is over: blanks behind its arguments, or its id once more.
    Nowhere,
}

/// Finds the call.
pub(super) fn place(known: &[Known<'_>], index: Option<i64>, id: &str, name: &str) -> Place {
    let of_id = || known.iter().rposition(|call| call.id == id);
    let found = known.iter().rposition(|call| match index {
        Some(index) => call.index == index,
        None => !call.is_over,
    });
    let at = match found.map(|at| (at, known[at])) {
        // By its own id, where that is another than that of the call with the index.
        Some((_, call)) if !id.is_empty() && !call.id.is_empty() && call.id != id => of_id(),
        Some((_, call)) if id.is_empty() && !name.is_empty() && call.is_whole => None,
        Some((_, call)) if !id.is_empty() && call.id.is_empty() && call.is_over => None,
        Some((at, _)) => Some(at),
        None if !id.is_empty() => of_id(),
        None => None,
    };
    match at {
        None if id.is_empty()
            && name.is_empty()
            && found.is_none()
            && index.is_none()
            && !known.is_empty() =>
        {
            Place::Nowhere
        }
        None => Place::New,
        Some(at) if known[at].is_over => Place::Nowhere,
        Some(at) => Place::Known(at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_number() {
        let call = |index, id: &'static str, is_whole, is_over| Known { index, id, is_whole, is_over };
        let open = [call(0, "a", true, false), call(1, "b", false, false)];
        assert_eq!(place(&[], Some(0), "a", "f"), Place::New);
        assert_eq!(place(&open, Some(0), "", ""), Place::Known(0));
        assert_eq!(place(&open, Some(1), "b", "g"), Place::Known(1));
        assert_eq!(place(&open, Some(2), "c", "h"), Place::New);
        assert_eq!(place(&open, Some(1), "a", ""), Place::Known(0), "the id counts");
        assert_eq!(place(&open, Some(0), "c", "h"), Place::New, "all are numbered 0");
        assert_eq!(place(&open, Some(0), "", "h"), Place::New, "the same without ids");
        assert_eq!(place(&open, None, "", ""), Place::Known(1));
        let over = [call(0, "a", true, true)];
        assert_eq!(place(&over, Some(0), "", ""), Place::Nowhere);
        assert_eq!(place(&over, Some(0), "a", ""), Place::Nowhere);
        assert_eq!(place(&over, Some(0), "", "f"), Place::New);
        assert_eq!(place(&over, Some(0), "d", ""), Place::New);
        assert_eq!(place(&over, None, "", ""), Place::Nowhere);
    }
}
