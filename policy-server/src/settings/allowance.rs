//! What a key may use, as its record in the keys file says it.

use crate::caller::Allowance;
use crate::settings::keys::KeyRecord;
use routewright_data::suggest::near_names;
use std::collections::BTreeSet;
use std::time::Duration;

/// Most requests and tokens a minute that are believed.
const RATE_MAX: i64 = 1_000_000_000_000;
/// Largest budget, US dollars.
const BUDGET_MAX: u64 = 1_000_000_000;
/// Longest time that an answer is kept: a year.
const SECONDS_MAX: u64 = 31_536_000;
/// Nano-dollars in a dollar.
const NANO: u64 = 1_000_000_000;
/// Decimals of a nano-dollar.
const DECIMALS: usize = 9;

/// A value that is not accepted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Misfit {
    pub(super) field: &'static str,
    pub(super) value: String,
    /// What would be accepted.
    pub(super) expected: String,
}

/// What a key may use.
///
/// # Errors
/// If a value of its record is not accepted.
pub(super) fn of(record: &KeyRecord) -> Result<Allowance, Misfit> {
    let models = record.models.as_ref().map(|models| models.iter().cloned().collect::<BTreeSet<_>>());
    if models.as_ref().is_some_and(BTreeSet::is_empty) {
        let expected = "the names of models; without the field all of them may answer".to_owned();
        return Err(Misfit { field: "models", value: "[]".to_owned(), expected });
    }
    Ok(Allowance {
        id: record.id.as_str().into(),
        models,
        requests_per_minute: rate("requests_per_minute", record.requests_per_minute)?,
        tokens_per_minute: rate("tokens_per_minute", record.tokens_per_minute)?,
        budget_day: budget("budget_day_usd", record.budget_day_usd)?,
        budget_month: budget("budget_month_usd", record.budget_month_usd)?,
        cache: lifetime(record)?,
        cache_samples: record.cache_samples,
    })
}

fn lifetime(record: &KeyRecord) -> Result<Option<Duration>, Misfit> {
    let refuse = |field, value, expected: &str| Err(Misfit { field, value, expected: expected.to_owned() });
    match record.cache_seconds {
        None if record.cache_samples => refuse(
            "cache_samples",
            "true".to_owned(),
            "`cache_seconds` beside it: without them nothing is kept",
        ),
        None => Ok(None),
        Some(seconds) => match u64::try_from(seconds) {
            Ok(known) if (1..=SECONDS_MAX).contains(&known) => Ok(Some(Duration::from_secs(known))),
            _ => {
                let expected = "a whole number from 1 to 31536000; without the field nothing is kept";
                refuse("cache_seconds", seconds.to_string(), expected)
            }
        },
    }
}

fn rate(field: &'static str, given: Option<i64>) -> Result<Option<u64>, Misfit> {
    let Some(rate) = given else { return Ok(None) };
    match u64::try_from(rate) {
        Ok(known) if (1..=RATE_MAX).contains(&rate) => Ok(Some(known)),
        _ => {
            let expected =
                format!("a whole number from 1 to {RATE_MAX}; without the field there is no such limit");
            Err(Misfit { field, value: rate.to_string(), expected })
        }
    }
}

fn budget(field: &'static str, given: Option<f64>) -> Result<Option<u64>, Misfit> {
    let Some(usd) = given else { return Ok(None) };
    let expected = || format!("US dollars from 0 to {BUDGET_MAX} with at most {DECIMALS} decimals");
    nano_usd(&usd.to_string()).map(Some).ok_or_else(|| Misfit {
        field,
        value: usd.to_string(),
        expected: expected(),
    })
}

/// A decimal number of dollars as nano-dollars, exactly.
fn nano_usd(text: &str) -> Option<u64> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || whole.len() > 10 || decimals.len() > DECIMALS {
        return None;
    }
    if !is_number(whole) || !is_number(decimals) {
        return None;
    }
    let nano: u64 = format!("{whole}{decimals:0<DECIMALS$}").parse().ok()?;
    (nano <= BUDGET_MAX * NANO).then_some(nano)
}

/// Refuses a budget where there is no store to keep it in, and a model that there is not.
///
/// # Errors
/// If there is one.
pub(super) fn check(allowance: &Allowance, has_store: bool, models: &[String]) -> Result<(), Misfit> {
    let budgets = [("budget_day_usd", allowance.budget_day), ("budget_month_usd", allowance.budget_month)];
    let budget = budgets.iter().find_map(|(field, budget)| Some((*field, (*budget)?)));
    if let Some((field, nano)) = budget.filter(|_| !has_store) {
        let value = (nano as f64 / NANO as f64).to_string();
        let expected = "no budget, or a section [store] in server.toml that spending is kept in".to_owned();
        return Err(Misfit { field, value, expected });
    }
    match allowance.models.iter().flatten().find(|model| !models.contains(model)) {
        Some(unknown) => {
            let hint = near_names(unknown, models.iter().map(String::as_str));
            let expected = format!("the name of a section [models.NAME], or `fusion/NAME`; {hint}");
            Err(Misfit { field: "models", value: unknown.clone(), expected })
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_are_exact_and_what_is_none_is_refused() {
        let read = |usd: f64| budget("b", Some(usd)).map(Option::unwrap);
        for (usd, nano) in [
            (0.0, 0),
            (0.1, 100_000_000),
            (25.0, 25 * NANO),
            (0.000_000_001, 1),
            (123_456.789_012_345, 123_456_789_012_345),
            (1e9, BUDGET_MAX * NANO),
        ] {
            assert_eq!(read(usd), Ok(nano), "{usd}");
        }
        for wrong in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, -0.0, 1e-10, 1.5e9, 1e300] {
            let misfit = read(wrong).unwrap_err();
            assert_eq!((misfit.field, misfit.value), ("b", wrong.to_string()));
        }
        assert_eq!(budget("b", None), Ok(None));
    }

    #[test]
    fn rates_and_names_are_checked() {
        let record = |of: &dyn Fn(&mut KeyRecord)| {
            let mut record = KeyRecord { id: "k".into(), ..KeyRecord::default() };
            of(&mut record);
            super::of(&record)
        };
        for wrong in [0, -1, i64::MIN, RATE_MAX + 1, i64::MAX] {
            let misfit = record(&|record| record.tokens_per_minute = Some(wrong)).unwrap_err();
            assert_eq!((misfit.field, misfit.value), ("tokens_per_minute", wrong.to_string()));
        }
        assert_eq!(record(&|record| record.models = Some(Vec::new())).unwrap_err().field, "models");
        for wrong in [0, -1, i64::MAX] {
            let misfit = record(&|record| record.cache_seconds = Some(wrong)).unwrap_err();
            assert_eq!((misfit.field, misfit.value), ("cache_seconds", wrong.to_string()));
        }
        assert_eq!(record(&|record| record.cache_samples = true).unwrap_err().field, "cache_samples");
        let known = ["small".to_owned(), "large".to_owned()];
        let allowed = record(&|record| record.models = Some(vec!["smal".into()])).unwrap();
        let misfit = check(&allowed, true, &known).unwrap_err();
        assert!(misfit.value == "smal" && misfit.expected.contains("did you mean `small`"), "{misfit:?}");
        let allowed = record(&|record| record.models = Some(vec!["small".into()])).unwrap();
        assert_eq!(check(&allowed, false, &known), Ok(()));
        assert!(allowed.allows("small") && !allowed.allows("large"));
        let spending = record(&|record| record.budget_month_usd = Some(1.5)).unwrap();
        let misfit = check(&spending, false, &known).unwrap_err();
        assert_eq!((misfit.field, misfit.value.as_str()), ("budget_month_usd", "1.5"));
        assert_eq!(check(&spending, true, &known), Ok(()));
    }
}
