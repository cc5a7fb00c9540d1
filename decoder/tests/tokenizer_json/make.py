"""Makes the small tokenizers of this folder and `vectors.json`, the ids the Python package gives.

Needs: pip install tokenizers==0.23.3. Use: python make.py
"""
import json
import os
import random

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

here = os.path.dirname(os.path.abspath(__file__))
random.seed(7)
words = ["the", "then", "there", "other", "mother", "weather", "in", "inner", "winter", "sing", "singing", "walked",
         "walking", "low", "lower", "lowest", "new", "newer", "caf\u00e9", "na\u00efve", "\u4f60\u597d", "\u043f\u0440\u0438\u0432\u0435\u0442",
         "don't", "it's", "2024", "31", "3.14", "x=y+z;", "(a)", "\U0001f600"]
corpus = [" ".join(random.choices(words, k=12)) + random.choice([".", "!", "\n", "  end"]) for _ in range(400)]
texts = ["", "the", "the mother walked there", "lowest newer weather!", "  two  spaces ", "tab\tand\nline\r\n\r\nend", "caf\u00e9 na\u00efve",
         "cafe\u0301", "\u4f60\u597d \u043f\u0440\u0438\u0432\u0435\u0442 \U0001f600\U0001f9d1\u200d\U0001f680", "don't it's WE'LL", "2024 3.14159 31337", "x=y+z; (a)[b]{c}",
         "unseen \u05e9\u05dc\u05d5\u05dd \u2603", "trailing ", "a<mark>b", "sing<mark>", "\u00b2\u00bd \uff11\uff12"]


def byte_level(name, before, normalizer=None, post=None, ignore_merges=False):
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    tokenizer.normalizer = normalizer
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not before)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(before + [level]) if before else level
    trainer = trainers.BpeTrainer(vocab_size=420, special_tokens=["<|begin|>", "<|im_end|>"], show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens([AddedToken("<mark>", normalized=False)])
    if post:
        begin = processors.TemplateProcessing(single="<|begin|> $A", special_tokens=[("<|begin|>", 0)])
        tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), begin])
    return name, tokenizer


def marked(name, steps, unknown="<unk>"):
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token=unknown, fuse_unk=True))
    for part, step in steps.items():
        setattr(tokenizer, part, step)
    special = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=420, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(corpus, trainer)
    # Bytes are trained as special tokens, so that they are there; they are ordinary ones.
    data = json.loads(tokenizer.to_str())
    data["added_tokens"] = [token for token in data["added_tokens"] if token["id"] < 3]
    tokenizer = Tokenizer.from_str(json.dumps(data))
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return name, tokenizer


def unigram(name):
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=True)
    trainer = trainers.UnigramTrainer(vocab_size=150, special_tokens=["<unk>", "</s>"], unk_token="<unk>",
                                      show_progress=False)
    tokenizer.train_from_iterator(corpus, trainer)
    return name, tokenizer


def wordpiece(name, lowercase, strip_accents):
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase, strip_accents=strip_accents)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    tokenizer.train_from_iterator(corpus, trainers.WordPieceTrainer(vocab_size=200, special_tokens=special,
                                                                   show_progress=False))
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return name, tokenizer


gpt4 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
        r"|\s+(?!\S)|\s+")
space = "\u2581"
made = [
    byte_level("gpt2", []),
    byte_level("llama3", [pre_tokenizers.Split(Regex(gpt4), "isolated")], post=True, ignore_merges=True),
    byte_level("qwen2", [pre_tokenizers.Split(Regex(gpt4), "removed", invert=True)], normalizer=normalizers.NFC()),
    byte_level("starcoder", [pre_tokenizers.Digits(individual_digits=True),
                             pre_tokenizers.Split(Regex(r" ?\p{L}+|[^\p{L}]+"), "isolated"),
                             pre_tokenizers.Punctuation("contiguous")]),
    marked("llama2", {"normalizer": normalizers.Sequence([normalizers.Prepend(space), normalizers.Replace(" ", space)])}),
    marked("mistral", {"pre_tokenizer": pre_tokenizers.Metaspace(prepend_scheme="first", split=False)}),
    marked("gemma", {"normalizer": normalizers.Replace(" ", space),
                     "pre_tokenizer": pre_tokenizers.Split(" ", "merged_with_previous")}),
    unigram("unigram"),
    wordpiece("bert-lower", True, None),
    wordpiece("bert-cased", False, None),
]
vectors = {}
for name, tokenizer in made:
    tokenizer.save(os.path.join(here, f"{name}.json"), pretty=False)
    vectors[name] = [[text, tokenizer.encode(text, add_special_tokens=False).ids] for text in texts]
with open(os.path.join(here, "vectors.json"), "w", encoding="utf-8") as file:
    json.dump(vectors, file, ensure_ascii=True, indent=None)
    file.write("\n")
