"""The lists of a Kaldi folder: `wav.scp`, with `segments`, `text`, `utt2spk` and `utt2lang`."""

from collections.abc import Mapping

from pipeline.corpus.audio_list import LookUp, Span
from pipeline.corpus.lists.wished_clip import (
    Mirror,
    WishedClip,
    cut_into_lists,
    find_clips,
    refuse_lines,
    seconds_in,
    span_between,
)
from pipeline.corpus.shard import Shard
from pipeline.errors import InputError, UsageError
from pipeline.storage.client import Storage
from pipeline.storage.location import join, redact

KALDI_LIST = "wav.scp"
_MOST_SHOWN = 80


def lists_of_kaldi(
    folder: str, storage: Storage, look_up: LookUp, mirror: Mirror, clips_per_list: int
) -> list[Shard]:
    """The lists of a Kaldi folder: `wav.scp`, and `segments`, `text`, `utt2spk` where they are."""
    there = {each.url.rpartition("/")[2] for each in storage.glob_files(join(folder, "*"))}

    def lines(name: str) -> list[tuple[int, str]]:
        if name not in there:
            return []
        try:
            text = storage.read_bytes(join(folder, name)).decode("utf-8")
        except UnicodeDecodeError as error:
            raise InputError(
                f"`{redact(join(folder, name))}` cannot be read ({error}); expected UTF-8 text; "
                "correct it"
            ) from error
        # Not `splitlines`: texts may hold other characters that end lines there.
        return [(n, line) for n, line in enumerate(text.split("\n"), 1) if line.strip()]

    def pairs(name: str) -> list[tuple[str, str]]:
        split = (line.split(maxsplit=1) for _, line in lines(name))
        return [(key, "".join(rest).strip()) for key, *rest in split]

    recordings = pairs(KALDI_LIST)
    columns = {"text": "text", "speaker": "utt2spk", "language": "utt2lang"}
    known = {name: dict(pairs(file)) for name, file in columns.items()}
    paths = dict(recordings)
    wishes: list[WishedClip] = []
    faults: list[str] = []
    for number, line in lines("segments"):
        try:
            key, recording, span = _segment(line)
        except UsageError as error:
            faults.append(f"line {number}: {error}")
            continue
        wishes.append(_kaldi_wish(key, recording, paths.get(recording, ""), span, known))
    refuse_lines(join(folder, "segments"), faults)
    # Two lines with one key are two clips.
    wishes = wishes or [_kaldi_wish(key, key, path, None, known) for key, path in recordings]
    clips = find_clips(wishes, join(folder, KALDI_LIST), look_up)
    return cut_into_lists(clips, join(folder, ""), mirror, clips_per_list)


def _segment(line: str) -> tuple[str, str, Span]:
    fields = line.split()
    # Kaldi's own readers take a channel as a fifth field; all channels are read here.
    if len(fields) not in (4, 5):
        raise UsageError(
            f"`{line.strip()[:_MOST_SHOWN]}` has {len(fields)} fields; expected a key, a "
            "recording, a start and an end"
        )
    times = {"start": fields[2], "end": fields[3]}
    start, end = seconds_in(times, "start"), seconds_in(times, "end")
    # The end -1 stands for the end of the recording.
    return fields[0], fields[1], span_between(start, None if end == -1 else end)


def _kaldi_wish(
    key: str,
    recording: str,
    path: str,
    span: Span | None,
    known: Mapping[str, Mapping[str, str]],
) -> WishedClip:
    fields = {name: table[key] for name, table in known.items() if key in table}
    fault = "" if path else f"`{KALDI_LIST}` has no recording `{recording}`"
    if path.endswith("|"):
        fault = f"`{KALDI_LIST}` has a command in place of a path, and no command is run"
    return WishedClip(path, key, span, fields, fault)
