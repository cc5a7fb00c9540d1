//! An endpoint as data: what guard, metrics, log and `/openapi.json` need to know of a route. Each handler file
//! declares its own; `routes` lists them.

use crate::dialect::Dialect;
use crate::error::Code;
use crate::http::parts::Parts;
use crate::http::wire::Body;
use crate::live::metrics::{EndpointLabel, Series};
use axum::routing::MethodRouter;

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

/// What a reply is, for limits, headers and counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A decision of a policy; it has headers of its own and counts per policy.
    Decision,
    /// An answer of a model; it has the time limit of its ensemble.
    Answer,
    /// Anything else.
    Plain,
}

/// One route.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Endpoint {
    /// In lower case.
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    /// Label in metrics and log: the path, or the one it is another name of.
    pub(crate) label: &'static str,
    pub(crate) access: Access,
    pub(crate) kind: Kind,
    /// API in whose shape its errors are.
    pub(crate) shape: Dialect,
    pub(crate) title: &'static str,
    /// Types of request and reply, where they are JSON.
    pub(crate) request: Option<Body>,
    pub(crate) reply: Option<Body>,
    /// Whether the request may have no body although it has a schema.
    pub(crate) body_is_optional: bool,
    /// Type of a line of the reply to many requests, one a line of NDJSON, where those are taken too.
    pub(crate) line: Option<Body>,
    /// What the status 202 means, where it is a reply beside 200.
    pub(crate) accepted: Option<&'static str>,
    /// Errors of this route beside those that access, kind and request bring with them.
    pub(crate) errors: &'static [Code],
    pub(crate) handler: fn() -> MethodRouter<Parts>,
}

impl Endpoint {
    /// A route for holders of a key that replies to a JSON body.
    pub(crate) const fn post(
        path: &'static str,
        title: &'static str,
        handler: fn() -> MethodRouter<Parts>,
    ) -> Self {
        Self { method: "post", ..Self::get(path, title, handler) }
    }

    /// A route for holders of a key that takes no body.
    pub(crate) const fn get(
        path: &'static str,
        title: &'static str,
        handler: fn() -> MethodRouter<Parts>,
    ) -> Self {
        Self {
            method: "get",
            path,
            label: path,
            access: Access::Key,
            kind: Kind::Plain,
            shape: Dialect::Chat,
            title,
            request: None,
            reply: None,
            body_is_optional: false,
            line: None,
            accepted: None,
            errors: &[],
            handler,
        }
    }

    /// The same under another path.
    pub(crate) const fn at(self, path: &'static str) -> Self {
        Self { path, ..self }
    }

    /// What its path begins with, where the rest names something.
    pub(crate) fn prefix(&self) -> Option<&'static str> {
        self.path.split_once("{*").map(|(prefix, _)| prefix)
    }

    /// Whether the route is that of a path, a slash behind which is ignored.
    pub(crate) fn is_of(&self, path: &str) -> bool {
        let named = |prefix: &str| path.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty());
        self.path == path.strip_suffix('/').unwrap_or(path) || self.prefix().is_some_and(named)
    }

    /// Whether a listener has the route.
    pub(crate) fn is_on(&self, admin: bool) -> bool {
        // The probes answer on both: an orchestrator may only see one of them.
        (self.access == Access::Admin) == admin || self.access == Access::Open
    }
}

/// Every route of a server, with the series each is counted under.
#[derive(Debug)]
pub(crate) struct Endpoints {
    pub(crate) rows: &'static [Endpoint],
    labels: Vec<EndpointLabel>,
    /// Position in `labels` of each row's label.
    series: Vec<usize>,
}

impl Endpoints {
    pub(crate) fn new(rows: &'static [Endpoint]) -> Self {
        let mut labels: Vec<EndpointLabel> = Vec::new();
        let mut series = Vec::with_capacity(rows.len());
        for row in rows {
            let known = labels.iter().position(|label| label.path == row.label);
            series.push(known.unwrap_or(labels.len()));
            if known.is_none() {
                labels.push(EndpointLabel { path: row.label, decides: row.kind == Kind::Decision });
            }
        }
        Self { rows, labels, series }
    }

    /// The labels there are, each once, in the order of the rows.
    pub(crate) fn labels(&self) -> Vec<EndpointLabel> {
        self.labels.clone()
    }

    /// The route of a path, whatever the method, and its series; a slash behind the path is ignored.
    pub(crate) fn find(&self, path: &str) -> Option<(&'static Endpoint, Series)> {
        let at = self.rows.iter().position(|row| row.is_of(path))?;
        Some((&self.rows[at], self.series.get(at).copied()))
    }
}
