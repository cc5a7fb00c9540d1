//! A server for the length of a few requests, spoken to by hand: a whole HTTP client is not needed for it.

use anyhow::{Context, bail};
use routewright_policy_server::{Server, ServerConfig};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;
use tokio::net::TcpListener;

/// Reports sent before the decision is looked at again.
const WAVE: usize = 10;
const WAVES: usize = 40;
/// What the learner needs to take a wave in.
const PAUSE: Duration = Duration::from_millis(250);

/// Serves `config` on a free port while `talk` talks to it, then stops the server.
pub(super) fn serve<T: Send + 'static>(
    config: ServerConfig,
    talk: impl FnOnce(&str) -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    let server = Server::load(config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let reply = runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("cannot listen on a local port")?;
        let address = listener.local_addr()?;
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let running = tokio::task::spawn(server.run(listener, None, async {
            drop(stopped.await);
        }));
        let reply = tokio::task::spawn_blocking(move || talk(&address.to_string())).await;
        // A server that is gone already needs no telling.
        let _ = stop.send(());
        running.await.context("the server task was lost")??;
        reply.context("the asking task was lost")?
    });
    runtime.shutdown_background();
    reply
}

/// One request; the JSON of its reply.
pub(super) fn post(address: &str, path: &str, body: &Value) -> anyhow::Result<Value> {
    let body = body.to_string();
    let mut stream = TcpStream::connect(address)?;
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes())?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply)?;
    let (head, body) = reply.split_once("\r\n\r\n").context("the server sent no whole reply")?;
    if !head.starts_with("HTTP/1.1 20") {
        bail!("the server answered `{}`: {body}", head.lines().next().unwrap_or_default());
    }
    serde_json::from_str(body).context("the reply of the server is not JSON")
}

/// A decision before and after feedback.
#[derive(Debug)]
pub(super) struct Moved {
    /// Model chosen at first.
    pub(super) before: String,
    /// Bad reports until another was chosen.
    pub(super) reports: usize,
    /// Model chosen then.
    pub(super) after: String,
}

/// Asks for a decision on `prompt` and reports a score of 0 for it, until another model is chosen.
pub(super) fn disagree(address: &str, prompt: &str) -> anyhow::Result<Moved> {
    let decide = || -> anyhow::Result<(String, String)> {
        let reply = post(address, "/v1/route", &json!({ "input": prompt }))?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Ok((text(&reply["id"]), text(&reply["action"]["model"])))
    };
    let (_, before) = decide()?;
    let mut reports = 0;
    for _ in 0..WAVES {
        for _ in 0..WAVE {
            let (id, after) = decide()?;
            if after != before {
                return Ok(Moved { before, reports, after });
            }
            let report = json!({ "decision_id": id, "metric": "score", "value": 0.0, "source": "thumb" });
            post(address, "/v1/feedback", &report)?;
            reports += 1;
        }
        std::thread::sleep(PAUSE);
    }
    bail!("`{before}` is still chosen after {reports} reports that it was bad")
}
