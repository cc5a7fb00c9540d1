//! Work that is too long for the threads that serve connections.

use crate::error::ApiError;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// More bytes than these are worked on by a blocking thread.
const AT_ONCE_BYTES_MAX: usize = 64 << 10;

/// Blocking threads for long work, as many at a time as there are cores.
#[derive(Debug, Clone)]
pub(crate) struct Offload(Arc<Semaphore>);

impl Offload {
    pub(crate) fn new(threads: usize) -> Self {
        Self(Arc::new(Semaphore::new(threads)))
    }

    /// Does the work that so many bytes make: at once where they are few, else on a blocking thread.
    ///
    /// # Errors
    /// If the work panics.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        n_bytes: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        if n_bytes <= AT_ONCE_BYTES_MAX {
            return Ok(work());
        }
        let permit = Arc::clone(&self.0).acquire_owned().await;
        let done = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(permit);
            done
        });
        done.await.map_err(|error| ApiError::internal(format!("work on a long body failed: {error}")))
    }

    /// Does work that reads the disk or is long whatever the request, on a blocking thread.
    ///
    /// # Errors
    /// If the work panics.
    pub(crate) async fn always<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        self.run(usize::MAX, work).await
    }
}
