//! Named constants of the artifact format; every change of the layout gets a line here.

/// Marks a manifest as one of ours.
pub const KIND: &str = "routewright-policy";

/// Newest layout this build writes and reads.
///
/// 1: manifest with form, arms, featurizer, selector, params, data, metrics, files; safetensors weights. Since
/// 2026-11-30 optionally `data.last_ms`, `data.decisions` and the file `training-rows.bin`; earlier builds pass
/// over them.
///
/// 2: a policy of several steps: `program`, `parts` and `prompts` instead of `form`, `featurizer` and `selector`, and
/// two files a part. A policy of one step is still written as 1, which every build reads.
pub const FORMAT: u32 = 2;

/// Layout that a policy of one step is written in.
pub const FORMAT_ONE_CALL: u32 = 1;
