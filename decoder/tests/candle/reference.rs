//! Every family against candle-transformers 0.11.1.

use crate::models::{ALL, Model};
use candle_core::quantized::{GgmlDType, gguf_file};
use candle_core::{DType, Device, Result, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::{
    gemma, gemma3, llama, mistral, phi3, quantized_llama, quantized_phi3, quantized_qwen2, quantized_qwen3,
    qwen2, qwen3,
};
use routewright_decoder::backend::{Backend, Stop};
use std::path::Path;

const IDS: [u32; 14] = [31, 7, 99, 120, 5, 64, 64, 12, 83, 41, 9, 110, 3, 77];

/// Logits of the last of some tokens at a position.
type Forward = Box<dyn FnMut(&Tensor, usize) -> Result<Tensor>>;

/// What differs most in the probabilities after the first ten tokens and after each that follows. The reference reads
/// one token at a time, which is where it keeps to a window exactly.
fn farthest(backend: &dyn Backend, forward: &mut Forward) -> f32 {
    let vocabulary = backend.tokenizer().unwrap().vocabulary().len();
    let mut session = backend.open(b"", &Stop::default()).unwrap();
    assert!(session.ids().is_empty(), "this tokenizer has no beginning of text");
    let mut most = 0.0_f32;
    let mut at = 0;
    for n in [10, 1, 1, 1, 1] {
        let ids = &IDS[at..at + n];
        let mut read = |(nth, id): (usize, &u32)| {
            forward(&Tensor::new(&[[*id]], &Device::Cpu).unwrap(), at + nth).unwrap()
        };
        let logits = ids.iter().enumerate().map(&mut read).last().unwrap();
        let logits: Vec<f32> = logits.flatten_all().unwrap().to_vec1().unwrap();
        let logits = &logits[..vocabulary];
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f32 = logits.iter().map(|x| (x - max).exp()).sum();
        session.feed(ids).unwrap();
        let told = session.next().unwrap();
        for (id, logit) in logits.iter().enumerate() {
            let expected = logit - max - sum.ln();
            most = most.max((told.log_prob(id as u32).unwrap() - expected).abs());
        }
        at += n;
    }
    most
}

fn of_folder(model: &Model) -> Forward {
    let config = model.config();
    let vb = VarBuilder::from_tensors(model.tensors(), DType::F32, &Device::Cpu);
    macro_rules! plain {
        ($module:ident, $make:expr) => {{
            let config: $module::Config = serde_json::from_value(config).unwrap();
            let mut model = ($make)(&config, vb).unwrap();
            Box::new(move |ids, at| model.forward(ids, at))
        }};
    }
    match model.family {
        "llama" => {
            let config: llama::LlamaConfig = serde_json::from_value(config).unwrap();
            let config = config.into_config(false);
            let mut cache = llama::Cache::new(true, DType::F32, &config, &Device::Cpu).unwrap();
            let model = llama::Llama::load(vb, &config).unwrap();
            Box::new(move |ids, at| model.forward(ids, at, &mut cache))
        }
        "mistral" => plain!(mistral, mistral::Model::new),
        "qwen2" => plain!(qwen2, qwen2::ModelForCausalLM::new),
        "qwen3" => plain!(qwen3, qwen3::ModelForCausalLM::new),
        "phi3" => plain!(phi3, phi3::Model::new),
        "gemma" => plain!(gemma, |config, vb| gemma::Model::new(false, config, vb)),
        "gemma3" => plain!(gemma3, |config, vb| gemma3::Model::new(false, config, vb)),
        other => panic!("{other}"),
    }
}

fn of_gguf(model: &Model, path: &Path) -> Option<Forward> {
    let mut file = std::fs::File::open(path).unwrap();
    let content = gguf_file::Content::read(&mut file).unwrap();
    macro_rules! plain {
        ($module:ident) => {{
            let mut model = $module::ModelWeights::from_gguf(content, &mut file, &Device::Cpu).unwrap();
            Some(Box::new(move |ids: &Tensor, at| model.forward(ids, at)))
        }};
    }
    match model.family {
        "llama" => plain!(quantized_llama),
        "qwen2" => plain!(quantized_qwen2),
        "qwen3" => plain!(quantized_qwen3),
        "phi3" => {
            let model =
                quantized_phi3::ModelWeights::from_gguf(false, content, &mut file, &Device::Cpu).unwrap();
            let mut model = model;
            Some(Box::new(move |ids: &Tensor, at| model.forward(ids, at)))
        }
        // The reference of files gates Gemma 3 by SiLU instead of GELU and has no Gemma: that of folders is taken.
        "gemma" | "gemma3" => Some(of_folder(model)),
        // Mistral is `llama` there.
        _ => None,
    }
}

#[test]
fn folders_of_every_family_say_what_the_reference_says() {
    let dir = tempfile::tempdir().unwrap();
    for model in ALL {
        let backend = model.open(&model.folder(dir.path()));
        let off = farthest(&backend, &mut of_folder(&model));
        println!("{}: {off:.1e}", model.family);
        assert!(off < 2e-4, "{}: off by {off}", model.family);
    }
}

#[test]
fn gguf_files_say_what_the_reference_says() {
    let dir = tempfile::tempdir().unwrap();
    for kind in [GgmlDType::F32, GgmlDType::Q8_0] {
        for model in ALL {
            let path = model.gguf(dir.path(), kind);
            let Some(mut reference) = of_gguf(&model, &path) else { continue };
            let off = farthest(&model.open(&path), &mut reference);
            println!("{} {kind:?}: {off:.1e}", model.family);
            // The reference of the Gemmas is not quantized.
            let quantized = kind != GgmlDType::F32 && model.family.starts_with("gemma");
            let tolerance = if quantized { 0.2 } else { 2e-4 };
            assert!(off < tolerance, "{} {kind:?}: off by {off}", model.family);
        }
    }
}
