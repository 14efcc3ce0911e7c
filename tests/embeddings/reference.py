"""Writes reference.json: what all-MiniLM-L6-v2 says of texts of all kinds, by an implementation that shares nothing with
the server's. Needs numpy, and the model in the folder model (`make model`): python3 tests/embeddings/reference.py
"""

import base64
import json
import unicodedata
from math import erf
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "model"
# A text, and how many times it is repeated.
TEXTS = [
    ("How do I reset my password?", 1),
    ("See you at the station at half past nine.", 1),
    ("the", 1),
    ("", 1),
    (" \t\n ", 1),
    ("\0", 1),
    ("be\0fore and\0after", 1),
    ("Größe, Übermut und Straße: ÄÖÜ äöü", 1),
    ("Crème brûlée, naïve café, Ångström, Łódź, İstanbul", 1),
    ("e\u0301 u\u0308 o\u0327: marks that stand alone", 1),
    ("🎉🎉 party 👩‍👩‍👧‍👦 🇩🇪 👍🏽", 1),
    ("我们明天开会讨论预算 と日本語 그리고 한국어", 1),
    ("Привет, как дела? مرحبا שלום नमस्ते สวัสดี", 1),
    ("ERR_CONN_RESET at 10.0.0.1:8080 (0x80070005) — see RFC-9110 §15.5.1", 1),
    ("https://example.com/a/b?c=d&e=%20#f user@example.com", 1),
    ("don't can't [CLS] and [SEP] [MASK] <s> </s> ##ing", 1),
    ("internationalization antidisestablishmentarianism", 1),
    ("x", 120),
    ("one more word ", 100),
    ("Lorem ipsum dolor, Grüße! ", 385),
]


def tensors(path):
    file = path.read_bytes()
    size = int.from_bytes(file[:8], "little")
    for name, tensor in json.loads(file[8 : 8 + size]).items():
        if name != "__metadata__" and tensor["dtype"] == "F32":
            begin, end = tensor["data_offsets"]
            numbers = np.frombuffer(file[8 + size + begin : 8 + size + end], "<f4")
            yield name, numbers.reshape(tensor["shape"]).astype(np.float64)


WEIGHTS = dict(tensors(MODEL / "model.safetensors"))
CONFIG = json.loads((MODEL / "config.json").read_text())
VOCABULARY = json.loads((MODEL / "tokenizer.json").read_text())["model"]["vocab"]
MAX_TOKENS = json.loads((MODEL / "sentence_bert_config.json").read_text())["max_seq_length"]


def is_ideograph(c):
    ranges = [(0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F)]
    return any(first <= ord(c) <= last for first, last in ranges)


def is_punctuation(c):
    return unicodedata.category(c).startswith("P") or (c.isascii() and c.isprintable() and not c.isalnum() and c != " ")


def words(text):
    """As BERT's BasicTokenizer: no control characters, lower case, no accents; ideographs and punctuation stand alone."""
    text = "".join(
        " " if c in "\t\n\r" or unicodedata.category(c) == "Zs" else c
        for c in text
        if c in "\t\n\r" or not (c in "\0\ufffd" or unicodedata.category(c).startswith("C"))
    )
    text = "".join(f" {c} " if is_ideograph(c) else c for c in text)
    text = "".join(c for c in unicodedata.normalize("NFD", text) if unicodedata.category(c) != "Mn").lower()
    return "".join(f" {c} " if is_punctuation(c) else c for c in text).split()


def pieces(word):
    """The longest known beginning, again and again."""
    found, begin = [], 0
    while begin < len(word) <= 100:
        for end in range(len(word), begin, -1):
            piece = VOCABULARY.get(("##" if begin else "") + word[begin:end])
            if piece is not None:
                break
        else:
            return [VOCABULARY["[UNK]"]]
        found.append(piece)
        begin = end
    return found or [VOCABULARY["[UNK]"]]


def tokens(text):
    special = ["[CLS]", "[SEP]", "[MASK]"]
    parts = [text]
    for name in special:
        parts = [p for part in parts for i, s in enumerate([part] if part in special else part.split(name)) for p in ([name] * (i > 0) + [s])]
    ids = [i for part in parts for i in ([VOCABULARY[part]] if part in special else sum(map(pieces, words(part)), []))]
    return [VOCABULARY["[CLS]"], *ids[: MAX_TOKENS - 2], VOCABULARY["[SEP]"]]


def dense(x, name):
    return x @ WEIGHTS[name + ".weight"].T + WEIGHTS[name + ".bias"]


def norm(x, name):
    centred = x - x.mean(-1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(-1, keepdims=True) + CONFIG["layer_norm_eps"])
    return centred / deviation * WEIGHTS[name + ".weight"] + WEIGHTS[name + ".bias"]


def gelu(x):
    return x * 0.5 * (1 + np.vectorize(erf)(x / np.sqrt(2)))


def embed(text):
    ids = tokens(text)
    x = WEIGHTS["embeddings.word_embeddings.weight"][ids] + WEIGHTS["embeddings.position_embeddings.weight"][: len(ids)]
    x = norm(x + WEIGHTS["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    heads = CONFIG["num_attention_heads"]
    for number in range(CONFIG["num_hidden_layers"]):
        layer = f"encoder.layer.{number}."
        parts = [dense(x, f"{layer}attention.self.{part}") for part in ("query", "key", "value")]
        query, key, value = (part.reshape(len(ids), heads, -1).swapaxes(0, 1) for part in parts)
        scores = np.exp(query @ key.swapaxes(1, 2) / np.sqrt(query.shape[-1]))
        shares = scores / scores.sum(-1, keepdims=True)
        seen = (shares @ value).swapaxes(0, 1).reshape(x.shape)
        x = norm(x + dense(seen, layer + "attention.output.dense"), layer + "attention.output.LayerNorm")
        x = norm(x + dense(gelu(dense(x, layer + "intermediate.dense")), layer + "output.dense"), layer + "output.LayerNorm")
    mean = x.mean(0)
    return mean / np.linalg.norm(mean)


def packed(vector):
    """Base64 of numbers of 16 bits, little endian."""
    return base64.b64encode(np.round(vector * 32767).astype("<i2").tobytes()).decode()


def main():
    lines = [json.dumps({"text": text, "times": times, "vector": packed(embed(text * times))}) for text, times in TEXTS]
    (Path(__file__).parent / "reference.json").write_text("[\n" + ",\n".join(lines) + "\n]\n")


main()
