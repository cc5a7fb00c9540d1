//! What is done to a text before it is cut: `normalizer` and `pre_tokenizer`.

use super::super::marks::SPACE;
use super::super::split::{GPT2, Split};
use serde_json::Value;

/// Characters that are punctuation for the `Punctuation` step: those of Unicode and the symbols of ASCII.
const PUNCTUATION: &str = r"[\p{P}$+<=>^`|~]";

/// The steps of a file, as far as they are understood.
#[derive(Debug, Default)]
pub(super) struct Steps {
    /// Text is composed (NFC) first.
    pub(super) nfc: bool,
    /// Text is cut as bytes shown as characters.
    pub(super) byte_level: bool,
    /// Patterns that cut a text before that.
    patterns: Vec<String>,
    /// A space becomes its mark.
    marked: bool,
    /// A mark is put before a text.
    prefix: bool,
    /// Only where no special token comes before it.
    pub(super) prefix_once: bool,
    /// Lower case, and accents dropped, as BERT does.
    bert: Option<(bool, bool)>,
    /// Words are cut off as BERT does.
    bert_words: bool,
}

impl Steps {
    pub(super) fn read(normalizer: Option<&Value>, pre_tokenizer: Option<&Value>) -> Result<Self, String> {
        let mut steps = Self::default();
        for step in flat(normalizer, "normalizers") {
            steps.normalizer(step)?;
        }
        for step in flat(pre_tokenizer, "pretokenizers") {
            steps.pre_tokenizer(step)?;
        }
        Ok(steps)
    }

    /// Patterns for BPE over bytes.
    pub(super) fn split(&self) -> Result<Split, String> {
        if self.marked || self.prefix || self.bert.is_some() || self.bert_words {
            return Err("it mixes `ByteLevel` with other ways to show a space, which is not supported".into());
        }
        Split::new(&self.patterns.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Whether a mark is put before a text, where spaces are shown by marks and by nothing else.
    pub(super) fn spaces(&self) -> Result<bool, String> {
        if !self.marked || self.nfc || !self.patterns.is_empty() || self.bert.is_some() || self.bert_words {
            return Err(format!(
                "it neither shows bytes (`ByteLevel`) nor only turns spaces into `{SPACE}` (`Replace`, `Metaspace`), \
                 which is what is supported for BPE and Unigram"
            ));
        }
        Ok(self.prefix)
    }

    /// Lower case, and accents dropped.
    pub(super) fn bert(&self) -> Result<(bool, bool), String> {
        match self.bert {
            Some(bert) if self.bert_words && !self.marked && !self.byte_level && self.patterns.is_empty() => {
                Ok(bert)
            }
            _ => Err("WordPiece is supported with `BertNormalizer` and `BertPreTokenizer`".into()),
        }
    }

    fn normalizer(&mut self, step: &Value) -> Result<(), String> {
        let refused = || Err(format!("its normalizer `{step}` is not supported"));
        match kind(step) {
            "NFC" => self.nfc = true,
            "Prepend" if step["prepend"] == SPACE.to_string() => self.prefix = true,
            "Replace" if step["pattern"]["String"] == " " && step["content"] == SPACE.to_string() => {
                self.marked = true;
            }
            "BertNormalizer" => {
                let flag = |name: &str| step[name].as_bool();
                if flag("clean_text") != Some(true) || flag("handle_chinese_chars") != Some(true) {
                    return refused();
                }
                let lowercase = flag("lowercase").unwrap_or(true);
                self.bert = Some((lowercase, flag("strip_accents").unwrap_or(lowercase)));
            }
            _ => return refused(),
        }
        Ok(())
    }

    fn pre_tokenizer(&mut self, step: &Value) -> Result<(), String> {
        let refused = |why: &str| Err(format!("its pre-tokenizer `{step}` is not supported{why}"));
        if self.byte_level {
            return refused(" after `ByteLevel`, where it would look at the names of bytes");
        }
        match kind(step) {
            "ByteLevel" => {
                // What is left out is true there.
                if step["add_prefix_space"].as_bool().unwrap_or(true) {
                    return refused(": `add_prefix_space` is; false is accepted");
                }
                if step["use_regex"].as_bool().unwrap_or(true) {
                    self.patterns.push(GPT2.to_owned());
                }
                self.byte_level = true;
            }
            "Split" => {
                let pattern = match (&step["pattern"]["Regex"], &step["pattern"]["String"]) {
                    (Value::String(regex), _) => regex.clone(),
                    // Spaces are marks by now.
                    (_, Value::String(text)) if text == " " && self.marked => return Ok(()),
                    (_, Value::String(text)) => fancy_regex::escape(text).into_owned(),
                    _ => return refused(""),
                };
                match (step["behavior"].as_str(), step["invert"].as_bool()) {
                    // What matches is kept and patterns leave nothing between matches: the same as parting.
                    (Some("Isolated"), _) | (Some("Removed"), Some(true)) => self.patterns.push(pattern),
                    _ => return refused(": `Isolated` is, and `Removed` inverted"),
                }
            }
            "Digits" if step["individual_digits"] == true => self.patterns.push(r"\p{N}".to_owned()),
            "Digits" => self.patterns.push(r"\p{N}+".to_owned()),
            "Punctuation" => match step["behavior"].as_str() {
                Some("Isolated") | None => self.patterns.push(PUNCTUATION.to_owned()),
                Some("Contiguous") => self.patterns.push(format!("{PUNCTUATION}+")),
                Some(_) => return refused(": `Isolated` and `Contiguous` are"),
            },
            "Metaspace" if step["replacement"] == SPACE.to_string() => {
                let scheme = step["prepend_scheme"].as_str();
                let old = step["add_prefix_space"].as_bool().unwrap_or(true);
                self.prefix = scheme.map_or(old, |scheme| scheme != "never");
                self.prefix_once = scheme == Some("first");
                self.marked = true;
            }
            "BertPreTokenizer" => self.bert_words = true,
            _ => return refused(""),
        }
        Ok(())
    }
}

fn kind(step: &Value) -> &str {
    step["type"].as_str().unwrap_or_default()
}

/// The steps of a sequence, or the one step, or none.
fn flat<'a>(step: Option<&'a Value>, list: &str) -> Vec<&'a Value> {
    match step {
        None | Some(Value::Null) => Vec::new(),
        Some(step) if kind(step) == "Sequence" => {
            step[list].as_array().into_iter().flatten().flat_map(|step| flat(Some(step), list)).collect()
        }
        Some(step) => vec![step],
    }
}
