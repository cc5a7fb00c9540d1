//! The log as an environment: weights that are chosen are those of the grid nearest to them, and what they lead to is
//! looked up. States are read by what the models said and held there, frozen.

use super::answers::{End, GRID, Lead, MODELS, Row, Spot};
use anyhow::{Context as _, ensure};
use rand::RngExt as _;
use routewright_data::features::{FeatureError, FeatureInput, Featurizer, FeaturizerSpec, State};
use routewright_data::rng;
use routewright_data::{FeatureMatrix, Tensors};
use routewright_policy::env::{Chooser, Environment, Outcome};
use std::collections::HashMap;

/// Spans with an entry of their own; later ones share the last.
const SPANS: usize = 3;

/// Trees of prompts, as an environment.
#[derive(Debug)]
pub struct Replay<'a>(pub Vec<&'a Row>);

/// The weight of the grid nearest to `weight`, the first of equally near ones.
pub fn nearest(weight: f32) -> usize {
    let far = |at: &usize| (GRID[*at] - weight).abs();
    (0..GRID.len()).min_by(|a, b| far(a).total_cmp(&far(b))).unwrap_or(0)
}

/// The filling that a choice of places of the grid leads to.
///
/// # Errors
/// If `choose` fails or the tree has a gap.
pub fn walk<'a>(
    row: &'a Row,
    from: usize,
    mut choose: impl FnMut(&'a Spot) -> Result<usize, String>,
) -> Result<&'a End, String> {
    let mut at = from;
    loop {
        let spot = row.places.get(at).ok_or_else(|| format!("prompt {} has no place {at}", row.id))?;
        match spot.leads.get(choose(spot)?) {
            Some(Lead::Place(next)) if *next > at => at = *next,
            Some(Lead::End(end)) => {
                return row.ends.get(*end).ok_or_else(|| format!("prompt {} has no end {end}", row.id));
            }
            _ => return Err(format!("place {at} of prompt {} leads nowhere", row.id)),
        }
    }
}

/// The state at a place, with the key of its prompt in place of the text.
pub fn state<'a>(row: &'a Row, spot: &'a Spot) -> State<'a> {
    State { prompt: &row.id, text: &spot.text, span: spot.span }
}

impl Environment for Replay<'_> {
    fn members(&self) -> Vec<String> {
        MODELS.iter().map(|(name, _)| (*name).to_owned()).collect()
    }

    fn n_tasks(&self) -> usize {
        self.0.len()
    }

    fn play(&self, task: usize, _seed: u64, chooser: &mut dyn Chooser) -> Result<Outcome, String> {
        let row = self.0.get(task).ok_or("there is no such task")?;
        let end = walk(row, 0, |spot| Ok(nearest(chooser.choose(&state(row, spot))?.weights[0])))?;
        Ok(Outcome { reward: f32::from(u8::from(end.right)), calls: 2 * end.asked })
    }
}

/// Numbers of a state, scaled to mean 0 and deviation 1; the first principal axes of each member's hidden state; which
/// span it is. Scales and axes are those of the rows it is fitted on.
#[derive(Debug)]
pub struct Encoder {
    numbers: Vec<(f32, f32)>,
    hidden: Vec<Axes>,
}

/// Principal axes of the hidden state of a member.
#[derive(Debug)]
struct Axes {
    /// Where the state begins among the hidden numbers.
    start: usize,
    mean: Vec<f32>,
    /// Each over the deviation along it.
    axes: Vec<Vec<f32>>,
}

impl Encoder {
    /// Of the states of `rows`, with `axes` axes a member, whose hidden states are as wide as `widths`.
    ///
    /// # Errors
    /// If there are no rows or their hidden states have another width.
    pub fn fit(rows: &[&Row], widths: [usize; 2], axes: usize) -> anyhow::Result<Self> {
        let spots: Vec<&Spot> = rows.iter().flat_map(|row| &row.places).collect();
        let first = spots.first().context("there is no state to learn from")?;
        ensure!(first.hidden.len() == widths[0] + widths[1], "hidden states have another width");
        let column = |at: usize| -> (f32, f32) {
            let n = spots.len() as f32;
            let mean = spots.iter().map(|spot| spot.numbers[at]).sum::<f32>() / n;
            let variance = spots.iter().map(|spot| (spot.numbers[at] - mean).powi(2)).sum::<f32>() / n;
            (mean, variance.sqrt().max(1e-3))
        };
        let numbers = (0..first.numbers.len()).map(column).collect();
        let mut hidden = Vec::new();
        for (member, width) in widths.into_iter().enumerate() {
            let start = if member == 0 { 0 } else { widths[0] };
            let of: Vec<&[f32]> = spots.iter().map(|spot| &spot.hidden[start..start + width]).collect();
            let (mean, axes) = principal(&of, axes.min(width));
            hidden.push(Axes { start, mean, axes });
        }
        Ok(Self { numbers, hidden })
    }

    /// Features of a place with the first `axes` axes a member.
    pub fn features(&self, spot: &Spot, axes: usize) -> Vec<f32> {
        let scaled =
            spot.numbers.iter().zip(&self.numbers).map(|(x, (mean, deviation))| (x - mean) / deviation);
        let mut features: Vec<f32> = scaled.collect();
        for of in &self.hidden {
            let state = &spot.hidden[of.start..of.start + of.mean.len()];
            let along = |axis: &Vec<f32>| {
                state.iter().zip(&of.mean).zip(axis).map(|((x, mean), a)| (x - mean) * a).sum::<f32>()
            };
            features.extend(of.axes.iter().take(axes).map(along));
        }
        features.extend((0..SPANS).map(|at| f32::from(u8::from(at == spot.span.min(SPANS - 1)))));
        features
    }
}

/// Steps of the iteration to the axes.
const STEPS: usize = 20;

/// Mean and the `n` axes of greatest variance, each divided by the deviation along it: the covariance is applied to a
/// drawn basis and the result made orthonormal again and again.
fn principal(rows: &[&[f32]], n: usize) -> (Vec<f32>, Vec<Vec<f32>>) {
    let (dim, count) = (rows[0].len(), rows.len() as f32);
    let mean: Vec<f32> = (0..dim).map(|at| rows.iter().map(|row| row[at]).sum::<f32>() / count).collect();
    let off: Vec<Vec<f32>> =
        rows.iter().map(|row| row.iter().zip(&mean).map(|(x, mean)| x - mean).collect()).collect();
    let mut rng = rng::stream(0, "axes");
    let mut axes: Vec<Vec<f32>> =
        (0..n).map(|_| (0..dim).map(|_| rng.random::<f32>() - 0.5).collect()).collect();
    for _ in 0..STEPS {
        orthonormal(&mut axes);
        axes = axes.iter().map(|axis| applied(&off, axis)).collect();
    }
    // Applied to an axis the sum of products is that axis, times it.
    let lengths = orthonormal(&mut axes);
    for (axis, length) in axes.iter_mut().zip(lengths) {
        let deviation = (length / count).max(1e-9).sqrt();
        axis.iter_mut().for_each(|x| *x /= deviation);
    }
    (mean, axes)
}

/// `X' X axis` of rows `X`.
fn applied(rows: &[Vec<f32>], axis: &[f32]) -> Vec<f32> {
    let mut out = vec![0.0; axis.len()];
    for row in rows {
        let along: f32 = row.iter().zip(axis).map(|(x, a)| x * a).sum();
        out.iter_mut().zip(row).for_each(|(out, x)| *out += along * x);
    }
    out
}

/// Makes vectors orthonormal, one after the other; their lengths when those before were taken out.
fn orthonormal(vectors: &mut [Vec<f32>]) -> Vec<f32> {
    let mut lengths = Vec::new();
    for at in 0..vectors.len() {
        let (before, rest) = vectors.split_at_mut(at);
        for other in before.iter() {
            let along: f32 = other.iter().zip(&rest[0]).map(|(a, b)| a * b).sum();
            rest[0].iter_mut().zip(other).for_each(|(x, other)| *x -= along * other);
        }
        let length = rest[0].iter().map(|x| x * x).sum::<f32>().sqrt();
        rest[0].iter_mut().for_each(|x| *x /= length.max(1e-12));
        lengths.push(length);
    }
    lengths
}

/// Features of the places of all rows, found by their state.
#[derive(Debug)]
pub struct Frozen {
    spec: FeaturizerSpec,
    known: HashMap<String, Vec<f32>>,
}

impl Frozen {
    /// What `encoder` makes of every place of `rows` with `axes` axes a member.
    pub fn new(encoder: &Encoder, rows: &[&Row], axes: usize) -> Self {
        let mut known = HashMap::new();
        for row in rows {
            for spot in &row.places {
                known.insert(state(row, spot).to_text(), encoder.features(spot, axes));
            }
        }
        let dim = known.values().next().map_or(0, Vec::len);
        Self {
            spec: FeaturizerSpec { name: "frozen".to_owned(), dim, settings: serde_json::Value::Null },
            known,
        }
    }

    /// Features of a place.
    ///
    /// # Errors
    /// If it was not known when this was made.
    pub fn of(&self, state: &State<'_>) -> Result<&[f32], String> {
        self.known
            .get(&state.to_text())
            .map(Vec::as_slice)
            .ok_or_else(|| "the log has no such state".to_owned())
    }
}

impl Featurizer for Frozen {
    fn spec(&self) -> &FeaturizerSpec {
        &self.spec
    }

    fn tensors(&self) -> Tensors {
        Tensors::new()
    }

    fn featurize(&self, inputs: &[FeatureInput<'_>]) -> Result<FeatureMatrix, FeatureError> {
        let mut values = Vec::with_capacity(inputs.len() * self.spec.dim);
        for (row, input) in inputs.iter().enumerate() {
            let error = |reason| FeatureError::Input { row, reason };
            values.extend_from_slice(self.of(&State::parse(input.text)).map_err(error)?);
        }
        Ok(FeatureMatrix::from_vec(inputs.len(), self.spec.dim, values))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use routewright_policy::env::Choice;
    use std::collections::BTreeMap;

    /// Two spans: with little weight the first leads to an end that is wrong, else to a second span, which is right
    /// where the weight is little.
    fn row() -> Row {
        let end = |text: &str, right| End { text: text.to_owned(), right, asked: 3 };
        let spot = |text: &str, span, number: f32, leads: [Lead; 5]| Spot {
            text: text.to_owned(),
            span,
            numbers: vec![number],
            hidden: vec![number, -number, 2.0 * number],
            leads: leads.to_vec(),
        };
        let (wrong, right, on) = (Lead::End(0), Lead::End(1), Lead::Place(1));
        Row {
            id: "7".to_owned(),
            fold: 2,
            kind: "sum".to_owned(),
            stem: String::new(),
            places: vec![
                spot("", 0, 1.0, [wrong, on, on, on, on]),
                spot(" 4", 1, 3.0, [right, right, wrong, wrong, wrong]),
            ],
            ends: vec![end(" 5", false), end(" 42", true)],
            rules: BTreeMap::new(),
            nodes: 4,
            read: [0, 0],
            cpu: 0.0,
        }
    }

    /// Says one weight a span.
    struct Says(Vec<f32>);

    impl Chooser for Says {
        fn choose(&mut self, state: &State<'_>) -> Result<Choice, String> {
            let first = self.0[state.span];
            Ok(Choice { weights: vec![first, 1.0 - first], log_density: None })
        }
    }

    #[test]
    fn weights_lead_where_the_nearest_of_the_grid_leads() {
        let row = row();
        let replay = Replay(vec![&row]);
        for (weights, reward) in [([0.1, 0.1], 0.0), ([0.2, 0.3], 1.0), ([0.9, 0.4], 0.0), ([0.9, 0.37], 1.0)]
        {
            let outcome = replay.play(0, 0, &mut Says(weights.to_vec())).unwrap();
            assert_eq!((outcome.reward, outcome.calls), (reward, 6), "{weights:?}");
        }
        assert!(replay.play(1, 0, &mut Says(vec![0.5])).is_err());
    }

    #[test]
    fn states_are_scaled_and_found_by_their_text() {
        let row = row();
        let encoder = Encoder::fit(&[&row], [2, 1], 1).unwrap();
        let frozen = Frozen::new(&encoder, &[&row], 1);
        let found = frozen.of(&state(&row, &row.places[1])).unwrap();
        // One number, an axis a member, three spans; of two states one is a deviation above the mean, the other below.
        assert_eq!(found.len(), 6);
        for (found, expected) in found.iter().zip([1.0, 1.0, 1.0, 0.0, 1.0, 0.0]) {
            assert!((found.abs() - expected).abs() < 1e-3, "{found}");
        }
        assert!(frozen.of(&State { prompt: "8", text: "", span: 0 }).is_err());
    }
}
