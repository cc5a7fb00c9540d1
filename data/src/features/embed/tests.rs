use super::*;
use crate::features::minilm;

const NEEDED: &[&str] = &["ROUTEWRIGHT_MINILM_DIR", "ORT_DYLIB_PATH"];

fn settings() -> EncoderSettings {
    EncoderSettings { max_length: minilm::MAX_LENGTH, ..EncoderSettings::default() }
}

fn features(embed: &Embed, texts: &[String]) -> FeatureMatrix {
    let inputs: Vec<FeatureInput<'_>> = texts.iter().map(|t| FeatureInput::from(t.as_str())).collect();
    embed.featurize(&inputs).unwrap()
}

#[test]
fn minilm_equals_onnxruntime_alone_in_a_batch_and_from_the_cache() {
    let Some(dir) = minilm::folder(NEEDED) else { return };
    let kept = tempfile::tempdir().unwrap();
    let places = Places { cache: Some(kept.path().to_path_buf()), ..Places::default() };
    let embed = Embed::open(&dir, settings(), &places).unwrap();
    let texts: Vec<String> = minilm::REFERENCE.iter().map(|(entry, ..)| minilm::text(entry)).collect();
    let together = features(&embed, &texts);
    for (row, (entry, _, head)) in minilm::REFERENCE.iter().enumerate() {
        for (found, want) in together.row(row).iter().zip(head) {
            assert!((found - want).abs() < 1e-5, "{entry}: {found} is not {want}");
        }
    }
    let spec = embed.spec().clone();
    drop(embed);
    for places in [places, Places::default()] {
        let restored = Embed::restore(&spec, &places).unwrap();
        assert_eq!(restored.cache.is_some(), places.cache.is_some());
        for (row, text) in texts.iter().enumerate() {
            let alone = features(&restored, std::slice::from_ref(text));
            assert_eq!(alone.row(0), together.row(row), "{text}");
        }
    }
}

#[test]
fn another_model_is_refused_and_the_right_one_found_elsewhere() {
    let Some(dir) = minilm::folder(NEEDED) else { return };
    let spec = Embed::open(&dir, settings(), &Places::default()).unwrap().spec().clone();
    let mut moved = spec.clone();
    moved.settings["dir"] = "nowhere".into();
    let refused = Embed::restore(&moved, &Places::default()).unwrap_err().to_string();
    assert!(refused.contains("ROUTEWRIGHT_EMBED_DIR") && refused.contains("nowhere"), "{refused}");
    let places = Places { models: vec!["not-here".into(), dir], cache: None };
    assert_eq!(Embed::restore(&moved, &places).unwrap().spec(), &moved);
    moved.settings["model"] = "0".repeat(64).into();
    let refused = Embed::restore(&moved, &places).unwrap_err().to_string();
    assert!(refused.contains("holds model"), "{refused}");
}

#[test]
fn a_folder_without_a_model_and_a_machine_without_onnxruntime_are_refused_in_words() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Embed::open(dir.path(), settings(), &Places::default()).unwrap_err().to_string();
    let missing = open();
    assert!(missing.contains("model.onnx") && missing.contains("special_tokens_map.json"), "{missing}");
    for file in
        ["model.onnx", "tokenizer.json", "config.json", "special_tokens_map.json", "tokenizer_config.json"]
    {
        std::fs::write(dir.path().join(file), "{}").unwrap();
    }
    // Which of the two it is depends on the machine; neither may panic.
    let refused = open();
    let (no_library, no_model) = (refused.contains("ORT_DYLIB_PATH"), refused.contains("refuses the model"));
    assert!(no_library || no_model, "{refused}");
}
