//! A server as a process of its own, and requests to it.

use crate::run::BINARY;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A server with its two addresses, killed with this value.
pub(crate) struct Serving {
    child: Child,
    pub(crate) data: String,
    pub(crate) admin: String,
}

impl Serving {
    /// Starts `serve --config server.toml` in folder `dir`; returns once it listens.
    pub(crate) fn start(dir: &Path, environment: &[(&str, &str)]) -> Self {
        Self::run(Command::new(BINARY), dir, environment)
    }

    /// As [`Serving::start`], where no file can grow beyond `blocks` of the shell: how a full disk looks to a process,
    /// without one.
    pub(crate) fn start_on_full_disk(dir: &Path, blocks: u32) -> Self {
        let mut command = Command::new("sh");
        let script = format!("trap '' XFSZ; ulimit -S -f {blocks}; exec \"$0\" \"$@\"");
        command.args(["-c", &script, BINARY]);
        Self::run(command, dir, &[])
    }

    /// Lets files grow again.
    pub(crate) fn give_room(&self) -> bool {
        let id = self.child.id().to_string();
        let given = Command::new("prlimit").args(["--pid", &id, "--fsize=unlimited:unlimited"]).status();
        given.is_ok_and(|status| status.success())
    }

    fn run(mut command: Command, dir: &Path, environment: &[(&str, &str)]) -> Self {
        command.args(["serve", "--config", "server.toml"]).current_dir(dir).stderr(Stdio::piped());
        command.envs(environment.iter().copied());
        let mut serving = Self { child: command.spawn().unwrap(), data: String::new(), admin: String::new() };
        let mut stderr = BufReader::new(serving.child.stderr.take().unwrap());
        let mut said = String::new();
        let mut line = String::new();
        while stderr.read_line(&mut line).unwrap() > 0 {
            let event: Value = serde_json::from_str(&line).unwrap_or_default();
            if event["event"] == "listening" {
                let address = |name: &str| event[name].as_str().unwrap().to_owned();
                (serving.data, serving.admin) = (address("listen"), address("admin_listen"));
                // What it says from now on is read, so that it never waits for us.
                std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
                return serving;
            }
            said.push_str(&line);
            line.clear();
        }
        unreachable!("the server ended before it listened: {said}")
    }

    /// SIGKILL; when this returns nothing of it runs any more.
    pub(crate) fn kill(&mut self) {
        // It may be dead already.
        let _killed = self.child.kill();
        let _status = self.child.wait();
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A connection that is kept.
pub(crate) type Connection = BufReader<TcpStream>;

pub(crate) fn connect(address: &str) -> Option<Connection> {
    let stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
    stream.set_nodelay(true).ok()?;
    Some(BufReader::new(stream))
}

/// One request of JSON on a kept connection; `None` once the server is gone.
pub(crate) fn ask(stream: &mut Connection, head: &str, body: &str) -> Option<(u16, Value)> {
    let (status, reply) = exchange(stream, head, "application/json", body)?;
    Some((status, serde_json::from_slice(&reply).ok()?))
}

/// One request of any media type, and the bytes of its reply.
pub(crate) fn exchange(
    stream: &mut Connection,
    head: &str,
    kind: &str,
    body: &str,
) -> Option<(u16, Vec<u8>)> {
    let request = format!(
        "{head} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.get_mut().write_all(request.as_bytes()).ok()?;
    let mut length = 0;
    let mut line = String::new();
    stream.read_line(&mut line).ok()?;
    let status = line.split(' ').nth(1)?.parse().ok()?;
    loop {
        line.clear();
        if stream.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some((status, body))
}
