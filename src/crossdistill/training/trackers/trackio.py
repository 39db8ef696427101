"""Trackio, which keeps its tables on this machine: ``trackio show --project crossdistill``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from crossdistill.training.trackers.base import Tracker


class Trackio(Tracker):
    """One Trackio run for a run folder; a resumed run goes on in it."""

    package = "trackio"

    def __init__(self, run: Any) -> None:
        self._run = run

    @classmethod
    def open(cls, folder: Path, config: dict[str, Any]) -> Self:
        """See the base class."""
        from crossdistill.training.trackers.identity import run_identity

        name = f"{folder.name}-{run_identity(folder)[:6]}"
        return cls(cls.require().init(project="crossdistill", name=name, config=config, resume="allow"))

    def add(self, stage: str, step: int, values: dict[str, float]) -> None:
        """See the base class."""
        self._run.log({**{f"{stage}/{name}": value for name, value in values.items()}, f"{stage}/step": step})

    def close(self) -> None:
        """See the base class."""
        self._run.finish()


TRACKER = Trackio
