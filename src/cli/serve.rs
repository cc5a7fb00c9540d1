//! `routewright serve --config FILE | --policy DIR`: decisions over HTTP; `--new-key` makes an API key.

use super::output;
use anyhow::{Context, bail};
use clap::Args;
use routewright_policy_server::{Server, ServerConfig, keys, resolve_address};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::net::TcpListener;

/// Arguments of `serve`.
#[derive(Debug, Args)]
pub(crate) struct ServeCommand {
    /// Configuration file (server.toml)
    #[arg(long, visible_alias = "config-file", value_name = "FILE", conflicts_with = "policy")]
    #[arg(required_unless_present_any = ["policy", "new_key"])]
    config: Option<PathBuf>,
    /// Policy directory; may be given several times
    #[arg(long, value_name = "DIR")]
    policy: Vec<PathBuf>,
    /// Address of the data listener, such as localhost:8080 [default: 127.0.0.1:8080]
    #[arg(long, visible_alias = "bind-address", value_name = "HOST:PORT", value_parser = resolve_address)]
    listen: Option<SocketAddr>,
    /// Address of the admin listener, loopback only [default: none]
    #[arg(long, value_name = "HOST:PORT", value_parser = resolve_address)]
    admin_listen: Option<SocketAddr>,
    /// Let the admin listener ask for no key: everybody on this machine may change what is served
    #[arg(long)]
    admin_open: bool,
    /// Check the configuration and the policies, then exit
    #[arg(long)]
    validate_and_exit: bool,
    /// Make an API key for NAME, then exit: the key goes to stderr, its record for the keys file to stdout
    #[arg(long, value_name = "NAME")]
    new_key: Option<String>,
}

impl ServeCommand {
    /// Serves until the process is told to stop.
    ///
    /// # Errors
    /// If the configuration or a policy is refused, or an address cannot be listened on.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        if let Some(name) = &self.new_key {
            return new_key(name);
        }
        let config = self.config()?;
        let server = Server::load(config.clone())?;
        if self.validate_and_exit {
            let policies = server.policies();
            for (name, digest) in &policies {
                output::say(&format!("policy {name} {digest}"));
            }
            for name in config.fusions.keys() {
                output::say(&format!("fusion {name}"));
            }
            output::say("ok: the configuration is valid and everything it names can be served");
            return Ok(ExitCode::SUCCESS);
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .context("cannot start the threads of the server")?;
        let result = runtime.block_on(listen_and_run(server, &config));
        // A decision that still runs after the grace period is not waited for.
        runtime.shutdown_background();
        result.map(|()| ExitCode::SUCCESS)
    }

    fn config(&self) -> anyhow::Result<ServerConfig> {
        let mut config = match &self.config {
            Some(path) => ServerConfig::load(path)?,
            None => ServerConfig::for_policies(self.policy.clone()),
        };
        config.listen = self.listen.unwrap_or(config.listen);
        config.admin_listen = self.admin_listen.or(config.admin_listen);
        config.admin_open |= self.admin_open;
        config.check()?;
        Ok(config)
    }
}

async fn listen_and_run(server: Server, config: &ServerConfig) -> anyhow::Result<()> {
    let bind = async |address: SocketAddr| {
        TcpListener::bind(address).await.with_context(|| format!("cannot listen on `{address}`"))
    };
    let listener = bind(config.listen).await?;
    let admin = match config.admin_listen {
        Some(address) => Some(bind(address).await?),
        None => None,
    };
    Ok(server.run(listener, admin, told_to_stop()).await?)
}

/// Ends at an interrupt, or where the system has it, at a termination signal.
async fn told_to_stop() {
    #[cfg(unix)]
    if let Ok(mut terminate) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
        return;
    }
    if tokio::signal::ctrl_c().await.is_err() {
        // Without signals the server runs until the process is killed.
        std::future::pending::<()>().await;
    }
}

fn new_key(name: &str) -> anyhow::Result<ExitCode> {
    if name.is_empty() {
        bail!("cannot make a key: its name is empty, expected whose key it is");
    }
    let new = keys::generate(name)?;
    // The record is made to be appended to a file; the secret must not get there with it.
    output::tell(&format!("The key of `{name}`, shown this once:\n{}", new.key.reveal()));
    output::tell("Its record, to be appended to the file that `server.keys_file` names, is on stdout.");
    output::say(&new.record.to_toml());
    Ok(ExitCode::SUCCESS)
}
