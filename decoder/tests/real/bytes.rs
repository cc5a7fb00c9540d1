//! The byte mixture on two real models of unlike vocabularies.

use crate::{baby, stories};
use routewright_decoder::align::bytes::{Beam, Cover, Trie};
use routewright_decoder::backend::{Backend as _, Stop};
use routewright_decoder::backends::llama2c::Llama2c;
use std::sync::Arc;

const STORY: &str = "Once upon a time, there was a little boy named Tim. Tim had a red ball and a small dog. One day, \
                     Tim and his dog went to the park to play. Tim threw the ball very far. The dog ran fast and found \
                     the ball under a big tree. Tim was so happy that he gave his dog a hug. They played all day and \
                     went home.";

/// Bits a byte, and calls of the model.
fn bits_per_byte(model: &Llama2c, story: &str, beam: Beam) -> (f64, u64) {
    let trie = Arc::new(Trie::new(model.tokenizer().unwrap().vocabulary()));
    let session = model.open(b"", &Stop::default()).unwrap();
    let mut cover = Cover::start("model", session, trie, beam, b" ").unwrap();
    let mut bits = 0.0;
    for byte in story.bytes() {
        let told = cover.tell();
        assert!((told.iter().sum::<f32>() - 1.0).abs() < 1e-4);
        bits -= f64::from(told[1 + usize::from(byte)]).log2();
        assert!(cover.advance(byte).unwrap());
    }
    (bits / story.len() as f64, cover.usage().calls)
}

/// Bits a byte of the tokens the tokenizer writes the text with: an upper bound of what all covers give.
fn canonical(model: &Llama2c, story: &str) -> (f64, usize) {
    let tokenizer = model.tokenizer().unwrap();
    let mut session = model.open(b"", &Stop::default()).unwrap();
    let ids = tokenizer.encode(story.as_bytes());
    let bits: f64 =
        session.score(&ids).unwrap().iter().map(|p| -f64::from(*p) / std::f64::consts::LN_2).sum();
    (bits / story.len() as f64, ids.len())
}

#[test]
fn a_beam_of_three_is_within_a_hundredth_of_a_bit_of_eight_for_half_as_many_calls_more() {
    let Some(model) = stories() else { return };
    let (narrow, calls) = bits_per_byte(&model, STORY, Beam::default());
    let (wide, _) = bits_per_byte(&model, STORY, Beam { width: 8, share: 1e-4 });
    let (canonical, tokens) = canonical(&model, STORY);
    println!(
        "beam 3: {narrow:.4} bits a byte, {calls} calls; beam 8: {wide:.4}; {tokens} tokens: {canonical:.4}"
    );
    assert!((narrow - wide).abs() < 0.01, "{narrow} {wide}");
    assert!((wide - canonical).abs() < 0.01, "{wide} {canonical}");
    assert!(calls as f64 <= 1.5 * tokens as f64, "{calls} calls for {tokens} tokens");
}

#[test]
fn a_model_of_characters_has_one_cover() {
    let Some(model) = baby() else { return };
    // It reads 256 tokens.
    let story = &STORY[..240];
    let (bits, calls) = bits_per_byte(&model, story, Beam::default());
    let (canonical, tokens) = canonical(&model, story);
    assert!((bits - canonical).abs() < 1e-3, "{bits} {canonical}");
    assert!(calls as usize <= tokens + 1);
}
