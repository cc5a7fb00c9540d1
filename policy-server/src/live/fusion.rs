//! Fused models: ensembles that answer like one model named `fusion/NAME`.
//!
//! An answer is written on a blocking thread, at most `limits.fusions_max` at a time; a caller who goes away while it
//! is written cancels it, which frees the sessions of its members.

use crate::clock::now_seconds;
use crate::error::{ApiError, Code};
use crate::serve_error::ServeError;
use crate::settings::{FUSION_PREFIX, ServerConfig};
use routewright_data::suggest::near_names;
use routewright_decoder::backend::BackendError;
use routewright_decoder::ensemble::Ensemble;
use routewright_decoder::generation::{Answer, Ask, FuseError};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Every fused model in service.
#[derive(Debug)]
pub(crate) struct Fusions {
    pub(crate) models: BTreeMap<String, Arc<Ensemble>>,
    /// Seconds since 1970.
    pub(crate) loaded_at: u64,
    permits: Arc<Semaphore>,
    max: usize,
}

/// An answer as it is written: pieces, then the end.
#[derive(Debug)]
pub(crate) enum Progress {
    Piece(String),
    Done(Box<Result<Answer, FuseError>>),
}

/// An answer being written. Dropped, it is cancelled.
#[derive(Debug)]
pub(crate) struct Writing {
    pub(crate) progress: mpsc::UnboundedReceiver<Progress>,
    stop: routewright_decoder::backend::Stop,
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Fusions {
    /// Loads the ensembles of the configuration.
    pub(crate) fn open(config: &ServerConfig) -> Result<Self, ServeError> {
        let open = |(name, path): (&String, &PathBuf)| match Ensemble::open(path) {
            Ok(ensemble) => Ok((name.clone(), Arc::new(ensemble))),
            Err(source) => Err(ServeError::Fusion { name: name.clone(), source: Box::new(source) }),
        };
        let models = config.fusions.iter().map(open).collect::<Result<_, _>>()?;
        let max = config.limits.fusions_max;
        Ok(Self {
            models,
            loaded_at: now_seconds(),
            permits: Arc::new(Semaphore::new(max.min(Semaphore::MAX_PERMITS))),
            max,
        })
    }

    /// The fused model of a name such as `fusion/two`.
    pub(crate) fn find(&self, model: &str) -> Result<&Arc<Ensemble>, ApiError> {
        let known: Vec<String> = self.models.keys().map(|name| format!("{FUSION_PREFIX}{name}")).collect();
        let found = model.strip_prefix(FUSION_PREFIX).and_then(|name| self.models.get(name));
        found.ok_or_else(|| {
            let hint = match known.is_empty() {
                true => "this server has no fused models: no section [fusions.NAME] is configured".to_owned(),
                false => near_names(model, known.iter().map(String::as_str)),
            };
            ApiError::new(Code::ModelNotFound, format!("unknown model `{model}`; {hint}")).param("model")
        })
    }

    /// Begins to write an answer.
    pub(crate) fn write(&self, ensemble: &Arc<Ensemble>, ask: Ask) -> Result<Writing, ApiError> {
        let permit = Arc::clone(&self.permits).try_acquire_owned().map_err(|_full| {
            let max = self.max;
            ApiError::new(
                Code::Overloaded,
                format!("{max} answers are being written already, the most allowed"),
            )
        })?;
        let (sender, progress) = mpsc::unbounded_channel();
        let stop = ask.stop.clone();
        let ensemble = Arc::clone(ensemble);
        tokio::task::spawn_blocking(move || written(&ensemble, ask, &sender, permit));
        Ok(Writing { progress, stop })
    }
}

/// Writes on this thread. The listener may have gone.
fn written(
    ensemble: &Ensemble,
    ask: Ask,
    sender: &mpsc::UnboundedSender<Progress>,
    permit: OwnedSemaphorePermit,
) {
    let pieces = sender.clone();
    let listener = Box::new(move |piece: &str| {
        let _gone = pieces.send(Progress::Piece(piece.to_owned()));
    });
    let answer = ensemble.answer(ask, listener);
    drop(permit);
    let _gone = sender.send(Progress::Done(Box::new(answer)));
}

/// Why an answer could not be written, as the caller is told.
pub(crate) fn refused(error: &FuseError) -> ApiError {
    match error {
        // What a server said of it stays here.
        FuseError::Backend(BackendError::Full { .. }) => {
            ApiError { inside: Some(error.to_string()), ..ApiError::new(Code::InvalidRequest, TOO_LONG) }
        }
        FuseError::Backend(full) if full.is_full() => ApiError::new(Code::InvalidRequest, full.to_string()),
        FuseError::Cancelled => ApiError::new(Code::RequestTimeout, "the answer was cancelled"),
        // All members were dropped, each for a reason; what they are is not for callers.
        _ => ApiError { inside: Some(error.to_string()), ..ApiError::new(Code::FusionFailed, FAILED) },
    }
}

const TOO_LONG: &str = "the prompt is longer than the members of this fused model read";
const FAILED: &str = "the members of this fused model could not write an answer; the server's log says why";
