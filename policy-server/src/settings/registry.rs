//! What `[policies.NAME]` says of a registry.

use crate::settings::StoreConfig;
use crate::settings::{ConfigError, PolicyEntry};
use routewright_data::suggest::near_names;

/// Metric where several are declared and none is named.
const METRIC: &str = "score";

/// Refuses what no type can.
///
/// # Errors
/// If a value is not accepted; the key is named.
pub(crate) fn check_entry(entry: &PolicyEntry, store: Option<&StoreConfig>) -> Result<(), ConfigError> {
    let name = entry.name.as_deref().unwrap_or_default();
    let refuse = |field: &str, value: &str, expected: String| {
        Err(ConfigError::Value { key: format!("policies.{name}.{field}"), value: value.to_owned(), expected })
    };
    let has_path = !entry.path.as_os_str().is_empty();
    if has_path == entry.registry.is_some() {
        let shown = entry.path.display().to_string();
        let expected =
            "the folder of an artifact, or else `registry`, the folder of a registry, and not both";
        return refuse("path", &shown, expected.to_owned());
    }
    let Some(metric) = &entry.canary_metric else {
        return match store.filter(|store| entry.registry.is_some() && self::metric(entry, store).is_none()) {
            Some(store) => {
                let names: Vec<&str> = store.metrics.keys().map(String::as_str).collect();
                refuse("canary_metric", "", format!("one of the metrics declared, {}", names.join(", ")))
            }
            None => Ok(()),
        };
    };
    let declared = store.into_iter().flat_map(|store| store.metrics.keys().map(String::as_str));
    if entry.registry.is_none() || !declared.clone().any(|known| known == metric) {
        let hint = near_names(metric, declared);
        return refuse(
            "canary_metric",
            metric,
            format!("a metric that is declared, with `registry`; {hint}"),
        );
    }
    Ok(())
}

/// The metric a canary is judged by; `None` where several are declared and none is named so.
pub(crate) fn metric<'a>(entry: &'a PolicyEntry, store: &'a StoreConfig) -> Option<&'a str> {
    if let Some(named) = &entry.canary_metric {
        return Some(named);
    }
    let mut names = store.metrics.keys().map(String::as_str);
    let first = names.next()?;
    if store.metrics.contains_key(METRIC) {
        return Some(METRIC);
    }
    names.next().is_none().then_some(first)
}
