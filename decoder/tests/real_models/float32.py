"""The two models in NumPy: weights as the GGUF file says, dequantized, everything else in float32.

What llama.cpp and this project compute differs from it by the rounding of activations to 8 bits, which both do.
"""

import numpy as np
from gguf import GGUFReader, dequantize


def rms(x, weight, epsilon):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + epsilon) * weight


def rotate(x, base, neighbors):
    """Rotary positions of `x`, `(n, heads, head)`; pairs are neighbors or halves."""
    n, _, head = x.shape
    angles = np.arange(n)[:, None] * (base ** (-np.arange(0, head, 2) / head))[None]
    cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]
    pairs = (slice(0, None, 2), slice(1, None, 2)) if neighbors else (slice(0, head // 2), slice(head // 2, None))
    a, b = x[..., pairs[0]], x[..., pairs[1]]
    y = np.empty_like(x)
    y[..., pairs[0]], y[..., pairs[1]] = a * cos - b * sin, a * sin + b * cos
    return y


def log_softmax(x):
    x = x.astype(np.float64)
    x -= x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


class Weights:
    def __init__(self, path):
        reader = GGUFReader(path)
        shape = lambda tensor: tuple(int(n) for n in tensor.shape[::-1])
        self.tensors = {
            t.name: dequantize(t.data, t.tensor_type).astype(np.float32).reshape(shape(t)) for t in reader.tensors
        }
        name = reader.fields["general.architecture"].contents()
        self.gemma = name == "gemma3"
        number = lambda key, default=None: (
            reader.fields[f"{name}.{key}"].contents() if f"{name}.{key}" in reader.fields else default
        )
        self.layers, self.heads = number("block_count"), number("attention.head_count")
        self.kv_heads = number("attention.head_count_kv")
        self.head = number("attention.key_length", number("embedding_length") // self.heads)
        self.epsilon, self.base = number("attention.layer_norm_rms_epsilon"), number("rope.freq_base")

    def attention(self, layer, x):
        of = lambda name: self.tensors[f"blk.{layer}.{name}.weight"]
        n = len(x)
        by_head = lambda name, heads: (x @ of(name).T).reshape(n, heads, self.head)
        q, k, v = by_head("attn_q", self.heads), by_head("attn_k", self.kv_heads), by_head("attn_v", self.kv_heads)
        base = self.base
        if self.gemma:
            q, k = rms(q, of("attn_q_norm"), self.epsilon), rms(k, of("attn_k_norm"), self.epsilon)
            # The windows of local layers are longer than any text here.
            base = self.base if (layer + 1) % 6 == 0 else 10_000.0
        q, k = rotate(q, base, not self.gemma), rotate(k, base, not self.gemma)
        mask = np.triu(np.full((n, n), -np.inf, np.float32), 1)
        out = np.empty_like(q)
        for head in range(self.heads):
            of_keys = head // (self.heads // self.kv_heads)
            scores = q[:, head] @ k[:, of_keys].T / np.sqrt(self.head) + mask
            out[:, head] = np.exp(log_softmax(scores)).astype(np.float32) @ v[:, of_keys]
        out = out.reshape(n, -1) @ of("attn_output").T
        return rms(out, of("post_attention_norm"), self.epsilon) if self.gemma else out

    def feed_forward(self, layer, x):
        of = lambda name: self.tensors[f"blk.{layer}.{name}.weight"]
        gate, up = x @ of("ffn_gate").T, x @ of("ffn_up").T
        if self.gemma:
            gate = 0.5 * gate * (1 + np.tanh(np.sqrt(2 / np.pi) * (gate + 0.044715 * gate**3)))
        else:
            gate = gate / (1 + np.exp(-gate))
        out = (gate * up) @ of("ffn_down").T
        return rms(out, of("post_ffw_norm"), self.epsilon) if self.gemma else out

    def log_probs(self, ids):
        """Log-probability of every id but the first."""
        embedding = self.tensors["token_embd.weight"]
        x = embedding[ids] * (np.float32(np.sqrt(embedding.shape[1])) if self.gemma else np.float32(1))
        for layer in range(self.layers):
            norm = lambda name: rms(x, self.tensors[f"blk.{layer}.{name}.weight"], self.epsilon)
            x = x + self.attention(layer, norm("attn_norm"))
            x = x + self.feed_forward(layer, norm("ffn_norm"))
        rows = log_softmax(rms(x, self.tensors["output_norm.weight"], self.epsilon)[:-1] @ embedding.T)
        return [float(row[id]) for row, id in zip(rows, ids[1:])]
