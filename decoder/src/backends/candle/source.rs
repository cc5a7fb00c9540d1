//! Where weights come from: a GGUF file, or a folder with `config.json` and safetensors.

use super::layers::Linear;
use candle_core::quantized::{QMatMul, QTensor, gguf_file};
use candle_core::{DType, Device, Tensor};
use std::collections::HashMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;

/// Files of weights of a folder, in the order they are looked for.
const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// Settings and tensors of a model.
#[derive(Debug)]
pub(super) enum Source {
    /// Metadata and tensors of a GGUF file.
    Gguf { content: gguf_file::Content, file: BufReader<File> },
    /// `config.json` and the tensors of all safetensors files.
    Folder { config: serde_json::Value, tensors: HashMap<String, Tensor> },
}

/// The names of a tensor in both kinds of files, by the one in GGUF, without the number of the block.
const NAMES: [(&str, &str); 18] = [
    ("token_embd", "model.embed_tokens"),
    ("output_norm", "model.norm"),
    ("output", "lm_head"),
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_qkv", "self_attn.qkv_proj"),
    ("attn_q_norm", "self_attn.q_norm"),
    ("attn_k_norm", "self_attn.k_norm"),
    ("attn_output", "self_attn.o_proj"),
    ("post_attention_norm", "post_attention_layernorm"),
    ("ffn_norm", "pre_feedforward_layernorm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
    ("post_ffw_norm", "post_feedforward_layernorm"),
    ("ffn_gate_up", "mlp.gate_up_proj"),
];

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}

impl Source {
    /// Opens a GGUF file or a folder.
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        if !path.is_dir() {
            let mut file = BufReader::new(File::open(path).map_err(words)?);
            let content = gguf_file::Content::read(&mut file).map_err(words)?;
            return Ok(Self::Gguf { content, file });
        }
        let read = |name: &str| std::fs::read(path.join(name)).map_err(|error| format!("`{name}`: {error}"));
        let json = |name: &str| -> Result<serde_json::Value, String> {
            serde_json::from_slice(&read(name)?).map_err(|error| format!("`{name}`: {error}"))
        };
        let config = json("config.json")?;
        let mut files = vec![SINGLE.to_owned()];
        if !path.join(SINGLE).exists() {
            let index = json(INDEX)?;
            let map = index["weight_map"].as_object().ok_or(format!("`{INDEX}` has no `weight_map`"))?;
            files = map.values().filter_map(|file| file.as_str().map(str::to_owned)).collect();
            files.sort();
            files.dedup();
        }
        let mut tensors = HashMap::new();
        for file in files {
            let found = candle_core::safetensors::load(path.join(&file), &Device::Cpu);
            tensors.extend(found.map_err(|error| format!("`{file}`: {error}"))?);
        }
        Ok(Self::Folder { config, tensors })
    }

    /// A setting that is a number; in a `config.json` names with dots lead into objects.
    pub(super) fn number(&self, key: &str) -> Option<f64> {
        match self {
            Self::Gguf { content, .. } => match content.metadata.get(key)? {
                gguf_file::Value::F32(value) => Some(f64::from(*value)),
                gguf_file::Value::F64(value) => Some(*value),
                // Gemma files list one number of heads a layer, all the same.
                gguf_file::Value::Array(items) => items.first()?.to_u64().ok().map(|value| value as f64),
                other => other.to_u64().ok().or_else(|| other.to_u32().ok().map(u64::from)).map(|n| n as f64),
            },
            Self::Folder { .. } => self.json(key)?.as_f64(),
        }
    }

    /// A setting that is a text.
    pub(super) fn text(&self, key: &str) -> Result<String, String> {
        let found = match self {
            Self::Gguf { content, .. } => content.metadata.get(key).and_then(|v| v.to_string().ok().cloned()),
            Self::Folder { .. } => self.json(key).and_then(|value| value.as_str().map(str::to_owned)),
        };
        found.ok_or_else(|| format!("it has no text `{key}`"))
    }

    /// A setting that is true or false.
    pub(super) fn flag(&self, key: &str) -> Option<bool> {
        self.json(key)?.as_bool()
    }

    fn json(&self, key: &str) -> Option<&serde_json::Value> {
        let Self::Folder { config, .. } = self else { return None };
        key.split('.').try_fold(config, |value, part| value.get(part))
    }

    /// Name of a tensor in this file: `blk.3.attn_q.weight` is what GGUF calls it.
    fn name(&self, gguf: &str, one_norm: bool) -> String {
        if let Self::Gguf { .. } = self {
            return gguf.to_owned();
        }
        let (block, rest) = match gguf.strip_prefix("blk.").and_then(|rest| rest.split_once('.')) {
            Some((number, rest)) => (format!("model.layers.{number}."), rest),
            None => (String::new(), gguf),
        };
        let (role, kind) = rest.rsplit_once('.').unwrap_or((rest, "weight"));
        let own = match role {
            "ffn_norm" if one_norm => "post_attention_layernorm",
            "post_attention_norm" if one_norm => "none",
            _ => NAMES.iter().find(|(name, _)| *name == role).map_or(role, |(_, own)| own),
        };
        format!("{block}{own}.{kind}")
    }

    /// Whether there is a tensor of the name that GGUF gives it.
    pub(super) fn has(&self, gguf: &str) -> bool {
        match self {
            Self::Gguf { content, .. } => content.tensor_infos.contains_key(gguf),
            Self::Folder { tensors, .. } => tensors.contains_key(gguf),
        }
    }

    /// A vector, or `None` where there is none.
    pub(super) fn vector(&mut self, gguf: &str, one_norm: bool) -> Result<Option<Tensor>, String> {
        let name = self.name(gguf, one_norm);
        if !self.has(&name) {
            return Ok(None);
        }
        let loaded = match self {
            Self::Gguf { content, file } => {
                content.tensor(file, &name, &Device::Cpu).and_then(|tensor| tensor.dequantize(&Device::Cpu))
            }
            Self::Folder { tensors, .. } => tensors[&name].to_dtype(DType::F32),
        };
        loaded.map(Some).map_err(|error| format!("tensor `{name}`: {error}"))
    }

    /// A matrix with its bias, or `None` where there is none.
    pub(super) fn linear(&mut self, gguf: &str) -> Result<Option<Linear>, String> {
        let name = self.name(&format!("{gguf}.weight"), true);
        if !self.has(&name) {
            return Ok(None);
        }
        let weight = match self {
            Self::Gguf { content, file } => {
                let tensor = content.tensor(file, &name, &Device::Cpu).map(Arc::new);
                tensor.and_then(|tensor: Arc<QTensor>| QMatMul::from_arc(tensor))
            }
            Self::Folder { tensors, .. } => tensors[&name].to_dtype(DType::F32).map(QMatMul::Tensor),
        };
        let weight = weight.map_err(|error| format!("tensor `{name}`: {error}"))?;
        let bias = self.vector(&format!("{gguf}.bias"), true)?;
        Ok(Some(Linear { weight, added: None, bias }))
    }
}
