use super::*;
use crate::features::{minilm, restore};

const WORDS: &[&str] = &["hello", "world", "the"];

fn tiny(pooling: Pooling) -> Bert {
    let dir = tempfile::tempdir().unwrap();
    write_tiny(dir.path(), WORDS).unwrap();
    Bert::open(dir.path(), EncoderSettings { pooling, ..EncoderSettings::default() }).unwrap()
}

fn features(bert: &Bert, texts: &[&str]) -> FeatureMatrix {
    let inputs: Vec<FeatureInput<'_>> = texts.iter().map(|t| FeatureInput::from(*t)).collect();
    bert.featurize(&inputs).unwrap()
}

fn assert_near(found: &[f32], want: &[f32]) {
    assert_eq!(found.len(), want.len());
    for (found, want) in found.iter().zip(want) {
        assert!((found - want).abs() < 1e-5, "{found} is not {want}");
    }
}

/// Reference: numpy 2.4.6 in float64, the formulas of `forward.rs` over the weights of `tiny.rs`, tokens
/// `[2, 56, 58, 57, 4, 7, 9, 3]` and `[2, 3]`. The vocabulary is numbered in the order it is written.
#[test]
fn the_forward_pass_equals_numpy() {
    for (pooling, sentence, empty) in [(Pooling::Mean, &MEAN, &MEAN_EMPTY), (Pooling::Cls, &CLS, &CLS_EMPTY)]
    {
        let found = features(&tiny(pooling), &["Hello the world abc", ""]);
        assert_near(found.row(0), sentence);
        assert_near(found.row(1), empty);
    }
}

#[test]
fn a_text_has_the_same_vector_alone_among_others_and_after_the_disk() {
    let bert = tiny(Pooling::Mean);
    let long = "hello world ".repeat(40);
    let texts = ["hello", "Héllo, wörld!", "", "你好 the", long.as_str()];
    let together = features(&bert, &texts);
    let restored = restore(bert.spec(), bert.tensors()).unwrap();
    for (row, text) in texts.iter().enumerate() {
        let alone = restored.featurize(&[FeatureInput::from(*text)]).unwrap();
        assert_eq!(alone.row(0), together.row(row), "{text}");
        let length = alone.row(0).iter().map(|x| x * x).sum::<f32>();
        assert!((length - 1.0).abs() < 1e-5, "{text}: {length}");
    }
    // Forty positions: anything behind the thirty-eighth word is not read.
    assert_eq!(together.row(4), features(&bert, &[&format!("{long} and more")]).row(0));
}

#[test]
fn a_folder_that_is_no_such_checkpoint_is_refused_by_file_and_key() {
    let reason = |damage: &dyn Fn(&Path)| {
        let dir = tempfile::tempdir().unwrap();
        write_tiny(dir.path(), WORDS).unwrap();
        damage(dir.path());
        Bert::open(dir.path(), EncoderSettings::default()).unwrap_err().to_string()
    };
    let edit = |file: &'static str, from: &'static str, to: &'static str| {
        move |dir: &Path| {
            let text = std::fs::read_to_string(dir.join(file)).unwrap();
            assert!(text.contains(from));
            std::fs::write(dir.join(file), text.replacen(from, to, 1)).unwrap();
        }
    };
    let missing = reason(&|dir| std::fs::remove_file(dir.join("tokenizer.json")).unwrap());
    assert!(missing.contains("tokenizer.json") && missing.contains("cannot open it"), "{missing}");
    let act = reason(&edit("config.json", "{", "{\"hidden_act\": \"relu\","));
    assert!(act.contains("`hidden_act` is `relu`, expected `gelu`"), "{act}");
    let heads = reason(&edit("config.json", "\"num_attention_heads\": 4", "\"num_attention_heads\": 5"));
    assert!(heads.contains("`hidden_size` is `32`"), "{heads}");
    let layers = reason(&edit("config.json", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3"));
    assert!(layers.contains("encoder.layer.2.") && layers.contains("missing"), "{layers}");
    let tokens = reason(&edit("tokenizer.json", "\"##a\": 5", "\"##a\": 5000"));
    assert!(tokens.contains("token `5000`"), "{tokens}");
}

#[test]
fn minilm_equals_onnxruntime() {
    let Some(dir) = minilm::folder(&["ROUTEWRIGHT_MINILM_DIR"]) else { return };
    let settings = EncoderSettings { max_length: minilm::MAX_LENGTH, ..EncoderSettings::default() };
    let bert = Bert::open(&dir, settings).unwrap();
    for (entry, n_tokens, head) in minilm::REFERENCE {
        let text = minilm::text(entry);
        assert_eq!(bert.tokenizer.encode(0, &text).unwrap().len(), *n_tokens, "{entry}");
        assert_near(&features(&bert, &[&text]).row(0)[..6], head);
    }
}

#[rustfmt::skip]
const MEAN: [f32; 32] = [
    -0.126004, 0.1638401, -0.02284076, 0.2083548, -0.01472755, -0.03334851, 0.08351445, 0.1197962,
    -0.01932217, -0.2117751, -0.1074865, -0.1882897, -0.140999, -0.1765294, 0.2346069, 0.10626,
    -0.2162662, 0.1377631, 0.2851587, -0.09021954, 0.1379811, -0.2267844, -0.3312982, 0.210497,
    -0.04218383, -0.2264194, -0.3335042, -0.08607737, 0.2206695, 0.1512781, 0.09741095, 0.2204477,
];
#[rustfmt::skip]
const CLS: [f32; 32] = [
    -0.2753058, 0.28658, 0.05305391, 0.06301035, 0.08232865, -0.02905309, -0.09164744, 0.1145501,
    -0.03707515, -0.08164325, -0.1167925, -0.1965651, -0.1023726, -0.2068472, 0.3372678, 0.1365395,
    -0.287146, 0.1665442, 0.2065619, -0.1979619, 0.07930897, -0.1868736, -0.08879994, 0.04696348,
    -0.01889267, -0.1025543, -0.4533501, 0.09206703, 0.1703068, -0.09491008, 0.1456046, 0.1809264,
];
#[rustfmt::skip]
const MEAN_EMPTY: [f32; 32] = [
    0.07968393, 0.2895637, 0.01854834, -0.07132369, -0.008344746, -0.03562702, 0.09786936, 0.01030463,
    -0.005569156, -0.1237473, -0.41943, -0.08931679, -0.08978841, -0.04140497, 0.1245459, 0.02799692,
    -0.1965176, 0.2290148, 0.3492436, -0.2792636, -0.004884243, -0.1134012, -0.1259801, 0.1150705,
    -0.01634343, -0.3923916, -0.2710309, 0.06538978, 0.2217653, 0.1589986, 0.1002913, 0.1360908,
];
#[rustfmt::skip]
const CLS_EMPTY: [f32; 32] = [
    0.02896867, 0.3311022, 0.0645629, -0.1686237, 0.04436195, 0.03206256, -0.01543561, 0.03623228,
    -0.1054133, -0.06421211, -0.1730873, -0.1731643, -0.01044798, -0.1549353, 0.1748711, 0.06474919,
    -0.3172189, 0.2691309, 0.2386297, -0.2622036, 0.05917346, -0.2396894, 0.01963593, 0.2465116,
    -0.1012959, -0.1701684, -0.4139426, 0.08860873, 0.2350127, -0.03505136, 0.1484139, 0.02348307,
];
