"""The manifest of a shard: its file name, its content, and how manifests are listed and read.

A manifest that exists means "this shard is done", so a worker writes it after the part and the
rejects. Its name holds short hashes of the run's identity and of the source file. One listing of
manifests and one of the inputs therefore show which shards are left, without reading any file.
"""

import json
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field

from pipeline.corpus.shard import Shard
from pipeline.corpus.tar_reader import Hole
from pipeline.errors import OutputError
from pipeline.plural import plural
from pipeline.storage.client import Storage
from pipeline.storage.location import join, redact

MANIFESTS = "manifests"
UNKNOWN_SIZE = -1
_READERS = 32
_NAME = re.compile(
    r"^(?P<stem>.+)\.(?P<identity8>[0-9a-f]{8})\.(?P<source8>[0-9a-f]{8})\.json\Z", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A part or reject file, with the size and hash that prove it is whole."""

    path: str
    size_bytes: int
    sha256: str
    rows: int


@dataclass(frozen=True, slots=True)
class ManifestName:
    """What the listing tells of a manifest without reading the file.

    `size_bytes` is unknown where the name was made from a shard.
    """

    stem: str
    identity8: str
    source8: str
    size_bytes: int = field(default=UNKNOWN_SIZE, compare=False)

    @classmethod
    def of(cls, shard: Shard, identity8: str) -> "ManifestName":
        """The name of a shard's manifest in the run with this identity."""
        return cls(shard.stem, identity8, shard.source8)

    @property
    def path(self) -> str:
        """The manifest's path below the output."""
        return f"{MANIFESTS}/{self.stem}.{self.identity8}.{self.source8}.json"


@dataclass(frozen=True, slots=True)
class LanguageCount:
    """The rows of a part in one language; None are those whose JSON names no language."""

    language: str | None
    clips: int
    seconds: float
    speakers: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """What went into one finished shard and what came out; equal runs write equal bytes.

    `ended_early` counts rows whose audio is shorter than its header or JSON says, `other_type`
    filtered clips with a value of another type than `--where` compares it with; both are written
    where there are some. `key_range` holds the smallest and the largest key of the part. It and
    `languages` are None where an older version wrote the manifest; `key_range` also where the part
    has no rows.
    """

    shard: str
    url: str
    source_size_bytes: int
    source_etag: str
    identity8: str
    members: int
    clips_seen: int
    codes: int
    rejects: int
    filtered: int
    frames: int
    samples: int
    source_seconds: float
    part: WrittenFile
    reject_file: WrittenFile
    rejects_by_reason: dict[str, int] = field(default_factory=dict)
    holes: tuple[Hole, ...] = ()
    limited: bool = False
    ended_early: int = 0
    other_type: int = 0
    key_range: tuple[str, str] | None = None
    languages: tuple[LanguageCount, ...] | None = None

    def check_balance(self) -> None:
        """Raise when a clip is missing or was counted twice."""
        if self.clips_seen != self.codes + self.rejects + self.filtered:
            raise OutputError(
                f"Shard `{self.url}` does not balance: of {plural(self.clips_seen, 'clip')} there "
                f"are codes of {self.codes}, {self.rejects} as rejects, {self.filtered} filtered; "
                "expected equal sums; this is a defect of xytok: report it with the shard"
            )

    @property
    def is_damaged(self) -> bool:
        """Whether some bytes of the tar could not be read."""
        return bool(self.holes)

    def to_json(self) -> bytes:
        """The manifest as bytes, the same for the same content."""
        values = asdict(self)
        for name in ("ended_early", "other_type"):
            if not values[name]:
                del values[name]
        return (json.dumps(values, indent=1, sort_keys=True) + "\n").encode()


@dataclass(frozen=True, slots=True)
class FinishedShard:
    """What the end of a run needs to know of a shard: its damage, and what its clips became."""

    url: str
    holes: int
    codes: int
    rejects: int
    filtered: int

    @classmethod
    def of_manifest(cls, manifest: Manifest) -> "FinishedShard":
        """From its manifest."""
        holes = len(manifest.holes)
        counts = (manifest.codes, manifest.rejects, manifest.filtered)
        return cls(redact(manifest.url), holes, *counts)


def list_manifests(
    storage: Storage, output: str, identity8: str | None = None
) -> list[ManifestName]:
    """The names of the manifests of an output, all or those of a run; lists, and reads no file."""
    folder = join(output, MANIFESTS)
    names = []
    for file in storage.list_files(folder):
        match = _NAME.match(file.url.removeprefix(folder).lstrip("/"))
        if match and identity8 in (None, match["identity8"]):
            names.append(ManifestName(**match.groupdict(), size_bytes=file.size_bytes))
    return names


def read_named_manifests(
    storage: Storage, output: str, names: Sequence[ManifestName]
) -> list[Manifest]:
    """The manifests with these names, read in parallel, in the same order."""
    urls = [join(output, name.path) for name in names]
    with ThreadPoolExecutor(_READERS) as pool:
        return list(pool.map(lambda url: read_manifest(storage, url), urls))


def read_manifest(storage: Storage, url: str) -> Manifest:
    """The manifest in a file; fields that a newer version added are ignored."""
    content = storage.read_bytes(url)
    try:
        values = {k: v for k, v in json.loads(content).items() if k in Manifest.__slots__}
        values["part"] = WrittenFile(**values["part"])
        values["reject_file"] = WrittenFile(**values["reject_file"])
        values["holes"] = tuple(Hole(**hole) for hole in values.get("holes", ()))
        if values.get("key_range") is not None:
            values["key_range"] = tuple(values["key_range"])
        if values.get("languages") is not None:
            values["languages"] = tuple(LanguageCount(**each) for each in values["languages"])
        return Manifest(**values)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise OutputError(
            f"Manifest `{url}` cannot be read ({error}); expected the JSON that `xytok tokenize` "
            "writes; delete the file and run the same command again"
        ) from error


def write_manifest(storage: Storage, output: str, name: ManifestName, manifest: Manifest) -> None:
    """Mark a shard as done; call it only after its part and rejects were written."""
    manifest.check_balance()
    storage.write_finished(join(output, name.path), manifest.to_json())
