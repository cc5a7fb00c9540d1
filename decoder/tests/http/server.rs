//! A server on a port of this machine that replies as a function says: whole, in pieces, broken, or not at all.

use serde_json::Value;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What was asked.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) headers: String,
    pub(crate) body: Value,
}

/// What is replied.
pub(crate) enum Reply {
    Json(Value),
    Status(u16, &'static str, String),
    /// Body bytes as they are.
    Raw(Vec<u8>),
    /// Events, with a pause before each.
    Stream(Vec<Value>, Duration),
    /// A body that ends before the length it announced.
    Short,
    /// Events without end; the server counts how many could be written.
    Endless(Value),
    /// Nothing, for so long.
    Hang(Duration),
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    pub(crate) requests: Arc<Mutex<Vec<Request>>>,
    pub(crate) events: Arc<AtomicUsize>,
    /// Connections whose reader went away.
    pub(crate) left: Arc<AtomicUsize>,
}

/// Starts it; it lives as long as the test.
pub(crate) fn serve(reply: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static) -> (String, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (seen, reply) = (Seen::default(), Arc::new(reply));
    let told = seen.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (reply, seen) = (reply.clone(), told.clone());
            std::thread::spawn(move || answer(stream, &*reply, &seen));
        }
    });
    (url, seen)
}

fn answer(mut stream: TcpStream, reply: &dyn Fn(&Request, usize) -> Reply, seen: &Seen) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let lower = head.to_lowercase();
    let length = lower.split("content-length:").nth(1)?.split("\r\n").next()?.trim().parse().ok()?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let path = head.split(' ').nth(1)?.to_owned();
    let request = Request { path, headers: lower, body: serde_json::from_slice(&body).ok()? };
    let number = {
        let mut requests = seen.requests.lock().unwrap();
        requests.push(request.clone());
        requests.len()
    };
    let ok = |kind: &str, length: usize| {
        format!(
            "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
        )
    };
    let whole = |body: &[u8]| [ok("application/json", body.len()).as_bytes(), body].concat();
    let open = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
    match reply(&request, number) {
        Reply::Json(value) => stream.write_all(&whole(value.to_string().as_bytes())).ok()?,
        Reply::Raw(bytes) => stream.write_all(&whole(&bytes)).ok()?,
        Reply::Short => {
            stream.write_all(format!("{}{{\"a\":", ok("application/json", 500)).as_bytes()).ok()?
        }
        Reply::Hang(pause) => std::thread::sleep(pause),
        Reply::Status(status, headers, body) => {
            let head = format!(
                "HTTP/1.1 {status} No\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(head.as_bytes()).ok()?;
        }
        Reply::Stream(events, pause) => {
            stream.write_all(open.as_bytes()).ok()?;
            for event in events {
                std::thread::sleep(pause);
                stream.write_all(format!("data: {event}\n\n").as_bytes()).ok()?;
            }
            stream.write_all(b"data: [DONE]\n\n").ok()?;
        }
        Reply::Endless(event) => {
            stream.write_all(open.as_bytes()).ok()?;
            while stream.write_all(format!("data: {event}\n\n").as_bytes()).is_ok() {
                seen.events.fetch_add(1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(5));
            }
            seen.left.fetch_add(1, Ordering::SeqCst);
        }
    }
    Some(())
}
