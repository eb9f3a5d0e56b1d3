"""`xytok codecs`: the releases of every codec, with rates, codebooks, options and licence."""

import json as json_text
from collections import Counter
from collections.abc import Iterator, Sequence

from jobs.logs import Log, LogOptions
from jobs.options import Json
from xy_codec.catalogue import Family, Release, families

_HOW = (
    "`hf download {} --local-dir codec`, then `--codec codec/FILE`, with `--codec-config "
    "codec/FILE.yaml` where several lie there."
)
_HEAD = ("--codec", "Hz in → out", "frames/s", "codebooks", "bit/s", "licence of weights", "note")


def codecs(*, json: Json = False, log: Log = LogOptions()) -> int:
    """Print the catalogue."""
    # What runs here comes before what other packages run.
    known = families()[::-1]
    known.sort(key=lambda family: family.company == "alone")
    if json:
        print(json_text.dumps([_facts(*each) for each in _releases(known)], indent=1))
        return 0
    for family in known:
        print(
            f"{family.name}: {family.company}, precision {' or '.join(family.precisions)}, options "
            f"{', '.join(family.option_names) or 'none'}"
        )
        _print_table([_HEAD, *map(_row, family.releases)])
        for source, count in Counter(each.source for each in family.releases).items():
            if count > 1:
                print(f"  Of the {count} in `{source}` a file picks one: {_HOW.format(source)}")
        print()
    print("A local folder or file of one of these, as it was published, is a `--codec` too.")
    return 0


def _releases(known: Sequence[Family]) -> Iterator[tuple[Family, Release]]:
    return ((family, release) for family in known for release in family.releases)


def _facts(family: Family, release: Release) -> dict[str, object]:
    shape = release.shape
    return {
        "codec": release.source,
        "family": family.name,
        "company": family.company,
        "precisions": list(family.precisions),
        "options": list(family.option_names),
        "input_rate_hz": shape.input_rate_hz,
        "output_rate_hz": shape.output_rate_hz,
        "frame_rate_hz": shape.frame_rate_hz,
        "codebook_sizes": list(shape.codebook_sizes),
        "semantic_codebooks": list(shape.semantic_codebooks),
        "side_floats": shape.side_floats,
        "bits_per_second": shape.bits_per_second,
        "licence": release.licence,
        "note": release.note,
    }


def _row(release: Release) -> tuple[str, ...]:
    shape = release.shape
    side = f", {shape.side_floats} side values" if shape.side_floats else ""
    return (
        release.source,
        f"{shape.input_rate_hz} → {shape.output_rate_hz}",
        f"{shape.frame_rate_hz:.5g}",
        f"{shape.codebooks_in_words()}{side}",
        f"{shape.bits_per_second:,.0f}",
        release.licence,
        release.note,
    )


def _print_table(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  " + "  ".join(cells).rstrip())
