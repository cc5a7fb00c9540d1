//! The registry on disk: what is allowed, what is refused, what a damaged file does.
