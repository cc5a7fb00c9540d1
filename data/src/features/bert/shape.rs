//! Sizes of a BERT encoder and the names of its parameters, as Hugging Face writes them.

use serde::{Deserialize, Serialize};

/// Sizes, under the names of `config.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BertShape {
    /// Number of tokens known.
    pub vocab_size: usize,
    /// Width of a token's vector.
    pub hidden_size: usize,
    /// Number of layers.
    pub num_hidden_layers: usize,
    /// Heads of each attention; they share `hidden_size`.
    pub num_attention_heads: usize,
    /// Width of the inner layer of each feed-forward part.
    pub intermediate_size: usize,
    /// Tokens of a text, at most.
    pub max_position_embeddings: usize,
    /// Number of segment types; texts are of type 0.
    pub type_vocab_size: usize,
    /// Added to the variance in every layer norm.
    pub layer_norm_eps: f64,
}

impl BertShape {
    /// Names and shapes of all parameters. A dense layer's weight is `(n_out, n_in)`.
    pub fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        let (h, f) = (self.hidden_size, self.intermediate_size);
        let mut all: Vec<(String, Vec<usize>)> = Vec::new();
        let mut add = |name: String, shape: &[usize]| all.push((name, shape.to_vec()));
        add("embeddings.word_embeddings.weight".to_owned(), &[self.vocab_size, h]);
        add("embeddings.position_embeddings.weight".to_owned(), &[self.max_position_embeddings, h]);
        add("embeddings.token_type_embeddings.weight".to_owned(), &[self.type_vocab_size, h]);
        add("embeddings.LayerNorm.weight".to_owned(), &[h]);
        add("embeddings.LayerNorm.bias".to_owned(), &[h]);
        for layer in 0..self.num_hidden_layers {
            let prefix = layer_prefix(layer);
            for (name, n_out, n_in) in [
                ("attention.self.query", h, h),
                ("attention.self.key", h, h),
                ("attention.self.value", h, h),
                ("attention.output.dense", h, h),
                ("intermediate.dense", f, h),
                ("output.dense", h, f),
            ] {
                add(format!("{prefix}{name}.weight"), &[n_out, n_in]);
                add(format!("{prefix}{name}.bias"), &[n_out]);
            }
            for name in ["attention.output.LayerNorm", "output.LayerNorm"] {
                add(format!("{prefix}{name}.weight"), &[h]);
                add(format!("{prefix}{name}.bias"), &[h]);
            }
        }
        all
    }

    /// Whether the sizes make a network, and if not, why.
    ///
    /// # Errors
    /// The size at fault, in words.
    pub fn check(&self) -> Result<(), String> {
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("num_attention_heads", self.num_attention_heads),
            ("intermediate_size", self.intermediate_size),
            ("max_position_embeddings", self.max_position_embeddings),
            ("type_vocab_size", self.type_vocab_size),
        ];
        if let Some((name, _)) = sizes.iter().find(|(_, size)| *size == 0) {
            return Err(format!("`{name}` is `0`, expected at least 1"));
        }
        if !self.hidden_size.is_multiple_of(self.num_attention_heads) {
            let (h, n) = (self.hidden_size, self.num_attention_heads);
            return Err(format!("`hidden_size` is `{h}`, expected a multiple of the `{n}` heads"));
        }
        Ok(())
    }
}

/// What the names of a layer's parameters begin with.
pub fn layer_prefix(layer: usize) -> String {
    format!("encoder.layer.{layer}.")
}
