//! The route table: the endpoint of every handler, in the order of the documentation.
//!
//! The routers, the labels of the metrics, the list of open paths and `/openapi.json` all come from it.

use crate::http::endpoint::Endpoint;
use crate::http::handlers::{
    admin_arms, admin_budgets, admin_learning, admin_policies, admin_promote, admin_registry, admin_reload,
    admin_statistics, answers, completions, fallback, feedback, health, metrics, models, openapi, ready,
    route, route_batch, route_plain, step, weights,
};
use crate::http::openapi::describe;
use crate::http::parts::Parts;
use axum::Router;
use serde_json::Value;

/// Every route.
pub(crate) const TABLE: &[Endpoint] = &[
    route::ENDPOINT,
    route_batch::ENDPOINT,
    route_plain::CHAT,
    route_plain::RESPONSES,
    route_plain::MESSAGES,
    step::ENDPOINT,
    weights::ENDPOINT,
    feedback::ENDPOINT,
    completions::CHAT,
    completions::TEXT,
    answers::RESPONSES,
    answers::MESSAGES,
    answers::EMBEDDINGS,
    models::ENDPOINT,
    models::ONE,
    models::FOR_SDKS,
    health::ENDPOINT,
    health::ENDPOINT.at("/health/liveliness"),
    ready::ENDPOINT,
    ready::ENDPOINT.at("/health/readiness"),
    metrics::ENDPOINT,
    openapi::ENDPOINT,
    admin_policies::ENDPOINT,
    admin_reload::ENDPOINT,
    admin_statistics::ENDPOINT,
    admin_registry::ENDPOINT,
    admin_promote::ENDPOINT,
    admin_arms::LIST,
    admin_arms::CHANGE,
    admin_learning::ENDPOINT,
    admin_budgets::ENDPOINT,
];

/// The OpenAPI document of both listeners.
pub fn openapi_document() -> Value {
    describe(TABLE)
}

/// The routes of one listener, without the layers around them.
pub(crate) fn router(admin: bool) -> Router<Parts> {
    let rows = TABLE.iter().filter(|row| row.is_on(admin));
    let router = rows.fold(Router::new(), |router, row| {
        let router = router.route(row.path, (row.handler)());
        // What is behind the prefix may end with a slash itself.
        if row.prefix().is_some() {
            return router;
        }
        router.route(&format!("{}/", row.path), (row.handler)())
    });
    router
        .fallback(move |uri| std::future::ready(fallback::not_found(TABLE, admin, uri)))
        .method_not_allowed_fallback(|method, uri| std::future::ready(fallback::method(TABLE, method, uri)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::endpoint::Endpoints;

    #[test]
    fn every_path_is_there_once_and_labels_are_paths() {
        for row in TABLE {
            assert_eq!(TABLE.iter().filter(|other| other.path == row.path).count(), 1, "{}", row.path);
            assert!(TABLE.iter().any(|other| other.path == row.label), "{}", row.label);
        }
        let endpoints = Endpoints::new(TABLE);
        let series = |path| endpoints.find(path).unwrap().1.unwrap();
        assert_eq!(series("/route/v1/models/"), series("/v1/models"));
        assert_eq!(endpoints.labels()[series("/health/liveliness")].path, "/health");
        assert!(endpoints.find("/v1/nothing").is_none());
    }
}
