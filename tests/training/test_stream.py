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

from pipeline.errors import StorageError
from pipeline.storage.client import Storage
from pipeline.storage.streams import ByteStream
from pipeline.training.speech_shards import stored_shards
from tests.support.places import SPEECH
from tests.support.s3_server import S3Server
from tests.support.shard_maker import audio
from tests.support.training_case import load_tiny
from xy_codec.errors import ConfigError
from xy_codec.training.drawn_speech import DrawnSpeech
from xy_codec.training.ranks import Place
from xy_codec.training.shard_audio import SpeechShard, load_shard, local_shards
from xy_codec.training.speech_batches import SpeechBatches
from xy_codec.training.speech_change import change_pitch
from xy_codec.training.streamed_speech import StreamedSpeech


def speech(folder: Path, place: Place | None = None, **overrides: Any) -> SpeechBatches:
    recipe = load_tiny(folder, **overrides)
    return SpeechBatches(recipe.speech, 16000, 1280, seed=3, place=place or Place())


def heard(speech: SpeechBatches, steps: range) -> list[torch.Tensor]:
    """The waves of steps, each step's clips in their order."""
    found = []
    for step in steps:
        batches = speech.next(step)
        numbers = [number for batch in batches for number in batch.numbers]
        waves = torch.cat([batch.waves for batch in batches])
        found.append(waves[torch.tensor(numbers).argsort()])
    speech.close()
    return found


def to_samples(wave: torch.Tensor) -> bytes:
    return np.round(wave.numpy() * 32767).astype(np.int16).tobytes()


def contains(samples: np.ndarray[Any, np.dtype[np.int16]], part: bytes) -> bool:
    return part in samples.tobytes()


def streamed(**more: Any) -> dict[str, Any]:
    """Options under which a stream goes through several shards in a few steps."""
    options = {"read": "stream", "cache": "", "streams": 2, "shuffle_clips": 4, "batch_clips": 6}
    return {f"speech__{name}": value for name, value in {**options, **more}.items()}


def test_a_draw_depends_on_nothing_but_the_step(tmp_path: Path):
    forward, backward = speech(tmp_path), speech(tmp_path)
    ahead = heard(forward, range(4))
    for step in reversed(range(4)):
        assert torch.equal(backward.next(step)[0].waves, ahead[step])
    backward.close()
    assert not torch.equal(ahead[0], ahead[1])


@pytest.mark.parametrize("options", [{"speech__batch_clips": 6}, streamed()])
def test_processes_share_the_batches_of_one(tmp_path: Path, options: dict[str, Any]):
    options = options | {"speech__streams": 6}
    alone = heard(speech(tmp_path, **options), range(3))
    for world in (2, 3):
        shares = [
            heard(speech(tmp_path, Place(r, world), **options), range(3)) for r in range(world)
        ]
        for step, whole in enumerate(alone):
            for rank in range(world):
                assert torch.equal(shares[rank][step], whole[rank::world])


@pytest.mark.parametrize("options", [{"speech__read": "draw"}, streamed()])
def test_pieces_of_a_step_have_one_length_on_all_processes(tmp_path: Path, options: dict[str, Any]):
    options = options | {"speech__batch_clips": 6, "speech__crop_shares": [0.25, 0.5, 1.0]}
    alone = heard(speech(tmp_path, **options), range(8))
    halves = [heard(speech(tmp_path, Place(r, 2), **options), range(8)) for r in range(2)]
    for step, whole in enumerate(alone):
        for rank in range(2):
            assert torch.equal(halves[rank][step], whole[rank::2])
    # 0.64 s are 8 frames of 1,280 samples.
    assert {whole.shape[1] for whole in alone} == {2 * 1280, 4 * 1280, 8 * 1280}


def test_clips_of_one_speaker_fill_a_piece_that_is_longer(tmp_path: Path):
    options: dict[str, Any] = {
        "speech__crop_seconds": 20.48,
        "speech__pitches": [1.0],
        "speech__gain_db": [0, 0],
    }
    options |= {"speech__filter_chance": 0.0, "speech__join": True}
    made = speech(tmp_path, **options)
    (batch,) = made.next(0)
    made.close()
    assert batch.lengths.tolist() == [20.48 * 16000] * 2
    config = load_tiny(tmp_path, **options).speech
    drawn = DrawnSpeech(local_shards(config.shards), config, 16000)
    for piece in batch.waves:
        # Every stretch of it is one of the clips of a single speaker.
        start = to_samples(piece[:400])
        speakers = {
            speaker
            for speaker, clips in drawn.clips.items()
            if any(contains(audio.clip(number).samples, start) for audio, number in clips)
        }
        (speaker,) = speakers
        end = to_samples(piece[-400:])
        clips = [audio.clip(number).samples for audio, number in drawn.clips[speaker]]
        assert max(map(len, clips)) < len(piece)
        assert any(contains(samples, end) for samples in clips)


def test_a_stream_goes_on_where_it_was(tmp_path: Path):
    straight = speech(tmp_path, **streamed())
    before, positions = [], []
    for step in range(9):
        positions.append(straight.position)
        before += [straight.next(step)[0].waves]
    straight.close()
    for step in (1, 4, 8):
        resumed = speech(tmp_path, **streamed())
        resumed.restore(positions[step])
        assert torch.equal(resumed.next(step)[0].waves, before[step])
        resumed.close()


def test_a_stream_gives_every_clip_once_an_epoch(tmp_path: Path):
    shards = local_shards(load_tiny(tmp_path).speech.shards)
    config = load_tiny(tmp_path, **streamed(streams=1, batch_clips=1)).speech
    texts = sorted(text for shard in shards for text in load_shard(shard, 16000).texts)
    stream = StreamedSpeech(shards, config, 16000, seed=3)
    random = np.random.default_rng(0)
    first, second = ([stream.clip(0, 1, random).text for _ in texts] for _ in range(2))
    assert sorted(first) == sorted(second) == texts
    assert first != second


def test_processes_that_cannot_share_evenly_are_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"4 processes.*`speech.streams` 6.*1, 2, 3, 6"):
        speech(tmp_path, Place(0, 4), **streamed(streams=6))
    with pytest.raises(ConfigError, match=r"`speech.streams` is 4.*divisor"):
        speech(tmp_path, **streamed(streams=4))


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


def test_a_damaged_shard_is_told_and_speech_without_clips_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "empty.tar").write_bytes(b"")
    (empty,) = local_shards(str(tmp_path / "empty.tar"))
    assert len(load_shard(empty, 16000)) == 0
    assert "empty.tar` is damaged" in caplog.text
    config = load_tiny(tmp_path).speech
    with pytest.raises(ConfigError, match="No shard holds a clip"):
        DrawnSpeech([empty], config, 16000)
    with pytest.raises(ConfigError, match="No shard of 1 holds a clip"):
        StreamedSpeech([empty], config, 16000, 0).clip(0, 1, np.random.default_rng(0))


def test_clips_that_share_a_key_by_their_dots_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    clips = [(f"take.{number}.mp3", audio(1.0, seed=number)) for number in range(3)]
    assert len(load_shard(write_tar(tmp_path / "a.tar", clips), 16000)) == 1
    (told,) = caplog.messages
    assert "a.tar` has several audio files of one key" in told
    assert len(load_shard(write_tar(tmp_path / "b.tar", clips[:1]), 16000)) == 1
    assert caplog.messages == [told]


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
    options = streamed(batch_clips=2, crop_seconds=8)
    here = speech(tmp_path, **options)
    there = SpeechBatches(
        load_tiny(tmp_path, **options, speech__shards="s3://speech/*/*.tar*").speech,
        16000, 1280, seed=3, place=Place(), list_shards=stored_shards,
    )  # fmt: skip
    for step in range(4):
        (ours,), (theirs,) = here.next(step), there.next(step)
        assert torch.equal(theirs.waves, ours.waves)
        assert theirs.texts == ours.texts
        assert any(ours.texts)
    here.close()
    there.close()


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
    stream = StreamedSpeech([failing], load_tiny(tmp_path).speech, 16000, 0)
    with pytest.raises(StorageError, match="check the network"):
        stream.clip(0, 1, np.random.default_rng(0))
    assert "damaged" not in caplog.text
