//! The store: durable feedback a second, and the 99th percentile of `POST /v1/route` with it over without it.
//!
//! Unlike the other benchmarks this one looks at the clock on the wall: what a commit waits for is the disk. The
//! requests come from this process on the same machine and compete with the server. The store lies in the
//! temporary folder (`TMPDIR`); what a sync of that disk costs alone is measured in the same round.
//!
//! In the rows of latency the peer is the same server without `[store]`.

use super::load::{self, Client, Process, each_connection};
use super::measure::Rounds;
use super::policies;
use super::report::{Report, Target};
use super::{Settings, output};
use anyhow::Context;
use serde_json::Value;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

/// Connections that report at once.
const REPORTERS: usize = 64;
/// Lines of a request in NDJSON, and requests of a connection and round.
const LINES: usize = 100;
const BULK_REQUESTS: usize = 5;
const SINGLE_REQUESTS: usize = 150;
/// Decisions that are reported on, by the connection that reports.
const DECISIONS: usize = 20;
/// Connections that decide, and requests of each in a round.
const DECIDERS: [(usize, usize); 3] = [(1, 1000), (16, 150), (64, 60)];
/// What is asked of the store.
const DURABILITY: [&str; 2] = ["before_ack", "async"];
const SYNCS: usize = 300;
/// Feedback a second, at least so many times the syncs a second of the same disk by one thread: what is committed
/// together shares a sync.
const PER_SYNC: [f64; 2] = [3.0, 1.0];
/// The store may cost so many times the latency without it.
const RATIO: f64 = 2.0;

/// Measures all of it.
///
/// # Errors
/// If a server cannot be started or refuses a request.
pub(super) fn run(settings: &Settings, report: &mut Report) -> anyhow::Result<()> {
    let dir = tempfile::tempdir().context("cannot make a temporary folder for the stores")?;
    let texts = policies::texts(1000);
    let path = policies::write(dir.path(), &texts)?.into_iter().next().context("there is a policy")?;
    let bare = start(dir.path(), &path, None)?;
    let stored = DURABILITY.map(|durability| start(dir.path(), &path, Some(durability)));
    let [before_ack, queued] = stored;
    let servers = [before_ack?, queued?];
    let ids = decide_all(&servers[0], &texts)?;
    output::tell("feedback: loading the servers in turn");
    let (mut bulk, mut single, mut slowest) = (Rounds::default(), Rounds::default(), Rounds::default());
    let mut latency: [[Rounds; DURABILITY.len()]; DECIDERS.len()] = Default::default();
    for round in 0..settings.rounds {
        let sync = sync_us(dir.path())?;
        let per_second = Some(sync.len() as f64 * 1e6 / sync.iter().sum::<f64>());
        slowest.push(p99(sync), None);
        let lines = report_all(&servers[0], &ids, &format!("b{round}"), BULK_REQUESTS, LINES)?;
        bulk.push(lines, per_second);
        single.push(report_all(&servers[0], &ids, &format!("s{round}"), SINGLE_REQUESTS, 1)?, per_second);
        for ((connections, each), rounds) in DECIDERS.into_iter().zip(&mut latency) {
            let without = p99_us(&bare, connections, each, &texts)?;
            for (server, rounds) in servers.iter().zip(rounds) {
                rounds.push(p99_us(server, connections, each, &texts)?, Some(without));
            }
        }
    }
    let rate =
        |name: &str| format!("feedback, durable, {REPORTERS} connections, {name}, vs syncs by one thread");
    let [per_bulk, per_single] = PER_SYNC.map(|least| Some(Target::RatioAtLeast(least)));
    report.row(rate(&format!("NDJSON of {LINES}")), "/s", &bulk, per_bulk);
    report.row(rate("one a request"), "/s", &single, per_single);
    report.row("sync of 4 KiB appended to a file, p99".to_owned(), "us", &slowest, None);
    for ((connections, _), rounds) in DECIDERS.into_iter().zip(&latency) {
        for (durability, rounds) in DURABILITY.into_iter().zip(rounds) {
            let what = format!("route p99, {connections} connections, {durability} over no store");
            report.row(what, "us", rounds, Some(Target::RatioAtMost(RATIO)));
        }
    }
    Ok(())
}

/// A server of the policy, with a store of its own where it has one.
fn start(dir: &Path, policy: &Path, durability: Option<&str>) -> anyhow::Result<Process> {
    let name = durability.unwrap_or("none");
    let mut config =
        format!("[server]\nlisten = '127.0.0.1:0'\n[policies.main]\npath = '{}'\n", policy.display());
    if durability.is_some() {
        // Writing to a string does not fail.
        let _ = write!(config, "[store]\npath = '{name}.db'\ndurability = '{name}'\n");
    }
    let file = dir.join(format!("{name}.toml"));
    std::fs::write(&file, config).with_context(|| format!("cannot write `{}`", file.display()))?;
    let file = file.to_str().context("the temporary folder has no name in UTF-8")?;
    Process::start(&["serve", "--config", file], load::listening)
}

fn request(text: &str) -> String {
    format!("{{\"input\":\"{text}\",\"explain\":\"none\"}}")
}

/// Ids of decisions to report on, by connection.
fn decide_all(server: &Process, texts: &[String]) -> anyhow::Result<Vec<Vec<String>>> {
    each_connection(REPORTERS, |_| {
        let mut client = Client::connect(server.address())?;
        let mut decide = |text: &String| {
            let reply: Value = serde_json::from_str(&client.post("/v1/route", &request(text))?)?;
            reply["id"].as_str().map(str::to_owned).context("a decision has no id")
        };
        texts.iter().take(DECISIONS).map(&mut decide).collect()
    })
}

/// Reports acknowledged a second, each with a key of its own.
fn report_all(
    server: &Process,
    ids: &[Vec<String>],
    round: &str,
    requests: usize,
    lines: usize,
) -> anyhow::Result<f64> {
    let began = Instant::now();
    each_connection(REPORTERS, |connection| {
        let mut client = Client::connect(server.address())?;
        let ids = &ids[connection];
        for turn in 0..requests {
            let line = |line: usize| {
                let n = turn * lines + line;
                let (id, key) = (&ids[n % ids.len()], format!("{round}-{connection}-{n}"));
                let metric = "\"metric\":\"score\",\"value\":0.5";
                format!("{{\"decision_id\":\"{id}\",{metric},\"idempotency_key\":\"{key}\"}}\n")
            };
            let body: String = (0..lines).map(line).collect();
            let kind = if lines == 1 { "application/json" } else { "application/x-ndjson" };
            let reply = client.post_as("/v1/feedback", kind, &body)?;
            let accepted = reply.matches("202").count();
            anyhow::ensure!(lines == 1 || accepted >= lines, "feedback was refused: {reply}");
        }
        Ok(())
    })?;
    Ok((REPORTERS * requests * lines) as f64 / began.elapsed().as_secs_f64())
}

/// The 99th percentile of the time of a decision, over all connections, microseconds.
fn p99_us(server: &Process, connections: usize, each: usize, texts: &[String]) -> anyhow::Result<f64> {
    let times = each_connection(connections, |connection| {
        let mut client = Client::connect(server.address())?;
        let mut times = Vec::with_capacity(each);
        for turn in 0..each {
            let body = request(&texts[(connection * 7919 + turn) % texts.len()]);
            let began = Instant::now();
            client.post("/v1/route", &body)?;
            times.push(began.elapsed().as_secs_f64() * 1e6);
        }
        Ok(times)
    })?;
    Ok(p99(times.concat()))
}

/// What the disk takes to make 4 KiB at the end of a file durable, time after time, microseconds.
fn sync_us(dir: &Path) -> anyhow::Result<Vec<f64>> {
    let mut file = File::create(dir.join("sync")).context("cannot make a file to sync")?;
    let mut times = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        let began = Instant::now();
        file.write_all(&[7; 4096])?;
        file.sync_data().context("cannot sync a file")?;
        times.push(began.elapsed().as_secs_f64() * 1e6);
    }
    Ok(times)
}

/// The least value that 99 of 100 do not exceed; 0 of nothing.
fn p99(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let rank = (values.len() * 99).div_ceil(100);
    rank.checked_sub(1).map_or(0.0, |at| values[at])
}

#[cfg(test)]
mod tests {
    use super::p99;

    #[test]
    fn one_of_a_hundred_may_be_slower() {
        assert_eq!(p99((0..200).rev().map(f64::from).collect()), 197.0);
        assert_eq!((p99(vec![3.0, 9.0]), p99(vec![])), (9.0, 0.0));
    }
}
