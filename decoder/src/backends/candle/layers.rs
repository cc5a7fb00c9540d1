//! The forward pass: blocks of attention and gated feed-forward over a cache of keys and values that can be cut short.

use super::family::Config;
use super::kinds;
use super::source::Source;
use candle_core::quantized::QMatMul;
use candle_core::{D, Device, Module as _, Result, Tensor};
use candle_nn::ops::{rms_norm, softmax_last_dim};
use candle_nn::rotary_emb::{rope, rope_i};

/// Positions a cache has room for at first; it doubles.
const ROOM: usize = 64;

/// A matrix, as quantized as its file, and its bias.
#[derive(Debug, Clone)]
pub(super) struct Linear {
    pub(super) weight: QMatMul,
    /// What is added to every block of a row, `(blocks, rows)`; see [`kinds`].
    pub(super) added: Option<Tensor>,
    pub(super) bias: Option<Tensor>,
}

impl Linear {
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut out = self.weight.forward(x)?;
        if let Some(added) = &self.added {
            let (n, dim) = x.dims2()?;
            let sums = x.reshape((n, dim / kinds::BLOCK, kinds::BLOCK))?.sum(2)?;
            out = (out + sums.matmul(added)?)?;
        }
        match &self.bias {
            Some(bias) => out.broadcast_add(bias),
            None => Ok(out),
        }
    }

    /// The same matrix in a kind that is multiplied fast.
    pub(super) fn converted(self) -> Result<Self> {
        match self.weight {
            QMatMul::QTensor(tensor) => {
                let (weight, added) = kinds::converted(tensor)?;
                Ok(Self { weight, added, bias: self.bias })
            }
            _ => Ok(self),
        }
    }
}

/// Matrices that read one input: apart, or stored as one.
#[derive(Debug)]
enum Split<const N: usize> {
    Apart([Linear; N]),
    Fused(Linear, [usize; N]),
}

impl<const N: usize> Split<N> {
    fn forward(&self, x: &Tensor) -> Result<[Tensor; N]> {
        let parts: Vec<Tensor> = match self {
            Self::Apart(parts) => parts.iter().map(|part| part.forward(x)).collect::<Result<_>>()?,
            Self::Fused(all, widths) => {
                let all = all.forward(x)?;
                let mut at = 0;
                let mut next = |width: &usize| {
                    at += width;
                    all.narrow(D::Minus1, at - width, *width)?.contiguous()
                };
                widths.iter().map(&mut next).collect::<Result<_>>()?
            }
        };
        parts.try_into().map_err(|_| candle_core::Error::Msg("another number of parts".to_owned()))
    }
}

/// One block.
#[derive(Debug)]
struct Block {
    attention_norm: Tensor,
    qkv: Split<3>,
    query_norm: Option<Tensor>,
    key_norm: Option<Tensor>,
    output: Linear,
    attention_post_norm: Option<Tensor>,
    feed_norm: Tensor,
    gate_up: Split<2>,
    down: Linear,
    feed_post_norm: Option<Tensor>,
}

/// A network, without its tokenizer.
#[derive(Debug)]
pub(super) struct Layers {
    pub(super) config: Config,
    pub(super) embedding: Linear,
    blocks: Vec<Block>,
    norm: Tensor,
    pub(super) output: Linear,
    /// The output matrix is the embedding.
    pub(super) is_tied: bool,
    /// `1 / base^(2 i / head)` over the factors, for layers that see everything and for local ones.
    frequencies: [Vec<f64>; 2],
}

/// Keys and values of one block, `(kv_heads, room, head)`.
#[derive(Debug)]
struct Kept {
    keys: Tensor,
    values: Tensor,
}

/// Keys and values of what was read.
#[derive(Debug, Default)]
pub(in crate::backends) struct Cache {
    blocks: Vec<Kept>,
    pub(super) len: usize,
}

impl Cache {
    /// A cache of its own that holds the same.
    pub(super) fn copy(&self) -> Result<Self> {
        let copy = |kept: &Kept| Ok(Kept { keys: kept.keys.copy()?, values: kept.values.copy()? });
        Ok(Self { blocks: self.blocks.iter().map(copy).collect::<Result<_>>()?, len: self.len })
    }

    /// Room for `n` more positions.
    fn grow(&mut self, n: usize, config: &Config) -> Result<()> {
        let needed = self.len + n;
        let room = self.blocks.first().map_or(Ok(0), |kept| kept.keys.dim(1))?;
        if needed <= room {
            return Ok(());
        }
        let wider = needed.max(2 * room).max(ROOM);
        let grown = |old: Option<&Tensor>| {
            let shape = (config.kv_heads, wider, config.head);
            let new = Tensor::zeros(shape, candle_core::DType::F32, &Device::Cpu)?;
            if let Some(old) = old.filter(|_| self.len > 0) {
                new.slice_set(&old.narrow(1, 0, self.len)?.contiguous()?, 1, 0)?;
            }
            Ok::<Tensor, candle_core::Error>(new)
        };
        let block = |at: usize| {
            let old = self.blocks.get(at);
            Ok(Kept {
                keys: grown(old.map(|kept| &kept.keys))?,
                values: grown(old.map(|kept| &kept.values))?,
            })
        };
        self.blocks = (0..config.layers).map(block).collect::<Result<_>>()?;
        Ok(())
    }
}

/// What the blocks of one pass share.
struct Pass {
    start: usize,
    n: usize,
    /// Cosines and sines of layers that see everything, and of local ones.
    turns: [(Tensor, Tensor); 2],
}

fn normed(x: &Tensor, weight: Option<&Tensor>, epsilon: f32) -> Result<Tensor> {
    match weight {
        Some(weight) => rms_norm(x, weight, epsilon),
        None => Ok(x.clone()),
    }
}

impl Layers {
    /// Takes the weights.
    pub(super) fn load(mut config: Config, source: &mut Source) -> std::result::Result<Self, String> {
        let need = |name: &str| format!("it has no tensor `{name}`");
        let one_norm = config.family.one_norm;
        if config.neighbors
            && let Some(factors) = source.vector("rope_freqs.weight", one_norm)?
        {
            config.rotary_factors = factors.to_vec1().map_err(|error| error.to_string())?;
        }
        // Files of safetensors hold what is added to 1.
        let lift = config.family.gemma && matches!(source, Source::Folder { .. });
        let mut norm = |source: &mut Source, name: &str| -> std::result::Result<Option<Tensor>, String> {
            let found = source.vector(&format!("{name}.weight"), one_norm)?;
            let lifted = found.map(|weight| if lift { weight.affine(1.0, 1.0) } else { Ok(weight) });
            lifted.transpose().map_err(|error| error.to_string())
        };
        let matrix = |source: &mut Source, name: &str| source.linear(name)?.ok_or_else(|| need(name));
        let embedding = matrix(source, "token_embd")?;
        let output = source.linear("output")?;
        let is_tied = output.is_none();
        let output = output.unwrap_or_else(|| embedding.clone()).converted();
        let output = output.map_err(|error| format!("tensor `output.weight`: {error}"))?;
        let last = norm(source, "output_norm")?.ok_or_else(|| need("output_norm"))?;
        let mut blocks = Vec::with_capacity(config.layers);
        for at in 0..config.layers {
            blocks.push(block(&config, source, at, &mut norm)?);
        }
        let frequencies = [config.rotary_base, config.local_base].map(|base| frequencies(&config, base));
        Ok(Self { config, embedding, blocks, norm: last, output, is_tied, frequencies })
    }

    /// Number of ids.
    pub(super) fn vocabulary(&self) -> usize {
        let shape = match &self.output.weight {
            QMatMul::QTensor(weight) => weight.shape().dims(),
            QMatMul::Tensor(weight) | QMatMul::TensorF16(weight) => weight.dims(),
        };
        shape.first().copied().unwrap_or(0)
    }

    /// Normed last states `(n, dim)` of ids after what is in the cache.
    pub(super) fn read(&self, cache: &mut Cache, ids: &[u32]) -> Result<Tensor> {
        let (n, start) = (ids.len(), cache.len);
        cache.grow(n, &self.config)?;
        let ids = Tensor::new(ids, &Device::Cpu)?;
        let mut x = self.embedding.weight.embedding(&ids)?;
        if self.config.family.gemma {
            x = (x * (self.config.dim as f64).sqrt())?;
        }
        let turns = |at: usize| {
            self.turns(&self.frequencies[at], start, n, if at == 0 { self.config.rotary_scale } else { 1.0 })
        };
        let pass = Pass { start, n, turns: [turns(0)?, turns(1)?] };
        for (at, (block, kept)) in self.blocks.iter().zip(&cache.blocks).enumerate() {
            let attended = self.attend(at, block, kept, &x, &pass)?;
            x = (x + normed(&attended, block.attention_post_norm.as_ref(), self.config.epsilon)?)?;
            let fed = self.feed(block, &x)?;
            x = (x + normed(&fed, block.feed_post_norm.as_ref(), self.config.epsilon)?)?;
        }
        cache.len += n;
        rms_norm(&x, &self.norm, self.config.epsilon)
    }

    /// Cosine and sine of every pair at positions `start..start + n`, `(n, head / 2)`.
    fn turns(&self, frequencies: &[f64], start: usize, n: usize, scale: f32) -> Result<(Tensor, Tensor)> {
        let angles = (start..start + n)
            .flat_map(|at| frequencies.iter().map(move |f| at as f64 / f64::from(scale) * f));
        let (sines, cosines): (Vec<f32>, Vec<f32>) =
            angles.map(|angle| (angle.sin() as f32, angle.cos() as f32)).unzip();
        let shape = (n, frequencies.len());
        Ok((Tensor::from_vec(cosines, shape, &Device::Cpu)?, Tensor::from_vec(sines, shape, &Device::Cpu)?))
    }

    fn attend(&self, at: usize, block: &Block, kept: &Kept, x: &Tensor, pass: &Pass) -> Result<Tensor> {
        let Config { heads, kv_heads, head, epsilon, .. } = self.config;
        let x = rms_norm(x, &block.attention_norm, epsilon)?;
        let [queries, keys, values] = block.qkv.forward(&x)?;
        let by_head =
            |x: &Tensor, heads: usize| x.reshape((pass.n, heads, head))?.transpose(0, 1)?.contiguous();
        let (queries, keys) = (by_head(&queries, heads)?, by_head(&keys, kv_heads)?);
        let queries = normed(&queries, block.query_norm.as_ref(), epsilon)?;
        let keys = normed(&keys, block.key_norm.as_ref(), epsilon)?;
        let (cosines, sines) = &pass.turns[usize::from(self.config.is_local(at))];
        let turn = |x: &Tensor| {
            let x = x.unsqueeze(0)?;
            let turned = if self.config.neighbors { rope_i } else { rope };
            turned(&x, cosines, sines)?.squeeze(0)
        };
        let queries = turn(&queries)?;
        kept.keys.slice_set(&turn(&keys)?, 1, pass.start)?;
        kept.values.slice_set(&by_head(&values, kv_heads)?, 1, pass.start)?;
        let len = pass.start + pass.n;
        let (keys, values) = (kept.keys.narrow(1, 0, len)?, kept.values.narrow(1, 0, len)?);
        // Heads that share keys are rows of one product.
        let group = heads / kv_heads;
        let queries = queries.reshape((kv_heads, group * pass.n, head))?;
        let scores = (queries.matmul(&keys.t()?)? * f64::from(self.config.scale))?;
        let scores = match self.mask(at, pass)? {
            Some(mask) => {
                let scores = scores.reshape((kv_heads, group, pass.n, len))?.broadcast_add(&mask)?;
                scores.reshape((kv_heads, group * pass.n, len))?
            }
            None => scores,
        };
        let mixed = softmax_last_dim(&scores)?.matmul(&values)?;
        let mixed = mixed.reshape((heads, pass.n, head))?.transpose(0, 1)?;
        block.output.forward(&mixed.contiguous()?.reshape((pass.n, heads * head))?)
    }

    /// What is added to scores `(n, len)`: minus infinity where a layer does not see.
    fn mask(&self, at: usize, pass: &Pass) -> Result<Option<Tensor>> {
        let len = pass.start + pass.n;
        let window = self.config.window_of(at).filter(|window| *window < len);
        if pass.n == 1 && window.is_none() {
            return Ok(None);
        }
        let sees = |row: usize, column: usize| {
            let row = pass.start + row;
            column <= row && window.is_none_or(|window| row - column < window)
        };
        let cell = |at: usize| if sees(at / len, at % len) { 0.0_f32 } else { f32::NEG_INFINITY };
        let cells: Vec<f32> = (0..pass.n * len).map(cell).collect();
        Tensor::from_vec(cells, (pass.n, len), &Device::Cpu).map(Some)
    }

    fn feed(&self, block: &Block, x: &Tensor) -> Result<Tensor> {
        let x = rms_norm(x, &block.feed_norm, self.config.epsilon)?;
        let [gate, up] = block.gate_up.forward(&x)?;
        let gate = if self.config.family.gelu { gate.gelu()? } else { gate.silu()? };
        block.down.forward(&(gate * up)?)
    }
}

/// `1 / base^(2 i / head)` over the factors.
fn frequencies(config: &Config, base: f32) -> Vec<f64> {
    let factor = |pair: usize| match base.total_cmp(&config.rotary_base) {
        std::cmp::Ordering::Equal => config.rotary_factors.get(pair).map_or(1.0, |factor| f64::from(*factor)),
        _ => 1.0,
    };
    let frequency =
        |pair: usize| f64::from(base).powf(-2.0 * pair as f64 / config.head as f64) / factor(pair);
    (0..config.head / 2).map(frequency).collect()
}

/// Takes the weights of one block.
fn block(
    config: &Config,
    source: &mut Source,
    at: usize,
    norm: &mut impl FnMut(&mut Source, &str) -> std::result::Result<Option<Tensor>, String>,
) -> std::result::Result<Block, String> {
    let name = |role: &str| format!("blk.{at}.{role}");
    let need = |role: &str| format!("it has no tensor `blk.{at}.{role}`");
    let found = |source: &mut Source, role: &str| {
        let linear = source.linear(&name(role))?.map(Linear::converted);
        linear.transpose().map_err(|error| format!("tensor `{}`: {error}", name(role)))
    };
    let matrix = |source: &mut Source, role: &str| found(source, role)?.ok_or_else(|| need(role));
    let qkv = match found(source, "attn_qkv")? {
        Some(fused) => {
            let [own, shared] = [config.heads, config.kv_heads].map(|heads| heads * config.head);
            Split::Fused(fused, [own, shared, shared])
        }
        None => {
            Split::Apart([matrix(source, "attn_q")?, matrix(source, "attn_k")?, matrix(source, "attn_v")?])
        }
    };
    let gate_up = match found(source, "ffn_gate")? {
        Some(gate) => Split::Apart([gate, matrix(source, "ffn_up")?]),
        // One matrix of both: GGUF calls it by the name of one of them.
        None => {
            let fused = match found(source, "ffn_gate_up")? {
                Some(fused) => fused,
                None => matrix(source, "ffn_up")?,
            };
            let width = fused.weight_rows() / 2;
            Split::Fused(fused, [width, width])
        }
    };
    Ok(Block {
        attention_norm: norm(source, &name("attn_norm"))?.ok_or_else(|| need("attn_norm"))?,
        qkv,
        query_norm: norm(source, &name("attn_q_norm"))?,
        key_norm: norm(source, &name("attn_k_norm"))?,
        output: matrix(source, "attn_output")?,
        attention_post_norm: norm(source, &name("post_attention_norm"))?,
        feed_norm: norm(source, &name("ffn_norm"))?.ok_or_else(|| need("ffn_norm"))?,
        gate_up,
        down: matrix(source, "ffn_down")?,
        feed_post_norm: norm(source, &name("post_ffw_norm"))?,
    })
}

impl Linear {
    /// Width of what comes out.
    pub(super) fn weight_rows(&self) -> usize {
        let dims = match &self.weight {
            QMatMul::QTensor(weight) => weight.shape().dims(),
            QMatMul::Tensor(weight) | QMatMul::TensorF16(weight) => weight.dims(),
        };
        dims.first().copied().unwrap_or(0)
    }
}
