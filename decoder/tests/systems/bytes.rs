//! Next-byte probabilities after a prompt that ends inside a word, against a sum over all covers.

use crate::fused;
use crate::model::{Model, tokenizer};
use routewright_decoder::align::bytes::{Beam, Cover, Trie};
use routewright_decoder::backend::{Backend, Session, Stop};
use routewright_decoder::backends::writing::said;
use serde_json::json;
use std::sync::Arc;

/// Pieces of which a word can be made in many ways.
const PIECES: [&str; 8] = [" t", "im", " tim", "ime", " time", "me", " d", "dy"];

/// Likes words as whole tokens: after ` a` the word ` time`, seldom ` tim`, and ` d`.
fn model() -> Arc<dyn Backend> {
    let says = |text: &str| {
        let (a, b, c) = match text {
            _ if text.ends_with("upon a") => (" time", " d", " t"),
            _ if text.ends_with("a t") => ("i", "ime", "o"),
            _ if text.ends_with("a ti") => ("dy", "d", "n"),
            _ if text.ends_with("tim") => ("e", "!", " "),
            _ => ("o", "n", "e"),
        };
        vec![(a.to_owned(), 0.6), (b.to_owned(), 0.2), (c.to_owned(), 0.1)]
    };
    Model::cut_by("words", tokenizer(&PIECES), says).arc()
}

/// Probability of the bytes `rest` and then anything, after what `session` has read: all tokens that lead there.
fn probability(session: &mut dyn Session, rest: &[u8]) -> f64 {
    if rest.is_empty() {
        return 1.0;
    }
    let told = said(session.next().unwrap(), session);
    let len = session.ids().len();
    let mut sum = 0.0;
    for id in 0..u32::try_from(session.tokenizer().vocabulary().len()).unwrap() {
        let token = session.tokenizer().vocabulary().bytes(id).to_vec();
        let p = f64::from(told.log_prob(id).unwrap_or(f32::NEG_INFINITY)).exp();
        if token.is_empty() || p == 0.0 {
            continue;
        }
        if token.starts_with(rest) {
            sum += p;
        } else if rest.starts_with(&token) {
            session.feed(&[id]).unwrap();
            sum += p * probability(session, &rest[token.len()..]);
            session.rollback(len).unwrap();
        }
    }
    sum
}

fn told(backend: &Arc<dyn Backend>, prompt: &str, beam: Beam) -> Vec<f32> {
    let trie = Arc::new(Trie::new(backend.tokenizer().unwrap().vocabulary()));
    let session = backend.open(prompt.as_bytes(), &Stop::default()).unwrap();
    let (told, unlisted) = Cover::start("m", session, trie, beam, b"").unwrap().tell();
    assert!(unlisted < 1e-12, "everything is listed");
    told
}

#[test]
fn a_prompt_that_ends_inside_a_word_goes_on_as_the_sum_over_all_covers_has_it() {
    let backend = model();
    for (prompt, word) in [("once upon a ti", " ti"), ("once upon a t", " t"), ("once upon a tim", " tim")] {
        // Every text is cut before the space, so what stands there is read as it is.
        let mut session =
            backend.open(prompt.strip_suffix(word).unwrap().as_bytes(), &Stop::default()).unwrap();
        let whole = probability(&mut *session, word.as_bytes());
        let wide = told(&backend, prompt, Beam { width: 50, share: 1e-9 });
        let narrow = told(&backend, prompt, Beam::default());
        let mut listed = 0.0;
        for byte in *b"metidno! " {
            let both = [word.as_bytes(), &[byte]].concat();
            let expected = probability(&mut *session, &both) / whole;
            let at = 1 + usize::from(byte);
            listed += expected;
            assert!(
                (f64::from(wide[at]) - expected).abs() < 1e-4,
                "{prompt:?} {}: {} {expected}",
                byte as char,
                wide[at]
            );
            assert!(
                (f64::from(narrow[at]) - expected).abs() < 0.02,
                "{prompt:?} {}: {}",
                byte as char,
                narrow[at]
            );
        }
        assert!(listed > 0.8, "{listed}");
    }
    // The last token of ` ti` is `i`: taking back that one alone, `m` would have next to nothing.
    assert!(told(&backend, "once upon a ti", Beam::default())[1 + usize::from(b'm')] > 0.8);
}

#[test]
fn what_stays_whatever_follows_is_not_covered_anew() {
    let tokenizer = tokenizer(&PIECES);
    let shown = |text: &str, most: usize| {
        let ids = tokenizer.encode(text.as_bytes());
        let keep = tokenizer.settled(&ids, most);
        String::from_utf8(
            ids[keep..].iter().flat_map(|id| tokenizer.vocabulary().bytes(*id).to_vec()).collect(),
        )
        .unwrap()
    };
    assert_eq!(shown("once upon a ti", 64), " ti");
    assert_eq!(shown("once upon a time", 64), " time");
    assert_eq!(shown("a", 64), "a");
    // No cut is known within 2 bytes, so the last token alone is.
    assert_eq!(shown("upon tim", 2), " tim");
    assert_eq!(tokenizer.settled(&[], 64), 0);
}

#[test]
fn in_a_log_linear_pool_a_byte_that_a_list_lacks_has_what_one_token_has_that_it_lacks() {
    let member = |name: &'static str, says: [(&'static str, f32); 2]| {
        Model::new(name, move |_| says.map(|(text, p)| (text.to_owned(), p)).to_vec()).with_top(2).arc()
    };
    let members = [member("one", [("a", 0.5), ("b", 0.3)]), member("other", [("b", 0.55), ("c", 0.4)])];
    // What a member gives a byte, of what it lists.
    let given = |member: &Arc<dyn Backend>, byte: &str| {
        let mut session = member.open(b"once", &Stop::default()).unwrap();
        let told = session.next().unwrap();
        let vocabulary = session.tokenizer().vocabulary();
        let id = vocabulary.ids(byte.as_bytes())[0];
        let p = told.log_prob(id).map_or(told.unlisted(vocabulary.len()), f32::exp);
        p / told.top(2).iter().map(|(_, p)| p.exp()).sum::<f32>()
    };
    let pooled = ["a", "b", "c"].map(|byte| members.iter().map(|m| given(m, byte)).product::<f32>().sqrt());
    assert!(pooled[0] > 0.01 && pooled[2] > 0.01, "{pooled:?}");
    let params = json!({"pool": "log-linear"});
    let answer = fused("agreement", &params, &members, "once", 3).unwrap();
    assert_eq!(answer.text, "bbb");
    let fused = answer.trace.steps()[0].fused.unwrap();
    let expected = pooled[1] / pooled.iter().sum::<f32>();
    assert!((fused - expected).abs() < 1e-4 && fused < 0.95, "{fused} {expected}");
}
