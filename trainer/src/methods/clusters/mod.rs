pub(super) mod avengers;
pub(super) mod kmeans;
