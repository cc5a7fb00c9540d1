//! Every kind of block against the same weights in float32: kinds without vector instructions are read as others.

use crate::models::{ALL, Model};
use candle_core::quantized::{GgmlDType, QTensor, gguf_file};
use candle_core::{Device, Tensor};
use routewright_decoder::backend::{Backend, Stop};
use std::path::{Path, PathBuf};

/// Greatest difference of a log-probability, nats: activations are rounded to 8 bits beside quantized matrices. Random
/// weights came to 0.112 (`Q5_1`); the check of the rows is the strict one.
const ROUNDING: f32 = 0.2;

/// A copy of a GGUF file with its matrices in float32.
fn float32(path: &Path) -> PathBuf {
    let mut file = std::fs::File::open(path).unwrap();
    let content = gguf_file::Content::read(&mut file).unwrap();
    let exact = |name: &String| -> (String, QTensor) {
        let tensor = content.tensor(&mut std::fs::File::open(path).unwrap(), name, &Device::Cpu).unwrap();
        let values: Tensor = tensor.dequantize(&Device::Cpu).unwrap();
        (name.clone(), QTensor::quantize(&values, GgmlDType::F32).unwrap())
    };
    let tensors: Vec<(String, QTensor)> = content.tensor_infos.keys().map(exact).collect();
    let tensors: Vec<(&str, &QTensor)> =
        tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let metadata: Vec<(&str, &gguf_file::Value)> =
        content.metadata.iter().map(|(key, value)| (key.as_str(), value)).collect();
    let copy = path.with_extension("float32.gguf");
    gguf_file::write(&mut std::fs::File::create(&copy).unwrap(), &metadata, &tensors).unwrap();
    copy
}

/// Log-probabilities, and the rows of the output projection.
fn told(model: &Model, path: &Path) -> (Vec<f32>, Vec<f32>) {
    let candle = model.open(path);
    let mut session = candle.open(b"", &Stop::default()).unwrap();
    session.feed(&[31, 7, 99, 120, 5, 64, 64, 12]).unwrap();
    let next = session.next().unwrap();
    let n = candle.tokenizer().unwrap().vocabulary().len() as u32;
    let rows = candle.embeddings().unwrap().output.to_vec();
    ((0..n).map(|id| next.log_prob(id).unwrap()).collect(), rows)
}

fn farthest(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn every_kind_of_block_is_read_as_the_weights_it_holds() {
    for model in ALL.iter().filter(|model| ["llama", "phi3", "gemma3"].contains(&model.family)) {
        for kind in [GgmlDType::Q4_0, GgmlDType::Q4_1, GgmlDType::Q5_0, GgmlDType::Q5_1, GgmlDType::Q8_0] {
            let dir = tempfile::tempdir().unwrap();
            let path = model.gguf(dir.path(), kind);
            let ((own, rows), (exact, exact_rows)) = (told(model, &path), told(model, &float32(&path)));
            let far = farthest(&own, &exact);
            assert!(far < ROUNDING, "{} {kind:?}: {far}", model.family);
            let far = farthest(&rows, &exact_rows);
            assert!(far < 1e-5, "{} {kind:?}: rows {far}", model.family);
        }
    }
}
