//! A server for one test: its own runtime, port 0, its log kept.

use crate::policies;
use routewright_policy::Policy;
use routewright_policy_server::{Execution, PolicyEntry, ServeError, Server, ServerConfig, Sink};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// Keeps the log.
#[derive(Debug, Default)]
pub(crate) struct Lines(Mutex<Vec<String>>);

impl Sink for Lines {
    fn line(&self, line: &str) {
        self.0.lock().unwrap().push(line.to_owned());
    }
}

/// A running server; dropping it stops it.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    log: Arc<Lines>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<(), ServeError>>>,
}

impl Running {
    /// Serves `config` with policies in memory added.
    pub(crate) fn start(mut config: ServerConfig, in_memory: Vec<(PolicyEntry, Policy)>) -> Self {
        config.admin_open = config.admin_key.is_none();
        let log = Arc::new(Lines::default());
        let sink: Arc<dyn Sink> = Arc::clone(&log) as _;
        let server = Server::load_with(config, in_memory, sink).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
            runtime.unwrap().block_on(async move {
                let data = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let admin = TcpListener::bind("127.0.0.1:0").await.unwrap();
                tell.send((data.local_addr().unwrap(), admin.local_addr().unwrap())).unwrap();
                let shutdown = async move { stopped.await.unwrap_or_default() };
                server.run(data, Some(admin), shutdown).await
            })
        });
        let (address, admin) = told.recv().unwrap();
        Self { address, admin, log, stop: Some(stop), thread: Some(thread) }
    }

    /// Asks the server to stop, without waiting.
    pub(crate) fn stop(&mut self) {
        drop(self.stop.take());
    }

    /// Waits for the end.
    pub(crate) fn join(&mut self) -> Result<(), ServeError> {
        self.stop();
        self.thread.take().unwrap().join().unwrap()
    }

    /// The log, one text.
    pub(crate) fn log(&self) -> String {
        self.log.0.lock().unwrap().join("\n")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap().unwrap();
        }
    }
}

/// A server of the default artifact, with a folder for more files.
pub(crate) fn default_server(change: impl FnOnce(&mut ServerConfig)) -> (Running, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    policies::write_default(&dir.path().join("main"));
    let mut config = ServerConfig::for_policies([dir.path().join("main")]);
    config.reload_poll_ms = 0;
    change(&mut config);
    (Running::start(config, Vec::new()), dir)
}

/// A server of the obedient policy, on one worker.
pub(crate) fn obedient_server(
    execution: Execution,
    change: impl FnOnce(&mut ServerConfig),
) -> (Running, Arc<policies::Seen>) {
    let (policy, seen) = policies::obedient("slow");
    let mut config = ServerConfig { reload_poll_ms: 0, ..ServerConfig::default() };
    config.limits.workers = 1;
    change(&mut config);
    let entry = PolicyEntry { execution, default_arm: Some("large".to_owned()), ..PolicyEntry::at("") };
    (Running::start(config, vec![(entry, policy)]), seen)
}
