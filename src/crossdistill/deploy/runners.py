"""Exports at work, as other programs would run them: for the checks and the measurements."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crossdistill.deploy.graph import load_program
from crossdistill.deploy.parity import Runner


def onnx_runner(path: Path, threads: int = 0) -> Runner:
    """A graph of ONNX in ONNX Runtime, on the CPU; ``threads`` 0 leaves their number to it."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(batch: Tensor) -> NDArray[np.float32]:
        found: NDArray[np.float32] = session.run(None, {name: batch.numpy()})[0]
        return found

    return run


def program_runner(path: Path) -> Runner:
    """A graph of torch.export."""
    return module_runner(load_program(path))


def module_runner(module: Any) -> Runner:
    """A module of PyTorch."""

    def run(batch: Tensor) -> NDArray[np.float32]:
        with torch.no_grad():
            found: NDArray[np.float32] = module(batch).numpy()
        return found

    return run
