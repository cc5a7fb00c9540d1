//! The checkpoint file of llama2.c, read and written.
//!
//! Little-endian: 7 i32 (dim, hidden, layers, heads, kv heads, vocabulary, context; a negative vocabulary says that the
//! output matrix is not the embedding), then f32 tensors by kind, each for all layers. Matrices are stored as
//! `(n_out, n_in)`; here they are turned to `(n_in, n_out)`, the order [`routewright_data::dense`] multiplies in.

use rand::RngExt as _;

/// Sizes of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Width of the residual stream.
    pub dim: usize,
    /// Width of the feed-forward layer.
    pub hidden: usize,
    /// Number of blocks.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Number of ids.
    pub vocabulary: usize,
    /// Tokens it can read.
    pub context: usize,
}

/// Sizes above these are no model this backend is made for; checked before anything is allocated.
const SIZE_MAX: usize = 1 << 20;

impl Shape {
    /// Width of one head.
    pub fn head(&self) -> usize {
        self.dim / self.heads
    }

    /// Width of keys and values.
    pub fn kv_dim(&self) -> usize {
        self.head() * self.kv_heads
    }

    /// What is wrong with the sizes, if anything.
    fn check(&self) -> Result<(), String> {
        let sizes = [
            ("dim", self.dim),
            ("hidden", self.hidden),
            ("layers", self.layers),
            ("heads", self.heads),
            ("kv_heads", self.kv_heads),
            ("vocabulary", self.vocabulary),
            ("context", self.context),
        ];
        if let Some((name, size)) = sizes.iter().find(|(_, size)| !(1..=SIZE_MAX).contains(size)) {
            return Err(format!("its header says {name} = {size}; 1 to {SIZE_MAX} is accepted"));
        }
        if !self.dim.is_multiple_of(self.heads) || !self.head().is_multiple_of(2) {
            return Err(format!("dim {} cannot be shared by {} heads of even width", self.dim, self.heads));
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return Err(format!("{} heads cannot share {} kv heads", self.heads, self.kv_heads));
        }
        Ok(())
    }
}

/// One block. Matrices `(n_in, n_out)`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Block {
    /// Scale of the norm before attention, `(dim,)`.
    pub attention_norm: Vec<f32>,
    /// Queries, `(dim, dim)`.
    pub wq: Vec<f32>,
    /// Keys, `(dim, kv_dim)`.
    pub wk: Vec<f32>,
    /// Values, `(dim, kv_dim)`.
    pub wv: Vec<f32>,
    /// Output of attention, `(dim, dim)`.
    pub wo: Vec<f32>,
    /// Scale of the norm before the feed-forward layer, `(dim,)`.
    pub feed_norm: Vec<f32>,
    /// Gate, `(dim, hidden)`.
    pub w1: Vec<f32>,
    /// Down, `(hidden, dim)`.
    pub w2: Vec<f32>,
    /// Up, `(dim, hidden)`.
    pub w3: Vec<f32>,
}

/// All weights of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Weights {
    /// Sizes.
    pub shape: Shape,
    /// Input embedding, `(vocabulary, dim)`.
    pub embedding: Vec<f32>,
    /// The blocks, first first.
    pub blocks: Vec<Block>,
    /// Scale of the last norm, `(dim,)`.
    pub norm: Vec<f32>,
    /// Output projection, `(dim, vocabulary)`.
    pub output: Vec<f32>,
    /// The output projection is the embedding.
    pub tied: bool,
}

impl Weights {
    /// Random weights: a model that says something of its own, for tests and benches. It never says the first three
    /// tokens, which are no text.
    pub fn random(shape: Shape, rng: &mut impl rand::Rng) -> Self {
        let mut random = |n: usize| (0..n).map(|_| rng.random::<f32>() - 0.5).collect::<Vec<f32>>();
        let Shape { dim, hidden, layers, vocabulary, .. } = shape;
        let mut block = || Block {
            attention_norm: vec![1.0; dim],
            wq: random(dim * dim),
            wk: random(dim * shape.kv_dim()),
            wv: random(dim * shape.kv_dim()),
            wo: random(dim * dim),
            feed_norm: vec![1.0; dim],
            w1: random(dim * hidden),
            w2: random(hidden * dim),
            w3: random(dim * hidden),
        };
        let blocks = (0..layers).map(|_| block()).collect();
        let (embedding, mut output) = (random(vocabulary * dim), random(vocabulary * dim));
        for row in output.chunks_exact_mut(vocabulary) {
            row.iter_mut().take(3).for_each(|weight| *weight = 0.0);
        }
        Self { shape, embedding, blocks, norm: vec![2.0; dim], output, tied: false }
    }

    /// Reads a checkpoint.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        let (header, rest) = bytes.split_at_checked(28).ok_or("it is shorter than its header of 28 bytes")?;
        let numbers: Vec<i32> =
            header.chunks_exact(4).map(|b| i32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        let size = |at: usize| usize::try_from(numbers[at]).unwrap_or(0);
        let shape = Shape {
            dim: size(0),
            hidden: size(1),
            layers: size(2),
            heads: size(3),
            kv_heads: size(4),
            vocabulary: usize::try_from(numbers[5].unsigned_abs()).unwrap_or(0),
            context: size(6),
        };
        shape.check()?;
        let tied = numbers[5] > 0;
        let expected = 4 * n_values(&shape, tied);
        if rest.len() != expected {
            let found = rest.len();
            return Err(format!("after its header it has {found} bytes; its sizes need {expected}"));
        }
        let values = rest.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        let weights = Self::split(shape, tied, &Reader { values });
        Ok(weights)
    }

    fn split(shape: Shape, tied: bool, reader: &Reader) -> Self {
        let (dim, hidden, kv) = (shape.dim, shape.hidden, shape.kv_dim());
        let mut at = 0;
        let embedding = reader.take(&mut at, shape.vocabulary * dim).to_vec();
        let mut blocks = vec![Block::default(); shape.layers];
        let vectors = |at: &mut usize, set: fn(&mut Block) -> &mut Vec<f32>, blocks: &mut [Block]| {
            for block in blocks {
                *set(block) = reader.take(at, dim).to_vec();
            }
        };
        let matrices =
            |at: &mut usize, set: fn(&mut Block) -> &mut Vec<f32>, n_in, n_out, blocks: &mut [Block]| {
                for block in blocks {
                    *set(block) = transpose(reader.take(at, n_in * n_out), n_out, n_in);
                }
            };
        vectors(&mut at, |b| &mut b.attention_norm, &mut blocks);
        matrices(&mut at, |b| &mut b.wq, dim, dim, &mut blocks);
        matrices(&mut at, |b| &mut b.wk, dim, kv, &mut blocks);
        matrices(&mut at, |b| &mut b.wv, dim, kv, &mut blocks);
        matrices(&mut at, |b| &mut b.wo, dim, dim, &mut blocks);
        vectors(&mut at, |b| &mut b.feed_norm, &mut blocks);
        matrices(&mut at, |b| &mut b.w1, dim, hidden, &mut blocks);
        matrices(&mut at, |b| &mut b.w2, hidden, dim, &mut blocks);
        matrices(&mut at, |b| &mut b.w3, dim, hidden, &mut blocks);
        let norm = reader.take(&mut at, dim).to_vec();
        // Two tables of rotations that nobody uses.
        at += shape.context * shape.head();
        let output = if tied { &embedding[..] } else { reader.take(&mut at, shape.vocabulary * dim) };
        let output = transpose(output, shape.vocabulary, dim);
        Self { shape, embedding, blocks, norm, output, tied }
    }

    /// The checkpoint as a file.
    pub fn write(&self) -> Vec<u8> {
        let shape = &self.shape;
        let (dim, hidden, kv) = (shape.dim, shape.hidden, shape.kv_dim());
        let sizes = [dim, hidden, shape.layers, shape.heads, shape.kv_heads, shape.vocabulary, shape.context];
        let mut bytes = Vec::with_capacity(28 + 4 * n_values(shape, self.tied));
        for (at, size) in sizes.into_iter().enumerate() {
            let size = i32::try_from(size).unwrap_or(i32::MAX);
            bytes.extend((if at == 5 && !self.tied { -size } else { size }).to_le_bytes());
        }
        let mut push = |values: &[f32]| values.iter().for_each(|value| bytes.extend(value.to_le_bytes()));
        push(&self.embedding);
        self.blocks.iter().for_each(|b| push(&b.attention_norm));
        self.blocks.iter().for_each(|b| push(&transpose(&b.wq, dim, dim)));
        self.blocks.iter().for_each(|b| push(&transpose(&b.wk, dim, kv)));
        self.blocks.iter().for_each(|b| push(&transpose(&b.wv, dim, kv)));
        self.blocks.iter().for_each(|b| push(&transpose(&b.wo, dim, dim)));
        self.blocks.iter().for_each(|b| push(&b.feed_norm));
        self.blocks.iter().for_each(|b| push(&transpose(&b.w1, dim, hidden)));
        self.blocks.iter().for_each(|b| push(&transpose(&b.w2, hidden, dim)));
        self.blocks.iter().for_each(|b| push(&transpose(&b.w3, dim, hidden)));
        push(&self.norm);
        push(&vec![0.0; shape.context * shape.head()]);
        if !self.tied {
            push(&transpose(&self.output, dim, shape.vocabulary));
        }
        bytes
    }
}

struct Reader {
    values: Vec<f32>,
}

impl Reader {
    fn take(&self, at: &mut usize, length: usize) -> &[f32] {
        let values = &self.values[*at..*at + length];
        *at += length;
        values
    }
}

/// Values after the header.
fn n_values(shape: &Shape, tied: bool) -> usize {
    let Shape { dim, hidden, layers, vocabulary, context, .. } = *shape;
    let block = 2 * dim + 2 * dim * dim + 2 * dim * shape.kv_dim() + 3 * dim * hidden;
    let output = if tied { 0 } else { vocabulary * dim };
    vocabulary * dim + layers * block + dim + context * shape.head() + output
}

/// `(columns, rows)` of `(rows, columns)`.
fn transpose(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let mut turned = vec![0.0; values.len()];
    for row in 0..rows {
        for column in 0..columns {
            turned[column * rows + row] = values[row * columns + column];
        }
    }
    turned
}
