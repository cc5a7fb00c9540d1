//! Servers as processes of their own, and the requests that keep them busy.

use super::measure::{cpu_seconds_of, own_mb_of};
use anyhow::{Context, bail};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Least processor time of a figure, so that the kernel's ticks of 10 ms do not matter.
const SECONDS_MIN: f64 = 0.5;
/// Requests sent between two looks at the time, over all connections.
const REQUESTS: usize = 800;
/// A reply that takes longer is an error.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A process that serves, ended with this value.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    address: SocketAddr,
}

/// A connection that is kept.
#[derive(Debug)]
pub(super) struct Client {
    stream: BufReader<TcpStream>,
}

impl Process {
    /// Starts this program with other arguments. `address_of` finds the address in a line the process says.
    ///
    /// # Errors
    /// If it ends before it listens.
    pub(super) fn start(
        arguments: &[&str],
        address_of: impl Fn(&str) -> Option<SocketAddr>,
    ) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot find this program")?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("cannot start a server")?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let mut process = Self { child, address: SocketAddr::from(([127, 0, 0, 1], 0)) };
        let (Some(mut out), Some(err)) = (out, err) else { bail!("a server has no pipes") };
        let mut said = Vec::new();
        for line in BufReader::new(err).lines() {
            let line = line.context("cannot read what a server says")?;
            if let Some(address) = address_of(&line) {
                process.address = address;
                return Ok(process);
            }
            said.push(line);
        }
        let mut rest = String::new();
        let _unread = out.read_to_string(&mut rest);
        bail!("a server ended before it listened: {} {rest}", said.join("; "))
    }

    /// Address it listens on.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Processor microseconds a request, after a few that are not counted.
    ///
    /// # Errors
    /// If a request fails, or the system does not give the time of a process.
    pub(super) fn cpu_us(&self, connections: usize, texts: &[String]) -> anyhow::Result<f64> {
        let each = REQUESTS.div_ceil(connections);
        self.drive(connections, each.div_ceil(8), texts)?;
        let before = self.cpu_seconds()?;
        let mut requests = 0;
        loop {
            self.drive(connections, each, texts)?;
            requests += each * connections;
            let spent = self.cpu_seconds()? - before;
            if spent >= SECONDS_MIN {
                return Ok(spent / requests as f64 * 1e6);
            }
        }
    }

    /// Megabytes of its own in RAM.
    ///
    /// # Errors
    /// If the system does not give it.
    pub(super) fn own_mb(&self) -> anyhow::Result<f64> {
        own_mb_of(self.child.id()).context("cannot read the memory of a server from /proc")
    }

    fn cpu_seconds(&self) -> anyhow::Result<f64> {
        cpu_seconds_of(self.child.id()).context("cannot read the time of a server from /proc")
    }

    /// Sends `each` requests on every connection at once.
    fn drive(&self, connections: usize, each: usize, texts: &[String]) -> anyhow::Result<()> {
        let one = |connection: usize| -> anyhow::Result<()> {
            let mut client = Client::connect(self.address)?;
            for turn in 0..each {
                let text = &texts[(connection * 7919 + turn) % texts.len()];
                client.post("/v1/route", &format!("{{\"input\":\"{text}\",\"explain\":\"none\"}}"))?;
            }
            Ok(())
        };
        each_connection(connections, one).map(|_| ())
    }
}

/// Does something on so many threads at once, a connection each; what they return, in order.
///
/// # Errors
/// The first failure, after all threads have ended.
pub(super) fn each_connection<T: Send>(
    connections: usize,
    work: impl Fn(usize) -> anyhow::Result<T> + Sync,
) -> anyhow::Result<Vec<T>> {
    let work = &work;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..connections).map(|i| scope.spawn(move || work(i))).collect();
        let ended: Vec<anyhow::Result<T>> = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| bail!("a thread that sent requests panicked")))
            .collect();
        ended.into_iter().collect()
    })
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to end.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// If nobody listens.
    pub(super) fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).with_context(|| format!("cannot reach `{address}`"))?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Sends JSON and reads the reply to the end.
    ///
    /// # Errors
    /// If the connection fails, or the status is none of success.
    pub(super) fn post(&mut self, path: &str, body: &str) -> anyhow::Result<String> {
        self.post_as(path, "application/json", body)
    }

    /// Sends a body of that type and reads the reply to the end.
    ///
    /// # Errors
    /// As [`Client::post`].
    pub(super) fn post_as(&mut self, path: &str, kind: &str, body: &str) -> anyhow::Result<String> {
        let length = body.len();
        let head = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {kind}\r\n");
        self.send(&format!("{head}content-length: {length}\r\n\r\n{body}"))
    }

    fn send(&mut self, request: &str) -> anyhow::Result<String> {
        self.stream.get_mut().write_all(request.as_bytes()).context("cannot send a request")?;
        let mut line = String::new();
        self.stream.read_line(&mut line).context("cannot read a reply")?;
        let status = line.split(' ').nth(1).unwrap_or_default().to_owned();
        let mut length = 0;
        loop {
            line.clear();
            self.stream.read_line(&mut line).context("cannot read a reply")?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().context("a reply has no proper length")?;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).context("a reply is cut off")?;
        let body = String::from_utf8_lossy(&body).into_owned();
        if !status.starts_with('2') {
            bail!("a server answered `{status}`: {body}");
        }
        Ok(body)
    }
}

/// Mean wall microseconds of the stages of a decision, as the metrics of a server have them.
///
/// # Errors
/// If the server does not answer.
pub(super) fn stages(address: SocketAddr) -> anyhow::Result<String> {
    let text = Client::connect(address)?.send("GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n")?;
    let value = |name: &str, stage: &str| -> Option<f64> {
        let wanted = format!("routewright_decision_duration_seconds_{name}{{");
        let of_stage = format!("stage=\"{stage}\"");
        let line = text.lines().find(|line| line.starts_with(&wanted) && line.contains(&of_stage))?;
        line.rsplit(' ').next()?.parse().ok()
    };
    let mean = |stage: &&str| {
        let (sum, count) = (value("sum", stage)?, value("count", stage)?);
        (count > 0.0).then(|| format!("{stage} {:.0}", sum / count * 1e6))
    };
    let means: Vec<String> =
        ["queue", "features", "score", "constraints", "total"].iter().filter_map(mean).collect();
    Ok(means.join(", "))
}

/// The address in the log line with which a server says that it listens.
pub(super) fn listening(line: &str) -> Option<SocketAddr> {
    let entry: Value = serde_json::from_str(line).ok()?;
    (entry["event"] == "listening").then(|| entry["listen"].as_str()?.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_found_in_the_log() {
        let line = r#"{"ts":1.5,"level":"info","event":"listening","listen":"127.0.0.1:80","keys":0}"#;
        assert_eq!(listening(line), Some(SocketAddr::from(([127, 0, 0, 1], 80))));
        assert_eq!(listening(&line.replace("\"event\":\"listening\"", "\"event\":\"stopped\"")), None);
        assert_eq!(listening("error: no"), None);
    }
}
