//! Features of an answer's log-probabilities: how sure its model was of it.
//!
//! With `l_t` the log-probability of token `t`: their sum, mean, least value and quantiles (Chow-Sum, Chow-Average and
//! Chow-Quantile of arXiv 2404.10136, which learns a deferral rule from all of them); of the probabilities `p` of the
//! options of a multiple-choice query: the margin of the first over the second, the entropy in nats, and the
//! distance to uniform `||p - 1/k||` in the Euclidean norm.

use super::AnswerRow;

/// Levels of the quantiles a log keeps of the tokens of an answer.
pub const QUANTILE_LEVELS: [f64; 14] =
    [0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0];
/// Rounding that a sum of option probabilities may have.
const SUM_SLACK: f32 = 1e-3;

/// What is wrong with a list of a log, where something is.
pub(crate) type ListCheck = fn(&[f32]) -> Result<(), String>;

/// The list columns of answers, with what a list must be.
pub(crate) static LISTS: [(&str, ListCheck); 2] =
    [("logprob_quantiles", check_quantiles), ("option_probs", check_option_probs)];

fn check_quantiles(list: &[f32]) -> Result<(), String> {
    let n = QUANTILE_LEVELS.len();
    let expected = "expected finite numbers <= 0 that do not decrease, in nats";
    if list.len() != n {
        return Err(format!(
            "logprob_quantiles has {} numbers; expected {n}, see docs/formats.md",
            list.len()
        ));
    }
    if let Some(value) = list.iter().find(|value| !(value.is_finite() && **value <= 0.0)) {
        return Err(format!("logprob_quantiles has `{value}`, {expected}"));
    }
    match list.windows(2).find(|pair| pair[0] > pair[1]) {
        Some(pair) => Err(format!("logprob_quantiles has `{}` before `{}`, {expected}", pair[0], pair[1])),
        None => Ok(()),
    }
}

fn check_option_probs(list: &[f32]) -> Result<(), String> {
    if list.is_empty() {
        return Err("option_probs is empty; expected a probability an option, or null".to_owned());
    }
    if let Some(value) = list.iter().find(|value| !(0.0..=1.0).contains(*value)) {
        return Err(format!("option_probs has `{value}`; expected numbers in [0, 1]"));
    }
    let sum: f32 = list.iter().sum();
    if sum > 1.0 + SUM_SLACK {
        return Err(format!("option_probs sum to `{sum}`; expected at most 1"));
    }
    Ok(())
}

/// What a log keeps of the log-probabilities of the tokens of an answer, in nats.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TokenConfidence {
    /// Their mean.
    pub mean: f32,
    /// The least.
    pub min: f32,
    /// Their quantiles at [`QUANTILE_LEVELS`].
    pub quantiles: [f32; QUANTILE_LEVELS.len()],
}

impl TokenConfidence {
    /// Sums up the log-probabilities of tokens; `None` where there are none or one is not finite.
    pub fn of(logprobs: &[f32]) -> Option<Self> {
        if logprobs.is_empty() || logprobs.iter().any(|value| !value.is_finite()) {
            return None;
        }
        let mut sorted = logprobs.to_vec();
        sorted.sort_by(f32::total_cmp);
        let mean = sorted.iter().map(|&value| f64::from(value)).sum::<f64>() / sorted.len() as f64;
        Some(Self {
            mean: mean as f32,
            min: sorted[0],
            quantiles: QUANTILE_LEVELS.map(|level| quantile(&sorted, level)),
        })
    }
}

/// The quantile of sorted values at `level` in `[0, 1]`, interpolated linearly between neighbors; NaN of no values.
pub fn quantile(sorted: &[f32], level: f64) -> f32 {
    let Some(last) = sorted.len().checked_sub(1) else { return f32::NAN };
    let at = level.clamp(0.0, 1.0) * last as f64;
    let (low, high) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    (f64::from(low) + (f64::from(high) - f64::from(low)) * at.fract()) as f32
}

/// Greatest probability less the second, which is 0 where there is one option.
pub fn option_margin(probs: &[f32]) -> f32 {
    let (mut first, mut second) = (0.0_f32, 0.0_f32);
    for &p in probs {
        if p > first {
            (first, second) = (p, first);
        } else {
            second = second.max(p);
        }
    }
    first - second
}

/// Entropy in nats of probabilities, divided by their sum first; 0 where all are 0.
pub fn option_entropy(probs: &[f32]) -> f32 {
    let sum: f64 = probs.iter().map(|&p| f64::from(p)).sum();
    let shares = probs.iter().map(|&p| f64::from(p) / sum).filter(|share| *share > 0.0);
    // `0 -` rather than a sign in front: of one certain option it is 0, not -0.
    (0.0 - shares.map(|share| share * share.ln()).sum::<f64>()) as f32
}

/// Distance of probabilities to the uniform distribution: `sqrt(sum_i (p_i - 1/k)^2)`.
pub fn option_distance(probs: &[f32]) -> f32 {
    let uniform = 1.0 / probs.len().max(1) as f64;
    probs.iter().map(|&p| (f64::from(p) - uniform).powi(2)).sum::<f64>().sqrt() as f32
}

/// Number of [`features`].
pub const N_FEATURES: usize = 9 + QUANTILE_LEVELS.len();

/// Names of [`features`], in their order.
pub fn feature_names() -> Vec<String> {
    let mut names: Vec<String> = ["logprob_sum", "logprob_mean", "logprob_min"].map(str::to_owned).to_vec();
    names.extend(QUANTILE_LEVELS.map(|level| format!("logprob_q{level}")));
    names.extend(
        ["option_max", "option_margin", "option_entropy", "option_distance", "verifier_rate", "log_tokens"]
            .map(str::to_owned),
    );
    names
}

/// The features of an answer's confidence, NaN where the log does not have what one is made of.
///
/// `logprob_sum` is the mean times the billed tokens, `log_tokens` is `ln(1 + tokens)`.
pub fn features(row: &AnswerRow<'_>) -> [f32; N_FEATURES] {
    let known = |value: Option<f32>| value.unwrap_or(f32::NAN);
    let tokens = row.output_tokens.map(|n| n as f32);
    let mut out = [f32::NAN; N_FEATURES];
    out[0] = known(row.logprob_mean.zip(tokens).map(|(mean, n)| mean * n));
    out[1] = known(row.logprob_mean);
    out[2] = known(row.logprob_min);
    if let Some(quantiles) = row.logprob_quantiles {
        out[3..].iter_mut().zip(quantiles).take(QUANTILE_LEVELS.len()).for_each(|(out, q)| *out = *q);
    }
    let rest = 3 + QUANTILE_LEVELS.len();
    if let Some(probs) = row.option_probs {
        out[rest] = probs.iter().copied().fold(0.0, f32::max);
        out[rest + 1] = option_margin(probs);
        out[rest + 2] = option_entropy(probs);
        out[rest + 3] = option_distance(probs);
    }
    out[rest + 4] = known(row.verifier_rate);
    out[rest + 5] = known(tokens.map(f32::ln_1p));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: f32, b: f32) -> bool {
        (a - b).abs() < 1e-6
    }

    #[test]
    fn quantiles_are_those_of_numpy() {
        // numpy.quantile([-4, -3, -1, -0.5, 0], [0.0, 0.01, 0.1, 0.5, 0.9, 1.0]), linear.
        let sorted = [-4.0, -3.0, -1.0, -0.5, 0.0];
        let expected = [(0.0, -4.0), (0.01, -3.96), (0.1, -3.6), (0.5, -1.0), (0.9, -0.2), (1.0, 0.0)];
        for (level, value) in expected {
            assert!(near(quantile(&sorted, level), value), "{level}");
        }
        assert!(quantile(&[], 0.5).is_nan());
        let tokens = TokenConfidence::of(&[-1.0, -4.0, 0.0, -0.5, -3.0]).unwrap();
        assert!(near(tokens.mean, -1.7) && tokens.min == -4.0);
        assert!(near(tokens.quantiles[1], -3.96) && near(tokens.quantiles[12], -0.2));
        assert_eq!(TokenConfidence::of(&[]), None);
        assert_eq!(TokenConfidence::of(&[-1.0, f32::NEG_INFINITY]), None);
    }

    #[test]
    fn option_features_are_those_counted_by_hand() {
        let probs = [0.1, 0.7, 0.2];
        assert!(near(option_margin(&probs), 0.5));
        // -(0.1 ln 0.1 + 0.7 ln 0.7 + 0.2 ln 0.2)
        assert!(near(option_entropy(&probs), 0.801_818_55));
        // sqrt((0.1 - 1/3)^2 + (0.7 - 1/3)^2 + (0.2 - 1/3)^2)
        assert!(near(option_distance(&probs), 0.454_606_06));
        assert_eq!(
            (option_margin(&[0.5, 0.5]), option_entropy(&[1.0, 0.0]), option_distance(&[0.5, 0.5])),
            (0.0, 0.0, 0.0)
        );
    }

    #[test]
    fn features_have_a_name_each_and_are_nan_where_the_log_is_silent() {
        assert_eq!(feature_names().len(), N_FEATURES);
        assert!(features(&AnswerRow::default()).iter().all(|value| value.is_nan()));
        let quantiles: Vec<f32> = (0..14).map(|i| i as f32 - 14.0).collect();
        let row = AnswerRow {
            logprob_mean: Some(-0.5),
            logprob_quantiles: Some(&quantiles),
            option_probs: Some(&[0.75, 0.25]),
            output_tokens: Some(4),
            ..AnswerRow::default()
        };
        let of = |name: &str| features(&row)[feature_names().iter().position(|n| n == name).unwrap()];
        assert_eq!((of("logprob_sum"), of("logprob_mean")), (-2.0, -0.5));
        assert_eq!((of("logprob_q0"), of("logprob_q0.5"), of("logprob_q1")), (-14.0, -6.0, -1.0));
        assert_eq!((of("option_max"), of("option_margin")), (0.75, 0.5));
        assert!(near(of("log_tokens"), 5.0_f32.ln()));
        assert!(of("logprob_min").is_nan() && of("verifier_rate").is_nan());
    }

    #[test]
    fn lists_that_are_not_valid_say_why() {
        let ok: Vec<f32> = (0..14).map(|i| i as f32 - 14.0).collect();
        assert_eq!(check_quantiles(&ok), Ok(()));
        assert!(check_quantiles(&ok[1..]).unwrap_err().contains("has 13 numbers; expected 14"));
        let falling: Vec<f32> = ok.iter().rev().copied().collect();
        assert!(check_quantiles(&falling).unwrap_err().contains("`-1` before `-2`"));
        assert!(check_quantiles(&[0.5; 14]).unwrap_err().contains("`0.5`"));
        assert_eq!(check_option_probs(&[0.5, 0.5003]), Ok(()));
        for (list, part) in
            [(&[0.75, 0.5][..], "sum to `1.25`"), (&[-0.1], "`-0.1`"), (&[f32::NAN], "`NaN`"), (&[], "empty")]
        {
            assert!(check_option_probs(list).unwrap_err().contains(part), "{list:?}");
        }
    }
}
