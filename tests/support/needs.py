"""What a test needs of the machine; without it the test is skipped."""

import pytest
import torch

HAS_FLOAT16 = torch.ops.mkldnn._is_mkldnn_fp16_supported() or torch.cuda.is_available()
WITHOUT_FLOAT16 = "neither CUDA nor a CPU with float16 arithmetic"
needs_float16 = pytest.mark.skipif(not HAS_FLOAT16, reason=WITHOUT_FLOAT16)
