"""Imports torchaudio's pure-torch signal processing whatever torch build is installed.

PyPI's Linux wheel of torchaudio links CUDA libraries, so its compiled part cannot be loaded beside
a CPU-only torch and `import torchaudio` fails, although resampling needs none of it.
"""

import importlib
import sys
import threading
from types import ModuleType
from typing import Any

_EXTENSION = "torchaudio._extension"
# Decode threads come here together; the second would drop the modules that the first has repaired.
_ONE_AT_A_TIME = threading.Lock()


def import_torchaudio() -> ModuleType:
    """Return torchaudio, without its compiled operators where they cannot be loaded."""
    with _ONE_AT_A_TIME:
        try:
            return importlib.import_module("torchaudio")
        except OSError:
            _forget_partial_import()
            sys.modules[_EXTENSION] = _extension_without_operators()
            return importlib.import_module("torchaudio")


def has_compiled_operators() -> bool:
    """Whether `import torchaudio` loads whole; what xytok needs of it works without, too."""
    import_torchaudio()
    return bool(getattr(sys.modules[_EXTENSION], "_IS_TORCHAUDIO_EXT_AVAILABLE", False))


def _forget_partial_import() -> None:
    for name in [name for name in list(sys.modules) if name.split(".")[0] == "torchaudio"]:
        del sys.modules[name]


def _extension_without_operators() -> ModuleType:
    extension: Any = ModuleType(_EXTENSION)
    extension._IS_TORCHAUDIO_EXT_AVAILABLE = False
    extension._IS_ALIGN_AVAILABLE = False
    extension._check_cuda_version = lambda: None
    extension.fail_if_no_align = _unavailable
    return extension  # type: ignore[no-any-return]


def _unavailable(function: Any) -> Any:
    def refuse(*_args: Any, **_kwargs: Any) -> None:
        raise RuntimeError(
            f"torchaudio's `{function.__name__}` needs its compiled operators, which cannot be "
            "loaded beside this torch build. Install torchaudio from the same index as torch."
        )

    return refuse
