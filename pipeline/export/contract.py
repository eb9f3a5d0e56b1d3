"""What a format is: what it is told, what it is given, and what it writes.

A format turns samples into the files of one output shard. It does not choose or order samples,
touches no storage, and keeps nothing between two shards: what a list of all shards needs, a shard
leaves in its record (`Shard.facts`). Equal samples must give equal bytes.
"""

import io
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass as settings

from pipeline.errors import UsageError
from pipeline.output.manifest import WrittenFile
from pipeline.output.parquet_file import UnfinishedFile
from xy_codec.codes_shape import CodesShape

Codes = NDArray[np.integer[Any]]


@dataclass(frozen=True, slots=True)
class Reference:
    """Another clip of the same speaker, as a prompt: codes `[K, T]` and what is said in it."""

    codes: Codes
    text: str | None


@dataclass(frozen=True, slots=True)
class Sample:
    """One clip to be exported; `columns` are those that `--columns` names."""

    id: str
    codes: Codes
    duration: float
    text: str | None
    speaker: str | None
    language: str | None
    columns: Mapping[str, Any] = field(default_factory=dict)
    reference: Reference | None = None

    def further(self, own: Mapping[str, Any]) -> dict[str, Any]:
        """The further columns that are not among a format's own names."""
        return {name: value for name, value in self.columns.items() if name not in own}

    @property
    def reference_codes(self) -> Codes | None:
        """The codes of the reference, if there is one."""
        return self.reference.codes if self.reference else None


@settings(frozen=True, slots=True)
class FormatOptions:
    """What a format may be told; each names those that it understands in `Format.options`.

    Attributes:
        layout: store codes as `KT` (codebooks outside) or `TK` (frames outside).
        nemo: folders and speakers as NeMo's Magpie reads them.
        json_in_tar: put the metadata of a clip into the tar as well.
        template: how text and codes become one sequence of ids.
        base: the id of code 0 of the first codebook; default: the template's.
        tokenizer: the `tokenizer.json` of the model that is trained, a path or URL.
        language: write languages as `code` (en) or `name` (English).
        dataset_name: what the data is called where a format names its source.
    """

    layout: Literal["KT", "TK"] | None = None
    nemo: bool = False
    json_in_tar: bool = False
    template: Literal["codes", "orpheus", "vyvo", "llasa"] | None = None
    base: Annotated[int, Field(ge=0)] | None = None
    tokenizer: str | None = None
    language: Literal["code", "name"] | None = None
    dataset_name: str | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """What a format is told before it writes.

    Attributes:
        shape: of the codes that are exported, which may be fewer codebooks than the run has.
        identity: of the run in `run.json`.
        codec_source: what the run was told as `--codec`.
        columns: names and Arrow types of the further columns.
        with_reference: whether samples carry a reference where their speaker has another clip.
        tokenizer_json: the content of `options.tokenizer`.
    """

    shape: CodesShape
    identity: Mapping[str, Any]
    codec_source: str = ""
    options: FormatOptions = FormatOptions()
    columns: Mapping[str, Any] = field(default_factory=dict)
    with_reference: bool = False
    tokenizer_json: bytes | None = None

    @property
    def codec(self) -> Mapping[str, Any]:
        """The identity of the codec."""
        codec: Mapping[str, Any] = self.identity["codec"]
        return codec

    @property
    def frame_seconds(self) -> float:
        """How long a frame is."""
        return self.shape.samples_per_frame / self.shape.input_rate_hz


@dataclass(frozen=True, slots=True)
class Limits:
    """When an output shard is full; None where a format knows no such limit."""

    samples: int | None = 1000
    size_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Shard:
    """One finished output shard: its files below the split's folder, and what it says to others."""

    number: int
    samples: int
    seconds: float
    files: tuple[WrittenFile, ...]
    facts: Mapping[str, Any]


class ShardFiles:
    """The files of one output shard while it is written; nothing is visible before it is whole."""

    def __init__(self, number: int, split: str) -> None:
        self.number = number
        self.split = split
        self.opened: dict[str, UnfinishedFile] = {}
        self.facts: dict[str, Any] = {}
        self._stack = ExitStack()

    def open(self, path: str) -> UnfinishedFile:
        """A new file below the folder of the split."""
        self.opened[path] = self._stack.enter_context(UnfinishedFile())
        return self.opened[path]

    def close(self) -> None:
        """Free memory and disk."""
        self._stack.close()


class Format(ABC):
    """The files of one kind of trainer.

    Attributes:
        in_one_folder: whether the files of all splits lie in one folder, named by their split.
        options: the fields of `FormatOptions` that the format understands.
        has_ids: whether clips are known by their ids, so that no two may have the same.
        needs_text: whether a clip without text is left out; a template may decide it.
        takes_reference: whether a sample may carry a reference.
        keeps_rows: whether samples have every column of the parts, and texts as they are.
        ram_bytes_per_code: what a trainer that loads everything at its start holds for each code,
            in each process; 0 where it streams.
    """

    name: ClassVar[str]
    in_one_folder: bool = False
    options: ClassVar[tuple[str, ...]] = ()
    has_ids: ClassVar[bool] = False
    needs_text: bool = False
    takes_reference: ClassVar[bool] = False
    takes_columns: ClassVar[bool] = False
    keeps_rows: ClassVar[bool] = False
    ram_bytes_per_code: ClassVar[float] = 0.0

    def __init__(self, target: Target) -> None:
        self.target = target
        self.shape = target.shape
        self.check()

    def check(self) -> None:
        """Raise where the format cannot hold the codes of this codec, or lacks an option."""
        self.refuse_int32()

    def other_codec(self) -> str | None:
        """Why the trainer means another codec, though its files could hold these codes."""
        return None

    def check_destination(self, url: str) -> None:  # noqa: ARG002  most read from anywhere
        """Raise where the trainer could not read from such a place."""
        return

    @property
    def limits(self) -> Limits:
        """When a shard is full, unless the user says otherwise."""
        return Limits()

    @property
    @abstractmethod
    def layout(self) -> str:
        """For `export.json`: how codes lie in the files, e.g. `[T][K], no offset, no delay`."""

    @property
    def offsets(self) -> tuple[int, ...]:
        """What is added to the codes of each codebook."""
        return (0,) * self.shape.num_codebooks

    def sample_bytes(self, num_frames: int, text_bytes: int) -> int:
        """About how large a sample becomes; limits of size count with it."""
        return num_frames * self.shape.num_codebooks * self.shape.dtype.itemsize + text_bytes + 512

    @abstractmethod
    def write_shard(self, samples: Iterable[Sample], files: ShardFiles) -> None:
        """Write the files of one output shard."""

    def finish(  # most formats need no such file
        self,
        folder: str,  # noqa: ARG002
        shards: Sequence[Shard],  # noqa: ARG002
    ) -> Mapping[str, bytes]:
        """Small files that speak of all shards of a split, by path below the split's `folder`."""
        return {}

    def finish_all(  # nor such a one
        self,
        folders: Mapping[str, str],  # noqa: ARG002
    ) -> Mapping[str, bytes]:
        """Small files that speak of all splits, whose folders are given by name."""
        return {}

    def refuse_int32(self) -> None:
        """Refuse codes that do not fit the 16 bits of most formats."""
        if self.shape.dtype.itemsize > 2:
            raise self.cannot_hold(
                f"a codebook of {max(self.shape.codebook_sizes):,}", "at most 32,768 entries"
            )

    def cannot_hold(self, found: str, expected: str) -> UsageError:
        """The error for a codec whose codes do not fit."""
        return UsageError(
            f"`--to {self.name}` cannot hold the codes of `{self.target.codec['name']}`: it has "
            f"{found}; expected {expected}; export to another format, e.g. `--to parquet`, or take "
            "fewer codebooks with `--codebooks`"
        )


def batches(samples: Iterable[Sample], size: int) -> Iterator[list[Sample]]:
    """The samples in lists of `size`, the last one shorter."""
    remaining = iter(samples)
    while batch := list(islice(remaining, size)):
        yield batch


def npy_bytes(array: NDArray[Any]) -> bytes:
    """An array as a `.npy` file, little endian and in C order."""
    buffer = io.BytesIO()
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    np.save(buffer, little, allow_pickle=False)
    return buffer.getvalue()
