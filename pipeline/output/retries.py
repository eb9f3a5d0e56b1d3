"""Outputs inside an output: `retries/<number>/` holds the codes of rejects that were read again.

Each is a whole output with a `run.json` of its own, because its decoder or its rules may be others;
`xytok retry` makes it. Readers, exports and tools take the parts of all of them for the run's.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.output.manifest import ManifestName, list_manifests
from pipeline.storage.client import Storage
from pipeline.storage.location import join

RETRIES = "retries"
_RUN = re.compile(rf"/{RETRIES}/(\d+)/run\.json\Z")
_PREFIX = re.compile(rf"{RETRIES}/\d+/")
_FILE = re.compile(rf"/({RETRIES}/\d+/)(?:tokens|rejects)/")


@dataclass(frozen=True, slots=True)
class Place:
    """An output, or one inside it; `prefix` is its path below the outer one, with a slash."""

    prefix: str
    url: str


def places_of(storage: Storage, output: str) -> list[Place]:
    """The output and its retries, in the order in which they were made."""
    retries = [
        Place(f"{RETRIES}/{n}/", retry_url(output, n)) for n in retry_numbers(storage, output)
    ]
    return [Place("", output), *retries]


def finished_in(
    storage: Storage, output: str, identity8: str | None = None
) -> Iterator[tuple[Place, list[ManifestName]]]:
    """The finished shards of an output, and then those of each retry.

    A retry's codes of a shard that was replaced since, and done again, are of other audio: they
    are left out. `identity8` is that of the output's run.
    """
    names = list_manifests(storage, output, identity8)
    yield Place("", output), names
    current = {(name.stem, name.source8) for name in names}
    for place in places_of(storage, output)[1:]:
        its = list_manifests(storage, place.url)
        yield place, [name for name in its if (name.stem, name.source8) in current]


def place_order(shard: tuple[str, str]) -> tuple[int, str]:
    """Sorts prefixes and paths of shards: the run's own first, then retry after retry."""
    prefix, path = shard
    return (int(prefix.split("/")[1]) if prefix else 0), path


def retry_numbers(storage: Storage, output: str) -> list[int]:
    """The numbers of the retries, ascending."""
    found = storage.glob_files(join(output, RETRIES, "*", "run.json"))
    return sorted(int(match[1]) for file in found if (match := _RUN.search(file.url)))


def retry_url(output: str, number: int) -> str:
    """Where a retry lies."""
    return join(output, RETRIES, str(number))


def outer_of(output: str) -> str:
    """The output whose rejects a retry reads again."""
    return output.rpartition(f"/{RETRIES}/")[0]


def number_of(output: str) -> int:
    """The number of a retry."""
    return int(output.rpartition("/")[2])


def prefix_of(path: str) -> str:
    """The prefix of the retry that a path below an output is in; empty for the run's own."""
    found = _PREFIX.match(path)
    return found[0] if found else ""


def prefix_of_part(url: str) -> str:
    """The prefix of the retry that a part or reject file belongs to; empty for the run's own."""
    found: Sequence[str] = _FILE.findall(url)
    return found[-1] if found else ""
