//! Skills: what a segment of a prompt asks, the right answer, and the answer of a model that never learned it.
//!
//! The wrong answer follows a rule of its own, so that a model that learned it is sure of it. Mixing probabilities
//! evenly then settles nothing, and only weights that change from segment to segment can be right.

mod arithmetic;
mod facts;
mod strings;

use routewright_data::rng::Rng;

/// One kind of question.
#[derive(Debug, Clone, Copy)]
pub struct Skill {
    /// Name, also the word the question begins with.
    pub name: &'static str,
    /// The expert that learns the right answers: 0 or 1.
    pub expert: usize,
    /// Draws the rest of a question; words of a fifth of all are only drawn for tasks, never for training.
    pub ask: fn(&mut Rng, for_training: bool) -> String,
    /// The right answer.
    pub right: fn(&str) -> String,
    /// What the other expert learns to answer; never the right answer.
    pub wrong: fn(&str) -> String,
}

/// Every skill.
pub static ALL: [Skill; 4] = [arithmetic::ADD, facts::PET, strings::FLIP, strings::CAPS];

/// The skill of a name.
pub fn find(name: &str) -> Option<&'static Skill> {
    ALL.iter().find(|skill| skill.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use routewright_data::rng;

    #[test]
    fn answers_worked_out_by_hand() {
        let answers = [
            ("add", "3+4", "7", "8"),
            ("add", "9+9", "18", "19"),
            ("pet", "tom", "fox", "cow"),
            ("flip", "dog", "god", "dog"),
            ("caps", "dog", "DOG", "dog"),
        ];
        for (name, question, right, wrong) in answers {
            let skill = find(name).unwrap();
            assert_eq!(
                ((skill.right)(question), (skill.wrong)(question)),
                (right.to_owned(), wrong.to_owned())
            );
        }
    }

    #[test]
    fn the_wrong_answer_is_never_right() {
        let mut rng = rng::stream(0, "skills");
        for skill in &ALL {
            for draw in 0..500 {
                let question = (skill.ask)(&mut rng, draw % 2 == 0);
                assert_ne!((skill.right)(&question), (skill.wrong)(&question), "{} {question}", skill.name);
            }
        }
    }
}
