"""The end-to-end speed: tars to Parquet with the real codec, compared with the codec alone.

Both run in turn over the same clips.
"""

import tarfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from pipeline.bench.clips import MEAN_SECONDS, waveforms, write_shards
from pipeline.bench.timing import Clock, interleave, paired_ratio, synchronised, time_once
from pipeline.bench.trial_run import TrialRun, run_trial
from pipeline.corpus.decode import ClipBounds, DecodedClip, decode_clip
from pipeline.worker.settings import Tuning
from xy_codec.contract import Codec, Waveform

_FEWEST_CLIPS = 4
# What one core reads and decodes: a faster codec waits for clips.
_HOST_CLIPS_PER_SECOND = 150


@dataclass(frozen=True, slots=True)
class EndToEndFigures:
    """Tar to Parquet with the real codec, beside the codec alone on the same clips."""

    times_realtime: float
    pure_encode_times_realtime: float
    share_of_pure_encode: float
    encoder_busy: float  # share of the wall time, including gaps between shards
    start_up_seconds: float


def measure_end_to_end(
    codec: Codec,
    folder: Path,
    tuning: Tuning,
    *,
    num_shards: int = 3,
    run_seconds: float = 6.0,
    repetitions: int = 3,
    start_up_seconds: float = 0.0,
    clock: Clock = time.perf_counter,
) -> EndToEndFigures:
    """Run shards through a worker and their clips through the codec alone, in turn."""
    clips_per_shard = max(round(_clips_in(codec, run_seconds) / num_shards), _FEWEST_CLIPS)
    shards = write_shards(folder / "shards", num_shards, clips_per_shard)
    clips = decoded_clips(shards, codec.shape.input_rate_hz)
    audio_seconds = sum(map(len, clips)) / codec.shape.input_rate_hz
    trials: list[TrialRun] = []

    def whole() -> None:
        trials.append(run_trial(shards, folder / f"out{len(trials)}", codec, tuning))

    timings = interleave(
        {
            "pure": synchronised(lambda: encode_all(codec, clips)),
            "whole": whole,
        },
        repetitions,
        warm_up=False,
        clock=clock,
    )
    return EndToEndFigures(
        times_realtime=audio_seconds / timings["whole"].median,
        pure_encode_times_realtime=audio_seconds / timings["pure"].median,
        share_of_pure_encode=paired_ratio(timings["pure"], timings["whole"]).median,
        encoder_busy=median(trial.busy_share("encode") for trial in trials),
        start_up_seconds=start_up_seconds,
    )


def encode_all(codec: Codec, clips: Sequence[Waveform]) -> None:
    """Encode the clips as one stream, as a worker does, and drop the codes."""
    for _ in codec.encode_stream(enumerate(clips)):
        pass


def decoded_clips(shards: Sequence[Path], rate_hz: int) -> list[Waveform]:
    """The waveforms of all clips; clips of equal bytes share one array."""
    seen: dict[bytes, Waveform] = {}
    clips = []
    for path in shards:
        with tarfile.open(path) as tar:
            for member in tar:
                payload = tar.extractfile(member)
                if payload is None or not member.name.endswith(".mp3"):
                    continue
                content = payload.read()
                if content not in seen:
                    decoded = decode_clip(content, rate_hz, ClipBounds())
                    if isinstance(decoded, DecodedClip):
                        seen[content] = decoded.waveform
                clips.append(seen[content])
    return clips


def _clips_in(codec: Codec, run_seconds: float) -> float:
    (clip,) = waveforms([MEAN_SECONDS], codec.shape.input_rate_hz)
    encode_all(codec, [clip])
    one = time_once(synchronised(lambda: encode_all(codec, [clip] * 4))) / 4
    return run_seconds * min(1 / one, _HOST_CLIPS_PER_SECOND)
