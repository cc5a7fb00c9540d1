#!/usr/bin/env python3
"""What llama.cpp makes of the two real models, by the library in the wheel of cyllama, which needs no compiler.

    python3 -m venv /tmp/llama && /tmp/llama/bin/pip install cyllama==0.2.18 gguf jinja2 numpy
    /tmp/llama/bin/python decoder/tests/real_models/llama_cpp.py make [FOLDER]     # writes llama_cpp.json beside this
    /tmp/llama/bin/python decoder/tests/real_models/llama_cpp.py compare [FOLDER]  # the Rust tests against the library
                                                                                   # that is installed

FOLDER holds the GGUF files (`.ci/models`; default $ROUTEWRIGHT_MODELS, else target/models). Keys and values are kept in
float32 and flash attention is off, so that what differs is the kernels of quantized matrices alone. Chats are rendered
by Jinja with the settings of Hugging Face's `apply_chat_template`; `float32` is NumPy's (float32.py).
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import cyllama
import jinja2
import numpy as np
from cyllama.llama import llama_cpp as cy
from float32 import Weights
from jinja2.sandbox import ImmutableSandboxedEnvironment

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent.parent.parent
FILES = {"smollm2": "SmolLM2-135M-Instruct.Q4_1.gguf", "gemma3": "gemma-3-270m-q4_k_m.gguf"}
STEPS = 40
CONTEXT = 512

# Where tokenizers go wrong: runs of spaces and breaks, numbers, contractions, letters made of several code points,
# scripts without spaces, what looks like a special token, markup that is a token of its own.
TEXTS = [
    "",
    " ",
    "  ",
    "     five spaces before",
    "trailing   ",
    "a\tb\t\tc\t\t\t\td",
    "one\ntwo\n\nthree\n\n\nfour\n\n\n\n\n\n\n\nnine",
    "carriage\r\nreturn\r\n\r\nand\rlone",
    "\n",
    " \n \n  \n",
    "Hello, world!",
    "hello hello HELLO Hello hELLO",
    "It's we'll they've I'm you'd can't 'S 'LL don\u2019t",
    "3.14159 1,234,567.89 0x1F 1e-10 007 12 123 1234 12345 2026-11-30",
    "x=1+2*3;y=(a[0]->b)?c:d;//e\n\tif(!z){return;}",
    "def f(x):\n    return x ** 2\n\n\nclass A:\n        pass\n",
    "https://example.org/a?b=c&d=%20#frag user@host.example",
    "caf\u00e9 cafe\u0301 na\u00efve \u00c5ngstr\u00f6m A\u030angstro\u0308m \ufb01ne \u01c5",
    "stra\u00dfe STRASSE \u1e9e \u0130stanbul \u0131",
    "\u4f60\u597d\uff0c\u4e16\u754c\u3002\u6771\u4eac\u90fd \u3072\u3089\u304c\u306a \u30ab\u30bf\u30ab\u30ca",
    "\uc548\ub155\ud558\uc138\uc694 \u1112\u1161\u11ab\u1100\u1173\u11af",
    "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35\u0e0a\u0e32\u0e27\u0e42\u0e25\u0e01",
    "\u0928\u092e\u0938\u094d\u0924\u0947 \u0915\u094d\u0937\u0924\u094d\u0930\u093f\u092f",
    "\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645 \u0661\u0662\u0663 \u05e9\u05c1\u05b8\u05dc\u05d5\u05b9\u05dd",
    "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440! \u0395\u03bb\u03bb\u03b7\u03bd\u03b9\u03ba\u03ac",
    "\U0001f600\U0001f44d\U0001f3fd \U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 \U0001f1eb\U0001f1f7\U0001f1ef\U0001f1f5 \u2764\ufe0f",
    "\u00a0nbsp\u00a0 \u2003em\u2003 \u3000ideographic\u3000 zero\u200bwidth \ufeffbom \u2028line\u2029",
    "soft\u00adhyphen \u202eright\u202c \u0007bell \u001besc \u007fdel \u0080pad",
    "\u2581lower block\u2581\u2581 \u0120gpt\u010a",
    "<|im_start|>user\nhi<|im_end|>\n<|endoftext|>",
    "<bos>a<eos> <start_of_turn>user\nhi<end_of_turn> <unk> <pad>",
    "<s>struck</s>",
    "<h1>Title</h1><table><tr><td>1</td></tr></table><b>bold</b><i>it</i><u>u</u><code>c</code>",
    "<div><span>x</span></div><ul><li>y</li></ul><custom></custom><br/>",
    "[INST] x [/INST] <<SYS>> <0x0A> <unused7> <image>",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "                                                                                          ninety",
    "----------======____####....!!!!????",
    "supercalifragilisticexpialidocious pneumonoultramicroscopicsilicovolcanoconiosis",
    "\ud7a3\uac00 \ue000 \ufffd \U0001f9ff \U00020000 \U0010fffd",
    "mixed\u4e2dEnglish\u6587123\u5b57abc",
    "\u00bd \u00b2 \u2167 \u2460 \uff11\uff12 \u066a \u20ac$\u00a3\u00a5",
    "The quick brown fox\u2014\u201cjumps\u201d\u2014over \u2018the\u2019 lazy dog\u2026",
    "\n\n    indented\n\t\ttabs \t mixed\n",
    "'tis 'twas o'clock rock'n'roll ''double'' `tick` \"quote\"",
    "I\u2019m 12:34:56 $5.00 50% #1 @x &amp; C++ C# F#",
    "end.",
]

PROMPTS = [
    "The capital of France is",
    "Once upon a time, there was a little girl who",
    "Q: What is 17 + 25?\nA:",
    "def fibonacci(n):\n",
    "The three primary colors are",
    "Water boils at",
    "Dear Sir or Madam,\n\n",
    "1, 1, 2, 3, 5, 8,",
]

PASSAGE = (
    "The Rhine rises in the Swiss Alps, passes Lake Constance and flows north through Germany. In 1817 Johann "
    "Gottfried Tulla began to straighten it; the work took 59 years and shortened the river by 81 km. Caf\u00e9s line "
    "its banks.\n\n\u4f60\u597d means hello; 2 + 2 = 4."
)

CHATS = [
    [{"role": "user", "content": "What is the capital of Italy?"}],
    [{"role": "user", "content": "Name a color."}, {"role": "assistant", "content": "Blue."},
     {"role": "user", "content": "  Another one,\nplease. "}],
    [{"role": "system", "content": "You answer in one word."}, {"role": "user", "content": "Is 7 prime?"}],
    [{"role": "system", "content": ""}, {"role": "user", "content": "{{ 7 * 6 }} {% if x %} \u00e9"}],
]


def log_softmax(logits):
    logits = logits.astype(np.float64)
    shifted = logits - logits.max()
    return shifted - np.log(np.exp(shifted).sum())


class WithCount(cy.LlamaModel):
    """The context of cyllama 0.2.18 asks its model for `n_vocab`, which it has not."""

    @property
    def n_vocab(self):
        return self.get_vocab().n_vocab


class Model:
    """A model and one text it reads."""

    def __init__(self, path):
        cy.disable_logging()
        self.model = WithCount(str(path), verbose=False)
        params = cy.LlamaContextParams()
        params.n_ctx, params.n_batch, params.n_ubatch = CONTEXT, CONTEXT, CONTEXT
        params.n_threads, params.n_threads_batch = 1, 1
        params.type_k, params.type_v, params.flash_attn_type = 0, 0, 0
        self.context = cy.LlamaContext(self.model, params, verbose=False)
        self.vocab = self.model.get_vocab()
        self.n = self.vocab.n_vocab

    def ids(self, text, begin=False, special=False):
        return list(self.vocab.tokenize(text, begin, special)) if text else []

    def begun(self, text):
        return self.ids(text, begin=True)

    def ends(self, id):
        return bool(self.vocab.is_eog(id))

    def read(self, ids, start):
        """Log-probabilities after each of `ids`, which stand at `start`."""
        if start == 0:
            self.context.kv_cache_clear()
        batch = cy.LlamaBatch(n_tokens=len(ids), embd=0, n_seq_max=1)
        for at, id in enumerate(ids):
            batch.add(id, start + at, [0], True)
        self.context.decode(batch)
        return [log_softmax(np.array(self.context.get_logits_ith(at), dtype=np.float32)) for at in range(len(ids))]

    def greedy(self, ids):
        """Most probable tokens one after the other: id, its log-probability, the second and how far it is behind."""
        row, out, n = self.read(ids, 0)[-1], [], len(ids)
        while len(out) < STEPS:
            second, best = (int(id) for id in np.argsort(row)[-2:])
            out.append([best, round(float(row[best]), 5), second, round(float(row[best] - row[second]), 5)])
            if self.ends(best):
                break
            row = self.read([best], n)[0]
            n += 1
        return out

    def text(self, ids):
        # After another token, so that no space at the start is dropped.
        return self.vocab.detokenize(self.ids("a") + ids, 64 * len(ids) + 64).removeprefix("a")

    def completed(self, prompt, ids):
        steps = self.greedy(ids)
        written = [step[0] for step in steps if not self.ends(step[0])]
        return {"prompt": prompt, "ids": ids, "steps": steps, "text": self.text(written)}

    def chat(self, messages, template):
        text = template.render(messages=messages, add_generation_prompt=True)
        return {"messages": messages, **self.completed(text, self.ids(text, special=True))}

    def template(self):
        source = self.model.get_default_chat_template()
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        return environment.from_string(source) if source else None

    def reference(self, path):
        passage = self.begun(PASSAGE)
        rows = self.read(passage, 0)
        scored = [round(float(rows[at - 1][passage[at]]), 5) for at in range(1, len(passage))]
        exact = [round(value, 5) for value in Weights(path).log_probs(passage)]
        template = self.template()
        return {
            "ends": [id for id in range(self.n) if self.ends(id)],
            "tokens": [[text, self.ids(text)] for text in TEXTS],
            "passage": {"ids": passage, "log_probs": scored, "float32": exact},
            "greedy": [self.completed(prompt, self.begun(prompt)) for prompt in PROMPTS],
            "chats": [self.chat(chat, template) for chat in CHATS] if template else [],
        }


def make(folder):
    models = {}
    for name, file in FILES.items():
        path = folder / file
        models[name] = {"file": file, "sha256": hashlib.sha256(path.read_bytes()).hexdigest(), **Model(path).reference(path)}
    built = json.loads((Path(cyllama.__file__).parent / "build_config.json").read_text())["versions"]
    library = f"llama.cpp {built['llama_cpp_version']} of cyllama {cyllama.__version__}, jinja2 {jinja2.__version__}"
    return {"made_by": library, "models": models}


def main():
    if len(sys.argv) not in (2, 3) or sys.argv[1] not in ("make", "compare"):
        sys.exit(__doc__)
    given = sys.argv[2] if len(sys.argv) == 3 else os.environ.get("ROUTEWRIGHT_MODELS")
    folder = Path(given) if given else CHECKOUT / "target" / "models"
    text = json.dumps(make(folder), ensure_ascii=True, indent=None, separators=(",", ":")) + "\n"
    if sys.argv[1] == "make":
        (HERE / "llama_cpp.json").write_text(text)
        return
    with tempfile.TemporaryDirectory() as fresh:
        reference = Path(fresh) / "llama_cpp.json"
        reference.write_text(text)
        variables = {"ROUTEWRIGHT_MODELS": str(folder), "ROUTEWRIGHT_REQUIRE_MODELS": "1", "ROUTEWRIGHT_LLAMA_CPP": str(reference)}
        test = ["cargo", "test", "--workspace", "--features", "candle", "--test", "real_models", "llama_cpp"]
        sys.exit(subprocess.run(test, cwd=CHECKOUT, env={**os.environ, **variables}, check=False).returncode)


if __name__ == "__main__":
    main()
