//! Streams of events that servers of members send.

use crate::bytes;
use crate::harness::{Parts, Target, Verdict, attack, refused_in};
use crate::json::Json;
use crate::random::{Rng, below, one_in, pick, size};
use crate::text;
use routewright_decoder::client::Events;
use serde_json::json;

const NAMES: [&str; 8] =
    ["choices", "delta", "content", "text", "finish_reason", "error", "object", "logprobs"];

/// A stream as a server may send it, event by event, each in a way of its own.
fn stream(rng: &mut Rng) -> String {
    let mut out = String::new();
    for at in 0..1 + below(rng, 6) {
        let event = json!({"id": at, "object": "text_completion",
            "choices": [{"index": 0, "text": format!("piece {at}\n\u{e9}"), "finish_reason": null, "logprobs": null}]});
        let event = match one_in(rng, 3) {
            true => String::from_utf8_lossy(&Json::damaged(&event, &NAMES, rng)).into_owned(),
            false => event.to_string(),
        };
        match below(rng, 6) {
            0 => out.push_str(&format!("data: {}\n\n", spread(&event, rng))),
            1 => out.push_str(&format!("event: message\nid: {at}\ndata:{event}\nretry: 3\n\n")),
            2 => out.push_str(&format!("data: {event}\n")),
            3 => out.push_str(&format!(": ping\r\n\r\ndata: {event}\r\n\r\n")),
            _ => out.push_str(&format!("data: {event}\n\n")),
        }
    }
    if !one_in(rng, 3) {
        out.push_str("data: [DONE]\n\n");
    }
    out
}

/// An event over several lines.
fn spread(event: &str, rng: &mut Rng) -> String {
    let mut out = String::new();
    for character in event.chars() {
        out.push(character);
        if matches!(character, ',' | '{' | ':') && one_in(rng, 3) {
            out.push_str("\ndata: ");
        }
    }
    out
}

/// An event of very many lines, which is never over.
fn endless(rng: &mut Rng) -> String {
    let (open, line) =
        *pick(rng, &[("[", "1,"), ("{", "\"a\": 1,"), ("\"", "text"), ("", "\""), ("[\"", "[{"), ("-", "1")]);
    format!("data: {open}\n{}", format!("data: {line}\n").repeat(20_000))
}

struct Sse;

impl Target for Sse {
    const NAME: &'static str = "sse";
    const CASES: u64 = 10_000;

    fn input(&mut self, rng: &mut Rng) -> Parts {
        let mut stream = match one_in(rng, 4000) {
            true => endless(rng),
            false => stream(rng),
        };
        if one_in(rng, 3) {
            stream = text::damage_lines(&stream, rng);
        }
        let mut stream = stream.into_bytes();
        if one_in(rng, 8) {
            bytes::damage(&mut stream, rng);
        }
        if one_in(rng, 200) {
            let depth = size(rng);
            stream.extend(format!("data: {}\n", "[".repeat(depth)).bytes());
        }
        vec![("stream.txt".to_owned(), stream)]
    }

    fn feed(&mut self, parts: &Parts) -> Result<Verdict, String> {
        let mut events = Events::default();
        let mut found = 0;
        let lines = parts[0].1.split(|byte| *byte == b'\n');
        let n_lines = lines.clone().count();
        for line in lines {
            // The client refuses a line that is not UTF-8 before it gets here.
            let Ok(line) = std::str::from_utf8(line.trim_ascii_end()) else { return Ok(Verdict::Refused) };
            match events.line(line) {
                Ok(Some(value)) => {
                    found += 1;
                    if serde_json::from_str::<serde_json::Value>(&value.to_string()).ok() != Some(value) {
                        return Err("an event is another one when it is written and read again".to_owned());
                    }
                }
                Ok(None) => {}
                Err(error) => return refused_in(&error, parts),
            }
        }
        if let Err(error) = events.end() {
            return refused_in(&error, parts);
        }
        if found > n_lines || (found > 0) && !events.began() {
            return Err(format!("{found} events in {n_lines} lines"));
        }
        Ok(Verdict::Accepted)
    }
}

#[test]
fn streams_of_events() {
    attack(Sse);
}
