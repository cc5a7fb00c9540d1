//! Rows of an output projection that stand for experts, and how they are learned.
//!
//! With `h` the hidden state of the first member and `W h` its logits, expert e has the logit `r_e h`. The model stays
//! as it is; the rows are the only thing learned, on states `(h, e)`: expert e shall take over at h, or none shall. The
//! loss is the cross-entropy over the vocabulary and the experts together, in which all tokens are one class of weight
//! `exp(L)`, `L = ln sum_v exp(W_v h)`:
//!
//! ```text
//! - ln (exp(r_e h) / Z)   or   - ln (exp(L) / Z),    Z = exp(L) + sum_e exp(r_e h)
//! ```
//! plus `decay / 2` times the squared distance of a row from where it began, the mean of all rows of `W`. It is convex;
//! Adam takes `steps` steps on all states at once.

use routewright_data::{Tensor, TensorData, Tensors, files};
use routewright_policy::artifact::{decode_tensors, encode_tensors};
use std::path::Path;

/// Prefix of the name of an expert in a file of rows.
const PREFIX: &str = "expert.";
/// Bytes of a file of rows at most.
const FILE_MAX: u64 = 1 << 28;

/// A row an expert.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ExpertRows {
    /// Names of the members that are experts, and their rows, all of one length.
    pub rows: Vec<(String, Vec<f32>)>,
}

/// A state of the first member and who shall go on from it.
#[derive(Debug, Clone, PartialEq)]
pub struct ExpertState {
    /// Hidden state.
    pub hidden: Vec<f32>,
    /// Logarithm of the sum of the exponentials of the model's logits.
    pub log_sum: f32,
    /// Index of the expert; none where the first member goes on itself.
    pub expert: Option<usize>,
}

/// How rows are fitted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fit {
    /// Steps of Adam.
    pub steps: usize,
    /// Rate of Adam.
    pub rate: f32,
    /// Weight of the distance from where a row began.
    pub decay: f32,
}

impl Default for Fit {
    fn default() -> Self {
        Self { steps: 400, rate: 0.05, decay: 1e-3 }
    }
}

impl ExpertRows {
    /// Reads rows of length `dim`.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn load(path: &Path, dim: usize) -> Result<Self, String> {
        let failed = |reason: String| format!("cannot read rows `{}`: {reason}", path.display());
        let bytes = files::read_up_to(path, FILE_MAX).map_err(|error| error.to_string())?;
        let tensors = decode_tensors(&bytes).map_err(failed)?;
        let mut rows = Vec::new();
        for (name, tensor) in tensors.iter() {
            let Some(expert) = name.strip_prefix(PREFIX) else { continue };
            let values = match &tensor.data {
                TensorData::F32(values) if values.len() == dim => values.clone(),
                _ => {
                    let shape = &tensor.shape;
                    return Err(failed(format!("`{name}` has shape {shape:?}, expected f32 of [{dim}]")));
                }
            };
            if values.iter().any(|value| !value.is_finite()) {
                return Err(failed(format!("`{name}` holds a value that is not finite")));
            }
            rows.push((expert.to_owned(), values));
        }
        if rows.is_empty() {
            return Err(failed(format!("it has no tensor `{PREFIX}NAME`")));
        }
        Ok(Self { rows })
    }

    /// Writes the rows as safetensors.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), String> {
        let mut tensors = Tensors::new();
        for (name, row) in &self.rows {
            let tensor = Tensor { shape: vec![row.len()], data: TensorData::F32(row.clone()) };
            tensors.insert(&format!("{PREFIX}{name}"), tensor);
        }
        let bytes = encode_tensors(&tensors)?;
        files::write_file(path, &bytes).map_err(|error| error.to_string())
    }

    /// Learns rows for these experts; `begin` is where all of them begin, the mean row of the model's own.
    pub fn fit(experts: &[String], begin: &[f32], states: &[ExpertState], how: Fit) -> Self {
        let mut rows = vec![begin.to_vec(); experts.len()];
        let n_values = experts.len() * begin.len();
        let (mut first, mut second) = (vec![0.0_f32; n_values], vec![0.0_f32; n_values]);
        for step in 1..=how.steps {
            let gradient = gradient(&rows, begin, states, how.decay);
            let n = i32::try_from(step).unwrap_or(i32::MAX);
            let (bias_1, bias_2) = (1.0 - 0.9_f32.powi(n), 1.0 - 0.999_f32.powi(n));
            for (at, value) in rows.iter_mut().flatten().enumerate() {
                let g = gradient[at];
                first[at] = 0.9 * first[at] + 0.1 * g;
                second[at] = 0.999 * second[at] + 0.001 * g * g;
                *value -= how.rate * (first[at] / bias_1) / ((second[at] / bias_2).sqrt() + 1e-8);
            }
        }
        Self { rows: experts.iter().cloned().zip(rows).collect() }
    }

    /// The expert of greatest logit, with it.
    pub fn best(&self, hidden: &[f32]) -> Option<(usize, f32)> {
        let logits = self.rows.iter().map(|(_, row)| dot(row, hidden)).enumerate();
        // Of equal ones the first.
        logits.max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)))
    }
}

/// Probability of every expert at a state.
fn probabilities(rows: &[Vec<f32>], state: &ExpertState) -> Vec<f32> {
    let logits: Vec<f32> = rows.iter().map(|row| dot(row, &state.hidden)).collect();
    let max = logits.iter().copied().fold(state.log_sum, f32::max);
    let sum = (state.log_sum - max).exp() + logits.iter().map(|z| (z - max).exp()).sum::<f32>();
    logits.iter().map(|z| (z - max).exp() / sum).collect()
}

/// Gradient of the loss by the rows, one after another.
fn gradient(rows: &[Vec<f32>], begin: &[f32], states: &[ExpertState], decay: f32) -> Vec<f32> {
    let dim = begin.len();
    let mut gradient: Vec<f32> =
        rows.iter().flat_map(|row| row.iter().zip(begin).map(|(a, b)| decay * (a - b))).collect();
    let n = states.len().max(1) as f32;
    for state in states {
        for (expert, p) in probabilities(rows, state).into_iter().enumerate() {
            let slope = (p - if state.expert == Some(expert) { 1.0 } else { 0.0 }) / n;
            let of = &mut gradient[expert * dim..(expert + 1) * dim];
            of.iter_mut().zip(&state.hidden).for_each(|(g, h)| *g += slope * h);
        }
    }
    gradient
}

pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn states() -> Vec<ExpertState> {
        let state = |x: f32, y: f32, expert| ExpertState { hidden: vec![x, y, 1.0], log_sum: 0.5, expert };
        (0..30)
            .map(|at| match at % 3 {
                0 => state(1.0 + 0.01 * at as f32, 0.0, Some(0)),
                1 => state(0.0, 1.0 + 0.01 * at as f32, Some(1)),
                _ => state(-1.0, -1.0 + 0.01 * at as f32, None),
            })
            .collect()
    }

    fn loss(rows: &[Vec<f32>], begin: &[f32], decay: f32) -> f64 {
        let of = |state: ExpertState| {
            let p = probabilities(rows, &state);
            let p = state.expert.map_or(1.0 - p.iter().sum::<f32>(), |expert| p[expert]);
            -f64::from(p.ln())
        };
        let far: f32 = rows.iter().flat_map(|row| row.iter().zip(begin).map(|(a, b)| (a - b).powi(2))).sum();
        states().into_iter().map(of).sum::<f64>() / 30.0 + f64::from(decay * far / 2.0)
    }

    #[test]
    fn the_gradient_is_that_of_the_loss() {
        let (begin, decay) = (vec![0.1, -0.1, 0.2], 0.3);
        let rows = vec![vec![0.4, -0.3, 0.1], vec![0.0, 0.5, -0.2]];
        let gradient = gradient(&rows, &begin, &states(), decay);
        for at in 0..6 {
            let moved = |by: f32| {
                let mut rows = rows.clone();
                rows[at / 3][at % 3] += by;
                loss(&rows, &begin, decay)
            };
            let slope = (moved(1e-2) - moved(-1e-2)) / 2e-2;
            assert!((slope - f64::from(gradient[at])).abs() < 1e-3, "{at}: {slope} {}", gradient[at]);
        }
    }

    #[test]
    fn rows_are_learned_written_and_read() {
        let names = ["b".to_owned(), "c".to_owned()];
        let rows = ExpertRows::fit(&names, &[0.0; 3], &states(), Fit::default());
        for state in states() {
            let best = rows.best(&state.hidden).unwrap();
            let taken = (best.1 > state.log_sum).then_some(best.0);
            assert_eq!(taken, state.expert, "{state:?}");
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows.safetensors");
        rows.save(&path).unwrap();
        assert_eq!(ExpertRows::load(&path, 3).unwrap(), rows);
        let error = ExpertRows::load(&path, 4).unwrap_err();
        assert!(error.contains("`expert.b`") && error.contains("[3]"), "{error}");
    }
}
