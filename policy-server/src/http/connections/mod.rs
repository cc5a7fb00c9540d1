//! Accepting connections: at most so many at once, and none that is only waited for keeps another one out.
//!
//! Where all places are taken, the next connection gets the place of one that makes the server wait: silent between
//! requests, slow with its head or body, or not taking its reply. Among those it is one of the address that has most
//! connections, and of these the one that has made the server wait longest. A request that is being answered is
//! never cut off for another.

mod peer;
mod refusal;
mod stream;

pub(crate) use peer::{Peer, Phase, Tracked};
use stream::{Connection, Timeouts};

use crate::error::Code;
use crate::live::metrics::Metrics;
use crate::log::{Level, Log};
use crate::settings::Limits;
use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use serde_json::json;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Pause after a failure to accept.
const PAUSE: Duration = Duration::from_millis(100);
/// Time between two looks for a place.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Every open connection of a listener.
#[derive(Debug, Default)]
struct Places {
    by_number: Mutex<BTreeMap<u64, Arc<Peer>>>,
}

impl Places {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Peer>>> {
        self.by_number.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count_of(&self, address: IpAddr) -> usize {
        self.lock().values().filter(|peer| peer.address == address && !peer.is_evicted()).count()
    }

    /// Evicts one of those that `may` go; whether there was one.
    fn evict(&self, may: impl Fn(&Peer) -> bool) -> bool {
        let places = self.lock();
        let now = Instant::now();
        let mut connections: HashMap<IpAddr, usize> = HashMap::new();
        places.values().for_each(|peer| *connections.entry(peer.address).or_default() += 1);
        let candidates = places
            .values()
            .filter(|peer| may(peer))
            .filter_map(|peer| Some((peer.waited_for_since(now)?, peer)));
        let greed = |peer: &Peer| connections.get(&peer.address).copied().unwrap_or(0);
        let victim = candidates.max_by_key(|(since, peer)| (greed(peer), std::cmp::Reverse(*since)));
        victim.inspect(|(_, peer)| peer.evict()).is_some()
    }
}

/// The place of a connection, given back when it is dropped.
#[derive(Debug)]
struct Place {
    places: Arc<Places>,
    number: u64,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().remove(&self.number);
    }
}

/// A listener with so many places.
#[derive(Debug)]
pub(crate) struct Capped {
    limits: Limits,
    metrics: Arc<Metrics>,
    log: Log,
    listener: TcpListener,
    permits: Arc<Semaphore>,
    places: Arc<Places>,
    accepted: u64,
}

impl Capped {
    pub(crate) fn new(
        listener: TcpListener,
        connections_max: usize,
        limits: Limits,
        metrics: &Arc<Metrics>,
        log: &Log,
    ) -> Self {
        let permits = Arc::new(Semaphore::new(connections_max.min(Semaphore::MAX_PERMITS)));
        let (metrics, log) = (Arc::clone(metrics), log.clone());
        Self { limits, metrics, log, listener, permits, places: Arc::default(), accepted: 0 }
    }

    /// Waits for a place, and makes one where that can be done.
    async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        loop {
            if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
                return Some(permit);
            }
            self.places.evict(|_| true);
            let freed = Arc::clone(&self.permits).acquire_owned();
            if let Ok(permit) = tokio::time::timeout(LOOK_EVERY, freed).await {
                return permit.ok();
            }
        }
    }

    /// Whether the address may have one more connection, or can give up one that is waited for.
    fn admits(&self, address: IpAddr) -> bool {
        let max = self.limits.connections_per_address_max;
        max == 0 || self.places.count_of(address) < max || self.places.evict(|peer| peer.address == address)
    }

    /// After a failure to accept, which most often is a lack of descriptors.
    async fn recover(&self, error: &io::Error) {
        use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
        if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
            return;
        }
        self.log.event(Level::Warn, "accept_failed", json!({ "reason": error.to_string() }));
        self.places.evict(|_| true);
        tokio::time::sleep(PAUSE).await;
    }
}

impl axum::serve::Listener for Capped {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            let (stream, address) = match self.listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    self.recover(&error).await;
                    continue;
                }
            };
            let ip = address.ip().to_canonical();
            if !self.admits(ip) {
                refuse(&stream, self.limits.connections_per_address_max);
                continue;
            }
            let permit = self.permit().await;
            // Replies are small and whole: waiting to fill a packet only adds delay.
            let _kept_default = stream.set_nodelay(true);
            self.accepted += 1;
            let peer = Arc::new(Peer::new(ip));
            self.places.lock().insert(self.accepted, Arc::clone(&peer));
            let place = Place { places: Arc::clone(&self.places), number: self.accepted, _permit: permit };
            let timeouts = Timeouts::of(&self.limits);
            return (Connection::new(stream, peer, timeouts, Arc::clone(&self.metrics), place), address);
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Replies that the address has too many connections. The client may have gone.
fn refuse(stream: &TcpStream, max: usize) {
    let message = format!("{max} connections are open from this address, the most allowed");
    let _gone = stream.try_write(&refusal::reply(Code::Overloaded, &message));
}

/// The connection a request came by.
#[derive(Debug, Clone)]
pub(crate) struct Link(pub(crate) Arc<Peer>);

impl Connected<IncomingStream<'_, Capped>> for Link {
    fn connect_info(stream: IncomingStream<'_, Capped>) -> Self {
        Self(Arc::clone(stream.io().peer()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(addresses: &[&str]) -> (Places, Vec<Arc<Peer>>) {
        let peers: Vec<Arc<Peer>> =
            addresses.iter().map(|address| Arc::new(Peer::new(address.parse().unwrap()))).collect();
        let by_number = (0..).zip(peers.iter().cloned()).collect();
        (Places { by_number: Mutex::new(by_number) }, peers)
    }

    fn evicted(peers: &[Arc<Peer>]) -> Vec<usize> {
        (0..peers.len()).filter(|at| peers[*at].is_evicted()).collect()
    }

    #[test]
    fn the_oldest_of_the_greediest_address_goes_first_and_who_is_answered_stays() {
        let (places, peers) = places(&["10.0.0.1", "10.0.0.2", "10.0.0.2", "10.0.0.2"]);
        assert!(!places.evict(|_| true), "none has made the server wait yet");
        let ago = |ms| Instant::now().checked_sub(Duration::from_millis(ms)).unwrap();
        for (peer, ms) in peers.iter().zip([9000, 300, 400, 500]) {
            peer.waits_since(ago(ms));
        }
        peers[3].enter(Phase::Answering);
        assert!(places.evict(|_| true));
        assert_eq!(evicted(&peers), [2], "of the address with most, the longest wait that is not answered");
        assert!(places.evict(|_| true) && places.evict(|_| true));
        assert_eq!(evicted(&peers), [0, 1, 2]);
        assert!(!places.evict(|_| true), "the one that is answered is never cut off");
        assert_eq!(places.count_of("10.0.0.2".parse().unwrap()), 1);
    }
}
