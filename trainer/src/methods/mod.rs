//! Every method, one file each; the row in [`ALL`] is the only place its name is registered.

mod bandits;
pub(crate) mod baselines;
mod cascades;
mod clusters;
#[cfg(test)]
mod conformance;
mod contrastive;
mod costs;
mod crowds;
mod guards;
mod mixtures;
mod neighbors;
mod ratings;
mod scorers;
mod votes;

pub(crate) use baselines::means::mean_costs;

use crate::method::{FitError, MethodRow, Reads};
use routewright_data::suggest::near_names;

/// Every method, in the order of the documentation.
pub static ALL: &[MethodRow] = &[
    guards::guarded::ROW,
    baselines::random::ROW,
    baselines::cheapest::ROW,
    baselines::best_single::ROW,
    baselines::source_best::ROW,
    baselines::oracle::ROW,
    neighbors::knn::ROW,
    neighbors::benchmark_datasets::ROW,
    clusters::kmeans::ROW,
    clusters::avengers::ROW,
    scorers::ridge::ROW,
    scorers::logistic::ROW,
    mixtures::stack::ROW,
    contrastive::routerdc::ROW,
    scorers::mlp::ROW,
    scorers::forc::ROW,
    scorers::routoo::ROW,
    scorers::routellm_mf::ROW,
    ratings::routellm_sw::ROW,
    ratings::eagle::ROW,
    scorers::zooter::ROW,
    scorers::to_router::ROW,
    scorers::carrot::ROW,
    scorers::homorouter::ROW,
    scorers::hybrid_llm::ROW,
    scorers::multiple_minds::ROW,
    scorers::bench_coe::ROW,
    bandits::ucb1::ROW,
    bandits::thompson::ROW,
    bandits::linucb::ROW,
    bandits::lints::ROW,
    bandits::bagging::ROW,
    bandits::cover::ROW,
    bandits::neural_linear::ROW,
    bandits::fgts_cdb::ROW,
    bandits::metallm::ROW,
    bandits::pilot::ROW,
    bandits::llm_bandit::ROW,
    bandits::barp::ROW,
    bandits::pickllm_q::ROW,
    bandits::pickllm_automaton::ROW,
    cascades::frugalgpt::ROW,
    cascades::confidence_deferral::ROW,
    cascades::token_cascade::ROW,
    cascades::model_cascading::ROW,
    cascades::gain_gate::ROW,
    cascades::cascade_routing::ROW,
    cascades::automix::ROW,
    cascades::mot_cascade::ROW,
    votes::vote::ROW,
    votes::modelswitch::ROW,
    crowds::answer_stacker::ROW,
    crowds::smoothie::ROW,
    crowds::dfpe::ROW,
    crowds::llm_topla::ROW,
    crowds::more::ROW,
    crowds::panel::ROW,
    crowds::symbolic_moe::ROW,
];

/// The methods that learn from a pair log.
pub fn reading_pairs() -> impl Iterator<Item = &'static MethodRow> {
    ALL.iter().filter(|row| row.reads(Reads::Pairs))
}

/// The method that is trained where none is named: the best single model unless paired evidence says otherwise.
pub const DEFAULT: &str = <guards::guarded::Guard as crate::method::Method>::NAME;

/// Former names of methods that grew into another.
const RENAMED: &[(&str, &str)] = &[("source-guard", DEFAULT)];

/// Finds a method by name, or by a name that it had.
///
/// # Errors
/// If there is none; near names are offered.
pub fn find(name: &str) -> Result<&'static MethodRow, FitError> {
    let present = RENAMED.iter().find(|(former, _)| *former == name).map_or(name, |(_, present)| present);
    ALL.iter().find(|row| row.name == present).ok_or_else(|| {
        let hint = near_names(name, ALL.iter().map(|row| row.name));
        FitError::UnknownMethod { name: name.to_owned(), hint }
    })
}
