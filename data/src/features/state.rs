//! How far an answer has come: prompt, text so far, number of spans. Weights of fusion are chosen by it.
//!
//! A state is a text like any other: prompt, answer so far and number of spans, with U+001E (record separator)
//! between them, so that it travels through logs and HTTP as a query does, and any featurizer can read it. This one
//! reads it in blocks, each of hashed word 1-2-grams and scaled to length 1: the whole prompt; its segment at which
//! the answer stands; the last characters of the answer; and one entry a span. Nothing is fitted, in any language.
//!
//! The segment: prompt and answer are cut at the same marks, `;` and line breaks by default, and the answer with `k`
//! marks so far is at segment `k` of the prompt. Prompts that list what is to be done, one after the other, are
//! answered in that order; where the prompt has fewer segments, its last one counts.

use super::ngrams::NGrams;
use super::{FeatureError, FeatureInput, Featurizer, FeaturizerRow, FeaturizerSpec};
use crate::{FeatureMatrix, Tensors};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

pub(super) const ROW: FeaturizerRow = FeaturizerRow {
    name: "state",
    title: "an answer being written: prompt, segment, last characters, span, hashed in blocks",
    restore: |spec, _| Ok(Arc::new(StateFeatures::restore(spec)?)),
    open: None,
};

/// Between the parts of a state.
const SEPARATOR: char = '\u{1e}';
/// Width of a block and number of spans, at most.
const WIDTH_MAX: usize = 1 << 16;

/// How far an answer has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct State<'a> {
    /// The prompt.
    pub prompt: &'a str,
    /// The answer so far.
    pub text: &'a str,
    /// Spans written before.
    pub span: usize,
}

impl<'a> State<'a> {
    /// The state as one text.
    pub fn to_text(&self) -> String {
        format!("{}{SEPARATOR}{}{SEPARATOR}{}", self.prompt, self.text, self.span)
    }

    /// The state a text says. A text without separators is a prompt of which nothing is answered yet.
    pub fn parse(text: &'a str) -> Self {
        let mut parts = text.rsplitn(3, SEPARATOR);
        match (parts.next(), parts.next(), parts.next()) {
            (Some(span), Some(text), Some(prompt)) => {
                Self { prompt, text, span: span.parse().unwrap_or_default() }
            }
            _ => Self { prompt: text, ..Self::default() },
        }
    }
}

/// What is read of a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sight {
    /// All of it.
    #[default]
    Whole,
    /// The prompt and the number of spans, as the first released code of RLAE does.
    Prompt,
}

/// Settings of [`StateFeatures`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StateSettings {
    /// What is read.
    pub sight: Sight,
    /// Width of each block of hashed words.
    pub width: usize,
    /// Spans that have an entry of their own; later ones share the last.
    pub spans: usize,
    /// Characters read at the end of the answer.
    pub tail: usize,
    /// Marks between segments.
    pub marks: Vec<char>,
}

impl Default for StateSettings {
    fn default() -> Self {
        Self { sight: Sight::Whole, width: 128, spans: 16, tail: 24, marks: vec![';', '\n'] }
    }
}

/// The featurizer of states.
#[derive(Debug, Clone)]
pub struct StateFeatures {
    spec: FeaturizerSpec,
    settings: StateSettings,
}

impl StateFeatures {
    /// The featurizer of these settings.
    ///
    /// # Errors
    /// If a width is out of range.
    pub fn new(settings: StateSettings) -> Result<Self, FeatureError> {
        let within = |value: usize| (1..=WIDTH_MAX).contains(&value);
        if !within(settings.width) || !within(settings.spans) {
            let (width, spans) = (settings.width, settings.spans);
            let reason = format!("`width` is `{width}`, `spans` is `{spans}`, expected 1 to {WIDTH_MAX}");
            return Err(FeatureError::Setup { name: ROW.name.to_owned(), reason });
        }
        let dim = settings.spans + settings.width * if settings.sight == Sight::Whole { 3 } else { 1 };
        let value = serde_json::to_value(&settings).unwrap_or_default();
        Ok(Self { spec: FeaturizerSpec { name: ROW.name.to_owned(), dim, settings: value }, settings })
    }

    fn restore(spec: &FeaturizerSpec) -> Result<Self, FeatureError> {
        let fail = |reason: String| FeatureError::Setup { name: ROW.name.to_owned(), reason };
        let settings =
            serde_json::from_value(spec.settings.clone()).map_err(|error| fail(error.to_string()))?;
        let restored = Self::new(settings)?;
        if restored.spec.dim != spec.dim {
            return Err(fail(format!(
                "its width is `{}`, its settings make {}",
                spec.dim, restored.spec.dim
            )));
        }
        Ok(restored)
    }

    /// The segment of the prompt the answer has reached.
    fn segment<'a>(&self, state: &State<'a>) -> &'a str {
        let at = state.text.chars().filter(|c| self.settings.marks.contains(c)).count();
        let mut segments = state.prompt.split(&self.settings.marks[..]);
        segments.clone().nth(at).or_else(|| segments.next_back()).unwrap_or(state.prompt)
    }

    fn write(&self, text: &str, out: &mut [f32]) {
        let state = State::parse(text);
        let (spans, blocks) = out.split_at_mut(self.settings.spans);
        spans[state.span.min(spans.len() - 1)] = 1.0;
        let tail = state.text.char_indices().rev().take(self.settings.tail).last();
        let tail = tail.map_or("", |(at, _)| &state.text[at..]);
        let parts = [state.prompt, self.segment(&state), tail];
        for (block, part) in blocks.chunks_exact_mut(self.settings.width).zip(parts) {
            hash_words(part, block);
        }
    }
}

/// Counts of words and pairs of words by hash, with a sign of the hash, scaled to length 1.
fn hash_words(text: &str, block: &mut [f32]) {
    for hash in NGrams::of(text).words {
        // The low bits choose the place; a bit they do not touch the sign, so that collisions cancel on average.
        let sign = if hash >> 31 == 0 { 1.0 } else { -1.0 };
        block[(hash & 0x7fff_ffff) as usize % block.len()] += sign;
    }
    let length = block.iter().map(|x| x * x).sum::<f32>().sqrt();
    if length > 0.0 {
        block.iter_mut().for_each(|x| *x /= length);
    }
}

impl Featurizer for StateFeatures {
    fn spec(&self) -> &FeaturizerSpec {
        &self.spec
    }

    fn tensors(&self) -> Tensors {
        Tensors::new()
    }

    fn featurize(&self, inputs: &[FeatureInput<'_>]) -> Result<FeatureMatrix, FeatureError> {
        let dim = self.spec.dim;
        let mut values = vec![0.0; inputs.len() * dim];
        values.chunks_exact_mut(dim).zip(inputs).for_each(|(out, input)| self.write(input.text, out));
        Ok(FeatureMatrix::from_vec(inputs.len(), dim, values))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::restore;

    fn row(settings: &StateSettings, state: State<'_>) -> Vec<f32> {
        let features = StateFeatures::new(settings.clone()).unwrap();
        features.featurize(&[FeatureInput::from(&*state.to_text())]).unwrap().row(0).to_vec()
    }

    #[test]
    fn a_state_is_read_as_it_was_written() {
        let state = State { prompt: "a\u{1e}b", text: "c;d", span: 3 };
        assert_eq!(State::parse(&state.to_text()), state);
        assert_eq!(State::parse("only a prompt"), State { prompt: "only a prompt", ..State::default() });
    }

    #[test]
    fn the_segment_follows_the_answer() {
        let features = StateFeatures::new(StateSettings::default()).unwrap();
        let segment = |text| features.segment(&State { prompt: "add 3;flip dog;pet tom=", text, span: 0 });
        assert_eq!(segment(""), "add 3");
        assert_eq!(segment("7;go"), "flip dog");
        assert_eq!(segment("7;god;fox"), "pet tom=");
        assert_eq!(segment("7;god;fox;;"), "pet tom=");
    }

    #[test]
    fn blocks_have_length_one_and_say_different_things() {
        let settings = StateSettings::default();
        let begin = row(&settings, State { prompt: "add 3;flip dog", text: "", span: 0 });
        let later = row(&settings, State { prompt: "add 3;flip dog", text: "3;", span: 40 });
        assert_eq!((begin[0], later[15]), (1.0, 1.0));
        let block = |row: &[f32], at: usize| row[16 + at * 128..16 + (at + 1) * 128].to_vec();
        let length = |block: Vec<f32>| block.iter().map(|x| x * x).sum::<f32>();
        assert!((length(block(&begin, 0)) - 1.0).abs() < 1e-5 && length(block(&begin, 2)) == 0.0);
        assert_eq!(block(&begin, 0), block(&later, 0));
        assert_ne!(block(&begin, 1), block(&later, 1));
        // From the prompt alone only the span tells them apart.
        let blind = StateSettings { sight: Sight::Prompt, ..settings };
        let [begin, later] = ["", "3;"].map(|text| row(&blind, State { prompt: "add 3", text, span: 1 }));
        assert_eq!(begin, later);
        assert_eq!(begin.len(), 16 + 128);
    }

    #[test]
    fn it_is_restored_from_its_settings_and_refuses_others() {
        let features = StateFeatures::new(StateSettings { width: 8, ..StateSettings::default() }).unwrap();
        let restored = restore(features.spec(), features.tensors()).unwrap();
        let input = [FeatureInput::from("a b c")];
        assert_eq!(restored.featurize(&input).unwrap(), features.featurize(&input).unwrap());
        let wrong = FeaturizerSpec { dim: 7, ..features.spec().clone() };
        assert!(restore(&wrong, Tensors::new()).unwrap_err().to_string().contains("`7`"));
        let none = StateSettings { width: 0, ..StateSettings::default() };
        assert!(StateFeatures::new(none).unwrap_err().to_string().contains("`0`"));
    }
}
