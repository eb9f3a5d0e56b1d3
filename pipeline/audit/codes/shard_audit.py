"""One shard of an audit: what is read of it, and then the codec's share.

Reading checks all tokens, chooses clips and reads their originals. The codec encodes these again,
compares the codes, and decodes what is to be heard.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from pipeline.audit.codes.part_file import DAMAGED, PartFile
from pipeline.audit.codes.reencode import MAX_SHIFT_SECONDS, compare_codes, explained, side_error
from pipeline.audit.codes.token_checks import CheckedPart, check_part
from pipeline.audit.codes.token_report import SourceReport, TokenReport
from pipeline.audit.findings import Drift
from pipeline.audit.metrics.heard_text import Recogniser
from pipeline.audit.metrics.reasons import Reason
from pipeline.audit.metrics.scores import RATE_HZ
from pipeline.audit.sample.originals import (
    Original,
    OriginalReader,
    SourceMap,
    check_source,
    list_source,
)
from pipeline.audit.sample.sampling import (
    SampledClip,
    SamplePlan,
    choose_rows,
    row_weights,
    sampled_clips,
)
from pipeline.corpus.rules import ReadRules
from pipeline.errors import PipelineError
from pipeline.output.dropped import Dropped
from pipeline.output.manifest import Manifest
from pipeline.storage.client import Storage
from xy_codec.audio import resample
from xy_codec.codes_shape import CodesShape
from xy_codec.contract import Codec, Codes, Encoded, Waveform
from xy_codec.errors import CodesError
from xy_codec.inputs import check_side

# Rows of each kind of fault that are heard in every shard.
_SUSPECTS = 10
# Hypotheses cost twenty encodings of a clip each; a few clips name the fault of a shard.
_MAX_EXPLAINED = 4
# Index of a clip in its shard's sample → what is known of it.
Sounds = Mapping[tuple[int, str], Waveform]


@dataclass(frozen=True, slots=True)
class ShardAuditSettings:
    """What to look at in each shard; `rules` are those of the run that read it."""

    output: str
    plan: SamplePlan
    shape: CodesShape
    storage: Storage
    rules: ReadRules
    source_map: SourceMap = field(default_factory=SourceMap)
    reencode: bool = True
    list_sources: bool = False
    dropped: Dropped = field(default_factory=Dropped)


@dataclass(frozen=True, slots=True)
class ShardSource:
    """What was read of one shard, before the codec is asked."""

    checked: CheckedPart
    part: PartFile | None
    originals: tuple[Original, ...]
    seconds: float


def read_shard(settings: ShardAuditSettings, manifest: Manifest) -> ShardSource:
    """Check a part and its tar, choose clips and fetch their originals; needs no codec."""
    started = time.perf_counter()
    storage, shape = settings.storage, settings.shape
    url = settings.source_map.locate(manifest.url)
    source = check_source(storage, settings.output, url, manifest)
    try:
        part = PartFile.read(storage, settings.output, manifest)
        dropped = settings.dropped.keys_of(manifest.part.path)
        checked = check_part(part, manifest, shape, source=source, dropped=dropped)
        table = part.columns_without_codes()
        drawn = choose_rows(table, manifest.shard, settings.plan, dropped)
        rows = sorted({*drawn, *_suspects(checked.report)})
        weights = row_weights(table, manifest.shard, drawn, settings.plan, dropped)
        clips = sampled_clips(table, part.codes_of(rows), manifest, url, weights)
    except (PipelineError, *DAMAGED) as error:
        problem = f"the part `{manifest.part.path}` cannot be read: {error}"
        return ShardSource(check_part(None, manifest, shape, [problem], source), None, (), 0.0)
    where = (storage, settings.output, manifest, url, settings.rules)
    reader = OriginalReader.of_shard(*where, shape.input_rate_hz, source.size_bytes)
    originals = tuple(reader.all(clips))
    source = _listed(settings, manifest, part, url, _sampled(source, originals))
    checked = replace(checked, report=replace(checked.report, source=source))
    return ShardSource(checked, part, originals, time.perf_counter() - started)


def _suspects(report: TokenReport) -> set[int]:
    """Some rows of every kind of fault, evenly over the part: heard, whatever chance draws."""
    found: set[int] = set()
    for rows in report.flagged.values():
        found.update(rows[:: -(-len(rows) // _SUSPECTS)])
    return found


def _sampled(source: SourceReport, originals: Sequence[Original]) -> SourceReport:
    """What the bytes of the sampled originals say about their tar."""
    others = [original.clip.key for original in originals if original.same_audio is False]
    if not others:
        return source
    change = (
        f"{len(others)} of {len(originals)} sampled originals are not the bytes that were "
        f"tokenized, the first is `{others[0]}`"
    )
    return replace(source, changes=(*source.changes, change))


def _listed(
    settings: ShardAuditSettings, manifest: Manifest, part: PartFile, url: str, source: SourceReport
) -> SourceReport:
    """With `--list-sources`, every clip of the shard held against the part."""
    if not settings.list_sources:
        return source
    where = (settings.storage, settings.output, manifest, part, url)
    try:
        return list_source(*where, settings.rules, source)
    except PipelineError as error:
        return replace(source, unlisted=str(error))


@dataclass(frozen=True, slots=True)
class ClipMaterial:
    """One sampled clip with the sounds to be scored, at 16 kHz; or the reason of a missing one.

    `fresh` is the decoded fresh codes, only where they differ from the stored ones; `heard` what a
    recogniser heard, by `original`, `stored` and `fresh`.
    """

    clip: SampledClip
    original: Waveform | None
    stored: Waveform | None
    fresh: Waveform | None
    drift: Drift | None
    reasons: Mapping[str, str]
    seconds: Mapping[str, float]
    heard: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ShardMaterial:
    """Everything about one shard but its scores."""

    checked: CheckedPart
    clips: tuple[ClipMaterial, ...]


class ShardAudit:
    """The codec's share of an audit; one per process that holds a codec."""

    def __init__(
        self, settings: ShardAuditSettings, codec: Codec, recogniser: Recogniser | None = None
    ) -> None:
        self._settings = settings
        self._codec = codec
        self._recogniser = recogniser

    def material(self, source: ShardSource) -> ShardMaterial:
        """Re-encode the originals of a shard, compare, and decode what is to be heard."""
        started = time.perf_counter()
        fresh = self._fresh_codes(source.originals)
        drifts = dict(self._drifts(source, fresh))
        encoded = time.perf_counter()
        sounds = self._decode(source.originals, fresh, drifts)
        decoded = time.perf_counter()
        count = max(len(source.originals), 1)
        seconds = {
            "read": source.seconds / count,
            "encode": (encoded - started) / count,
            "decode": (decoded - encoded) / count,
        }
        clips = [
            self._clip(index, original, drifts.get(index), sounds, seconds)
            for index, original in enumerate(source.originals)
        ]
        return ShardMaterial(source.checked, tuple(self._heard(clips)))

    def _heard(self, clips: Sequence[ClipMaterial]) -> list[ClipMaterial]:
        """The clips with what a recogniser hears in them; as they are without one."""
        if self._recogniser is None:
            return list(clips)
        started = time.perf_counter()
        sounds = {
            (number, side): sound
            for number, clip in enumerate(clips)
            if clip.clip.text and self._recogniser.knows(clip.clip.language)
            for side in ("original", "stored", "fresh")
            if (sound := getattr(clip, side)) is not None
        }
        languages = [clips[number].clip.language or "" for number, _ in sounds]
        texts = self._recogniser.transcribe(list(sounds.values()), languages)
        heard: dict[int, dict[str, str]] = {}
        for (number, side), text in zip(sounds, texts, strict=True):
            heard.setdefault(number, {})[side] = text
        spent = (time.perf_counter() - started) / max(len(clips), 1)
        return [
            replace(clip, heard=heard.get(number, {}), seconds={**clip.seconds, "asr": spent})
            for number, clip in enumerate(clips)
        ]

    def _fresh_codes(self, originals: Sequence[Original]) -> dict[int, Encoded]:
        if not self._settings.reencode:
            return {}
        heard = {
            index: original.waveform
            for index, original in enumerate(originals)
            if original.waveform is not None and self._usable(original.clip.encoded.codes)
        }
        return dict(zip(heard, self._codec.encode_with_side(list(heard.values())), strict=True))

    def _drifts(
        self, source: ShardSource, fresh: Mapping[int, Encoded]
    ) -> Iterator[tuple[int, Drift]]:
        tried = 0
        for index, (codes, side) in fresh.items():
            original = source.originals[index]
            stored = original.clip.encoded
            drift = compare_codes(
                stored.codes,
                codes,
                max_shift=self._codec.shape.frames_in(MAX_SHIFT_SECONDS),
                side_error=side_error(stored.side, side),
                same_audio=original.same_audio,
            )
            if not drift.equal and tried < _MAX_EXPLAINED:
                tried += 1
                others = partial(_near_rows, source, original, codes)
                drift = explained(drift, original, codes, self._codec, others)
            yield index, drift

    def _decode(
        self,
        originals: Sequence[Original],
        fresh: Mapping[int, Encoded],
        drifts: Mapping[int, Drift],
    ) -> dict[tuple[int, str], Waveform]:
        wanted: dict[tuple[int, str], Encoded] = {}
        for index, original in enumerate(originals):
            if original.waveform is not None and self._decodes(original.clip.encoded):
                wanted[index, "stored"] = original.clip.encoded
            if index in drifts and not drifts[index].equal and fresh[index].codes.shape[1]:
                wanted[index, "fresh"] = fresh[index]
        if self._codec.identity.decodes == "no":
            return {}
        rate_hz = self._codec.shape.output_rate_hz
        keys = [originals[index].clip.key for index, _ in wanted]
        decoded = self._codec.decode_encoded(list(wanted.values()), keys=keys)
        return {
            name: resample(self._without_fill(waveform, originals[name[0]]), rate_hz, RATE_HZ)
            for name, waveform in zip(wanted, decoded, strict=True)
        }

    def _without_fill(self, waveform: Waveform, original: Original) -> Waveform:
        """A decoded clip without what the codec added to fill the clip's last frame."""
        shape = self._codec.shape
        assert original.waveform is not None
        length = len(original.waveform) * shape.output_rate_hz // shape.input_rate_hz
        is_filled = 0 < len(waveform) - length <= shape.output_samples_per_frame
        return waveform[:length] if is_filled else waveform

    def _usable(self, codes: Codes) -> bool:
        """Whether the codec takes these codes; damaged ones are counted by the token checks."""
        shape = self._settings.shape
        return bool(
            codes.shape[0] == shape.num_codebooks
            and codes.shape[1] > 0
            and codes.min() >= 0
            and (codes.max(axis=1) < np.array(shape.codebook_sizes)).all()
        )

    def _decodes(self, encoded: Encoded) -> bool:
        """Whether the codec decodes what is stored of a clip."""
        try:
            check_side(encoded.side, self._codec.side_sizes, 0)
        except CodesError:
            return False
        return self._usable(encoded.codes)

    def _clip(
        self,
        index: int,
        original: Original,
        drift: Drift | None,
        sounds: Sounds,
        seconds: Mapping[str, float],
    ) -> ClipMaterial:
        reasons: dict[str, str] = {}
        if original.reason is not None:
            reasons["original"] = original.reason.value
        elif not self._decodes(original.clip.encoded):
            reasons["decode"] = Reason.BAD_CODES.value
        elif not self._settings.reencode:
            reasons["drift"] = Reason.NOT_ASKED.value
        heard = original.waveform
        if heard is not None:
            heard = resample(heard, self._codec.shape.input_rate_hz, RATE_HZ)
        return ClipMaterial(
            clip=original.clip,
            original=heard,
            stored=sounds.get((index, "stored")),
            fresh=sounds.get((index, "fresh")),
            drift=drift,
            reasons=reasons,
            seconds=seconds,
            heard={},
        )


def _near_rows(
    source: ShardSource, original: Original, fresh: Codes
) -> tuple[dict[int, Codes], dict[int, str]]:
    """The other rows of the part that are as long as this clip should be."""
    if source.part is None:
        return {}, {}
    table = source.part.columns_without_codes()
    frames = np.asarray(table.column("num_frames"))
    near = np.flatnonzero(abs(frames - fresh.shape[1]) <= 1)
    others = source.part.codes_of([int(row) for row in near if row != original.clip.row])
    return others, {row: str(table.column("key")[row]) for row in others}
