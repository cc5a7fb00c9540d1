//! Rolling back, forking and reading in parts change nothing of what is told; what cannot be read is refused in words.

use crate::models::{ALL, Model, tokenizer};
use candle_core::quantized::GgmlDType;
use routewright_decoder::backend::{Backend, BackendError, Session, Stop};
use routewright_decoder::backends::candle::Candle;

fn probabilities(session: &mut dyn Session) -> Vec<f32> {
    let n = session.tokenizer().vocabulary().len() as u32;
    let told = session.next().unwrap();
    (0..n).map(|id| told.log_prob(id).unwrap()).collect()
}

fn close(a: &[f32], b: &[f32], what: &str) {
    let off = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(a.len() == b.len() && off < 1e-4, "{what}: off by {off}");
}

#[test]
fn rolling_back_forking_and_parts_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    // More than the first room of the cache has to be grown through.
    let text: Vec<u32> = (0..60_u32).map(|at| (at * 37 + 11) % 120).collect();
    for model in ALL {
        let backend = model.open(&model.folder(dir.path()));
        let open = || backend.open(b"", &Stop::default()).unwrap();
        let mut whole = open();
        whole.feed(&text).unwrap();
        let expected = probabilities(&mut *whole);

        let mut parts = open();
        text.chunks(7).for_each(|chunk| parts.feed(chunk).unwrap());
        close(&probabilities(&mut *parts), &expected, "read in parts");

        let mut astray = open();
        astray.feed(&text[..40]).unwrap();
        let mut fork = astray.fork().unwrap();
        astray.feed(&[1, 2, 3, 4, 5]).unwrap();
        fork.feed(&[9, 8, 7]).unwrap();
        for session in [&mut astray, &mut fork] {
            session.rollback(40).unwrap();
            session.feed(&text[40..]).unwrap();
            close(&probabilities(&mut **session), &expected, "rolled back");
        }

        let mut scored = open();
        scored.feed(&text[..50]).unwrap();
        let scores = scored.score(&text[50..]).unwrap();
        let mut told = Vec::new();
        for id in &text[50..] {
            told.push(scored.next().unwrap().log_prob(*id).unwrap());
            scored.feed(&[*id]).unwrap();
        }
        close(&scores, &told, "scored");
        assert_eq!(scored.hidden().unwrap().len(), backend.embeddings().unwrap().dim);
        // The output rows times the hidden state are the logits.
        let rows = backend.embeddings().unwrap();
        let hidden = scored.hidden().unwrap();
        let logits: Vec<f32> = rows
            .output
            .chunks_exact(rows.dim)
            .map(|row| row.iter().zip(&hidden).map(|(a, b)| a * b).sum())
            .collect();
        let shift = probabilities(&mut *scored)[0] - logits[0];
        let shifted: Vec<f32> = logits.iter().map(|logit| logit + shift).collect();
        close(&shifted, &probabilities(&mut *scored), "output rows");
    }
}

#[test]
fn what_cannot_be_read_is_refused_in_words() {
    let dir = tempfile::tempdir().unwrap();
    let model = ALL[0];
    let refused = |path: &std::path::Path, word: &str| {
        let error = Candle::open("m", path, Some(&tokenizer()), None).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    };
    refused(&dir.path().join("none.gguf"), "none.gguf");
    let file = dir.path().join("text.gguf");
    std::fs::write(&file, "no model").unwrap();
    refused(&file, "text.gguf");
    let whole = std::fs::read(model.gguf(dir.path(), GgmlDType::F32)).unwrap();
    std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    refused(&file, "cannot read model");
    refused(&Model { family: "mamba", ..model }.gguf(dir.path(), GgmlDType::F32), "`mamba`");
    refused(&Model { layers: 3, ..model }.folder_of(dir.path(), &model), "blk.2.");

    let folder = model.folder(dir.path());
    refused(dir.path(), "config.json");
    let mut config = model.config();
    config["rope_scaling"] = serde_json::json!({"rope_type": "yarn", "factor": 4.0});
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    refused(&folder, "`yarn`");

    let short = Candle::open("m", &model.folder(dir.path()), None, Some(8)).unwrap();
    let error = short.open(b"", &Stop::default()).unwrap().feed(&[1; 9]).unwrap_err();
    assert!(matches!(error, BackendError::Context { tokens: 9, context: 8, .. }), "{error}");
    let stop = Stop::default();
    let mut session = short.open(b"", &stop).unwrap();
    stop.cancel();
    assert!(matches!(session.feed(&[1]), Err(BackendError::Cancelled)));
}
