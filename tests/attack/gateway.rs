//! The routes whose requests models answer: damaged bodies of callers, damaged replies of the models behind them.

use crate::bytes;
use crate::dialect;
use crate::dialect_streams;
use crate::harness::{Parts, Target, Verdict, attack, refused_in};
use crate::json::Json;
use crate::programs;
use crate::random::{Rng, below, one_in, pick};
use crate::scratch::Scratch;
use crate::wire::{Caller, Silence};
use routewright_policy_server::{Execution, PolicyEntry, Server, ServerConfig};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Cases of one server: its log would outgrow the memory otherwise.
const CASES_OF_A_SERVER: u64 = 20_000;
const NAMES: [&str; 20] = [
    "model",
    "messages",
    "role",
    "content",
    "input",
    "prompt",
    "stream",
    "max_tokens",
    "n",
    "tools",
    "auto",
    "routewright/vote",
    "routewright/cascade",
    "routewright/one-call",
    "small",
    "large",
    "other",
    "system",
    "type",
    "text",
];
const ROUTES: [&str; 5] =
    ["/v1/chat/completions", "/v1/messages", "/v1/responses", "/v1/completions", "/v1/embeddings"];
/// Policies that are served.
const POLICIES: [&str; 4] = ["one-call", "cascade", "vote", "consistency"];

/// What the models reply with: a head and a body.
#[derive(Debug, Default)]
struct Said {
    status: u16,
    kind: &'static str,
    body: Vec<u8>,
}

type Script = Arc<Mutex<Said>>;

/// Reads a request to its end; `None` where the connection is over.
async fn request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<()> {
    buffer.clear();
    let mut piece = [0; 16 << 10];
    loop {
        let n = stream.read(&mut piece).await.ok().filter(|n| *n > 0)?;
        buffer.extend_from_slice(&piece[..n]);
        let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&buffer[..end]).to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
        let length: usize = length.and_then(|length| length.trim().parse().ok()).unwrap_or(0);
        if buffer.len() >= end + 4 + length {
            return Some(());
        }
    }
}

/// A model server: whatever it is asked, it says what the script holds at the time.
async fn upstream(listener: TcpListener, script: Script) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let script = Arc::clone(&script);
        tokio::spawn(async move {
            let mut buffer = Vec::new();
            while request(&mut stream, &mut buffer).await.is_some() {
                let reply = {
                    let said = script.lock().unwrap_or_else(PoisonError::into_inner);
                    let head = format!(
                        "HTTP/1.1 {} X\r\ncontent-type: {}\r\ncontent-length: {}\r\n\r\n",
                        said.status,
                        said.kind,
                        said.body.len()
                    );
                    [head.as_bytes(), &said.body].concat()
                };
                if stream.write_all(&reply).await.is_err() {
                    return;
                }
            }
        });
    }
}

struct Gateway {
    _scratch: Scratch,
    _server: Server,
    caller: Caller,
    script: Script,
    bodies: Vec<&'static str>,
    made: u64,
}

impl Gateway {
    fn new() -> Self {
        let scratch = Scratch::new();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let script = Script::default();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(upstream(listener, Arc::clone(&script)));
        let mut text =
            "[limits]\nworkers = 1\nanswer_timeout_ms = 20000\n[store]\npath = 'log'\ndurability = 'async'\n\
            keep_prompt = true\n"
                .to_owned();
        for (name, dialect) in [("small", "openai"), ("large", "anthropic"), ("other", "openai")] {
            text.push_str(&format!(
                "[models.{name}]\nbase_url = 'http://{address}/v1'\ndialect = '{dialect}'\ninput_usd_per_mtok = 1.0\n\
                 output_usd_per_mtok = 4.0\ncapabilities = ['tools', 'images', 'json_schema', 'n', 'logprobs']\n"
            ));
        }
        let config = ServerConfig::parse(&text, "server.toml", &scratch.path(""), &|_| None).unwrap();
        let policy = |name: &str| {
            let draft = programs::example(routewright_policy::programs::find(name).unwrap());
            (
                PolicyEntry { execution: Execution::Inline, ..PolicyEntry::at("") },
                draft.into_policy().unwrap(),
            )
        };
        let server =
            Server::load_with(config, POLICIES.map(policy).into_iter().collect(), Arc::new(Silence)).unwrap();
        let caller = Caller { runtime, ..Caller::of(server.router()) };
        Self { _scratch: scratch, _server: server, caller, script, bodies: dialect::requests(), made: 0 }
    }
}

/// What a model replies with.
fn reply(rng: &mut Rng) -> (String, Vec<u8>) {
    let status = if one_in(rng, 60) { *pick(rng, &[400, 404, 413, 422, 429, 302, 500]) } else { 200 };
    match below(rng, 3) {
        0 => (format!("{status} text/event-stream"), dialect_streams::stream(rng)),
        _ => {
            let whole = *pick(rng, &dialect::REPLIES);
            let body = if one_in(rng, 3) { dialect::damaged(whole, rng) } else { whole.as_bytes().to_vec() };
            (format!("{status} application/json"), body)
        }
    }
}

/// Checks an error as either kind of SDK reads it.
fn is_error(reply: &Value, parts: &Parts) -> Result<Verdict, String> {
    match reply["error"]["message"].as_str() {
        Some(words) => refused_in(words, parts),
        // What the model said of a request is passed on.
        None if parts[1].0.starts_with("200") => Err(format!("an error says nothing: {reply}")),
        None => Ok(Verdict::Refused),
    }
}

impl Target for Gateway {
    const NAME: &'static str = "gateway";
    const CASES: u64 = 2000;
    const MEMORY: usize = 24 << 20;

    fn input(&mut self, rng: &mut Rng) -> Parts {
        self.made += 1;
        if self.made > CASES_OF_A_SERVER {
            *self = Self::new();
        }
        let route = *pick(rng, &ROUTES);
        let text = *pick(rng, &self.bodies);
        let body = match serde_json::from_str::<Value>(text) {
            Ok(mut body) if body.is_object() => {
                let policy = format!("routewright/{}", pick(rng, &POLICIES));
                body["model"] =
                    json!(*pick(rng, &[policy.as_str(), policy.as_str(), "auto", "small", "large"]));
                if body.get("messages").is_none() && one_in(rng, 2) {
                    body["messages"] = json!([{"role": "user", "content": "hello"}]);
                }
                Json::damaged(&body, &NAMES, rng)
            }
            _ => {
                let mut body = text.as_bytes().to_vec();
                bytes::damage(&mut body, rng);
                body
            }
        };
        let (head, said) = reply(rng);
        vec![(format!("{route}.json"), body), (head, said)]
    }

    fn feed(&mut self, parts: &Parts) -> Result<Verdict, String> {
        let (name, body) = &parts[0];
        let path = name.strip_suffix(".json").ok_or("a name without an ending")?;
        let (head, said) = parts.get(1).ok_or("no reply of the model")?;
        let (status, kind) = head.split_once(' ').ok_or("a reply without a kind")?;
        *self.script.lock().unwrap_or_else(PoisonError::into_inner) = Said {
            status: status.parse().map_err(|_| "a reply without a status")?,
            kind: if kind == "text/event-stream" { "text/event-stream" } else { "application/json" },
            body: said.clone(),
        };
        let (status, reply) = self.caller.send(path, "application/json", body.clone())?;
        if status.as_u16() == 500 {
            return Err(format!("status {status}: {}", String::from_utf8_lossy(&reply)));
        }
        if status.is_success() {
            // What passes through is the model's own: whether it is JSON is its affair, and checked where it is translated.
            return Ok(Verdict::Accepted);
        }
        match serde_json::from_slice::<Value>(&reply) {
            Ok(reply) => is_error(&reply, parts),
            Err(_) if status.as_u16() == head.split(' ').next().and_then(|s| s.parse().ok()).unwrap_or(0) => {
                Ok(Verdict::Refused)
            }
            Err(error) => Err(format!("an error is `{}`: {error}", String::from_utf8_lossy(&reply))),
        }
    }
}

#[test]
fn bodies_and_the_replies_to_them() {
    attack(Gateway::new());
}
