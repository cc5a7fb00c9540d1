//! What `routewright --version` prints beside the version: commit, target, cargo features.

use std::env::{var, vars};
use std::path::Path;
use std::process::Command;

fn main() {
    let package = var("CARGO_PKG_VERSION").unwrap_or_default();
    let target = var("TARGET").unwrap_or_default();
    // A tarball has no history.
    let commit = git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|| "no commit".to_owned());
    let features: Vec<String> = vars().filter_map(|(key, _)| feature(&key)).collect();
    let features = if features.is_empty() { "none".to_owned() } else { features.join(" ") };
    println!("cargo:rustc-env=ROUTEWRIGHT_VERSION={package} ({commit}, {target}, features: {features})");
    println!("cargo:rerun-if-changed=build.rs");
    // Grows with every commit and checkout.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]).filter(|log| Path::new(log).exists()) {
        println!("cargo:rerun-if-changed={log}");
    }
}

/// The cargo feature a variable stands for; `default` says nothing by itself.
fn feature(key: &str) -> Option<String> {
    let name = key.strip_prefix("CARGO_FEATURE_").filter(|name| *name != "DEFAULT")?;
    Some(name.to_lowercase().replace('_', "-"))
}

fn git(arguments: &[&str]) -> Option<String> {
    let output =
        Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
