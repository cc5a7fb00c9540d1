//! A gateway that needs nothing: its models are one fused model, made of two that continue the prompts of the log word
//! by word. What they write shows the road a request takes, not sense.

use anyhow::Context;
use routewright_data::files;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Prompts that each model learns from; an ensemble file is at most a mebibyte.
const PROMPTS_MAX: usize = 200;
/// Words by which a model knows where it is.
const ORDER: usize = 2;
/// Name of the fused model.
const FUSION: &str = "tiny";

/// What follows the last words of a text, and how often; `""` ends the answer.
type Counts = BTreeMap<String, BTreeMap<String, u32>>;

/// Writes the folder of a gateway that serves the policy in `policy`, each of its arms by a fused model learned from
/// `prompts`; returns its `server.toml`.
pub(super) fn write(
    mut prompts: Vec<&str>,
    arms: &[String],
    policy: &Path,
    dir: &Path,
) -> anyhow::Result<PathBuf> {
    prompts.sort_unstable();
    prompts.dedup();
    prompts.truncate(2 * PROMPTS_MAX);
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make `{}`", dir.display()))?;
    let mut ensemble =
        "# Two models of words, learned from the prompts of the log; `gac` mixes them token by token.\n\
                        system = \"gac\"\n\n[limits]\nsteps = 40\n"
            .to_owned();
    for (name, first) in [("odd", 0), ("even", 1)] {
        let counts = learn(prompts.iter().skip(first).step_by(2).copied());
        member(&mut ensemble, name, &counts)?;
    }
    files::write_file(&dir.join("ensemble.toml"), ensemble.as_bytes())?;
    let policy = std::path::absolute(policy)?;
    let mut config = format!(
        "# Every model of the policy is the tiny one of this folder: put real ones in its place (docs/gateway.md).\n\
         [server]\nlisten = \"127.0.0.1:8080\"\n\n[policies.quickstart]\npath = {:?}\n\n[fusions.{FUSION}]\n\
         ensemble = \"ensemble.toml\"\n",
        policy.display().to_string()
    );
    for arm in arms {
        write!(config, "\n[models.{arm:?}]\nfusion = \"{FUSION}\"\n")?;
    }
    let path = dir.join("server.toml");
    files::write_file(&path, config.as_bytes())?;
    Ok(path)
}

/// Counts the words that follow the last two words, the last word, and the start of a text.
fn learn<'t>(texts: impl Iterator<Item = &'t str>) -> Counts {
    let mut counts = Counts::new();
    for text in texts {
        let words: Vec<String> = text.split_whitespace().map(|word| format!(" {word}")).collect();
        for at in 0..=words.len() {
            let next = words.get(at).map_or("", String::as_str);
            // Where no words are known, only the first word of a text follows.
            for order in usize::from(at > 0)..=ORDER.min(at) {
                let after = words[at - order..at].concat();
                *counts.entry(after).or_default().entry(next.to_owned()).or_default() += 1;
            }
        }
    }
    counts
}

fn member(text: &mut String, name: &str, counts: &Counts) -> std::fmt::Result {
    write!(text, "\n[[members]]\nname = {name:?}\nbackend = \"scripted\"\nscript = [\n")?;
    for (after, next) in counts {
        let sum: u32 = next.values().sum();
        let next: Vec<String> = next
            .iter()
            .map(|(word, n)| format!("{} = {}", quoted(word), f64::from(*n) / f64::from(sum)))
            .collect();
        writeln!(text, "    {{ after = {}, next = {{ {} }} }},", quoted(after), next.join(", "))?;
    }
    text.push_str("]\n");
    Ok(())
}

/// A string of TOML.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}
