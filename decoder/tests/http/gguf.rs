//! A GGUF file of a llama2.c checkpoint and its tokenizer, for servers that read GGUF. Tensors are float32, and need no
//! turning: both formats pair neighbors in the rotary embedding.

/// Kinds of values in a GGUF header.
const U32: u32 = 4;
const F32: u32 = 6;
const I32: u32 = 5;
const BOOL: u32 = 7;
const STRING: u32 = 8;
const ARRAY: u32 = 9;
/// Alignment of tensor data.
const ALIGN: usize = 32;

struct Header {
    bytes: Vec<u8>,
    entries: u64,
}

impl Header {
    fn key(&mut self, name: &str, kind: u32) -> &mut Vec<u8> {
        self.entries += 1;
        string(&mut self.bytes, name.as_bytes());
        self.bytes.extend(kind.to_le_bytes());
        &mut self.bytes
    }

    fn number(&mut self, name: &str, value: usize) {
        self.key(name, U32).extend((value as u32).to_le_bytes());
    }

    fn list<T>(&mut self, name: &str, kind: u32, items: &[T], mut put: impl FnMut(&mut Vec<u8>, &T)) {
        let bytes = self.key(name, ARRAY);
        bytes.extend(kind.to_le_bytes());
        bytes.extend((items.len() as u64).to_le_bytes());
        for item in items {
            put(bytes, item);
        }
    }
}

fn string(bytes: &mut Vec<u8>, text: &[u8]) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text);
}

/// Pieces of a llama2.c tokenizer with their scores, as SentencePiece shows them.
fn pieces(tokenizer: &[u8]) -> Vec<(Vec<u8>, f32)> {
    let mut rest = &tokenizer[4..];
    let mut pieces = Vec::new();
    while rest.len() >= 8 {
        let score = f32::from_le_bytes(rest[..4].try_into().unwrap());
        let length = u32::from_le_bytes(rest[4..8].try_into().unwrap()) as usize;
        let text = String::from_utf8_lossy(&rest[8..8 + length]).replace(' ', "\u{2581}");
        pieces.push((text.trim().as_bytes().to_vec(), score));
        rest = &rest[8 + length..];
    }
    pieces
}

/// Sizes of a checkpoint.
struct Sizes {
    dim: usize,
    hidden: usize,
    layers: usize,
    heads: usize,
    kv_heads: usize,
    vocabulary: usize,
    context: usize,
    /// The output matrix is the embedding.
    tied: bool,
}

impl Sizes {
    fn read(checkpoint: &[u8]) -> Self {
        let size = |at: usize| i32::from_le_bytes(checkpoint[4 * at..4 * at + 4].try_into().unwrap());
        let [dim, hidden, layers, heads, kv_heads, context] = [0, 1, 2, 3, 4, 6].map(|at| size(at) as usize);
        let (tied, vocabulary) = (size(5) > 0, size(5).unsigned_abs() as usize);
        Self { dim, hidden, layers, heads, kv_heads, vocabulary, context, tied }
    }
}

fn header(sizes: &Sizes, tokenizer: &[u8], begins: bool) -> Header {
    let mut header = Header { bytes: Vec::new(), entries: 0 };
    string(header.key("general.architecture", STRING), b"llama");
    string(header.key("general.name", STRING), b"test");
    for (name, value) in [
        ("general.file_type", 0),
        ("llama.context_length", sizes.context),
        ("llama.embedding_length", sizes.dim),
        ("llama.block_count", sizes.layers),
        ("llama.feed_forward_length", sizes.hidden),
        ("llama.attention.head_count", sizes.heads),
        ("llama.attention.head_count_kv", sizes.kv_heads),
        ("llama.rope.dimension_count", sizes.dim / sizes.heads),
        ("llama.vocab_size", sizes.vocabulary),
        ("tokenizer.ggml.unknown_token_id", 0),
        ("tokenizer.ggml.bos_token_id", 1),
        ("tokenizer.ggml.eos_token_id", 2),
    ] {
        header.number(name, value);
    }
    header.key("tokenizer.ggml.add_bos_token", BOOL).push(u8::from(begins));
    header.key("llama.attention.layer_norm_rms_epsilon", F32).extend(1e-5_f32.to_le_bytes());
    string(header.key("tokenizer.ggml.model", STRING), b"llama");
    let pieces = pieces(tokenizer);
    assert_eq!(pieces.len(), sizes.vocabulary);
    header.list("tokenizer.ggml.tokens", STRING, &pieces, |bytes, (text, _)| string(bytes, text));
    header.list("tokenizer.ggml.scores", F32, &pieces, |bytes, (_, score)| bytes.extend(score.to_le_bytes()));
    let mut id = 0;
    header.list("tokenizer.ggml.token_type", I32, &pieces, |bytes, (text, _)| {
        let kind = match id {
            0 => 2_i32,
            1 | 2 => 3,
            _ if text.starts_with(b"<0x") => 6,
            _ => 1,
        };
        id += 1;
        bytes.extend(kind.to_le_bytes());
    });
    header
}

/// A tensor: name, sizes with that of a row first, data.
type Tensor<'a> = (String, Vec<usize>, &'a [u8]);

/// In the order of the checkpoint.
fn tensors<'a>(sizes: &Sizes, mut rest: &'a [u8]) -> Vec<Tensor<'a>> {
    let Sizes { dim, hidden, layers, vocabulary, .. } = *sizes;
    let head = dim / sizes.heads;
    let mut tensors: Vec<Tensor<'a>> = Vec::new();
    let mut take = |name: &str, columns: usize, rows: usize, times: usize| {
        for at in 0..times {
            let (data, left) = rest.split_at(columns * rows.max(1) * 4);
            let sizes = if rows == 0 { vec![columns] } else { vec![columns, rows] };
            tensors.push((name.replace('#', &at.to_string()), sizes, data));
            rest = left;
        }
    };
    take("token_embd.weight", dim, vocabulary, 1);
    take("blk.#.attn_norm.weight", dim, 0, layers);
    take("blk.#.attn_q.weight", dim, dim, layers);
    take("blk.#.attn_k.weight", dim, head * sizes.kv_heads, layers);
    take("blk.#.attn_v.weight", dim, head * sizes.kv_heads, layers);
    take("blk.#.attn_output.weight", dim, dim, layers);
    take("blk.#.ffn_norm.weight", dim, 0, layers);
    take("blk.#.ffn_gate.weight", dim, hidden, layers);
    take("blk.#.ffn_down.weight", hidden, dim, layers);
    take("blk.#.ffn_up.weight", dim, hidden, layers);
    take("output_norm.weight", dim, 0, 1);
    // Tables of the rotary embedding, which nobody reads.
    take("", sizes.context * head, 0, 1);
    if sizes.tied {
        let embedding = tensors[0].2;
        tensors.push(("output.weight".into(), vec![dim, vocabulary], embedding));
    } else {
        take("output.weight", dim, vocabulary, 1);
    }
    tensors.retain(|(name, ..)| !name.is_empty());
    tensors
}

/// The file; `begins`: a beginning-of-text token is put before a text.
pub(crate) fn write(checkpoint: &[u8], tokenizer: &[u8], begins: bool) -> Vec<u8> {
    let sizes = Sizes::read(checkpoint);
    let (header, tensors) = (header(&sizes, tokenizer, begins), tensors(&sizes, &checkpoint[28..]));
    let mut file = b"GGUF".to_vec();
    file.extend(3_u32.to_le_bytes());
    file.extend((tensors.len() as u64).to_le_bytes());
    file.extend(header.entries.to_le_bytes());
    file.extend(&header.bytes);
    let mut offset = 0;
    for (name, sizes, data) in &tensors {
        string(&mut file, name.as_bytes());
        file.extend((sizes.len() as u32).to_le_bytes());
        for size in sizes {
            file.extend((*size as u64).to_le_bytes());
        }
        file.extend(0_u32.to_le_bytes());
        file.extend((offset as u64).to_le_bytes());
        offset += data.len().next_multiple_of(ALIGN);
    }
    for (_, _, data) in &tensors {
        file.resize(file.len().next_multiple_of(ALIGN), 0);
        file.extend(*data);
    }
    file
}
