//! Language models of GGUF files and of folders of safetensors, in process, on the tensors of candle: the families
//! Llama, Mistral, Qwen 2 and 3, Phi 3, Gemma and Gemma 3.
//!
//! The blocks are our own over candle's (quantized) matrices, so that everything a fuser may ask is there: all
//! probabilities, hidden states, log-probabilities of a given text in one pass, and a cache of keys and values that is
//! cut short in no time.

mod family;
mod kinds;
mod layers;
mod source;

use crate::backend::{Backend, BackendError, Capabilities, Embeddings, NextTokens, Session, Stop};
use crate::backends::reading::{Network, Reading};
use crate::backends::{BackendRow, path, settings};
use crate::vocabulary::Tokenizer;
use candle_core::quantized::QMatMul;
use candle_core::{Device, Tensor};
use family::Config;
use layers::{Cache, Layers, Linear};
use source::Source;
use std::path::Path;
use std::sync::{Arc, OnceLock};

/// The row of this backend.
pub const ROW: BackendRow = BackendRow {
    name: "candle",
    title: "a language model of a GGUF file or a folder of safetensors, in process",
    open: |name, value, folder| {
        let settings: Settings = settings(name, value)?;
        let model = path(folder, &settings.model);
        let tokenizer = settings.tokenizer.map(|tokenizer| path(folder, &tokenizer));
        Ok(Arc::new(Candle::open(name, &model, tokenizer.as_deref(), settings.context)?))
    },
};

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    model: String,
    #[serde(default)]
    tokenizer: Option<String>,
    #[serde(default)]
    context: Option<usize>,
}

/// Rows of the input embedding, and of the output embedding where they are others.
type EmbeddingRows = (Vec<f32>, Option<Vec<f32>>);

/// A loaded model.
#[derive(Debug, Clone)]
pub struct Candle {
    name: Arc<str>,
    layers: Arc<Layers>,
    tokenizer: Arc<Tokenizer>,
    vocabulary: usize,
    context: usize,
    /// Rows of the input and, unless they are the same, the output embedding; made when first asked for.
    rows: Arc<OnceLock<Option<EmbeddingRows>>>,
}

impl Candle {
    /// Reads a model: a GGUF file, which holds its tokenizer, or a folder with `config.json`, `model.safetensors` (or
    /// parts with an index) and `tokenizer.json`. `tokenizer` is another file to take it from, `context` a lower limit
    /// of the tokens it reads.
    ///
    /// # Errors
    /// If a file cannot be read, the family is not known, a tensor is missing or the tokenizer has more ids than the
    /// model.
    pub fn open(
        name: &str,
        model: &Path,
        tokenizer: Option<&Path>,
        context: Option<usize>,
    ) -> Result<Self, BackendError> {
        let failed = |reason: String| BackendError::Failed { model: name.to_owned(), reason };
        let read = |reason: String| failed(format!("cannot read model `{}`: {reason}", model.display()));
        let mut source = Source::open(model).map_err(read)?;
        let config = match source {
            Source::Gguf { .. } => Config::of_gguf(&source),
            Source::Folder { .. } => Config::of_hugging_face(&source),
        };
        let config = config.map_err(read)?;
        let own = if model.is_dir() { model.join("tokenizer.json") } else { model.to_owned() };
        let tokenizer =
            Tokenizer::open(tokenizer.unwrap_or(&own)).map_err(|error| failed(error.to_string()))?;
        let most = config.context;
        let layers = Layers::load(config, &mut source).map_err(read)?;
        // Models are often padded to a round number of ids, which no text has.
        let (rows, told) = (layers.vocabulary(), tokenizer.vocabulary().len());
        if told > rows {
            return Err(failed(format!("it has {rows} ids, its tokenizer {told}")));
        }
        let context = context.unwrap_or(most).min(most);
        let (layers, tokenizer) = (Arc::new(layers), Arc::new(tokenizer));
        Ok(Self { name: name.into(), layers, tokenizer, vocabulary: told, context, rows: Arc::default() })
    }
}

impl Backend for Candle {
    fn name(&self) -> &str {
        &self.name
    }

    fn capabilities(&self) -> Capabilities {
        let next = NextTokens::Full;
        Capabilities { next, scoring: true, hidden: true, embeddings: true, cheap_rollback: true }
    }

    fn tokenizer(&self) -> Option<&Arc<Tokenizer>> {
        Some(&self.tokenizer)
    }

    fn context(&self) -> usize {
        self.context
    }

    fn open(&self, prompt: &[u8], stop: &Stop) -> Result<Box<dyn Session>, BackendError> {
        Ok(Box::new(Reading::open(self.clone(), prompt, stop)?))
    }

    fn embeddings(&self) -> Option<Embeddings<'_>> {
        let rows = |of: &Linear| {
            let all = match &of.weight {
                QMatMul::QTensor(weight) => weight.dequantize(&Device::Cpu).ok()?,
                QMatMul::Tensor(weight) | QMatMul::TensorF16(weight) => weight.clone(),
            };
            let all = match &of.added {
                Some(added) => kinds::with_added(&all, added).ok()?,
                None => all,
            };
            all.narrow(0, 0, self.vocabulary).and_then(|rows| rows.flatten_all()?.to_vec1()).ok()
        };
        let both = || {
            let output = if self.layers.is_tied { None } else { Some(rows(&self.layers.output)?) };
            Some((rows(&self.layers.embedding)?, output))
        };
        let (input, output) = self.rows.get_or_init(both).as_ref()?;
        Some(Embeddings { input, output: output.as_ref().unwrap_or(input), dim: self.layers.config.dim })
    }
}

impl Network for Candle {
    type Cache = Cache;

    fn name(&self) -> &str {
        &self.name
    }

    fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    fn context(&self) -> usize {
        self.context
    }

    fn dim(&self) -> usize {
        self.layers.config.dim
    }

    fn cache(&self) -> Cache {
        Cache::default()
    }

    fn truncate(&self, cache: &mut Cache, len: usize) {
        cache.len = cache.len.min(len);
    }

    fn copy(&self, cache: &Cache) -> Result<Cache, String> {
        cache.copy().map_err(|error| error.to_string())
    }

    fn read(&self, cache: &mut Cache, ids: &[u32]) -> Result<Vec<f32>, String> {
        let states = self.layers.read(cache, ids).and_then(|states| states.flatten_all()?.to_vec1());
        states.map_err(|error| error.to_string())
    }

    fn logits(&self, states: &[f32]) -> Result<Vec<f32>, String> {
        let dim = self.layers.config.dim;
        let told = || {
            let states = Tensor::from_slice(states, (states.len() / dim, dim), &Device::Cpu)?;
            let logits = self.layers.output.forward(&states)?.narrow(1, 0, self.vocabulary)?;
            logits.flatten_all()?.to_vec1()
        };
        told().map_err(|error: candle_core::Error| error.to_string())
    }
}
