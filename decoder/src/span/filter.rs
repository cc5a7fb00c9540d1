//! Who is listened to about a text: scores far from the others are left out.

/// Which scores of a text count.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Filter {
    /// A score further from the median than so many median absolute deviations is left out; 0 leaves none out.
    pub deviations: f32,
    /// What a member thinks of its own text does not count, where another was asked.
    pub own: bool,
}

impl Default for Filter {
    fn default() -> Self {
        Self { deviations: 2.5, own: true }
    }
}

impl Filter {
    /// The scores of a text by `author` that count, by member; `NaN` for those that do not.
    pub fn keep(&self, scores: &[f32], author: usize) -> Vec<f32> {
        let mut kept = scores.to_vec();
        let others = scores.iter().enumerate().any(|(at, s)| at != author && !s.is_nan());
        if let Some(own) = kept.get_mut(author).filter(|_| !self.own && others) {
            *own = f32::NAN;
        }
        let Some(middle) = median(&kept).filter(|_| self.deviations > 0.0) else { return kept };
        let away: Vec<f32> = kept.iter().map(|score| (score - middle).abs()).collect();
        let spread = median(&away).unwrap_or(0.0);
        for (kept, away) in kept.iter_mut().zip(away) {
            if away > self.deviations * spread {
                *kept = f32::NAN;
            }
        }
        kept
    }
}

/// The median of the numbers that are some; of an even number the mean of the middle two.
fn median(values: &[f32]) -> Option<f32> {
    let mut values: Vec<f32> = values.iter().copied().filter(|value| !value.is_nan()).collect();
    values.sort_by(f32::total_cmp);
    let (n, half) = (values.len(), values.len() / 2);
    let upper = values.get(half)?;
    Some(if n % 2 == 1 { *upper } else { f32::midpoint(values[half - 1], *upper) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_far_from_the_others_is_left_out() {
        // Median -1.1, deviations 0.1, 0, 3.9, 0.1: their median 0.1, and 3.9 > 0.25.
        let kept = Filter::default().keep(&[-1.0, -1.1, -5.0, -1.2], 0);
        assert_eq!(kept[..2], [-1.0, -1.1]);
        assert!(kept[2].is_nan() && kept[3] == -1.2);
        let all = Filter { deviations: 0.0, own: true }.keep(&[-1.0, -1.1, -5.0], 0);
        assert_eq!(all, [-1.0, -1.1, -5.0]);
        // Of two scores both are as far from their mean.
        assert_eq!(Filter::default().keep(&[-1.0, -9.0], 0), [-1.0, -9.0]);
    }

    #[test]
    fn a_member_does_not_judge_itself_where_another_does() {
        let filter = Filter { deviations: 2.5, own: false };
        let kept = filter.keep(&[-0.1, -3.0, -3.1], 0);
        assert!(kept[0].is_nan() && kept[1] == -3.0 && kept[2] == -3.1);
        assert_eq!(filter.keep(&[-0.1], 0), [-0.1]);
        assert!(filter.keep(&[], 0).is_empty());
    }
}
