//! What a newcomer meets: help, names, the order of checks, errors for programs.

use crate::logs::Rows;
use crate::run::{BINARY, Ran, json, ok, run};
use routewright_data::{LoadOptions, OutcomeTable};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// A split log of 60 queries in a folder of its own.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    Rows::good(60).write(&dir.path().join("log.parquet"));
    dir
}

/// Runs and demands failure; the words must be in the error.
fn refused(dir: &Path, arguments: &[&str], words: &[&str]) -> Ran {
    let ran = run(dir, arguments);
    assert_eq!(ran.code, 2, "{arguments:?}: {}{}", ran.stdout, ran.stderr);
    for word in words {
        assert!(ran.stderr.contains(word), "{arguments:?} does not name `{word}`: {}", ran.stderr);
    }
    ran
}

/// Every subcommand with its help, those of subcommands included.
fn helps(path: &[&str], found: &mut Vec<(String, String)>) {
    let help = ok(Path::new("."), &[path, &["--help"]].concat()).stdout;
    let commands = help.split("\nCommands:\n").nth(1).unwrap_or_default();
    let commands = commands.lines().take_while(|line| line.starts_with("  "));
    for name in commands.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help") {
        helps(&[path, &[name]].concat(), found);
    }
    found.push((path.join(" "), help));
}

#[test]
fn options_are_ordered_and_their_values_named_alike_in_every_help() {
    let mut found = Vec::new();
    helps(&[], &mut found);
    assert!(found.len() > 25, "{} helps only", found.len());
    for (command, help) in &found {
        let names: Vec<&str> =
            help.lines().filter_map(|line| line.trim().split_once("--")).map(|(_, n)| n).collect();
        let names: Vec<&str> = names.iter().filter_map(|name| name.split_whitespace().next()).collect();
        let at = |name: &str| names.iter().position(|found| *found == name);
        let (json, help_at) = (at("json").unwrap(), at("help").unwrap());
        assert_eq!(json + 1, help_at, "`--json` is not the last option of `{command}`: {names:?}");
        for line in help.lines() {
            let Some((_, option)) = line.trim().split_once("--") else { continue };
            let Some((name, value)) = option.split_once(" <") else { continue };
            let value = value.split('>').next().unwrap();
            // clap makes `<TRAIN_SPLIT>` of `--train-split` where no name of the value is given.
            let own = name.to_uppercase().replace('-', "_");
            let kinds = ["SOURCE", "SEED", "POLICY", "LOG", "NAME"];
            let derived = value == own && own.contains('_') || matches!(&*own, "SPLIT" | "AVERAGE");
            assert!(
                !(derived && value == own) || kinds.contains(&value),
                "`{command}` has `--{name} <{value}>`"
            );
        }
    }
}

#[test]
fn a_system_of_fusion_names_the_command_that_runs_it_and_a_method_the_one_that_trains_it() {
    let dir = folder();
    let at = dir.path();
    refused(at, &["train", "gac", "--log", "log.parquet", "--out", "p"], &["`gac`", "fuse --system gac"]);
    refused(at, &["compare", "--methods", "knn,gac", "--log", "log.parquet"], &["fuse --system gac"]);
    refused(at, &["simulate", "--methods", "gac"], &["fuse --system gac"]);
    refused(at, &["train", "knnn", "--log", "log.parquet", "--out", "p"], &["did you mean `knn`"]);
    std::fs::write(
        at.join("e.toml"),
        "system = \"gac\"\n[[members]]\nname = \"a\"\nbackend = \"scripted\"\n",
    )
    .unwrap();
    let fuse = ["fuse", "--ensemble", "e.toml", "--prompt", "x", "--system", "knn"];
    refused(at, &fuse, &["`knn`", "routewright train knn"]);
}

#[test]
fn methods_are_listed_by_what_runs_them_with_what_they_need() {
    let text = ok(Path::new("."), &["methods"]).stdout;
    let groups: Vec<&str> = text.split("\n\n").collect();
    assert_eq!(groups.len(), 6, "{text}");
    for (group, heading, name) in [
        (0, "train NAME", "oracle"),
        (1, "compare", "knn"),
        (2, "ask", "frugalgpt"),
        (3, "simulate", "lints"),
        (4, "train NAME", "rlae"),
        (5, "fuse --system", "gac"),
    ] {
        assert!(groups[group].lines().next().unwrap().contains(heading), "{}", groups[group]);
        let line = groups[group].lines().find(|line| line.trim().starts_with(&format!("{name} "))).unwrap();
        assert!(line.contains("; needs ") || name == "oracle", "{line}");
    }
    let rows = json(Path::new("."), &["methods"]);
    let n_lines = groups.iter().map(|group| group.trim().lines().count() - 1).sum::<usize>();
    assert_eq!(n_lines, rows.as_array().unwrap().len());
    let noise =
        rows.to_string().split([',', ':', '[', ']', '}']).filter(|word| word.contains("0000000")).count();
    assert_eq!(noise, 0, "{rows}");
}

#[test]
fn a_selector_and_a_device_are_checked_before_the_log_is_read_or_the_method_fitted() {
    let dir = folder();
    let at = dir.path();
    let train =
        |more: &[&'static str]| [&["train", "knn", "--log", "none.parquet", "--out", "p"], more].concat();
    refused(at, &train(&["--selector", "budgt"]), &["`budget`"]);
    refused(at, &train(&["--device", "cuda"]), &["`knn`", "--engine", "`mlp`"]);
    refused(at, &train(&["--engine", "burn"]), &["`knn`", "--engine", "`mlp`"]);
    refused(at, &train(&["--engine", "burn-ndarray", "--device", "cuda"]), &["`burn-ndarray`", "processor"]);
    let known = ["train", "knn", "--log", "log.parquet", "--out", "p", "--selector"];
    let arms = r#"threshold:{"strong":"dear","weak":"nobody","threshold":0.1}"#;
    refused(at, &[&known[..], &[arms]].concat(), &["--selector", "nobody"]);
    assert!(!at.join("p").exists());
}

#[test]
fn a_trained_policy_names_its_method_and_is_verified() {
    let dir = folder();
    let at = dir.path();
    let train = ["train", "best-single", "--log", "log.parquet", "--out", "p"];
    let named = ok(at, &[&train[..], &["--name", "router"]].concat()).stdout;
    assert!(named.contains("trained `best-single` as `router` on"), "{named}");
    assert!(ok(at, &train).stdout.contains("trained `best-single` on"));
    assert_eq!(ok(at, &["policy", "verify", "p"]).stdout, "verified p\n");
}

#[test]
fn a_grid_of_one_value_needs_no_brackets() {
    let dir = folder();
    let at = dir.path();
    let params = |name: &str, k: &str| {
        let train = ["train", "knn", "--log", "log.parquet", "--set", "power=5", "--set", k, "--out", name];
        json(at, &train)["manifest"]["params"].clone()
    };
    assert_eq!(params("one", "k=20"), params("list", "k=[20]"));
    let bad = ["train", "knn", "--log", "log.parquet", "--set", "k=many", "--out", "p"];
    refused(at, &bad, &["`k` is `\"many\"`"]);
}

#[test]
fn a_failure_is_one_json_document_with_a_code() {
    let dir = folder();
    let at = dir.path();
    let code = |arguments: &[&str]| {
        let ran = refused(at, &[arguments, &["--json"]].concat(), &["error: "]);
        let document: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        assert!(ran.stderr.contains(document["error"]["message"].as_str().unwrap()), "{document}");
        document["error"]["code"].as_str().unwrap().to_owned()
    };
    let train = ["train", "knn", "--out", "p", "--log"];
    assert_eq!(code(&[&train[..], &["none.parquet"]].concat()), "not_found");
    assert_eq!(code(&["train", "knnn", "--out", "p", "--log", "log.parquet"]), "unknown_name");
    assert_eq!(code(&[&train[..], &["log.parquet", "--split", "trian"]].concat()), "invalid_log");
    assert_eq!(code(&[&train[..], &["log.parquet", "--set", "kk=1"]].concat()), "invalid_parameter");
    assert_eq!(code(&[&train[..], &["log.parquet", "--no-such-flag"]].concat()), "usage");
    assert_eq!(run(at, &train[..4]).stdout, "", "no document unless it is asked for");
}

#[test]
fn a_prompt_is_read_from_stdin() {
    let dir = folder();
    let at = dir.path();
    ok(at, &["train", "knn", "--log", "log.parquet", "--out", "p"]);
    let prompt = "Tell a tale of dragon 7.";
    let argument = json(at, &["route", "--policy", "p", prompt]);
    let mut child = Command::new(BINARY)
        .args(["route", "--policy", "p", "-", "--json"])
        .current_dir(at)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(format!("{prompt}\n").as_bytes()).unwrap();
    let piped: Ran = child.wait_with_output().unwrap().into();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&piped.stdout).unwrap(), argument);
    assert_ne!(
        json(at, &["route", "--policy", "p", "What is 8 plus 11?"])["candidates"],
        argument["candidates"]
    );
}

#[test]
fn the_version_names_commit_target_and_features() {
    let version = ok(Path::new("."), &["-V"]).stdout;
    let parts = version.split_once('(').unwrap().1.split(", ").collect::<Vec<_>>();
    assert!(version.starts_with(&format!("routewright {} (", env!("CARGO_PKG_VERSION"))), "{version}");
    assert!(parts[0] == "no commit" || parts[0].len() == 12, "{version}");
    assert!(parts[1].contains(std::env::consts::ARCH), "{version}");
    assert_eq!(parts[2].contains("postgres"), cfg!(feature = "postgres"), "{version}");
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let script = ok(Path::new("."), &["completions", shell]).stdout;
        assert!(script.contains("log-decisions") && script.contains("source-weight"), "{shell}: {script}");
    }
}

#[test]
fn every_command_has_a_manual_page() {
    let dir = tempfile::tempdir().unwrap();
    ok(dir.path(), &["man", "man1"]);
    for (page, text) in [
        ("routewright.1", "quickstart"),
        ("routewright-train.1", "source"),
        ("routewright-data-split.1", "out"),
    ] {
        let page = std::fs::read_to_string(dir.path().join("man1").join(page)).unwrap();
        assert!(page.starts_with(".ie") && page.contains(text), "{page}");
    }
}

#[test]
fn too_few_queries_for_a_quickstart_are_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    refused(dir.path(), &["quickstart", "--queries", "5"], &["`5`", "200"]);
    assert!(!dir.path().join("quickstart").exists());
}

/// Same seed, same prompts and sources; other outcomes.
#[test]
fn the_world_of_a_simulated_log_is_chosen_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let simulate = |out: &'static str, more: &[&'static str]| {
        let arguments = ["data", "simulate", "--queries", "300", "--models", "3", "--out", out];
        json(at, &[&arguments[..], more].concat());
        let table = OutcomeTable::load(&at.join(out), &LoadOptions::default()).unwrap();
        (table.queries.clone(), table.score.values().iter().map(|s| s.to_bits()).collect::<Vec<_>>())
    };
    let usual = simulate("usual.parquet", &[]);
    assert_eq!(usual, simulate("topics.parquet", &["--world", "topics"]));
    let (queries, score) = simulate("other.parquet", &["--world", "interactions"]);
    assert_eq!(queries, usual.0);
    assert_ne!(score, usual.1);
    refused(at, &["data", "simulate", "--out", "x", "--world", "flat"], &["topics", "interactions"]);
}
