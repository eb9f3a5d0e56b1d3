"""The codecs that xytok knows, and which of them a checkpoint belongs to; imports no torch.

Each codec has a folder with `family.py`, which says how its checkpoints are known, and
`loading.py`, which builds it. A new codec is one folder and one line in `_FAMILIES`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from xy_codec.codes_shape import CodesShape
from xy_codec.errors import CheckpointError, ConfigError
from xy_codec.options import NoOptions, read_options
from xy_codec.weights.source import CodecPlace, bundled_names, fetch_codec, find_files

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from xy_codec.contract import Codec

# Asked in this order; the last one takes checkpoints that come without any configuration.
_FAMILIES = (
    "xy_codec.moss",
    "xy_codec.secousti",
    "xy_codec.hub",
    "xy_codec.hub.snac",
    "xy_codec.hub.speechtokenizer",
    "xy_codec.xy",
)


@dataclass(frozen=True, slots=True)
class Release:
    """Published weights of a codec.

    Attributes:
        source: what `--codec` takes: a repository, or the name of bundled weights.
        shape: with all codebooks, or with those of the default options.
        licence: of the weights; of the code it may be another.
        note: what a user must know before.
    """

    source: str
    shape: CodesShape
    licence: str
    note: str = ""


def one_checkpoint(place: CodecPlace) -> list[Path]:
    """The files of weights where there is one."""
    return [find_files(place).weights]


@dataclass(frozen=True, slots=True)
class Family:
    """A kind of codec: one architecture, of which there may be several releases.

    Attributes:
        package: the folder, whose `loading.py` has `load`.
        recognises: whether a place holds a codec of this family, by the place's own files.
        company: `packed` or `alone`, see `CodecIdentity`.
        precisions: what `--precision` may be.
        weight_files: the files whose bytes are the weights, in the order in which they are hashed.
        options: what `--codec-option` may set, as the dataclass that `loading.py` reads.
        compiles: whether the encoder has a compiled form.
    """

    name: str
    package: str
    recognises: Callable[[CodecPlace], bool]
    releases: Sequence[Release]
    company: Literal["packed", "alone"]
    precisions: tuple[str, ...] = ("exact",)
    options: "type[DataclassInstance]" = NoOptions
    compiles: bool = False
    weight_files: Callable[[CodecPlace], Sequence[Path]] = one_checkpoint

    @property
    def option_names(self) -> tuple[str, ...]:
        """What `--codec-option` may set, sorted."""
        return tuple(sorted(field.name for field in fields(self.options)))

    def check(self, wish: "Wish") -> None:
        """Refuse what no codec of this family can be; more only the codec itself can tell."""
        if wish.precision not in self.precisions:
            raise ConfigError(
                f"Precision is `{wish.precision}`; expected {' or '.join(self.precisions)}, as "
                f"{self.name} was tested in. Use `{self.precisions[0]}`."
            )
        if not self.compiles:
            wish.refuse_compiled(self.name)
        read_options(self.options, wish.options or {}, self.name)

    def load(self, place: CodecPlace, wish: "Wish") -> "Codec":
        """Load the codec of a place."""
        self.check(wish)
        codec: Codec = import_module(f"{self.package}.loading").load(place, wish)
        return codec


@dataclass(frozen=True, slots=True)
class Wish:
    """How a codec shall be loaded; the meaning is that of the arguments of `load_codec`."""

    precision: str = "exact"
    device: str = "auto"
    compiled: bool = False
    options: Mapping[str, object] | None = None

    def refuse_compiled(self, codec: str) -> None:
        """Refuse the wish for a compiled form of a codec that has none."""
        if self.compiled:
            raise ConfigError(
                f"`compiled` is True, but {codec} has no compiled form; expected false. Leave out "
                "`--compile`."
            )


def families() -> list[Family]:
    """Every family."""
    return [import_module(f"{package}.family").FAMILY for package in _FAMILIES]


def find_codec(
    source: str, config: str | None = None, files_at: Path | None = None
) -> tuple[Family, CodecPlace]:
    """Fetch the files behind a name, path, URL or repository, and tell whose they are.

    `files_at` is a folder that has them already.
    """
    place = fetch_codec(source, config, files_at)
    for family in families():
        if family.recognises(place):
            return family, place
    raise CheckpointError(
        f"`{place.source}` holds no codec that xytok knows; expected the files of one of "
        f"{', '.join(family.name for family in families())} as they were published, or one of "
        f"{bundled_names()}. `xytok codecs` lists the releases."
    )
