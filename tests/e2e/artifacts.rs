//! A damaged, unknown or newer artifact is refused with its reason.

use crate::run::{ok, run};
use std::fs;
use std::path::Path;

fn policy(dir: &Path) {
    ok(dir, &["data", "simulate", "--out", "log.parquet", "--queries", "200", "--models", "3"]);
    ok(dir, &["train", "ridge", "--log", "log.parquet", "--out", "policy"]);
}

fn edit_manifest(dir: &Path, from: &str, to: &str) {
    let path = dir.join("policy/manifest.json");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "the manifest does not hold {from}");
    fs::write(&path, text.replacen(from, to, 1)).unwrap();
}

/// What is done to the artifact, and what must be said.
type Damage = (&'static str, fn(&Path), &'static [&'static str]);

const DAMAGES: &[Damage] = &[
    (
        "flipped byte",
        |dir| {
            let path = dir.join("policy/predictor.safetensors");
            let mut bytes = fs::read(&path).unwrap();
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
            fs::write(&path, bytes).unwrap();
        },
        &["predictor.safetensors", "digest"],
    ),
    (
        "missing file",
        |dir| fs::remove_file(dir.join("policy/featurizer.safetensors")).unwrap(),
        &["featurizer.safetensors", "missing"],
    ),
    (
        "missing training rows",
        |dir| fs::remove_file(dir.join("policy/training-rows.bin")).unwrap(),
        &["training-rows.bin", "missing"],
    ),
    (
        "cut training rows",
        |dir| fs::write(dir.join("policy/training-rows.bin"), b"RWROWS1\n").unwrap(),
        &["training-rows.bin", "digest"],
    ),
    (
        "missing manifest",
        |dir| fs::remove_file(dir.join("policy/manifest.json")).unwrap(),
        &["manifest.json"],
    ),
    (
        "unknown form",
        |dir| edit_manifest(dir, "\"name\": \"linear\"", "\"name\": \"lineal\""),
        &["lineal", "linear"],
    ),
    ("newer format", |dir| edit_manifest(dir, "\"format\": 1", "\"format\": 99"), &["99", "up to 2"]),
    ("newer form", |dir| edit_manifest(dir, "\"version\": 1", "\"version\": 42"), &["linear", "42"]),
    ("wrong dimension", |dir| edit_manifest(dir, "\"dim\":", "\"dim\": 7, \"was\":"), &["policy"]),
    ("another kind", |dir| edit_manifest(dir, "routewright-policy", "something-else"), &["something-else"]),
    ("not JSON", |dir| fs::write(dir.join("policy/manifest.json"), "{").unwrap(), &["manifest.json"]),
];

#[test]
fn every_damage_is_refused_with_its_reason() {
    let original = tempfile::tempdir().unwrap();
    policy(original.path());
    for (name, damage, says) in DAMAGES {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("policy")).unwrap();
        for entry in fs::read_dir(original.path().join("policy")).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), dir.path().join("policy").join(entry.file_name())).unwrap();
        }
        let whole = run(dir.path(), &["policy", "verify", "policy"]);
        assert_eq!(whole.code, 0, "{}", whole.stdout);
        damage(dir.path());
        let verified = run(dir.path(), &["policy", "verify", "policy"]);
        assert_eq!(verified.code, 1, "{name}: {}", verified.stdout);
        let routed = run(dir.path(), &["route", "--policy", "policy", "hello"]);
        assert_eq!(routed.code, 2, "{name}");
        for word in *says {
            assert!(verified.stdout.contains(word), "{name}: `{word}` is not in: {}", verified.stdout);
            assert!(routed.stderr.contains(word), "{name}: `{word}` is not in: {}", routed.stderr);
        }
    }
}

#[test]
fn unknown_keys_of_a_manifest_do_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    policy(dir.path());
    edit_manifest(dir.path(), "\"kind\":", "\"note\": \"kept\", \"kind\":");
    ok(dir.path(), &["policy", "verify", "policy"]);
}

#[test]
fn a_folder_that_is_no_policy_is_never_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    policy(dir.path());
    fs::create_dir(dir.path().join("precious")).unwrap();
    fs::write(dir.path().join("precious/thesis.txt"), "years").unwrap();
    let ran = run(dir.path(), &["train", "ridge", "--log", "log.parquet", "--out", "precious"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("manifest.json"), "{}", ran.stderr);
    assert_eq!(fs::read_to_string(dir.path().join("precious/thesis.txt")).unwrap(), "years");
}
