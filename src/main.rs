//! The one binary of routewright.

fn main() {}
