//! Sums of two digits; the wrong answer is one more.

use super::Skill;
use rand::RngExt as _;

pub(super) const ADD: Skill = Skill {
    name: "add",
    expert: 0,
    ask: |rng, _| format!("{}+{}", rng.random_range(0..10), rng.random_range(0..10)),
    right: |question| sum(question).to_string(),
    wrong: |question| (sum(question) + 1).to_string(),
};

fn sum(question: &str) -> u32 {
    question.split('+').filter_map(|digit| digit.parse::<u32>().ok()).sum()
}
