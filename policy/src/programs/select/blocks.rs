//! Features of a candidate, in blocks: who gave it, how good they are, how far answers agree.
//!
//! A scorer reads the blocks of a selection one after another. Training and serving call the same function; what
//! differs is the [`Standing`] of the members, which leaves the own score out where a row is trained on.

use super::panel::{Panel, Standing, log_odds};
use super::texts;
use routewright_data::FeatureMatrix;
use routewright_data::answers::agreement::SIMILARITIES;
use serde::{Deserialize, Serialize};

/// Share of the independent part in the correlations that are inverted.
const RIDGE: f64 = 0.3;

/// Everything a block reads of one query.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// Answers and candidates.
    pub panel: &'a Panel<'a>,
    /// How good the members are on the task.
    pub standing: Standing<'a>,
    /// Vectors of the answers, in their order; where a block reads them.
    pub vectors: Option<&'a FeatureMatrix>,
    /// Predicted score of each member on the query; where a block reads them.
    pub predicted: Option<&'a [f32]>,
}

/// Numbers of one kind for each candidate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "block", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Block {
    /// For each member the probability that it gives to the candidate where it is an option and its answer has
    /// probabilities of options, else 1 where it gave the candidate and 0 elsewhere.
    Mass,
    /// For each member 1 where it gave the candidate, else 0.
    Who,
    /// The same for each of the tasks, 0 where the query is of another.
    WhoByTask {
        /// Tasks, the `source` of requests.
        tasks: Vec<String>,
    },
    /// For each group of members the share of its answers that are the candidate; then the same for each task.
    Groups {
        /// Members of each group.
        groups: Vec<Vec<usize>>,
        /// Tasks.
        tasks: Vec<String>,
    },
    /// Seven numbers of the accuracies of those that gave it.
    Accuracy,
    /// Five numbers of how many gave it.
    Agreement,
    /// Four numbers of a vote in which members that err together count less.
    Correlation {
        /// What the vote of each member counts.
        weights: Vec<f64>,
        /// Correlation of the scores of each two members, `(n, n)`.
        between: Vec<f64>,
    },
    /// Whether each of the three best members gave it, and whether the first two did.
    Top,
    /// Logarithm of the characters of its strongest giver's answer, in standard deviations of that member: once, and
    /// for that member alone.
    Length {
        /// Mean of each member.
        means: Vec<f64>,
        /// Standard deviation of each member, above 0.
        spreads: Vec<f64>,
    },
    /// Sum of the weights of those that gave it.
    Weighted {
        /// Weight of each member.
        weights: Vec<f64>,
        /// Weights on each task.
        tasks: std::collections::BTreeMap<String, Vec<f64>>,
    },
    /// Mean similarity of its strongest giver's text to the other answers.
    Medoid {
        /// Name of the similarity.
        similarity: String,
    },
    /// Mean squared distance, below 0, of its strongest giver's vector to those of the other answers.
    Distance,
    /// Predicted score of its strongest giver on the query.
    Predicted,
    /// Form of the query and of its strongest giver's answer, and how like the others' that answer is.
    Surface,
}

impl Block {
    /// How many numbers it makes where there are `n` members.
    pub fn dim(&self, n: usize) -> usize {
        match self {
            Self::Who | Self::Mass => n,
            Self::WhoByTask { tasks } => n * tasks.len(),
            Self::Groups { groups, tasks } => groups.len() * (tasks.len() + 1),
            Self::Accuracy => 7,
            Self::Agreement => 5,
            Self::Correlation { .. } | Self::Top => 4,
            Self::Length { .. } => n + 1,
            Self::Weighted { .. } | Self::Medoid { .. } | Self::Distance | Self::Predicted => 1,
            Self::Surface => texts::dim(n),
        }
    }

    /// Whether it reads vectors of answers.
    pub fn reads_vectors(&self) -> bool {
        *self == Self::Distance
    }

    /// Whether it reads predicted scores of members.
    pub fn reads_predicted(&self) -> bool {
        *self == Self::Predicted
    }

    pub(super) fn check(&self, n: usize) -> Result<(), String> {
        let per_member = |what: &str, values: &[f64]| match values.iter().find(|value| !value.is_finite()) {
            Some(value) => Err(format!("a block has the {what} `{value}`, expected finite numbers")),
            None if values.len() != n => {
                Err(format!("a block has {} {what}s, expected {n}, one a member", values.len()))
            }
            None => Ok(()),
        };
        match self {
            Self::Groups { groups, .. } => match groups.iter().flatten().find(|member| **member >= n) {
                Some(member) => Err(format!("a group has member `{member}`, expected one of {n}")),
                None if groups.iter().any(Vec::is_empty) => Err("a group has no member".to_owned()),
                None => Ok(()),
            },
            Self::Correlation { weights, between } => {
                per_member("weight", weights)?;
                if between.len() != n * n || between.iter().any(|value| !value.is_finite()) {
                    return Err(format!(
                        "a block has {} correlations, expected {n} x {n} finite ones",
                        between.len()
                    ));
                }
                Ok(())
            }
            Self::Length { means, spreads } => {
                per_member("mean", means)?;
                per_member("spread", spreads)?;
                match spreads.iter().find(|spread| **spread <= 0.0) {
                    Some(spread) => Err(format!("a spread is `{spread}`, expected one above 0")),
                    None => Ok(()),
                }
            }
            Self::Weighted { weights, tasks } => {
                tasks.values().chain([weights]).try_for_each(|weights| per_member("weight", weights))
            }
            Self::Medoid { similarity } => match SIMILARITIES.iter().any(|row| row.name == similarity) {
                true => Ok(()),
                false => {
                    let known: Vec<&str> = SIMILARITIES.iter().map(|row| row.name).collect();
                    Err(format!("no similarity `{similarity}`, expected one of {}", known.join(", ")))
                }
            },
            _ => Ok(()),
        }
    }

    /// Appends its numbers of every candidate to their rows.
    fn write(&self, seen: &Seen<'_>, rows: &mut [Vec<f32>]) {
        let (panel, n) = (seen.panel, seen.standing.own.len());
        for (candidate, row) in rows.iter_mut().enumerate() {
            let start = row.len();
            row.resize(start + self.dim(n), 0.0);
            let out = &mut row[start..];
            let best = panel.givens[panel.candidates[candidate].best].member;
            match self {
                Self::Who => panel.members(candidate).for_each(|member| out[member] = 1.0),
                Self::Mass => write_mass(panel, candidate, out),
                Self::WhoByTask { tasks } => {
                    let task = tasks.iter().position(|task| Some(task.as_str()) == panel.task);
                    let Some(task) = task else { continue };
                    panel.members(candidate).for_each(|member| out[task * n + member] = 1.0);
                }
                Self::Groups { groups, tasks } => write_groups(panel, candidate, groups, tasks, out),
                Self::Accuracy => write_accuracy(seen, candidate, out),
                Self::Agreement => write_agreement(panel, candidate, out),
                Self::Correlation { weights, between } => {
                    write_correlation(seen, candidate, weights, between, out);
                }
                Self::Top => write_top(seen, candidate, out),
                Self::Length { means, spreads } => {
                    let text = panel.givens[panel.candidates[candidate].best].text;
                    let z = ((texts::log_chars(text) - means[best]) / spreads[best]).clamp(-4.0, 4.0) as f32;
                    (out[0], out[1 + best]) = (z, z);
                }
                Self::Weighted { weights, tasks } => {
                    let own = panel.task.and_then(|task| tasks.get(task)).unwrap_or(weights);
                    out[0] = panel.members(candidate).map(|member| own[member]).sum::<f64>() as f32;
                }
                Self::Medoid { similarity } => out[0] = texts::likeness(panel, candidate, similarity),
                Self::Distance => out[0] = texts::nearness(seen, candidate),
                Self::Predicted => {
                    out[0] = seen.predicted.and_then(|scores| scores.get(best)).copied().unwrap_or(0.0);
                }
                Self::Surface => texts::write_surface(panel, candidate, n, out),
            }
        }
    }
}

/// Numbers of every candidate by all blocks, one row a candidate.
pub fn features(blocks: &[Block], seen: &Seen<'_>) -> FeatureMatrix {
    let n = seen.standing.own.len();
    let mut rows = vec![Vec::new(); seen.panel.candidates.len()];
    blocks.iter().for_each(|block| block.write(seen, &mut rows));
    let dim = blocks.iter().map(|block| block.dim(n)).sum();
    FeatureMatrix::from_vec(rows.len(), dim, rows.into_iter().flatten().collect())
}

fn write_mass(panel: &Panel<'_>, candidate: usize, out: &mut [f32]) {
    let form = panel.givens[panel.candidates[candidate].best].form;
    let option = form.and_then(|form| match form.as_bytes() {
        [letter @ b'A'..=b'Z'] => Some(usize::from(letter - b'A')),
        _ => None,
    });
    for given in &panel.givens {
        out[given.member] = match option.and_then(|option| given.option_probs.get(option)) {
            Some(probability) => *probability,
            None => f32::from(u8::from(form.is_some() && given.form == form)),
        };
    }
}

fn write_groups(
    panel: &Panel<'_>,
    candidate: usize,
    groups: &[Vec<usize>],
    tasks: &[String],
    out: &mut [f32],
) {
    let task = tasks.iter().position(|task| Some(task.as_str()) == panel.task);
    let gave: Vec<usize> = panel.members(candidate).collect();
    for (at, group) in groups.iter().enumerate() {
        let of_group = panel.givens.iter().filter(|given| group.contains(&given.member)).count();
        let share =
            gave.iter().filter(|member| group.contains(member)).count() as f32 / of_group.max(1) as f32;
        out[at] = share;
        if let Some(task) = task {
            out[(task + 1) * groups.len() + at] = share;
        }
    }
}

/// Sums of log-odds on the task and over all; the weight of its votes, and its share of all weight; the accuracy of
/// its best giver; the log of the share; whether no answer has a better giver.
fn write_accuracy(seen: &Seen<'_>, candidate: usize, out: &mut [f32]) {
    let (panel, standing) = (seen.panel, seen.standing);
    let weight = |candidate: usize| panel.members(candidate).map(|member| standing.vote(member)).sum::<f64>();
    let all: f64 = (0..panel.candidates.len()).map(weight).sum();
    let own = weight(candidate);
    let share = if all > 0.0 { own / all } else { 0.0 };
    let best_of = |candidate: usize| {
        panel.members(candidate).map(|member| standing.own[member]).fold(f64::NEG_INFINITY, f64::max)
    };
    let best = best_of(candidate);
    let most = (0..panel.candidates.len()).map(best_of).fold(f64::NEG_INFINITY, f64::max);
    let sum = |values: &[f64]| panel.members(candidate).map(|member| log_odds(values[member])).sum::<f64>();
    let numbers = [
        sum(standing.own),
        sum(standing.overall),
        own,
        share,
        best,
        (share + 0.01).ln(),
        f64::from(u8::from(best >= most)),
    ];
    out.iter_mut().zip(numbers).for_each(|(out, number)| *out = number as f32);
}

/// Share of those asked; log of their number; whether no candidate has more; their number over the most; whether one
/// gave it alone.
fn write_agreement(panel: &Panel<'_>, candidate: usize, out: &mut [f32]) {
    let count = panel.candidates[candidate].givers.len();
    let most = panel.largest();
    let flag = |is: bool| if is { 1.0 } else { 0.0 };
    let numbers = [
        count as f32 / panel.n_asked.max(1) as f32,
        (count as f32).ln(),
        flag(count == most),
        count as f32 / most.max(1) as f32,
        flag(count == 1),
    ];
    out.copy_from_slice(&numbers);
}

/// The decorrelated vote, its share, and `n^2 / (1' R 1)` of the `n` that gave it with its logarithm.
fn write_correlation(seen: &Seen<'_>, candidate: usize, weights: &[f64], between: &[f64], out: &mut [f32]) {
    let (panel, n) = (seen.panel, weights.len());
    let vote = |candidate: usize| {
        panel.members(candidate).map(|member| weights[member] * seen.standing.vote(member)).sum::<f64>()
    };
    let all: f64 = (0..panel.candidates.len()).map(vote).sum();
    let own = vote(candidate);
    let gave: Vec<usize> = panel.members(candidate).collect();
    let shared = |a: usize, b: usize| match a == b {
        true => 1.0,
        false => (1.0 - RIDGE) * between[a * n + b],
    };
    let sum: f64 = gave.iter().flat_map(|a| gave.iter().map(|b| shared(*a, *b))).sum();
    let r = gave.len() as f64;
    // Correlations below 0 can make the sum small: no more than each counts for itself.
    let effective = (r * r / sum.max(1.0)).min(r);
    let share = if all > 0.0 { own / all } else { 0.0 };
    for (out, number) in out.iter_mut().zip([own, share, effective, effective.ln()]) {
        *out = number as f32;
    }
}

fn write_top(seen: &Seen<'_>, candidate: usize, out: &mut [f32]) {
    let own = seen.standing.own;
    let mut order: Vec<usize> = (0..own.len()).collect();
    order.sort_by(|a, b| own[*b].total_cmp(&own[*a]).then(a.cmp(b)));
    for (out, member) in out.iter_mut().zip(order.iter().take(3)) {
        *out = f32::from(u8::from(seen.panel.members(candidate).any(|gave| gave == *member)));
    }
    out[3] = out[0] * out[1];
}

#[cfg(test)]
mod tests {
    use super::super::panel::{Given, Grouping};
    use super::*;

    const OWN: [f64; 4] = [0.8, 0.5, 0.9, 0.6];
    const OVERALL: [f64; 4] = [0.7, 0.5, 0.8, 0.6];

    /// Members 0 and 1 say 4, member 2 says 5; member 3 failed.
    fn panel() -> Panel<'static> {
        let given = |member, form| Given { member, form: Some(form), text: form, ..Given::default() };
        let givens = vec![given(0, "4"), given(1, "4"), given(2, "5")];
        Panel::of("q", Some("x"), givens, 4, Grouping::Equal, &OWN)
    }

    fn rows(block: Block) -> Vec<Vec<f32>> {
        let panel = panel();
        let standing = Standing { overall: &OVERALL, own: &OWN, collision: 0.5 };
        block.check(4).unwrap();
        let seen = Seen { panel: &panel, standing, vectors: None, predicted: Some(&[0.1, 0.2, 0.3, 0.4]) };
        let found = features(std::slice::from_ref(&block), &seen);
        assert_eq!(found.dim(), block.dim(4));
        (0..2).map(|row| found.row(row).to_vec()).collect()
    }

    fn near(found: &[f32], by_hand: &[f64]) {
        let near = |(a, b): (&f32, &f64)| (f64::from(*a) - b).abs() < 1e-5;
        assert!(found.len() == by_hand.len() && found.iter().zip(by_hand).all(near), "{found:?} {by_hand:?}");
    }

    #[test]
    fn who_gave_it_by_member_task_and_group() {
        assert_eq!(rows(Block::Who), [[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]]);
        let tasks = vec!["y".to_owned(), "x".to_owned()];
        let by_task = rows(Block::WhoByTask { tasks: tasks.clone() });
        assert_eq!(by_task[0], [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0]);
        // Of group 0 member 0 of two answered it; of group 1 none did, and of group 2 nobody answered.
        let groups = vec![vec![0, 2], vec![2, 3], vec![3]];
        let shares = rows(Block::Groups { groups, tasks });
        assert_eq!(shares[0], [0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.5, 0.0, 0.0]);
        let weights = Block::Weighted {
            weights: vec![9.0; 4],
            tasks: [("x".to_owned(), vec![1.0, 2.0, -4.0, 8.0])].into(),
        };
        assert_eq!(rows(weights), [[3.0], [-4.0]]);
        assert_eq!(rows(Block::Predicted), [[0.1], [0.3]]);
        // Best on the task: 2, 0, 3.
        assert_eq!(rows(Block::Top), [[0.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]]);
    }

    #[test]
    fn mass_is_the_probability_of_the_option_or_the_answer_given() {
        let given = |member, form, option_probs| Given {
            member,
            form: Some(form),
            text: form,
            option_probs,
            ..Given::default()
        };
        let givens = vec![given(0, "B", &[0.25, 0.75][..]), given(2, "A", &[][..]), given(3, "B", &[][..])];
        let panel = Panel::of("q", None, givens, 4, Grouping::Equal, &OWN);
        let standing = Standing { overall: &OVERALL, own: &OWN, collision: 0.5 };
        let seen = Seen { panel: &panel, standing, vectors: None, predicted: None };
        let found = features(&[Block::Mass], &seen);
        assert_eq!((found.row(0), found.row(1)), (&[0.75, 0.0, 0.0, 1.0][..], &[0.25, 0.0, 1.0, 0.0][..]));
    }

    #[test]
    fn accuracy_and_agreement_are_those_counted_by_hand() {
        let (four, half, nine, two) = (4_f64.ln(), 0.0, 9_f64.ln(), 2_f64.ln());
        // Votes: ln 4 + ln 2, ln 1 + ln 2; ln 9 + ln 2.
        let (own, other) = (four + two + half + two, nine + two);
        let share = own / (own + other);
        let overall = (0.7_f64 / 0.3).ln();
        let found = rows(Block::Accuracy);
        near(&found[0], &[four, overall, own, share, 0.8, (share + 0.01).ln(), 0.0]);
        assert_eq!((found[1][4], found[1][6]), (0.9, 1.0));
        let found = rows(Block::Agreement);
        near(&found[0], &[0.5, two, 1.0, 1.0, 0.0]);
        near(&found[1], &[0.25, 0.0, 0.0, 0.5, 1.0]);
    }

    #[test]
    fn members_that_err_together_count_less() {
        let mut between = vec![0.0; 16];
        (0..4).for_each(|at| between[at * 5] = 1.0);
        (between[1], between[4]) = (1.0, 1.0);
        let found = rows(Block::Correlation { weights: vec![0.5, 0.5, 1.0, 1.0], between });
        let (own, other) = ((4_f64.ln() + 2.0 * 2_f64.ln()) / 2.0, 18_f64.ln());
        // 2^2 / (1 + 1 + 2 * 0.7)
        let effective = 4.0 / 3.4_f64;
        near(&found[0], &[own, own / (own + other), effective, effective.ln()]);
        near(&found[1], &[other, other / (own + other), 1.0, 0.0]);
        let length = Block::Length { means: vec![2_f64.ln(), 0.0, 0.0, 0.0], spreads: vec![0.5; 4] };
        // One character each: ln 2; the second is 2 ln 2 above its mean.
        let found = rows(length);
        near(&found[0], &[0.0; 5]);
        near(&found[1], &[2.0 * 2_f64.ln(), 0.0, 0.0, 2.0 * 2_f64.ln(), 0.0]);
    }

    #[test]
    fn blocks_of_other_members_are_refused() {
        let says = |block: Block| block.check(3).unwrap_err();
        let weights = vec![1.0; 2];
        assert!(says(Block::Groups { groups: vec![vec![3]], tasks: vec![] }).contains("member `3`"));
        assert!(says(Block::Weighted { weights, tasks: Default::default() }).contains("2 weights"));
        let zero = Block::Length { means: vec![0.0; 3], spreads: vec![0.0; 3] };
        assert!(says(zero).contains("`0`"));
        let lost = Block::Correlation { weights: vec![1.0; 3], between: vec![f64::NAN; 9] };
        assert!(says(lost).contains("3 x 3"));
        assert!(says(Block::Medoid { similarity: "f1".to_owned() }).contains("token-f1"));
    }
}
