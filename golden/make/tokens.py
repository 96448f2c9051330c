"""Golden tokens: what google/sentencepiece makes of fuzzed strings, for a small model of our own and for LLaMA's.

Makes golden/tokenizers/: two small SentencePiece models trained on the text below, the first also
as tokenizer.json (merges ranked as transformers 4 did), and cases.json:
  parts     the building bricks of the fuzzed strings
  cases     text -> ids and decoded text of both small models, by sentencepiece
  chunks    sha256 over the ids of CHUNK fuzzed strings each, for both small models, for
            stories260k, and for LLaMA's tokenizer.model (hashes only; the models stay outside)
bytes/tokenizer.json is a small byte-level tokenizer in the manner of LLaMA 3, bytes.json its ids by
the tokenizers library. prompts.json holds the ids of exam prompts of every protocol: those of
golden/exams/tokens.jsonl by sentencepiece for the small model, and hashes of the ids that
transformers' LlamaTokenizer makes, legacy and not, of these and of the MMLU file's prompts.
The fuzzed string number i is `fuzzed(i)` below: tests draw the same strings from the same bricks.

Run: python golden/make/tokens.py    (MEDHARNESS_SHARED names the folder of real data)
Versions: sentencepiece 0.2.3, tokenizers 0.23.3, transformers 5.23.0.
"""

import csv
import hashlib
import io
import json
import os
import shutil
import struct
import tempfile
import tomllib
from pathlib import Path

import sentencepiece
import tokenizers
import transformers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = Path(__file__).resolve()
OUT = HERE.parents[1] / "tokenizers"
SHARED = Path(os.environ.get("MEDHARNESS_SHARED", HERE.parents[2].parent / "shared" / "data"))
STRINGS, CHUNK, EXPLICIT = 10_000, 500, 240
MASK = (1 << 64) - 1

TEXT = """
A patient with chest pain is asked when the pain began, where it goes, and what makes it better.
The heart sounds are regular, the lungs are clear, and the abdomen is soft and not tender.
Blood pressure is 128/82 mm Hg, the pulse is 74/min, and the temperature is 36.9 C.
Which of the following is the most likely diagnosis? Which drug should be given next?
(A) iron deficiency (B) folate deficiency (C) chronic disease (D) thalassemia (E) lead poisoning
The answer is B: the red cells are large, the count is low, and the diet lacks green leaves.
A child of three years has a cough that sounds like a seal; the neck film shows a steeple.
Antibiotics act on the wall of the cell, on its ribosome, on folate, or on its DNA.
Penicillin binds to the proteins that build the wall, so the cell bursts when it grows.
Insulin lowers the sugar of the blood; glucagon raises it; both come from the pancreas.
The kidney keeps water under vasopressin and salt under aldosterone.
A test with a sensitivity of 95 % misses one patient in twenty.
Give fluids first, then measure the potassium, then give insulin slowly.
The nerve that lifts the foot runs around the head of the fibula, where a cast can press on it.
Vitamin D is made in the skin, changed in the liver, and changed again in the kidney.
    indented text,  with  runs   of spaces    and     more
### Instruction:
### Input:
### Response:
Fièvre à 39 °C, toux sèche. Schmerz im Brustkorb seit zwei Stunden; größer als 5 µg.
"""

PARTS = [
    " ", "  ", "   ", "       ", "\n", "\n\n", "\t", "\r\n", "\u00a0", "\u2581", "\u2581\u2581", "\u3000", "\u200b", "\u200d",
    "a", "b", "e", "aa", "ab", "aba", "aaa", "th", "the", "he", "er", "in", "ing", "tion", "s", "S", "0", "1", "00", "12", "3.5",
    ".", ",", ":", ";", "?", "!", "-", "--", "----", "=", "====", "#", "###", "/", "//", "\\", "'", "\"", "(", ")", "(A)", "(B)", "%", "&",
    "<s>", "</s>", "<unk>", "<0x0A>", "<0x41>", "[PAD]", "<|user|>", "<", ">", "|", "[", "]", "PAD",
    "The patient", "patient", "Which of the following", "most likely diagnosis", "Hello", "hello", "HELLO", "insulin", "penicillin",
    "blood pressure", " 128/82 mm Hg", "### Response:\n", "\n\n### Instruction:\n", "Answer: ", " is ", " and ", "myocardial",
    "é", "è", "ü", "ß", "ñ", "µg", "°C", "½", "e\u0301", "ﬁ", "Ω", "Ā", "α-β", "Привет", "мир", "שלום", "مرحبا", "नमस्ते", "ไทย",
    "你好", "生活", "日本語", "カタカナ", "한국어", "🙂", "👩‍⚕️", "🇩🇪", "𝕏", "\u0000", "\u0001", "\u007f", "\u0085", "\u2028", "\ufeff", "\ufffd", "\U0010ffff",
]


class Draws:
    """SplitMix64: each draw mixes a state that moves by a constant."""

    def __init__(self, seed):
        self.state = seed & MASK

    def below(self, n):
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return (z ^ (z >> 31)) % n


def fuzzed(number):
    """String `number` of the fuzz: one of five kinds."""
    draw = Draws(number * 1_000_003 + 20230414)
    kind = draw.below(5)
    if kind == 0:  # bricks in a row
        return "".join(PARTS[draw.below(len(PARTS))] for _ in range(draw.below(30)))
    if kind == 1:  # words with spaces between
        return " ".join(PARTS[draw.below(len(PARTS))] for _ in range(draw.below(16)))
    if kind == 2:  # few characters, often repeated
        few = [PARTS[draw.below(60)] for _ in range(1 + draw.below(3))]
        return "".join(few[draw.below(len(few))] for _ in range(draw.below(50)))
    if kind == 3:  # printable ASCII
        return "".join(chr(32 + draw.below(95)) for _ in range(draw.below(80)))
    ends = [0x80, 0x250, 0x800, 0xD800, 0x110000]  # any character
    found = []
    for _ in range(draw.below(30)):
        point = draw.below(ends[draw.below(5)])
        if not 0xD800 <= point < 0xE000:
            found.append(chr(point))
    return "".join(found)


def train(name, **more):
    """A SentencePiece BPE model of TEXT in the manner of LLaMA's."""
    settings = dict(
        model_type="bpe",
        byte_fallback=True,
        split_digits=True,
        allow_whitespace_only_pieces=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        num_threads=1,
        minloglevel=2,
    )
    written = io.BytesIO()
    lines = iter(TEXT.strip("\n").split("\n"))
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=lines, model_writer=written, **(settings | more))
    (OUT / name).parent.mkdir(parents=True, exist_ok=True)
    (OUT / name).write_bytes(written.getvalue())
    return open_model(OUT / name)


def open_model(path):
    return sentencepiece.SentencePieceProcessor(model_file=str(path))


def to_json(model, path):
    """The model as tokenizer.json, as transformers 4 wrote LLaMA's: legacy prefix, BOS in the template."""
    size = model.get_piece_size()
    pieces = [model.id_to_piece(i) for i in range(size)]
    vocab = {piece: i for i, piece in enumerate(pieces)}
    normal = {p for i, p in enumerate(pieces) if not (model.is_control(i) or model.is_unknown(i) or model.is_byte(i))}
    merges = []
    for piece in pieces:
        if piece in normal:
            splits = [(piece[:k], piece[k:]) for k in range(1, len(piece))]
            known = sorted((s for s in splits if s[0] in normal and s[1] in normal), key=lambda s: (vocab[s[0]], vocab[s[1]]))
            merges += [(left, right, model.get_score(vocab[piece])) for left, right in known]
    merges.sort(key=lambda m: (m[2], len(m[0]), len(m[1])), reverse=True)
    tokenizer = Tokenizer(
        models.BPE(vocab, [m[:2] for m in merges], unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens([AddedToken(t, normalized=False) for t in ["<unk>", "<s>", "</s>"]])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)]
    )
    tokenizer.save(str(path), pretty=False)


def byte_level(path):
    """A byte-level BPE in the manner of LLaMA 3: words by a pattern, merges ignored for whole words, BOS in the template."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    pattern = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=500, initial_alphabet=sorted(alphabet), show_progress=False)
    tokenizer.train_from_iterator(TEXT.split("\n"), trainer)
    tokenizer.add_special_tokens(["<|begin_of_text|>", "<|end_of_text|>"])
    start = ("<|begin_of_text|>", tokenizer.token_to_id("<|begin_of_text|>"))
    tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=True),
            processors.TemplateProcessing(
                single="<|begin_of_text|> $A", pair="<|begin_of_text|> $A <|begin_of_text|>:1 $B:1", special_tokens=[start]
            ),
        ]
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(path), pretty=False)
    return tokenizer


def rendered(protocol, question, options):
    """The prompt, and where letters or options are scored the prompt with each continuation."""
    template = protocol["prompt"]
    lines = "".join(
        template["option_line"].replace("{letter}", "\0").replace("{text}", text).replace("\0", letter)
        for letter, text in options
    )
    head = template["primer"] + template["instruction_header"] + template["instruction"] + template["input_header"]
    prompt = head + question + lines + template["output_header"] + template["answer_prefix"]
    scored = protocol["decoding"].get("log_likelihood")
    if not scored:
        return [prompt]
    which = {"letter": 0, "text": 1}[scored["continuation"]]
    return [prompt] + [prompt + scored["lead"] + option[which] for option in options]


def digest(texts, encode):
    """sha256 over the ids of the texts: every id as 4 little-endian bytes, ff ff ff ff behind each text."""
    digest = hashlib.sha256()
    for text in texts:
        digest.update(b"".join(struct.pack("<I", i) for i in encode(text)) + b"\xff" * 4)
    return digest.hexdigest()


def prompts(tiny):
    """The ids of every protocol's prompts."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(SHARED / "tokenizers/llama.tokenizer.json", f"{folder}/tokenizer.json")
        llama = [transformers.LlamaTokenizer.from_pretrained(folder, legacy=legacy) for legacy in (True, False)]
    own = [json.loads(line) for line in (HERE.parents[1] / "exams/tokens.jsonl").read_text("utf-8").splitlines()]
    own = [(q["question"], [(o["letter"], o["text"]) for o in q["options"]]) for q in own]
    with open(SHARED / "exams/mmlu_professional_medicine_test.csv", encoding="utf-8", newline="") as file:
        mmlu = [(row[0], list(zip("ABCD", row[1:5]))) for row in csv.reader(file)]
    made = {}
    for path in sorted((HERE.parents[1] / "protocols").glob("*.toml")):
        protocol = tomllib.loads(path.read_text("utf-8"))
        texts = [text for question in own for text in rendered(protocol, *question)]
        real = [text for question in mmlu for text in rendered(protocol, *question)]
        of_llama = []
        for tokenizer in llama:
            encode = lambda text: tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
            of_llama.append([digest(texts, encode), digest(real, encode)])
        assert of_llama[0] == of_llama[1], "legacy matters only behind special tokens"
        made[protocol["id"]] = {
            "tiny": [tiny.encode(text) for text in texts],
            "llama": of_llama[0][0],
            "llama_mmlu": of_llama[0][1],
        }
    return made


def chunks(model):
    """The digests of the fuzzed strings, CHUNK by CHUNK."""
    digests = []
    for start in range(0, STRINGS, CHUNK):
        digests.append(digest(map(fuzzed, range(start, start + CHUNK)), model.encode))
    return digests


def case(text, model):
    ids = model.encode(text)
    return {"ids": ids, "decoded": model.decode(ids)}


def main():
    tiny = train("tiny/tokenizer.model", vocab_size=420)
    to_json(tiny, OUT / "tiny" / "tokenizer.json")
    # Everything LLaMA's model leaves off: no bytes, spaces squeezed, symbols of its own, other ids.
    squeezed = train(
        "squeezed/tokenizer.model",
        vocab_size=200,
        byte_fallback=False,
        remove_extra_whitespaces=True,
        user_defined_symbols=["<|user|>", "[PAD]", "###"],
        pad_id=3,
        character_coverage=0.98,
    )
    models_ = {"tiny": tiny, "squeezed": squeezed}
    shared = {
        "stories260k": SHARED / "checkpoints/stories260k/tokenizer.model",
        "llama": SHARED / "tokenizers/llama.tokenizer.model",
    }
    for name, path in shared.items():
        models_[name] = open_model(path)
    texts = [fuzzed(number) for number in range(EXPLICIT)] + PARTS
    golden = {
        "versions": {"sentencepiece": sentencepiece.__version__, "tokenizers": tokenizers.__version__},
        "strings": STRINGS,
        "chunk": CHUNK,
        "parts": PARTS,
        "chunks": {name: chunks(model) for name, model in models_.items()},
        "cases": [
            {"text": text, "tiny": case(text, tiny), "squeezed": case(text, squeezed)} for text in texts
        ],
    }
    lines = ",\n".join(
        f" {json.dumps(k)}: "
        + ("[\n" + ",\n".join("  " + json.dumps(c, ensure_ascii=False) for c in v) + "\n ]" if k == "cases" else json.dumps(v))
        for k, v in golden.items()
    )
    (OUT / "cases.json").write_text("{\n" + lines + "\n}\n", encoding="utf-8")
    levels = byte_level(OUT / "bytes" / "tokenizer.json")
    write_lines(
        OUT / "bytes.json",
        [{"text": text, "ids": levels.encode(text, add_special_tokens=False).ids} for text in texts],
    )
    made = prompts(tiny)
    write_lines(OUT / "prompts.json", [{"protocol": name} | ids for name, ids in made.items()])


def write_lines(path, rows):
    """A JSON list with one row a line."""
    text = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    path.write_text(f"[\n{text}\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
