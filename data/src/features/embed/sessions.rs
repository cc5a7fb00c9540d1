//! Sessions of onnxruntime: each runs one text at a time, more are started while all are busy.

use super::{error, model};
use crate::features::{EncoderSettings, FeatureError, Pooling};
use fastembed::{InitOptionsUserDefined, TextEmbedding};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Sessions at most; each holds the weights once.
const SESSIONS_MAX: usize = 8;

/// The sessions of one model.
pub(super) struct Sessions {
    dir: PathBuf,
    model: String,
    settings: EncoderSettings,
    limit: usize,
    state: Mutex<State>,
    returned: Condvar,
}

#[derive(Default)]
struct State {
    idle: Vec<TextEmbedding>,
    started: usize,
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sessions").field("dir", &self.dir).field("model", &self.model).finish_non_exhaustive()
    }
}

impl Sessions {
    /// Starts the first session; whatever is wrong with library or model shows here.
    pub(super) fn start(dir: &Path, model: &str, settings: EncoderSettings) -> Result<Self, FeatureError> {
        open_library()?;
        // A thread that waits for a session must never be the one that its holder waits for.
        tokenizers::utils::parallelism::set_parallelism(false);
        let limit = std::thread::available_parallelism().map_or(1, usize::from).min(SESSIONS_MAX);
        let sessions = Self {
            dir: dir.to_path_buf(),
            model: model.to_owned(),
            settings,
            limit,
            state: Mutex::default(),
            returned: Condvar::new(),
        };
        let first = sessions.session()?;
        let mut state = sessions.lock();
        state.idle.push(first);
        state.started = 1;
        drop(state);
        Ok(sessions)
    }

    /// The vector of a text.
    pub(super) fn embed(&self, text: &str) -> Result<Vec<f32>, FeatureError> {
        let mut lent = self.lend()?;
        let failed = |reason: String| error(format!("cannot embed a text: {reason}"));
        let Some(session) = &mut lent.session else { return Err(failed("no session".to_owned())) };
        let vectors =
            session.embed([self.settings.head(text)], Some(1)).map_err(|e| failed(e.to_string()))?;
        vectors.into_iter().next().ok_or_else(|| failed("no vector came back".to_owned()))
    }

    fn lend(&self) -> Result<Lent<'_>, FeatureError> {
        let mut state = self.lock();
        loop {
            if let Some(session) = state.idle.pop() {
                return Ok(Lent { sessions: self, session: Some(session) });
            }
            if state.started < self.limit {
                state.started += 1;
                drop(state);
                let mut lent = Lent { sessions: self, session: None };
                lent.session = Some(self.session()?);
                return Ok(lent);
            }
            state = self.returned.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn session(&self) -> Result<TextEmbedding, FeatureError> {
        let pooling = match self.settings.pooling {
            Pooling::Mean => fastembed::Pooling::Mean,
            Pooling::Cls => fastembed::Pooling::Cls,
        };
        let model = model::load(&self.dir, &self.model)?.with_pooling(pooling);
        // Threads of a session spin while they wait: with two of them a text costs twice the processor time.
        let options =
            InitOptionsUserDefined::new().with_max_length(self.settings.max_length).with_intra_threads(1);
        TextEmbedding::try_new_from_user_defined(model, options)
            .map_err(|e| error(format!("onnxruntime refuses the model in `{}`: {e}", self.dir.display())))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session on loan; it goes back, or makes room for another, whatever happens.
struct Lent<'a> {
    sessions: &'a Sessions,
    session: Option<TextEmbedding>,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let mut state = self.sessions.lock();
        match self.session.take() {
            Some(session) => state.idle.push(session),
            None => state.started -= 1,
        }
        drop(state);
        self.sessions.returned.notify_one();
    }
}

/// Opens onnxruntime before anything else touches it: a missing library would panic inside.
fn open_library() -> Result<(), FeatureError> {
    let name = format!("{}onnxruntime{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let path = std::env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty());
    let path = path.unwrap_or_else(|| name.into());
    ort::init_from(&path).map(drop).map_err(|e| {
        error(format!(
            "onnxruntime cannot be used: {e}; set ORT_DYLIB_PATH to a libonnxruntime of version 1.{} or later",
            ort::MINOR_VERSION
        ))
    })
}
