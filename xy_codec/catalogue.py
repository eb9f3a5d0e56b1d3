"""The codecs that xytok knows, and which of them a checkpoint belongs to; imports no torch.

Each codec has a folder with `family.py`, which says how its checkpoints are known, and
`loading.py`, which builds it. A new codec is one folder and one line in `_FAMILIES`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from xy_codec.codes_shape import CodesShape
from xy_codec.errors import CheckpointError, ConfigError
from xy_codec.weights.source import CodecPlace, bundled_names, fetch_codec, find_files

if TYPE_CHECKING:
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
        options: the names of what `--codec-option` may set; `loading.py` checks them.
    """

    name: str
    package: str
    recognises: Callable[[CodecPlace], bool]
    releases: Sequence[Release]
    company: Literal["packed", "alone"]
    precisions: tuple[str, ...] = ("exact",)
    options: tuple[str, ...] = ()
    weight_files: Callable[[CodecPlace], Sequence[Path]] = one_checkpoint

    def check_option_names(self, options: Mapping[str, object]) -> None:
        """Refuse options that no codec of this family has; their values only a codec can check."""
        unknown = sorted(set(options) - set(self.options))
        if unknown:
            raise ConfigError(
                f"{self.name} has no option {', '.join(f'`{name}`' for name in unknown)}; expected "
                f"{', '.join(self.options) or 'none at all'}. Leave out what it does not have."
            )

    def load(self, place: CodecPlace, wish: "Wish") -> "Codec":
        """Load the codec of a place."""
        if wish.precision not in self.precisions:
            raise ConfigError(
                f"Precision is `{wish.precision}`; expected {' or '.join(self.precisions)}, as "
                f"{self.name} was tested in. Use `{self.precisions[0]}`."
            )
        codec: Codec = import_module(f"{self.package}.loading").load(place, wish)
        return codec


@dataclass(frozen=True, slots=True)
class Wish:
    """How a codec shall be loaded; the meaning is that of the arguments of `load_codec`."""

    precision: str = "exact"
    device: str = "auto"
    compiled: bool = False
    options: Mapping[str, object] | None = None


def families() -> list[Family]:
    """Every family."""
    return [import_module(f"{package}.family").FAMILY for package in _FAMILIES]


def find_codec(source: str, config: str | None = None) -> tuple[Family, CodecPlace]:
    """Fetch the files behind a name, path, URL or repository, and tell whose they are."""
    place = fetch_codec(source, config)
    for family in families():
        if family.recognises(place):
            return family, place
    raise CheckpointError(
        f"`{place.source}` holds no codec that xytok knows; expected the files of one of "
        f"{', '.join(family.name for family in families())} as they were published, or one of "
        f"{bundled_names()}. `xytok codecs` lists the releases."
    )
