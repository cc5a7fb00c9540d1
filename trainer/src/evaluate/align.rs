//! Outcomes in the order of a policy's arms.

use super::JudgeError;
use routewright_data::suggest::near_names;
use routewright_data::{Cells, OutcomeTable};
use routewright_policy::Arm;

/// The columns of `table` in the order of `arms`; models the policy does not know are dropped, arms the
/// log does not know become columns of missing cells.
///
/// # Errors
/// If none of the arms is in the log.
pub fn align(table: &OutcomeTable, arms: &[Arm]) -> Result<OutcomeTable, JudgeError> {
    let find = |arm: &Arm| table.models.iter().position(|model| *model == arm.model);
    let columns: Vec<Option<usize>> = arms.iter().map(find).collect();
    if columns.iter().all(Option::is_none) {
        let arm = arms.first().map_or_else(String::new, |arm| arm.model.clone());
        let hint = near_names(&arm, table.models.iter().map(String::as_str));
        return Err(JudgeError::NoCommonArm { arm, hint });
    }
    let cells = |cells: &Cells| {
        let mut out = Cells::missing(cells.n_rows(), columns.len());
        for row in 0..cells.n_rows() {
            for (to, from) in columns.iter().enumerate() {
                if let Some(value) = from.and_then(|from| cells.get(row, from)) {
                    out.set(row, to, value);
                }
            }
        }
        out
    };
    Ok(OutcomeTable {
        queries: table.queries.clone(),
        models: arms.iter().map(|arm| arm.model.clone()).collect(),
        score: cells(&table.score),
        soft_score: table.soft_score.as_ref().map(cells),
        cost_usd: cells(&table.cost_usd),
        latency_ms: table.latency_ms.as_ref().map(cells),
        vectors: table.vectors.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::fixtures::holed;

    fn arm(model: &str) -> Arm {
        Arm { model: model.to_owned(), ..Arm::default() }
    }

    #[test]
    fn columns_follow_the_arms_and_strangers_are_missing() {
        let aligned = align(&holed(), &[arm("y"), arm("new"), arm("x")]).unwrap();
        assert_eq!(aligned.models, ["y", "new", "x"]);
        assert_eq!(
            (aligned.score.get(1, 0), aligned.score.get(1, 1), aligned.score.get(1, 2)),
            (Some(1.0), None, Some(0.5))
        );
    }

    #[test]
    fn nothing_in_common_is_an_error_with_the_names_of_the_log() {
        let error = align(&holed(), &[arm("other")]).unwrap_err().to_string();
        assert!(error.contains("`other`") && error.contains("`x`, `y`"), "{error}");
    }
}
