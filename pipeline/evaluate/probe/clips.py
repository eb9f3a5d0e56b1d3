"""Transcribed clips of a run: their codes, texts and speakers, as the probe takes them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.audit.audit import AuditedRun
from pipeline.audit.metrics.heard_text import normal
from pipeline.corpus.metadata import with_words
from pipeline.corpus.rules import ReadRules
from pipeline.corpus.sampling import fields_of_clip, first_clips
from pipeline.corpus.shard import Shard
from pipeline.errors import InputError
from pipeline.plural import plural
from pipeline.read.dataset import CodesDataset
from pipeline.storage.client import Storage
from pipeline.storage.location import join, normalise, redact

# Shards whose first clips are looked at.
_MOST_LOOKED_AT = 8


@dataclass(frozen=True, slots=True)
class SpokenClip:
    """A clip with what is said in it.

    Attributes:
        key: names the clip in every run of these shards; keys alone may come again in each tar.
        audio: the hash of its bytes.
        steps: what the probe's input is made from: codes `[K, T]`, or any values of T steps.
        text: normal, and not empty.
        language: as the row has it.
    """

    key: str
    audio: int
    steps: NDArray[Any]
    text: str
    speaker: str
    language: str | None = None

    @property
    def num_steps(self) -> int:
        """T."""
        return int(self.steps.shape[-1])


def read_clips(
    run: AuditedRun, storage: Storage, shards: Collection[str] | None = None
) -> list[SpokenClip]:
    """The clips of a run that have a text, in the order of its parts.

    A clip without a speaker in its JSON counts as a speaker of its own.

    Args:
        shards: the URLs of the shards to take; all of the run without it.
    """
    found = {normalise(manifest.url): manifest for manifest in run.manifests}
    # A manifest has no user, password or query of its shard's URL.
    wanted = set(found) if shards is None else {normalise(redact(each)) for each in shards}
    missing = sorted(wanted - set(found))
    if missing or not wanted:
        first = f", the first is `{missing[0]}`" if missing else ""
        raise InputError(
            f"Run `{run.output}` has no part of {len(missing)} of {plural(len(wanted), 'shard')} "
            f"asked for{first}; expected one of each. Tokenize them into it, or name shards that "
            "it has"
        )
    # In the order of the run, whatever the order of `shards`.
    parts = tuple(
        join(run.output, manifest.part.path) for url, manifest in found.items() if url in wanted
    )
    rows = CodesDataset(
        (parts,), columns=("text", "speaker", "language", "audio_xxh64"), storage=storage
    )
    clips = []
    for row in rows:
        text = normal(row.columns["text"] or "")
        codes = np.array(row.codes)
        if text and codes.shape[-1]:
            audio = row.columns["audio_xxh64"]
            key = f"{row.key}@{audio:016x}"
            speaker, language = row.columns["speaker"] or key, row.columns["language"]
            clips.append(SpokenClip(key, audio, codes, text, speaker, language))
    return clips


def check_texts(option: str, shards: Sequence[Shard], storage: Storage) -> None:
    """Refuse shards of whose first clips none has a text, before hours are spent on them."""
    seen = 0
    for shard in shards[:: max(1, len(shards) // _MOST_LOOKED_AT)][:_MOST_LOOKED_AT]:
        clips, _ = first_clips(shard, storage, ReadRules())
        if any(clip.text or with_words(fields_of_clip(clip)).get("text") for clip in clips):
            return
        seen += len(clips)
    if seen:
        raise InputError(
            f"The first {plural(seen, 'clip')} of `{option}` have no text; expected transcripts in "
            "their JSON (`text`) or beside the audio (`.txt`). Add them, name shards that have "
            "them, or leave out `--probe-data`"
        )


def check_apart(train: Sequence[SpokenClip], test: Sequence[SpokenClip]) -> None:
    """Refuse clips that the probe would be trained and tested on, and sets without any text."""
    for what, clips in (("--probe-data", train), ("--data", test)):
        if not clips:
            raise InputError(
                f"The shards of `{what}` have no clip with a text; expected transcripts in their "
                "JSON (`text`) or beside the audio (`.txt`). Add them, or leave out `--probe-data`"
            )
    learned = {clip.audio for clip in train}
    shared = [clip.key.rpartition("@")[0] for clip in test if clip.audio in learned]
    if shared:
        raise InputError(
            f"{plural(len(shared), 'clip of `--data` is', 'clips of `--data` are')} in "
            "`--probe-data` too, the first is "
            f"`{shared[0]}`; expected none, or the probe is tested on what it learned. Name "
            "other shards"
        )
