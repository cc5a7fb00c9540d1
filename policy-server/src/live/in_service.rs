//! Every policy in service. The whole is swapped at once, through one door: a request sees one version of every policy.

use crate::error::{ApiError, Code};
use crate::live::served::{Served, VERSION_DIGITS};
use crate::live::slot::Challengers;
use crate::serve_error::ServeError;
use arc_swap::{ArcSwap, Guard};
use routewright_data::suggest::near_names;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Every policy in service.
#[derive(Debug, Clone)]
pub(crate) struct Live {
    pub(crate) policies: BTreeMap<String, Arc<Served>>,
    /// Canary and shadows beside the policy of a name, where a registry names any.
    pub(crate) challengers: BTreeMap<String, Arc<Challengers>>,
    /// Policy of requests that name none.
    pub(crate) default: Option<String>,
}

/// What is in service now.
#[derive(Debug)]
pub(crate) struct InService {
    current: ArcSwap<Live>,
    /// Held from reading what is in service to storing what follows it, so that no swap undoes another.
    swapping: Mutex<()>,
}

impl InService {
    pub(crate) fn new(live: Live) -> Self {
        Self { current: ArcSwap::from_pointee(live), swapping: Mutex::new(()) }
    }

    /// What is in service, for a short look.
    pub(crate) fn load(&self) -> Guard<Arc<Live>> {
        self.current.load()
    }

    /// What is in service, to be kept for the length of a request.
    pub(crate) fn snapshot(&self) -> Arc<Live> {
        self.current.load_full()
    }

    /// The one door: `change` gets a copy of what is in service, which replaces it unless `None` is returned.
    pub(crate) fn swap<T>(&self, change: impl FnOnce(&mut Live) -> Option<T>) -> Option<T> {
        // A change that panicked has stored nothing.
        let _one_at_a_time = self.swapping.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = Live::clone(&self.current.load());
        let done = change(&mut next)?;
        self.current.store(Arc::new(next));
        Some(done)
    }
}

impl Live {
    /// The policies given, by name.
    ///
    /// # Errors
    /// If two have one name, or `default` names none of them.
    pub(crate) fn of(
        served: Vec<Arc<Served>>,
        challengers: BTreeMap<String, Arc<Challengers>>,
        default: Option<&String>,
    ) -> Result<Self, ServeError> {
        let mut policies = BTreeMap::new();
        for served in served {
            served.announce();
            if let Some(double) = policies.insert(served.name.clone(), served) {
                return Err(ServeError::DoubleName { name: double.name.clone() });
            }
        }
        let default = match (default, policies.len()) {
            (Some(name), _) if !policies.contains_key(name) => {
                let hint = near_names(name, policies.keys().map(String::as_str));
                return Err(ServeError::DefaultPolicy { name: name.clone(), hint });
            }
            (Some(name), _) => Some(name.clone()),
            (None, 1) => policies.keys().next().cloned(),
            (None, _) => None,
        };
        Ok(Self { policies, challengers, default })
    }

    /// The policy of a request: by name, by `name@version`, or the default one.
    ///
    /// # Errors
    /// If there is none of that name or version, or none was named and there is no default.
    pub(crate) fn find(&self, wanted: Option<&str>) -> Result<&Arc<Served>, ApiError> {
        let known = || self.policies.keys().map(String::as_str);
        let Some(wanted) = wanted.or(self.default.as_deref()) else {
            let names = near_names("", known());
            let message = format!("`policy` is missing and the server has no default policy; {names}");
            return Err(ApiError::new(Code::InvalidRequest, message).param("policy"));
        };
        let (name, version) = wanted.split_once('@').map_or((wanted, None), |(n, v)| (n, Some(v)));
        let not_found = |message| ApiError::new(Code::ModelNotFound, message).param("policy");
        let Some(served) = self.policies.get(name) else {
            return Err(not_found(format!("unknown policy `{name}`; {}", near_names(name, known()))));
        };
        // What was learned since is not part of the pin: it cannot be called back.
        let pinned = version.map(|v| v.split_once('+').map_or(v, |(digest, _)| digest));
        match pinned.filter(|v| v.len() < VERSION_DIGITS || !served.policy.digest.starts_with(v)) {
            Some(other) => {
                let current = &served.version;
                Err(not_found(format!("policy `{name}` has version `{current}`, not `{other}`")))
            }
            None => Ok(served),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::metrics::Metrics;
    use crate::settings::PolicyEntry;
    use crate::testing::policy;

    #[test]
    fn a_policy_is_found_by_name_by_version_and_by_default() {
        let served = Arc::new(
            Served::new(&PolicyEntry::at("unused"), None, policy("p"), &Metrics::default()).unwrap(),
        );
        let pinned = format!("p@{}", served.version);
        let mut live = Live {
            policies: BTreeMap::from([("p".to_owned(), served)]),
            challengers: BTreeMap::new(),
            default: None,
        };
        assert!(live.find(Some("p")).is_ok() && live.find(Some(&pinned)).is_ok());
        assert_eq!(live.find(Some("p@000000000000")).unwrap_err().code, Code::ModelNotFound);
        assert_eq!(live.find(Some("p@")).unwrap_err().code, Code::ModelNotFound);
        assert_eq!(live.find(None).unwrap_err().code, Code::InvalidRequest);
        live.default = Some("p".to_owned());
        assert!(live.find(None).is_ok());
    }

    #[test]
    fn no_swap_undoes_another_and_one_that_is_given_up_changes_nothing() {
        let live =
            InService::new(Live { policies: BTreeMap::new(), challengers: BTreeMap::new(), default: None });
        let name = |n: usize| format!("p{n}");
        std::thread::scope(|scope| {
            for n in 0..8 {
                let live = &live;
                scope.spawn(move || {
                    let served =
                        Served::new(&PolicyEntry::at("unused"), None, policy("p"), &Metrics::default());
                    let served = Arc::new(served.unwrap());
                    live.swap(|next| next.policies.insert(name(n), served).is_none().then_some(())).unwrap();
                });
            }
        });
        assert_eq!(live.load().policies.len(), 8);
        let given_up: Option<()> = live.swap(|next| {
            next.policies.clear();
            None
        });
        assert!(given_up.is_none() && live.snapshot().policies.len() == 8);
    }
}
