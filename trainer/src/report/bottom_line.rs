//! The last sentence of a report: what changes for those who pay, and by how much, without a term of the field.

use super::text::{printable, usd_per_1k};
use crate::evaluate::{Figures, Judged, KeptPromise};
use routewright_policy::artifact::Saving;

/// One sentence for each calibrated policy, or else for the pick; empty where there is neither.
pub fn bottom_line(judged: &Judged) -> String {
    if !judged.promises.is_empty() {
        let sentences: Vec<String> = judged.promises.iter().map(of_promise).collect();
        return sentences.join("\n");
    }
    of_pick(judged).unwrap_or_default()
}

fn of_pick(judged: &Judged) -> Option<String> {
    let picked = judged.picked.as_ref()?;
    let best = judged.baselines.best_single.as_ref()?;
    let model = best.model.as_deref().map(printable)?;
    let [name] = distinct(&picked.methods)[..] else { return None };
    if name == "best-single" {
        return Some(format!(
            "In short: keep calling {model} for everything; nothing tried answers better, or as well for less, by more \
             than chance."
        ));
    }
    let Figures { vs_best_single, saving, saving_se, cost_usd, .. } = &picked.figures;
    let quality = vs_best_single.map(|d| quality(d.difference, d.standard_error));
    let prices = cost_usd.zip(best.figures.cost_usd).map_or_else(String::new, |(own, other)| {
        format!(" ({} instead of {} USD for 1,000 questions)", usd_per_1k(own), usd_per_1k(other))
    });
    let money = saving.map(|share| money(share, *saving_se) + &prices);
    Some(format!(
        "In short: with {} in place of {model} for everything {}.",
        printable(name),
        joined(money, quality)?
    ))
}

fn of_promise(kept: &KeptPromise) -> String {
    let KeptPromise { policy, promise, found, verdict, .. } = kept;
    let (policy, asked) = (printable(policy), &promise.goal);
    let (Some(Saving { against, saving, saving_se, difference, standard_error, .. }), Some(verdict)) =
        (found, verdict)
    else {
        return format!(
            "In short: whether {policy} keeps what it promises (asked to {asked}) cannot be told from this log."
        );
    };
    let (money, quality) = (money(*saving, Some(*saving_se)), quality(*difference, *standard_error));
    format!(
        "In short: with {policy} in place of {} for everything {money}, and {quality} (asked to {asked}: {verdict}).",
        printable(against)
    )
}

fn distinct(names: &[String]) -> Vec<&str> {
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.dedup();
    names
}

fn joined(money: Option<String>, quality: Option<String>) -> Option<String> {
    match (money, quality) {
        (Some(money), Some(quality)) => Some(format!("{money}, and {quality}")),
        (money, quality) => money.or(quality),
    }
}

/// What becomes of the bill.
fn money(share: f64, se: Option<f64>) -> String {
    let error = se.map_or_else(String::new, |se| format!(" ± {:.0}", 100.0 * se));
    let known = se.is_none_or(|se| share.abs() > 2.0 * se);
    match share {
        share if share >= 0.005 && known => format!("the bill falls by {:.0}{error} %", 100.0 * share),
        share if share <= -0.005 && known => format!("the bill rises by {:.0}{error} %", -100.0 * share),
        share => {
            // Minus zero is zero.
            let change = (-100.0 * share).round() + 0.0;
            format!("the bill stays about the same (change {change:+.0}{error} %)")
        }
    }
}

/// What becomes of the answers.
fn quality(difference: f64, se: f64) -> String {
    let figures = format!("{:.1} ± {:.1} points of 100", 100.0 * difference.abs(), 100.0 * se);
    match difference {
        d if d > 2.0 * se && d >= 0.0005 => format!("answers are better by {figures}"),
        d if d < -2.0 * se && d <= -0.0005 => format!("answers are worse by {figures}"),
        d => {
            let sign = if d < 0.0 { "-" } else { "+" };
            format!("answers are as good, as far as the log can tell ({sign}{figures})")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::fixtures::table;
    use crate::evaluate::{JudgeOptions, Judging, PairedDifference, Picked, QueryOutcomes};

    fn judged(method: &str, score: f64, saving: f64, se: f64) -> Judged {
        let outcomes = table(&["a", "a"], &[0.0, 1.0, 0.5, 0.5], &[0.1, 0.4, 0.1, 0.4]);
        let options = JudgeOptions::default();
        let mut judging = Judging::new("log", "test", Some(&outcomes), &outcomes, &options).unwrap();
        judging.pick(Picked {
            methods: vec![method.to_owned(); 2],
            reasons: Vec::new(),
            figures: Figures::default(),
            reads_source: false,
            runs: vec![QueryOutcomes::new(vec![1.0, 0.75], vec![0.4, 0.2])],
        });
        let mut judged = judging.finish();
        let figures = &mut judged.picked.as_mut().unwrap().figures;
        figures.vs_best_single =
            Some(PairedDifference { difference: score, standard_error: se, n_queries: 2 });
        (figures.saving, figures.saving_se) = (Some(saving), Some(se));
        judged
    }

    #[test]
    fn one_sentence_says_what_the_pick_does_to_bill_and_answers() {
        let text = bottom_line(&judged("knn", 0.002, 0.25, 0.01));
        assert_eq!(
            text,
            "In short: with knn in place of y for everything the bill falls by 25 ± 1 % (300 instead of 400 USD for \
             1,000 questions), and answers are as good, as far as the log can tell (+0.2 ± 1.0 points of 100)."
        );
        let text = bottom_line(&judged("knn", -0.05, -0.5, 0.01));
        assert!(
            text.contains("the bill rises by 50 ± 1 %") && text.contains("worse by 5.0 ± 1.0 points"),
            "{text}"
        );
        let text = bottom_line(&judged("knn", 0.05, 0.01, 0.01));
        assert!(text.contains("the bill stays about the same (change -1 ± 1 %)"), "{text}");
        assert!(text.contains("better by 5.0"), "{text}");
        let text = bottom_line(&judged("best-single", 0.0, 0.0, 0.01));
        assert!(text.starts_with("In short: keep calling y for everything"), "{text}");
    }

    #[test]
    fn a_promise_is_said_with_what_became_of_it() {
        let figures = |saving: f64| {
            serde_json::json!({"against": "gpt-4", "saving": saving, "saving_se": 0.02,
            "difference": -0.008, "standard_error": 0.005, "cost_usd": 0.003, "n_queries": 400})
        };
        let kept = |found| -> KeptPromise {
            let promise = serde_json::json!({"save": 0.4, "lambda": 2.0, "expected": figures(0.42), "average": "micro",
                "split": "train", "folds": 5});
            let verdict = if found { serde_json::json!("kept") } else { serde_json::Value::Null };
            let found = if found { figures(0.45) } else { serde_json::Value::Null };
            serde_json::from_value(serde_json::json!({"policy": "p", "promise": promise, "split": "test",
                "found": found, "verdict": verdict}))
            .unwrap()
        };
        let mut judged = judged("knn", 0.0, 0.0, 0.01);
        judged.promises = vec![kept(true)];
        assert_eq!(
            bottom_line(&judged),
            "In short: with p in place of gpt-4 for everything the bill falls by 45 ± 2 %, and answers are as good, as \
             far as the log can tell (-0.8 ± 0.5 points of 100) (asked to save 40 %: kept)."
        );
        judged.promises = vec![kept(false)];
        assert!(bottom_line(&judged).contains("cannot be told from this log"), "{}", bottom_line(&judged));
    }
}
