//! Two tiny models, each right about its own skills and surely wrong about the other's.
//!
//! The first cuts text into pieces of a few bytes, the second into bytes; both files are in the format of llama2.c.

use crate::mixed_tasks::{Mixed, Part, Split};
use anyhow::Context as _;
use routewright_data::files;
use routewright_data::rng::{self, Rng};
use routewright_decoder::backends::llama2c::{Block, Shape, Weights};
use routewright_decoder::vocabulary::{Tokenizer, llama2c};
use routewright_trainer::neural::{LmRecipe, LmShape, LmTrainer, LmWeights, Text};
use routewright_trainer::progress::Progress;
use std::collections::HashMap;
use std::path::Path;

/// Names of the experts.
pub const NAMES: [&str; 2] = ["facts", "letters"];
/// Their folders.
pub const FOLDERS: [&str; 2] = ["expert_a", "expert_b"];
/// Tokens an expert reads at most.
const CONTEXT: usize = 256;
/// Ids of `tokenizer.bin` before its bytes.
const SPECIAL: u32 = 3;
/// Pieces of the first expert; the second has none.
const PIECES: [usize; 2] = [48, 0];
const BEGIN: u32 = 1;
const END: u32 = 2;

/// How the experts are trained.
#[derive(Debug, Clone, Copy)]
pub struct Recipe {
    /// Steps of each.
    pub steps: [u64; 2],
    /// Texts a step.
    pub batch: usize,
    /// Highest learning rate.
    pub rate: f32,
    /// Seed of everything.
    pub seed: u64,
}

impl Default for Recipe {
    fn default() -> Self {
        Self { steps: [2000, 1200], batch: 32, rate: 3e-3, seed: 1 }
    }
}

/// Trains an expert and writes `model.bin` and `tokenizer.bin` to `folder`.
///
/// # Errors
/// If a file cannot be written or read again, or the loss is not finite.
pub fn train(
    expert: usize,
    recipe: &Recipe,
    folder: &Path,
    progress: &dyn Progress,
) -> anyhow::Result<LmTrainer> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make folder `{}`", folder.display()))?;
    let path = folder.join("tokenizer.bin");
    let pieces = pieces(expert, recipe.seed);
    let pieces: Vec<&[u8]> = pieces.iter().map(String::as_bytes).collect();
    files::write_file(&path, &llama2c::write(&pieces))?;
    let tokenizer = Tokenizer::open(&path)?;
    let shape = LmShape {
        dim: 64,
        hidden: 128,
        layers: 3,
        heads: 4,
        kv_heads: 2,
        vocabulary: tokenizer.vocabulary().len(),
    };
    let mut trainer = LmTrainer::new(LmRecipe {
        shape,
        steps: recipe.steps[expert],
        warm_up: recipe.steps[expert] / 20,
        rate: recipe.rate,
        weight_decay: 0.01,
        clip: 1.0,
        seed: recipe.seed + expert as u64,
    })?;
    let batch = |step: u64| {
        let mut rng = rng::stream(recipe.seed, &format!("{} {step}", NAMES[expert]));
        let lesson = |rng: &mut Rng| Mixed::draw(rng, Split::Model).lesson(expert, rng);
        (0..recipe.batch).map(|_| text(&lesson(&mut rng), &tokenizer)).collect()
    };
    trainer.run(&batch, progress)?;
    files::write_file(&folder.join("model.bin"), &checkpoint(trainer.weights()).write())?;
    Ok(trainer)
}

/// A lesson as ids. Pieces are made of letters only, so the text before a part does not change how it is cut.
fn text(lesson: &[Part], tokenizer: &Tokenizer) -> Text {
    let mut text = Text { ids: vec![BEGIN], learned: vec![false] };
    for (at, part) in lesson.iter().enumerate() {
        let ids = match (at, part.spelled) {
            (0, _) => tokenizer.encode(part.text.as_bytes()),
            // After a sign, since a tokenizer may put a space before a text.
            (_, false) => tokenizer.encode(format!("={}", part.text).as_bytes())
                [tokenizer.encode(b"=").len()..]
                .to_vec(),
            (_, true) => part.text.bytes().map(|byte| SPECIAL + u32::from(byte)).collect(),
        };
        text.learned.extend(vec![part.learned; ids.len()]);
        text.ids.extend(ids);
    }
    text.ids.push(END);
    text.learned.push(true);
    text
}

/// The trained weights as a checkpoint the decoder reads.
pub fn checkpoint(weights: &LmWeights) -> Weights {
    let LmShape { dim, hidden, layers, heads, kv_heads, vocabulary } = weights.shape;
    let shape = Shape { dim, hidden, layers, heads, kv_heads, vocabulary, context: CONTEXT };
    let blocks = weights.blocks.iter().cloned().map(|b| Block {
        attention_norm: b.attention_norm,
        wq: b.wq,
        wk: b.wk,
        wv: b.wv,
        wo: b.wo,
        feed_norm: b.feed_norm,
        w1: b.w1,
        w2: b.w2,
        w3: b.w3,
    });
    let column = |at: usize| weights.embedding.iter().skip(at).step_by(dim);
    Weights {
        shape,
        embedding: weights.embedding.clone(),
        blocks: blocks.collect(),
        norm: weights.norm.clone(),
        output: (0..dim).flat_map(column).copied().collect(),
        tied: true,
    }
}

/// Pieces merged most often first, between separators (byte-pair encoding).
fn pieces(expert: usize, seed: u64) -> Vec<String> {
    let mut rng = rng::stream(seed, "pieces");
    let mut words: HashMap<Vec<String>, usize> = HashMap::new();
    for _ in 0..2000 {
        let task = Mixed::draw(&mut rng, Split::Model);
        let text = format!("{}{}", task.prompt(), task.answer_of(expert));
        for word in text.split([' ', ';', '=', '+', ':', '\n']) {
            *words.entry(word.chars().map(String::from).collect()).or_default() += 1;
        }
    }
    let mut pieces: Vec<String> = Vec::new();
    while pieces.len() < PIECES[expert] {
        let mut pairs: HashMap<(&str, &str), usize> = HashMap::new();
        for (word, n) in &words {
            word.windows(2).for_each(|pair| *pairs.entry((&pair[0], &pair[1])).or_default() += n);
        }
        // The order of a map decides nothing: ties fall to the first pair by bytes.
        let best = pairs.into_iter().max_by_key(|(pair, n)| (*n, std::cmp::Reverse(*pair)));
        let Some(((a, b), _)) = best else { break };
        let (a, b) = (a.to_owned(), b.to_owned());
        let joined = format!("{a}{b}");
        let merge = |(word, n): (Vec<String>, usize)| (merged(&word, &a, &b), n);
        words = words.into_iter().map(merge).collect();
        if !pieces.contains(&joined) {
            pieces.push(joined);
        }
    }
    pieces
}

fn merged(word: &[String], a: &str, b: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::with_capacity(word.len());
    let mut at = 0;
    while at < word.len() {
        let pair = at + 1 < word.len() && word[at] == a && word[at + 1] == b;
        out.push(if pair { format!("{a}{b}") } else { word[at].clone() });
        at += if pair { 2 } else { 1 };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use routewright_decoder::backend::{Backend as _, Stop};
    use routewright_decoder::backends::llama2c::Llama2c;
    use routewright_trainer::progress::Silent;

    #[test]
    fn a_trained_expert_is_read_by_the_decoder_and_says_what_the_trainer_says() {
        let dir = tempfile::tempdir().unwrap();
        let recipe = Recipe { steps: [3, 3], batch: 4, ..Recipe::default() };
        let trained = train(0, &recipe, dir.path(), &Silent).unwrap();
        let (model, tokenizer) = (dir.path().join("model.bin"), dir.path().join("tokenizer.bin"));
        let expert = Llama2c::open("facts", &model, &tokenizer).unwrap();
        let prompt = b"add 3+4;flip dog;pet tom:";
        let mut session = expert.open(prompt, &Stop::default()).unwrap();
        let ids = session.ids().to_vec();
        let told = session.next().unwrap();
        let weights = expert.weights();
        let logits = trained.logits(&ids);
        let last = &logits[logits.len() - weights.shape.vocabulary..];
        let max = last.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let total = last.iter().map(|logit| (logit - max).exp()).sum::<f32>().ln() + max;
        for id in 3..weights.shape.vocabulary as u32 {
            let found = told.log_prob(id).unwrap();
            assert!((found - (last[id as usize] - total)).abs() < 1e-4, "{id}: {found}");
        }
    }
}
