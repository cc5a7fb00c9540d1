//! How a unit is chosen from a fused distribution.

use crate::mass::best;
use rand::RngExt as _;

/// Greedy or sampled, as the caller asks.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pick {
    /// 0 takes the most probable unit.
    pub temperature: f32,
    /// Samples from the smallest set of units that has this probability; 1 is all.
    pub top_p: f32,
}

impl Default for Pick {
    fn default() -> Self {
        Self { temperature: 0.0, top_p: 1.0 }
    }
}

impl Pick {
    /// The distribution a unit of `fused` is drawn from: all on the first most probable one at temperature 0, else
    /// tempered and cut to `top_p`. Sums to 1 where anything has mass.
    pub fn shape(&self, fused: &[f32]) -> Vec<f32> {
        let mut shaped = vec![0.0; fused.len()];
        if self.temperature <= 0.0 {
            if let Some(unit) = best(fused) {
                shaped[unit] = 1.0;
            }
            return shaped;
        }
        for (unit, p) in self.kept(fused) {
            shaped[unit] = p as f32;
        }
        crate::mass::scaled(shaped).unwrap_or_else(|| vec![0.0; fused.len()])
    }

    /// A unit of `fused`, which sums to 1; ties at temperature 0 go to the first.
    pub fn pick(&self, fused: &[f32], rng: &mut (impl rand::Rng + ?Sized)) -> Option<usize> {
        if self.temperature <= 0.0 {
            return best(fused);
        }
        let units = self.kept(fused);
        let mut at = rng.random::<f64>() * units.iter().map(|(_, p)| p).sum::<f64>();
        for (unit, p) in &units {
            at -= p;
            if at < 0.0 {
                return Some(*unit);
            }
        }
        units.last().map(|(unit, _)| *unit)
    }

    /// Tempered units that may be drawn, most probable first, not scaled.
    fn kept(&self, fused: &[f32]) -> Vec<(usize, f64)> {
        let mut units: Vec<(usize, f64)> = fused
            .iter()
            .enumerate()
            .filter(|(_, p)| **p > 0.0)
            .map(|(unit, p)| (unit, f64::from(*p).powf(1.0 / f64::from(self.temperature))))
            .collect();
        units.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let all: f64 = units.iter().map(|(_, p)| p).sum();
        let mut kept = 0.0;
        let within = units.iter().take_while(|(_, p)| {
            let within = kept < f64::from(self.top_p) * all;
            kept += p;
            within
        });
        let n = within.count().max(1).min(units.len());
        units.truncate(n);
        units
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use routewright_data::rng;

    #[test]
    fn draws_follow_the_shape() {
        let fused = [0.1, 0.5, 0.4, 0.0];
        let pick = Pick { temperature: 0.5, top_p: 0.95 };
        let shape = pick.shape(&fused);
        // Squares 0.01, 0.25, 0.16; the last 0.01 of 0.42 is beyond 0.95.
        assert!((shape[1] - 0.25 / 0.41).abs() < 1e-6 && shape[0] == 0.0, "{shape:?}");
        let mut rng = rng::stream(1, "pick");
        let n = 20_000;
        let drawn = (0..n).filter(|_| pick.pick(&fused, &mut rng) == Some(1)).count();
        assert!((drawn as f32 / n as f32 - shape[1]).abs() < 0.015);
        assert_eq!(Pick::default().shape(&[0.4, 0.4, 0.2]), [1.0, 0.0, 0.0]);
        assert!(pick.pick(&[0.0, 0.0], &mut rng).is_none());
    }
}
