"""Two clips whose exported bytes are known: `codes[k][t] = (100 k + 7 t + s) mod 1024`."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from pipeline.export.catalogue import find_format
from pipeline.export.contract import Format, FormatOptions, Sample, Shard, ShardFiles, Target
from pipeline.output.manifest import WrittenFile
from xy_codec.fake import FAKES

SPEAKER = "EN_B00000_S00000"
_TEXTS = ("Hello there.", "Good 日本.")


def toy_samples() -> list[Sample]:
    return [
        toy_sample(f"{SPEAKER}_W000000", _TEXTS[0], frames=3, shift=0),
        toy_sample(f"{SPEAKER}_W000001", _TEXTS[1], frames=5, shift=1000),
    ]


def toy_sample(name: str, text: str, frames: int, shift: int) -> Sample:
    books, steps = np.mgrid[0:8, 0:frames]
    codes = ((100 * books + 7 * steps + shift) % 1024).astype(np.int16)
    return Sample(name, codes, frames * 2 / 25, text, SPEAKER, "en")


def make_format(name: str, shape: Any = FAKES["fake"], **changes: Any) -> Format:
    names = FormatOptions.__dataclass_fields__
    options = FormatOptions(**{k: v for k, v in changes.items() if k in names})
    rest = {k: v for k, v in changes.items() if k not in names}
    return find_format(name)(
        Target(shape, {"codec": {"name": "toy-ttsd"}}, options=options, **rest)
    )


def written(made: Format, samples: Sequence[Sample], number: int = 0) -> dict[str, bytes]:
    """The files of one shard, and those that speak of all shards."""
    files = ShardFiles(number, "train")
    try:
        made.write_shard(samples, files)
        contents = {path: content_of(file) for path, file in files.opened.items()}
    finally:
        files.close()
    facts = [WrittenFile(p, len(c), hash_of(c), len(samples)) for p, c in contents.items()]
    seconds = sum(sample.duration for sample in samples)
    shard = Shard(number, len(samples), seconds, tuple(facts), files.facts)
    return {**contents, **made.finish("/data", [shard])}


def content_of(file: Any) -> bytes:
    content = file.content()
    return content if isinstance(content, bytes) else content.read_bytes()


def hash_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def byte_tokenizer(special: Iterable[tuple[int, str]] = ()) -> bytes:
    """A `tokenizer.json` whose ids are those of UTF-8 bytes, and which knows special tokens."""
    special = list(special)
    # In the vocabulary as well, or the package would number them by itself.
    vocabulary = {f"<0x{byte:02X}>": byte for byte in range(256)} | {t: n for n, t in special}
    added = [
        {"id": number, "content": token, "single_word": False, "lstrip": False, "rstrip": False}
        | {"normalized": False, "special": True}
        for number, token in special
    ]
    model = {"type": "BPE", "vocab": vocabulary, "merges": [], "byte_fallback": True}
    whole = {"version": "1.0", "added_tokens": added, "model": model, "normalizer": None}
    rest = {"truncation": None, "padding": None, "pre_tokenizer": None}
    return json.dumps(whole | rest | {"post_processor": None, "decoder": None}).encode()
