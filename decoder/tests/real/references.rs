//! stories260K against its published greedy text and first log-probabilities (llama2.c `run.c` at temperature 0, and
//! a second forward pass in NumPy; see the table of the models' own page).

use crate::stories;
use routewright_data::rng;
use routewright_decoder::backend::{Backend as _, Draft, Stop};

#[test]
fn the_first_step_has_the_reference_log_probabilities() {
    let Some(model) = stories() else { return };
    let next = model.open(b"", &Stop::default()).unwrap().next().unwrap();
    let reference =
        [(403, -0.243_743), (385, -1.861_048), (410, -4.158_997), (317, -4.498_095), (407, -4.849_172)];
    for ((id, p), (expected_id, expected)) in next.top(5).into_iter().zip(reference) {
        assert_eq!(id, expected_id);
        assert!((p - expected).abs() < 1e-4, "{id}: {p}");
    }
}

#[test]
fn the_greedy_text_is_the_reference() {
    let Some(model) = stories() else { return };
    let mut session = model.open(b"", &Stop::default()).unwrap();
    let draft = Draft { tokens: 400, stop: Vec::new(), temperature: 0.0, top_p: 1.0 };
    let written = session.write(&draft, &mut rng::stream(0, "none")).unwrap();
    let first = [
        403, 407, 261, 378, 432, 383, 286, 261, 376, 298, 315, 421, 395, 317, 426, 338, 401, 396, 267, 337,
        410, 408, 419, 292,
    ];
    assert_eq!(session.ids()[1..=24], first);
    assert!(written.ended);
    assert_eq!(session.ids().len(), 346);
    let text = written.text.strip_prefix(b" ").unwrap();
    assert_eq!(text.len(), 775);
    let start =
        b"Once upon a time, there was a little girl named Lily. She loved to play outside in the park.";
    assert!(text.starts_with(start));
    assert!(text.ends_with(b"She was so happy and said, \"Thank you, Lily! You are a good friend.\""));
}
