"""What a person sees while something runs: progress bars on a terminal, plain lines elsewhere.

Everything goes to standard error, so that standard output holds results alone.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

_QUIET = ContextVar("quiet", default=False)
_QUIET_SECONDS = 30.0  # off a terminal, a long task says where it is this often


def console() -> Console:
    """A console on the standard error of this moment."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=not sys.stderr.isatty())


def silent() -> bool:
    """Whether this process is one of several under ``torchrun``, and not the one that talks to the user."""
    return os.environ.get("RANK", "0") != "0" and os.environ.get("WORLD_SIZE", "1") != "1"


@contextmanager
def quiet() -> Iterator[None]:
    """Inside of the block there is no progress to see, for callers that are called many times; warnings stay."""
    token = _QUIET.set(True)
    try:
        yield
    finally:
        _QUIET.reset(token)


def say(message: str) -> None:
    """Prints one line of progress."""
    if silent() or _QUIET.get():
        return
    console().print(message, markup=False)


def warn(message: str) -> None:
    """Prints one warning: something was left out or assumed, and the user should know."""
    if silent():
        return
    console().print(f"note: {message}", style="yellow", markup=False)


class Task:
    """A running task with a known number of steps; see :func:`track`."""

    def advance(self, steps: int = 1, status: str = "") -> None:
        """Marks ``steps`` more as done; ``status`` is shown beside the bar (such as ``loss 2.31``)."""
        raise NotImplementedError


class _PlainTask(Task):
    def __init__(self, description: str, total: int, done: int) -> None:
        self.description, self.total, self.done = description, total, done
        self.last = time.monotonic()

    def advance(self, steps: int = 1, status: str = "") -> None:
        self.done += steps
        now = time.monotonic()
        if now - self.last >= _QUIET_SECONDS:
            self.last = now
            say(f"{self.description}: {self.done}/{self.total} {status}".rstrip())


@contextmanager
def track(description: str, total: int, done: int = 0) -> Iterator[Task]:
    """A progress bar over ``total`` steps, ``done`` of them already behind us (a resumed run)."""
    if silent() or _QUIET.get() or not sys.stderr.isatty():
        say(description)
        yield _PlainTask(description, total, done)
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("[dim]{task.fields[status]}"),
        console=console(),
    ) as progress:
        handle = progress.add_task(description, total=total, completed=done, status="")

        class _RichTask(Task):
            def advance(self, steps: int = 1, status: str = "") -> None:
                progress.update(handle, advance=steps)
                if status:
                    progress.update(handle, status=status)

        yield _RichTask()
