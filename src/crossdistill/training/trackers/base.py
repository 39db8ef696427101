"""What a tracker is: something that is told numbers while a run goes on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Self

from crossdistill.errors import MissingDependencyError


class Tracker(ABC):
    """Curves of one run; a stage of it (``distil/cmcd``) is part of their names.

    Attributes:
        package: what it needs, which is also the name of our extra.
    """

    package: ClassVar[str | None] = None

    @classmethod
    def require(cls) -> Any:
        """The package that it needs, None where it needs none of its own.

        Raises:
            MissingDependencyError: it is not installed.
        """
        if cls.package is None:
            return None
        try:
            return import_module(cls.package)
        except ImportError as error:
            raise MissingDependencyError(
                f"Tracking with {cls.__name__} needs its package.", where="trackers",
                fix=f"pip install 'crossdistill[{cls.package}]'",
            ) from error  # fmt: skip

    @classmethod
    @abstractmethod
    def open(cls, folder: Path, config: dict[str, Any]) -> Self:
        """A tracker of the run in ``folder``, whose settings are ``config``.

        Raises:
            MissingDependencyError: its package is not installed.
        """

    def begin(self, stage: str, step: int) -> None:
        """A stage begins, or goes on after ``step``: what was told of later steps is not to be shown."""
        del stage, step  # most services keep the last of what they are told of one step

    @abstractmethod
    def add(self, stage: str, step: int, values: dict[str, float]) -> None:
        """Numbers of one step."""

    @abstractmethod
    def close(self) -> None:
        """The run has ended, or stops for now."""
