//! Process level: a search over steps of several members.

use crate::model::Model;
use crate::{alone, asked, fused};
use routewright_decoder::backend::{Backend, Stop};
use routewright_decoder::fuse::answer;
use routewright_decoder::generation::{Ask, Finish, FuseError, Generation};
use routewright_decoder::tree::le_mcts::{LeMcts, Params};
use routewright_decoder::tree::reward::ProcessReward;
use routewright_decoder::tree::search::Backup;
use serde_json::json;
use std::sync::Arc;
use std::time::Instant;

const PROBLEM: &str = "1+2*3+4?";

/// Solves in steps; every step it is not sure of is wrong.
fn solver(name: &'static str, steps: [&'static str; 3]) -> Arc<dyn Backend> {
    Model::new(name, move |read| {
        let answer = read.strip_prefix(PROBLEM).unwrap();
        let at = answer.matches('\n').count();
        let line = answer.rsplit('\n').next().unwrap();
        let next =
            steps.get(at).map(|step| step[line.len().min(step.len())..].chars().next().unwrap_or('\n'));
        vec![(next.map_or(String::new(), String::from), 0.9)]
    })
    .arc()
}

#[test]
fn a_chain_of_right_steps_is_found_though_no_member_has_it() {
    let members = [solver("a", ["2*3=6", "1+6=8", "7+4=11"]), solver("b", ["2*3=5", "1+6=7", "7+4=12"])];
    let params = json!({"reward": {"kind": "arithmetic"}});
    let answer = fused("le-mcts", &params, &members, PROBLEM, 9).unwrap();
    assert_eq!((answer.text.as_str(), answer.finish), ("2*3=6\n1+6=7\n7+4=11\n", Finish::Stop));
    let wrote: Vec<Option<usize>> = answer.trace.steps().iter().map(|step| step.winner).collect();
    assert_eq!(wrote[..3], [Some(0), Some(1), Some(0)]);
    let merits: Vec<f32> = answer.trace.steps()[1].proposals.iter().map(|p| p.merit).collect();
    assert_eq!(merits.len(), 2);
    assert!(merits[1] > merits[0]);
}

#[test]
fn a_member_alone_writes_its_greedy_text() {
    let member = solver("a", ["2*3=6", "1+6=8", "7+4=11"]);
    let params = json!({"reward": {"kind": "likelihood"}});
    let answer = fused("le-mcts", &params, std::slice::from_ref(&member), PROBLEM, 9).unwrap();
    assert_eq!(answer.text, alone(&member, PROBLEM, 99));
}

#[test]
fn a_judge_is_asked_for_its_verdict() {
    // It says yes after chains without an 8.
    let judge = Model::new("judge", |read| {
        let bad = read.contains('8');
        let line = read.rsplit('?').next().unwrap();
        let of = |word: &str| word.get(line.len()..).and_then(|rest| rest.chars().next()).map(String::from);
        let (yes, no) = if bad { (0.1, 0.8) } else { (0.8, 0.1) };
        match (of(" yes"), of(" no")) {
            (Some(y), Some(n)) if y != n => vec![(y, yes), (n, no)],
            (Some(y), _) => vec![(y, 0.9)],
            _ => vec![(String::new(), 0.9)],
        }
    });
    let members =
        [solver("a", ["2*3=6", "1+6=8", "7+4=11"]), solver("b", ["2*3=6", "1+6=7", "7+4=12"]), judge.arc()];
    let reward = json!({"kind": "verdict", "judge": "judge", "question": " ok?", "yes": " yes", "no": " no"});
    let params = json!({"reward": reward, "writers": ["a", "b"]});
    let answer = fused("le-mcts", &params, &members, PROBLEM, 9).unwrap();
    assert!(answer.text.starts_with("2*3=6\n1+6=7\n"), "{}", answer.text);
    let error = fused("le-mcts", &json!({"writers": ["c"]}), &members, PROBLEM, 9).unwrap_err();
    assert!(error.to_string().contains("`c`"), "{error}");
}

/// Knows one chain of letters; those through `a` are all fair.
#[derive(Debug)]
struct Planted;

impl ProcessReward for Planted {
    fn reward(&self, _: &mut Generation<'_>, chain: &[u8], _: bool) -> Result<f64, FuseError> {
        let letters: Vec<u8> = chain.iter().copied().filter(|byte| *byte != b'\n').collect();
        Ok(match &letters[..] {
            [b'a', ..] => 0.55,
            b"b" => 0.5,
            _ if letters.iter().all(|letter| *letter == b'b') => 0.6 + 0.4 * letters.len() as f64 / 6.0,
            _ => 0.0,
        })
    }
}

#[test]
fn the_greatest_value_finds_a_planted_chain_and_the_mean_does_not() {
    let letter = |name, letter: &'static str| {
        Model::new(name, move |read| {
            let next = match read.matches('\n').count() {
                6 => "",
                _ if read.is_empty() || read.ends_with('\n') => letter,
                _ => "\n",
            };
            vec![(next.to_owned(), 0.9)]
        })
        .arc()
    };
    let members = [letter("a", "a"), letter("b", "b")];
    let run = |backup| {
        let params = Params { iterations: 30, exploration: 0.2, backup, ..Params::default() };
        let fuser = LeMcts::with_reward(params, Box::new(Planted), &members).unwrap();
        answer(&fuser, &members, Ask::new(b""), Box::new(|_| {})).unwrap()
    };
    assert_eq!(run(Backup::Max).text, "b\n".repeat(6));
    let mean = run(Backup::Mean);
    assert!(mean.text.starts_with("a\n") && mean.finish == Finish::Stop, "{}", mean.text);
    // The search is part of what an answer costs.
    assert!(mean.calls > 100);
}

#[test]
fn limits_hold_and_members_that_fail_are_left_out() {
    let steps = ["2*3=6", "1+6=8", "7+4=11"];
    let params = json!({"reward": {"kind": "arithmetic"}});
    let mut ask = Ask::new(PROBLEM.as_bytes());
    ask.limits.calls = 12;
    let few = asked("le-mcts", &params, &[solver("a", steps)], ask).unwrap();
    assert_eq!(few.finish, Finish::Length);
    assert!(few.calls < 40, "{}", few.calls);
    let none = asked(
        "le-mcts",
        &json!({"reward": {"kind": "arithmetic"}, "tokens_in_all": 1}),
        &[solver("a", steps)],
        {
            let mut ask = Ask::new(PROBLEM.as_bytes());
            ask.limits.steps = 2;
            ask
        },
    );
    assert_eq!(none.unwrap().text, "2*3=6\n1+6=8\n");
    let mut ask = Ask::new(PROBLEM.as_bytes());
    ask.limits.stop = vec!["=8".to_owned()];
    assert_eq!(asked("le-mcts", &params, &[solver("a", steps)], ask).unwrap().text, "2*3=6\n1+6");
    let mut ask = Ask::new(PROBLEM.as_bytes());
    ask.stop = Stop::at(Some(Instant::now()));
    let late = asked("le-mcts", &params, &[solver("a", steps)], ask).unwrap();
    assert_eq!((late.text.as_str(), late.finish), ("", Finish::Deadline));
    let dying = Model::text("b", "1+2*3+4?5=5\n6=6\n", 0.9).dying_after(14).arc();
    let answer = fused("le-mcts", &params, &[solver("a", steps), dying], PROBLEM, 9).unwrap();
    assert_eq!(answer.trace.drops().len(), 1);
    // A member that reads little ends its chains early and is not left out.
    let short = Model::text("b", "1+2*3+4?5=5\n6=6\n", 0.9).with_context(15).arc();
    let answer = fused("le-mcts", &params, &[solver("a", steps), short], PROBLEM, 9).unwrap();
    assert!(answer.trace.drops().is_empty() && answer.text.ends_with("7+4=11\n"), "{}", answer.text);
}
