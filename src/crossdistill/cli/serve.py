"""``crossdistill serve``: a page and a JSON API for finished runs, on this machine alone."""

from __future__ import annotations

import importlib.util
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import typer

from crossdistill.errors import MissingDependencyError

_NEEDED = {"gradio": "gradio", "multipart": "python-multipart"}


def serve_runs(runs: Sequence[Path], gallery: Path | None, port: int, device: str) -> None:
    """Serves until Ctrl-C or SIGTERM, also while it still loads, and then ends with exit code 0.

    Raises:
        MissingDependencyError: what the page needs is not installed.
    """
    missing = [package for module, package in _NEEDED.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise MissingDependencyError(
            "The page needs packages that are not installed.", received=f"no {', no '.join(missing)}",
            fix="pip install 'crossdistill[serve]'",
        )  # fmt: skip
    with _stoppable(), suppress(_Stop):
        from crossdistill.serve.server import serve

        serve(runs, gallery, port, device, _tell)
    typer.echo("stopped", err=True)


class _Stop(SystemExit):
    """Leaves whatever is being done, and no folder behind."""


@contextmanager
def _stoppable() -> Iterator[None]:
    """The first signal ends all in good order; another one does what it would otherwise."""
    numbers = (signal.SIGINT, signal.SIGTERM)

    def stop(number: int, frame: FrameType | None) -> None:
        restore()
        raise _Stop(0)

    def restore() -> None:
        for each, handler in zip(numbers, before, strict=True):
            signal.signal(each, handler)

    before: list[Any] = [signal.signal(each, stop) for each in numbers]
    try:
        yield
    finally:
        restore()


def _tell(page: str) -> None:
    typer.echo(f"page: {page}")
    typer.echo(f"API:  {page}api/docs")
    typer.echo("Ctrl-C stops it", err=True)
