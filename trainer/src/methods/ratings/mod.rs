//! Methods made of comparisons between arms: what was judged, or what scores say of every two arms.

pub(super) mod eagle;
pub(super) mod routellm_sw;

use crate::method::{FitContext, FitError};
use rand::seq::{SliceRandom, index};
use routewright_data::rng::{self, Rng};
use routewright_policy::forms::Battle;

/// Comparisons by query.
struct Battles {
    /// The rows of the train table that have a comparison, ascending.
    rows: Vec<usize>,
    /// Position of the first comparison of each of them, and their number last.
    starts: Vec<usize>,
    all: Vec<Battle>,
}

impl Battles {
    /// The judgements of each row, or, where there is none, every two arms with a score: the greater wins, equals tie.
    ///
    /// Of a row without judgements `most` comparisons are drawn where there are more.
    fn of(method: &'static str, most: usize, context: &FitContext<'_>) -> Result<Self, FitError> {
        let mut rng = rng::stream(context.seed, "battles");
        let mut battles = Self { rows: Vec::new(), starts: vec![0], all: Vec::new() };
        for row in 0..context.train.n_queries() {
            let judged = context.pairs.map_or(&[][..], |pairs| pairs.of(row));
            match judged {
                [] => battles.all.extend(of_scores(context.train.score.row(row), most, &mut rng)),
                judged => battles.all.extend(judged.iter().map(|c| Battle {
                    a: c.a as u32,
                    b: c.b as u32,
                    share: c.share,
                    weight: c.weight,
                })),
            }
            if battles.all.len() > battles.starts[battles.rows.len()] {
                battles.rows.push(row);
                battles.starts.push(battles.all.len());
            }
        }
        if battles.all.is_empty() {
            let reason =
                "no query has the scores of two models or a judgement between two, expected at least one";
            return Err(FitError::Log { method, reason: reason.to_owned() });
        }
        Ok(battles)
    }

    /// Those of some of the rows of the train table, which must ascend.
    fn select_rows(&self, rows: &[usize]) -> Self {
        let mut kept = Self { rows: Vec::new(), starts: vec![0], all: Vec::new() };
        for row in rows {
            let Ok(at) = self.rows.binary_search(row) else { continue };
            kept.all.extend(&self.all[self.starts[at]..self.starts[at + 1]]);
            kept.rows.push(*row);
            kept.starts.push(kept.all.len());
        }
        kept
    }

    /// Positions of all comparisons in a random order of the seed.
    fn order(&self, seed: u64) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.all.len()).collect();
        order.shuffle(&mut rng::stream(seed, "order of battles"));
        order
    }
}

fn of_scores(scores: &[f32], most: usize, rng: &mut Rng) -> Vec<Battle> {
    let arms: Vec<usize> = (0..scores.len()).filter(|arm| !scores[*arm].is_nan()).collect();
    let pairs: Vec<(usize, usize)> =
        arms.iter().enumerate().flat_map(|(at, a)| arms[at + 1..].iter().map(move |b| (*a, *b))).collect();
    let battle = |(a, b): (usize, usize)| {
        let share = match scores[a].total_cmp(&scores[b]) {
            std::cmp::Ordering::Greater => 1.0,
            std::cmp::Ordering::Equal => 0.5,
            std::cmp::Ordering::Less => 0.0,
        };
        Battle { a: a as u32, b: b as u32, share, weight: 1.0 }
    };
    match pairs.len() > most {
        true => index::sample(rng, pairs.len(), most).into_iter().map(|at| battle(pairs[at])).collect(),
        false => pairs.into_iter().map(battle).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_make_comparisons_of_every_two_that_are_there() {
        let mut rng = rng::stream(1, "test");
        let battles = of_scores(&[0.5, f32::NAN, 0.25, 0.5], 10, &mut rng);
        let read: Vec<_> = battles.iter().map(|b| (b.a, b.b, b.share, b.weight)).collect();
        assert_eq!(read, [(0, 2, 1.0, 1.0), (0, 3, 0.5, 1.0), (2, 3, 0.0, 1.0)]);
        assert!(of_scores(&[f32::NAN, 1.0], 10, &mut rng).is_empty());
        let drawn = of_scores(&[0.0; 12], 5, &mut rng);
        assert_eq!(drawn.len(), 5);
        assert!((1..5).all(|i| (0..i).all(|j| (drawn[i].a, drawn[i].b) != (drawn[j].a, drawn[j].b))));
    }
}
