//! A llama2.c checkpoint and the GGUF file of it are one model.

use crate::gguf;
use routewright_data::rng;
use routewright_decoder::backend::{Backend, Stop};
use routewright_decoder::backends::candle::Candle;
use routewright_decoder::backends::llama2c::{Llama2c, Shape, Weights};
use routewright_decoder::vocabulary::llama2c;
use std::path::{Path, PathBuf};

fn stories() -> Option<(PathBuf, PathBuf)> {
    let folder = routewright_data::testing::shared("models/stories260k")?;
    Some((folder.join("model.bin"), folder.join("tokenizer.bin")))
}

/// Both tell the same, read at once and token by token.
fn agree(checkpoint: &Path, tokenizer: &Path, prompt: &[u8]) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("model.gguf");
    let bytes = gguf::write(&std::fs::read(checkpoint).unwrap(), &std::fs::read(tokenizer).unwrap(), true);
    std::fs::write(&file, bytes).unwrap();
    let ours = Llama2c::open("checkpoint", checkpoint, tokenizer).unwrap();
    let candle = Candle::open("gguf", &file, None, None).unwrap();
    let mut one = ours.open(prompt, &Stop::default()).unwrap();
    let mut other = candle.open(prompt, &Stop::default()).unwrap();
    assert_eq!(one.ids(), other.ids());
    for _ in 0..20 {
        let (a, b) = (one.next().unwrap(), other.next().unwrap());
        let n = ours.tokenizer().unwrap().vocabulary().len() as u32;
        for id in 0..n {
            let (a, b) = (a.log_prob(id).unwrap(), b.log_prob(id).unwrap());
            assert!((a - b).abs() < 1e-3, "token {id}: {a} {b}");
        }
        let next = (0..n).max_by(|x, y| a.log_prob(*x).unwrap().total_cmp(&a.log_prob(*y).unwrap())).unwrap();
        one.feed(&[next]).unwrap();
        other.feed(&[next]).unwrap();
    }
    let ids: Vec<u32> = one.ids()[one.ids().len() - 8..].to_vec();
    let (a, b) = (one.score(&ids).unwrap(), other.score(&ids).unwrap());
    assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-3), "{a:?} {b:?}");
}

#[test]
fn a_checkpoint_and_its_gguf_file_are_one_model() {
    let dir = tempfile::tempdir().unwrap();
    let words: Vec<&[u8]> = vec![b" ", b"a", b"b", b"th", b"e", b" th", b" the"];
    let (dim, hidden, layers, heads, kv_heads) = (32, 48, 2, 4, 2);
    let shape = Shape { dim, hidden, layers, heads, kv_heads, vocabulary: 259 + words.len(), context: 128 };
    let (checkpoint, tokenizer) = (dir.path().join("model.bin"), dir.path().join("tokenizer.bin"));
    std::fs::write(&checkpoint, Weights::random(shape, &mut rng::stream(7, "weights")).write()).unwrap();
    std::fs::write(&tokenizer, llama2c::write(&words)).unwrap();
    agree(&checkpoint, &tokenizer, b"the bath");
    if let Some((checkpoint, tokenizer)) = stories() {
        agree(&checkpoint, &tokenizer, b"Once upon a time, Lily");
    }
}
