//! PackLLM: members count by how well they know the prompt, whether or not a token stands before it.

use crate::fused;
use crate::model::{Model, tokenizer};
use routewright_decoder::backend::Backend;
use routewright_decoder::vocabulary::Tokenizer;
use serde_json::{Value, json};
use std::sync::Arc;

/// A tokenizer of bytes that puts nothing before a text.
fn bare() -> Arc<Tokenizer> {
    let vocab: serde_json::Map<String, Value> = ('!'..='~')
        .chain(['\u{120}'])
        .enumerate()
        .map(|(id, shown)| (shown.to_string(), json!(id + 1)))
        .chain([("<|endoftext|>".to_owned(), json!(0))])
        .collect();
    let file = json!({
        "added_tokens": [{"id": 0, "content": "<|endoftext|>", "special": true}],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true},
        "model": {"type": "BPE", "vocab": vocab, "merges": []}
    });
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokenizer.json");
    std::fs::write(&path, file.to_string()).unwrap();
    Arc::new(Tokenizer::open(&path).unwrap())
}

fn weights(params: &Value, members: &[Arc<dyn Backend>], prompt: &str) -> Vec<f32> {
    let answer = fused("packllm", params, members, prompt, 1).unwrap();
    answer.trace.steps()[0].weights.clone()
}

#[test]
fn who_has_no_beginning_of_text_is_not_given_its_first_token() {
    // Both say the same of every character: 1/100 or so, evenly.
    let knows_nothing = |_: &str| Vec::new();
    let with: Arc<dyn Backend> = Model::cut_by("with", tokenizer(&[]), knows_nothing).arc();
    let without: Arc<dyn Backend> = Model::cut_by("without", bare(), knows_nothing).arc();
    assert!(with.tokenizer().unwrap().begin().is_some() && without.tokenizer().unwrap().begin().is_none());
    let (n_with, n_without) =
        (with.tokenizer().unwrap().vocabulary().len(), without.tokenizer().unwrap().vocabulary().len());
    // Losses are ln n a character, so weights are n^-1, scaled.
    let expected = (1.0 / n_with as f32) / (1.0 / n_with as f32 + 1.0 / n_without as f32);
    for members in [[with.clone(), without.clone()], [without.clone(), with.clone()]] {
        for prompt in ["ab", "a longer prompt"] {
            let weights = weights(&json!({}), &members, prompt);
            let of_with = weights[members.iter().position(|member| member.name() == "with").unwrap()];
            assert!((of_with - expected).abs() < 1e-3, "{prompt:?}: {weights:?}, {expected}");
        }
        // There is nothing that both could tell.
        assert_eq!(weights(&json!({}), &members, "a"), [0.5, 0.5]);
    }
}

#[test]
fn who_knows_the_prompt_better_counts_more_in_every_way() {
    let knows: Arc<dyn Backend> = Model::text_cut_by("knows", bare(), "abcabc done", 0.9).arc();
    let guesses: Arc<dyn Backend> = Model::cut_by("guesses", tokenizer(&[]), |_| Vec::new()).arc();
    for members in [[knows.clone(), guesses.clone()], [guesses.clone(), knows.clone()]] {
        let at = members.iter().position(|member| member.name() == "knows").unwrap();
        for how in ["sim", "opt", "top-1"] {
            for vocabulary in ["union", "min-edit"] {
                let weights = weights(&json!({"weights": how, "vocabulary": vocabulary}), &members, "abcabc");
                assert!(weights[at] > 0.9, "{how} {vocabulary}: {weights:?}");
            }
        }
    }
}
