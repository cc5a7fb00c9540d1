//! Small helpers over the one random generator.

use rand::RngExt as _;
pub(crate) use routewright_data::rng::Rng;

/// A number below `n`, 0 where `n` is 0.
pub(crate) fn below(rng: &mut Rng, n: usize) -> usize {
    if n == 0 { 0 } else { rng.random_range(0..n) }
}

/// Whether one in `n` comes up.
pub(crate) fn one_in(rng: &mut Rng, n: usize) -> bool {
    below(rng, n) == 0
}

/// One of the items, of which there is at least one.
pub(crate) fn pick<'a, T>(rng: &mut Rng, items: &'a [T]) -> &'a T {
    &items[below(rng, items.len())]
}

/// A size that is small most often.
pub(crate) fn size(rng: &mut Rng) -> usize {
    let most = *pick(rng, &[2, 4, 8, 16, 64, 300, 2000]);
    below(rng, most)
}
