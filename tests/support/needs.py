"""What a test needs of the machine; without it the test is skipped."""

import pytest
import torch

needs_float16 = pytest.mark.skipif(
    not torch.ops.mkldnn._is_mkldnn_fp16_supported() and not torch.cuda.is_available(),
    reason="neither CUDA nor a CPU with float16 arithmetic",
)
