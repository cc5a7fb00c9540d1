//! What runs beside the requests: reload of artifacts, the learning loop, the watch over canaries.

pub(crate) mod canary;
pub(crate) mod learning;
pub(crate) mod log_follower;
pub(crate) mod reload;
mod trial;
pub(crate) mod unwatched;
