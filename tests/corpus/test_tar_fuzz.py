"""Randomly damaged tars: no crash, no hang, accounts balanced, nothing whole lost."""

import random
import tarfile
from pathlib import Path

import pytest

from pipeline.corpus.listing import list_shards
from pipeline.corpus.rules import ReadRules
from pipeline.corpus.tar_reader import TarReader
from pipeline.output.manifest import Manifest
from pipeline.storage.client import Storage
from pipeline.storage.streams import ByteStream
from pipeline.worker.settings import Tuning
from pipeline.worker.worker import ShardWorker
from tests.support.inline_run import worker_settings
from tests.support.shard_maker import (
    Member,
    audio,
    emilia_json,
    member_offsets,
    tar_bytes,
    write_shard,
)
from xy_codec.fake import FakeCodec

_FORMS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)


def small_members(chance: random.Random) -> list[Member]:
    members: list[Member] = []
    for n in range(chance.randint(1, 6)):
        key = f"k{n}" if chance.random() < 0.9 else "d/" * 45 + f"k{n}"
        kind = chance.choice(["mp3", "mp3", "flac", "wav", "ogg"])
        sound = audio(chance.choice([0.05, 0.2, 0.4]), kind=kind, seed=chance.randrange(4))
        both = [(f"{key}.json", emilia_json(key)), (f"{key}.{kind}", sound)]
        members += both if chance.random() < 0.7 else both[::-1]
    return members


def damage(content: bytearray, chance: random.Random) -> None:
    """One of the things that happen to files."""
    at, length = chance.randrange(len(content)), chance.randint(1, 3000)
    match chance.randrange(7):
        case 0:
            del content[at:]
        case 1:
            content[at : at + length] = chance.randbytes(length)
        case 2:
            content[at : at + length] = bytes(length)
        case 3:
            del content[at : at + length]
        case 4:
            content[at:at] = chance.randbytes(length)
        case 5:
            content[at] ^= 1 << chance.randrange(8)
        case 6:
            source = chance.randrange(len(content))
            content[at:at] = content[source : source + length]


def damaged_tars(folder: Path, count: int, seed: int) -> None:
    for n in range(count):
        chance = random.Random(f"{seed}-{n}")
        content = bytearray(tar_bytes(small_members(chance), form=chance.choice(_FORMS)))
        for _ in range(chance.randint(1, 4)):
            if content:
                damage(content, chance)
        write_shard(folder / f"{n:05d}.tar", bytes(content))


def manifests_of(folder: Path, output: Path) -> list[Manifest]:
    shards = list_shards([str(folder)], Storage(), root=str(folder))
    worker = ShardWorker(worker_settings(output, ReadRules(), Tuning(2)), FakeCodec())
    outcomes = list(worker.run(iter(shards)))
    assert len(outcomes) == len(shards)
    assert [outcome.fault for outcome in outcomes if outcome.fault] == []
    return [outcome.manifest for outcome in outcomes if outcome.manifest]


def fuzz(folder: Path, count: int, seed: int) -> None:
    damaged_tars(folder / "in", count, seed)
    manifests = manifests_of(folder / "in", folder / "out")
    assert len(manifests) == count
    for manifest in manifests:
        manifest.check_balance()
    # Most damage is seen, and most clips survive it.
    assert sum(m.is_damaged for m in manifests) > count / 4
    assert sum(m.codes for m in manifests) > count


def test_every_member_that_is_still_whole_is_read(tmp_path: Path) -> None:
    for n in range(400):
        chance = random.Random(f"whole-{n}")
        members = small_members(chance)
        content = bytearray(tar_bytes(members, form=tarfile.USTAR_FORMAT))
        blocks = {}
        for name, (header, payload) in member_offsets(bytes(content)).items():
            size = len(dict(members)[name])
            blocks[name] = (bytes(content[header : payload + size]), size)
        for _ in range(chance.randint(1, 3)):
            damage(content, chance)
        stream = ByteStream(iter([bytes(content)]))
        reader = TarReader(stream, size_bytes=len(content), max_member_bytes=1 << 20)
        seen = {(m.name, m.payload) for m in reader if not m.is_cut}
        for name, (block, size) in blocks.items():
            if block in content:
                assert (name, block[len(block) - size :]) in seen, (n, name)


def test_200_damaged_tars_are_read_to_their_ends(tmp_path: Path) -> None:
    fuzz(tmp_path, 200, seed=1)


@pytest.mark.slow
def test_1000_damaged_tars_are_read_to_their_ends(tmp_path: Path) -> None:
    fuzz(tmp_path, 1000, seed=2)
