"""The log of a run: a CSV of losses, one of scores, and TensorBoard where it is installed."""

import csv
from pathlib import Path
from typing import Any

import numpy as np

from xy_codec.training.evaluation import Evaluation
from xy_codec.xy.config import CodecConfig
from xy_codec.xy.mel import LogMel


class TrainingLog:
    """Appends to `losses.csv`, `scores.csv` and `tensorboard/` of a run's folder."""

    def __init__(self, folder: Path, config: CodecConfig) -> None:
        self.folder = folder
        self.rate_hz = config.output_sample_rate
        self.mel = LogMel(config.feature_extractor_kwargs)
        self._board = _board(folder)

    def forget_after(self, step: int) -> None:
        """Drop the rows of steps that a resumed run takes again."""
        for path in self.folder.glob("*.csv"):
            rows = path.read_text(encoding="utf-8").splitlines(keepends=True)
            # A process that was killed may have left the last row unfinished.
            whole = [row for row in rows[1:] if row.endswith("\n")]
            kept = [row for row in whole if int(row.partition(",")[0]) <= step]
            path.write_text("".join([*rows[:1], *kept]), encoding="utf-8")

    def losses(self, step: int, values: dict[str, float]) -> None:
        """Record the losses of a step, exactly: `repr` of the floats."""
        self._append("losses.csv", {"step": step, **values})
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(f"train/{name}", value, step)

    def evaluation(self, step: int, hours: float, found: Evaluation) -> None:
        """Record scores and usage; on TensorBoard also audio and spectrograms of a few clips."""
        usage = {f"usage_{k}": value for k, value in enumerate(found.usage)}
        row = {"step": step, "audio_hours": hours, **found.scores, **usage}
        self._append("scores.csv", row)
        if self._board is None:
            return
        for name, value in {**found.scores, **usage}.items():
            self._board.add_scalar(f"held_out/{name}", value, step)
        for number, (clip, wave) in enumerate(found.samples):
            for kind, audio in (("original", clip.wave), ("reconstruction", wave)):
                tag = f"{number}-{clip.speaker}/{kind}"
                self._board.add_audio(tag, audio.clip(-1, 1)[None], step, self.rate_hz)
                self._board.add_image(tag, self._picture(audio), step)
        self._board.flush()

    def close(self) -> None:
        """Write out what is still in memory."""
        if self._board is not None:
            self._board.close()

    def _picture(self, wave: np.ndarray[Any, np.dtype[np.float32]]) -> Any:
        import torch

        samples = torch.from_numpy(wave)[None]
        mel = self.mel(samples)[0].T.flip(0)
        return ((mel + 1.5) / 3.0).clamp(0, 1)[None]

    def _append(self, name: str, row: dict[str, Any]) -> None:
        path = self.folder / name
        is_new = not path.exists()
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(row), lineterminator="\n")
            if is_new:
                writer.writeheader()
            writer.writerow(row)


def _board(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder / "tensorboard"))
