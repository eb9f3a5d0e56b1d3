"""Training speech: the batch of a step depends on nothing but the step."""

import gzip
import io
import json
import pickle
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jobs.train_job import stored_shards
from pipeline.errors import StorageError
from pipeline.storage.client import Storage
from pipeline.storage.streams import ByteStream
from tests.support.places import SPEECH
from tests.support.s3_server import S3Server
from tests.support.shard_maker import audio
from tests.support.training_case import load_tiny
from xy_codec.errors import ConfigError
from xy_codec.training.shard_audio import SpeechShard, load_shard, local_shards
from xy_codec.training.speech_change import change_pitch
from xy_codec.training.speech_stream import Place, Pool, SpeechStream


def stream(folder: Path, place: Place | None = None, **overrides: Any) -> SpeechStream:
    recipe = load_tiny(folder, **overrides)
    return SpeechStream(recipe.speech, 16000, 1280, seed=3, place=place or Place())


def test_a_step_gives_the_same_batch_in_any_order(tmp_path: Path):
    forward, backward = stream(tmp_path), stream(tmp_path)
    ahead = [forward.batch(step).waves for step in range(4)]
    for step in reversed(range(4)):
        assert torch.equal(backward.batch(step).waves, ahead[step])
    assert not torch.equal(ahead[0], ahead[1])


def test_small_pools_go_through_all_shards_and_resume_inside_one(tmp_path: Path):
    options: dict[str, Any] = {"speech__pool_shards": 1, "speech__batches_per_pool": 2}
    straight, resumed = stream(tmp_path, **options), stream(tmp_path, **options)
    batches = [straight.batch(step).waves for step in range(8)]
    assert torch.equal(resumed.batch(5).waves, batches[5])
    pools = {number: set(straight._load(number).speakers) for number in range(4)}
    assert len(set().union(*pools.values())) > max(map(len, pools.values()))


def test_processes_hear_different_speech(tmp_path: Path):
    first = stream(tmp_path, Place(0, 2)).batch(0).waves
    second = stream(tmp_path, Place(1, 2)).batch(0).waves
    assert not torch.equal(first, second)


def test_the_cache_holds_what_decoding_gives(tmp_path: Path):
    shard = local_shards(load_tiny(tmp_path).speech.shards)[0]
    fresh = load_shard(shard, 16000)
    for _ in range(2):
        cached = load_shard(shard, 16000, str(tmp_path / "kept"))
        assert np.array_equal(cached.samples, fresh.samples)
        assert cached.speakers == fresh.speakers
    assert len(fresh) == 17


def test_another_pitch_is_another_speed():
    tone = np.sin(np.arange(16000) * 0.2).astype(np.float32)
    faster = change_pitch(tone, 1.25)
    assert len(faster) == 12800
    expected = np.sin(np.arange(12800) * 0.25)
    assert np.abs(faster[100:-100] - expected[100:-100]).max() < 0.02


def test_no_shard_is_an_error_that_shows_the_pattern(tmp_path: Path):
    with pytest.raises(ConfigError, match="nowhere"):
        local_shards(str(tmp_path / "nowhere" / "*.tar"))


def write_tar(path: Path, members: list[tuple[str, bytes]]) -> SpeechShard:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return local_shards(str(path))[0]


def test_the_cache_tells_shards_and_their_versions_apart(tmp_path: Path):
    cache = str(tmp_path / "kept")
    for number in range(2):
        clips = [("a.mp3", audio(0.5 + number)), ("a.txt", b"text %d" % number)]
        write_tar(tmp_path / f"emilia.0000{number}.tar", clips)
    shards = local_shards(str(tmp_path / "emilia.*.tar"))
    assert [load_shard(each, 16000, cache).texts for each in shards] == [("text 0",), ("text 1",)]
    assert len(load_shard(shards[0], 24000, cache).samples) > len(
        load_shard(shards[0], 16000, cache).samples
    )
    path = Path(shards[0].url)
    size = path.stat().st_size
    changed = write_tar(path, [("a.mp3", audio(0.5)), ("a.txt", b"other!")])
    assert path.stat().st_size == size
    assert load_shard(changed, 16000, cache).texts == ("other!",)


def test_any_shard_the_main_job_reads_is_one_to_train_on(tmp_path: Path):
    sound = audio(0.5)
    note = json.dumps({"text": "from JSON", "speaker": "S"}).encode()
    members = [
        ("d/a.json", note), ("d/a.txt", b"not this"), ("d/a.MP3", sound),
        ("b.mp3", sound), ("c.mp3", sound), ("c.json", b"[1]"), ("e.mp3", b"no audio"),
        ("b.txt", b"late text"), ("c.txt", b"c"), ("f.json", b"{broken"),
    ]  # fmt: skip
    shard = load_shard(write_tar(tmp_path / "x.tar", members), 16000)
    assert shard.speakers == ("S", "b", "c")
    assert shard.texts == ("from JSON", "late text", "c")


def test_a_damaged_shard_is_told_and_a_pool_without_clips_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "empty.tar").write_bytes(b"")
    (empty,) = local_shards(str(tmp_path / "empty.tar"))
    assert len(load_shard(empty, 16000)) == 0
    assert "empty.tar` is damaged" in caplog.text
    with pytest.raises(ConfigError, match="No shard of the pool holds a clip"):
        Pool([load_shard(empty, 16000)], balance=False)


@pytest.mark.parametrize("damage", ["header", "cut", "gzip"])
def test_a_shard_damaged_in_the_middle_is_named_and_read_up_to_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
):
    path = tmp_path / "x.tar"
    shard = write_tar(path, [(f"{n}.mp3", audio(1.0, seed=n)) for n in range(8)])
    content = path.read_bytes()
    with tarfile.open(path) as tar:
        middle = tar.getmembers()[4].offset
    if damage == "gzip":
        path = path.with_suffix(".tar.gz")
        path.write_bytes(gzip.compress(content, 0))
        (shard,) = local_shards(str(path))
    whole = load_shard(shard, 16000)
    assert (len(whole), caplog.text) == (8, "")
    if damage == "header":
        path.write_bytes(content[:middle] + b"?" * 512 + content[middle + 512 :])
    else:
        path.write_bytes(path.read_bytes()[: middle + 600])
    read = load_shard(shard, 16000)
    assert read.speakers == whole.speakers[:4]
    assert np.array_equal(read.samples, whole.samples[: whole.bounds[4]])
    assert f"{path.name}` is damaged" in caplog.text


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_nothing_in_a_shard_is_unpickled(tmp_path: Path):
    sprung = tmp_path / "sprung"
    members = [("a.mp3", audio(0.5)), ("a.pkl", pickle.dumps(Trap(sprung)))]
    assert len(load_shard(write_tar(tmp_path / "x.tar", members), 16000)) == 1
    assert not sprung.exists()
    pickle.loads(members[1][1])
    assert sprung.exists()


def test_a_bucket_and_a_folder_give_the_same_batches(
    tmp_path: Path, s3: S3Server, monkeypatch: pytest.MonkeyPatch
):
    for name, value in s3.environment().items():
        monkeypatch.setenv(name, value)
    storage = Storage()
    storage.filesystem("s3://speech")[0].mkdir("speech")
    for path in SPEECH.glob("Emilia/*/*.tar"):
        content, name = path.read_bytes(), path.name
        if name.startswith("FR"):
            content, name = gzip.compress(content), f"{name}.gz"
        storage.write_finished(f"s3://speech/{path.parent.name}/{name}", content)
    here = stream(tmp_path)
    there = SpeechStream(
        load_tiny(tmp_path, speech__shards="s3://speech/*/*.tar*").speech,
        16000, 1280, seed=3, place=Place(), list_shards=stored_shards,
    )  # fmt: skip
    assert len(there.shards) == len(here.shards) == 4
    for step in range(4):
        assert torch.equal(there.batch(step).waves, here.batch(step).waves)
    assert there.batch(0).texts == here.batch(0).texts


def test_storage_that_fails_ends_training_and_blames_no_shard(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    shard = write_tar(tmp_path / "x.tar", [(f"{n}.mp3", audio(1.0, seed=n)) for n in range(8)])
    content = Path(shard.url).read_bytes()

    def blocks() -> Iterator[bytes]:
        yield content[: len(content) // 2]
        raise StorageError("reading `x.tar` failed 6 times; check the network")

    failing = replace(shard, open=lambda: ByteStream(blocks(), shard.url))
    with pytest.raises(StorageError, match="check the network"):
        load_shard(failing, 16000)
    assert "damaged" not in caplog.text
