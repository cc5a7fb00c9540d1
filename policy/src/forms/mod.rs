//! The learned shapes. One file a form, one row in [`ALL`]; an artifact names its form by the row's name.

use crate::{FormState, LoadError, Predictor};

mod bradley_terry;
mod calibration;
mod clusters;
mod coded_rows;
mod constant;
mod correctness;
mod cost;
mod dual;
mod duels;
mod ensemble;
mod factor;
mod forest;
mod guarded;
mod identities;
mod linear;
mod meta;
mod mixture;
mod neighbors;
mod neural;
mod neural_linear;
mod posterior;
mod preference;
mod ratings;
mod row;
mod simplex;
mod stack;
mod subjects;
mod table;
mod weighted_battles;

pub use row::FormRow;
pub(crate) use row::config;

pub use bradley_terry::strengths;
pub use calibration::Calibration;
pub use clusters::{ClusterTables, Clusters, Mixing};
pub use constant::Constant;
pub use correctness::{Correctness, CorrectnessShape, Foretold, Reliability, Statement, task_scores};
pub use cost::CostModel;
pub use dual::{Dual, PriceLink};
pub use duels::{COEFFICIENTS_MAX, DuelShape, Duels};
pub use ensemble::{Ensemble, EnsembleShape};
pub use factor::Factor;
pub use forest::{Forest, Node};
pub use guarded::{GuardTables, Guarded, LabelRidge, NearGuard};
pub use identities::{IdentitySet, SetParts, relative_costs, tokens};
pub use linear::{Linear, Link};
pub use meta::{Meta, MetaWeights};
pub use mixture::Mixture;
pub use neighbors::{Memory, Neighbors, Weighting, weighted_means};
pub use neural::{Head, Neural};
pub use neural_linear::{Embedding, NeuralLinear};
pub use posterior::{BayesianRidge, RidgeShape};
pub use preference::PreferenceNetwork;
pub use ratings::{Battle, RatingShape, Ratings};
pub use simplex::{Heads, Simplex};
pub use stack::Stack;
pub use subjects::Subjects;
pub use table::{Cell, Rule, ValueTable};
pub use weighted_battles::{WeightShape, WeightedBattles};

/// Every form, in the order of the documentation.
pub static ALL: &[FormRow] = &[
    constant::ROW,
    neighbors::ROW,
    clusters::ROW,
    linear::ROW,
    neural::ROW,
    factor::ROW,
    posterior::ROW,
    ensemble::ROW,
    neural_linear::ROW,
    duels::ROW,
    table::ROW,
    preference::ROW,
    identities::ROW,
    simplex::ROW,
    forest::ROW,
    mixture::ROW,
    guarded::ROW,
    ratings::ROW,
    weighted_battles::ROW,
    correctness::ROW,
    meta::ROW,
    dual::ROW,
    subjects::ROW,
];

/// Greatest size in the configuration of a form: products of three still fit a `usize`.
pub const SIZE_MAX: usize = 1 << 20;
/// Keys of configurations that are sizes, in lists or alone.
const SIZES: &[&str] =
    &["dim", "width", "hidden", "ability", "tokens", "trunk", "pool", "members", "subjects"];

/// Refuses a configuration with a size that no form has, so that arithmetic on shapes cannot overflow.
fn check_sizes(form: &'static str, config: &serde_json::Value) -> Result<(), LoadError> {
    use serde_json::Value;
    let too_great = |value: &Value| value.as_u64().filter(|size| *size > SIZE_MAX as u64);
    let refuse = |key: &str, size: u64| {
        let reason = format!("`{key}` is `{size}`, expected at most {SIZE_MAX}");
        Err(LoadError::Config { form, reason })
    };
    match config {
        Value::Object(entries) => entries.iter().try_for_each(|(key, value)| {
            let sizes = SIZES.contains(&key.as_str());
            let listed = value.as_array().into_iter().flatten();
            match std::iter::once(value).chain(listed).find_map(too_great).filter(|_| sizes) {
                Some(size) => refuse(key, size),
                None => check_sizes(form, value),
            }
        }),
        Value::Array(entries) => entries.iter().try_for_each(|entry| check_sizes(form, entry)),
        _ => Ok(()),
    }
}

/// Restores a predictor from its stored state.
///
/// # Errors
/// If the form is unknown, newer than this build, or its state is not valid.
pub fn load(
    form: &str,
    version: u32,
    state: FormState,
    n_arms: usize,
) -> Result<Box<dyn Predictor>, LoadError> {
    let Some(row) = ALL.iter().find(|row| row.name == form) else {
        let known = ALL.iter().map(|row| row.name).collect::<Vec<_>>().join(", ");
        return Err(LoadError::UnknownForm { form: form.to_owned(), known });
    };
    if version > row.version {
        return Err(LoadError::NewerForm { form: form.to_owned(), found: version, known: row.version });
    }
    check_sizes(row.name, &state.config)?;
    (row.load)(state, n_arms)
}

/// What the state of a predictor restores to.
///
/// A learner keeps what follows from its statistics up to date step by step, which rounds otherwise than
/// working it out anew; what is exported is the latter, so that it is the same after a round trip.
///
/// # Errors
/// If the state is not valid.
pub fn restored(predictor: &dyn Predictor) -> Result<Box<dyn Predictor>, LoadError> {
    let version = ALL.iter().find(|row| row.name == predictor.form()).map_or(0, |row| row.version);
    load(predictor.form(), version, predictor.state(), predictor.n_arms())
}
