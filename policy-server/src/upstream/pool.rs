//! Connections to one arm that wait for the next request.

use super::request::Pieces;
use hyper::client::conn::http1::SendRequest;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// Connections that are kept without work.
const KEPT_MAX: usize = 64;
/// How long they are kept; most servers close theirs earlier.
const KEPT_FOR: Duration = Duration::from_secs(90);

/// A connection and the task that drives it; dropped, both end, whatever is under way.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) sender: SendRequest<Pieces>,
    task: JoinHandle<()>,
}

impl Connection {
    pub(super) fn new(sender: SendRequest<Pieces>, task: JoinHandle<()>) -> Self {
        Self { sender, task }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The connections, the one used last on top.
#[derive(Debug, Default)]
pub(super) struct Pool(Mutex<Vec<(Instant, Connection)>>);

impl Pool {
    /// A connection that seems to be open; its task may still be at the end of the last answer.
    pub(super) fn take(&self) -> Option<Connection> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        prune(&mut kept);
        kept.pop().map(|(_, connection)| connection)
    }

    /// Keeps a connection whose last answer was read to its end.
    pub(super) fn put(&self, connection: Connection) {
        if connection.sender.is_closed() {
            return;
        }
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        prune(&mut kept);
        if kept.len() < KEPT_MAX {
            kept.push((Instant::now(), connection));
        }
    }
}

fn prune(kept: &mut Vec<(Instant, Connection)>) {
    kept.retain(|(since, connection)| since.elapsed() < KEPT_FOR && !connection.sender.is_closed());
}
