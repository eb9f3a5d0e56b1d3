"""What `encode`, `decode` and `show` share: the codec, files to read, and files to write."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from pydantic.dataclasses import dataclass

from jobs.logs import tell
from jobs.options import Output
from pipeline.errors import UsageError
from pipeline.worker.codec_request import CodecRequest

if TYPE_CHECKING:
    from xy_codec.contract import Waveform

Files = Annotated[tuple[str, ...], Parameter(help="files, or folders of them.")]
Folder = Annotated[Path, Output, Parameter(help="the folder for the results.")]
_TRIAL_CODEC = "xy-nano"


@dataclass(frozen=True, slots=True)
class FileCodec(CodecRequest):
    """The codec of `encode`, `decode` and `bench`, which may be left out for a trial."""

    source: Annotated[str, Parameter(show_default=lambda _: _TRIAL_CODEC)] = ""

    def named(self) -> CodecRequest:
        """The codec, after a look whether it can be meant; says so where none was named."""
        if not self.source:
            tell(
                f"codec: `{_TRIAL_CODEC}`, a small one for trials; name a released checkpoint "
                "with `--codec`"
            )
        chosen = replace(self, source=self.source or _TRIAL_CODEC)
        chosen.check()
        return chosen


def list_files(paths: Iterable[str], suffixes: tuple[str, ...]) -> dict[Path, Path]:
    """The files given, and those with a fitting suffix in the folders given.

    Each with its path below the folder that was given; of a single file that is its name.
    """
    found: dict[Path, Path] = {}
    for path in map(Path, paths):
        if path.is_dir():
            inside = (item for item in path.rglob("*") if item.suffix.lower() in suffixes)
            found |= {item: item.relative_to(path) for item in sorted(inside) if item.is_file()}
        elif path.is_file():
            found.setdefault(path, Path(path.name))
        else:
            raise UsageError(f"Input `{path}` does not exist. Expected a file or a folder.")
    if not found:
        raise UsageError(f"No files ending in {', '.join(suffixes)} were found. Check the paths.")
    return found


def target_paths(sources: Mapping[Path, Path], folder: Path, suffix: str) -> dict[Path, Path]:
    """Where each file's result goes: below `folder` as the file lies below the folder given.

    Two inputs with one name would overwrite each other and are refused.
    """
    owners: dict[Path, Path] = {}
    for source, place in sources.items():
        target = folder / place.with_name(f"{place.stem}{suffix}")
        other = owners.setdefault(target, source)
        if other != source:
            raise UsageError(
                f"`{source}` and `{other}` would both write `{target}`. Rename one, or use two "
                "output folders."
            )
    for parent in {target.parent for target in owners}:
        parent.mkdir(parents=True, exist_ok=True)
    return {source: target for target, source in owners.items()}


def write_wav(target: Path, waveform: "Waveform", rate_hz: int) -> None:
    """Write a waveform as the sound file that its name says."""
    import soundfile

    try:
        soundfile.write(target, waveform, rate_hz)
    except (soundfile.LibsndfileError, TypeError) as error:  # TypeError: a name without suffix
        raise UsageError(
            f"`{target}` cannot be written ({str(error).strip('.')}); expected a name such as "
            "`clip.wav` in a folder that exists and can be written; correct it"
        ) from error
