//! GGUF files: the tokenizer and the chat template in their metadata.

use crate::bytes::{Kind, Segments};
use crate::harness::{Parts, Target, Verdict, attack, refused, refused_in};
use crate::random::{Rng, one_in, pick};
use crate::scratch::Scratch;
use crate::{text, tokenizers};
use routewright_decoder::template::ChatTemplate;
use routewright_decoder::vocabulary::Tokenizer;

const TEMPLATE: &str = "{{ bos_token }}{% for message in messages %}<|im_start|>{{ message['role'] }}\n\
    {{ message['content'] | trim }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n\
    {% endif %}";
/// What templates are made of.
const JINJA: [&str; 14] = [
    "{{ messages | tojson }}",
    "{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}",
    "{{ 'x' * 100000000000 }}",
    "{{ 9223372036854775807 + 1 }}",
    "{{ (1, 2, 3) * 1000 }}",
    "{{ -9223372036854775808 // -1 }}",
    "{{ 2 ** 400 }}",
    "{{ raise_exception('no') }}",
    "{{ strftime_now('%d %b %Y %q') }}",
    "{% set ns = namespace(x='ab') %}{% for i in range(16) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "{{ 1 % 0 }}{{ 1 / 0 }}",
    "{{ messages[0]['content'].split('')[99999] }}",
    "{{ '%s' | format('x') }}{{ 'a'.center(1000000000) }}",
];

/// Metadata being written.
struct Metadata {
    segments: Segments,
    entries: u64,
}

impl Metadata {
    fn key(&mut self, name: &str, kind: u32) {
        self.entries += 1;
        self.segments.text(name.as_bytes());
        self.segments.push(Kind::Tag, kind.to_le_bytes());
    }

    fn text(&mut self, name: &str, text: &str) {
        self.key(name, 8);
        self.segments.text(text.as_bytes());
    }

    fn number(&mut self, name: &str, number: u32) {
        self.key(name, 4);
        self.segments.push(Kind::Number, number.to_le_bytes());
    }

    fn flag(&mut self, name: &str, flag: bool) {
        self.key(name, 7);
        self.segments.push(Kind::Number, [u8::from(flag)]);
    }

    fn list(&mut self, name: &str, kind: u32, n: usize) {
        self.key(name, 9);
        self.segments.push(Kind::Tag, kind.to_le_bytes());
        self.segments.push(Kind::Length, (n as u64).to_le_bytes());
    }

    fn texts(&mut self, name: &str, texts: &[String]) {
        self.list(name, 8, texts.len());
        texts.iter().for_each(|text| self.segments.text(text.as_bytes()));
    }
}

/// Tokens of a vocabulary as its kind shows them: three special ones, then letters, bytes, pieces.
fn tokens(kind: &str) -> Vec<String> {
    let special = if kind == "bert" { ["[UNK]", "[CLS]", "[SEP]"] } else { ["<unk>", "<s>", "</s>"] };
    let space = if kind == "gpt2" { 'Ġ' } else { '\u{2581}' };
    let letters = ('a'..='k').map(String::from);
    let bytes = (0..if kind == "gpt2" { 0 } else { 8 }).map(|byte| format!("<0x{byte:02X}>"));
    let pieces = ["ab", "abc", "he", "hel", "é"].map(str::to_owned).into_iter();
    let begun = ["a", "he", "ab", ""].map(|rest| format!("{space}{rest}"));
    let special = special.map(str::to_owned).into_iter();
    special
        .chain(letters)
        .chain(bytes)
        .chain(pieces)
        .chain(begun)
        .chain(["<|im_start|>".to_owned()])
        .collect()
}

/// A whole file of one kind of vocabulary.
fn whole(kind: &str, rng: &mut Rng) -> Segments {
    let mut metadata = Metadata { segments: Segments::default(), entries: 0 };
    metadata.text("general.architecture", "llama");
    metadata.number("llama.context_length", 128);
    metadata.text("tokenizer.ggml.model", kind);
    let tokens = tokens(kind);
    metadata.texts("tokenizer.ggml.tokens", &tokens);
    metadata.list("tokenizer.ggml.scores", 6, tokens.len());
    for at in 0..tokens.len() {
        metadata.segments.push(Kind::Number, (-(at as f32)).to_le_bytes());
    }
    metadata.list("tokenizer.ggml.token_type", 5, tokens.len());
    for token in &tokens {
        let kind = match token.as_str() {
            "<unk>" | "[UNK]" => 2_i32,
            token if token.starts_with("<0x") => 6,
            token if token.starts_with(['<', '[']) => 3,
            _ => 1,
        };
        metadata.segments.push(Kind::Number, kind.to_le_bytes());
    }
    let merges = ["a b", "ab c", "h e", "he l"].map(str::to_owned);
    metadata.texts("tokenizer.ggml.merges", &merges);
    let names = ["gpt-2", "default", "llama-bpe", "qwen2", "falcon", "deepseek-coder"];
    let name: &&str = pick(rng, &names);
    metadata.text("tokenizer.ggml.pre", name);
    for (name, id) in [("unknown", 0), ("bos", 1), ("eos", 2)] {
        metadata.number(&format!("tokenizer.ggml.{name}_token_id"), id);
    }
    metadata.flag("tokenizer.ggml.add_bos_token", true);
    metadata.flag("tokenizer.ggml.add_space_prefix", false);
    let template = match () {
        () if one_in(rng, 6) => format!("{}{TEMPLATE}", pick(rng, &JINJA)),
        () if one_in(rng, 6) => text::damage(TEMPLATE, rng),
        () => TEMPLATE.to_owned(),
    };
    metadata.text("tokenizer.chat_template", &template);
    let mut file = Segments::default();
    file.push(Kind::Payload, *b"GGUF");
    file.push(Kind::Tag, 3_u32.to_le_bytes());
    file.push(Kind::Length, 0_u64.to_le_bytes());
    file.push(Kind::Length, metadata.entries.to_le_bytes());
    file.0.extend(metadata.segments.0);
    file
}

struct Gguf(Scratch);

impl Target for Gguf {
    const NAME: &'static str = "gguf";
    const CASES: u64 = 4000;

    fn input(&mut self, rng: &mut Rng) -> Parts {
        let kind = *pick(rng, &["llama", "t5", "gpt2", "bert"]);
        vec![("model.gguf".to_owned(), whole(kind, rng).damaged(rng))]
    }

    fn feed(&mut self, parts: &Parts) -> Result<Verdict, String> {
        let path = self.0.write("model.gguf", &parts[0].1);
        let template = ChatTemplate::of_model(&path);
        if let Err(error) = &template {
            refused_in(error, parts)?;
        }
        let tokenizer = match Tokenizer::open(&path) {
            Ok(tokenizer) => tokenizer,
            Err(error) => return refused(&error, parts),
        };
        tokenizers::sound(&tokenizer)?;
        if let Ok(template) = template {
            tokenizers::speaks(&template, &tokenizer, parts)?;
        }
        Ok(Verdict::Accepted)
    }
}

#[test]
fn gguf_files() {
    attack(Gguf(Scratch::new()));
}
