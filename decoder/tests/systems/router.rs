//! Token routing: who writes which token, labels of right answers.

use crate::model::Model;
use crate::{alone, asked, fused};
use routewright_decoder::backend::Backend;
use routewright_decoder::generation::Ask;
use routewright_decoder::token::citer::label;
use routewright_decoder::token::state::WIDTH;
use serde_json::json;
use std::sync::Arc;

const RIGHT: &str = "a1b22c333d";

/// Writes the right answer, sure of letters or of digits only; where it is not sure it says `x`.
fn half(name: &'static str, sure: fn(char) -> bool) -> Model {
    Model::new(name, move |read| {
        let next = read.strip_prefix("q").and_then(|answer| RIGHT.get(answer.len()..)?.chars().next());
        match next {
            Some(next) if sure(next) => vec![(next.to_string(), 0.95)],
            Some(next) => vec![("x".to_owned(), 0.6), (next.to_string(), 0.2)],
            None => vec![(String::new(), 0.95)],
        }
    })
}

fn members() -> [Arc<dyn Backend>; 2] {
    [half("small", |c| c.is_ascii_alphabetic()).arc(), half("large", |c| c.is_ascii_digit()).arc()]
}

#[test]
fn the_first_member_writes_where_it_is_sure_and_the_other_is_asked_else_only() {
    let answer = fused("citer", &json!({}), &members(), "q", 99).unwrap();
    assert_eq!(answer.text, RIGHT);
    for step in answer.trace.steps().iter().filter(|step| !step.text.is_empty()) {
        let digit = usize::from(step.text[0].is_ascii_digit());
        assert_eq!((step.winner, step.weights[digit]), (Some(digit), 1.0));
        assert_eq!(step.probabilities[1].is_nan(), digit == 0);
    }
    // It reads what was written when it is asked: neither its last digit nor what the first wrote after that.
    let large = &answer.trace.members()[1];
    assert_eq!(large.pushed, 8);
}

#[test]
fn thresholds_at_the_ends_are_the_members() {
    let members = members();
    for (threshold, member) in [(0.0, 0), (2.0, 1)] {
        let answer = fused("citer", &json!({"threshold": threshold}), &members, "q", 30).unwrap();
        assert_eq!(answer.text, alone(&members[member], "q", 30), "{threshold}");
    }
    let one = fused("citer", &json!({"threshold": 2.0}), &members[..1], "q", 30).unwrap();
    assert_eq!(one.text, alone(&members[0], "q", 30));
}

#[test]
fn who_fails_is_left_out_and_the_others_go_on() {
    let small = half("small", |c| c.is_ascii_alphabetic());
    let large = half("large", |c| c.is_ascii_digit());
    let run = |small: Model, large: Model| {
        let answer = fused("citer", &json!({}), &[small.arc(), large.arc()], "q", 30).unwrap();
        (answer.text, answer.trace.drops()[0].member)
    };
    let (text, dropped) = run(small.clone(), large.clone().dying_after(6));
    assert_eq!((dropped, text.as_str()), (1, "a1bxxcxxxd"));
    let (text, dropped) = run(small.dying_after(6), large);
    assert_eq!((dropped, text.as_str()), (0, "a1b22x333x"));
}

#[test]
fn labels_say_who_is_right_and_look_ahead_where_nobody_is() {
    // Neither knows the dot, but the first can finish after any letter that stands there.
    let small = Model::new("small", |read| {
        let next = match read {
            "q" => "a",
            "qa" => "x",
            "qa." => "b",
            "qax" | "qay" => ".",
            _ => "",
        };
        vec![(next.to_owned(), 0.9)]
    });
    let large = Model::new("large", |read| vec![(if read == "qa" { "." } else { "y" }.to_owned(), 0.9)]);
    let none = Model::new("none", |_| vec![("y".to_owned(), 0.9)]);
    let labels = |members: &[Model], reference: &str, look_ahead| {
        let members: Vec<_> = members.iter().cloned().map(Model::arc).collect();
        label(&members, Ask::new(b"q"), reference.as_bytes(), look_ahead, false).unwrap()
    };
    let found = labels(&[small.clone(), large], "a.b", 9);
    let scores: Vec<Vec<Option<f32>>> = found.iter().map(|label| label.scores.clone()).collect();
    let (yes, no) = (Some(1.0), Some(0.0));
    assert_eq!(scores, [[yes, no], [no, yes], [yes, no], [yes, no]]);
    assert_eq!(found.iter().map(|label| label.at).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert!(found.iter().all(|label| label.state.len() == WIDTH && !label.looked_ahead));
    // "z" is nobody's: after the first one's "x" it writes a dot, and "ax." is not the answer.
    let found = labels(&[small.clone(), none.clone()], "az", 9);
    assert!(found[1].looked_ahead && found[1].scores == [no, no]);
    let end = found.last().unwrap();
    assert_eq!((end.at, end.scores.as_slice()), (2, &[yes, no][..]));
    // Nobody says the space, yet the answer comes out right but for it.
    let found = labels(&[small, none], " ax.", 9);
    assert!(found[0].looked_ahead && found[0].scores == [yes, no], "{:?}", found[0]);
}

#[test]
fn what_does_not_fit_is_refused() {
    let error = |params| fused("citer", &params, &members(), "q", 9).unwrap_err().to_string();
    assert!(error(json!({"threshold": -1.0})).contains("`threshold`"));
    assert!(error(json!({"selector": true})).contains("`policy`"));
    assert!(error(json!({"policy": "/nowhere"})).contains("/nowhere"));
    let mut ask = Ask::new(b"q");
    ask.limits.stop = vec!["22".to_owned()];
    assert_eq!(asked("citer", &json!({}), &members(), ask).unwrap().text, "a1b");
}

/// Two models of random weights, and rows that hand over wherever `x` is among the last words.
#[test]
fn an_expert_takes_over_at_its_token_and_hands_back() {
    use routewright_decoder::backends::llama2c::{Llama2c, Shape, Weights};
    use routewright_decoder::fuse::answer;
    use routewright_decoder::token::expert_rows::ExpertRows;
    use routewright_decoder::token::expert_token::{ExpertToken, mean_row};
    use routewright_decoder::vocabulary::{Tokenizer, llama2c};

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokenizer.bin");
    std::fs::write(&path, llama2c::write(&[])).unwrap();
    let tokenizer = Arc::new(Tokenizer::open(&path).unwrap());
    let shape =
        Shape { dim: 16, hidden: 24, layers: 1, heads: 2, kv_heads: 1, vocabulary: 259, context: 128 };
    let model = |name, seed| -> Arc<dyn Backend> {
        let weights = Weights::random(shape, &mut routewright_data::rng::stream(seed, "weights"));
        Arc::new(Llama2c::new(name, weights, tokenizer.clone()).unwrap())
    };
    let members = [model("first", 1), model("expert", 2)];
    let mean = mean_row(&*members[0]).unwrap();
    let run = |row: Vec<f32>, tokens| {
        let rows = ExpertRows { rows: vec![("expert".to_owned(), row)] };
        let fuser = ExpertToken::with_rows(rows, tokens, &members).unwrap();
        let mut ask = Ask::new(b"say");
        ask.limits.steps = 12;
        let answer = answer(&fuser, &members, ask, Box::new(|_| {})).unwrap();
        let winners: Vec<usize> = answer.trace.steps().iter().map(|step| step.winner.unwrap()).collect();
        (answer.text, winners)
    };
    let mut state = members[0].open(b"say", &Default::default()).unwrap();
    let hidden = state.hidden().unwrap();
    // A row of no logit never is the greatest, one along the state after the prompt is.
    let (text, winners) = run(vec![0.0; 16], 0);
    assert_eq!((text, winners), (run(mean, 0).0, vec![0; 12]));
    let along: Vec<f32> = hidden.iter().map(|h| 100.0 * h).collect();
    let (_, winners) = run(along.clone(), 0);
    assert_eq!(winners, [1; 12]);
    let (_, winners) = run(along, 3);
    assert_eq!(winners[..3], [1; 3]);
    let unknown = ExpertRows { rows: vec![("first".to_owned(), vec![0.0; 16])] };
    let error = ExpertToken::with_rows(unknown, 0, &members).unwrap_err().to_string();
    assert!(error.contains("`first`"), "{error}");
}
