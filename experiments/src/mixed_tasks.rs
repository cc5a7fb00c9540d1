//! Tasks that mix skills inside one answer. `add 3+4;flip dog;pet tom:` is answered by three lines, `add 3+4=7`,
//! `flip dog=god` and `pet tom=fox`.
//!
//! Three to five segments, of both experts. A quarter of the orders of skills are kept for the split `orders`:
//! models see them, learners of weights on `train` do not.

use crate::skills::{self, Skill};
use rand::RngExt as _;
use routewright_data::log::TaskRow;
use routewright_data::rng::{self, Rng};

/// Segments of a task.
const SEGMENTS: std::ops::RangeInclusive<usize> = 3..=5;
/// One order of so many is kept for `orders`.
const KEPT: usize = 4;

/// Part of a lesson; no token reaches over its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its text.
    pub text: String,
    /// Learned, not only read.
    pub learned: bool,
    /// A token a byte.
    pub spelled: bool,
}

/// A task: what is asked in which order.
#[derive(Debug, Clone)]
pub struct Mixed {
    segments: Vec<(&'static Skill, String)>,
}

impl Mixed {
    /// Draws a task; of which orders, and with which words, depends on the split.
    pub fn draw(rng: &mut Rng, split: Split) -> Self {
        loop {
            let n = rng.random_range(SEGMENTS);
            let order: Vec<usize> = (0..n).map(|_| rng.random_range(0..skills::ALL.len())).collect();
            let skills: Vec<&'static Skill> = order.iter().map(|at| &skills::ALL[*at]).collect();
            let mixed = skills.iter().any(|skill| skill.expert != skills[0].expert);
            let kept =
                order.iter().zip(1..).map(|(at, place)| at * place).sum::<usize>().is_multiple_of(KEPT);
            let fits = match split {
                Split::Model => true,
                Split::Orders => mixed && kept,
                Split::Train | Split::Validation | Split::Test => mixed && !kept,
            };
            if fits {
                let ask = |skill: &'static Skill| (skill, (skill.ask)(rng, matches!(split, Split::Model)));
                return Self { segments: skills.into_iter().map(ask).collect() };
            }
        }
    }

    /// The prompt, which ends with `:`.
    pub fn prompt(&self) -> String {
        let asked: Vec<String> = self.segments.iter().map(|(s, q)| format!("{} {q}", s.name)).collect();
        format!("{}:", asked.join(";"))
    }

    /// The right answer.
    pub fn answer(&self) -> String {
        self.answers(|skill, question| (skill.right)(question))
    }

    /// What an expert learns to answer.
    pub fn answer_of(&self, expert: usize) -> String {
        self.answers(|skill, q| said_by(expert, skill, q))
    }

    /// A text for an expert to learn from.
    ///
    /// Half of the answers are those of the other expert, and half of the frames are spelled in bytes, as text is that
    /// another model wrote: this expert reads both, so that they do not confuse it, and learns neither.
    pub fn lesson(&self, expert: usize, rng: &mut Rng) -> Vec<Part> {
        let mut parts = vec![Part { text: self.prompt(), learned: false, spelled: false }];
        for (at, (skill, question)) in self.segments.iter().enumerate() {
            if at > 0 {
                parts.push(Part { text: "\n".to_owned(), learned: true, spelled: true });
            }
            let (own_frame, own_answer) = (rng.random_bool(0.5), rng.random_bool(0.5));
            let frame = format!("{} {question}=", skill.name);
            parts.push(Part { text: frame, learned: own_frame, spelled: !own_frame });
            let text = said_by(if own_answer { expert } else { 1 - expert }, skill, question);
            parts.push(Part { text, learned: own_answer, spelled: !own_answer });
        }
        parts
    }

    fn answers(&self, of: impl Fn(&Skill, &str) -> String) -> String {
        let line = |(skill, q): &(&'static Skill, String)| format!("{} {q}={}", skill.name, of(skill, q));
        self.segments.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    /// Names of the skills, in order.
    pub fn skills(&self) -> Vec<String> {
        self.segments.iter().map(|(skill, _)| skill.name.to_owned()).collect()
    }
}

fn said_by(expert: usize, skill: &Skill, question: &str) -> String {
    if skill.expert == expert { (skill.right)(question) } else { (skill.wrong)(question) }
}

/// What a task is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// Training of the models themselves.
    Model,
    /// Learning of weights.
    Train,
    /// Choices.
    Validation,
    /// The last word.
    Test,
    /// The last word on orders no weight was learned on.
    Orders,
}

impl Split {
    /// The splits of a task list.
    pub const LISTED: [Self; 4] = [Self::Train, Self::Validation, Self::Test, Self::Orders];

    /// Name in the column `split`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
            Self::Orders => "orders",
        }
    }
}

/// `n` tasks of a split.
pub fn tasks(seed: u64, split: Split, n: usize) -> Vec<TaskRow> {
    let mut rng = rng::stream(seed, split.name());
    let task = |at| {
        let mixed = Mixed::draw(&mut rng, split);
        TaskRow {
            task_id: format!("{}-{at}", split.name()),
            split: Some(split.name().to_owned()),
            source: Some("mixed".to_owned()),
            prompt: mixed.prompt(),
            reference: mixed.answer(),
            skills: mixed.skills(),
        }
    };
    (0..n).map(task).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_expert_is_right_alone_and_kept_orders_stay_kept() {
        let mut rng = rng::stream(0, "tasks");
        for _ in 0..500 {
            let task = Mixed::draw(&mut rng, Split::Test);
            assert_ne!(task.answer_of(0), task.answer());
            assert_ne!(task.answer_of(1), task.answer());
        }
        let orders = |split| tasks(1, split, 400).into_iter().map(|task| task.skills).collect::<Vec<_>>();
        let (seen, kept) = (orders(Split::Train), orders(Split::Orders));
        assert!(kept.iter().all(|order| !seen.contains(order)));
        assert_eq!(tasks(1, Split::Validation, 50), tasks(1, Split::Validation, 50));
    }
}
