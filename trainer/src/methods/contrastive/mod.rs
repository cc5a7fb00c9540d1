//! Methods that learn a space in which a query lies near the arms that answer it well.

mod bert;
pub(super) mod routerdc;
