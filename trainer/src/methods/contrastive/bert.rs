//! `routerdc` with `encoder=bert`: where the checkpoint comes from and what becomes of it.

pub(super) use tuned::Tuned;

#[cfg(feature = "bert")]
mod tuned {
    use super::super::routerdc::{Params, RouterDc};
    use crate::method::{FitContext, FitError, Method};
    use crate::neural::{AdamW, BertRecipe, Front, Trained};
    use routewright_data::Tensors;
    use routewright_data::features::bert::BertCheckpoint;
    use routewright_data::features::{EncoderSettings, FeatureError, Featurizer, Pooling};
    use std::path::Path;
    use std::sync::Arc;

    /// Prefix of the encoder's weights among those of a run.
    const PREFIX: &str = "bert.";

    /// A checkpoint to be fine-tuned.
    #[derive(Debug)]
    pub(in super::super) struct Tuned(BertRecipe);

    impl Tuned {
        /// Opens the folder the parameters name; `None` for another encoder.
        pub(in super::super) fn new(
            params: &Params,
            context: &FitContext<'_>,
        ) -> Result<Option<Self>, FitError> {
            let Some((dir, rate, max_length)) = params.bert() else { return Ok(None) };
            let error = |reason: String| FitError::Params { method: RouterDc::NAME, reason };
            if dir.is_empty() {
                return Err(error("`bert_dir` is empty, expected the folder of a checkpoint".to_owned()));
            }
            if !(rate > 0.0 && rate < 1.0) {
                return Err(error(format!("`bert_rate` is `{rate}`, expected a number above 0 and below 1")));
            }
            let settings = EncoderSettings { pooling: Pooling::Mean, max_length };
            let optimizer = AdamW { rate, weight_decay: params.weight_decay(), ..AdamW::default() };
            let open = || {
                let checkpoint = BertCheckpoint::open(Path::new(dir))?;
                BertRecipe::new(checkpoint, settings, optimizer, &context.train.prompts())
            };
            open().map(|recipe| Some(Self(recipe))).map_err(|e| error(e.to_string()))
        }

        pub(in super::super) fn front(&self) -> Front<'_> {
            Front::Bert(&self.0)
        }

        pub(in super::super) fn dim(&self) -> usize {
            self.0.dim()
        }

        /// The featurizer of what was learned.
        pub(in super::super) fn featurizer(
            &self,
            trained: &Trained,
        ) -> Result<Arc<dyn Featurizer>, FitError> {
            let mut weights = Tensors::new();
            for (name, tensor) in trained.weights.iter() {
                if let Some(name) = name.strip_prefix(PREFIX) {
                    weights.insert(name, tensor.clone());
                }
            }
            let refused =
                |e: FeatureError| FitError::Numeric { method: RouterDc::NAME, reason: e.to_string() };
            Ok(Arc::new(self.0.featurizer(weights).map_err(refused)?))
        }
    }
}

#[cfg(not(feature = "bert"))]
mod tuned {
    use super::super::routerdc::{Params, RouterDc};
    use crate::method::{FitContext, FitError, Method};
    use crate::neural::{Front, Trained};
    use routewright_data::features::Featurizer;
    use std::sync::Arc;

    /// No value: this build cannot fine-tune.
    #[derive(Debug)]
    pub(in super::super) enum Tuned {}

    impl Tuned {
        pub(in super::super) fn new(params: &Params, _: &FitContext<'_>) -> Result<Option<Self>, FitError> {
            match params.bert() {
                None => Ok(None),
                Some(_) => {
                    let reason =
                        "`encoder` is `bert`, which this build does not have; build with `--features bert`";
                    Err(FitError::Params { method: RouterDc::NAME, reason: reason.to_owned() })
                }
            }
        }

        pub(in super::super) fn front(&self) -> Front<'_> {
            match *self {}
        }

        pub(in super::super) fn dim(&self) -> usize {
            match *self {}
        }

        pub(in super::super) fn featurizer(&self, _: &Trained) -> Result<Arc<dyn Featurizer>, FitError> {
            match *self {}
        }
    }
}
