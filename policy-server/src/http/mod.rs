//! HTTP: from a connection to a handler and back. No other floor knows it.

pub(crate) mod answer;
pub(crate) mod body;
pub(crate) mod connections;
pub(crate) mod conversation;
pub(crate) mod decision;
pub(crate) mod descriptors;
pub(crate) mod document;
pub(crate) mod endpoint;
pub(crate) mod error;
pub(crate) mod extract;
pub(crate) mod fused;
pub(crate) mod guard;
pub(crate) mod handlers;
pub(crate) mod offload;
pub(crate) mod openapi;
pub(crate) mod origin;
pub(crate) mod parts;
pub(crate) mod question;
pub(crate) mod quota_headers;
pub(crate) mod rates;
pub(crate) mod reply;
pub(crate) mod routes;
pub(crate) mod session;
pub(crate) mod wire;
