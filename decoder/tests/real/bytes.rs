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
        let (told, _) = cover.tell();
        assert!((told.iter().sum::<f32>() - 1.0).abs() < 1e-4);
        bits -= f64::from(told[1 + usize::from(byte)]).log2();
        assert!(cover.advance(byte).unwrap());
    }
    (bits / story.len() as f64, cover.usage().calls)
}

/// Bits of each of the tokens the tokenizer writes the text with; their sum is an upper bound of what all covers give.
fn canonical(model: &Llama2c, story: &str) -> Vec<f64> {
    let tokenizer = model.tokenizer().unwrap();
    let mut session = model.open(b"", &Stop::default()).unwrap();
    let ids = tokenizer.encode(story.as_bytes());
    session.score(&ids).unwrap().iter().map(|p| -f64::from(*p) / std::f64::consts::LN_2).collect()
}

#[test]
fn a_beam_of_three_is_within_a_hundredth_of_a_bit_of_eight_for_half_as_many_calls_more() {
    let Some(model) = stories() else { return };
    let (narrow, calls) = bits_per_byte(&model, STORY, Beam::default());
    let (wide, _) = bits_per_byte(&model, STORY, Beam { width: 8, share: 1e-4 });
    let bits = canonical(&model, STORY);
    let (canonical, tokens) = (bits.iter().sum::<f64>() / STORY.len() as f64, bits.len());
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
    // Its first token is the space before the text, which the covers are given.
    let told = canonical(&model, story);
    let canonical = told[1..].iter().sum::<f64>() / story.len() as f64;
    assert_eq!(told.len(), story.len() + 1);
    // `<unk>`, which it was taught for line breaks, takes mass from its letters; it has no bytes, and none from covers.
    assert!((-1e-3..0.01).contains(&(canonical - bits)), "{bits} {canonical}");
    assert!(calls as usize <= told.len() + 1, "{calls} calls for {} tokens", told.len());
}
