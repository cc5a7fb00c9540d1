//! Where families of models differ from Llama, as data, and the sizes of one model.

use super::source::Source;

/// A family: one block of pre-norm attention and gated feed-forward, with these differences. Biases, norms of queries
/// and keys, norms after attention and feed-forward and fused matrices are taken where the file has them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Family {
    /// `general.architecture` of a GGUF file.
    pub(super) gguf: &'static str,
    /// `model_type` of a `config.json`.
    pub(super) hugging_face: &'static [&'static str],
    /// GGUF files have rotary pairs as neighbors; else, and in safetensors always, as halves.
    pub(super) neighbors: bool,
    /// The gate is GELU (by tanh), not SiLU.
    pub(super) gelu: bool,
    /// Embeddings are times the root of their width, and the norms of safetensors are stored less 1.
    pub(super) gemma: bool,
    /// Of so many layers all but the last see a window only, with a rotary base of their own.
    pub(super) local: Option<usize>,
    /// The norm before the feed-forward is the one that safetensors name after attention.
    pub(super) one_norm: bool,
}

const LLAMA: Family = Family {
    gguf: "llama",
    hugging_face: &["llama", "mistral"],
    neighbors: true,
    gelu: false,
    gemma: false,
    local: None,
    one_norm: true,
};

/// Every family.
pub(super) const ALL: [Family; 6] = [
    LLAMA,
    Family { gguf: "qwen2", hugging_face: &["qwen2"], neighbors: false, ..LLAMA },
    Family { gguf: "qwen3", hugging_face: &["qwen3"], neighbors: false, ..LLAMA },
    Family { gguf: "phi3", hugging_face: &["phi3"], neighbors: false, ..LLAMA },
    Family { gguf: "gemma", hugging_face: &["gemma"], neighbors: false, gelu: true, gemma: true, ..LLAMA },
    Family {
        gguf: "gemma3",
        hugging_face: &["gemma3_text"],
        neighbors: false,
        gelu: true,
        gemma: true,
        local: Some(6),
        one_norm: false,
    },
];

/// Sizes of a model.
#[derive(Debug, Clone)]
pub(super) struct Config {
    pub(super) family: Family,
    pub(super) dim: usize,
    pub(super) layers: usize,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) head: usize,
    /// Tokens it was made to read.
    pub(super) context: usize,
    pub(super) epsilon: f32,
    pub(super) rotary_base: f32,
    /// Rotary base of the layers that see a window only, where the family has such.
    pub(super) local_base: f32,
    /// What positions are divided by.
    pub(super) rotary_scale: f32,
    /// What each frequency is divided by besides, `(head / 2,)`; empty for 1.
    pub(super) rotary_factors: Vec<f32>,
    /// Positions a windowed layer sees, its own included.
    pub(super) window: Option<usize>,
    /// Factor on scores of attention.
    pub(super) scale: f32,
    /// Rotary pairs as neighbors.
    pub(super) neighbors: bool,
}

/// Rotary base of the layers that see a window only, where a file does not say.
const LOCAL_BASE: f64 = 10_000.0;

impl Config {
    /// Window of a layer; `None` where it sees everything.
    pub(super) fn window_of(&self, layer: usize) -> Option<usize> {
        self.window.filter(|_| self.is_local(layer) || self.family.local.is_none())
    }

    /// Whether a layer is one of those with a rotary base of their own.
    pub(super) fn is_local(&self, layer: usize) -> bool {
        self.family.local.is_some_and(|every| !(layer + 1).is_multiple_of(every))
    }

    /// Sizes of a GGUF file.
    pub(super) fn of_gguf(source: &Source) -> Result<Self, String> {
        let name = source.text("general.architecture")?;
        let family = find(&name, |family| family.gguf == name)?;
        let key = |key: &str| format!("{name}.{key}");
        let number = |k: &str| source.number(&key(k)).ok_or_else(|| format!("it has no number `{}`", key(k)));
        let size = |k: &str| number(k).map(|n| n as usize);
        let optional = |k: &str| source.number(&key(k));
        match source.text(&key("rope.scaling.type")).as_deref() {
            Err(_) | Ok("none" | "linear") => {}
            Ok(other) => {
                return Err(format!("its rotary scaling is `{other}`; accepted are `none`, `linear`"));
            }
        }
        if source.has("rope_factors_short.weight") || source.has("rope_factors_long.weight") {
            return Err(
                "its rotary factors depend on the length of the text, which this build lacks".to_owned()
            );
        }
        let (dim, heads, layers) =
            (size("embedding_length")?, size("attention.head_count")?, size("block_count")?);
        let head = optional("attention.key_length").map_or(dim / heads.max(1), |n| n as usize);
        // The largest of the family divides by the width over the heads.
        let divisor = if family.local.is_some() && layers == 62 { dim / heads } else { head };
        Self {
            family,
            dim,
            layers,
            heads,
            kv_heads: optional("attention.head_count_kv").map_or(heads, |n| n as usize),
            head,
            context: size("context_length")?,
            epsilon: number("attention.layer_norm_rms_epsilon")? as f32,
            rotary_base: optional("rope.freq_base").unwrap_or(10_000.0) as f32,
            local_base: optional("rope.local_freq_base").unwrap_or(LOCAL_BASE) as f32,
            rotary_scale: optional("rope.scaling.factor").unwrap_or(1.0) as f32,
            rotary_factors: Vec::new(),
            window: optional("attention.sliding_window").map(|n| n as usize).filter(|n| *n > 0),
            scale: 1.0 / (divisor as f32).sqrt(),
            neighbors: family.neighbors,
        }
        .checked()
    }

    /// Sizes of a `config.json`.
    pub(super) fn of_hugging_face(source: &Source) -> Result<Self, String> {
        let name = source.text("model_type")?;
        let mut family = find(&name, |family| family.hugging_face.contains(&name.as_str()))?;
        let number =
            |k: &str| source.number(k).ok_or_else(|| format!("its `config.json` has no number `{k}`"));
        let size = |k: &str| number(k).map(|n| n as usize);
        let (dim, heads) = (size("hidden_size")?, size("num_attention_heads")?);
        let head = source.number("head_dim").map_or(dim / heads.max(1), |n| n as usize);
        let divisor = source.number("query_pre_attn_scalar").unwrap_or(head as f64);
        let uses_window = source.flag("use_sliding_window").unwrap_or(true);
        if let Some(every) = source.number("sliding_window_pattern") {
            family.local = family.local.map(|_| (every as usize).max(1));
        }
        let rotary_base = source.number("rope_theta").unwrap_or(10_000.0) as f32;
        let mut config = Self {
            family,
            dim,
            layers: size("num_hidden_layers")?,
            heads,
            kv_heads: source.number("num_key_value_heads").map_or(heads, |n| n as usize),
            head,
            context: size("max_position_embeddings")?,
            epsilon: number("rms_norm_eps")? as f32,
            rotary_base,
            local_base: source.number("rope_local_base_freq").unwrap_or(LOCAL_BASE) as f32,
            rotary_scale: 1.0,
            rotary_factors: Vec::new(),
            window: source.number("sliding_window").map(|n| n as usize).filter(|_| uses_window),
            scale: 1.0 / (divisor as f32).sqrt(),
            neighbors: false,
        }
        .checked()?;
        config.scale_rotary(source)?;
        Ok(config)
    }

    /// Takes in `rope_scaling` of a `config.json`.
    fn scale_rotary(&mut self, source: &Source) -> Result<(), String> {
        let key = |k: &str| format!("rope_scaling.{k}");
        let kind = source.text(&key("rope_type")).or_else(|_| source.text(&key("type")));
        let number = |k: &str| source.number(&key(k)).ok_or_else(|| format!("it has no `{}`", key(k)));
        match kind.as_deref() {
            Err(_) | Ok("default") => Ok(()),
            Ok("linear") => {
                self.rotary_scale = number("factor")? as f32;
                Ok(())
            }
            Ok("llama3") => {
                let (factor, low, high) =
                    (number("factor")?, number("low_freq_factor")?, number("high_freq_factor")?);
                let original = number("original_max_position_embeddings")?;
                let divide = |pair: usize| {
                    let turn = f64::from(self.rotary_base).powf(2.0 * pair as f64 / self.head as f64);
                    let wave = 2.0 * std::f64::consts::PI * turn;
                    // Long waves are stretched by the whole factor, short ones not at all.
                    let share = ((original / wave - low) / (high - low)).clamp(0.0, 1.0);
                    (1.0 / ((1.0 - share) / factor + share)) as f32
                };
                self.rotary_factors = (0..self.head / 2).map(divide).collect();
                Ok(())
            }
            Ok(other) => {
                Err(format!("its rotary scaling is `{other}`; accepted are `default`, `linear`, `llama3`"))
            }
        }
    }

    fn checked(self) -> Result<Self, String> {
        let Self { dim, layers, heads, kv_heads, head, context, .. } = self;
        let sizes = [dim, layers, heads, kv_heads, head, context];
        if sizes.contains(&0) || !heads.is_multiple_of(kv_heads) || !head.is_multiple_of(2) {
            return Err(format!(
                "its sizes do not fit: width {dim}, {layers} layers, {heads} heads of {head}, {kv_heads} of keys, \
                 context {context}"
            ));
        }
        Ok(self)
    }
}

fn find(name: &str, is: impl Fn(&Family) -> bool) -> Result<Family, String> {
    ALL.into_iter().find(is).ok_or_else(|| {
        let known: Vec<&str> = ALL.iter().map(|family| family.gguf).collect();
        format!("it is of the family `{name}`; this build knows {}", known.join(", "))
    })
}
