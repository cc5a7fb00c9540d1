//! `POST /v1/route` over a bare axum echo: processor time a request and memory, each server a process of its
//! own (`routewright serve`), all of them alive in one run and loaded in turn.
//!
//! In these rows the peer is the echo: `ours` is what a decision costs on top of it, `peer` what the echo of
//! the same request costs. A target is so many echoes and so many [memory probes](MemoryProbe) of the same run:
//! microseconds alone would judge the machine. Linux only, where the time of another process can be read.

use super::load::{self, Process};
use super::measure::{MemoryProbe, Rounds};
use super::policies::{self, SERVED, Served};
use super::report::{Report, Target};
use super::{Settings, output};
use anyhow::Context;
use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use std::process::ExitCode;
use tokio::net::TcpListener;

/// Connections kept busy; with many, decisions share micro-batches. Targets are for one.
const CONNECTIONS: [usize; 2] = [1, 16];

/// Figures of one server, by number of connections.
#[derive(Debug, Default)]
struct Figures {
    cpu_us: [Rounds; CONNECTIONS.len()],
    own_mb: Rounds,
}

/// Measures every policy.
///
/// # Errors
/// If a server cannot be started, answers anything but a decision, or its time cannot be read.
pub(super) fn run(settings: &Settings, report: &mut Report) -> anyhow::Result<()> {
    if !cfg!(target_os = "linux") {
        report.note("SKIPPED: route: the time of another process is read from /proc, which is of Linux only");
        return Ok(());
    }
    output::tell(&format!("route: policies over {} texts", settings.rows));
    let dir = tempfile::tempdir().context("cannot make a temporary folder for the policies")?;
    let texts = policies::texts(settings.rows);
    let paths = policies::write(dir.path(), &texts)?;
    let echo = Process::start(&["bench", "--echo"], |line| line.parse().ok())?;
    let mut servers = Vec::new();
    for (served, path) in SERVED.into_iter().zip(&paths) {
        let path = path.to_str().context("the temporary folder has no name in UTF-8")?;
        let arguments = ["serve", "--policy", path, "--listen", "127.0.0.1:0"];
        servers.push((served, Process::start(&arguments, load::listening)?, Figures::default()));
    }
    output::tell("route: loading the servers in turn");
    let (probe, mut probed) = (MemoryProbe::new(), Rounds::default());
    for _ in 0..settings.rounds {
        round(&echo, &mut servers, &texts)?;
        probed.push(probe.us()?, None);
    }
    report.row("memory probe: a sum over 4.6 MB".to_owned(), "us", &probed, None);
    let probe_us = probed.ours().unwrap_or_default();
    for (served, process, figures) in &servers {
        rows(*served, figures, settings.rows, probe_us, report);
        let stages = load::stages(process.address())?;
        report.note(format!("route {}: mean wall us of stages: {stages}", served.name));
    }
    Ok(())
}

/// Every server once, with few and with many connections.
fn round(echo: &Process, servers: &mut [(Served, Process, Figures)], texts: &[String]) -> anyhow::Result<()> {
    for (slot, connections) in CONNECTIONS.into_iter().enumerate() {
        let bare = echo.cpu_us(connections, texts)?;
        for (_, process, figures) in servers.iter_mut() {
            figures.cpu_us[slot].push(process.cpu_us(connections, texts)? - bare, Some(bare));
        }
    }
    let bare = echo.own_mb()?;
    for (_, process, figures) in servers.iter_mut() {
        figures.own_mb.push(process.own_mb()?, Some(bare));
    }
    Ok(())
}

fn rows(served: Served, figures: &Figures, n_rows: usize, probe_us: f64, report: &mut Report) {
    let name = match served.name {
        "knn" => format!("route knn, exact, {n_rows} rows"),
        name => format!("route {name}"),
    };
    for (connections, rounds) in CONNECTIONS.into_iter().zip(&figures.cpu_us) {
        let most = rounds.peer().map(|echo_us| served.echoes * echo_us + served.probes * probe_us);
        let target = most.filter(|_| connections == 1).map(|most| Target::OursAtMost(most.round()));
        let plural = if connections == 1 { "" } else { "s" };
        report.row(format!("{name}, {connections} connection{plural}, over echo"), "us", rounds, target);
    }
    let target = Some(Target::OursAtMost(served.mb_max));
    report.row(format!("{name}, memory of its own in RAM"), "MB", &figures.own_mb, target);
}

/// Serves the echo until killed; says its address on stderr, as a server does.
///
/// # Errors
/// If it cannot listen.
pub(super) fn echo() -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("cannot listen")?;
        output::tell(&listener.local_addr()?.to_string());
        let router = Router::new().route("/v1/route", post(|body: Bytes| async { body }));
        axum::serve(listener, router).await.context("the echo stopped")
    })?;
    Ok(ExitCode::SUCCESS)
}
