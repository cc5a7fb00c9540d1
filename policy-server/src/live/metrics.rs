//! What is measured of requests and policies: plain atomics, no lock on the path of a request.
//!
//! Labels are bounded: endpoints are those the metrics were made for, policies from the configuration, models from
//! the artifacts (beyond [`MODELS_MAX`] they clamp to `other`), outcomes and reasons from closed lists.

use crate::error::Code;
use crate::exposition::{Histogram, escape, family, line};
use crate::live::report::{DriftFigure, Report, Spend};
use routewright_policy::Reason;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Models of a policy that get a label of their own.
const MODELS_MAX: usize = 256;
const REASONS: [(Reason, &str); 5] = [
    (Reason::Selected, "selected"),
    (Reason::Objective, "objective"),
    (Reason::OnlyEligible, "only_eligible"),
    (Reason::DeadlineDefault, "deadline_default"),
    (Reason::NoTextDefault, "no_text_default"),
];
const N_OUTCOMES: usize = Code::ALL.len() + 1;

/// Name of a reason in labels, headers and replies.
pub(crate) fn reason_name(reason: Reason) -> &'static str {
    REASONS.iter().find(|(r, _)| *r == reason).map_or("selected", |(_, name)| name)
}

/// Part of a decision whose time is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Waiting for a worker.
    Queue,
    /// Text to features.
    Features,
    /// Features to predicted outcomes.
    Score,
    /// Constraints, selector, draw.
    Constraints,
    /// The request as a whole, reading and writing included.
    Total,
}

const STAGES: [(Stage, &str); 5] = [
    (Stage::Queue, "queue"),
    (Stage::Features, "features"),
    (Stage::Score, "score"),
    (Stage::Constraints, "constraints"),
    (Stage::Total, "total"),
];

/// Decisions for one model, by reason.
#[derive(Debug, Default)]
pub(crate) struct ModelCounter([AtomicU64; REASONS.len()]);

impl ModelCounter {
    /// Counts a decision.
    pub(crate) fn decided(&self, reason: Reason) {
        if let Some(at) = REASONS.iter().position(|(r, _)| *r == reason) {
            self.0[at].fetch_add(1, Relaxed);
        }
    }
}

/// An endpoint as the metrics know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EndpointLabel {
    pub(crate) path: &'static str,
    /// Whether its replies are decisions of a policy; such requests are shown from the start, as 0.
    pub(crate) decides: bool,
}

/// Requests for a path that no endpoint has.
const UNKNOWN: EndpointLabel = EndpointLabel { path: "unknown", decides: false };

/// Position of an endpoint among those the metrics were made for; `None` is any other path.
pub(crate) type Series = Option<usize>;

/// Requests by endpoint and outcome; the last row is that of unknown paths.
#[derive(Debug)]
struct Requests(Vec<[AtomicU64; N_OUTCOMES]>);

impl Requests {
    fn new(endpoints: &[EndpointLabel]) -> Self {
        let row = |_| std::array::from_fn(|_| AtomicU64::new(0));
        Self((0..=endpoints.len()).map(row).collect())
    }

    fn count(&self, series: Series, outcome: Option<Code>) {
        let at = outcome.and_then(|code| Code::ALL.iter().position(|c| *c == code)).map_or(0, |i| i + 1);
        if let Some(row) = series.and_then(|at| self.0.get(at)).or(self.0.last()) {
            row[at].fetch_add(1, Relaxed);
        }
    }

    fn write(
        &self,
        out: &mut String,
        endpoints: &[EndpointLabel],
        policy: &str,
        seeded: impl Fn(&EndpointLabel) -> bool,
    ) {
        for (endpoint, counts) in endpoints.iter().chain([&UNKNOWN]).zip(&self.0) {
            for (at, count) in counts.iter().enumerate() {
                let count = count.load(Relaxed);
                if count == 0 && (at > 0 || !seeded(endpoint)) {
                    continue;
                }
                let outcome = if at == 0 { "ok" } else { Code::ALL[at - 1].label() };
                let endpoint = endpoint.path;
                let labels = format!("endpoint=\"{endpoint}\",policy=\"{policy}\",outcome=\"{outcome}\"");
                line(out, &format!("routewright_requests_total{{{labels}}}"), count);
            }
        }
    }
}

/// Everything measured of one policy; survives reloads.
#[derive(Debug)]
pub(crate) struct PolicyMetrics {
    name: String,
    requests: Requests,
    stages: [Histogram; STAGES.len()],
    timeouts: AtomicU64,
    reloads: AtomicU64,
    reload_failures: AtomicU64,
    models: Mutex<BTreeMap<String, Arc<ModelCounter>>>,
    /// `(version, digest)` served now.
    info: Mutex<(String, String)>,
    /// What was learned while serving; `None` for a policy that does not learn.
    learned: Mutex<Option<Report>>,
}

impl PolicyMetrics {
    fn new(name: &str, endpoints: &[EndpointLabel]) -> Self {
        Self {
            name: name.to_owned(),
            requests: Requests::new(endpoints),
            stages: Default::default(),
            timeouts: AtomicU64::new(0),
            reloads: AtomicU64::new(0),
            reload_failures: AtomicU64::new(0),
            models: Mutex::default(),
            info: Mutex::default(),
            learned: Mutex::default(),
        }
    }

    /// Name of the policy, as in labels.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The counters of the given models, made where they are new; for the loader, not for requests.
    pub(crate) fn counters<'a>(&self, models: impl Iterator<Item = &'a str>) -> Vec<Arc<ModelCounter>> {
        let mut known = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        models
            .map(|model| {
                let full = known.len() >= MODELS_MAX && !known.contains_key(model);
                Arc::clone(known.entry(if full { "other" } else { model }.to_owned()).or_default())
            })
            .collect()
    }

    pub(crate) fn serving(&self, version: &str, digest: &str) {
        let mut info = self.info.lock().unwrap_or_else(PoisonError::into_inner);
        *info = (version.to_owned(), digest.to_owned());
    }

    pub(crate) fn stage(&self, stage: Stage, duration: Duration) {
        if let Some(at) = STAGES.iter().position(|(s, _)| *s == stage) {
            self.stages[at].observe(duration);
        }
    }

    pub(crate) fn timed_out(&self) {
        self.timeouts.fetch_add(1, Relaxed);
    }

    pub(crate) fn learned(&self, learned: Report) {
        *self.learned.lock().unwrap_or_else(PoisonError::into_inner) = Some(learned);
    }

    /// What it has learned while serving; `None` for a policy that does not learn.
    pub(crate) fn learning(&self) -> Option<Report> {
        self.learned.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn reloaded(&self, ok: bool) {
        if ok { &self.reloads } else { &self.reload_failures }.fetch_add(1, Relaxed);
    }

    /// Reloads that succeeded and that failed.
    pub(crate) fn reload_counts(&self) -> (u64, u64) {
        (self.reloads.load(Relaxed), self.reload_failures.load(Relaxed))
    }

    fn write_decisions(&self, out: &mut String) {
        let models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        for (model, counter) in models.iter() {
            for ((_, reason), count) in REASONS.iter().zip(&counter.0) {
                let (policy, model) = (&self.name, escape(model));
                let labels = format!("policy=\"{policy}\",model=\"{model}\",reason=\"{reason}\"");
                line(out, &format!("routewright_decisions_total{{{labels}}}"), count.load(Relaxed));
            }
        }
    }
}

/// Everything measured.
#[derive(Debug)]
pub(crate) struct Metrics {
    endpoints: Vec<EndpointLabel>,
    /// Requests that reached no policy.
    unrouted: Requests,
    policies: Mutex<BTreeMap<String, Arc<PolicyMetrics>>>,
}

#[cfg(test)]
impl Default for Metrics {
    /// Of a server without endpoints.
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl Metrics {
    pub(crate) fn new(endpoints: Vec<EndpointLabel>) -> Self {
        let unrouted = Requests::new(&endpoints);
        Self { endpoints, unrouted, policies: Mutex::default() }
    }

    /// What is measured of a policy, made where it is new.
    pub(crate) fn policy(&self, name: &str) -> Arc<PolicyMetrics> {
        let mut policies = self.policies.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || Arc::new(PolicyMetrics::new(name, &self.endpoints));
        Arc::clone(policies.entry(name.to_owned()).or_insert_with(make))
    }

    /// Counts a request; `policy` where it reached one.
    pub(crate) fn request(&self, series: Series, policy: Option<&PolicyMetrics>, outcome: Option<Code>) {
        policy.map_or(&self.unrouted, |policy| &policy.requests).count(series, outcome);
    }

    /// The exposition, in the order of the documentation.
    pub(crate) fn render(&self) -> String {
        let policies: Vec<_> = {
            let policies = self.policies.lock().unwrap_or_else(PoisonError::into_inner);
            policies.values().cloned().collect()
        };
        let mut out = String::with_capacity(4096);
        family(&mut out, "build_info", "gauge", "Version of the server; always 1.");
        let version = env!("CARGO_PKG_VERSION");
        line(&mut out, &format!("routewright_build_info{{version=\"{version}\"}}"), 1);
        family(&mut out, "requests_total", "counter", "Requests by endpoint, policy and outcome.");
        self.unrouted.write(&mut out, &self.endpoints, "none", |endpoint| !endpoint.decides);
        for policy in &policies {
            policy.requests.write(&mut out, &self.endpoints, &policy.name, |endpoint| endpoint.decides);
        }
        family(&mut out, "decisions_total", "counter", "Decisions by policy, chosen model and reason.");
        policies.iter().for_each(|policy| policy.write_decisions(&mut out));
        family(&mut out, "decision_duration_seconds", "histogram", "Time of a decision by stage.");
        for policy in &policies {
            for ((_, stage), histogram) in STAGES.iter().zip(&policy.stages) {
                let labels = format!("policy=\"{}\",stage=\"{stage}\"", policy.name);
                histogram.write(&mut out, "routewright_decision_duration_seconds", &labels);
            }
        }
        family(&mut out, "decision_timeouts_total", "counter", "Decisions the default arm answered.");
        for policy in &policies {
            let labels = format!("{{policy=\"{}\"}}", policy.name);
            let count = policy.timeouts.load(Relaxed);
            line(&mut out, &format!("routewright_decision_timeouts_total{labels}"), count);
        }
        write_policies(&mut out, &policies);
        write_learned(&mut out, &policies);
        out
    }
}

fn write_policies(out: &mut String, policies: &[Arc<PolicyMetrics>]) {
    family(out, "policy_info", "gauge", "Policy version served; always 1.");
    for policy in policies {
        let info = policy.info.lock().unwrap_or_else(PoisonError::into_inner);
        let (version, digest) = &*info;
        let labels = format!("policy=\"{}\",version=\"{version}\",digest=\"{digest}\"", policy.name);
        line(out, &format!("routewright_policy_info{{{labels}}}"), 1);
    }
    family(out, "policy_reload_total", "counter", "New artifacts taken into service or refused.");
    for policy in policies {
        let (ok, failed) = policy.reload_counts();
        for (result, count) in [("ok", ok), ("failed", failed)] {
            let labels = format!("policy=\"{}\",result=\"{result}\"", policy.name);
            line(out, &format!("routewright_policy_reload_total{{{labels}}}"), count);
        }
    }
}

fn write_learned(out: &mut String, policies: &[Arc<PolicyMetrics>]) {
    let learned = |policy: &Arc<PolicyMetrics>| Some((policy.name.clone(), policy.learning()?));
    let learned: Vec<(String, Report)> = policies.iter().filter_map(learned).collect();
    if learned.is_empty() {
        return;
    }
    let mut gauge = |name: &str, help: &str, value: &dyn Fn(&Report) -> Option<f64>| {
        family(out, name, "gauge", help);
        for (policy, learned) in &learned {
            if let Some(value) = value(learned) {
                line(out, &format!("routewright_{name}{{policy=\"{policy}\"}}"), value);
            }
        }
    };
    gauge("learning_updates", "Rewards the policy has learned from.", &|l| Some(l.updates as f64));
    gauge("learning_refused", "Outcomes that could not be learned from.", &|l| Some(l.refused as f64));
    gauge("learning_decisions", "Decisions the learner has seen.", &|l| Some(l.decisions as f64));
    gauge("spend_lambda", "Score given up for a US dollar to keep spend at its target.", &|l| {
        Some(l.spend.lambda)
    });
    gauge("spend_mean_usd", "Mean price of a call, US dollars.", &|l| l.spend.mean_usd);
    gauge("spend_day_usd", "Spent today (UTC), US dollars.", &|l| l.spend.day_usd);
    gauge("drift_epsilon", "Share of calls made at random since the last alarm.", &|l| {
        (!l.drift.is_empty()).then_some(l.epsilon)
    });
    let labels = |policy: &str, label: &str, value: &str| {
        format!("{{policy=\"{policy}\",{label}=\"{}\"}}", escape(value))
    };
    let mut gauge = |name: &str, help: &str, label: &str, values: &dyn Fn(&Report) -> Vec<(String, f64)>| {
        family(out, name, "gauge", help);
        for (policy, learned) in &learned {
            for (of, value) in values(learned).into_iter().take(MODELS_MAX) {
                line(out, &format!("routewright_{name}{}", labels(policy, label, &of)), value);
            }
        }
    };
    let keys = |l: &Report, value: &dyn Fn(&Spend) -> Option<f64>| -> Vec<(String, f64)> {
        l.keys.iter().filter_map(|(key, spend)| Some((key.clone(), value(spend)?))).collect()
    };
    gauge("key_spend_lambda", "Score the requests of a key give up for a US dollar besides.", "key", &|l| {
        keys(l, &|spend| Some(spend.lambda))
    });
    gauge("key_spend_mean_usd", "Mean price of a call of a key, US dollars.", "key", &|l| {
        keys(l, &|spend| spend.mean_usd)
    });
    gauge("key_spend_day_usd", "Spent today (UTC) by a key, US dollars.", "key", &|l| {
        keys(l, &|spend| spend.day_usd)
    });
    let drift = |l: &Report, value: &dyn Fn(&DriftFigure) -> f64| -> Vec<(String, f64)> {
        l.drift.iter().map(|figure| (figure.kind.name().to_owned(), value(figure))).collect()
    };
    gauge("drift_alarms", "Changes that were seen, by kind.", "kind", &|l| drift(l, &|f| f.alarms as f64));
    gauge("drift_z", "Distance of what was seen last, standard errors.", "kind", &|l| drift(l, &|f| f.z));
    gauge("reporter_trust", "How far a reporter is believed.", "reporter", &|l| {
        l.reporters.iter().map(|told| (told.reporter.clone(), told.trust)).collect()
    });
    gauge("reporter_withheld", "Weight of its reports that was left out.", "reporter", &|l| {
        l.reporters.iter().map(|told| (told.reporter.clone(), told.withheld)).collect()
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_beyond_the_cap_clamp_to_other() {
        let metrics = PolicyMetrics::new("p", &[]);
        let names: Vec<String> = (0..MODELS_MAX + 5).map(|i| format!("m{i}")).collect();
        let counters = metrics.counters(names.iter().map(String::as_str));
        counters[MODELS_MAX + 1].decided(Reason::Selected);
        counters[MODELS_MAX + 4].decided(Reason::Selected);
        let mut out = String::new();
        metrics.write_decisions(&mut out);
        assert!(out.contains("model=\"other\",reason=\"selected\"} 2"), "{out}");
        assert_eq!(out.matches("reason=\"selected\"").count(), MODELS_MAX + 1);
    }

    #[test]
    fn every_reason_has_the_name_it_is_stored_under() {
        for (reason, name) in REASONS {
            assert_eq!(serde_json::to_value(reason).unwrap(), name);
        }
    }
}
