//! Section `[policies.NAME.arms."MODEL"]` of `server.toml`: settings of the arms of a policy that does not
//! learn. One that learns has its `arms_file` and the admin listener.

use routewright_data::suggest::near_names;
use routewright_policy::Arm;
use routewright_policy::artifact::arms;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Settings of one arm. What is left out stays as the artifact has it.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ArmSettings {
    /// Properties a request may ask for by `constraints.tags` or `constraints.residency`.
    pub tags: Option<Vec<String>>,
    /// Mean latency of a call, milliseconds.
    pub latency_ms: Option<f64>,
    /// List price per million input tokens, US dollars.
    pub input_usd_per_mtok: Option<f64>,
    /// List price per million output tokens, US dollars.
    pub output_usd_per_mtok: Option<f64>,
}

/// Applies the settings to the arms of a policy.
///
/// # Errors
/// If a model is no arm, or a value is not accepted; the reason names it.
pub(crate) fn apply(arms: &mut [Arm], said: &BTreeMap<String, ArmSettings>) -> Result<(), String> {
    for (model, said) in said {
        let at = arms.iter().position(|arm| arm.model == *model).ok_or_else(|| {
            let hint = near_names(model, arms.iter().map(|arm| arm.model.as_str()));
            format!("section `arms` names `{model}`, which is no arm of the policy; {hint}")
        })?;
        let arm = &mut arms[at];
        if let Some(tags) = &said.tags {
            arm.tags.clone_from(tags);
        }
        arm.mean_latency_ms = said.latency_ms.or(arm.mean_latency_ms);
        arm.price.input_usd_per_mtok = said.input_usd_per_mtok.or(arm.price.input_usd_per_mtok);
        arm.price.output_usd_per_mtok = said.output_usd_per_mtok.or(arm.price.output_usd_per_mtok);
    }
    if said.is_empty() { Ok(()) } else { arms::check(arms) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_taken_over_and_the_rest_stays() {
        let arm = |model: &str| Arm { model: model.to_owned(), mean_latency_ms: Some(5.0), ..Arm::default() };
        let said = |model: &str, settings: ArmSettings| BTreeMap::from([(model.to_owned(), settings)]);
        let mut arms = vec![arm("a"), arm("b")];
        let eu = ArmSettings {
            tags: Some(vec!["eu".into()]),
            input_usd_per_mtok: Some(2.5),
            ..ArmSettings::default()
        };
        apply(&mut arms, &said("b", eu)).unwrap();
        assert_eq!((arms[0].clone(), arms[1].tags.as_slice()), (arm("a"), &["eu".to_owned()][..]));
        assert_eq!((arms[1].mean_latency_ms, arms[1].price.input_usd_per_mtok), (Some(5.0), Some(2.5)));
        let error = apply(&mut arms, &said("bb", ArmSettings::default())).unwrap_err();
        assert!(error.contains("`bb`") && error.contains("`b`"), "{error}");
        let slow = ArmSettings { latency_ms: Some(-1.0), ..ArmSettings::default() };
        assert!(apply(&mut arms, &said("a", slow)).unwrap_err().contains("`mean_latency_ms` of `a` is `-1`"));
    }
}
