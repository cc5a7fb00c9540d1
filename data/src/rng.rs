//! The one random generator, always seeded by the caller, split into named streams.

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::SeedableRng;

/// The generator every random choice of routewright is drawn from.
pub type Rng = Xoshiro256PlusPlus;

/// A generator for one purpose: streams of different names or seeds are independent.
///
/// Naming the stream keeps a new random step from shifting the draws of the older ones.
pub fn stream(seed: u64, purpose: &str) -> Rng {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.update(purpose.as_bytes());
    Rng::from_seed(*hasher.finalize().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_xoshiro::rand_core::Rng as _;

    #[test]
    fn streams_repeat_by_seed_and_differ_by_purpose() {
        assert_eq!(stream(1, "a").next_u64(), stream(1, "a").next_u64());
        assert_ne!(stream(1, "a").next_u64(), stream(1, "b").next_u64());
        assert_ne!(stream(1, "a").next_u64(), stream(2, "a").next_u64());
    }
}
