"""Trackers by name."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any, Literal, get_args

from crossdistill import ranks
from crossdistill.training.trackers.base import Tracker

TrackerName = Literal["tensorboard", "wandb", "mlflow", "trackio"]
TRACKERS: tuple[str, ...] = get_args(TrackerName)


def check_trackers(names: tuple[TrackerName, ...]) -> None:
    """Finds out beforehand whether their packages are there.

    Raises:
        MissingDependencyError: that of one is not installed.
    """
    for name in names:
        _tracker(name).require()


def open_trackers(names: tuple[TrackerName, ...], folder: Path, config: dict[str, Any]) -> list[Tracker]:
    """The trackers of these names, each in the module of its name; none on other ranks than the first.

    Raises:
        MissingDependencyError: the package of one is not installed.
    """
    if not ranks.is_first():
        return []
    return [_tracker(name).open(folder, config) for name in names]


def _tracker(name: TrackerName) -> type[Tracker]:
    found: type[Tracker] = import_module(f"{__package__}.{name}").TRACKER
    return found
