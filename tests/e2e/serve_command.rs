//! `serve` as a command: what it prints where, what it refuses, how it stops.

use crate::run::{BINARY, ok, run};
use crate::serving::{Serving, ask, connect};
use routewright_data::testing::skip;
use std::path::Path;
use std::process::{Command, Stdio};

fn policy(dir: &Path) {
    ok(dir, &["data", "simulate", "--out", "log.parquet", "--queries", "60", "--models", "3", "--seed", "3"]);
    ok(dir, &["train", "cheapest", "--log", "log.parquet", "--out", "policy"]);
}

#[test]
fn a_new_key_appended_to_the_keys_file_opens_and_its_secret_is_not_in_it() {
    let dir = tempfile::tempdir().unwrap();
    policy(dir.path());
    let made = ok(dir.path(), &["serve", "--new-key", "me"]);
    let key = made.stderr.lines().find(|line| line.starts_with("sk-rw-")).unwrap().to_owned();
    assert!(!made.stdout.contains(&key[23..]), "what goes into the file: {}", made.stdout);
    std::fs::write(dir.path().join("keys.toml"), &made.stdout).unwrap();
    let config = "[server]\nlisten = 'localhost:0'\nadmin_listen = '127.0.0.1:0'\nadmin_key = 'env::RW_ADMIN'\n\
                  keys_file = 'keys.toml'\n[policies.main]\npath = 'policy'\n";
    std::fs::write(dir.path().join("server.toml"), config).unwrap();
    let serving = Serving::start(dir.path(), &[("RW_ADMIN", "open sesame")]);
    let status = |address: &str, head: &str| ask(&mut connect(address).unwrap(), head, "").unwrap().0;
    assert_eq!(status(&serving.data, "GET /v1/models"), 401);
    let with_key = format!("GET /v1/models HTTP/1.1\r\nx-api-key: {key}\r\nx-rest:");
    assert_eq!(status(&serving.data, &with_key), 200);
    assert_eq!(status(&serving.admin, "GET /admin/v1/policies"), 401);
    let as_admin = "GET /admin/v1/policies HTTP/1.1\r\nx-api-key: open sesame\r\nx-rest:";
    assert_eq!(status(&serving.admin, as_admin), 200);
}

#[test]
fn a_configuration_is_validated_with_a_word_and_so_is_a_policy() {
    let dir = tempfile::tempdir().unwrap();
    policy(dir.path());
    std::fs::write(dir.path().join("server.toml"), "[policies.main]\npath = 'policy'\n").unwrap();
    for named in [["--config", "server.toml"], ["--policy", "policy"]] {
        let arguments =
            [&["serve"][..], &named, &["--validate-and-exit", "--listen", "localhost:0"]].concat();
        let said = ok(dir.path(), &arguments).stdout;
        assert!(said.starts_with("policy ") && said.contains("\nok: "), "{said}");
    }
    let refused = run(dir.path(), &["serve", "--policy", "policy", "--admin-listen", "127.0.0.1:0"]);
    assert_eq!(refused.code, 2);
    assert!(refused.stderr.contains("--admin-open"), "{}", refused.stderr);
    let refused = run(dir.path(), &["serve", "--policy", "policy", "--listen", "localhost"]);
    assert!(refused.stderr.contains("`localhost:8080`"), "{}", refused.stderr);
}

#[test]
fn what_cannot_be_printed_is_an_error_of_every_subcommand() {
    let Ok(full) = std::fs::OpenOptions::new().write(true).open("/dev/full") else {
        skip("/dev/full", "nothing to print to that is full");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    policy(dir.path());
    std::fs::write(dir.path().join("server.toml"), "[policies.main]\npath = 'policy'\n").unwrap();
    for arguments in [
        &["methods"][..],
        &["methods", "--json"],
        &["--json", "data", "stats", "log.parquet"],
        &["data", "validate", "log.parquet"],
        &["policy", "show", "policy"],
        &["policy", "verify", "policy"],
        &["route", "--policy", "policy", "What is 2+2?"],
        &["serve", "--config", "server.toml", "--validate-and-exit"],
        &["serve", "--new-key", "me"],
    ] {
        let mut command = Command::new(BINARY);
        command.args(arguments).current_dir(dir.path()).stdout(Stdio::from(full.try_clone().unwrap()));
        let ended = command.output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains("cannot write the result to stdout"), "{arguments:?}: {said}");
    }
    // A reader that has seen enough is no failure.
    let mut piped = Command::new(BINARY).args(["methods", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
    drop(piped.stdout.take());
    assert!(piped.wait().unwrap().success());
}
