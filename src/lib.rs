//! routewright
