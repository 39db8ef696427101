"""User errors, one family: every mistake that a user can make and mend ends in one of these.

The command line prints the message and leaves with the class's ``exit_code`` (docs/cli.md lists them); a traceback
therefore always means a bug of ours.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Self


class CrossDistillError(Exception):
    """A mistake that the user can mend, told in one message.

    Args:
        problem: one sentence that says what is wrong.
        where: file, row, key or option concerned.
        expected: what would have been right.
        received: what was found instead.
        fix: what to do now.
    """

    exit_code = 1

    def __init__(
        self,
        problem: str,
        *,
        where: object = None,
        expected: object = None,
        received: object = None,
        fix: str | None = None,
    ) -> None:
        self.problem = problem
        self.details = {
            name: str(value)
            for name, value in (("where", where), ("expected", expected), ("received", received), ("fix", fix))
            if value is not None
        }
        super().__init__(problem)

    def at(self, where: object) -> Self:
        """The same message about another place."""
        twin = type(self)(self.problem)
        twin.details = {"where": str(where), **{name: text for name, text in self.details.items() if name != "where"}}
        return twin

    def __str__(self) -> str:
        lines = [self.problem, *(f"  {name + ':':<10}{value}" for name, value in self.details.items())]
        return "\n".join(lines)


class ConfigError(CrossDistillError):
    """A configuration or an option that cannot be used."""

    exit_code = 2


class PairsError(CrossDistillError):
    """Pairs, manifests or items that cannot be read or used."""

    exit_code = 3


class EncoderError(CrossDistillError):
    """A backbone, its weights or its input that do not fit."""

    exit_code = 4


class TrainingError(CrossDistillError):
    """Training that cannot go on, such as a loss that is not finite."""

    exit_code = 5


class RunFolderError(CrossDistillError):
    """A run folder that is missing, incomplete or holds something else."""

    exit_code = 6


class StorageError(CrossDistillError):
    """A disk that is full or a place that cannot be written."""

    exit_code = 7


class MissingDependencyError(CrossDistillError):
    """An optional package that is not installed."""

    exit_code = 8


class AuditError(CrossDistillError):
    """An audit that found something as bad as ``--fail-on`` says, or worse."""

    exit_code = 9


class StoppedError(CrossDistillError):
    """The user (or the machine) asked to stop; the state has been saved."""

    exit_code = 130


def nearest(name: str, known: Iterable[str]) -> str:
    """A ``did you mean`` hint for ``name``, or the list of what is known when nothing is near."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f"did you mean '{close[0]}'?"
    shown = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
    return f"known: {shown}"
