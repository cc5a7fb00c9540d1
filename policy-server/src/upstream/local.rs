//! A server of models within this process: what a network connection is elsewhere is a pipe here, so that deadlines,
//! streams, cancellation and breakers are those of every model.

use super::error::CallError;
use axum::Router;
use axum::serve::Listener;
use std::io;
use std::sync::OnceLock;
use tokio::io::DuplexStream;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

/// Bytes a pipe holds each way before its writer waits for the reader.
const PIPE_BYTES: usize = 64 << 10;

/// The routes of a server, which begins to serve with the first connection: before that no runtime may be there.
pub(crate) struct Local {
    routes: Router,
    door: OnceLock<UnboundedSender<DuplexStream>>,
}

impl std::fmt::Debug for Local {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Local").finish_non_exhaustive()
    }
}

impl Local {
    pub(crate) fn new(routes: Router) -> Self {
        Self { routes, door: OnceLock::new() }
    }

    /// A connection to it.
    ///
    /// # Errors
    /// If it serves no more.
    pub(super) fn connect(&self) -> Result<DuplexStream, CallError> {
        let door = self.door.get_or_init(|| {
            let (door, arriving) = mpsc::unbounded_channel();
            let serving = axum::serve(Pipes(arriving), self.routes.clone());
            tokio::spawn(serving.into_future());
            door
        });
        let (near, far) = tokio::io::duplex(PIPE_BYTES);
        let closed = |_| CallError::Connect { reason: "the server within this process has ended".to_owned() };
        door.send(far).map(|()| near).map_err(closed)
    }
}

/// Pipes that were opened, as a listener.
struct Pipes(UnboundedReceiver<DuplexStream>);

impl Listener for Pipes {
    type Io = DuplexStream;
    type Addr = ();

    async fn accept(&mut self) -> (DuplexStream, ()) {
        match self.0.recv().await {
            Some(pipe) => (pipe, ()),
            // Nobody is left who could open one.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<()> {
        Ok(())
    }
}
