pub(super) mod kmeans;
