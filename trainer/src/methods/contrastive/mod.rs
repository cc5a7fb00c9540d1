//! Methods that learn a space in which a query lies near the arms that answer it well.

pub(super) mod routerdc;
