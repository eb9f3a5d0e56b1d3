"""Proves exports at size: speed and memory of each format, twenty kills, and four readers.

`make prove-export` runs all of it and prints tables for RESULTS.md. The run is written by the code
that writes real ones, with uniform random codes. The readers of MDS and Megatron are installed
apart, because their packages want other versions than ours; those of OmniVoice and NeMo run on
ours. fish-speech and MOSS-TTSD publish no package with their readers.
"""

import argparse
import hashlib
import os
import random
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pipeline.corpus.listing import list_shards
from pipeline.corpus.rules import ReadRules
from pipeline.export.catalogue import FORMATS
from pipeline.output.identity import build_identity
from pipeline.output.run_record import claim_output
from pipeline.storage.client import Storage
from tests.support.export_case import byte_tokenizer
from tests.support.export_kills import export_command, kill_when
from tests.support.export_run import files_in, rows_of
from tests.support.large_output import finish_shard
from tests.support.peak_memory import measured
from xy_codec.fake import FakeCodec

FRAMES = 125  # ten seconds
SECONDS = 10
KILLS = 20
READ_MEGATRON = """
import sys
from megatron.core.datasets.indexed_dataset import IndexedDataset
for ids in IndexedDataset(sys.argv[1]):
    print(*ids)
"""
# Prints key, shape and a hash of the codes of every sample.
READ_MDS = """
import hashlib, sys
from streaming import StreamingDataset
for s in StreamingDataset(local=sys.argv[1], shuffle=False, batch_size=1):
    print(s["key"], *s["codes"].shape, hashlib.sha256(s["codes"].tobytes()).hexdigest())
"""
# The same, through the manifests that the trainer is configured with.
READ_OMNIVOICE = """
import hashlib, sys
from xy_codec.torchaudio_import import import_torchaudio
import_torchaudio()
from omnivoice.data.dataset import WebDatasetReader, prepare_data_manifests_from_json
train, _ = prepare_data_manifests_from_json(sys.argv[1])
for s in WebDatasetReader(train, evaluation=True):
    codes = s["audio_tokens"].numpy()
    print(s["label"]["id"], *codes.shape, hashlib.sha256(codes.tobytes()).hexdigest())
"""


# The same from batches of two of the dataset that Magpie trains on; 0 stands behind shorter clips.
READ_NEMO = """
import hashlib, sys
from pathlib import Path
from xy_codec.torchaudio_import import import_torchaudio
import_torchaudio()
from lhotse import CutSet
from omegaconf import OmegaConf
from nemo.collections.tts.data.text_to_speech_dataset_lhotse import MagpieTTSLhotseDataset
letters = "nemo.collections.common.tokenizers.text_to_speech.tts_tokenizers.EnglishCharsTokenizer"
dataset = MagpieTTSLhotseDataset(
    sample_rate=16000, codec_model_samples_per_frame=1280, num_audio_codebooks=8,
    load_16khz_audio=False,
    tokenizer_config=OmegaConf.create({"english_phoneme": {"_target_": letters}}),
)
folder = Path(sys.argv[1])
places = {"cuts": "cuts/cuts.*", "target_codes": "*/target_codes/codes.*"}
files = {name: sorted(map(str, folder.glob(place))) for name, place in places.items()}
cuts = list(CutSet.from_shar(fields=files))
for first in range(0, len(cuts), 2):
    some = cuts[first : first + 2]
    batch = dataset[CutSet.from_cuts(some)]
    for cut, codes, length in zip(some, batch["audio_codes"], batch["audio_codes_lens"]):
        codes = codes[:, :length].short().contiguous().numpy()
        print(cut.id, *codes.shape, hashlib.sha256(codes.tobytes()).hexdigest())
"""
# What NeMo's module imports and we have not, in versions that go together.
NEMO = (
    "nemo-toolkit==3.0.0", "lightning==2.4.0", "pytorch-lightning==2.4.0",
    "nv-one-logger-core==2.3.1", "nv-one-logger-training-telemetry==2.3.1",
    "nv-one-logger-pytorch-lightning-integration==2.3.1", "lightning-utilities", "torchmetrics",
    "hydra-core", "omegaconf", "antlr4-python3-runtime==4.9.3", "wrapt", "sentencepiece",
    "braceexpand", "editdistance", "inflect", "typeguard", "overrides", "strenum", "toml",
    "pynini", "nemo-text-processing", "attrdict", "einops", "onnx", "ml-dtypes", "ruamel.yaml",
    "fiddle", "jiwer", "marshmallow", "text-unidecode", "kaldiio", "librosa", "lazy-loader",
    "numba", "nltk", "pydub", "kaldialign", "wandb",
)  # fmt: skip


def make_run(folder: Path, num_shards: int, clips_each: int) -> Path:
    """A finished run of so many clips of ten seconds."""
    inputs, output = folder / "in", folder / "out"
    inputs.mkdir(parents=True)
    for number in range(num_shards):
        (inputs / f"{number:04d}.tar").write_bytes(b"a tar")
    identity = build_identity(FakeCodec().identity, ReadRules())
    claim_output(Storage(), str(output), identity, {"codec_source": "fake"}, {})
    for number, shard in enumerate(list_shards([str(inputs)], Storage())):
        finish_shard(shard, number, identity, str(output), clips_each, FRAMES)
    return output


def prove_formats(
    folder: Path, small: Path, large: Path, asked: argparse.Namespace
) -> Iterator[str]:
    """A line a format: hours a processor second, and the peak memory of two runs."""
    tokenizer = folder / "tokenizer.json"
    tokenizer.write_bytes(byte_tokenizer([(152694, "<|end_of_speech|>")]))
    moss = ["--tokenizer", str(tokenizer), "--allow-codec"]
    cases = {name: moss if name == "moss-ttsd" else [] for name in FORMATS}
    wanted = [(name, ["--to", name, *more]) for name, more in cases.items()]
    wanted += [("parquet shuffled", ["--to", "parquet", "--shuffle", "1"])]
    wanted += [("jsonl with references", ["--to", "jsonl", "--pair-reference"])]
    chosen = asked.formats.split(",") if asked.formats else [name for name, _ in wanted]
    for name, options in (each for each in wanted if each[0] in chosen):
        memory = []
        for run in (small, large):
            words = export_command(run, folder / "export", *options)[3:]
            seconds, peak = measured(*words)
            memory.append(peak)
            files = (path for path in (folder / "export").rglob("*") if path.is_file())
            size = sum(path.stat().st_size for path in files)
            subprocess.run(["rm", "-r", str(folder / "export")], check=True)
        hours = asked.clips * SECONDS / 3600
        yield (
            f"{name} | {hours / seconds:.1f} | {size / hours / 1e6:.2f} | {memory[0]:.0f} | "
            f"{memory[1]:.0f}"
        )


def prove_kills(folder: Path, run: Path, count: int, seed: int) -> Iterator[str]:
    """Kill exports at random moments; what they leave in the end equals a calm one."""
    rng = random.Random(seed)
    for number in range(count):
        name = rng.choice(["omnivoice", "shar", "parquet", "mds", "webdataset", "datatrove"])
        options = ["--to", name, "--samples-per-shard", str(rng.choice([20, 50, 120]))]
        options += ["--shuffle", str(number)] if rng.random() < 0.4 else []
        command = export_command(run, folder / "export", *options)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        expected = files_in(folder / "export")
        subprocess.run(["rm", "-r", str(folder / "export")], check=True)
        places = sorted(rng.sample(range(1, len(expected)), 2))
        kills = sum(kill_when(command, folder / "export", place) for place in places)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        if files_in(folder / "export") != expected:
            sys.exit(f"kill {number} (seed {seed}): {' '.join(options)}")
        subprocess.run(["rm", "-r", str(folder / "export")], check=True)
        yield f"{' '.join(options)} | {kills} kills, {len(expected)} files | equal bytes"


def install_streaming(folder: Path) -> str:
    """The Python of a new environment that has MosaicML Streaming, which is some gigabytes."""
    venv.create(folder / "streaming", with_pip=True)
    python = str(folder / "streaming/bin/python")
    subprocess.run([python, "-m", "pip", "install", "-q", "mosaicml-streaming"], check=True)
    return python


def prove_mds(folder: Path, run: Path, python: str) -> str:
    """Read an export by MosaicML Streaming."""
    options = ["--to", "mds", "--max-bytes", "300000"]
    subprocess.run(export_command(run, folder / "mds", *options), check=True)
    read = subprocess.run(
        [python, "-c", READ_MDS, str(folder / "mds/train")],
        check=True,
        capture_output=True,
        text=True,
    )
    expected = hashes_of(run)
    if read.stdout.splitlines() != expected:
        sys.exit("MosaicML Streaming reads other samples than the run has")
    shards = len(list((folder / "mds/train").glob("*.mds")))
    return f"MosaicML Streaming read {len(expected)} samples of {shards} shards: equal"


def hashes_of(run: Path) -> list[str]:
    """Key, shape and a hash of the codes of every row."""
    found = []
    for row in rows_of(run):
        codes = np.array(row["codes"], np.int16)
        digest = hashlib.sha256(codes.tobytes()).hexdigest()
        found.append(f"{row['key']} {codes.shape[0]} {codes.shape[1]} {digest}")
    return found


def install(target: Path, *packages: str) -> str:
    """A folder with packages alone, without what they ask for: the rest is ours."""
    command = ["pip", "install", "-q", "--no-deps", "--target", str(target), *packages]
    subprocess.run([sys.executable, "-m", *command], check=True)
    return str(target)


def lines_read(script: str, place: Path, package: str) -> list[str]:
    """What a reader of `package` prints of an export."""
    read = subprocess.run(
        [sys.executable, "-c", script, str(place)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": package},
    )
    return read.stdout.splitlines()


def prove_omnivoice(folder: Path, run: Path, package: str) -> str:
    """Read an export by OmniVoice's own reader, from the `data.json` of its configuration."""
    destination = folder / "for-omnivoice"
    options = ["--to", "omnivoice", "--samples-per-shard", "300"]
    subprocess.run(export_command(run, destination, *options), check=True)
    expected = hashes_of(run)
    if lines_read(READ_OMNIVOICE, destination / "data.json", package) != expected:
        sys.exit("OmniVoice reads other samples than the run has")
    return f"OmniVoice's WebDatasetReader read {len(expected)} samples: equal"


def prove_nemo(folder: Path, run: Path, package: str) -> str:
    """Read an export by the dataset that NeMo trains Magpie on."""
    destination = folder / "for-nemo"
    options = ["--to", "shar", "--nemo", "--dataset-name", "emilia"]
    subprocess.run(export_command(run, destination, *options), check=True)
    expected = hashes_of(run)
    read = lines_read(READ_NEMO, destination / "train", package)
    if [line for line in read if line.count(" ") == 3] != expected:  # NeMo greets there too
        sys.exit("NeMo reads other samples than the run has")
    return f"NeMo's MagpieTTSLhotseDataset read {len(expected)} samples: equal"


def prove_megatron(folder: Path, run: Path, package: str) -> str:
    """Read an export by Megatron's own reader."""
    subprocess.run(export_command(run, folder / "ids", "--to", "megatron"), check=True)
    expected = []
    for row in rows_of(run):
        ids = np.array(row["codes"]).T + 1024 * np.arange(8)
        expected.append(" ".join(map(str, ids.reshape(-1))))
    place = folder / "ids/train/codes_00000_text_document"
    if lines_read(READ_MEGATRON, place, package) != expected:
        sys.exit("Megatron reads other ids than the run has")
    return f"Megatron's IndexedDataset read {len(expected)} documents: equal"


def main() -> None:
    """Prove what the arguments name, all by default."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=40_000, help="of ten seconds each")
    parser.add_argument("--kills", type=int, default=KILLS)
    parser.add_argument("--formats", default="", help="only those, with commas between them")
    parser.add_argument("--mds-python", help="that has mosaicml-streaming; default: install it")
    parser.add_argument("--megatron", help="a folder with megatron-core; default: install it")
    parser.add_argument("--omnivoice", help="a folder with omnivoice, pydub; default: install it")
    parser.add_argument("--nemo", help="a folder with the packages of NEMO; default: install them")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 16))
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="xytok-prove-") as name:
        folder = Path(name)
        few = make_run(folder / "few", 4, 250)
        if wanted.kills:
            python = wanted.mds_python or install_streaming(folder)
            print(prove_mds(folder, few, python), flush=True)
            package = wanted.megatron or install(folder / "megatron", "megatron-core")
            print(prove_megatron(folder, few, package), flush=True)
            package = wanted.omnivoice or install(folder / "omnivoice", "omnivoice", "pydub")
            print(prove_omnivoice(folder, few, package), flush=True)
            package = wanted.nemo or install(folder / "nemo", *NEMO)
            print(prove_nemo(folder, few, package), flush=True)
        print(f"seed of the kills: {wanted.seed}; {os.cpu_count()} cores")
        print("| export | kills | result |\n|---|---|---|")
        for line in prove_kills(folder, few, wanted.kills, wanted.seed):
            print(f"| {line} |", flush=True)
        if wanted.clips:
            clips_each = wanted.clips // 20
            large = make_run(folder / "large", 20, clips_each)
            small = make_run(folder / "small", 5, clips_each)
            print(
                "| format | hours a CPU second | MB an hour | peak RSS, a quarter, MB | all, MB |"
            )
            print("|---|---|---|---|---|")
            for line in prove_formats(folder, small, large, wanted):
                print(f"| {line} |", flush=True)


if __name__ == "__main__":
    main()
