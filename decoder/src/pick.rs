//! How a unit is chosen from a fused distribution.

use crate::align::best;
use rand::RngExt as _;

/// Greedy or sampled, as whoever asks wants it.
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
    /// A unit of `fused`, which sums to 1; ties at temperature 0 go to the first.
    pub fn pick(&self, fused: &[f32], rng: &mut impl rand::Rng) -> Option<usize> {
        if self.temperature <= 0.0 {
            return best(fused);
        }
        let mut units: Vec<(usize, f64)> = fused
            .iter()
            .enumerate()
            .filter(|(_, p)| **p > 0.0)
            .map(|(unit, p)| (unit, f64::from(*p).powf(1.0 / f64::from(self.temperature))))
            .collect();
        units.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let all: f64 = units.iter().map(|(_, p)| p).sum();
        let mut kept = 0.0;
        let n = units.iter().take_while(|(_, p)| {
            let within = kept < f64::from(self.top_p) * all;
            kept += p;
            within
        });
        let n = n.count().max(1).min(units.len());
        let mut at = rng.random::<f64>() * units[..n].iter().map(|(_, p)| p).sum::<f64>();
        for (unit, p) in &units[..n] {
            at -= p;
            if at < 0.0 {
                return Some(*unit);
            }
        }
        units[..n].last().map(|(unit, _)| *unit)
    }
}
