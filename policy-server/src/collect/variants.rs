//! Prompt templates that queries are asked with: a chain of thought, a program of thought.
//!
//! ```toml
//! [variants.cot]
//! prompt = "{query}\nThink step by step, then give the answer."
//! models = ["small"]                 # all where it is left out
//!
//! [variants.pot]
//! prompt = "{query}\nWrite a Python program that prints the answer."
//! models = ["small"]
//! run = true                         # what the program prints is scored
//! ```

use super::error::CollectError;
use super::members::Member;
use crate::settings::syntax;
use routewright_data::files;
use routewright_policy::program::{Prompt, render};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// Bytes of the file at most.
const BYTES_MAX: u64 = 1 << 20;
/// Where the query stands in a template.
const PLACE: &str = "{query}";

/// One template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Variant {
    pub(super) name: String,
    prompt: String,
    models: Vec<String>,
    /// Whether the answer is a program, whose output counts.
    pub(super) run: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    variants: BTreeMap<String, Section>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    prompt: String,
    #[serde(default)]
    models: Vec<String>,
    #[serde(default)]
    run: bool,
}

impl Variant {
    /// Reads a file of templates, in the order of their names.
    ///
    /// # Errors
    /// If it cannot be read, a template has no place for the query, or names a model that is not in the table.
    pub(super) fn load(path: &Path, members: &[Member]) -> Result<Vec<Self>, CollectError> {
        let shown = path.display();
        let refuse = |why: String| CollectError::Options(format!("variants `{shown}`: {why}"));
        let text = String::from_utf8(files::read_up_to(path, BYTES_MAX)?);
        let text = text.map_err(|_| refuse("it is not UTF-8".to_owned()))?;
        let table: Table = toml::from_str(&text).map_err(|error| refuse(syntax(&text, &error)))?;
        let read = |(name, Section { prompt, models, run }): (String, Section)| {
            if name.trim().is_empty() || !prompt.contains(PLACE) {
                return Err(refuse(format!(
                    "the prompt of `{name}` shows no query, expected a place `{PLACE}`"
                )));
            }
            let is_known = |model: &String| members.iter().any(|member| member.name == *model);
            match models.iter().find(|model| !is_known(model)) {
                Some(model) => {
                    Err(refuse(format!("`{name}` is for `{model}`, expected models of the table")))
                }
                None => Ok(Self { name, prompt, models, run }),
            }
        };
        table.variants.into_iter().map(read).collect()
    }

    /// Whether a model is asked with it.
    pub(super) fn is_for(&self, member: &Member) -> bool {
        self.models.is_empty() || self.models.contains(&member.name)
    }

    /// The text that is sent in place of a query.
    pub(super) fn text(&self, query: &str) -> String {
        let prompt = Prompt::Template { id: self.name.clone(), slots: BTreeMap::new() };
        // The template is there: it is the one that is rendered.
        render(&prompt, query, &[(&self.name, &self.prompt)]).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Variant>, CollectError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Variant::load(file.path(), &[])
    }

    #[test]
    fn templates_are_read_and_filled() {
        let found =
            read("[variants.pot]\nprompt = 'Q: {query} {x}'\nrun = true\n[variants.cot]\nprompt = '{query}'")
                .unwrap();
        assert_eq!((found[0].name.as_str(), found[1].run), ("cot", true));
        assert_eq!(found[1].text("2+2?"), "Q: 2+2? {x}");
        for (text, says) in [
            ("[variants.a]\nprompt = 'no place'", "`{query}`"),
            ("[variants.a]\nprompt = '{query}'\nmodels = ['m']", "`m`"),
            ("[variants.a]\nprompt = '{query}'\nmodel = 'm'", "model"),
            ("variants = 3", "variants"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
