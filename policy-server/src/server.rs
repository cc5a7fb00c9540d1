//! Starting and stopping: load, listen, serve, drain.

use crate::config::{ConfigError, PolicyEntry, ServerConfig};
use crate::connections::{Capped, Link};
use crate::descriptors::Shares;
use crate::guard::{self, Guard};
use crate::keys::KeyError;
use crate::learning::School;
use crate::log::{Level, Sink, Stderr};
use crate::registry::watch::Watch;
use crate::state::App;
use crate::store::{StoreConfig, StoreError};
use crate::{registry, reload, routes};
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use routewright_policy::Policy;
use routewright_policy::artifact::ArtifactError;
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// Why a server could not start or had to stop.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The configuration was refused.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The API keys could not be read.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// An artifact was refused.
    #[error("cannot serve `{path}`")]
    Policy {
        /// Directory of the artifact.
        path: String,
        /// Why.
        #[source]
        source: Box<ArtifactError>,
    },
    /// The name in a manifest cannot stand in labels and headers.
    #[error("cannot serve a policy named `{name}`, expected {expected}")]
    PolicyName {
        /// The name.
        name: String,
        /// What would be accepted.
        expected: &'static str,
    },
    /// A fused model was refused.
    #[error("cannot serve fused model `{name}`: {source}")]
    Fusion {
        /// Its name.
        name: String,
        /// Why.
        source: Box<routewright_decoder::ensemble::EnsembleError>,
    },
    /// Two policies have one name.
    #[error("two policies are named `{name}`; give them names with sections [policies.NAME]")]
    DoubleName {
        /// The name.
        name: String,
    },
    /// A registry cannot be served.
    #[error("cannot serve the registry `{path}`: {reason}")]
    Registry {
        /// Its folder.
        path: String,
        /// Why.
        reason: String,
    },
    /// The default arm is no arm of its policy.
    #[error("the default arm `{arm}` is no arm of policy `{policy}`; {hint}")]
    DefaultArm {
        /// The policy.
        policy: String,
        /// The arm asked for.
        arm: String,
        /// Near names, or all of them.
        hint: String,
    },
    /// The default policy is not served.
    #[error("the default policy `{name}` is not served; {hint}")]
    DefaultPolicy {
        /// The policy asked for.
        name: String,
        /// Near names, or all of them.
        hint: String,
    },
    /// No worker could be started.
    #[error("cannot start the worker threads")]
    Threads(#[source] std::io::Error),
    /// A policy cannot learn as its section says.
    #[error("policy `{policy}` cannot learn: {reason}")]
    Learning {
        /// The policy.
        policy: String,
        /// Why.
        reason: String,
    },
    /// The settings of arms in the configuration do not fit the policy.
    #[error("policy `{policy}`: {reason}")]
    Arms {
        /// The policy.
        policy: String,
        /// Why.
        reason: String,
    },
    /// The store could not be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An address could not be listened on.
    #[error("cannot listen on `{address}`")]
    Listen {
        /// The address.
        address: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The admin listener would ask for no key.
    #[error("the admin listener has no key, expected `server.admin_key` or `server.admin_open`")]
    AdminWithoutKey,
    /// The admin listener is reachable from outside.
    #[error("the admin listener is bound to `{address}`, expected a loopback address")]
    AdminNotLoopback {
        /// The address.
        address: String,
    },
    /// The listener failed while serving.
    #[error("the server stopped serving")]
    Io(#[from] std::io::Error),
}

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
        let open = move || Ok::<_, StoreError>((School::open(&opening)?, Watch::open(&opening)?));
        let opened = tokio::task::spawn_blocking(open).await;
        let (school, canaries) = opened.map_err(|join| ServeError::Io(std::io::Error::other(join)))??;
        announce(&app, &address.to_string(), admin_address.map(|address| address.to_string()));
        let (stop, stopped) = watch::channel(false);
        let watcher = tokio::spawn(reload::watch(Arc::clone(&app), wait(stopped.clone())));
        let learning = school.map(|school| {
            let app = Arc::clone(&app);
            tokio::task::spawn_blocking(move || school.run(&app))
        });
        let guardian = tokio::spawn(registry::watch::run(Arc::clone(&app), canaries, wait(stopped.clone())));
        let result = listen(&app, listener, admin_listener, shutdown, stop, &stopped).await;
        watcher.abort();
        guardian.abort();
        // However serving ended, what was learned is saved.
        app.draining.store(true, Relaxed);
        app.stopping.store(true, Relaxed);
        if let Some(learning) = learning {
            let _panicked = learning.await;
        }
        let closing = Arc::clone(&app);
        // What was queued without being waited for is written before the process ends.
        let flush = move || closing.ledger.as_ref().map(|ledger| ledger.flush());
        let _flushed = tokio::task::spawn_blocking(flush).await;
        app.log.event(Level::Info, "stopped", json!({}));
        result.map_err(ServeError::Io)
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
    let told = async {
        shutdown.await;
        app.draining.store(true, Relaxed);
        app.log.event(Level::Info, "stopping", json!({}));
        // Load balancers see `/ready` and send no more; what they still send is answered.
        tokio::time::sleep(Duration::from_millis(app.config.limits.shutdown_delay_ms)).await;
    };
    tokio::select! {
        served = &mut both => return served,
        () = told => {}
    }
    app.stopping.store(true, Relaxed);
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
    let guard = Guard { app: Arc::clone(app), admin, is_local };
    routes::router(admin)
        // The guard has read the body, within its limit.
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn_with_state(guard, guard::around))
        .with_state(Arc::clone(app))
}

async fn serve(
    app: &Arc<App>,
    listener: TcpListener,
    admin: bool,
    connections_max: usize,
    stopped: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let is_local = listener.local_addr()?.ip().is_loopback();
    let listener = Capped::new(app, listener, connections_max);
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

/// Ends when the server is told to stop, or its owner is gone.
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
    let keys = app.keys.load();
    let fields = json!({ "listen": address, "admin_listen": admin, "keys": keys.len() });
    app.log.event(Level::Info, "listening", fields);
    if !keys.required() && !address.starts_with("127.") && !address.starts_with("[::1]") {
        let fields = json!({ "hint": "set `server.keys_file` or `server.api_keys`" });
        app.log.event(Level::Warn, "open_without_keys", fields);
    }
}
