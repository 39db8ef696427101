"""Weights & Biases; set ``WANDB_MODE=offline`` to keep everything on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from crossdistill.training.trackers.base import Tracker


class WandB(Tracker):
    """One W&B run for a run folder; a resumed run goes on in it."""

    package = "wandb"

    def __init__(self, run: Any) -> None:
        self._run = run

    @classmethod
    def open(cls, folder: Path, config: dict[str, Any]) -> Self:
        """See the base class."""
        from crossdistill.training.trackers.identity import run_identity

        identity = run_identity(folder)
        return cls(
            cls.require().init(
                project="crossdistill", id=identity, name=folder.name, config=config, dir=folder, resume="allow"
            )
        )

    def add(self, stage: str, step: int, values: dict[str, float]) -> None:
        """See the base class. Each stage counts its own steps, which W&B has to be told as a number of its own."""
        self._run.log({**{f"{stage}/{name}": value for name, value in values.items()}, f"{stage}/step": step})

    def close(self) -> None:
        """See the base class."""
        self._run.finish()


TRACKER = WandB
