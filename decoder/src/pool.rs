//! From the masses of several members to one distribution.
//!
//! Weights are not negative and sum to 1 over the members that take part.

use crate::align::{Aligned, Unlisted};
use crate::mass::{blend, scaled};

/// How masses meet.
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pool {
    /// `sum_m w_m p_m`: a unit is probable if one member finds it so.
    #[default]
    Linear,
    /// `prod_m p_m ^ w_m`, scaled to 1: probable only if no member finds it improbable. Equals averaging logits.
    LogLinear,
    /// `p_1 / p_2^alpha`, scaled to 1, of the first two members, whatever the weights: what the first says and the
    /// second does not. Equals logits `z_1 - alpha z_2`.
    Contrast {
        /// How far the second counts.
        alpha: f32,
    },
}

/// What a member that gives a unit no mass is taken to give it, in log-linear pools: it vetoes, but not absolutely. A
/// member whose list is cut off gives what it does not list its share of the rest instead.
const LOG_FLOOR: f32 = -60.0;

impl Pool {
    /// The pooled masses, scaled to sum to 1; `None` where nothing has any mass.
    pub fn pool(self, mass: &[Option<Vec<f32>>], weights: &[f32]) -> Option<Vec<f32>> {
        self.pooled(mass, &[], weights)
    }

    /// The same, heeding what members do not list. A unit that no member lists has none.
    pub fn of(self, aligned: &Aligned<'_>, weights: &[f32]) -> Option<Vec<f32>> {
        self.pooled(&aligned.mass, &aligned.unlisted, weights)
    }

    fn pooled(
        self,
        mass: &[Option<Vec<f32>>],
        unlisted: &[Unlisted<'_>],
        weights: &[f32],
    ) -> Option<Vec<f32>> {
        let rest = |member: usize| unlisted.get(member).copied().unwrap_or_default();
        let members: Vec<Pooled<'_>> = mass
            .iter()
            .zip(weights)
            .enumerate()
            .filter(|(_, (_, weight))| **weight > 0.0)
            .filter_map(|(at, (mass, weight))| Some((mass.as_deref()?, *weight, rest(at))))
            .collect();
        let n_units = members.first()?.0.len();
        let pooled = match self {
            Self::Linear => {
                let members: Vec<(&[f32], f32)> = members.iter().map(|(mass, w, _)| (*mass, *w)).collect();
                return blend(&members);
            }
            Self::LogLinear => log_linear(&members, n_units)?,
            Self::Contrast { alpha } => contrast(mass, rest(1), alpha)?,
        };
        scaled(pooled)
    }
}

/// Masses of a member, its weight, and what it gives units that it does not list.
type Pooled<'a> = (&'a [f32], f32, Unlisted<'a>);

/// Logarithm of the mass of a unit.
fn log(mass: &[f32], unlisted: Unlisted<'_>, unit: usize) -> f32 {
    let mass = if mass[unit] > 0.0 { mass[unit] } else { unlisted.of(unit) };
    mass.ln().max(LOG_FLOOR)
}

/// Units that the first member gives no mass have none.
fn contrast(mass: &[Option<Vec<f32>>], rest: Unlisted<'_>, alpha: f32) -> Option<Vec<f32>> {
    let first = mass.first()?.as_ref()?;
    let Some(Some(second)) = mass.get(1) else { return Some(first.clone()) };
    let term = |(unit, a): (usize, &f32)| match *a > 0.0 {
        true => a.ln() - alpha * log(second, rest, unit),
        false => f32::NEG_INFINITY,
    };
    let logs: Vec<f32> = first.iter().enumerate().map(term).collect();
    let max = logs.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    (max > f32::NEG_INFINITY).then(|| logs.iter().map(|log| (log - max).exp()).collect())
}

/// Units that no member gives any mass have none; `None` where that is all of them.
fn log_linear(members: &[Pooled<'_>], n_units: usize) -> Option<Vec<f32>> {
    let sum: f32 = members.iter().map(|(_, weight, _)| weight).sum();
    let mut logs = vec![f32::NEG_INFINITY; n_units];
    let mut max = f32::NEG_INFINITY;
    for (unit, pooled) in logs.iter_mut().enumerate() {
        if members.iter().any(|(mass, ..)| mass[unit] > 0.0) {
            let term = |(mass, weight, rest): &Pooled<'_>| weight / sum * log(mass, *rest, unit);
            *pooled = members.iter().map(term).sum();
            max = max.max(*pooled);
        }
    }
    (max > f32::NEG_INFINITY).then(|| logs.iter().map(|log| (log - max).exp()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: [f32; 3] = [0.5, 0.3, 0.2];
    const B: [f32; 3] = [0.1, 0.1, 0.8];

    fn pooled(pool: Pool, weights: [f32; 2]) -> Vec<f32> {
        pool.pool(&[Some(A.to_vec()), Some(B.to_vec())], &weights).unwrap()
    }

    #[test]
    fn one_hot_weights_give_that_member_and_order_does_not_matter() {
        for pool in [Pool::Linear, Pool::LogLinear] {
            for (given, expected) in pooled(pool, [0.0, 1.0]).iter().zip(B) {
                assert!((given - expected).abs() < 1e-6);
            }
            let turned = pool.pool(&[Some(B.to_vec()), Some(A.to_vec())], &[0.3, 0.7]).unwrap();
            for (given, expected) in pooled(pool, [0.7, 0.3]).iter().zip(turned) {
                assert!((given - expected).abs() < 1e-6);
            }
            assert!((pooled(pool, [0.6, 0.4]).iter().sum::<f32>() - 1.0).abs() < 1e-6);
        }
    }

    #[test]
    fn pools_by_hand() {
        assert!((pooled(Pool::Linear, [0.5, 0.5])[2] - 0.5).abs() < 1e-6);
        let roots = [0.05_f32.sqrt(), 0.03_f32.sqrt(), 0.16_f32.sqrt()];
        let expected = roots[2] / roots.iter().sum::<f32>();
        assert!((pooled(Pool::LogLinear, [0.5, 0.5])[2] - expected).abs() < 1e-6);
    }

    #[test]
    fn contrast_takes_away_what_the_second_says() {
        let contrast = pooled(Pool::Contrast { alpha: 1.0 }, [0.5, 0.5]);
        let ratios = [5.0, 3.0, 0.25];
        for (given, ratio) in contrast.iter().zip(ratios) {
            assert!((given - ratio / 8.25).abs() < 1e-6);
        }
        for (given, expected) in pooled(Pool::Contrast { alpha: 0.0 }, [0.0, 1.0]).iter().zip(A) {
            assert!((given - expected).abs() < 1e-6);
        }
    }

    #[test]
    fn what_a_list_lacks_has_its_share_of_the_rest() {
        // The second lists its first unit alone, 0.6; the others share 0.4 among two.
        let mass = vec![Some(A.to_vec()), Some(vec![0.6, 0.0, 0.0])];
        let units: Vec<Box<[u8]>> = vec![Box::default(); 3];
        let has = [true, true, false];
        let unlisted = vec![Unlisted::default(), Unlisted { mass: 0.2, has: Some(&has) }];
        let aligned = Aligned { units: std::borrow::Cow::Owned(units), mass, unlisted };
        let fused = Pool::LogLinear.of(&aligned, &[0.5, 0.5]).unwrap();
        let roots = [0.3_f32.sqrt(), 0.06_f32.sqrt(), (0.2 * (-60.0_f32).exp()).sqrt()];
        for (fused, root) in fused.iter().zip(roots) {
            assert!((fused - root / roots.iter().sum::<f32>()).abs() < 1e-6, "{fused}");
        }
        let contrast = Pool::Contrast { alpha: 1.0 }.of(&aligned, &[0.5, 0.5]).unwrap();
        assert!((contrast[1] / contrast[0] - (0.3 / 0.2) / (0.5 / 0.6)).abs() < 1e-5);
    }

    #[test]
    fn a_member_that_takes_no_part_and_weights_of_nothing() {
        assert_eq!(Pool::Linear.pool(&[Some(A.to_vec()), None], &[0.5, 0.5]).unwrap(), A);
        assert!(Pool::Linear.pool(&[Some(A.to_vec())], &[0.0]).is_none());
        assert!(Pool::LogLinear.pool(&[Some(vec![0.0; 3])], &[1.0]).is_none());
    }
}
