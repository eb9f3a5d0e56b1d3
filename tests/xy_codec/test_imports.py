"""What the codec needs to be installed: torch, numpy, yaml and safetensors, nothing else."""

import subprocess
import sys

from tests.support.places import ROOT

ABSENT = (
    "fsspec", "huggingface_hub", "pyarrow", "pydantic", "ray", "requests", "scipy", "soundfile",
    "torchaudio", "tqdm", "transformers", "webdataset",
)  # fmt: skip


def test_a_codec_loads_encodes_and_decodes_without_any_other_package() -> None:
    code = (
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({ABSENT}))\n"
        "import numpy, xy_codec\n"
        "codec = xy_codec.load_codec('xy-nano', device='cpu')\n"
        "codes = codec.encode([numpy.zeros(12800, numpy.float32)])\n"
        "print(codes[0].shape, codec.decode(codes)[0].shape)"
    )
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "(8, 10) (12800,)"
