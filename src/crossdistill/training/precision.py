"""Mixed precision: matrix products in 16 bits, everything that adds up in 32."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from crossdistill.training.config import Precision

_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """The arithmetic of a network's forward pass. Objectives compute in float32 whatever this says."""
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=_TYPES[precision])


def gradient_scaler(precision: Precision, device: torch.device) -> torch.amp.GradScaler:
    """Loss scaling, without which small gradients vanish in fp16; does nothing in the other precisions."""
    return torch.amp.GradScaler(device.type, enabled=precision == "fp16")
