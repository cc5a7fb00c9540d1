//! A model that is talked to in its own chat template.
//!
//! ```toml
//! template = "chat"           # the model's own; or a file of Jinja
//! ```

use super::path;
use crate::backend::{Backend, BackendError, Capabilities, Embeddings, Session, Stop};
use crate::chat::Message;
use crate::template::ChatTemplate;
use crate::vocabulary::Tokenizer;
use serde_json::{Map, Value};
use std::path::Path;
use std::sync::Arc;

/// What names a template in the settings of a member.
const SETTING: &str = "template";
/// The template that comes with the model.
const OWN: &str = "chat";

/// A model and its template.
#[derive(Debug)]
pub(super) struct Templated {
    model: Arc<dyn Backend>,
    tokenizer: Arc<Tokenizer>,
    template: ChatTemplate,
}

/// Takes the template out of the settings of a member.
pub(super) fn take(settings: &mut Map<String, Value>) -> Option<Value> {
    settings.remove(SETTING)
}

impl Templated {
    /// `model` talked to as `template` says: `chat`, or a file; the files of the model are those of its `settings`.
    ///
    /// # Errors
    /// If the model reads no ids or declares no tokenizer, or the template cannot be had.
    pub(super) fn open(
        model: Arc<dyn Backend>,
        template: &Value,
        settings: &Map<String, Value>,
        folder: &Path,
    ) -> Result<Self, BackendError> {
        let failed = |reason: String| BackendError::Failed { model: model.name().to_owned(), reason };
        let Some(template) = template.as_str() else {
            return Err(failed(format!(
                "template `{template}` is not accepted; `chat` is, the model's own, or a file of Jinja"
            )));
        };
        let tokenizer = model.tokenizer().filter(|_| model.reads_ids()).cloned().ok_or_else(|| {
            failed(
                "a `template` needs a model that reads ids: one in process, or a server of a dialect with ids and a \
                 declared `tokenizer`; chat dialects put messages in a template of their own"
                    .to_owned(),
            )
        })?;
        let file = ["tokenizer", "model"].iter().find_map(|name| settings.get(*name)?.as_str());
        let found = match (template, file) {
            (OWN, Some(file)) => ChatTemplate::of_model(&path(folder, file)),
            (OWN, None) => {
                Err("it has no file to take a chat template from; name one as `template`".to_owned())
            }
            (file, _) => ChatTemplate::open(&path(folder, file), &tokenizer),
        };
        let template = found.map_err(failed)?;
        Ok(Self { model, tokenizer, template })
    }
}

impl Backend for Templated {
    fn name(&self) -> &str {
        self.model.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.model.capabilities()
    }

    fn tokenizer(&self) -> Option<&Arc<Tokenizer>> {
        Some(&self.tokenizer)
    }

    fn context(&self) -> usize {
        self.model.context()
    }

    fn open(&self, prompt: &[u8], stop: &Stop) -> Result<Box<dyn Session>, BackendError> {
        self.open_chat(&[Message::user(&String::from_utf8_lossy(prompt))], stop)
    }

    fn open_chat(&self, chat: &[Message], stop: &Stop) -> Result<Box<dyn Session>, BackendError> {
        let failed = |reason: String| BackendError::Failed { model: self.name().to_owned(), reason };
        let ids = self.template.encode(chat, &self.tokenizer).map_err(failed)?;
        let mut session = self.model.open(b"", stop)?;
        // Put before every text, it is not read twice where the template writes it, too.
        let twice = session.begins() && ids.first().copied() == self.tokenizer.begin();
        session.feed(&ids[usize::from(twice)..])?;
        Ok(session)
    }

    fn embeddings(&self) -> Option<Embeddings<'_>> {
        self.model.embeddings()
    }
}
