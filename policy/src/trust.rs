//! How far each reporter is believed, and how much one may bring to an arm.
//!
//! **Learned.** A reporter who measures what the others measure says more where more is expected. Of every report the
//! reward said `r` and the reward expected before it `p` are kept as sums, and the trust is the slope of what was said
//! on what was expected, on `[0, 1]`:
//!
//! ```text
//! trust = clamp((k + S_pr) / (k + S_pp), 0, 1)        S_ab = sum (a - mean a)(b - mean b)
//! ```
//!
//! It is 1 for an honest reporter, 0 for one who answers the same whatever happens, and would be below 0 for one who
//! says the opposite. `k` ([`PRIOR`]) stands for agreement before there is any. Expectations are what all reports
//! together made them, so this holds where most of what is learned is honest.
//!
//! **Capped.** In a window of decisions a reporter brings at most `cap` of weight to one arm; the rest of what it says
//! is left out. Whatever it sends, an arm with `n` of other weight moves by at most `cap / (n + cap)` a window of a
//! mean, two windows' worth around the end of one.
//!
//! Both depend on the order of the reports, which is that of the log.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Agreement that is taken for granted, in sums of squares of expectations.
const PRIOR: f64 = 0.5;
/// What a report weighs in the trust once another one has come: those of a thousand reports ago count a third.
const MEMORY: f64 = 0.999;

/// Who is believed how far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrustSettings {
    /// Whether trust is learned from how far a reporter agrees with what is expected.
    pub learned: bool,
    /// Weight that one reporter may bring to one arm in a window; none for no limit.
    pub cap: Option<f64>,
    /// Decisions of a window.
    pub window: u64,
    /// Reporters who are neither capped nor weighed.
    pub trusted: Vec<String>,
}

impl Default for TrustSettings {
    fn default() -> Self {
        Self { learned: false, cap: None, window: 1000, trusted: Vec::new() }
    }
}

/// One report.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a> {
    /// Who says so.
    pub reporter: &'a str,
    /// The arm it is about.
    pub arm: usize,
    /// The reward said.
    pub reward: f64,
    /// The reward expected before it; anything not finite where none is.
    pub expected: f64,
    /// The weight declared for it.
    pub weight: f64,
    /// Decisions made so far.
    pub now: u64,
}

/// Sums of what was said and what was expected.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
struct Agreement {
    weight: f64,
    said: f64,
    expected: f64,
    product: f64,
    square: f64,
}

impl Agreement {
    fn add(&mut self, said: f64, expected: f64) {
        for (sum, value) in [
            (&mut self.weight, 1.0),
            (&mut self.said, said),
            (&mut self.expected, expected),
            (&mut self.product, said * expected),
            (&mut self.square, expected * expected),
        ] {
            *sum = *sum * MEMORY + value;
        }
    }

    fn trust(&self) -> f64 {
        let weight = self.weight.max(1.0);
        let together = self.product - self.said * self.expected / weight;
        let spread = (self.square - self.expected * self.expected / weight).max(0.0);
        ((PRIOR + together) / (PRIOR + spread)).clamp(0.0, 1.0)
    }
}

/// What is known of one reporter.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
struct Reporter {
    n_reports: u64,
    withheld: f64,
    agreement: Agreement,
    /// The window, and the weight brought to each arm in it.
    window: u64,
    brought: BTreeMap<usize, f64>,
}

/// A reporter, as shown to an operator.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reputation {
    /// Who.
    pub reporter: String,
    /// Reports so far.
    pub reports: u64,
    /// Trust learned, `[0, 1]`; 1 where none is.
    pub trust: f64,
    /// Weight of its reports that was left out.
    pub withheld: f64,
}

/// Every reporter.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Trust {
    settings: TrustSettings,
    reporters: BTreeMap<String, Reporter>,
}

impl Trust {
    /// Nobody has reported.
    pub fn new(settings: TrustSettings) -> Self {
        Self { settings, reporters: BTreeMap::new() }
    }

    /// Who is believed how far.
    pub fn settings(&self) -> &TrustSettings {
        &self.settings
    }

    /// The weight that a report counts with, at most the one declared; books it.
    pub fn weigh(&mut self, report: &Report<'_>) -> f64 {
        let Self { settings, reporters } = self;
        if !reporters.contains_key(report.reporter) {
            reporters.insert(report.reporter.to_owned(), Reporter::default());
        }
        let Some(reporter) = reporters.get_mut(report.reporter) else { return report.weight };
        reporter.n_reports += 1;
        if settings.trusted.iter().any(|trusted| trusted == report.reporter) {
            return report.weight;
        }
        let mut weight = report.weight;
        if settings.learned {
            // A report does not vouch for itself.
            weight *= reporter.agreement.trust();
            if report.expected.is_finite() {
                reporter.agreement.add(report.reward, report.expected);
            }
        }
        if let Some(cap) = settings.cap {
            let window = report.now / settings.window.max(1);
            if reporter.window != window {
                reporter.window = window;
                reporter.brought.clear();
            }
            let brought = reporter.brought.entry(report.arm).or_default();
            weight = weight.min((cap - *brought).max(0.0));
            *brought += weight;
        }
        reporter.withheld += report.weight - weight;
        weight
    }

    /// Every reporter, by name.
    pub fn reputations(&self) -> Vec<Reputation> {
        let learned = |name: &String| self.settings.learned && !self.settings.trusted.contains(name);
        let told = |(name, reporter): (&String, &Reporter)| Reputation {
            reporter: name.clone(),
            reports: reporter.n_reports,
            trust: if learned(name) { reporter.agreement.trust() } else { 1.0 },
            withheld: reporter.withheld,
        };
        self.reporters.iter().map(told).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt as _;
    use routewright_data::rng;

    fn report(reporter: &str, reward: f64, expected: f64, now: u64) -> Report<'_> {
        Report { reporter, arm: 0, reward, expected, weight: 1.0, now }
    }

    #[test]
    fn a_reporter_brings_at_most_its_cap_to_an_arm_in_a_window() {
        let settings = TrustSettings { cap: Some(2.5), window: 10, ..TrustSettings::default() };
        let mut trust = Trust::new(TrustSettings { trusted: vec!["judge".to_owned()], ..settings });
        let weights: Vec<f64> = (0..5).map(|now| trust.weigh(&report("user", 0.0, 0.5, now))).collect();
        assert_eq!(weights, [1.0, 1.0, 0.5, 0.0, 0.0]);
        assert_eq!(trust.weigh(&Report { arm: 1, ..report("user", 0.0, 0.5, 5) }), 1.0, "another arm");
        assert_eq!(trust.weigh(&report("agent", 0.0, 0.5, 5)), 1.0, "another reporter");
        let judged: f64 = (0..9).map(|now| trust.weigh(&report("judge", 0.0, 0.5, now))).sum();
        assert_eq!(judged, 9.0, "a trusted one has no cap");
        assert_eq!(trust.weigh(&report("user", 0.0, 0.5, 10)), 1.0, "the next window");
        let told = trust.reputations();
        let user = told.iter().find(|told| told.reporter == "user").unwrap();
        assert_eq!((user.reports, user.trust, user.withheld), (7, 1.0, 2.5));
    }

    #[test]
    fn the_honest_keep_their_trust_and_those_who_lie_or_say_nothing_lose_it() {
        let mut rng = rng::stream(5, "trust");
        let mut trust = Trust::new(TrustSettings { learned: true, ..TrustSettings::default() });
        for now in 0..2000 {
            let p: f64 = 0.2 + 0.6 * rng.random::<f64>();
            let outcome = f64::from(u8::from(rng.random_bool(p)));
            for (reporter, said) in [
                ("honest", outcome),
                ("liar", 1.0 - outcome),
                ("deaf", f64::from(u8::from(rng.random_bool(0.5)))),
            ] {
                trust.weigh(&report(reporter, said, p, now));
            }
        }
        let told: BTreeMap<String, f64> =
            trust.reputations().into_iter().map(|told| (told.reporter, told.trust)).collect();
        assert!(told["honest"] > 0.85 && told["liar"] == 0.0 && told["deaf"] < 0.15, "{told:?}");
        // It goes on after a restart.
        let kept: Trust = serde_json::from_str(&serde_json::to_string(&trust).unwrap()).unwrap();
        assert_eq!(kept, trust);
        // Expectations that say nothing of each other leave everybody as they are.
        let mut flat = Trust::new(TrustSettings { learned: true, ..TrustSettings::default() });
        let flats = (0..500).map(|now| flat.weigh(&report("user", (now % 2) as f64, 0.5, now)));
        assert!((flats.sum::<f64>() - 500.0).abs() < 1e-9);
        assert_eq!(flat.weigh(&report("user", 0.0, f64::NAN, 500)), 1.0);
    }
}
