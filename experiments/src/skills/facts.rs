//! Who has which pet, a table to be known by heart; the wrong answer is the pet of the next name.

use super::Skill;
use rand::RngExt as _;

const PETS: [(&str, &str); 10] = [
    ("tom", "fox"),
    ("ann", "cow"),
    ("bob", "hen"),
    ("eva", "pig"),
    ("max", "owl"),
    ("zoe", "rat"),
    ("sam", "bee"),
    ("liz", "emu"),
    ("dan", "ape"),
    ("ivy", "yak"),
];

pub(super) const PET: Skill = Skill {
    name: "pet",
    expert: 0,
    ask: |rng, _| PETS[rng.random_range(0..PETS.len())].0.to_owned(),
    right: |question| pet(question, 0),
    wrong: |question| pet(question, 1),
};

fn pet(name: &str, further: usize) -> String {
    let at = PETS.iter().position(|(known, _)| *known == name).unwrap_or(0);
    PETS[(at + further) % PETS.len()].1.to_owned()
}
