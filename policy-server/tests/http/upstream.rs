//! A scripted model server on a real socket: what it replies is said by a function of the request, and it keeps what it
//! was sent.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    /// Request line and headers, lower case.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let line = self.head.lines().find(|line| line.split(':').next() == Some(name))?;
        Some(line.split_once(':')?.1.trim())
    }
}

/// What is done on the connection of a request, one after the other.
#[derive(Debug, Clone)]
pub(crate) enum Do {
    Send(Vec<u8>),
    Pause(u64),
    /// Closes the connection.
    Close,
    /// Sends the bytes again and again until the other side goes.
    Endless(Vec<u8>),
    /// Waits until the other side goes.
    Hang,
}

type Script = dyn Fn(usize, &Received) -> Vec<Do> + Send + Sync;

struct Shared {
    script: Box<Script>,
    received: Mutex<Vec<Received>>,
    connections: AtomicUsize,
    /// Connections that the other side closed while a reply was under way.
    abandoned: AtomicUsize,
    stop: AtomicBool,
}

/// A running server; dropping it stops it.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        // Wakes the listener.
        drop(TcpStream::connect(self.address));
    }
}

impl Upstream {
    /// Serves by a script that gets the number of the request.
    pub(crate) fn start(script: impl Fn(usize, &Received) -> Vec<Do> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            script: Box::new(script),
            received: Mutex::default(),
            connections: AtomicUsize::new(0),
            abandoned: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
        });
        let own = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if own.stop.load(Ordering::Relaxed) {
                    return;
                }
                let (stream, shared) = (stream.unwrap(), Arc::clone(&own));
                shared.connections.fetch_add(1, Ordering::Relaxed);
                std::thread::spawn(move || {
                    let _gone = converse(&stream, &shared);
                });
            }
        });
        Self { address, shared }
    }

    /// Always the same reply.
    pub(crate) fn saying(reply: Vec<Do>) -> Self {
        Self::start(move |_, _| reply.clone())
    }

    pub(crate) fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.shared.received.lock().unwrap().clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Relaxed)
    }

    pub(crate) fn abandoned(&self) -> usize {
        self.shared.abandoned.load(Ordering::Relaxed)
    }
}

fn converse(stream: &TcpStream, shared: &Shared) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream.try_clone()?;
    loop {
        let mut head = String::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if line.trim_end().is_empty() {
                break;
            }
            head.push_str(&line);
        }
        let name = |line: &str| line.split(':').next().unwrap_or_default().to_lowercase();
        let length = head.lines().find(|line| name(line) == "content-length");
        let length = length.and_then(|line| line.split(':').nth(1)?.trim().parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let lines: Vec<String> = head
            .lines()
            .map(|line| match line.split_once(':') {
                Some((name, value)) => format!("{}:{value}", name.to_lowercase()),
                None => line.to_owned(),
            })
            .collect();
        let received = Received { head: lines.join("\n"), body: String::from_utf8(body).unwrap() };
        let number = {
            let mut all = shared.received.lock().unwrap();
            all.push(received.clone());
            all.len() - 1
        };
        for action in (shared.script)(number, &received) {
            match action {
                Do::Send(bytes) => write(&mut writer, &bytes, shared)?,
                Do::Pause(ms) => std::thread::sleep(Duration::from_millis(ms)),
                Do::Close => {
                    stream.shutdown(std::net::Shutdown::Both)?;
                    return Ok(());
                }
                Do::Endless(bytes) => loop {
                    write(&mut writer, &bytes, shared)?;
                },
                Do::Hang => {
                    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
                    let began = Instant::now();
                    let gone = matches!(reader.read(&mut [0]), Ok(0));
                    if gone || began.elapsed() < Duration::from_secs(19) {
                        shared.abandoned.fetch_add(1, Ordering::Relaxed);
                    }
                    return Ok(());
                }
            }
        }
    }
}

fn write(writer: &mut TcpStream, bytes: &[u8], shared: &Shared) -> std::io::Result<()> {
    writer.write_all(bytes).inspect_err(|_| {
        shared.abandoned.fetch_add(1, Ordering::Relaxed);
    })
}

/// A whole reply.
pub(crate) fn whole(status: u16, headers: &[(&str, &str)], body: &str) -> Vec<Do> {
    let mut head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n", body.len());
    if !headers.iter().any(|(name, _)| *name == "content-type") {
        head.push_str("content-type: application/json\r\n");
    }
    headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
    vec![Do::Send(format!("{head}\r\n{body}").into_bytes())]
}

/// An answer to a chat, with usage.
pub(crate) fn chat(text: &str) -> Vec<Do> {
    whole(200, &[], &chat_body(text))
}

pub(crate) fn chat_body(text: &str) -> String {
    let message = format!(r#"{{"role":"assistant","content":"{text}"}}"#);
    let choice = format!(r#"{{"index":0,"finish_reason":"stop","message":{message}}}"#);
    let usage = r#"{"prompt_tokens":1000,"completion_tokens":100,"total_tokens":1100}"#;
    format!(r#"{{"id":"c1","object":"chat.completion","model":"m","choices":[{choice}],"usage":{usage}}}"#)
}

/// The head of a stream of events.
pub(crate) fn stream_head() -> Do {
    Do::Send(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
            .to_vec(),
    )
}

/// A piece of a stream.
pub(crate) fn piece(text: &str) -> Do {
    Do::Send(format!("{:x}\r\n{text}\r\n", text.len()).into_bytes())
}

/// The end of a stream.
pub(crate) fn stream_end() -> Do {
    Do::Send(b"0\r\n\r\n".to_vec())
}

/// A chunk of a chat.
pub(crate) fn delta(text: &str) -> String {
    let choice = format!("{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}},\"finish_reason\":null}}");
    format!("data: {{\"id\":\"c1\",\"choices\":[{choice}]}}\n\n")
}

pub(crate) const ROLE: &str = "data: {\"id\":\"c1\",\"choices\":[{\"index\":0,\"delta\":\
    {\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}\n\n";
pub(crate) const FINISH: &str =
    "data: {\"id\":\"c1\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
pub(crate) const USAGE: &str =
    "data: {\"id\":\"c1\",\"choices\":[],\"usage\":{\"prompt_tokens\":1000,\"completion_tokens\":100}}\n\n";
pub(crate) const DONE: &str = "data: [DONE]\n\n";

/// A whole stream of two texts.
pub(crate) fn stream(with_usage: bool) -> Vec<Do> {
    let mut all =
        vec![stream_head(), piece(ROLE), piece(&delta("Hello")), piece(&delta(" world")), piece(FINISH)];
    if with_usage {
        all.push(piece(USAGE));
    }
    all.extend([piece(DONE), stream_end()]);
    all
}
