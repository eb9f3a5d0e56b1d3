"""Codes as a `torch.utils.data.IterableDataset`, of which each loader worker reads other parts."""

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import IterableDataset, get_worker_info

from pipeline.read.dataset import CodesDataset, Position, StreamedClip

Sample = dict[str, Any]


class TorchCodes(IterableDataset[Sample]):
    """Yields dicts of `key`, `codes` (`[K, T]`, int16 or int32), the columns, `stream` and `index`.

    Call `set_epoch` before every epoch, or each has the order of the one before. With a position,
    only the clips that are left of its epoch come, until `set_epoch` begins another.

    >>> from torch.utils.data import DataLoader
    >>> dataset = xytok.TorchCodes(xytok.open_dataset("codes", shuffle_buffer=1000, seed=1))
    >>> dataset.set_epoch(0)
    >>> samples = list(DataLoader(dataset, batch_size=None, num_workers=1))
    >>> len(samples), samples[0]["codes"].dtype
    (10, torch.int16)

    To go on in the middle of an epoch, note what was trained on, and save `position.to_dict()`:

    >>> position = xytok.Position(epoch=0)
    >>> for sample in samples[:4]:
    ...     position.see([sample["stream"]], [sample["index"]])
    >>> rest = xytok.TorchCodes(dataset.dataset, position)
    >>> len(list(DataLoader(rest, batch_size=None, num_workers=1)))
    6
    """

    def __init__(self, dataset: CodesDataset, position: Position | None = None) -> None:
        super().__init__()
        self.dataset = dataset
        self.position = dataset.claim(position or Position())
        # The epoch, and how often one was set; in shared memory for workers that outlive epochs.
        self._epoch = torch.tensor([self.position.epoch, 0])
        self._epoch.share_memory_()  # type: ignore[no-untyped-call]

    def set_epoch(self, epoch: int) -> None:
        """Begin another epoch: the clips come in another order, and all of them."""
        self._epoch += torch.tensor([epoch - int(self._epoch[0]), 1])

    def __iter__(self) -> Iterator[Sample]:
        info = get_worker_info()
        worker, num_workers = (info.id, info.num_workers) if info else (0, 1)
        epoch, times_set = self._epoch.tolist()
        position = Position(epoch) if times_set else self.position
        for clip in self.dataset.stream(worker, num_workers, position):
            yield to_sample(clip)


def to_sample(clip: StreamedClip) -> Sample:
    """What a loader yields for a clip; its codes are a copy."""
    matrix = clip.row.codes
    shape = matrix.shape or ()
    kind = torch.int16 if matrix.itemsize == 2 else torch.int32
    codes = torch.frombuffer(bytearray(matrix), dtype=kind).reshape(shape)
    return {
        "key": clip.row.key,
        "codes": codes,
        **clip.row.columns,
        "stream": clip.stream,
        "index": clip.index,
    }
