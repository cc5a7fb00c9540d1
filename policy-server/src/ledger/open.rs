//! The kinds of stores there are.

#[cfg(feature = "postgres")]
use super::postgres::PostgresStore;
use super::sqlite::SqliteStore;
use super::store::{Store, StoreError};
use crate::settings::StoreConfig;

/// Opens the store that is configured, on a connection of its own.
///
/// # Errors
/// If it cannot be opened, or this build lacks what it is kept in.
pub fn open(config: &StoreConfig) -> Result<Box<dyn Store>, StoreError> {
    match &config.postgres_url {
        None => Ok(Box::new(SqliteStore::open(&config.path)?)),
        #[cfg(feature = "postgres")]
        Some(url) => Ok(Box::new(PostgresStore::open(url.clone())?)),
        #[cfg(not(feature = "postgres"))]
        Some(_) => Err(StoreError::Open {
            path: "postgres".to_owned(),
            reason: "this build does not have it; build with `--features postgres`".to_owned(),
        }),
    }
}
