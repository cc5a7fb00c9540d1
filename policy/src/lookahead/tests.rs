use super::*;
use rand::RngExt as _;
use routewright_data::rng;

fn outlook<'a>(scores: &'a [f64], costs: &'a [f64], called: &'a [bool], open: &'a [bool]) -> Outlook<'a> {
    Outlook { scores, costs, called, open, order: None, covariance: None }
}

/// The best set by trying all; values and prices are those of the definition.
fn by_hand(outlook: &Outlook<'_>, lambda: f64, depth: usize, draws: &Draws) -> Option<usize> {
    let n = outlook.scores.len();
    let search = Search::new(outlook, lambda, draws);
    let mut best: Option<(f64, Option<usize>)> = None;
    for mask in 0_u32..1 << n {
        let is_in = |arm: usize| mask >> arm & 1 == 1;
        let is_option = (0..n).all(|arm| {
            (!outlook.called[arm] || is_in(arm)) && (outlook.open[arm] || outlook.called[arm] || !is_in(arm))
        });
        if mask == 0 || !is_option || mask.count_ones() as usize > depth {
            continue;
        }
        let mut sample = search.base.clone();
        let (mut cost, mut first): (f64, Option<usize>) = (0.0, None);
        for arm in (0..n).filter(|arm| is_in(*arm) && !outlook.called[*arm]) {
            sample = search.with(&sample, arm);
            cost += outlook.costs[arm];
            if first.is_none_or(|old| outlook.costs[arm] < outlook.costs[old]) {
                first = Some(arm);
            }
        }
        let value = mean(&sample) - lambda * cost;
        if best.is_none_or(|(most, _)| value > most + TIE) {
            best = Some((value, first));
        }
    }
    best.and_then(|(_, first)| first)
}

#[test]
fn the_pruned_search_finds_what_trying_all_sets_finds() {
    let mut rng = rng::stream(1, "lookahead test");
    let draws = Draws::new(6);
    for round in 0..300 {
        let n = 6;
        let scores: Vec<f64> = (0..n).map(|_| rng.random()).collect();
        let costs: Vec<f64> = (0..n).map(|_| rng.random()).collect();
        let called: Vec<bool> = (0..n).map(|_| rng.random_bool(0.2)).collect();
        let open: Vec<bool> = (0..n).map(|_| rng.random_bool(0.8)).collect();
        // A A^T of random numbers is a covariance.
        let a: Vec<f64> = (0..n * n).map(|_| rng.random::<f64>() * 0.3 - 0.1).collect();
        let dot = |i: usize, j: usize| (0..n).map(|k| a[i * n + k] * a[j * n + k]).sum::<f64>();
        let covariance: Vec<f64> = (0..n * n).map(|at| dot(at / n, at % n)).collect();
        let lambda = [0.05, 0.3, 1.0][round % 3];
        let with = Outlook {
            covariance: (round % 2 == 0).then_some(&covariance[..]),
            ..outlook(&scores, &costs, &called, &open)
        };
        let depth = if round % 5 == 0 { 3 } else { n };
        let found = next(&with, lambda, Options::Full, depth, &draws);
        assert_eq!(found.cheap, by_hand(&with, lambda, depth, &draws), "round {round}");
        assert_eq!(found.cheap, found.dear);
    }
}

#[test]
fn special_cases_are_routing_a_cascade_and_one_step_ahead() {
    let draws = Draws::new(3);
    let (scores, costs) = ([0.5, 0.7, 0.9], [1.0, 2.0, 8.0]);
    let (none, all) = ([false; 3], [true; 3]);
    let start = outlook(&scores, &costs, &none, &all);
    let first = |lambda, options| next(&start, lambda, options, 3, &draws).cheap;
    // Routing: 0.5 - l, 0.7 - 2 l, 0.9 - 8 l; breaks at l = 0.2 and 0.0333.
    let routed = [0.3, 0.1, 0.01].map(|lambda| first(lambda, Options::Single));
    assert_eq!(routed, [Some(0), Some(1), Some(2)]);
    // Without a covariance a set is worth its best arm: every search is routing.
    assert_eq!([0.3, 0.1, 0.01].map(|lambda| first(lambda, Options::Full)), routed);
    // A cascade starts with the cheapest arm whatever is worth most.
    assert_eq!([0.3, 0.1, 0.01].map(|lambda| first(lambda, Options::Prefixes)), [Some(0); 3]);
    // After an answer of 0.6: the next is worth 0.1 for 2, the last 0.3 for 8, both 0.3 for 10.
    let called = [true, false, false];
    let answered = [0.6, 0.7, 0.9];
    let then = outlook(&answered, &costs, &called, &all);
    let second = |lambda, options| next(&then, lambda, options, 3, &draws).cheap;
    assert_eq!((second(0.06, Options::Full), second(0.04, Options::Full)), (None, Some(1)));
    assert_eq!(second(0.01, Options::Full), Some(2));
    assert_eq!((second(0.01, Options::Prefixes), second(0.01, Options::Single)), (Some(1), None));
    assert_eq!(next(&then, 0.0, Options::Full, 1, &draws).cheap, None);
    // Nothing is open: nothing is called. One is, and must be, at the start.
    let shut = outlook(&scores, &costs, &none, &[false; 3]);
    assert_eq!(next(&shut, 0.0, Options::Full, 3, &draws).cheap, None);
    let only = outlook(&scores, &costs, &none, &[false, false, true]);
    assert_eq!(next(&only, 1e9, Options::Greedy, 3, &draws).cheap, Some(2));
}

#[test]
fn uncertain_estimates_make_a_second_answer_worth_its_price() {
    let draws = Draws::new(2);
    let (scores, costs, called, open) = ([0.6, 0.6], [0.0, 1.0], [true, false], [true, true]);
    let sure = outlook(&scores, &costs, &called, &open);
    assert_eq!(next(&sure, 0.01, Options::Greedy, 2, &draws).cheap, None);
    // E[max(0.6, N(0.6, 0.2^2))] = 0.6 + 0.2 / sqrt(2 pi) = 0.68.
    let covariance = [0.0, 0.0, 0.0, 0.04];
    let unsure = Outlook { covariance: Some(&covariance), ..sure };
    let second = |lambda| next(&unsure, lambda, Options::Greedy, 2, &draws).cheap;
    assert_eq!((second(0.075), second(0.085)), (Some(1), None));
}

#[test]
fn ties_are_between_the_cheapest_and_the_dearest_set() {
    let draws = Draws::new(2);
    // 0.5 - 0.1 = 0.6 - 0.2.
    let (scores, costs) = ([0.5, 0.6], [1.0, 2.0]);
    let start = outlook(&scores, &costs, &[false; 2], &[true; 2]);
    let found = next(&start, 0.1, Options::Single, 2, &draws);
    assert_eq!((found.cheap, found.dear), (Some(0), Some(1)));
}
