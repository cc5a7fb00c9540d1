//! Features of texts: how like the other answers an answer is, and the form of query and answer.

use super::blocks::Seen;
use super::panel::Panel;
use routewright_data::answers::agreement::{SIMILARITIES, token_f1};
use routewright_data::answers::normalize::last_number;

/// Words that ask, in the order of their numbers; of two words the first row that fits counts, so that `how` comes
/// last.
const ASKING: [&str; 9] = ["what", "who", "which", "when", "where", "how much", "how many", "why", "how"];
/// Numbers of [`write_surface`] beside one a member and one more a member.
const FIXED: usize = ASKING.len() + 11;

/// Natural logarithm of 1 and the characters of a text.
pub fn log_chars(text: &str) -> f64 {
    (text.trim().chars().count() as f64).ln_1p()
}

/// Mean similarity of a candidate's text to the other answers; 0 where there are none.
pub(super) fn likeness(panel: &Panel<'_>, candidate: usize, similarity: &str) -> f32 {
    let of = SIMILARITIES
        .iter()
        .find(|row| row.name == similarity)
        .map_or(token_f1 as fn(_, _) -> _, |row| row.of);
    let best = panel.candidates[candidate].best;
    let own = panel.givens[best].text;
    let others = others(panel, best);
    let sum: f64 = others.iter().map(|at| of(own, panel.givens[*at].text)).sum();
    (sum / others.len().max(1) as f64) as f32
}

/// Places of the answers but one that have a text.
fn others(panel: &Panel<'_>, but: usize) -> Vec<usize> {
    let has_text = |at: &usize| *at != but && !panel.givens[*at].text.trim().is_empty();
    (0..panel.givens.len()).filter(has_text).collect()
}

/// The mean squared distance of a candidate's vector to those of the other answers, with a minus; 0 where there are
/// none.
pub(super) fn nearness(seen: &Seen<'_>, candidate: usize) -> f32 {
    let Some(vectors) = seen.vectors else { return 0.0 };
    let best = seen.panel.candidates[candidate].best;
    let others = others(seen.panel, best);
    let sum: f64 = others.iter().map(|at| squared_distance(vectors.row(best), vectors.row(*at))).sum();
    -(sum / others.len().max(1) as f64) as f32
}

/// Squared Euclidean distance.
pub fn squared_distance(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum()
}

/// Numbers of [`write_surface`] where there are `n` members.
pub(super) fn dim(n: usize) -> usize {
    2 * n + FIXED
}

fn words(text: &str) -> Vec<String> {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect()
}

fn count_numbers(words: &[String]) -> usize {
    words.iter().filter(|word| word.starts_with(|c: char| c.is_ascii_digit())).count()
}

/// Share of the words of `a` that `b` has.
fn overlap(a: &[String], b: &[String]) -> f32 {
    let found = a.iter().filter(|word| b.contains(word)).count();
    found as f32 / a.len().max(1) as f32
}

/// One a member: 1 for who gave the answer; one a member: token F1 with its answer, -1 where it has none or is the
/// giver; which word asks (9); and eleven numbers: words and numbers of the query; the probability of the answer's
/// tokens, -1 where unknown; its words, numbers and lines, in logarithms; how often its form occurs among those asked;
/// the words it shares with the query, both ways; whether it has a number; how often the query has its form.
pub(super) fn write_surface(panel: &Panel<'_>, candidate: usize, n: usize, out: &mut [f32]) {
    let best = panel.candidates[candidate].best;
    let given = &panel.givens[best];
    let (who, rest) = out.split_at_mut(n);
    let (like, rest) = rest.split_at_mut(n);
    let (asking, numbers) = rest.split_at_mut(ASKING.len());
    who[given.member] = 1.0;
    like.fill(-1.0);
    for at in others(panel, best) {
        like[panel.givens[at].member] = token_f1(given.text, panel.givens[at].text) as f32;
    }
    let (query, answer) = (words(panel.query), words(given.text));
    let asked = format!(" {} ", query.join(" "));
    let word = ASKING.iter().position(|word| asked.contains(&format!(" {word} ")));
    word.into_iter().for_each(|at| asking[at] = 1.0);
    let log = |n: usize| (n as f32).ln_1p();
    let same = panel.givens.iter().filter(|other| other.form.is_some() && other.form == given.form).count();
    let form = given.form.map(|form| format!(" {} ", words(form).join(" ")));
    let occurs = form.map_or(0, |form| asked.matches(form.as_str()).count());
    let values = [
        log(query.len()),
        log(count_numbers(&query)),
        given.logprob_mean.map_or(-1.0, f32::exp),
        log(answer.len()),
        log(count_numbers(&answer)),
        log(given.text.lines().count()),
        same as f32 / panel.n_asked.max(1) as f32,
        overlap(&query, &answer),
        overlap(&answer, &query),
        f32::from(u8::from(last_number(given.text).is_some())),
        log(occurs),
    ];
    numbers.copy_from_slice(&values);
}

#[cfg(test)]
mod tests {
    use super::super::blocks::{Block, features};
    use super::super::panel::{Given, Grouping, Standing};
    use super::*;
    use routewright_data::FeatureMatrix;

    fn panel() -> Panel<'static> {
        let given = |member, text, form| Given { member, text, form, ..Given::default() };
        let givens = vec![
            given(0, "a b", Some("b")),
            Given { logprob_mean: Some(0.0), ..given(1, "a 7 c", Some("7")) },
            given(2, "", None),
            given(3, "x", Some("7")),
        ];
        Panel::of("How many are 7 in c?", None, givens, 4, Grouping::Apart, &[0.5; 4])
    }

    #[test]
    fn the_medoid_and_the_nearest_are_those_by_hand() {
        let panel = panel();
        // F1 of "a b" and "a 7 c": 2 / 5; the blank text is no other answer.
        let found: Vec<f32> = (0..3).map(|candidate| likeness(&panel, candidate, "token-f1")).collect();
        assert_eq!(found, [0.2, 0.2, 0.0]);
        let vectors = FeatureMatrix::from_vec(4, 2, vec![0.0, 0.0, 1.0, 0.0, 9.0, 9.0, 0.0, 2.0]);
        let standing = Standing { overall: &[0.5; 4], own: &[0.5; 4], collision: 1.0 };
        let seen = Seen { panel: &panel, standing, vectors: Some(&vectors), predicted: None };
        let found = features(&[Block::Distance], &seen);
        // Squares: 0-1 1, 0-3 4, 1-3 5.
        assert_eq!(found.values(), [-2.5, -3.0, -4.5]);
        assert_eq!(squared_distance(&[3.0, 0.0], &[0.0, 4.0]), 25.0);
    }

    #[test]
    fn the_surface_is_that_read_by_hand() {
        let panel = panel();
        let mut found = vec![0.0; dim(4)];
        write_surface(&panel, 1, 4, &mut found);
        assert_eq!(found[..4], [0.0, 1.0, 0.0, 0.0]);
        assert_eq!(found[4..8], [0.4, -1.0, -1.0, 0.0]);
        assert_eq!(found[8..17].iter().position(|value| *value == 1.0), Some(6), "how many");
        let log = |n: f32| n.ln_1p();
        // Query: how many are 7 in c; answer: a 7 c, whose form 7 two of four gave.
        let by_hand =
            [log(6.0), log(1.0), 1.0, log(3.0), log(1.0), log(1.0), 0.5, 2.0 / 6.0, 2.0 / 3.0, 1.0, log(1.0)];
        let near = found[17..].iter().zip(by_hand).all(|(a, b): (&f32, f32)| (a - b).abs() < 1e-6);
        assert!(near && found.len() == 28, "{found:?}");
    }
}
