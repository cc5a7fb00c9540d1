//! A panel: several models answer at the same time, one of them judges the answers and writes the reply.
//!
//! Program `fuse`. The `size` best models are asked; where fewer than `quorum` answer, others are asked once. Where at
//! least the share `agreed` of the answers says the same it is returned as it is; else the fuser, the best model unless
//! another is named, is given the answers, the most trusted first, with the template `prompt` of the artifact.
//! Mixture-of-Agents (arXiv 2406.04692) with one layer and a way out where nothing is to be decided.
//!
//! # Deviations from the paper
//! 1. One layer of proposers; the paper stacks three.
//! 2. Answers that agree are not fused.
//! 3. Proposers and their order are learned on the log; the paper chooses them by hand.
//! 4. A log has no fused texts: what the fuser brings is not judged there, see the page.

use super::fusing::{self, PROMPT};
use super::log::{Asked, Log};
use crate::method::{Family, FitContext, FitError, Fitted, Method, MethodRow, Reads};
use crate::methods::votes::weights::Accuracies;
use routewright_policy::programs::{Fusion, select::Selection};
use serde::{Deserialize, Serialize};

pub(in crate::methods) const ROW: MethodRow = MethodRow::of::<Panel>(
    "several models answer at the same time; one judges the answers and writes the reply",
    Some("2406.04692"),
    Family::After,
    &[],
)
.reading(&[Reads::Outcomes, Reads::Answers]);

/// The method of this file.
#[derive(Debug)]
pub(in crate::methods) struct Panel;

/// Parameters.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::methods) struct Params {
    /// Models that may be asked; all where empty.
    members: Vec<String>,
    /// Rule that makes equal answers equal texts, see `data::answers::normalize`.
    normalize: String,
    /// Models asked first, the best of train; at least 1.
    size: usize,
    /// Answers below which others are asked, once.
    quorum: usize,
    /// Share of the answers that must say the same for it to be returned as it is, in (0, 1]; above 1 for never.
    agreed: f64,
    /// Answers shown to the fuser, at least 1.
    keep: usize,
    /// Model that writes the reply; the best of train where empty.
    fuser: String,
    /// Template with the slots `{query}` and `{answers}`.
    prompt: String,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            members: Vec::new(),
            normalize: "exact".to_owned(),
            size: 3,
            quorum: 2,
            agreed: 1.0,
            keep: 3,
            fuser: String::new(),
            prompt: PROMPT.to_owned(),
        }
    }
}

impl Method for Panel {
    const NAME: &'static str = "panel";
    type Params = Params;

    fn fit(params: &Params, context: &FitContext<'_>) -> Result<Fitted, FitError> {
        // NaN is above nothing.
        if params.size == 0 || !(params.agreed > 0.0) {
            let reason = "`size` needs at least 1, `agreed` a number above 0".to_owned();
            return Err(FitError::Params { method: Self::NAME, reason });
        }
        let asked = Asked {
            method: Self::NAME,
            key: "members",
            models: &params.members,
            normalize: &params.normalize,
        };
        let log = Log::read(&asked, context)?;
        let rows: Vec<usize> = (0..log.n_queries()).collect();
        let accuracies = Accuracies::fit(&log.votes, &rows);
        let strengths = &accuracies.overall;
        let mut order: Vec<usize> = (0..log.models.len()).collect();
        order.sort_by(|a, b| strengths[*b].total_cmp(&strengths[*a]).then(a.cmp(b)));
        order.truncate(params.size);
        order.sort_unstable();
        let fuser = fusing::fuser(&params.fuser, &log, &accuracies, context, Self::NAME)?;
        let chosen = Params { fuser: fuser.clone(), ..params.clone() };
        let fusion = Fusion {
            selection: Selection { asked: Some(order), ..fusing::ranking(&log, &accuracies) },
            keep: params.keep,
            fuser,
            quorum: params.quorum,
            agreed: (params.agreed <= 1.0).then_some(params.agreed),
        };
        fusing::fitted(fusion, &params.prompt, &log, context, &chosen, Self::NAME)
    }
}
