//! What follows from a table, in sentences a reader can act on without knowing a metric.

use super::text::{percent, points, printable, score};
use crate::evaluate::{Figures, Judged, PairedDifference, Picked, Reason, Rule};

/// Methods named that could not be told apart from the pick.
const NAMES_MAX: usize = 5;

/// Which method to take, why, and what it is worth on the rows judged; empty where nothing was picked.
pub fn verdict(judged: &Judged) -> String {
    let Some(picked) = &judged.picked else { return String::new() };
    let Some(reason) = picked.reasons.first() else { return String::new() };
    let model = judged.baselines.best_single.as_ref().and_then(|best| best.model.as_deref());
    let always =
        format!("always calling {}", model.map_or_else(|| "the best single model".to_owned(), printable));
    let mut names = picked.methods.clone();
    names.dedup();
    let mut sentences = vec![if names.len() > 1 {
        format!("The pick depends on the seed: {}.", printable(&picked.methods.join(", ")))
    } else {
        why(&names[0], reason, &always)
    }];
    sentences.extend(worth(picked, &judged.split, &always));
    if judged.oracle_aiq.is_some() {
        sentences
            .push("To spend less at a stated loss, train with --save 40% or --max-loss 0.01.".to_owned());
    }
    if picked.reads_source {
        sentences.push("It reads the source of a query, which each request must name.".to_owned());
    }
    sentences.join(" ")
}

/// The rule that picked, with its figures on train.
fn why(name: &str, reason: &Reason, always: &str) -> String {
    let gain = reason.vs_best_single.map_or_else(|| "0 points".to_owned(), difference);
    let equals = equals(&reason.equals);
    match reason.rule {
        Rule::Gain => format!(
            "Picked on train: {name}, which scores {gain} more than {always} on queries held out{equals}."
        ),
        Rule::CheaperGain => format!(
            "Picked on train: {name}, which scores {gain} more than {always} on queries held out; it is the cheapest \
             of methods that cannot be told apart{equals}."
        ),
        Rule::CheaperEqual => format!(
            "No method beats {always} by more than two standard errors on train. Picked: {name}, the cheapest that \
             scores the same ({gain}){equals}."
        ),
        Rule::Guarded => format!(
            "No method beats {always} by more than two standard errors on train, and none as good is cheaper. Picked: \
             {name}, which keeps that model and leaves it only where paired evidence clears its threshold ({gain})\
             {equals}."
        ),
        Rule::BestSingle => format!(
            "No method beats {always} by more than two standard errors on train, and none as good is cheaper: keep \
             that model{equals}, or train `guarded`, which leaves it only on evidence."
        ),
    }
}

fn equals(names: &[String]) -> String {
    if names.is_empty() {
        return String::new();
    }
    let mut shown: Vec<String> = names.iter().take(NAMES_MAX).map(|name| printable(name)).collect();
    if names.len() > NAMES_MAX {
        shown.push(format!("{} more", names.len() - NAMES_MAX));
    }
    format!(" (not distinguishable: {})", shown.join(", "))
}

fn difference(d: PairedDifference) -> String {
    format!("{} ± {:.1} points", points(d.difference), 100.0 * d.standard_error)
}

/// What the pick scores, gains and saves on the rows judged.
fn worth(picked: &Picked, split: &str, always: &str) -> Option<String> {
    let Figures { score: value, score_se, vs_best_single, saving, .. } = &picked.figures;
    let se = score_se.map_or_else(String::new, |se| format!(" ± {}", score(se)));
    let mut words = format!("On {} it scores {}{se}", printable(split), score((*value)?));
    if picked.methods.iter().any(|name| name != "best-single") {
        if let Some(d) = vs_best_single {
            words += &format!(", {} against {always}", difference(*d));
        }
        match saving {
            Some(saving) if *saving >= 0.005 => {
                words += &format!(", and saves {} of its cost", percent(*saving))
            }
            Some(saving) if *saving <= -0.005 => words += &format!(", and costs {} more", percent(-saving)),
            Some(_) => words += ", at the same cost",
            None => {}
        }
    }
    Some(words + ".")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::fixtures::table;
    use crate::evaluate::{JudgeOptions, Judging, QueryOutcomes};

    fn judged(rule: Rule, methods: &[&str], run: QueryOutcomes) -> Judged {
        let none = PairedDifference { difference: 0.021, standard_error: 0.005, n_queries: 9 };
        let reason = Reason {
            rule,
            score: 0.5,
            score_se: None,
            cost_usd: None,
            vs_best_single: Some(none),
            equals: vec!["ridge".to_owned()],
        };
        let outcomes = table(&["a", "a"], &[0.0, 1.0, 0.5, 0.5], &[0.1, 0.4, 0.1, 0.4]);
        let options = JudgeOptions::default();
        let mut judging = Judging::new("log", "test", Some(&outcomes), &outcomes, &options).unwrap();
        judging.pick(Picked {
            methods: methods.iter().map(|name| (*name).to_owned()).collect(),
            reasons: vec![reason],
            figures: Figures::default(),
            reads_source: rule == Rule::Gain,
            runs: vec![run],
        });
        judging.finish()
    }

    /// The best single model is `y` with 1 and 0.5 at 0.4 dollars.
    #[test]
    fn the_pick_is_said_in_points_and_percent() {
        let run = QueryOutcomes::new(vec![1.0, 0.75], vec![0.4, 0.2]);
        let text = verdict(&judged(Rule::Gain, &["knn"], run.clone()));
        assert!(text.contains("knn, which scores +2.1 ± 0.5 points more than always calling y"), "{text}");
        assert!(text.contains("(not distinguishable: ridge)"), "{text}");
        assert!(text.contains("On test it scores 0.8750") && text.contains("+12.5 ± "), "{text}");
        assert!(text.contains("saves 25 % of its cost") && text.contains("each request must name"), "{text}");
        let text = verdict(&judged(Rule::Guarded, &["guarded"], run.clone()));
        assert!(
            text.contains("Picked: guarded, which keeps that model") && text.contains("(+2.1 ± "),
            "{text}"
        );
        let text = verdict(&judged(Rule::CheaperEqual, &["knn"], run));
        assert!(
            text.starts_with("No method beats always calling y") && text.contains("Picked: knn"),
            "{text}"
        );
    }

    #[test]
    fn where_nothing_is_distinguishable_the_reader_is_told_to_keep_the_model() {
        let run = QueryOutcomes::new(vec![1.0, 0.5], vec![0.4, 0.4]);
        let text = verdict(&judged(Rule::BestSingle, &["best-single"], run));
        assert!(
            text.contains("keep that model") && text.contains("0.7500") && !text.contains("against"),
            "{text}"
        );
    }
}
