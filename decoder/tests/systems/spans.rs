//! Span level: proposals, judging, what is dropped and what is not.

use crate::model::{Model, tokenizer};
use crate::{alone, asked, fused};
use routewright_decoder::backend::{Backend, Stop};
use routewright_decoder::generation::{Ask, Finish};
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};

const SPANS: [&str; 3] = ["cool-fusion", "sweetspan", "specfuse"];
const PROMPT: &str = "a b";

fn text(name: &'static str, text: &'static str, p: f32) -> Arc<dyn Backend> {
    Model::text(name, text, p).arc()
}

#[test]
fn a_member_alone_or_twice_writes_its_greedy_text() {
    let one = text("a", "a b once upon a time, there was 12.5. the end", 0.9);
    // "ba" goes on as the tokenizer would not cut it: its own tokens stay.
    let odd = Model::cut_by("odd", tokenizer(&["ba", " b", " ba"]), |read| {
        let next = if read.ends_with('b') { "a" } else { " b" };
        vec![(if read.len() > 20 { String::new() } else { next.to_owned() }, 0.9)]
    });
    let odd = odd.arc();
    for backend in [one, odd] {
        let expected = alone(&backend, PROMPT, 100);
        assert!(expected.len() > 10);
        for system in SPANS {
            let once = std::slice::from_ref(&backend);
            assert_eq!(fused(system, &json!({}), once, PROMPT, 99).unwrap().text, expected, "{system}");
            let twice = [backend.clone(), backend.clone()];
            let answer = fused(system, &json!({}), &twice, PROMPT, 99).unwrap();
            assert_eq!((answer.text.as_str(), answer.finish), (expected.as_str(), Finish::Stop), "{system}");
            assert!(answer.trace.steps().iter().all(|step| step.winner == Some(0)));
        }
    }
}

#[test]
fn cool_fusion_takes_the_least_mean_perplexity_a_word_at_a_time() {
    // All begin with another word; `a` and `c` find "big" likely after `b` has said it, and nobody likes the others'.
    let likes = |name, first: &'static str, p: f32| {
        Model::new(name, move |read| {
            let word = read.strip_prefix("the ").unwrap_or(read);
            let next = first[word.len().min(first.len())..].chars().next();
            let big = "big dog"[..].strip_prefix(word).and_then(|rest| rest.chars().next());
            match (next, big) {
                (Some(next), Some(big)) if next != big => {
                    vec![(next.to_string(), p), (big.to_string(), 0.8 - p)]
                }
                (next, big) => vec![(big.or(next).map_or(String::new(), String::from), 0.8)],
            }
        })
        .arc()
    };
    let members = [likes("a", "red dog", 0.5), likes("b", "big dog", 0.5), likes("c", "old dog", 0.5)];
    let answer = fused("cool-fusion", &json!({}), &members, "the ", 1).unwrap();
    assert_eq!(answer.text, "big");
    let step = &answer.trace.steps()[0];
    assert_eq!((step.winner, step.agree.as_slice()), (Some(1), &[false, true, false][..]));
    let texts: Vec<&[u8]> = step.proposals.iter().map(|proposal| proposal.text.as_slice()).collect();
    assert_eq!(texts, [&b"red"[..], b"big", b"old"]);
    // By hand from the scores: the mean of exp(-score) over the judges, the least wins.
    for proposal in &step.proposals {
        let mean: f32 = proposal.scores.iter().map(|score| (-score).exp()).sum::<f32>() / 3.0;
        assert!((proposal.merit + mean).abs() < 1e-3 * mean, "{proposal:?}");
    }
    let merits: Vec<f32> = step.proposals.iter().map(|proposal| proposal.merit).collect();
    assert!(merits[1] > merits[0] && merits[1] > merits[2]);
}

#[test]
fn a_token_that_reaches_across_is_no_boundary() {
    let says = "once upon a time";
    let narrow = || text("a", says, 0.9);
    // A tokenizer with a token "n a" cuts "upon a" elsewhere.
    let across = Model::text_cut_by("b", tokenizer(&["n a", " a"]), says, 0.9).arc();
    let first = |members: &[Arc<dyn Backend>]| {
        let answer = fused("cool-fusion", &json!({}), members, "once", 1).unwrap();
        String::from_utf8(answer.trace.steps()[0].text.clone()).unwrap()
    };
    assert_eq!(first(&[narrow()]), " upon");
    assert_eq!(first(&[narrow(), across]), " upon a");
}

#[test]
fn sweetspan_leaves_out_a_judge_that_stands_out() {
    // Three members like "good", two write it; one hates it.
    let judge = |name, own: &'static str, hated: f32| {
        Model::new(name, move |read| {
            let rest = |text: &'static str| text.strip_prefix(read).and_then(|rest| rest.chars().next());
            let (own, good) = (rest(own), rest("good end"));
            match (own, good) {
                (Some(own), Some(good)) if own != good => {
                    vec![(own.to_string(), 0.9 - hated), (good.to_string(), hated)]
                }
                (Some(next), _) => vec![(next.to_string(), 0.9)],
                (None, Some(good)) => vec![(good.to_string(), if hated < 1e-6 { 1e-9 } else { 0.9 })],
                (None, None) => vec![(String::new(), 0.5)],
            }
        })
        .arc()
    };
    let members = [
        judge("a", "good end", 0.4),
        judge("b", "evil end", 1e-12),
        judge("c", "good end", 0.4),
        judge("d", "fair end", 0.4),
    ];
    let step = |params: serde_json::Value| {
        let answer = fused("sweetspan", &params, &members, "", 1).unwrap();
        answer.trace.steps()[0].clone()
    };
    let filtered = step(json!({"words": 1}));
    let good = &filtered.proposals[0];
    assert_eq!(good.text, b"good");
    let kept = [0, 2, 3].map(|at: usize| good.scores[at]).iter().sum::<f32>() / 3.0;
    assert!((good.merit - kept).abs() < 1e-5, "{good:?}");
    assert!(good.scores[1] < good.merit - 1.0);
    let all = step(json!({"words": 1, "filter": {"deviations": 0.0}}));
    let mean = all.proposals[0].scores.iter().sum::<f32>() / 4.0;
    assert!((all.proposals[0].merit - mean).abs() < 1e-5);
}

#[test]
fn hedge_keeps_weights_on_the_simplex_and_favours_the_better_model() {
    // `a` writes what all like; `b` and `c` write what only they like, a word in two.
    let liked = "one two three four five six seven eight nine ten";
    let member = |name, own: &'static str, p: f32| {
        Model::new(name, move |read| {
            let next = |text: &str| text.get(read.len()..).and_then(|rest| rest.chars().next());
            match (next(own), next(liked)) {
                (Some(own), Some(good)) if own != good => {
                    vec![(own.to_string(), p), (good.to_string(), 0.9 - p)]
                }
                (own, _) => vec![(own.map_or(String::new(), String::from), 0.9)],
            }
        })
        .arc()
    };
    let members = [
        member("a", liked, 0.9),
        member("b", "one owt three ruof five xis seven thgie nine net", 0.46),
        member("c", "one tow three fuor five ixs seven eihgt nine ent", 0.46),
    ];
    let answer = fused("specfuse", &json!({"tokens": 5}), &members, "one", 40).unwrap();
    let weights = answer.trace.steps().iter().map(|step| &step.weights).filter(|weights| !weights.is_empty());
    let weights: Vec<&Vec<f32>> = weights.collect();
    for weights in &weights {
        assert!((weights.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        assert!(weights.iter().all(|weight| *weight > 0.0) && weights[0] > weights[1].max(weights[2]));
    }
    let last = weights.last().unwrap();
    assert!(last[0] > 0.38, "{last:?}");
    assert_eq!(answer.text, liked[3..]);
    let equal = fused("specfuse", &json!({"tokens": 5, "hedge": 0.0}), &members, "one", 40).unwrap();
    assert!(equal.trace.steps()[0].weights.iter().all(|weight| (weight - 1.0 / 3.0).abs() < 1e-6));
}

#[test]
fn with_fast_the_first_end_ends() {
    let members = [text("a", "a b c d e f", 0.9), text("b", "a b c", 0.5)];
    let ends = |fast: bool| {
        let params = json!({"tokens": 4, "fast": fast});
        fused("specfuse", &params, &members, PROMPT, 9).unwrap().text
    };
    assert_eq!((ends(true), ends(false)), (" c".to_owned(), " c d e f".to_owned()));
}

#[test]
fn limits_hold_and_members_that_fail_are_left_out() {
    let forever =
        Model::new("a", |read| vec![(if read.ends_with(' ') { "a" } else { " " }.to_owned(), 0.9)]).arc();
    for system in SPANS {
        let limits = |change: &dyn Fn(&mut Ask)| {
            let mut ask = Ask::new(b"x");
            change(&mut ask);
            asked(system, &json!({}), &[forever.clone(), text("b", "x no", 0.6)], ask).unwrap()
        };
        let steps = limits(&|ask| ask.limits.steps = 3);
        assert_eq!((steps.trace.steps().len(), steps.finish), (3, Finish::Length), "{system}");
        let calls = limits(&|ask| ask.limits.calls = 100);
        let last = calls.trace.steps().last().unwrap();
        assert!(calls.finish == Finish::Length && last.calls >= 100 && last.calls < 250, "{system}");
        let bytes = limits(&|ask| ask.limits.bytes = 30);
        assert!(bytes.finish == Finish::Length && bytes.text.len() < 60, "{system}");
        let stop = limits(&|ask| ask.limits.stop = vec!["a a".to_owned()]);
        assert_eq!((stop.text.as_str(), stop.finish), (" ", Finish::Stop), "{system}");
        let late = limits(&|ask| ask.stop = Stop::at(Some(Instant::now() + Duration::from_millis(20))));
        assert_eq!(late.finish, Finish::Deadline, "{system}");
        let dying = [Model::text("b", "x b b b b b b b b", 0.9).dying_after(9).arc(), forever.clone()];
        let answer = fused(system, &json!({}), &dying, "x", 9).unwrap();
        assert_eq!(answer.trace.drops().len(), 1, "{system}");
        assert!(answer.text.ends_with(" a a"), "{system}: {}", answer.text);
    }
}

#[test]
fn an_end_that_all_like_is_taken_and_counts_as_a_byte() {
    // Both could end; `b` writes on although an end is nearly as likely.
    let a = Model::new("a", |read| vec![(if read.len() < 3 { "b".into() } else { String::new() }, 0.9)]);
    let b = Model::new("b", |read| match read.len() {
        0..3 => vec![("b".into(), 0.9)],
        3 => vec![(" ".into(), 0.5), (String::new(), 0.45)],
        _ => vec![("c".into(), 0.4)],
    });
    for system in SPANS {
        let answer = fused(system, &json!({}), &[a.clone().arc(), b.clone().arc()], "b", 9).unwrap();
        assert_eq!((answer.text.as_str(), answer.finish), ("bb", Finish::Stop), "{system}");
        let first = &answer.trace.steps()[0].proposals[0];
        assert!(first.ends);
        // `a` gives two letters and the end 0.9 each, and a share of the rest.
        assert!((first.scores[0] - 0.9_f32.ln()).abs() < 0.01, "{:?}", first.scores);
    }
}

#[test]
fn a_seed_gives_one_answer_and_another_seed_another() {
    let member = |name, vowel: &'static str| {
        let letters = ["b", "c", "d", " ", vowel];
        Model::new(name, move |read| {
            let ends = if read.len() > 60 { 0.5 } else { 0.0 };
            let each = (0.95 - ends) / letters.len() as f32;
            letters.iter().map(|l| ((*l).to_owned(), each)).chain([(String::new(), ends)]).collect()
        })
        .arc()
    };
    let members = [member("a", "a"), member("b", "e"), member("c", "i")];
    let steps = json!({"reward": {"kind": "likelihood"}, "delimiter": " ", "iterations": 12});
    for system in ["cool-fusion", "sweetspan", "specfuse", "le-mcts", "citer"] {
        let params = if system == "le-mcts" { steps.clone() } else { json!({}) };
        let run = |seed| {
            let mut ask = Ask::new(b"x");
            (ask.seed, ask.limits.steps, ask.pick.temperature) = (seed, 12, 1.0);
            asked(system, &params, &members, ask).unwrap()
        };
        let (one, again, other) = (run(1), run(1), run(2));
        assert_eq!((&one.text, one.calls), (&again.text, again.calls), "{system}");
        assert_ne!(one.text, other.text, "{system}");
    }
}
