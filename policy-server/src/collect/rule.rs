//! Rules that score an answer: what is read out of its text, and what it is compared with.

use super::prompts::plain;
use routewright_data::answers::normalize::Normalizer;
use serde_json::Value;
use std::str::FromStr;

/// Steps of a pattern before it is given up: a text can make a pattern take for ever.
const STEPS_MAX: usize = 1_000_000;

/// A rule of scoring, by its name on the command line.
#[derive(Debug, Clone)]
pub(super) enum Rule {
    /// Equal forms: `exact`, `string`, `number`, `letter`, `boxed`, `json`, `json-value`.
    Form(&'static Normalizer),
    /// `regex`: the gold answer is a pattern that the text has. `regex:PATTERN`: its last match, or the first group of
    /// it, is the answer.
    Regex(Option<fancy_regex::Regex>),
    /// `code`: the last fenced block passes the tests of the gold answer.
    Code,
    /// `judge:MODEL`: a model of the table says so.
    Judge(String),
}

/// What a rule made of an answer.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Verdict {
    pub(super) score: Option<f32>,
    /// The short answer.
    pub(super) answer: Option<String>,
    /// Why there is no score.
    pub(super) why: Option<String>,
}

/// Rules whose answers have a form that is compared.
const FORMS: [&str; 6] = ["exact", "string", "number", "boxed", "json", "json-value"];
const NAMES: &str = "`exact`, `string`, `number`, `letter`, `boxed`, `json`, `json-value`, `regex`, `regex:PATTERN`, \
                     `code` or `judge:MODEL`";

impl FromStr for Rule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let pattern = |text: &str| {
            let built = fancy_regex::RegexBuilder::new(text).backtrack_limit(STEPS_MAX).build();
            built.map_err(|error| format!("`{text}` is no pattern: {error}"))
        };
        match text {
            "letter" | "option" => Ok(Self::Form(Normalizer::named("option")?)),
            "regex" => Ok(Self::Regex(None)),
            "code" => Ok(Self::Code),
            form if FORMS.contains(&form) => Ok(Self::Form(Normalizer::named(form)?)),
            other => match other.split_once(':') {
                Some(("regex", text)) if !text.is_empty() => Ok(Self::Regex(Some(pattern(text)?))),
                Some(("judge", model)) if !model.is_empty() => Ok(Self::Judge(model.to_owned())),
                _ => Err(format!("no rule of scoring `{other}`, expected {NAMES}")),
            },
        }
    }
}

impl Rule {
    /// Whether its answers are letters of options.
    pub(super) fn is_of_letters(&self) -> bool {
        matches!(self, Self::Form(form) if form.name == "option")
    }

    /// Refuses a gold answer that no answer could equal.
    ///
    /// # Errors
    /// If there is none, or it has not the form that the rule compares.
    pub(super) fn check_gold(&self, gold: Option<&Value>) -> Result<(), String> {
        if matches!(self, Self::Judge(_)) {
            return Ok(());
        }
        let gold = gold.ok_or("has no gold answer, which its rule compares with; expected `gold`")?;
        match self {
            Self::Form(form) => {
                let golds = golds(gold)?;
                match golds.iter().find(|gold| form.form(gold).is_none()) {
                    Some(gold) => Err(format!("has the gold answer `{gold}`, expected {}", form.title)),
                    None => Ok(()),
                }
            }
            Self::Regex(None) => golds(gold)?.iter().try_for_each(|text| {
                let built = fancy_regex::Regex::new(text);
                built
                    .map(drop)
                    .map_err(|error| format!("has the gold answer `{text}`, which is no pattern: {error}"))
            }),
            Self::Regex(Some(_)) => golds(gold).map(drop),
            Self::Code => super::code::Tests::read(gold).map(drop),
            Self::Judge(_) => Ok(()),
        }
    }

    /// Scores an answer by its text alone; `None` for `code` and `judge`, which need more.
    pub(super) fn score(&self, text: &str, gold: Option<&Value>) -> Option<Verdict> {
        let golds = gold.and_then(|gold| golds(gold).ok()).unwrap_or_default();
        match self {
            Self::Form(form) => Some(compared(form.form(text), &golds, form)),
            Self::Regex(None) => Some(matched(text, &golds)),
            Self::Regex(Some(pattern)) => Some(match last(pattern, text) {
                Ok(answer) => {
                    let form = Normalizer::named("string").ok()?;
                    compared(answer.and_then(|answer| form.form(&answer)), &golds, form)
                }
                Err(why) => Verdict { why: Some(why), ..Verdict::default() },
            }),
            Self::Code | Self::Judge(_) => None,
        }
    }
}

/// Right where the form of the answer is that of a gold answer.
fn compared(answer: Option<String>, golds: &[String], form: &Normalizer) -> Verdict {
    let is_right = answer.is_some() && golds.iter().any(|gold| form.form(gold) == answer);
    Verdict { score: Some(f32::from(u8::from(is_right))), answer, why: None }
}

/// Right where the text has one of the patterns; the match is the answer.
fn matched(text: &str, golds: &[String]) -> Verdict {
    for gold in golds {
        let pattern = fancy_regex::RegexBuilder::new(gold).backtrack_limit(STEPS_MAX).build();
        let found = pattern.map_err(|error| error.to_string()).and_then(|pattern| last(&pattern, text));
        match found {
            Ok(None) => {}
            Ok(answer) => return Verdict { score: Some(1.0), answer, why: None },
            Err(why) => return Verdict { why: Some(why), ..Verdict::default() },
        }
    }
    Verdict { score: Some(0.0), ..Verdict::default() }
}

/// The first group, or all, of the last match.
fn last(pattern: &fancy_regex::Regex, text: &str) -> Result<Option<String>, String> {
    let mut found = None;
    for captures in pattern.captures_iter(text) {
        let captures =
            captures.map_err(|error| format!("the pattern `{}` failed: {error}", pattern.as_str()))?;
        found = captures.get(1).or_else(|| captures.get(0)).map(|group| group.as_str().to_owned());
    }
    Ok(found)
}

/// The gold answers: one, or a list of which each is right.
fn golds(gold: &Value) -> Result<Vec<String>, String> {
    let refuse = || format!("has the gold answer `{gold}`, expected a text, a number, or a list of them");
    match gold {
        Value::Array(all) if !all.is_empty() => all.iter().map(|one| plain(one).ok_or_else(refuse)).collect(),
        one => plain(one).map(|one| vec![one]).ok_or_else(refuse),
    }
}

/// The gold answers as one text, for the log.
pub(super) fn shown(gold: &Value) -> String {
    plain(gold).unwrap_or_else(|| gold.to_string())
}

/// What a judge says: `score: 0.7`, `score: 7/10`, or the last `correct` or `incorrect` of its text. `None` where it
/// gives no verdict.
pub(super) fn verdict(text: &str) -> Option<f32> {
    let lower = text.to_lowercase();
    let is_word = |c: char| c.is_alphanumeric() || c == '\'';
    let words: Vec<&str> = lower.split(|c| !is_word(c)).filter(|word| !word.is_empty()).collect();
    if let [word] = words[..] {
        match word {
            "yes" => return Some(1.0),
            "no" => return Some(0.0),
            _ => {}
        }
    }
    let scored = ["score", "rating"].iter().filter_map(|cue| Some((lower.rfind(cue)?, cue.len()))).max();
    if let Some(score) = scored.and_then(|(at, length)| number_after(&lower[at + length..])) {
        return Some(score);
    }
    let at = words.iter().rposition(|word| matches!(*word, "correct" | "incorrect" | "right" | "wrong"))?;
    let is_denied = at > 0 && matches!(words[at - 1], "not" | "isn't" | "never");
    let is_good = matches!(words[at], "correct" | "right");
    Some(f32::from(u8::from(is_good != is_denied)))
}

/// A share that follows a cue: `: 0.7`, `** 7/10`, `= 1`.
fn number_after(text: &str) -> Option<f32> {
    let text = text.trim_start_matches([' ', ':', '=', '*', '`', '"', '\'']).trim_start_matches("is ");
    let number = |text: &str| -> Option<(f32, usize)> {
        let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
        let digits = text[..end].trim_end_matches('.');
        Some((digits.parse().ok()?, digits.len()))
    };
    let (value, end) = number(text)?;
    let rest = text[end..].trim_start();
    let most = match rest.strip_prefix('/').or_else(|| rest.strip_prefix("out of")) {
        Some(rest) => number(rest.trim_start())?.0,
        None => 1.0,
    };
    let share = value / most;
    (0.0..=1.0).contains(&share).then_some(share)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn score(rule: &str, text: &str, gold: Value) -> (Option<f32>, Option<String>) {
        let verdict = rule.parse::<Rule>().unwrap().score(text, Some(&gold)).unwrap();
        (verdict.score, verdict.answer)
    }

    #[test]
    fn forms_are_compared() {
        let right = |answer: &str| (Some(1.0), Some(answer.to_owned()));
        assert_eq!(score("number", "So 1,000 + 8 = 1008.", json!("#### 1008")), right("1008"));
        assert_eq!(score("number", "no idea", json!(5)), (Some(0.0), None));
        assert_eq!(score("letter", "The answer is B.", json!("B")), right("B"));
        assert_eq!(score("exact", " yes\n", json!(["no", "yes"])), right("yes"));
        assert_eq!(score("string", "\"Paris\".", json!("paris")), right("paris"));
        assert_eq!(score("exact", "", json!("x")), (Some(0.0), None), "an empty answer is wrong");
    }

    #[test]
    fn patterns_find_answers_and_are_given_up() {
        assert_eq!(score("regex", "it is colour", json!("colou?r")), (Some(1.0), Some("colour".into())));
        assert_eq!(
            score("regex:Answer: (\\w+)", "Answer: a\nAnswer: B", json!("b")),
            (Some(1.0), Some("b".into()))
        );
        let evil = "regex".parse::<Rule>().unwrap();
        let verdict = evil.score(&"a".repeat(60), Some(&json!("^(?=(a+)+$)(a|aa)+(?<!a)b\\1"))).unwrap();
        assert!(
            verdict.score.is_none() && verdict.why.is_some() || verdict.score == Some(0.0),
            "{verdict:?}"
        );
    }

    #[test]
    fn rules_that_cannot_score_are_refused() {
        for (rule, gold, says) in [
            ("number", json!("x"), "`x`"),
            ("regex", json!("("), "no pattern"),
            ("code", json!(3), "`3`"),
            ("exact", json!({}), "`{}`"),
        ] {
            let error = rule.parse::<Rule>().unwrap().check_gold(Some(&gold)).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
        for name in ["", "judge:", "regex:", "regex:(", "exat"] {
            assert!(name.parse::<Rule>().is_err(), "{name}");
        }
    }

    #[test]
    fn verdicts_are_read_and_prose_has_none() {
        for (text, expected) in [
            ("Correct", Some(1.0)),
            ("I think this is incorrect.", Some(0.0)),
            ("The answer is not correct", Some(0.0)),
            ("First it looked wrong, but it is correct.", Some(1.0)),
            ("**Score:** 7/10", Some(0.7)),
            ("score: 0.25", Some(0.25)),
            ("Rating = 4 out of 5", Some(0.8)),
            ("yes.", Some(1.0)),
            ("no", Some(0.0)),
            ("score: 12", None),
            ("What a lovely day, is it not?", None),
            ("", None),
        ] {
            assert_eq!(verdict(text), expected, "{text}");
        }
    }
}
