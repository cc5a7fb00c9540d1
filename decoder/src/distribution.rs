//! What a model says of the next token.

/// Probabilities over the ids of one vocabulary, as natural logarithms.
///
/// A list that was cut off carries the probability of what it does not list, so that fusion stays honest: a
/// token outside the list has at most the probability of the last one in it, and all of them together have
/// [`Distribution::rest`].
#[derive(Debug, Clone, PartialEq)]
pub enum Distribution {
    /// One entry an id: `log p(id)`, negative infinity where the model cannot say it.
    Full(Vec<f32>),
    /// The most probable ids, sorted by probability, most probable first, ties by id.
    Top {
        /// `(id, log p)`, at least one.
        entries: Vec<(u32, f32)>,
        /// Probability of all others together, in [0, 1].
        rest: f32,
    },
}

/// Why numbers are not a distribution.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DistributionError {
    /// A number cannot be a log-probability.
    #[error("the log-probability of token {id} is `{value}`; finite numbers of at most 0 are accepted")]
    Value {
        /// The token.
        id: u32,
        /// The number.
        value: String,
    },
    /// Nothing was listed.
    #[error("no token has any probability")]
    Empty,
    /// The list is no distribution.
    #[error("the listed probabilities sum to {sum}; at most 1 is accepted")]
    Sum {
        /// Their sum.
        sum: String,
    },
    /// An id is listed twice.
    #[error("token {id} is listed twice")]
    Twice {
        /// The token.
        id: u32,
    },
}

/// How far above 1 the sum of rounded probabilities may be.
const SUM_SLACK: f64 = 0.01;

impl Distribution {
    /// Softmax of logits, one an id; negative infinity forbids an id.
    ///
    /// # Errors
    /// If a logit is `NaN` or positive infinity, or all are negative infinity.
    pub fn from_logits(mut logits: Vec<f32>) -> Result<Self, DistributionError> {
        if let Some(id) = logits.iter().position(|z| z.is_nan() || *z == f32::INFINITY) {
            return Err(DistributionError::Value { id: to_id(id), value: logits[id].to_string() });
        }
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        if max == f32::NEG_INFINITY {
            return Err(DistributionError::Empty);
        }
        let sum: f32 = logits.iter().map(|z| (z - max).exp()).sum();
        let log_sum = max + sum.ln();
        logits.iter_mut().for_each(|z| *z -= log_sum);
        Ok(Self::Full(logits))
    }

    /// A cut-off list in any order, as a server replies it.
    ///
    /// # Errors
    /// If it is empty, a number is not a log-probability, an id is listed twice, or the sum is above 1 by more
    /// than rounding explains.
    pub fn from_top(mut entries: Vec<(u32, f32)>) -> Result<Self, DistributionError> {
        if let Some((id, value)) = entries.iter().find(|(_, p)| p.is_nan() || *p > SUM_SLACK as f32) {
            return Err(DistributionError::Value { id: *id, value: value.to_string() });
        }
        entries.retain(|(_, p)| *p > f32::NEG_INFINITY);
        if entries.is_empty() {
            return Err(DistributionError::Empty);
        }
        entries.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let mut ids: Vec<u32> = entries.iter().map(|(id, _)| *id).collect();
        ids.sort_unstable();
        if let Some(pair) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(DistributionError::Twice { id: pair[0] });
        }
        let sum: f64 = entries.iter().map(|(_, p)| f64::from(*p).exp()).sum();
        if sum > 1.0 + SUM_SLACK {
            return Err(DistributionError::Sum { sum: format!("{sum:.4}") });
        }
        Ok(Self::Top { entries, rest: (1.0 - sum).max(0.0) as f32 })
    }

    /// `log p(id)`; `None` where the list was cut off before it.
    pub fn log_prob(&self, id: u32) -> Option<f32> {
        match self {
            Self::Full(all) => Some(all.get(id as usize).copied().unwrap_or(f32::NEG_INFINITY)),
            Self::Top { entries, .. } => entries.iter().find(|(other, _)| *other == id).map(|(_, p)| *p),
        }
    }

    /// The most probable id with its log-probability; the lowest of equal ones.
    pub fn best(&self) -> (u32, f32) {
        match self {
            Self::Full(all) => {
                let mut best = (0, f32::NEG_INFINITY);
                for (id, p) in all.iter().enumerate() {
                    if *p > best.1 {
                        best = (to_id(id), *p);
                    }
                }
                best
            }
            Self::Top { entries, .. } => entries.first().copied().unwrap_or((0, f32::NEG_INFINITY)),
        }
    }

    /// The `k` most probable ids, most probable first, ties by id.
    pub fn top(&self, k: usize) -> Vec<(u32, f32)> {
        match self {
            Self::Full(all) => {
                let mut entries: Vec<(u32, f32)> =
                    all.iter().enumerate().map(|(id, p)| (to_id(id), *p)).collect();
                let order = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
                if k < entries.len() && k > 0 {
                    entries.select_nth_unstable_by(k - 1, order);
                }
                entries.truncate(k);
                entries.sort_by(order);
                entries.retain(|(_, p)| *p > f32::NEG_INFINITY);
                entries
            }
            Self::Top { entries, .. } => entries.iter().take(k).copied().collect(),
        }
    }

    /// Probability of what is not listed; 0 where everything is.
    pub fn rest(&self) -> f32 {
        match self {
            Self::Full(_) => 0.0,
            Self::Top { rest, .. } => *rest,
        }
    }

    /// What one token that is not listed has, where the vocabulary has `n` tokens: its share of the rest if all of them
    /// had the same, and at most the probability of the last one listed.
    pub fn unlisted(&self, n: usize) -> f32 {
        match self {
            Self::Full(_) => 0.0,
            Self::Top { entries, rest } => {
                let last = entries.last().map_or(0.0, |(_, p)| p.exp());
                last.min(rest / n.saturating_sub(entries.len()).max(1) as f32)
            }
        }
    }

    /// Whether every id has its probability.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full(_))
    }

    /// The same without the ids that `keep` refuses, the others scaled to sum to 1 with the rest.
    ///
    /// # Errors
    /// If nothing is left.
    pub fn retain(self, keep: impl Fn(u32) -> bool) -> Result<Self, DistributionError> {
        match self {
            Self::Full(mut all) => {
                for (id, p) in all.iter_mut().enumerate() {
                    if !keep(to_id(id)) {
                        *p = f32::NEG_INFINITY;
                    }
                }
                Self::from_logits(all)
            }
            Self::Top { mut entries, rest } => {
                entries.retain(|(id, _)| keep(*id));
                if entries.is_empty() {
                    return Err(DistributionError::Empty);
                }
                let sum: f32 = entries.iter().map(|(_, p)| p.exp()).sum::<f32>() + rest;
                entries.iter_mut().for_each(|(_, p)| *p -= sum.ln());
                Ok(Self::Top { entries, rest: rest / sum })
            }
        }
    }

    /// Entropy in nats; of a cut-off list the least it can be, the rest taken as one token.
    pub fn entropy(&self) -> f32 {
        let term = |p: f32| if p > f32::NEG_INFINITY { -p.exp() * p } else { 0.0 };
        match self {
            Self::Full(all) => all.iter().map(|p| term(*p)).sum(),
            Self::Top { entries, rest } => {
                entries.iter().map(|(_, p)| term(*p)).sum::<f32>()
                    + if *rest > 0.0 { -rest * rest.ln() } else { 0.0 }
            }
        }
    }
}

/// An index of a vocabulary as an id: vocabularies are far below 2^32.
fn to_id(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}
