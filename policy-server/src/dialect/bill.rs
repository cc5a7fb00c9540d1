//! What tokens cost, in whole numbers: prices in pico-USD a token, bills in nano-USD, rounded up once.
//!
//! USD 2.50 a million tokens are 2,500,000 pico-USD a token; every list price of at most six decimals a million is
//! whole. A bill of 2^64 nano-USD is 18 billion USD; larger ones stay there.
//!
//! Multipliers of caches and tiers differ from model to model, so a [`Tariff`] has a price for each kind of token, and
//! a rule for what long inputs and other service tiers cost instead. The whole request pays the rate of its tier.
//!
//! ```
//! use routewright_policy_server::dialect::{bill::{Prices, Tariff, per_million}, usage::Usage};
//!
//! let prices = Prices::of(per_million("2.5")?, per_million("10")?).cache_read_in_percent(10);
//! let usage = Usage { uncached: 1000, read: 4000, output: 200, ..Usage::default() };
//! // 1000 at 2.5, 4000 at 0.25 and 200 at 10 USD a million are USD 0.0055.
//! assert_eq!(Tariff::flat(prices).bill(&usage), 5_500_000);
//! # Ok::<(), routewright_policy_server::dialect::bill::PriceError>(())
//! ```

use super::usage::Usage;
use std::fmt;

/// Pico-USD that make one nano-USD.
const PICO_IN_NANO: u128 = 1000;

/// A price that cannot be one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceError {
    /// What was given.
    pub given: String,
}

impl fmt::Display for PriceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a price of `{}` USD a million tokens cannot be read; a number from 0 to 1000000 with at most six decimals \
             is accepted",
            self.given
        )
    }
}

impl std::error::Error for PriceError {}

/// A list price in USD a million tokens as pico-USD a token, exactly. For a float, its shortest decimal
/// (`price.to_string()`) is meant.
///
/// # Errors
/// If it is no decimal number from 0 to 1,000,000 with at most six decimals.
pub fn per_million(price: &str) -> Result<u64, PriceError> {
    let refused = || PriceError { given: price.chars().take(40).collect() };
    let (whole, decimals) = price.split_once('.').unwrap_or((price, ""));
    let is_number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    let decimals = decimals.trim_end_matches('0');
    if whole.is_empty() || whole.len() > 7 || decimals.len() > 6 || !is_number(whole) || !is_number(decimals)
    {
        return Err(refused());
    }
    let pico: u64 = format!("{whole}{decimals:0<6}").parse().map_err(|_| refused())?;
    if pico > 1_000_000_000_000 { Err(refused()) } else { Ok(pico) }
}

/// Prices in pico-USD a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Prices {
    /// Input that no cache had.
    pub uncached: u64,
    /// Input read from a cache.
    pub read: u64,
    /// Input written to a cache for minutes.
    pub write_5m: u64,
    /// Input written to a cache for an hour or longer.
    pub write_1h: u64,
    /// Output.
    pub output: u64,
    /// A request of the server's own tools, in nano-USD.
    pub tool_request: u64,
}

impl Prices {
    /// Prices of a server without a cache: what it reads and writes there costs what other input does.
    pub fn of(input: u64, output: u64) -> Self {
        Self { uncached: input, read: input, write_5m: input, write_1h: input, output, tool_request: 0 }
    }

    /// Input from a cache costs so many percent of other input, rounded up.
    #[must_use]
    pub fn cache_read_in_percent(mut self, percent: u64) -> Self {
        self.read = percent_of(self.uncached, percent);
        self
    }

    /// Input written to a cache costs so many percent of other input, rounded up: for minutes, and for an hour.
    #[must_use]
    pub fn cache_write_in_percent(mut self, minutes: u64, hour: u64) -> Self {
        self.write_5m = percent_of(self.uncached, minutes);
        self.write_1h = percent_of(self.uncached, hour);
        self
    }

    /// All prices at so many percent, rounded up.
    #[must_use]
    pub fn in_percent(self, percent: u64) -> Self {
        Self {
            uncached: percent_of(self.uncached, percent),
            read: percent_of(self.read, percent),
            write_5m: percent_of(self.write_5m, percent),
            write_1h: percent_of(self.write_1h, percent),
            output: percent_of(self.output, percent),
            tool_request: self.tool_request,
        }
    }

    /// Pico-USD of the tokens.
    fn of_tokens(&self, usage: &Usage) -> u128 {
        let parts = [
            (usage.uncached, self.uncached),
            (usage.read, self.read),
            (usage.write_5m, self.write_5m),
            (usage.write_1h, self.write_1h),
            (usage.output, self.output),
        ];
        let product = |(tokens, price): &(u64, u64)| u128::from(*tokens) * u128::from(*price);
        let tokens = parts.iter().map(product).fold(0_u128, u128::saturating_add);
        let requests = u128::from(usage.tool_requests) * u128::from(self.tool_request);
        tokens.saturating_add(requests.saturating_mul(PICO_IN_NANO))
    }
}

fn percent_of(price: u64, percent: u64) -> u64 {
    let product = u128::from(price) * u128::from(percent);
    u64::try_from(product.div_ceil(100)).unwrap_or(u64::MAX)
}

/// What a model costs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tariff {
    base: Prices,
    /// Inputs above so many tokens, in rising order, and what such requests cost.
    long: Vec<(u64, Prices)>,
    /// Service tiers by name, in percent of the price.
    tiers: Vec<(String, u64)>,
}

impl Tariff {
    /// The same prices for every request.
    pub fn flat(base: Prices) -> Self {
        Self { base, ..Self::default() }
    }

    /// Requests with more than `tokens` of input, cached ones included, cost this instead.
    #[must_use]
    pub fn above(mut self, tokens: u64, prices: Prices) -> Self {
        self.long.retain(|(other, _)| *other != tokens);
        self.long.push((tokens, prices));
        self.long.sort_by_key(|(tokens, _)| *tokens);
        self
    }

    /// Requests served in this tier cost so many percent, as the reply's tier says.
    #[must_use]
    pub fn tier(mut self, name: &str, percent: u64) -> Self {
        self.tiers.push((name.to_owned(), percent));
        self
    }

    /// Prices of a request with this input, in this tier.
    pub fn prices(&self, input: u64, tier: Option<&str>) -> Prices {
        let of_length =
            self.long.iter().rev().find(|(tokens, _)| input > *tokens).map_or(self.base, |(_, p)| *p);
        let percent = self.tiers.iter().rev().find(|(name, _)| Some(name.as_str()) == tier);
        percent.map_or(of_length, |(_, percent)| of_length.in_percent(*percent))
    }

    /// Nano-USD of a request, rounded up.
    pub fn bill(&self, usage: &Usage) -> u64 {
        let pico = self.prices(usage.input(), usage.tier.as_deref()).of_tokens(usage);
        u64::try_from(pico.div_ceil(PICO_IN_NANO)).unwrap_or(u64::MAX)
    }

    /// Nano-USD to reserve before a request: its input at the dearest way it may be counted, so many tokens of
    /// output. At least the bill of any usage within both, in tiers named here or at the base.
    pub fn reserve(&self, input: u64, output: u64) -> u64 {
        let dearest = |prices: Prices| {
            let each = prices.uncached.max(prices.read).max(prices.write_5m).max(prices.write_1h);
            Prices { uncached: each, ..prices }
        };
        let usage = Usage { uncached: input, output, ..Usage::default() };
        let lengths = self.long.iter().filter(|(tokens, _)| input > *tokens).map(|(_, prices)| *prices);
        let percent = self.tiers.iter().map(|(_, percent)| *percent).fold(100, u64::max);
        let bills =
            lengths.chain([self.base]).map(|prices| dearest(prices).in_percent(percent).of_tokens(&usage));
        let most = bills.max().unwrap_or_default();
        u64::try_from(most.div_ceil(PICO_IN_NANO)).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usd(price: &str) -> u64 {
        per_million(price).unwrap()
    }

    #[test]
    fn list_prices_are_exact() {
        let read = ["0", "2.5", "0.28", "0.000001", "15", "1000000", "0.1250000"].map(usd);
        assert_eq!(read, [0, 2_500_000, 280_000, 1, 15_000_000, 1_000_000_000_000, 125_000]);
        // A float is meant as its shortest decimal.
        assert_eq!(usd(&0.1_f64.to_string()), 100_000);
        for wrong in
            ["", "-1", ".5", "1e3", "1000000.1", "0.0000001", "NaN", "1,5", "99999999", "+1", "1.-5", " 1"]
        {
            let error = per_million(wrong).unwrap_err();
            assert!(error.to_string().contains(&format!("`{wrong}`")), "{error}");
        }
    }

    /// By hand: 3 USD, reads 0.30, writes 3.75 and 6.00, output 15 USD a million.
    #[test]
    fn a_bill_is_the_sum_of_its_parts() {
        let prices =
            Prices::of(usd("3"), usd("15")).cache_read_in_percent(10).cache_write_in_percent(125, 200);
        let usage = Usage {
            uncached: 100,
            read: 10_000,
            write_5m: 1000,
            write_1h: 500,
            output: 40,
            reasoning: 30,
            ..Usage::default()
        };
        // 0.0003 + 0.003 + 0.00375 + 0.003 + 0.0006 USD
        assert_eq!(Tariff::flat(prices).bill(&usage), 10_650_000);
        let searched = Usage { tool_requests: 2, ..usage };
        let prices = Prices { tool_request: 10_000_000, ..prices };
        assert_eq!(Tariff::flat(prices).bill(&searched), 30_650_000);
    }

    #[test]
    fn bills_are_rounded_up_once() {
        let tariff = Tariff::flat(Prices { uncached: 1, read: 1, output: 1, ..Prices::default() });
        let bill =
            |uncached, read, output| tariff.bill(&Usage { uncached, read, output, ..Usage::default() });
        assert_eq!(
            [bill(0, 0, 0), bill(1, 0, 0), bill(1, 1, 1), bill(1000, 0, 0), bill(1000, 0, 1)],
            [0, 1, 1, 1, 2]
        );
    }

    #[test]
    fn the_whole_request_pays_the_rate_of_its_length() {
        let tariff = Tariff::flat(Prices::of(usd("3"), usd("15")))
            .above(500_000, Prices::of(usd("9"), usd("9")))
            .above(200_000, Prices::of(usd("6"), usd("22.5")));
        let bill =
            |uncached, read, output| tariff.bill(&Usage { uncached, read, output, ..Usage::default() });
        assert_eq!(bill(200_000, 0, 1000), 600_000_000 + 15_000_000);
        assert_eq!(
            bill(1, 200_000, 1000),
            200_001 * 6000 + 22_500_000,
            "what a cache had counts for the length"
        );
        assert_eq!(bill(500_001, 0, 1), 500_001 * 9000 + 9000);
    }

    #[test]
    fn the_tier_that_was_used_is_billed() {
        let tariff = Tariff::flat(Prices::of(usd("1"), usd("2"))).tier("flex", 50).tier("priority", 175);
        let bill = |tier: Option<&str>| {
            tariff.bill(&Usage {
                uncached: 100,
                output: 10,
                tier: tier.map(str::to_owned),
                ..Usage::default()
            })
        };
        assert_eq!(
            [None, Some("default"), Some("flex"), Some("priority")].map(bill),
            [120_000, 120_000, 60_000, 210_000]
        );
    }

    #[test]
    fn a_reserve_is_at_least_the_bill_and_nothing_overflows() {
        let mut state = 7_u64;
        let mut next = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        for _ in 0..20_000 {
            let prices = |next: &mut dyn FnMut(u64) -> u64| Prices {
                uncached: next(9000),
                read: next(9000),
                write_5m: next(9000),
                write_1h: next(9000),
                output: next(9000),
                tool_request: 0,
            };
            let tariff =
                Tariff::flat(prices(&mut next)).above(next(400), prices(&mut next)).tier("t", next(300));
            let usage = Usage {
                uncached: next(300),
                read: next(300),
                write_5m: next(300),
                write_1h: next(300),
                output: next(300),
                tier: Some("t".to_owned()).filter(|_| next(2) == 0),
                ..Usage::default()
            };
            let (input, output) = (usage.input() + next(50), usage.output + next(50));
            assert!(tariff.reserve(input, output) >= tariff.bill(&usage), "{tariff:?} {usage:?}");
        }
        let most = u64::MAX / 8;
        let usage = Usage {
            uncached: most,
            read: most,
            write_5m: most,
            write_1h: most,
            output: most,
            tool_requests: most,
            ..Usage::default()
        };
        let tariff = Tariff::flat(Prices { tool_request: u64::MAX, ..Prices::of(u64::MAX, u64::MAX) });
        assert_eq!(tariff.bill(&usage), u64::MAX);
    }
}
