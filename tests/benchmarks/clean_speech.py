"""Scores of clean shards of real speech: `python tests/benchmarks/clean_speech.py FOLDER`.

FOLDER is what `xytok prepare-speech` left: its shards are cut into small ones of one reader each,
tokenized by `xy-nano` and measured as an audit measures. The scores of the sampled clips go to
`tests/golden/audit/speech_scores.csv`, with shard, language and speaker, so that simulated audits
draw real shards as whole clusters, and runs of real shards are judged again in seconds.
"""

import csv
import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from pipeline.audit.findings import METRIC_NAMES, ClipFinding
from pipeline.audit.sample.sampling import SamplePlan
from tests.support.audit_run import audit_run, make_run
from tests.support.places import GOLDEN
from tests.support.shard_maker import read_members, write_shard

TARGET = GOLDEN / "audit" / "speech_scores.csv"
CLIPS_A_SHARD, PER_SHARD, SHARDS_A_READER, LEAST_SECONDS = 20, 12, 3, 2.0
Member = tuple[str, bytes]


def reader_shards(tar: Path) -> Iterator[tuple[str, list[Member]]]:
    """Full shards of one reader each, the first few of every reader in a tar."""
    readers: dict[tuple[str, str], list[Member]] = defaultdict(list)
    members = read_members(tar)
    for name, content in members.items():
        if name.endswith(".json"):
            facts = json.loads(content)
            if facts["duration"] >= LEAST_SECONDS:
                clip = [(name, content), (facts["wav"], members[facts["wav"]])]
                readers[facts["language"], facts["speaker"]] += clip
    size = 2 * CLIPS_A_SHARD
    for (language, speaker), clips in sorted(readers.items()):
        for number in range(min(SHARDS_A_READER, len(clips) // size)):
            name = f"{language.upper()}/{speaker}-{number}.tar"
            yield name, clips[size * number : size * (number + 1)]


def measured(folder: Path) -> tuple[ClipFinding, ...]:
    """Every sampled clip; what was tokenized before is not tokenized again."""
    shards = folder / "clean_speech"
    for tar in sorted((folder / "shards").rglob("*.tar")):
        for name, members in reader_shards(tar):
            if not (shards / "speech" / name).exists():
                write_shard(shards / "speech" / name, members)
    run = make_run(folder / "clean_speech_run", str(shards), "xy-nano", root=str(shards))
    groups = ("sim", "stoi", "pesq", "acoustics")
    return audit_run(
        run,
        groups=groups,
        plan=SamplePlan(per_shard=PER_SHARD),
        reencode=False,
    ).clips


def write_scores(clips: tuple[ClipFinding, ...]) -> None:
    with TARGET.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("shard", "language", "speaker", *METRIC_NAMES))
        for clip in sorted(clips, key=lambda each: (each.shard, each.row)):
            values = (getattr(clip.scores, name) for name in METRIC_NAMES)
            told = ("" if value is None else f"{value:.5g}" for value in values)
            writer.writerow((clip.shard, clip.language, clip.speaker, *told))


if __name__ == "__main__":
    write_scores(measured(Path(sys.argv[1])))
