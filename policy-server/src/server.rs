//! Starting and stopping: load, listen, serve, drain.

use crate::app::App;
use crate::http::connections::{Capped, Link};
use crate::http::descriptors::Shares;
use crate::http::guard::{self, Guard};
use crate::http::routes;
use crate::log::{Level, Sink, Stderr};
use crate::serve_error::ServeError;
use crate::settings::{PolicyEntry, ServerConfig, StoreConfig};
use crate::upkeep::log_follower::LogFollower;
use crate::upkeep::unwatched;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use routewright_policy::Policy;
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::watch;

/// A server whose policies are loaded and which is yet to listen.
#[derive(Debug)]
pub struct Server {
    app: Arc<App>,
}

/// Serves the policies of `config` until `shutdown` ends, then lets requests in flight finish.
///
/// # Errors
/// If the configuration, the keys or a policy is refused, or listening fails.
pub async fn run(
    listener: TcpListener,
    admin_listener: Option<TcpListener>,
    config: ServerConfig,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    Server::load(config)?.run(listener, admin_listener, shutdown).await
}

impl Server {
    /// Loads every policy of the configuration; logs to standard error.
    ///
    /// # Errors
    /// If the configuration, the keys or a policy is refused.
    pub fn load(config: ServerConfig) -> Result<Self, ServeError> {
        Self::load_with(config, Vec::new(), Arc::new(Stderr))
    }

    /// Loads every policy of the configuration, adds policies that are in memory, logs to `sink`.
    ///
    /// The path of an entry that comes with its policy is not read, and such a policy is never reloaded.
    ///
    /// # Errors
    /// If the configuration, the keys or a policy is refused.
    pub fn load_with(
        config: ServerConfig,
        in_memory: Vec<(PolicyEntry, Policy)>,
        sink: Arc<dyn Sink>,
    ) -> Result<Self, ServeError> {
        if in_memory.is_empty() {
            config.check()?;
        } else {
            config.limits.check()?;
            config.store.as_ref().map_or(Ok(()), StoreConfig::check)?;
        }
        Ok(Self { app: Arc::new(App::new(config, in_memory, sink)?) })
    }

    /// Names and digests of the policies in service.
    pub fn policies(&self) -> Vec<(String, String)> {
        let live = self.app.live.load();
        live.policies.values().map(|served| (served.name.clone(), served.policy.digest.clone())).collect()
    }

    /// The routes of the data listener as a service without a listener, for a program that has one of its own. What
    /// depends on the connection is not there: no places are kept, and all callers without a key share one rate.
    /// Nothing learns and nothing is reloaded; that is [`Self::run`]'s.
    pub fn router(&self) -> Router {
        application(&self.app, false, false)
    }

    /// The routes of the admin listener, likewise. A change of arms is logged and never followed: nothing learns.
    pub fn admin_router(&self) -> Router {
        application(&self.app, true, true)
    }

    /// Serves until `shutdown` ends, then lets requests in flight finish, at most `shutdown_grace_ms`.
    ///
    /// # Errors
    /// If the admin listener is not on a loopback address, or a listener fails.
    pub async fn run(
        self,
        listener: TcpListener,
        admin_listener: Option<TcpListener>,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), ServeError> {
        let address = listener.local_addr()?;
        let app = self.app;
        let admin_address = admin_address(&app, admin_listener.as_ref())?;
        let opening = Arc::clone(&app);
        let open = move || {
            let App { live, canaries, ledger, log, .. } = &*opening;
            LogFollower::open(live, canaries, ledger.as_ref(), log)
        };
        let opened = tokio::task::spawn_blocking(open).await;
        let follower = opened.map_err(|join| ServeError::Io(std::io::Error::other(join)))??;
        announce(&app, &address.to_string(), admin_address.map(|address| address.to_string()));
        let (stop, stopped) = watch::channel(false);
        let watcher = tokio::spawn(Arc::clone(&app.reloader).watch(wait(stopped.clone())));
        let (send, fallen) = unbounded_channel();
        let following = follower.map(|follower| {
            let lifecycle = Arc::clone(&app.lifecycle);
            tokio::task::spawn_blocking(move || follower.run(&lifecycle, &send))
        });
        let guardian = tokio::spawn(reload_fallen(Arc::clone(&app), fallen));
        let result = listen(&app, listener, admin_listener, shutdown, stop, &stopped).await;
        watcher.abort();
        guardian.abort();
        // However serving ended, what was learned is saved.
        app.lifecycle.stop();
        if let Some(following) = following
            && following.await.is_err()
        {
            app.log.event(Level::Error, "log_follower_ended", json!({ "hint": "it panicked" }));
        }
        let closing = Arc::clone(&app);
        // What was queued without being waited for is written before the process ends.
        let flush = move || closing.ledger.as_ref().map(|ledger| ledger.flush());
        let _flushed = tokio::task::spawn_blocking(flush).await;
        app.log.event(Level::Info, "stopped", json!({}));
        result.map_err(ServeError::Io)
    }
}

/// Takes the registries of policies whose canary was rolled back into service.
async fn reload_fallen(app: Arc<App>, mut fallen: UnboundedReceiver<String>) {
    while let Some(policy) = fallen.recv().await {
        app.reloader.reload(Some(&policy), true).await;
    }
}

/// The address of the admin listener, where there is one and it may be there.
fn admin_address(app: &App, listener: Option<&TcpListener>) -> Result<Option<SocketAddr>, ServeError> {
    let Some(address) = listener.map(TcpListener::local_addr).transpose()? else { return Ok(None) };
    if !address.ip().is_loopback() {
        return Err(ServeError::AdminNotLoopback { address: address.to_string() });
    }
    if app.config.admin_key.is_none() && !app.config.admin_open {
        return Err(ServeError::AdminWithoutKey);
    }
    Ok(Some(address))
}

/// Serves both listeners until `shutdown` ends, then for the delay, then lets requests in flight finish.
async fn listen(
    app: &Arc<App>,
    listener: TcpListener,
    admin_listener: Option<TcpListener>,
    shutdown: impl Future<Output = ()>,
    stop: watch::Sender<bool>,
    stopped: &watch::Receiver<bool>,
) -> std::io::Result<()> {
    let shares = Shares::of(&app.config.limits);
    announce_shares(app, shares);
    let data = serve(app, listener, false, shares.data, stopped.clone());
    let admin = async {
        match admin_listener {
            Some(listener) => serve(app, listener, true, shares.admin, stopped.clone()).await,
            None => Ok(()),
        }
    };
    let both = async { tokio::try_join!(data, admin).map(|_| ()) };
    tokio::pin!(both);
    let draining = async {
        shutdown.await;
        app.lifecycle.drain();
        app.log.event(Level::Info, "stopping", json!({}));
        // Load balancers see `/ready` and send no more; what they still send is answered.
        tokio::time::sleep(Duration::from_millis(app.config.limits.shutdown_delay_ms)).await;
    };
    tokio::select! {
        served = &mut both => return served,
        () = draining => {}
    }
    app.lifecycle.stop();
    // Fails only when nobody waits any more.
    let _nobody = stop.send(true);
    let grace = Duration::from_millis(app.config.limits.shutdown_grace_ms);
    tokio::time::timeout(grace, both).await.unwrap_or_else(|_| {
        let fields = json!({ "grace_ms": grace.as_millis() as u64 });
        app.log.event(Level::Warn, "stopped_with_requests_in_flight", fields);
        Ok(())
    })
}

/// Both listeners have the same layers; they differ in routes and in whose key counts.
fn application(app: &Arc<App>, admin: bool, is_local: bool) -> Router {
    let guard = Guard { around: Arc::clone(&app.surroundings), admin, is_local };
    routes::router(admin)
        // The guard has read the body, within its limit.
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn_with_state(guard, guard::around))
        .with_state(app.parts.clone())
}

async fn serve(
    app: &Arc<App>,
    listener: TcpListener,
    admin: bool,
    connections_max: usize,
    stopped: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let is_local = listener.local_addr()?.ip().is_loopback();
    let listener = Capped::new(listener, connections_max, app.config.limits, &app.metrics, &app.log);
    let service = application(app, admin, is_local).into_make_service_with_connect_info::<Link>();
    axum::serve(listener, service).with_graceful_shutdown(wait(stopped)).await
}

/// Warns where the system allows fewer connections than the configuration asks for.
fn announce_shares(app: &App, shares: Shares) {
    let max = app.config.limits.connections_max;
    if shares.data < max {
        let fields = json!({
            "connections_max": max,
            "allowed": shares.data,
            "hint": "raise the limit of open files (ulimit -n)",
        });
        app.log.event(Level::Warn, "connections_limited", fields);
    }
}

/// Ends when the server stops, or its owner is gone.
async fn wait(mut stopped: watch::Receiver<bool>) {
    let _gone = stopped.wait_for(|stop| *stop).await;
}

fn announce(app: &App, address: &str, admin: Option<String>) {
    let live = app.live.load();
    for served in live.policies.values() {
        let execution = if served.inline { "inline" } else { "worker" };
        let fields = json!({ "policy": served.name, "version": served.version, "execution": execution });
        app.log.event(Level::Info, "policy_loaded", fields);
    }
    unwatched::warn(&app.config, &app.live, &app.log);
    let keys = app.keys.load();
    let fields = json!({ "listen": address, "admin_listen": admin, "keys": keys.len() });
    app.log.event(Level::Info, "listening", fields);
    if !keys.required() && !address.starts_with("127.") && !address.starts_with("[::1]") {
        let fields = json!({ "hint": "set `server.keys_file` or `server.api_keys`" });
        app.log.event(Level::Warn, "open_without_keys", fields);
    }
}
