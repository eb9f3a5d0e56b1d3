"""The bundled shards are what their table and README say: Emilia's layout, real MP3 at 24 kHz."""

import csv
import io
import json
from collections import defaultdict

import pytest
import soundfile

from tests.support.places import SPEECH
from tests.support.shard_maker import read_members

SHARDS = sorted(path.relative_to(SPEECH).as_posix() for path in SPEECH.rglob("*.tar"))
EMILIA_FIELDS = {"id", "wav", "text", "duration", "speaker", "language", "dnsmos"}
YODAS_FIELDS = {"_id", "text", "duration", "speaker", "language", "dnsmos", "phone_count"}


def planned_clips() -> dict[str, dict[str, dict[str, str]]]:
    shards: dict[str, dict[str, dict[str, str]]] = defaultdict(dict)
    with (SPEECH / "clips.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            shards[row["shard"]][row["key"]] = row
    return shards


def test_both_corpora_have_a_shard_of_the_same_name():
    assert {"Emilia/EN/EN-B000000.tar", "Emilia-YODAS/EN/EN-B000000.tar"} <= set(SHARDS)


@pytest.mark.parametrize("shard", SHARDS)
def test_shard_holds_the_clips_of_its_table(shard):
    members = read_members(SPEECH / shard)
    planned = planned_clips()[shard]
    assert {name.rsplit(".", 1)[0] for name in members} == set(planned)
    fields = YODAS_FIELDS if shard.startswith("Emilia-YODAS") else EMILIA_FIELDS
    for key, row in planned.items():
        metadata = json.loads(members[f"{key}.json"])
        assert set(metadata) == fields
        assert metadata["text"] == row["text"]
        assert 1 < metadata["dnsmos"] < 5
        audio = soundfile.info(io.BytesIO(members[f"{key}.mp3"]))
        assert (audio.format, audio.samplerate, audio.channels) == ("MP3", 24_000, 1)
        # MP3 has whole frames of 576 samples and the coder's delay.
        assert 0 <= audio.frames / 24_000 - metadata["duration"] < 0.15


def test_readme_names_every_shard_and_its_clips():
    readme = (SPEECH / "README.md").read_text()
    for shard, clips in planned_clips().items():
        speakers = len({clip["speaker"] for clip in clips.values()})
        assert f"| `{shard}` | {len(clips)} | {speakers} |" in readme
