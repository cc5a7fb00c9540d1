//! The cascade of CONTRIBUTING.md, as it is written there: what a method that looks at answers costs.

use crate::method::{Family, FitContext, FitError, Fitted, Method, MethodRow, Reads};
use crate::methods::mean_costs;
use crate::train::arms;
use routewright_data::features::{Column, Featurizer, QueryAnswer};
use routewright_policy::forms::{CostModel, Linear, Link};
use routewright_policy::programs::{Cascade, Strategy};
use routewright_policy::selectors::Argmax;
use routewright_policy::{Arm, Router};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

pub(in crate::methods) const ROW: MethodRow = MethodRow::of::<LongEnough>(
    "the cheapest model, and the dearest where its answer is short",
    None,
    Family::After,
    &[],
)
.reading(&[Reads::Outcomes, Reads::Answers]);

/// The method of this file.
#[derive(Debug)]
pub(in crate::methods) struct LongEnough;

/// Parameters.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::methods) struct Params {
    /// Least ln(1 + characters) of an answer that is kept.
    least: f32,
}

impl Default for Params {
    fn default() -> Self {
        Self { least: 3.0 }
    }
}

impl Method for LongEnough {
    const NAME: &'static str = "long-enough";
    type Params = Params;

    fn fit(params: &Params, context: &FitContext<'_>) -> Result<Fitted, FitError> {
        let arms = arms(context.train);
        let by_cost = |arm: &&Arm| arm.price.mean_cost_usd.map_or(u64::MAX, f64::to_bits);
        let (first, last) = (arms.iter().min_by_key(by_cost), arms.iter().max_by_key(by_cost));
        let order = [first, last].iter().flatten().map(|arm| arm.model.clone()).collect();
        // The first number of the answer's form, for every arm alike.
        let reads: Arc<dyn Featurizer> =
            Arc::new(QueryAnswer::new(Arc::new(Column::new("none", 0)), Arc::new(Column::new("none", 0))));
        let mut weights = vec![0.0; arms.len() * (reads.dim() + 1)];
        weights.iter_mut().step_by(reads.dim() + 1).for_each(|weight| *weight = 1.0);
        let cost = CostModel::constant(mean_costs(context.train));
        let predictor = Box::new(Linear::new(reads.dim(), Link::Identity, weights, cost));
        let scorer = Router { featurizer: reads, predictor, selector: Box::new(Argmax) };
        let strategy = Strategy { order, thresholds: vec![params.least], score: 0.0, cost_usd: 0.0 };
        let program = Cascade::new(vec![strategy], 0, scorer, &arms)
            .map_err(|error| FitError::Numeric { method: Self::NAME, reason: error.to_string() })?;
        Ok(Fitted::steps(Box::new(program), arms.len(), params))
    }
}

mod tests {
    use super::ROW;
    use crate::compare::{Answers, CompareOptions, compare};
    use crate::evaluate::Average;
    use crate::method::Device;
    use crate::progress::Silent;
    use crate::train::FeatureChoice;
    use routewright_data::answers::{AnswerRow, AnswerTable, AnswerTableBuilder};
    use routewright_data::{Cells, OutcomeTable, Query};

    /// `cheap` is right where its answer is long, on every other query; `dear` always.
    fn log(n: usize, name: &str) -> (OutcomeTable, AnswerTable) {
        let mut builder = AnswerTableBuilder::new(n, 2);
        let (mut scores, mut costs) = (Vec::new(), Vec::new());
        for row in 0..n {
            let is_right = row % 2 == 0;
            let text = if is_right { "an answer of some length, with its reasons" } else { "no" };
            for (arm, score, usd, text) in [
                (0, f32::from(u8::from(is_right)), 1.0_f32, text),
                (1, 1.0, 10.0, "so it is, for these reasons"),
            ] {
                let (score_of, cost_usd) = (Some(score), Some(f64::from(usd)));
                let row_of =
                    AnswerRow { text: Some(text), score: score_of, cost_usd, ..AnswerRow::default() };
                builder.push(row, arm, &row_of);
                scores.push(score);
                costs.push(usd);
            }
        }
        let query = |at: usize| Query {
            id: format!("{name}{at}"),
            prompt: format!("{name}: question number {at}"),
            ..Query::default()
        };
        let table = OutcomeTable {
            queries: (0..n).map(query).collect(),
            models: vec!["cheap".to_owned(), "dear".to_owned()],
            score: Cells::from_vec(n, 2, scores),
            soft_score: None,
            cost_usd: Cells::from_vec(n, 2, costs),
            latency_ms: None,
            vectors: None,
        };
        (table, builder.finish())
    }

    /// One file and one row, and `compare` cross-validates it, plays it, and has its calls and price in the table.
    #[test]
    fn a_cascade_of_one_file_and_one_row_is_compared_like_any_other_method() {
        let ((train, train_answers), (test, test_answers)) = (log(60, "train"), log(40, "test"));
        let options = CompareOptions {
            features: FeatureChoice::default(),
            average: Average::Micro,
            seeds: vec![1],
            folds: 2,
            device: Device::Cpu,
            log: "log".to_owned(),
            split: "test".to_owned(),
            answers: Some(Answers { train: train_answers, test: test_answers }),
        };
        let methods = [(&ROW, serde_json::Value::Null)];
        let judged = compare(&train, &test, &methods, &options, &Silent).unwrap().judged;
        let policy = &judged.policies[0];
        // Half of the answers are short: 1 call at 1 USD or 2 at 11.
        assert_eq!((policy.figures.score, policy.figures.cost_usd), (Some(1.0), Some(6.0)));
        assert_eq!((policy.figures.calls, policy.figures.n_uncovered), (Some(1.5), 0));
        assert_eq!(policy.validation.unwrap().score, 1.0);
        let shown = crate::report::text_table(&judged);
        assert!(shown.contains("calls") && shown.contains("1.50"), "{shown}");
        let none = CompareOptions { answers: None, ..options };
        let error = compare(&train, &test, &methods, &none, &Silent).unwrap_err().to_string();
        assert!(error.contains("reads answers"), "{error}");
    }
}
