"""Tar to Parquet with Ray Data, as its documentation suggests: `read_webdataset` → `map_batches`.

Two forms. `lent`: it gets our decoder, resampler and Arrow conversion, so that what differs is how
clips travel, through data frames and the object store or inside one worker. `plain`: soundfile and
torchaudio as a user calls them.
"""

import io
import json
import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from tests.benchmarks.spent_time import family_cpu_seconds
from xy_codec.fake import FAKES


@dataclass(frozen=True, slots=True)
class RayDataRun:
    """What one execution took, without the start of its actors."""

    wall_seconds: float
    cpu_seconds: float


class EncodeBatch:
    """The actor that users write: decode every clip of a batch, encode the batch."""

    def __init__(self, source: str, form: str, threads: int, notes: str) -> None:
        import torch

        from xy_codec import load_codec

        torch.set_num_threads(threads)
        self._codec = load_codec(source)
        self._decode = {"lent": decode_lent, "plain": decode_plain}[form]
        self._to_arrow = {"lent": arrow_lent, "plain": arrow_plain}[form]
        self._note = Path(notes) / f"{os.getpid()}.json"
        self._began: tuple[float, float] | None = None

    def __call__(self, batch: Any) -> pa.Table:
        """A batch as pandas gives it, with bytes in `mp3` and a dictionary in `json`."""
        self._began = self._began or (time.time(), time.process_time())
        rate_hz = self._codec.shape.input_rate_hz
        waveforms = [self._decode(content, rate_hz) for content in batch.mp3]
        codes = self._codec.encode(waveforms)
        # Actors end with their dataset and take their processor time with them.
        self._note.write_text(json.dumps([self._began[0], time.process_time() - self._began[1]]))
        return pa.table(
            {
                "key": list(batch["__key__"]),
                "codes": self._to_arrow(codes),
                "text": [fields["text"] for fields in batch["json"]],
                "speaker": [fields["speaker"] for fields in batch["json"]],
                "language": [fields["language"] for fields in batch["json"]],
                "dnsmos": [fields["dnsmos"] for fields in batch["json"]],
                "duration": [fields["duration"] for fields in batch["json"]],
            }
        )


def decode_lent(content: bytes, rate_hz: int) -> Any:
    from pipeline.corpus.decode import ClipBounds, DecodedClip, decode_clip

    decoded = decode_clip(content, rate_hz, ClipBounds())
    assert isinstance(decoded, DecodedClip), decoded
    return decoded.waveform


def decode_plain(content: bytes, rate_hz: int) -> Any:
    import soundfile
    import torch

    from xy_codec.torchaudio_import import import_torchaudio

    samples, source_hz = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
    mono = torch.from_numpy(samples).mean(dim=1)
    return import_torchaudio().functional.resample(mono, source_hz, rate_hz).numpy()


def arrow_lent(codes: Sequence[Any]) -> Any:
    from pipeline.output.part import codes_array

    return codes_array(codes, FAKES["fake"])


def arrow_plain(codes: Sequence[Any]) -> Any:
    return [matrix.tolist() for matrix in codes]


def start_ray(cores: int, folder: Path) -> None:
    """A private Ray with twice the slots, so that reading and encoding need not wait in turn."""
    import ray

    # Ray would run its workers at niceness 15, behind everything else on the machine.
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112  # Ray reads it in this case
    ray.init(
        address="local",
        num_cpus=2 * cores,
        include_dashboard=False,
        _temp_dir=str(folder),
        object_store_memory=1 << 30,
        log_to_driver=False,
        logging_level="error",
    )
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False


def run_ray_data(
    shards: Sequence[Path], output: Path, source: str, form: str, actors: int, threads: int
) -> RayDataRun:
    """Tokenize the shards; from the first batch to the end, actors' start not counted."""
    import ray

    notes = output / "notes"
    notes.mkdir(parents=True, exist_ok=True)
    before = family_cpu_seconds()
    dataset = ray.data.read_webdataset([str(path) for path in shards])
    encoded = dataset.map_batches(
        EncodeBatch,
        fn_constructor_args=(source, form, threads, str(notes)),
        batch_size=64,
        batch_format="pandas",
        compute=ray.data.ActorPoolStrategy(size=actors),
        num_cpus=1,
    )
    encoded.write_parquet(str(output / "parts"))
    finished = time.time()
    actors_said = {int(p.stem): json.loads(p.read_text()) for p in notes.glob("*.json")}
    return RayDataRun(
        wall_seconds=finished - min(began for began, _ in actors_said.values()),
        cpu_seconds=_others_cpu(before, set(actors_said))
        + sum(spent for _, spent in actors_said.values()),
    )


def _others_cpu(before: Mapping[int, float], actors: set[int]) -> float:
    """What Ray's other processes spent; those that began in between are left out."""
    after = family_cpu_seconds()
    known = set(before) & set(after) - actors
    return sum(after[pid] - before[pid] for pid in known)


def stop_ray() -> None:
    """End the private Ray."""
    import ray

    ray.shutdown()
