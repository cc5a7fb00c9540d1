//! Fitting the default features, beside scikit-learn's TF-IDF and truncated SVD on the same texts.
//!
//! Both sides keep at most 16,384 words and as many character n-grams, project them on 128 directions by a
//! randomized SVD of four rounds and 16 directions more, and end with the features of the texts. scikit-learn's
//! character n-grams end at word boundaries (`char_wb`), ours run across them, so ours are more.

use super::Settings;
use super::measure::{Rounds, cpu_seconds};
use super::peer::Script;
use super::report::{Report, Target};
use anyhow::Context;
use routewright_data::features::{FeatureInput, Featurizer, Lexical, LexicalSettings};
use routewright_data::synthetic::{self, World};
use std::hint::black_box;

const SCRIPT: Script = Script { peer: "scikit-learn", file: "fit.py", text: include_str!("peers/fit.py") };

/// Texts fitted on.
const SIZES: [usize; 2] = [800, 8000];

/// Measures both sizes.
///
/// # Errors
/// If the texts cannot be written for the peer or the fit fails.
pub(super) fn run(settings: &Settings, report: &mut Report) -> anyhow::Result<()> {
    let most = SIZES.into_iter().max().unwrap_or_default();
    let (table, ..) = World::new(synthetic::Settings::default(), 1).table(most);
    let texts: Vec<&str> = table.queries.iter().map(|query| query.prompt.as_str()).collect();
    let folder = settings.interpreters.work();
    std::fs::write(folder.join("texts.json"), serde_json::to_vec(&texts)?)
        .context("cannot write the texts")?;
    let mut peer = settings.interpreters.start(SCRIPT, &[folder], report);
    for size in SIZES {
        super::output::tell(&format!("fit: features of {size} texts"));
        let mut figures = Rounds::default();
        for _ in 0..settings.rounds {
            let ours = cpu_seconds(|| features(&texts[..size]))?;
            figures.push(ours, peer.figure(&format!("fit {size}"), "s", report));
        }
        let what = format!("fit, features of {size} texts, vs TfidfVectorizer and TruncatedSVD");
        report.row(what, "s", &figures, Some(Target::RatioAtMost(1.0)));
    }
    Ok(())
}

fn features(texts: &[&str]) -> anyhow::Result<()> {
    let lexical = Lexical::fit(texts, LexicalSettings::default(), 1)?;
    let inputs: Vec<FeatureInput<'_>> = texts.iter().map(|text| FeatureInput::from(*text)).collect();
    black_box(lexical.featurize(&inputs)?);
    Ok(())
}
