//! Fixtures of the unit tests.

use crate::live::query::Query;
use routewright_data::features::Column;
use routewright_policy::artifact::{DataRecord, RouterDraft};
use routewright_policy::forms::{Constant, CostModel};
use routewright_policy::{Arm, Policy, Price, SelectorSpec};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Arms `small` (0.5, 0.001 USD), `large` (0.8, 0.01 USD) and `other` (0.6, price unknown); argmax.
pub(crate) fn policy(name: &str) -> Policy {
    let arm = |model: &str, mean_cost_usd| Arm {
        model: model.to_owned(),
        price: Price { mean_cost_usd, ..Price::default() },
        ..Arm::default()
    };
    let cost = CostModel::constant(vec![0.001, 0.01, f32::NAN]);
    let draft = RouterDraft {
        name: name.to_owned(),
        method: "best-single".to_owned(),
        seed: 0,
        arms: vec![arm("small", Some(0.001)), arm("large", Some(0.01)), arm("other", None)],
        featurizer: Arc::new(Column::new("vector", 0)),
        predictor: Box::new(Constant::new(vec![0.5, 0.8, 0.6], Vec::new(), Vec::new(), cost)),
        selector: SelectorSpec::named("argmax"),
        query_text: routewright_data::QueryText::default(),
        params: serde_json::json!({}),
        data: DataRecord::default(),
        metrics: BTreeMap::new(),
    };
    draft.into_policy().unwrap()
}

/// A query of one text and, as the fixture's featurizer wants it, an empty vector.
pub(crate) fn query(text: &str) -> Arc<Query> {
    Arc::new(Query { text: text.to_owned(), vector: Some(Vec::new()), seed: 1, ..Query::default() })
}
