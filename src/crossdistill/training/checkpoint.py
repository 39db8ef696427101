"""Checkpoints of a training in progress, written atomically and read without unpickling code."""

from __future__ import annotations

import io
import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from crossdistill.errors import RunFolderError
from crossdistill.files import write_bytes


@dataclass
class Progress:
    """How far a training is. Order, augmentation and schedule follow from the step (batches.py).

    Attributes:
        step: number of steps done.
        losses: of the steps of the epoch in progress.
    """

    step: int = 0
    losses: list[float] = field(default_factory=list)


def save_checkpoint(path: Path, progress: Progress, model: nn.Module, optimiser: torch.optim.Optimizer) -> None:
    """Writes the whole state of a training between two steps."""
    stream = io.BytesIO()
    states = {"model": model.state_dict(), "optimiser": optimiser.state_dict()}
    torch.save({"step": progress.step, "losses": list(progress.losses), **states}, stream)
    write_bytes(path, stream.getvalue())


def load_checkpoint(path: Path, model: nn.Module, optimiser: torch.optim.Optimizer) -> Progress:
    """Restores the state and returns how far it was; the very beginning when there is no checkpoint.

    Raises:
        RunFolderError: the checkpoint is damaged or belongs to another network.
    """
    if not path.is_file():
        return Progress()
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        model.load_state_dict(content["model"])
        optimiser.load_state_dict(content["optimiser"])
        return Progress(step=int(content["step"]), losses=[float(loss) for loss in content["losses"]])
    except (pickle.UnpicklingError, RuntimeError, KeyError, EOFError, ValueError) as error:
        raise RunFolderError(
            "The checkpoint cannot be used.",
            where=path,
            received=str(error).splitlines()[0] if str(error) else type(error).__name__,
            fix="delete it to train this stage again from its beginning",
        ) from error
