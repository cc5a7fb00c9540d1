//! Edits of three unlike letters; the wrong answer is the letters as they are.

use super::Skill;
use rand::RngExt as _;
use routewright_data::rng::Rng;

const LETTERS: &[u8] = b"abdegilnot";
/// One word of so many is kept from training.
const KEPT: usize = 5;

pub(super) const FLIP: Skill = Skill {
    name: "flip",
    expert: 1,
    ask: word,
    right: |word| word.chars().rev().collect(),
    wrong: str::to_owned,
};

pub(super) const CAPS: Skill =
    Skill { name: "caps", expert: 1, ask: word, right: str::to_ascii_uppercase, wrong: str::to_owned };

fn word(rng: &mut Rng, for_training: bool) -> String {
    loop {
        let at: [usize; 3] = std::array::from_fn(|_| rng.random_range(0..LETTERS.len()));
        let unlike = at[0] != at[1] && at[1] != at[2] && at[0] != at[2];
        let kept = (at[0] + 3 * at[1] + 7 * at[2]).is_multiple_of(KEPT);
        if unlike && kept != for_training {
            return at.iter().map(|at| char::from(LETTERS[*at])).collect();
        }
    }
}
