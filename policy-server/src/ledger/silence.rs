//! Windows that close: decisions of which a metric with a default was not reported get that value, in the log.
//!
//! A default is an event like any other, so that every consumer sees it once and in its place, on every server. Its
//! key is made of decision and metric: two servers that close the same window append one. A report that comes
//! later says that it replaces the default (`FeedbackRecord::replaces`), which the writer settles.

use crate::ledger::writer::Writer;
use crate::ledger::{Checkpoint, Entry, FeedbackRecord, Receipt, Store, StoreError};
use crate::settings::StoreConfig;

/// Decisions looked for at a time.
const PAGE: usize = 512;

/// Name of the checkpoint of a metric; its state is the time up to which windows are closed.
fn name(metric: &str) -> String {
    format!("defaults/{metric}")
}

/// Closes the windows that have passed at `now_ms`; returns how many defaults were appended.
///
/// Where a default is declared for the first time it begins with the decisions whose window is open.
///
/// # Errors
/// If the store refuses; what was appended until then stays, and is not appended again.
pub(super) fn close(
    store: &mut dyn Store,
    writer: &Writer,
    config: &StoreConfig,
    now_ms: i64,
) -> Result<u64, StoreError> {
    let mut appended = 0;
    let until = now_ms.saturating_sub(config.window_ms());
    for (metric, value) in config.metrics.iter().filter_map(|(name, metric)| Some((name, metric.default?))) {
        let known = store
            .checkpoint(&name(metric))?
            .and_then(|found| Some(i64::from_le_bytes(found.state.try_into().ok()?)));
        // A clock that was set back closes windows again: what is closed already is a duplicate.
        let mut from = known.unwrap_or(until).min(until);
        loop {
            let silent = store.silent(metric, from, until, PAGE)?;
            let Some(last) = silent.last().map(|decision| decision.at_ms) else { break };
            let n = silent.len();
            let default = |decision| Box::new(FeedbackRecord::silence(decision, metric, value, now_ms));
            let entries =
                silent.into_iter().map(|decision| Entry::Feedback(default(decision), config.window_ms()));
            let receipts =
                writer.append(entries.collect())?.blocking_recv().unwrap_or(Err(StoreError::Closed))?;
            let new = receipts.iter().filter(|receipt| matches!(receipt, Receipt::Accepted { .. })).count();
            appended += new as u64;
            if n < PAGE || new == 0 {
                break;
            }
            from = last;
        }
        if known != Some(until) {
            // It has seen all there is: it holds nothing back from expiry.
            let checkpoint =
                Checkpoint { high_water: i64::MAX.unsigned_abs(), state: until.to_le_bytes().to_vec() };
            let own = name(metric);
            let saved = writer.run(move |store| store.save_checkpoint(&own, &checkpoint))?;
            saved.blocking_recv().unwrap_or(Err(StoreError::Closed))?;
        }
    }
    Ok(appended)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::ledger::meter::StoreMeter;
    use crate::ledger::tests::{Dice, decision};
    use crate::ledger::{DecisionRecord, EventBody, Fold, Measure, Replaced, SqliteStore, Statistics};
    use std::sync::Arc;

    fn report(id: &str, source: &str, value: f64) -> Entry {
        let record = FeedbackRecord {
            key: format!("{id}/{source}"),
            decision_id: id.to_owned(),
            metric: Some("score".to_owned()),
            measure: Some(Measure::Value(value)),
            source: source.to_owned(),
            weight: 1.0,
            received_at_ms: 90_000,
            ..FeedbackRecord::default()
        };
        Entry::Feedback(Box::new(record), 1000)
    }

    /// On any store: each silent decision gets the default once, whoever closes its window how often, and one
    /// report replaces it.
    pub(in crate::ledger) fn silence_is_given_once(open: &dyn Fn() -> Box<dyn Store>) {
        let mut config = StoreConfig { reward_window_ms: 1000, ..StoreConfig::at("unused") };
        config.metrics.get_mut("score").unwrap().default = Some(0.25);
        let writer = || Writer::start(open(), Arc::new(StoreMeter::new(&config)), 100_000, 64).unwrap();
        let (one, other, mut store) = (writer(), writer(), open());
        // Nobody is told that a decision of before the declaration was silent.
        assert_eq!(close(&mut *store, &one, &config, 11_000).unwrap(), 0);
        let plain = |id: usize| DecisionRecord {
            deferred: id == 3,
            tenant: (id == 1).then(|| "me".to_owned()),
            policy: "p".to_owned(),
            model: "small".to_owned(),
            ..decision(id, &mut Dice(1))
        };
        let decisions: Vec<Entry> = (0..600).map(|id| Entry::Decision(Box::new(plain(id)))).collect();
        store.append(&decisions).unwrap();
        store.append(&[report("d2", "user", 1.0)]).unwrap();
        // The windows of d0 to d4 are over; d2 was reported, d3 not acted upon.
        assert_eq!(close(&mut *store, &one, &config, 11_005).unwrap(), 3);
        assert_eq!(close(&mut *store, &other, &config, 11_005).unwrap(), 0);
        // A clock that is set back, and one that runs ahead: more than a page.
        assert_eq!(close(&mut *store, &one, &config, 500).unwrap(), 0);
        assert_eq!(close(&mut *store, &one, &config, 11_003).unwrap(), 0);
        assert_eq!(close(&mut *store, &other, &config, 50_000).unwrap(), 595);
        assert_eq!(close(&mut *store, &one, &config, 50_000).unwrap(), 0);
        // d3 is acted upon long after its window: it counts from then.
        let act = FeedbackRecord {
            key: "act".to_owned(),
            decision_id: "d3".to_owned(),
            source: "user".to_owned(),
            activation: true,
            received_at_ms: 60_000,
            ..FeedbackRecord::default()
        };
        store.append(&[Entry::Feedback(Box::new(act), 1000)]).unwrap();
        assert_eq!(close(&mut *store, &one, &config, 60_999).unwrap(), 0, "its window is open");
        assert_eq!(close(&mut *store, &other, &config, 61_001).unwrap(), 1);
        assert_eq!(close(&mut *store, &one, &config, 61_001).unwrap(), 0);

        store.append(&[report("d0", "user", 1.0), report("d0", "judge", 0.5)]).unwrap();
        store.append(&[report("d0", "user", 1.0), report("d2", "judge", 1.0)]).unwrap();
        let events = store.read(0, 10_000).unwrap();
        let mut replaced = Vec::new();
        let mut seq = 0;
        for event in &events {
            let EventBody::Feedback(feedback, _) = &event.body else { continue };
            if feedback.is_default && feedback.decision_id == "d0" {
                seq = event.seq;
            }
            replaced.extend(feedback.replaces.map(|replaces| (feedback.key.clone(), replaces)));
        }
        assert_eq!(replaced, [("d0/user".to_owned(), Replaced { value: 0.25, seq })]);
        let mut fold = Fold::new("test", Statistics::default());
        fold.catch_up(&mut *store).unwrap();
        let score = fold.consumer.policies["p"]["small"].metrics["score"];
        // 598 defaults of 0.25, and the reports 1, 1, 0.5 and 1.
        assert_eq!(score.count, 602);
        assert!((score.mean().unwrap() - (598.0 * 0.25 + 3.5) / 602.0).abs() < 1e-9, "{score:?}");
        // The time up to which windows are closed holds nothing back.
        assert_eq!(store.expire(i64::MAX).unwrap(), 600);
    }

    #[test]
    fn silence_is_given_once_in_a_file() {
        let dir = tempfile::tempdir().unwrap();
        silence_is_given_once(&|| Box::new(SqliteStore::open(&dir.path().join("log.db")).unwrap()));
    }
}
