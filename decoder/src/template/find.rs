//! Where the files of a model keep its chat template.

use super::ChatTemplate;
use crate::vocabulary::GgufChat;
use serde_json::Value;
use std::path::Path;

/// Bytes of a GGUF file that are read: its metadata stand at its start.
const GGUF_MAX: u64 = 64 << 20;

/// A template and the tokens it may write.
#[derive(Debug, Default)]
pub(super) struct Found {
    source: String,
    begin: String,
    end: String,
}

impl Found {
    pub(super) fn parse(self) -> Result<ChatTemplate, String> {
        ChatTemplate::new(self.source, self.begin, self.end)
    }
}

/// The template of a GGUF file, or of the files beside a tokenizer; `path` may be their folder.
pub(super) fn of_model(path: &Path) -> Result<Found, String> {
    let folder = if path.is_dir() { path } else { path.parent().unwrap_or(Path::new("")) };
    if !path.is_dir() {
        let bytes = routewright_data::files::read_up_to(path, GGUF_MAX).map_err(|error| error.to_string())?;
        let chat = GgufChat::read(&bytes).map_err(|error| format!("`{}`: {error}", path.display()))?;
        if let Some(GgufChat { template, begin, end }) = chat {
            let (begin, end) = (begin.unwrap_or_default(), end.unwrap_or_default());
            return Ok(Found { source: template, begin, end });
        }
    }
    beside(folder)?.ok_or_else(|| {
        format!(
            "`{}` has no chat template: neither a GGUF file's `tokenizer.chat_template` nor `chat_template.jinja` or \
             `tokenizer_config.json` beside it; a file of its own is accepted as `template`",
            path.display()
        )
    })
}

/// The template of a folder as Hugging Face lays it out.
fn beside(folder: &Path) -> Result<Option<Found>, String> {
    let config = match std::fs::read_to_string(folder.join("tokenizer_config.json")) {
        Ok(text) => {
            serde_json::from_str(&text).map_err(|error| format!("`tokenizer_config.json`: {error}"))?
        }
        Err(_) => Value::Null,
    };
    let own = std::fs::read_to_string(folder.join("chat_template.jinja")).ok();
    let Some(source) = own.or_else(|| named(&config["chat_template"])) else { return Ok(None) };
    // A token is a text, or an object with one.
    let shown = |name: &str| {
        let token = &config[name];
        token.as_str().or_else(|| token["content"].as_str()).unwrap_or_default().to_owned()
    };
    Ok(Some(Found { source, begin: shown("bos_token"), end: shown("eos_token") }))
}

/// A template, or the default one of a list of templates with names.
fn named(template: &Value) -> Option<String> {
    let listed =
        || template.as_array()?.iter().find(|entry| entry["name"] == "default")?["template"].as_str();
    template.as_str().or_else(listed).map(str::to_owned)
}
