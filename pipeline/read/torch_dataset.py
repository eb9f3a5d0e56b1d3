"""Codes as a `torch.utils.data.IterableDataset`; each loader worker reads other windows."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import IterableDataset, get_worker_info

from pipeline.read.dataset import CodesDataset, Position, StreamedClips
from pipeline.read.delay import Delay, delay_codes
from pipeline.read.part_reader import CodesRow

Sample = dict[str, Any]
# The entry after those of a codebook of 1,024, which most trainers take for gaps and padding.
DEFAULT_FILL = 1024


class TorchCodes(IterableDataset[Sample]):
    """Yields dicts of `key`, `codes` (`[K, T]`, int16 or int32), the columns, `window` and `index`.

    Where the dataset makes batches (`batch_frames`), every value but `window` and `index` is a list
    or a tensor over its clips: `codes` is `[B, K, T]`, padded with `fill`, beside `num_frames`.

    Call `set_epoch` before every epoch, or each has the order of the one before. With a position,
    only what is left of its epoch comes, until `set_epoch` begins another.

    Args:
        delay: `moss`, `musicgen`, `higgs`, or the delay of each codebook (`delay_codes`).
        fill: what gaps and padding hold.

    >>> from torch.utils.data import DataLoader
    >>> dataset = xytok.TorchCodes(xytok.open_dataset("codes", shuffle_buffer=1000, seed=1))
    >>> dataset.set_epoch(0)
    >>> samples = list(DataLoader(dataset, batch_size=None, num_workers=1))
    >>> len(samples), samples[0]["codes"].dtype
    (10, torch.int16)

    To go on in the middle of an epoch, note what was trained on, and save `position.to_dict()`:

    >>> position = xytok.Position(epoch=0)
    >>> for sample in samples[:4]:
    ...     position.see(sample["window"], sample["index"])
    >>> rest = xytok.TorchCodes(dataset.dataset, position)
    >>> len(list(DataLoader(rest, batch_size=None, num_workers=2)))
    6
    """

    def __init__(
        self,
        dataset: CodesDataset,
        position: Position | None = None,
        *,
        delay: Delay = None,
        fill: int = DEFAULT_FILL,
    ) -> None:
        super().__init__()
        self.dataset = dataset
        self.position = dataset.claim(position or Position())
        self.delay = delay
        self.fill = fill
        # The epoch, and how often one was set; in shared memory for workers that outlive epochs.
        self._epoch = torch.tensor([self.position.epoch, 0])
        self._epoch.share_memory_()  # type: ignore[no-untyped-call]
        # Made here, once: loader workers get it with the dataset.
        _ = dataset.plan

    def set_epoch(self, epoch: int) -> None:
        """Begin another epoch: the clips come in another order, and all of them."""
        self._epoch += torch.tensor([epoch - int(self._epoch[0]), 1])

    def __iter__(self) -> Iterator[Sample]:
        info = get_worker_info()
        worker, num_workers = (info.id, info.num_workers) if info else (0, 1)
        epoch, times_set = self._epoch.tolist()
        position = Position(epoch) if times_set else self.position
        for clips in self.dataset.stream(worker, num_workers, position):
            place = {"window": clips.window, "index": clips.index}
            if self.dataset.batch_frames is None:
                yield {**self._sample(clips.rows[0]), **place}
            else:
                yield {**self._batch(clips), **place}

    def _sample(self, row: CodesRow) -> Sample:
        return {"key": row.key, "codes": self._codes(row), **row.columns}

    def _codes(self, row: CodesRow) -> torch.Tensor:
        """The codes of a clip, as a copy."""
        kind = torch.int16 if row.codes.itemsize == 2 else torch.int32
        codes = torch.frombuffer(bytearray(row.codes), dtype=kind).reshape(row.codes.shape or ())
        return delay_codes(codes, self.delay, self.fill)

    def _batch(self, clips: StreamedClips) -> Sample:
        samples = [self._sample(row) for row in clips.rows]
        batch: Sample = {name: [sample[name] for sample in samples] for name in samples[0]}
        return batch | pad_codes(batch["codes"], self.fill)


def pad_codes(codes: Sequence[torch.Tensor], fill: int = DEFAULT_FILL) -> Sample:
    """The codes of several clips as one tensor `[B, K, T]`, and the frames of each.

    >>> import torch
    >>> xytok.pad_codes([torch.tensor([[1, 2]]), torch.tensor([[3]])], fill=9)["codes"].tolist()
    [[[1, 2]], [[3, 9]]]
    """
    num_frames = torch.tensor([each.shape[1] for each in codes])
    padded = codes[0].new_full((len(codes), codes[0].shape[0], int(num_frames.max())), fill)
    for row, each in zip(padded, codes, strict=True):
        row[:, : each.shape[1]] = each
    return {"codes": padded, "num_frames": num_frames}
