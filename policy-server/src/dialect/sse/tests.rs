use super::*;

/// Bytes of a stream, and the events they are: name and data.
type Stream = (&'static [u8], &'static [(&'static str, &'static str)]);

/// Streams with what is odd about each.
const STREAMS: &[Stream] = &[
    (b"data: a\n\ndata: b\n\n", &[("", "a"), ("", "b")]),
    (b"data: a\r\n\r\ndata: b\r\n\r\n", &[("", "a"), ("", "b")]),
    (b"data: a\r\rdata: b\r\r", &[("", "a"), ("", "b")]),
    (b"data: a\n\r\ndata: b\r\n\rdata: c\r\n\n", &[("", "a"), ("", "b"), ("", "c")]),
    (b"\xef\xbb\xbfdata: a\n\ndata: \xef\xbb\xbfb\n\n", &[("", "a"), ("", "\u{feff}b")]),
    (b"\xef\xbb\xbf\n\ndata: a\n\n", &[("", "a")]),
    (b": comment\n\n:\n\ndata: a\n: between\ndata: b\n\n", &[("", "a\nb")]),
    (
        b"event: message_start\ndata: {}\n\nevent:x\nevent: y\ndata:1\n\n",
        &[("message_start", "{}"), ("y", "1")],
    ),
    (b"event: nothing\n\nid: 7\nretry: 3\n\ndata: a\n\n", &[("", "a")]),
    (b"data\n\ndata:\n\ndata: \n\ndata:  a\n\n", &[("", ""), ("", ""), ("", ""), ("", " a")]),
    (b"data:\ndata\ndata: x\n\n", &[("", "\n\nx")]),
    (b"dataset: no\nDATA: no\ndata : no\n\ndata: a:b\n\n", &[("", "a:b")]),
    (b"\n\n\r\n\rdata: a\n\n\n\n\n", &[("", "a")]),
    ("data: \u{e9}\u{1f600}\n\n".as_bytes(), &[("", "\u{e9}\u{1f600}")]),
    (b"data: \xff\xc3\n\n", &[("", "\u{fffd}\u{fffd}")]),
    // The end cuts the last one off.
    (b"data: a\n\ndata: b", &[("", "a"), ("", "b")]),
    (b"data: a\n\ndata: b\n", &[("", "a"), ("", "b")]),
    (b"data: a\n\ndata: b\r", &[("", "a"), ("", "b")]),
    (b"data: a\r\n\r", &[("", "a")]),
    (b": only a comment", &[]),
    (b"", &[]),
    // The end of a line of comments does not end an event.
    (b"data: {\"a\":\ndata: 1}\n\ndata: [DONE]\n\n", &[("", "{\"a\":\n1}"), ("", "[DONE]")]),
];

/// The events of a stream that comes in these pieces.
fn events(pieces: &[&[u8]], max: usize) -> Vec<Result<(String, String), TooLong>> {
    let mut events = Events::new(max);
    let mut found = Vec::new();
    let own = |event: Event<'_>| (event.name.into_owned(), event.data.into_owned());
    for piece in pieces {
        events.push(piece);
        while let Some(event) = events.next() {
            found.push(event.map(own));
        }
    }
    while let Some(event) = events.finish() {
        found.push(event.map(own));
    }
    found
}

/// Every way to cut a stream in two, byte by byte, and in pieces of two and three.
fn splits(stream: &[u8]) -> Vec<Vec<&[u8]>> {
    let mut all: Vec<Vec<&[u8]>> = (0..=stream.len()).map(|at| vec![&stream[..at], &stream[at..]]).collect();
    all.extend((1..4).map(|width| stream.chunks(width).collect()));
    all.push(stream.chunks(1).flat_map(|byte| [&b""[..], byte]).collect());
    all
}

#[test]
fn events_are_the_same_however_the_stream_is_split() {
    for (stream, expected) in STREAMS {
        let expected: Vec<_> =
            expected.iter().map(|(name, data)| Ok(((*name).to_owned(), (*data).to_owned()))).collect();
        for split in splits(stream) {
            assert_eq!(events(&split, FRAME_MAX), expected, "{:?}", String::from_utf8_lossy(stream));
        }
    }
}

#[test]
fn line_ends_change_nothing_but_lines() {
    let stream = "event: a\ndata: 1\ndata: 2\n\n: c\n\ndata: 3\n\n";
    let with = |end: &str| events(&[stream.replace('\n', end).as_bytes()], FRAME_MAX);
    assert_eq!(with("\n").len(), 2);
    assert_eq!(with("\n"), with("\r\n"));
    assert_eq!(with("\n"), with("\r"));
}

#[test]
fn joined_pieces_are_the_stream() {
    for (stream, _) in STREAMS {
        for max in [1, 2, 7, 1000] {
            for split in splits(stream) {
                let mut frames = Frames::new(max);
                let mut joined = Vec::new();
                let mut take = |piece: Piece<'_>| match piece {
                    Piece::Whole(bytes) | Piece::Part(bytes, _) => joined.extend_from_slice(bytes),
                };
                for piece in split {
                    frames.push(piece);
                    while let Some(piece) = frames.next() {
                        take(piece);
                    }
                    assert!(frames.held.len() - frames.start <= max + 1 + piece.len());
                }
                while let Some(piece) = frames.finish() {
                    take(piece);
                }
                assert_eq!(joined, *stream);
            }
        }
    }
}

#[test]
fn a_frame_too_long_is_passed_over_once() {
    let stream = format!("data: a\n\ndata: {}\n: more\n\ndata: b\n\n", "x".repeat(40));
    let expected =
        [Ok((String::new(), "a".to_owned())), Err(TooLong { max: 20 }), Ok((String::new(), "b".to_owned()))];
    for split in splits(stream.as_bytes()) {
        assert_eq!(events(&split, 20), expected);
    }
    // One that never ends takes no more memory than allowed.
    let mut endless = Events::new(1000);
    let mut errors = 0;
    for _ in 0..10_000 {
        endless.push(b"data: and so on\n");
        while let Some(event) = endless.next() {
            errors += usize::from(event.is_err());
        }
        assert!(endless.frames.held.len() < 1100);
    }
    assert_eq!(errors, 1);
}

#[test]
fn the_frame_of_usage_alone_is_hidden() {
    let usage = "data: {\"id\":\"c\",\"choices\":[],\"usage\":{\"prompt_tokens\":1}}\n\n";
    let kept = [
        "data: {\"choices\":[{\"delta\":{\"content\":\"a \\\"usage\\\":1 b\"}}],\"usage\":null}\n\n",
        ": ping\r\n\r\n",
        // Azure's preamble.
        "data: {\"choices\":[],\"prompt_filter_results\":[{}],\"usage\":null}\n\n",
        // Usage beside a choice.
        "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":1}}\n\n",
        "data: {\"choices\":[],\"usage\":{},\"error\":{\"message\":\"x\"}}\n\n",
        "data: not JSON \"usage\":1\n\n",
        "data: [DONE]\n\n",
    ];
    let stream: String = kept.iter().map(|frame| format!("{frame}{usage}")).collect();
    for stream in [stream.clone(), stream.trim_end().to_owned(), stream.replace('\n', "\r\n")] {
        let expected = stream.replace(usage, "").replace(&usage.replace('\n', "\r\n"), "");
        let expected = expected.replace(usage.trim_end(), "");
        for split in splits(stream.as_bytes()) {
            let (mut hide, mut out) = (HideUsage::default(), Vec::new());
            for piece in split {
                hide.push(piece, &mut out);
            }
            hide.finish(&mut out);
            assert_eq!(String::from_utf8_lossy(&out), expected);
        }
    }
    // A frame longer than what is held back is forwarded before it is over.
    let (mut hide, mut out) = (HideUsage::default(), Vec::new());
    let long = format!("data: {{\"choices\":[],\"x\":\"{}\"", "x".repeat(2 * HELD_MAX));
    hide.push(long.as_bytes(), &mut out);
    assert_eq!(out.len(), long.len());
}

#[test]
fn names_are_noticed_without_a_parse() {
    let mentions = |data: &str| Event { name: "".into(), data: data.into() }.mentions("usage");
    assert!(
        mentions(r#"{"usage":{}}"#)
            && mentions("{\"usage\" :\n 1}")
            && mentions(r#"{"a":{"usage":null},"usage":0}"#)
    );
    assert!(!mentions(r#"{"usage":null}"#) && !mentions(r#"{"a":"usage"}"#) && !mentions(r#"{"usages":1}"#));
    assert!(!mentions(r#"{"a":"\"usage\":1"}"#), "within a text its quotes are escaped");
}

#[test]
fn what_is_written_is_read() {
    for (name, data) in [("", "{}"), ("error", "a\nb"), ("x", ""), ("", " a:b\n\n")] {
        let written = written(name, data);
        assert_eq!(events(&[written.as_bytes()], FRAME_MAX), [Ok((name.to_owned(), data.to_owned()))]);
    }
}
