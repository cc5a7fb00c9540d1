//! Small models of random weights, written as folders of safetensors and as GGUF files.

use candle_core::quantized::{GgmlDType, QTensor, gguf_file};
use candle_core::{Device, Tensor};
use rand::RngExt as _;
use routewright_data::rng::{self, Rng};
use routewright_decoder::backends::candle::Candle;
use routewright_decoder::vocabulary::Tokenizer;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

pub(crate) const DIM: usize = 32;
pub(crate) const HIDDEN: usize = 64;
pub(crate) const HEADS: usize = 4;
pub(crate) const KV_HEADS: usize = 2;
pub(crate) const WINDOW: usize = 6;
/// Rows of embeddings that no token has.
const PADDING: usize = 3;

/// What a family has beside what Llama has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Model {
    pub(crate) family: &'static str,
    pub(crate) layers: usize,
    pub(crate) head: usize,
    pub(crate) biases: bool,
    pub(crate) head_norms: bool,
    pub(crate) post_norms: bool,
    pub(crate) fused: bool,
    pub(crate) tied: bool,
}

const LLAMA: Model = Model {
    family: "llama",
    layers: 2,
    head: DIM / HEADS,
    biases: false,
    head_norms: false,
    post_norms: false,
    fused: false,
    tied: false,
};

/// One of every family.
pub(crate) const ALL: [Model; 7] = [
    LLAMA,
    Model { family: "mistral", ..LLAMA },
    Model { family: "qwen2", biases: true, tied: true, ..LLAMA },
    Model { family: "qwen3", head: 16, head_norms: true, ..LLAMA },
    Model { family: "phi3", fused: true, ..LLAMA },
    Model { family: "gemma", head: 16, tied: true, ..LLAMA },
    // The sixth layer sees everything, the others a window.
    Model { family: "gemma3", layers: 7, head: 16, head_norms: true, post_norms: true, tied: true, ..LLAMA },
];

pub(crate) fn tokenizer() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tokenizer_json/qwen2.json")
}

impl Model {
    pub(crate) fn vocabulary() -> usize {
        Tokenizer::open(&tokenizer()).unwrap().vocabulary().len() + PADDING
    }

    fn random(rng: &mut Rng, shape: &[usize], around: f32) -> Tensor {
        let n: usize = shape.iter().product();
        let scale = if shape.len() == 1 { 0.2 } else { 1.5 / (shape[1] as f32).sqrt() };
        let values: Vec<f32> = (0..n).map(|_| around + scale * (2.0 * rng.random::<f32>() - 1.0)).collect();
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    }

    /// Tensors by their names in safetensors.
    pub(crate) fn tensors(&self) -> HashMap<String, Tensor> {
        let mut rng = rng::stream(5, self.family);
        let mut out = HashMap::new();
        let mut put = |name: String, shape: &[usize], around| {
            out.insert(name, Self::random(&mut rng, shape, around));
        };
        // Gemma adds 1 to its norms.
        let norm = if self.family.starts_with("gemma") { 0.0 } else { 1.0 };
        let rows = Self::vocabulary();
        put("model.embed_tokens.weight".to_owned(), &[rows, DIM], 0.0);
        put("model.norm.weight".to_owned(), &[DIM], norm);
        if !self.tied {
            put("lm_head.weight".to_owned(), &[rows, DIM], 0.0);
        }
        let (own, shared) = (HEADS * self.head, KV_HEADS * self.head);
        for layer in 0..self.layers {
            let mut part = |name: &str, shape: &[usize], around| {
                put(format!("model.layers.{layer}.{name}"), shape, around);
            };
            part("input_layernorm.weight", &[DIM], norm);
            part("post_attention_layernorm.weight", &[DIM], norm);
            part("self_attn.o_proj.weight", &[DIM, own], 0.0);
            part("mlp.down_proj.weight", &[DIM, HIDDEN], 0.0);
            if self.fused {
                part("self_attn.qkv_proj.weight", &[own + 2 * shared, DIM], 0.0);
                part("mlp.gate_up_proj.weight", &[2 * HIDDEN, DIM], 0.0);
            } else {
                for (name, width) in [("q", own), ("k", shared), ("v", shared)] {
                    part(&format!("self_attn.{name}_proj.weight"), &[width, DIM], 0.0);
                    if self.biases {
                        part(&format!("self_attn.{name}_proj.bias"), &[width], 0.0);
                    }
                }
                part("mlp.gate_proj.weight", &[HIDDEN, DIM], 0.0);
                part("mlp.up_proj.weight", &[HIDDEN, DIM], 0.0);
            }
            if self.head_norms {
                part("self_attn.q_norm.weight", &[self.head], norm);
                part("self_attn.k_norm.weight", &[self.head], norm);
            }
            if self.post_norms {
                part("pre_feedforward_layernorm.weight", &[DIM], norm);
                part("post_feedforward_layernorm.weight", &[DIM], norm);
            }
        }
        out
    }

    pub(crate) fn config(&self) -> Value {
        let mut config = json!({
            "model_type": if self.family == "gemma3" { "gemma3_text" } else { self.family },
            "vocab_size": Self::vocabulary(), "hidden_size": DIM, "intermediate_size": HIDDEN,
            "num_hidden_layers": self.layers, "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS,
            "head_dim": self.head, "rms_norm_eps": 1e-6, "rope_theta": 5000.0, "max_position_embeddings": 64,
            "tie_word_embeddings": self.tied, "attention_bias": false, "hidden_act": "silu",
        });
        let more = match self.family {
            // The reference has no window once it reads token by token; windows are tried with Gemma 3.
            "mistral" => json!({ "sliding_window": 64 }),
            // The reference of Qwen 2 uses its window even so; that ours does not is tried with Qwen 3.
            "qwen2" => json!({ "use_sliding_window": false, "sliding_window": 64, "max_window_layers": 1 }),
            "qwen3" => {
                json!({ "use_sliding_window": false, "sliding_window": WINDOW, "max_window_layers": 1 })
            }
            "gemma" => json!({ "hidden_act": "gelu_pytorch_tanh" }),
            "gemma3" => json!({
                "hidden_activation": "gelu_pytorch_tanh", "rope_local_base_freq": 7000.0,
                "query_pre_attn_scalar": 16, "sliding_window": WINDOW, "sliding_window_pattern": 6,
                "final_logit_softcapping": null, "attn_logit_softcapping": null,
            }),
            _ => json!({}),
        };
        let more = more.as_object().unwrap().clone();
        config.as_object_mut().unwrap().extend(more);
        config
    }

    /// A folder as it is published.
    pub(crate) fn folder(&self, dir: &Path) -> PathBuf {
        let folder = dir.join(self.family);
        std::fs::create_dir_all(&folder).unwrap();
        candle_core::safetensors::save(&self.tensors(), folder.join("model.safetensors")).unwrap();
        std::fs::write(folder.join("config.json"), self.config().to_string()).unwrap();
        std::fs::copy(tokenizer(), folder.join("tokenizer.json")).unwrap();
        folder
    }

    /// A folder of the tensors of another model.
    pub(crate) fn folder_of(&self, dir: &Path, other: &Self) -> PathBuf {
        let folder = other.folder(dir);
        std::fs::write(folder.join("config.json"), self.config().to_string()).unwrap();
        folder
    }

    /// A GGUF file without a tokenizer; the tensors of `gemma` hold what is multiplied with.
    pub(crate) fn gguf(&self, dir: &Path, kind: GgmlDType) -> PathBuf {
        let path = dir.join(format!("{}.gguf", self.family));
        let quantized = |tensor: &Tensor| {
            let kind = if tensor.rank() == 1 { GgmlDType::F32 } else { kind };
            QTensor::quantize(tensor, kind).unwrap()
        };
        let lift = self.family.starts_with("gemma");
        let tensors: Vec<(String, QTensor)> = self
            .tensors()
            .iter()
            .map(|(name, tensor)| {
                let is_norm = name.contains("norm");
                let lifted = if lift && is_norm { tensor.affine(1.0, 1.0).unwrap() } else { tensor.clone() };
                (self.gguf_name(name), quantized(&lifted))
            })
            .collect();
        let tensors: Vec<(&str, &QTensor)> = tensors.iter().map(|(name, t)| (name.as_str(), t)).collect();
        let metadata = self.metadata();
        let metadata: Vec<(&str, &gguf_file::Value)> =
            metadata.iter().map(|(name, value)| (name.as_str(), value)).collect();
        let mut file = std::fs::File::create(&path).unwrap();
        gguf_file::write(&mut file, &metadata, &tensors).unwrap();
        path
    }

    fn metadata(&self) -> Vec<(String, gguf_file::Value)> {
        use gguf_file::Value::{F32, String as Text, U32};
        let of = |key: &str, value| (format!("{}.{key}", self.family), value);
        let n = |n: usize| U32(n as u32);
        let mut out = vec![
            ("general.architecture".to_owned(), Text(self.family.to_owned())),
            ("general.dtype".to_owned(), U32(0)),
            of("block_count", n(self.layers)),
            of("embedding_length", n(DIM)),
            of("feed_forward_length", n(HIDDEN)),
            of("context_length", n(64)),
            of("attention.head_count", n(HEADS)),
            of("attention.head_count_kv", n(KV_HEADS)),
            of("attention.key_length", n(self.head)),
            of("attention.value_length", n(self.head)),
            of("attention.layer_norm_rms_epsilon", F32(1e-6)),
            // The reference of Phi 3 knows no other base.
            of("rope.freq_base", F32(if self.family == "phi3" { 10_000.0 } else { 5000.0 })),
            of("rope.dimension_count", n(self.head)),
        ];
        if self.family == "gemma3" {
            out.push(of("attention.sliding_window", n(WINDOW)));
            out.push(of("rope.local_freq_base", F32(7000.0)));
        }
        out
    }

    fn gguf_name(&self, name: &str) -> String {
        let name = name.trim_start_matches("model.");
        let mut out = name.replace("layers.", "blk.").replace("self_attn.", "").replace("mlp.", "");
        let feed = if self.post_norms { "pre_feedforward_layernorm" } else { "post_attention_layernorm" };
        for (from, to) in [
            ("embed_tokens", "token_embd"),
            ("lm_head", "output"),
            ("input_layernorm", "attn_norm"),
            (feed, "ffn_norm"),
            ("post_attention_layernorm", "post_attention_norm"),
            ("post_feedforward_layernorm", "post_ffw_norm"),
            ("qkv_proj", "attn_qkv"),
            ("gate_up_proj", "ffn_up"),
            ("q_proj", "attn_q"),
            ("k_proj", "attn_k"),
            ("v_proj", "attn_v"),
            ("o_proj", "attn_output"),
            ("q_norm", "attn_q_norm"),
            ("k_norm", "attn_k_norm"),
            ("gate_proj", "ffn_gate"),
            ("up_proj", "ffn_up"),
            ("down_proj", "ffn_down"),
        ] {
            out = out.replace(from, to);
        }
        if out == "norm.weight" { "output_norm.weight".to_owned() } else { out }
    }

    pub(crate) fn open(&self, path: &Path) -> Candle {
        Candle::open(self.family, path, Some(&tokenizer()), None).unwrap()
    }
}
