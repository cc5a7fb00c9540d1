pub(super) mod benchmark_datasets;
pub(super) mod knn;
