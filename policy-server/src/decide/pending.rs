//! A decision under way: inline or on a worker, within the deadline, else by the default arm.

use crate::error::{ApiError, Code};
use crate::live::Served;
use crate::live::deadline::default_decision;
use crate::live::query::Query;
use crate::live::stages::Computed;
use routewright_policy::Reason;
use std::time::Instant;
use tokio::sync::oneshot;

/// A decision under way: made already, or with a worker.
#[derive(Debug)]
pub(super) enum Pending {
    Done(Box<Result<Computed, ApiError>>),
    Queued(oneshot::Receiver<Result<Computed, ApiError>>),
}

impl Pending {
    /// Waits for the decision, at most until the deadline; then the default arm answers.
    pub(super) async fn finish(
        self,
        served: &Served,
        query: &Query,
        deadline: Option<Instant>,
    ) -> Result<Computed, ApiError> {
        let receiver = match self {
            Self::Done(result) => return *result,
            Self::Queued(receiver) => receiver,
        };
        let lost = |_| Err(ApiError::internal("a worker ended without an answer"));
        let Some(deadline) = deadline else {
            return receiver.await.unwrap_or_else(lost);
        };
        match tokio::time::timeout_at(deadline.into(), receiver).await {
            // It made room for the query of another caller.
            Ok(Ok(Err(error))) if error.code == Code::Overloaded => late(served, query),
            Ok(result) => result.unwrap_or_else(lost),
            Err(_) => late(served, query),
        }
    }
}

/// The default arm answers in place of a decision that is too late.
pub(super) fn late(served: &Served, query: &Query) -> Result<Computed, ApiError> {
    served.metrics.timed_out();
    default_decision(&served.policy, served.default_arm, query, Reason::DeadlineDefault)
}
