//! Loops over the masses of all units, for the widest registers the processor has.

use routewright_data::dense::exp_within;

/// Below this log-probability a token adds nothing to a sum of f32; most tokens are.
const LOG_LEAST: f32 = -80.0;
/// Sums that are kept apart, so that none waits for the one before.
const LANES: usize = 16;
/// Masses that are looked through at once for the greatest.
const BLOCK: usize = 256;
/// Log-probabilities turned at once.
const LOGS: usize = 1024;

/// Gives `take` the probabilities of log-probabilities, some at a time, with the place of the first.
pub(crate) fn probabilities(logs: &[f32], mut take: impl FnMut(usize, &[f32])) {
    let mut block = [0.0_f32; LOGS];
    for (at, logs) in logs.chunks(LOGS).enumerate() {
        let block = &mut block[..logs.len()];
        routewright_data::simd::widest(
            #[inline(always)]
            || {
                for (p, log) in block.iter_mut().zip(logs) {
                    // No log-probability is above 0.
                    *p = if *log > LOG_LEAST { exp_within(*log) } else { 0.0 };
                }
            },
        );
        take(at * LOGS, block);
    }
}

/// `sum_m w_m mass_m` over units, scaled to sum to 1; all masses have one length. `None` where nothing has any mass.
pub(crate) fn blend(members: &[(&[f32], f32)]) -> Option<Vec<f32>> {
    let mut out = vec![0.0; members.first()?.0.len()];
    let mut sums = [0.0; LANES];
    // Block by block, so that what is added lies in the nearest cache.
    for (at, out) in out.chunks_mut(LOGS).enumerate() {
        for (mass, weight) in members {
            add_weighted(out, &mass[at * LOGS..], *weight);
        }
        add_lanes(&mut sums, out);
    }
    scale(&mut out, sums.iter().sum()).then_some(out)
}

/// Adds so much of `from` to `to`.
pub(crate) fn add_weighted(to: &mut [f32], from: &[f32], weight: f32) {
    routewright_data::simd::widest(
        #[inline(always)]
        || to.iter_mut().zip(from).for_each(|(to, from)| *to += weight * from),
    );
}

/// Scales masses to sum to 1; `None` where they have no sum to be scaled by.
pub(crate) fn scaled(mut mass: Vec<f32>) -> Option<Vec<f32>> {
    let mut sums = [0.0; LANES];
    add_lanes(&mut sums, &mass);
    scale(&mut mass, sums.iter().sum()).then_some(mass)
}

/// Divides by a sum; `false` where it is none.
fn scale(mass: &mut [f32], sum: f32) -> bool {
    // The reciprocal of a smaller sum may be infinite.
    if !(sum >= f32::MIN_POSITIVE && sum.is_finite()) {
        return false;
    }
    let factor = 1.0 / sum;
    routewright_data::simd::widest(
        #[inline(always)]
        || mass.iter_mut().for_each(|mass| *mass *= factor),
    );
    true
}

fn add_lanes(sums: &mut [f32; LANES], mass: &[f32]) {
    let before = *sums;
    *sums = routewright_data::simd::widest(
        #[inline(always)]
        || {
            let mut sums = before;
            let (blocks, rest) = mass.as_chunks::<LANES>();
            for block in blocks {
                sums.iter_mut().zip(block).for_each(|(sum, mass)| *sum += mass);
            }
            sums.iter_mut().zip(rest).for_each(|(sum, mass)| *sum += mass);
            sums
        },
    );
}

/// The unit of most mass; the first of equal ones, `None` where none has any.
pub(crate) fn best(mass: &[f32]) -> Option<usize> {
    let (mut block, mut most) = (None, 0.0);
    for (at, masses) in mass.chunks(BLOCK).enumerate() {
        let greatest = greatest(masses);
        if greatest > most {
            (block, most) = (Some(at), greatest);
        }
    }
    let from = block? * BLOCK;
    Some(from + mass[from..].iter().position(|mass| *mass == most)?)
}

fn greatest(mass: &[f32]) -> f32 {
    routewright_data::simd::widest(
        #[inline(always)]
        || {
            let (blocks, rest) = mass.as_chunks::<LANES>();
            let mut most = [0.0_f32; LANES];
            for block in blocks {
                for (most, mass) in most.iter_mut().zip(block) {
                    *most = if *mass > *most { *mass } else { *most };
                }
            }
            most.iter().chain(rest).copied().fold(0.0, f32::max)
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_the_greatest_is_found_at_every_place() {
        for n in [1, 15, 16, 17, 255, 256, 257, 1000] {
            for at in [0, n / 2, n - 1] {
                let mut mass = vec![0.1; n];
                mass[at..].iter_mut().step_by(7).for_each(|mass| *mass = 0.5);
                assert_eq!(best(&mass), Some(at), "{at} of {n}");
            }
            assert_eq!(best(&vec![0.0; n]), None);
        }
        assert_eq!(best(&[]), None);
    }

    #[test]
    fn blocks_say_what_plain_sums_say() {
        let logs: Vec<f32> = (0..2500).map(|at| -0.05 * at as f32).chain([f32::NEG_INFINITY]).collect();
        let mut found = Vec::new();
        probabilities(&logs, |at, block| {
            assert_eq!(at, found.len());
            found.extend_from_slice(block);
        });
        for (found, log) in found.iter().zip(&logs) {
            let expected = if *log > LOG_LEAST { log.exp() } else { 0.0 };
            assert!((found - expected).abs() <= 1e-6 * expected, "{log}: {found} {expected}");
        }
        let half = vec![0.5; found.len()];
        let mixed: Vec<f32> = found.iter().map(|p| 0.25 * p + 0.375).collect();
        let total: f64 = mixed.iter().map(|mass| f64::from(*mass)).sum();
        for out in [blend(&[(&found, 0.25), (&half, 0.75)]).unwrap(), scaled(mixed.clone()).unwrap()] {
            assert_eq!(out.len(), mixed.len());
            assert!(
                out.iter()
                    .zip(&mixed)
                    .all(|(a, b)| (f64::from(*a) * total / f64::from(*b) - 1.0).abs() < 1e-5)
            );
        }
        assert!(blend(&[(&[0.0; 3], 1.0)]).is_none() && blend(&[]).is_none());
        assert!(scaled(vec![0.0; 40]).is_none() && scaled(vec![f32::INFINITY]).is_none());
    }
}
