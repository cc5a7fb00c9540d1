pub(super) mod knn;
