//! How numbers and foreign names are written.

use crate::evaluate::Judged;
use std::collections::BTreeSet;

/// Characters of a model name that are shown where space is short.
const SHORT_NAME_CHARS: usize = 26;

/// A score, share or AIQ: four decimals.
pub(super) fn score(value: f64) -> String {
    format!("{value:.4}")
}

/// A number with three significant digits and no exponent.
pub(super) fn three_digits(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return format!("{value}");
    }
    let decimals = (2 - value.abs().log10().floor() as i32).clamp(0, 12) as usize;
    format!("{value:.decimals$}")
}

/// Dollars a thousand queries, without a sign.
pub(super) fn usd_per_1k(cost_usd: f64) -> String {
    three_digits(cost_usd * 1000.0)
}

/// A share in percent, whole.
pub(super) fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// A number of things, in the singular where it is one.
pub(super) fn count(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

/// Score points, 100 to the score, with a sign.
pub(super) fn points(score: f64) -> String {
    format!("{:+.1}", 100.0 * score)
}

/// Labels of names that appear together: short where that keeps them apart, whole where two would look alike.
pub(super) struct ShortNames {
    shared: BTreeSet<String>,
}

impl ShortNames {
    pub(super) fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let names: BTreeSet<&str> = names.into_iter().collect();
        let mut seen = BTreeSet::new();
        let shared = names.into_iter().map(short_name).filter(|short| !seen.insert(short.clone())).collect();
        Self { shared }
    }

    /// The models of `judged`.
    pub(super) fn of_models(judged: &Judged) -> Self {
        Self::new(judged.singles.iter().map(|single| single.model.as_str()))
    }

    /// The policies of `judged`.
    pub(super) fn of_policies(judged: &Judged) -> Self {
        Self::new(judged.policies.iter().map(|policy| policy.name()))
    }

    pub(super) fn get(&self, name: &str) -> String {
        let short = short_name(name);
        if self.shared.contains(&short) { printable(name) } else { short }
    }
}

/// The last part of a model path such as `vendor/model`, cut to what a label can hold.
fn short_name(model: &str) -> String {
    let model = printable(model.rsplit('/').find(|part| !part.is_empty()).unwrap_or(model));
    if model.chars().count() <= SHORT_NAME_CHARS {
        return model;
    }
    let head: String = model.chars().take(SHORT_NAME_CHARS - 1).collect();
    format!("{head}…")
}

/// Text for a terminal: control characters, which could move the cursor or change colors, become `?`.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// Text for HTML, in an element or in a quoted attribute.
pub fn escape_html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() => out.push('?'),
            c => out.push(c),
        }
    }
    out
}

/// Text for a line or table cell of Markdown: no markup, no HTML, no line break.
pub fn escape_markdown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' | '!' => out.extend(['\\', c]),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_three_digits() {
        assert_eq!(three_digits(0.081_052), "0.0811");
        assert_eq!(three_digits(5.003), "5.00");
        assert_eq!(three_digits(1234.5), "1234");
        assert_eq!(three_digits(0.0), "0");
        assert_eq!((points(0.0123), points(-0.004)), ("+1.2".to_owned(), "-0.4".to_owned()));
        assert_eq!(
            (count(1, "query", "queries"), count(0, "query", "queries")),
            ("1 query".to_owned(), "0 queries".to_owned())
        );
    }

    #[test]
    fn foreign_names_cannot_leave_their_place() {
        assert_eq!(escape_html("<b a='1'>&\"\u{7}"), "&lt;b a=&#39;1&#39;&gt;&amp;&quot;?");
        assert_eq!(escape_markdown("a|b\n[x](y) <i>"), "a\\|b \\[x\\](y) &lt;i&gt;");
        assert_eq!(printable("\u{1b}[31mred"), "?[31mred");
        assert_eq!(short_name("meta/code-llama-instruct-34b-chat"), "code-llama-instruct-34b-c…");
        assert_eq!(short_name("vendor/"), "vendor");
    }

    #[test]
    fn names_that_would_look_alike_stay_whole() {
        let long = ["lab/code-llama-instruct-34b-chat-v1", "lab/code-llama-instruct-34b-chat-v2"];
        let names = ShortNames::new(["azure/gpt-4o", "openai/gpt-4o", "mistral/small", long[0], long[1]]);
        assert_eq!(names.get("azure/gpt-4o"), "azure/gpt-4o");
        assert_eq!(names.get("openai/gpt-4o"), "openai/gpt-4o");
        assert_eq!(names.get("mistral/small"), "small");
        assert_eq!(names.get(long[0]), long[0]);
        assert_eq!(ShortNames::new(["openai/gpt-4o", "openai/gpt-4o"]).get("openai/gpt-4o"), "gpt-4o");
    }
}
