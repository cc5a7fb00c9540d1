//! A query and an answer to it, as one vector: what a scorer of answers reads.
//!
//! Both travel as one text, with U+001E (record separator) between them, as the state of an answer being written does
//! ([`super::State`]). The vector has three blocks: the features of the query, those of the answer, each by a
//! featurizer of its own, and nine numbers of the answer's form. A text without a separator is a query with an empty
//! answer.

use super::{FeatureError, FeatureInput, Featurizer, FeaturizerRow, FeaturizerSpec, restore};
use crate::{FeatureMatrix, Tensors};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

pub(super) const ROW: FeaturizerRow = FeaturizerRow {
    name: "query-answer",
    title: "a query and an answer to it: the features of each, and the answer's length and form",
    restore: |spec, tensors| Ok(Arc::new(QueryAnswer::restore(spec, tensors)?)),
    open: None,
};

/// Between query and answer.
const SEPARATOR: char = '\u{1e}';
/// Prefix of the tensors of the query's featurizer, and of the answer's.
const PREFIXES: [&str; 2] = ["query.", "answer."];
/// Numbers of the answer's form: `ln(1 + n)` of its characters, words, lines and digits, the share of digits and of
/// capitals among its characters, whether it is empty, whether it ends in a mark that ends a sentence, and whether its
/// last line has a digit.
const SURFACE: usize = 9;

/// The featurizer of this module.
#[derive(Debug)]
pub struct QueryAnswer {
    spec: FeaturizerSpec,
    parts: [Arc<dyn Featurizer>; 2],
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    query: FeaturizerSpec,
    answer: FeaturizerSpec,
}

impl QueryAnswer {
    /// Reads queries with one featurizer and answers with another.
    pub fn new(query: Arc<dyn Featurizer>, answer: Arc<dyn Featurizer>) -> Self {
        let settings = serde_json::json!({ "query": query.spec(), "answer": answer.spec() });
        let dim = query.dim() + answer.dim() + SURFACE;
        let spec = FeaturizerSpec { name: ROW.name.to_owned(), dim, settings };
        Self { spec, parts: [query, answer] }
    }

    /// Query and answer as one text.
    pub fn join(query: &str, answer: &str) -> String {
        format!("{query}{SEPARATOR}{answer}")
    }

    fn restore(spec: &FeaturizerSpec, tensors: Tensors) -> Result<Self, FeatureError> {
        let error = |reason: String| FeatureError::Setup { name: ROW.name.to_owned(), reason };
        let settings: Settings =
            serde_json::from_value(spec.settings.clone()).map_err(|e| error(e.to_string()))?;
        let mut own = [Tensors::new(), Tensors::new()];
        for (name, tensor) in tensors.iter() {
            for (own, prefix) in own.iter_mut().zip(PREFIXES) {
                if let Some(name) = name.strip_prefix(prefix) {
                    own.insert(name, tensor.clone());
                }
            }
        }
        if [&settings.query, &settings.answer].iter().any(|inner| inner.name == ROW.name) {
            return Err(error("it reads a part by a featurizer of its own kind".to_owned()));
        }
        let [query, answer] = own;
        let restored = Self::new(restore(&settings.query, query)?, restore(&settings.answer, answer)?);
        if restored.spec != *spec {
            let (found, expected) = (spec.dim, restored.spec.dim);
            return Err(error(format!("its width is `{found}`, expected {expected}, that of its parts")));
        }
        Ok(restored)
    }
}

/// Query and answer of a joined text.
fn split(text: &str) -> (&str, &str) {
    text.rsplit_once(SEPARATOR).unwrap_or((text, ""))
}

fn surface(answer: &str) -> [f32; SURFACE] {
    let answer = answer.trim();
    let n_chars = answer.chars().count();
    let count = |is: fn(&char) -> bool| answer.chars().filter(is).count();
    let digits = count(char::is_ascii_digit);
    let log = |n: usize| (n as f32).ln_1p();
    let share = |n: usize| n as f32 / n_chars.max(1) as f32;
    let flag = |is: bool| if is { 1.0 } else { 0.0 };
    let last = answer.lines().next_back().unwrap_or_default();
    [
        log(n_chars),
        log(answer.split_whitespace().count()),
        log(answer.lines().count()),
        log(digits),
        share(digits),
        share(count(|c| c.is_uppercase())),
        flag(answer.is_empty()),
        flag(answer.ends_with(['.', '!', '?', '\u{3002}', '}', ']'])),
        flag(last.contains(|c: char| c.is_ascii_digit())),
    ]
}

impl Featurizer for QueryAnswer {
    fn spec(&self) -> &FeaturizerSpec {
        &self.spec
    }

    fn tensors(&self) -> Tensors {
        let mut tensors = Tensors::new();
        for (part, prefix) in self.parts.iter().zip(PREFIXES) {
            for (name, tensor) in part.tensors().iter() {
                tensors.insert(&format!("{prefix}{name}"), tensor.clone());
            }
        }
        tensors
    }

    fn featurize(&self, inputs: &[FeatureInput<'_>]) -> Result<FeatureMatrix, FeatureError> {
        let texts: Vec<(&str, &str)> = inputs.iter().map(|input| split(input.text)).collect();
        let queries: Vec<FeatureInput<'_>> = texts
            .iter()
            .zip(inputs)
            .map(|((query, _), input)| FeatureInput { text: query, vector: input.vector })
            .collect();
        let answers: Vec<FeatureInput<'_>> = texts.iter().map(|(_, answer)| (*answer).into()).collect();
        let blocks = [self.parts[0].featurize(&queries)?, self.parts[1].featurize(&answers)?];
        let mut values = Vec::with_capacity(inputs.len() * self.spec.dim);
        for (row, (_, answer)) in texts.iter().enumerate() {
            blocks.iter().for_each(|block| values.extend_from_slice(block.row(row)));
            values.extend(surface(answer));
        }
        Ok(FeatureMatrix::from_vec(inputs.len(), self.spec.dim, values))
    }

    fn reads_vector(&self) -> bool {
        self.parts[0].reads_vector()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::{Column, Lexical, LexicalSettings};

    fn featurizer() -> QueryAnswer {
        let texts = ["how many apples", "how many pears", "the answer is 12", "the answer is none"];
        let settings = LexicalSettings { dim: 2, queries_min: 1, ..LexicalSettings::default() };
        let lexical = || Arc::new(Lexical::fit(&texts, settings, 1).unwrap());
        QueryAnswer::new(lexical(), lexical())
    }

    #[test]
    fn blocks_are_those_of_query_and_answer() {
        let both = featurizer();
        let joined = QueryAnswer::join("how many apples", "the answer is\n12");
        let found = both.featurize(&[joined.as_str().into(), "how many apples".into()]).unwrap();
        let alone = both.parts[0].featurize(&["how many apples".into()]).unwrap();
        let answer = both.parts[1].featurize(&["the answer is\n12".into()]).unwrap();
        assert_eq!(&found.row(0)[..2], alone.row(0));
        assert_eq!(&found.row(0)[2..4], answer.row(0));
        // 16 characters, 4 words, 2 lines, 2 digits; no capital, not empty, no mark at the end, a digit in the last
        // line.
        let expected = [17_f32.ln(), 5_f32.ln(), 3_f32.ln(), 3_f32.ln(), 0.125, 0.0, 0.0, 0.0, 1.0];
        assert!(found.row(0)[4..].iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?}");
        assert_eq!((&found.row(1)[..2], found.row(1)[10]), (alone.row(0), 1.0));
    }

    #[test]
    fn it_restores_bit_for_bit_and_refuses_other_widths() {
        let both = featurizer();
        let again = QueryAnswer::restore(both.spec(), both.tensors()).unwrap();
        let text = QueryAnswer::join("how many", "12 apples.");
        let input = [text.as_str().into()];
        assert_eq!(both.featurize(&input).unwrap().row(0), again.featurize(&input).unwrap().row(0));
        let wide = FeaturizerSpec { dim: 99, ..both.spec().clone() };
        assert!(QueryAnswer::restore(&wide, both.tensors()).unwrap_err().to_string().contains("`99`"));
        let nested = QueryAnswer::new(Arc::new(both), Arc::new(Column::new("vector", 0)));
        let error = QueryAnswer::restore(nested.spec(), nested.tensors()).unwrap_err().to_string();
        assert!(error.contains("its own kind"), "{error}");
    }
}
