//! A router of tokens: labels of right answers, a policy trained on them, and what it writes.

use crate::run::{json, ok, run};
use routewright_data::log::{RowWriter, TaskRow, WriteOptions};
use routewright_data::rng;
use routewright_decoder::backends::llama2c::{Shape, Weights};
use routewright_decoder::ensemble::Ensemble;
use routewright_decoder::vocabulary::llama2c;
use std::fmt::Write as _;
use std::path::Path;

/// Below it the second member writes, in the answers that count as right.
const CONFIDENCE: f32 = 0.16;

/// Two models of random weights that write letters, and `ensemble.toml`.
fn write_ensemble(dir: &Path) {
    let mut text =
        format!("system = 'citer'\nparams = {{ threshold = {CONFIDENCE} }}\n[limits]\nsteps = 6\n");
    let vocabulary = 259;
    let shape = Shape { dim: 16, hidden: 24, layers: 1, heads: 2, kv_heads: 1, vocabulary, context: 64 };
    for (name, seed) in [("small", 1), ("large", 2)] {
        let mut weights = Weights::random(shape, &mut rng::stream(seed, "weights"));
        for row in weights.output.chunks_exact_mut(vocabulary) {
            let letters = 3 + usize::from(b'a')..=3 + usize::from(b'z');
            (0..vocabulary).filter(|id| !letters.contains(id)).for_each(|id| row[id] = 0.0);
        }
        std::fs::write(dir.join(format!("{name}.bin")), weights.write()).unwrap();
        writeln!(
            text,
            "[[members]]\nname = '{name}'\nbackend = 'llama2c'\ncheckpoint = '{name}.bin'\n\
             tokenizer = 'letters.bin'"
        )
        .unwrap();
    }
    std::fs::write(dir.join("letters.bin"), llama2c::write(&[])).unwrap();
    std::fs::write(dir.join("ensemble.toml"), text).unwrap();
}

/// Right is what a router that knows the confidence would write; in how many of them both members do.
fn write_tasks(dir: &Path) -> usize {
    let ensemble = Ensemble::open(&dir.join("ensemble.toml")).unwrap();
    let mut writer = RowWriter::create(&dir.join("tasks.parquet"), WriteOptions::default()).unwrap();
    let mut mixed = 0;
    for at in 0..480 {
        let prompt = format!("q{at} {}", at * 7);
        let answer = ensemble.answer(ensemble.ask(prompt.as_bytes()), Box::new(|_| {})).unwrap();
        let winners: Vec<_> = answer.trace.steps().iter().map(|step| step.winner).collect();
        mixed += usize::from(winners.contains(&Some(0)) && winners.contains(&Some(1)));
        writer
            .push(TaskRow {
                task_id: at.to_string(),
                split: Some(if at < 400 { "train" } else { "test" }.to_owned()),
                prompt,
                reference: answer.text,
                ..TaskRow::default()
            })
            .unwrap();
    }
    writer.finish().unwrap();
    mixed
}

#[test]
fn a_router_trained_on_labels_writes_what_no_member_does() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    write_ensemble(dir);
    let mixed = write_tasks(dir);
    assert!(mixed > 240, "{mixed} of 480 answers are by both");
    let fuse = ["fuse", "--ensemble", "ensemble.toml", "--tasks", "tasks.parquet", "--split"];
    let labels = ["train", "--labels", "tokens.parquet", "--look-ahead", "8"];
    let labelled = json(dir, &[&fuse[..], &labels].concat());
    assert!(labelled["n_states"].as_u64().unwrap() >= 400 * 6, "{labelled}");
    for member in labelled["right"].as_array().unwrap() {
        assert!((0.1..0.9).contains(&member.as_f64().unwrap()), "{labelled}");
    }
    let train =
        ["train", "mlp", "--log", "tokens.parquet", "--features", "column:features", "--out", "policy"];
    ok(dir, &train);
    let accuracy = |more: &[&str]| {
        let judged = json(dir, &[&fuse[..], &["test"], more].concat());
        judged["accuracy"].as_f64().unwrap()
    };
    let small = accuracy(&["--set", "threshold=0"]);
    let routed = accuracy(&["--set", "policy=policy", "--set", "threshold=0.5"]);
    assert!(routed > 0.5 && routed > small + 0.3, "{small} -> {routed}");
    let selected = accuracy(&["--set", "policy=policy", "--set", "selector=true"]);
    assert!(selected > small + 0.3, "{small} -> {selected}");

    let refused = |more: &[&str]| {
        let one = ["fuse", "--ensemble", "ensemble.toml", "--prompt", "a"];
        let ran = run(dir, &[&one[..], more].concat());
        assert_eq!(ran.code, 2, "{}", ran.stderr);
        ran.stderr
    };
    assert!(refused(&["--set", "selector=true"]).contains("`policy`"));
    assert!(refused(&["--set", "policy=nowhere"]).contains("nowhere"));
    assert!(refused(&["--labels", "x.parquet"]).contains("--prompt"));
}

#[test]
fn rows_of_an_expert_are_learned_where_the_first_member_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    write_ensemble(dir);
    // The last letter of a prompt says who is right.
    let ensemble = Ensemble::open(&dir.join("ensemble.toml")).unwrap();
    let alone = |prompt: &str, threshold: f32| {
        let text = std::fs::read_to_string(dir.join("ensemble.toml")).unwrap();
        let path = dir.join("alone.toml");
        let (was, is) = (format!("threshold = {CONFIDENCE}"), format!("threshold = {threshold:.1}"));
        assert!(text.contains(&was));
        std::fs::write(&path, text.replace(&was, &is)).unwrap();
        let ensemble = Ensemble::open(&path).unwrap();
        ensemble.answer(ensemble.ask(prompt.as_bytes()), Box::new(|_| {})).unwrap().text
    };
    assert_eq!(ensemble.backends().len(), 2);
    let mut writer = RowWriter::create(&dir.join("tasks.parquet"), WriteOptions::default()).unwrap();
    for at in 0..120 {
        let (letter, threshold) = [("a", 0.0), ("b", 2.0)][at % 2];
        let prompt = format!("{at} {letter}");
        let reference = alone(&prompt, threshold);
        let split = Some(if at < 80 { "train" } else { "test" }.to_owned());
        writer
            .push(TaskRow { task_id: at.to_string(), split, prompt, reference, ..TaskRow::default() })
            .unwrap();
    }
    writer.finish().unwrap();
    let fuse = ["fuse", "--ensemble", "ensemble.toml", "--tasks", "tasks.parquet", "--split"];
    let learned = json(dir, &[&fuse[..], &["train", "--expert-rows", "rows.safetensors"]].concat());
    assert!(learned["accuracy"].as_f64() > Some(0.9), "{learned}");
    let accuracy = |more: &[&str]| {
        let judged = json(dir, &[&fuse[..], &["test"], more].concat());
        judged["accuracy"].as_f64().unwrap()
    };
    let small = accuracy(&["--set", "threshold=0"]);
    let routed = accuracy(&["--system", "expert-token", "--set", "rows=rows.safetensors"]);
    assert!(routed > 0.8 && routed > small + 0.2, "{small} -> {routed}");
    let ran = run(dir, &["fuse", "--ensemble", "ensemble.toml", "--prompt", "a", "--system", "expert-token"]);
    assert!(ran.code == 2 && ran.stderr.contains("--expert-rows"), "{}", ran.stderr);
}
