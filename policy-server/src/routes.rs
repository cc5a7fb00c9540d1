//! The route table, and nothing else: path, method, listener, who may call, handler.
//!
//! The routers, the labels of the metrics, the list of open paths and `/openapi.json` all come from it.

use crate::handlers;
use crate::state::App;
use axum::Router;
use axum::routing::{MethodRouter, get, post};
use std::sync::Arc;

/// A row's name in code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Route,
    RouteBatch,
    RouteChat,
    RouteResponses,
    RouteMessages,
    Weights,
    Feedback,
    ChatCompletions,
    Completions,
    Models,
    Health,
    Ready,
    Metrics,
    Openapi,
    AdminPolicies,
    AdminReload,
    AdminStatistics,
    AdminRegistry,
    AdminPromote,
    AdminArms,
    AdminArmsChange,
    /// Figures of what was learned.
    AdminLearning,
    /// Any path that is not in the table.
    Unknown,
}

/// Who may call a route where keys are set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Everybody.
    Open,
    /// Holders of a key.
    Key,
    /// Holders of a key, or everybody where the configuration says so.
    KeyUnlessOpened,
    /// The admin listener's own rule.
    Admin,
}

/// One route.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    pub(crate) endpoint: Endpoint,
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) access: Access,
    pub(crate) title: &'static str,
    /// Names of the schemas of request and reply, where they are JSON.
    pub(crate) request: Option<&'static str>,
    pub(crate) reply: Option<&'static str>,
    handler: fn() -> MethodRouter<Arc<App>>,
}

const ROUTE: Row = Row {
    endpoint: Endpoint::Route,
    method: "post",
    path: "/v1/route",
    access: Access::Key,
    title: "Decide which model answers one query",
    request: Some("RouteRequest"),
    reply: Some("Decision"),
    handler: || post(handlers::route::handle),
};

const PROBE: Row = Row {
    endpoint: Endpoint::Health,
    method: "get",
    path: "/health",
    access: Access::Open,
    title: "Whether the process lives",
    request: None,
    reply: Some("Status"),
    handler: || get(handlers::health::handle),
};

/// Every route, in the order of the documentation.
pub(crate) const TABLE: [Row; 25] = [
    ROUTE,
    Row {
        endpoint: Endpoint::RouteBatch,
        path: "/v1/route/batch",
        title: "Decide many queries; each has its own result",
        request: Some("BatchRequest"),
        reply: Some("BatchReply"),
        handler: || post(handlers::route_batch::handle),
        ..ROUTE
    },
    Row {
        endpoint: Endpoint::RouteChat,
        path: "/route/v1/chat/completions",
        title: "Decide on a plain OpenAI chat body",
        request: Some("PlainChat"),
        handler: || post(handlers::route_plain::chat),
        ..ROUTE
    },
    Row {
        endpoint: Endpoint::RouteResponses,
        path: "/route/v1/responses",
        title: "Decide on a plain OpenAI responses body",
        request: Some("PlainResponses"),
        handler: || post(handlers::route_plain::responses),
        ..ROUTE
    },
    Row {
        endpoint: Endpoint::RouteMessages,
        path: "/route/v1/messages",
        title: "Decide on a plain Anthropic messages body",
        request: Some("PlainMessages"),
        handler: || post(handlers::route_plain::messages),
        ..ROUTE
    },
    Row {
        endpoint: Endpoint::Weights,
        path: "/v1/weights",
        title: "Weigh the members of an ensemble for what follows a state",
        request: Some("WeightsRequest"),
        reply: Some("Weights"),
        handler: || post(handlers::weights::handle),
        ..ROUTE
    },
    Row {
        endpoint: Endpoint::Feedback,
        path: "/v1/feedback",
        title: "Report what became of a decision; with NDJSON, of many",
        request: Some("FeedbackRequest"),
        reply: Some("FeedbackReply"),
        handler: || post(handlers::feedback::handle),
        ..ROUTE
    },
    Row {
        endpoint: Endpoint::ChatCompletions,
        path: "/v1/chat/completions",
        title: "Answer a chat with a fused model; streams where asked to",
        request: Some("ChatRequest"),
        reply: Some("ChatCompletion"),
        handler: || post(handlers::completions::chat),
        ..ROUTE
    },
    Row {
        endpoint: Endpoint::Completions,
        path: "/v1/completions",
        title: "Continue a prompt with a fused model; streams where asked to",
        request: Some("CompletionRequest"),
        reply: Some("Completion"),
        handler: || post(handlers::completions::text),
        ..ROUTE
    },
    Row {
        endpoint: Endpoint::Models,
        method: "get",
        path: "/v1/models",
        access: Access::Key,
        title: "Policies and arms, as models",
        request: None,
        reply: Some("ModelList"),
        handler: || get(handlers::models::handle),
    },
    Row {
        endpoint: Endpoint::Models,
        method: "get",
        path: "/route/v1/models",
        access: Access::Key,
        title: "Policies and arms, as models, for an SDK whose base URL is /route/v1",
        request: None,
        reply: Some("ModelList"),
        handler: || get(handlers::models::handle),
    },
    PROBE,
    Row { path: "/health/liveliness", ..PROBE },
    Row {
        endpoint: Endpoint::Ready,
        path: "/ready",
        title: "Whether requests are taken",
        handler: || get(handlers::ready::handle),
        ..PROBE
    },
    Row {
        endpoint: Endpoint::Ready,
        path: "/health/readiness",
        title: "Whether requests are taken",
        handler: || get(handlers::ready::handle),
        ..PROBE
    },
    Row {
        endpoint: Endpoint::Metrics,
        method: "get",
        path: "/metrics",
        access: Access::KeyUnlessOpened,
        title: "Prometheus text exposition",
        request: None,
        reply: None,
        handler: || get(handlers::metrics::handle),
    },
    Row {
        endpoint: Endpoint::Openapi,
        method: "get",
        path: "/openapi.json",
        access: Access::Key,
        title: "This document",
        request: None,
        reply: Some("Document"),
        handler: || get(handlers::openapi::handle),
    },
    Row {
        endpoint: Endpoint::AdminPolicies,
        method: "get",
        path: "/admin/v1/policies",
        access: Access::Admin,
        title: "Policies in service, with their versions and refusals",
        request: None,
        reply: Some("PolicyList"),
        handler: || get(handlers::admin_policies::handle),
    },
    Row {
        endpoint: Endpoint::AdminReload,
        method: "post",
        path: "/admin/v1/policies/reload",
        access: Access::Admin,
        title: "Take what is on disk into service",
        request: Some("ReloadRequest"),
        reply: Some("ReloadReply"),
        handler: || post(handlers::admin_reload::handle),
    },
    Row {
        endpoint: Endpoint::AdminStatistics,
        method: "get",
        path: "/admin/v1/statistics",
        access: Access::Admin,
        title: "What the log says of each policy and model",
        request: None,
        reply: Some("StatisticsReply"),
        handler: || get(handlers::admin_statistics::handle),
    },
    Row {
        endpoint: Endpoint::AdminRegistry,
        method: "get",
        path: "/admin/v1/registry",
        access: Access::Admin,
        title: "Versions in each slot: active, canary, shadows, candidates, retired",
        request: None,
        reply: Some("RegistryReply"),
        handler: || get(handlers::admin_registry::handle),
    },
    Row {
        endpoint: Endpoint::AdminPromote,
        method: "post",
        path: "/admin/v1/promote",
        access: Access::Admin,
        title: "Give a version another state, or roll back",
        request: Some("PromoteRequest"),
        reply: Some("RegistrySlot"),
        handler: || post(handlers::admin_promote::handle),
    },
    Row {
        endpoint: Endpoint::AdminArms,
        method: "get",
        path: "/admin/v1/arms",
        access: Access::Admin,
        title: "Arms of the policies that learn, with their prices",
        request: None,
        reply: Some("ArmsReply"),
        handler: || get(handlers::admin_arms::list),
    },
    Row {
        endpoint: Endpoint::AdminArmsChange,
        method: "post",
        path: "/admin/v1/arms/change",
        access: Access::Admin,
        title: "Add, remove or reprice arms of a policy that learns",
        request: Some("ChangeArmsRequest"),
        reply: Some("PolicyArms"),
        handler: || post(handlers::admin_arms::change),
    },
    Row {
        endpoint: Endpoint::AdminLearning,
        method: "get",
        path: "/admin/v1/learning",
        access: Access::Admin,
        title: "What policies learned, spend, whom they believe and what has changed",
        request: None,
        reply: Some("LearningReply"),
        handler: || get(handlers::admin_learning::handle),
    },
];

impl Endpoint {
    /// Every endpoint, in the order of the table.
    pub(crate) const ALL: [Self; 23] = [
        Self::Route,
        Self::RouteBatch,
        Self::RouteChat,
        Self::RouteResponses,
        Self::RouteMessages,
        Self::Weights,
        Self::Feedback,
        Self::ChatCompletions,
        Self::Completions,
        Self::Models,
        Self::Health,
        Self::Ready,
        Self::Metrics,
        Self::Openapi,
        Self::AdminPolicies,
        Self::AdminReload,
        Self::AdminStatistics,
        Self::AdminRegistry,
        Self::AdminPromote,
        Self::AdminArms,
        Self::AdminArmsChange,
        Self::AdminLearning,
        Self::Unknown,
    ];

    /// Position in [`Endpoint::ALL`].
    pub(crate) fn index(self) -> usize {
        self as usize
    }

    /// Label in metrics and log: the first path of the endpoint.
    pub(crate) fn label(self) -> &'static str {
        TABLE.iter().find(|row| row.endpoint == self).map_or("unknown", |row| row.path)
    }

    /// Whether a reply of it is an answer of a fused model.
    pub(crate) fn answers(self) -> bool {
        matches!(self, Self::ChatCompletions | Self::Completions)
    }

    /// Whether a reply of it is a decision of a policy.
    pub(crate) fn decides(self) -> bool {
        matches!(
            self,
            Self::Route | Self::RouteBatch | Self::RouteChat | Self::RouteResponses | Self::RouteMessages
        )
    }
}

/// The row of a path, whatever the method; a slash behind the path is passed over.
pub(crate) fn find(path: &str) -> Option<&'static Row> {
    const ROWS: &[Row] = &TABLE;
    let path = path.strip_suffix('/').unwrap_or(path);
    ROWS.iter().find(|row| row.path == path)
}

/// Whether a listener has a route.
pub(crate) fn is_on(row: &Row, admin: bool) -> bool {
    // The probes answer on both: an orchestrator may only see one of them.
    (row.access == Access::Admin) == admin || row.access == Access::Open
}

/// The routes of one listener, without the layers around them.
pub(crate) fn router(admin: bool) -> Router<Arc<App>> {
    let rows = TABLE.iter().filter(|row| is_on(row, admin));
    let router = rows.fold(Router::new(), |router, row| {
        let router = router.route(row.path, (row.handler)());
        router.route(&format!("{}/", row.path), (row.handler)())
    });
    router
        .fallback(move |uri| handlers::fallback::not_found(admin, uri))
        .method_not_allowed_fallback(handlers::fallback::method)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_endpoint_stands_at_its_index_and_every_path_once() {
        for (at, endpoint) in Endpoint::ALL.into_iter().enumerate() {
            assert_eq!(endpoint.index(), at, "{endpoint:?}");
        }
        for row in &TABLE {
            assert_eq!(TABLE.iter().filter(|other| other.path == row.path).count(), 1, "{}", row.path);
            assert!(Endpoint::ALL.contains(&row.endpoint));
        }
    }
}
