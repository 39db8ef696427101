"""Trackers by name."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any, Literal, get_args

from crossdistill import ranks
from crossdistill.errors import ConfigError, CrossDistillError
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
        ConfigError: one cannot be opened.
    """
    if not ranks.is_first():
        return []
    opened: list[Tracker] = []
    for name in names:
        try:
            opened.append(_tracker(name).open(folder, config))
        except CrossDistillError:
            raise
        except Exception as error:  # whatever a service's client raises: no server, no login, a store it does not know
            for other in opened:
                other.close()
            raise ConfigError(
                "A tracker cannot be opened.", where=f"trackers: {name}",
                received=[*str(error).strip().splitlines(), type(error).__name__][0],
                fix="set it up as its documentation says, or leave it out of trackers: train.jsonl has every number",
            ) from error  # fmt: skip
    return opened


def _tracker(name: TrackerName) -> type[Tracker]:
    found: type[Tracker] = import_module(f"{__package__}.{name}").TRACKER
    return found
