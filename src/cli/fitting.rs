//! What `train`, `compare` and `quickstart` share: reading the log, making features, parameters.

use anyhow::{Context, bail, ensure};
use clap::Args;
use routewright_data::OutcomeTable;
use routewright_data::features::{EncoderSettings, LexicalSettings, OPTIONAL, Pooling};
use routewright_data::log::LoadOptions;
use routewright_trainer::Device;
use routewright_trainer::evaluate::Average;
use routewright_trainer::train::{BaseFeatures, FeatureChoice, Prepared, SOURCE_WEIGHT};
use std::path::{Path, PathBuf};

/// How rows are read and how features and fits are made.
#[derive(Debug, Clone, Args)]
pub(crate) struct FittingArgs {
    /// Split to learn from, or several, separated by commas.
    #[arg(long, value_name = "NAME", default_value = "train")]
    pub(crate) split: String,
    /// Features: `lexical`, `column:NAME` for a vector column of the log, `bert:DIR` or `embed:DIR` for a
    /// sentence encoder (cargo features of those names).
    #[arg(long, value_name = "SPEC", default_value = "lexical")]
    pub(crate) features: String,
    /// Width of the lexical features.
    #[arg(long, value_name = "N")]
    pub(crate) dim: Option<usize>,
    /// Weight of the predicted source of a query beside its text, 0 for none; 1 unless features are a column.
    #[arg(long, value_name = "W")]
    pub(crate) source_weight: Option<f32>,
    /// How `bert` and `embed` pool the vectors of the tokens: `mean` or `cls`.
    #[arg(long, value_name = "NAME")]
    pub(crate) pooling: Option<Pooling>,
    /// Tokens that `bert` and `embed` read of a text, at most.
    #[arg(long, value_name = "N")]
    pub(crate) max_length: Option<usize>,
    /// Seed of every random choice.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Average that hyper-parameters are chosen by: `micro` (over queries) or `macro` (over sources).
    #[arg(long, value_name = "NAME", default_value = "micro")]
    pub(crate) average: Average,
    /// Where tensors are computed: `cpu` or `cuda`.
    #[arg(long, value_name = "NAME", default_value = "cpu", value_parser = ["cpu", "cuda"])]
    device: String,
    /// What trains networks on the processor: `native` (a hand-written pass), `burn-flex` (or `burn`), `burn-ndarray`.
    #[arg(long, value_name = "NAME", value_parser = ["native", "burn", "burn-flex", "burn-ndarray"])]
    engine: Option<String>,
}

impl FittingArgs {
    /// Where networks are trained, and by which engine.
    pub(crate) fn device(&self) -> anyhow::Result<Device> {
        match (self.device.as_str(), self.engine.as_deref()) {
            ("cuda", None | Some("burn")) => Ok(Device::Cuda),
            ("cuda", Some(engine)) => {
                bail!(
                    "engine `{engine}` runs on the processor; with `--device cuda` leave `--engine` out or give `burn`"
                )
            }
            (_, Some("burn" | "burn-flex")) => Ok(Device::BurnFlex),
            (_, Some("burn-ndarray")) => Ok(Device::BurnNdarray),
            _ => Ok(Device::Cpu),
        }
    }

    /// How features are made.
    pub(crate) fn feature_choice(&self) -> anyhow::Result<FeatureChoice> {
        let base = match self.features.split_once(':') {
            None if self.features == "lexical" => {
                let mut settings = LexicalSettings::default();
                if let Some(dim) = self.dim {
                    ensure!(dim > 0, "`--dim` is `0`, expected at least 1");
                    settings.dim = dim;
                }
                BaseFeatures::Lexical(settings)
            }
            Some(("column", name)) if !name.is_empty() => BaseFeatures::Column(name.to_owned()),
            Some((name, dir)) if OPTIONAL.contains(&name) && !dir.is_empty() => {
                let mut settings = EncoderSettings::default();
                settings.pooling = self.pooling.unwrap_or(settings.pooling);
                settings.max_length = self.max_length.unwrap_or(settings.max_length);
                BaseFeatures::Folder { name: name.to_owned(), dir: PathBuf::from(dir), settings }
            }
            _ => bail!(
                "unknown features `{}`; known: `lexical`, `column:NAME`, `bert:DIR`, `embed:DIR`",
                self.features
            ),
        };
        let encoder = matches!(base, BaseFeatures::Folder { .. });
        ensure!(
            encoder || (self.pooling.is_none() && self.max_length.is_none()),
            "`--pooling` and `--max-length` are for `bert:DIR` and `embed:DIR`, features are `{}`",
            self.features
        );
        Ok(FeatureChoice { source_weight: self.source_weight(&base)?, base })
    }

    fn source_weight(&self, base: &BaseFeatures) -> anyhow::Result<f32> {
        // A vector of the user's own is passed through as it is, unless he says otherwise.
        let default = if matches!(base, BaseFeatures::Column(_)) { 0.0 } else { SOURCE_WEIGHT };
        let weight = self.source_weight.unwrap_or(default);
        ensure!(
            weight.is_finite() && weight >= 0.0,
            "`--source-weight` is `{weight}`, expected a number of at least 0"
        );
        Ok(weight)
    }

    /// Reads one split of the log, with vectors where features need them.
    pub(crate) fn read(&self, log: &Path, split: &str) -> anyhow::Result<OutcomeTable> {
        read(log, split, &self.feature_choice()?)
    }

    /// Reads the split to learn from and makes its features.
    pub(crate) fn prepare(&self, log: &Path) -> anyhow::Result<Prepared> {
        let choice = self.feature_choice()?;
        Ok(Prepared::new(self.read(log, &self.split)?, &choice, self.seed)?)
    }
}

/// Reads one split of a log, with the vector column where features need it.
pub(crate) fn read(log: &Path, split: &str, choice: &FeatureChoice) -> anyhow::Result<OutcomeTable> {
    let mut options = LoadOptions::split(split);
    if let BaseFeatures::Column(name) = &choice.base {
        options.vector_column = Some(name.clone());
    }
    Ok(OutcomeTable::load(log, &options)?)
}

/// Reads every query of a log, or those of one split.
pub(crate) fn read_split(log: &Path, split: Option<&str>) -> anyhow::Result<OutcomeTable> {
    let options = LoadOptions { split: split.map(str::to_owned), ..LoadOptions::default() };
    Ok(OutcomeTable::load(log, &options)?)
}

/// Of settings `METHOD.KEY=VALUE` those of one method, as `KEY=VALUE`.
pub(crate) fn settings_of(method: &str, settings: &[String]) -> Vec<String> {
    let own = |setting: &String| setting.strip_prefix(method)?.strip_prefix('.').map(ToOwned::to_owned);
    settings.iter().filter_map(own).collect()
}

/// Checks that every setting names a method: `METHOD.KEY=VALUE`.
pub(crate) fn check_settings(settings: &[String]) -> anyhow::Result<()> {
    for setting in settings {
        let Some((method, _)) = setting.split_once('.') else {
            bail!("`--set {setting}` is no setting, expected `METHOD.KEY=VALUE`");
        };
        routewright_trainer::methods::find(method)?;
    }
    Ok(())
}

/// Parameters of a method from a TOML file and `key=value` settings, the latter winning.
pub(crate) fn params(config: Option<&Path>, settings: &[String]) -> anyhow::Result<serde_json::Value> {
    let mut params = serde_json::Map::new();
    if let Some(path) = config {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))?;
        let table: serde_json::Map<String, serde_json::Value> =
            toml::from_str(&text).with_context(|| format!("cannot parse `{}`", path.display()))?;
        params.extend(table);
    }
    for setting in settings {
        let Some((key, value)) = setting.split_once('=') else {
            bail!("`--set {setting}` is no setting, expected `key=value`");
        };
        // TOML values read as TOML; a bare word is a string.
        let value = toml::from_str::<serde_json::Map<String, serde_json::Value>>(&format!("value = {value}"))
            .ok()
            .and_then(|mut table| table.remove("value"))
            .unwrap_or_else(|| serde_json::Value::String(value.to_owned()));
        params.insert(key.to_owned(), value);
    }
    Ok(serde_json::Value::Object(params))
}
